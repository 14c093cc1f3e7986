#!/usr/bin/env python3
"""A guest comes back to a server where it has been, while that still clears up behind it. And --mode handover between servers that were not
told that they share a file (those that were: handover.py)."""
import signal
from rig import *


def begin(rig, **how):
    rig.a.start(**how)
    rig.b.start()
    rig.a.vm_start(False)
    works(rig.a)


def moved(rig, frm, to, *more):
    to.vm_start(True)
    p = rig.migrate(frm, to, *more)
    need(p.wait(60) == 0, 'the move ended with', p.p.returncode, p.text()[-1500:])
    frm.guest.wait(20)
    works(to)


SHARED = '[namespace shared]\nsize=64M\npath=%s/shared.img\ncreate=%s\nnguid=0123456789abcdef0123456789abcdef\n'


def not_beside_another_writer():
    """Both servers name the same file by the same identity: the source holds its lock, so the target may not open it."""
    rig = Rig()
    try:
        for side, create in ((rig.a, 'yes'), (rig.b, 'no')):
            with open(side.ini, 'a') as f:
                f.write(SHARED % (rig.dir, create))
        with open(rig.a.ini) as f:
            text = f.read().replace('namespaces=disk', 'namespaces=shared')
        with open(rig.a.ini, 'w') as f:
            f.write(text)
        begin(rig)
        rig.b.vm_start(True)
        p = rig.migrate(rig.a, rig.b, '--mode', 'handover')
        need(p.wait(60) != 0 and 'two writers' in p.text(), 'two writers on one file:', p.p.returncode, p.text()[-1500:])
        need(settled(rig) is rig.a, 'the guest is not where it was')
        works(rig.a)
        verdict(rig.a)
        rig.b.guest.signal(15)
        rig.b.guest.p.wait()
        down(rig.a, rig.b)
    finally:
        rig.end()


def back_at_once():
    """Whoever watches the target may send the guest back before the source has put away what it left."""
    rig = Rig()
    try:
        begin(rig, stop_at='clean-up')
        rig.b.vm_start(True)
        there = rig.migrate(rig.a, rig.b)
        until('A to clean up', rig.a.serve.stopped)
        until('B to own the guest', lambda: rig.b.vm().get('own') == 'owner')
        back = rig.migrate(rig.b, rig.a)
        until('B to be on the way back', lambda: rig.b.vm().get('moving_out'))
        rig.a.serve.signal(signal.SIGCONT)
        need(there.wait(60) == 0, 'the move there ended with', there.p.returncode, there.text()[-1500:])
        rig.a.guest.wait(20)
        rig.a.vm_start(True)
        need(back.wait(60) == 0, 'the move back ended with', back.p.returncode, back.text()[-1500:])
        works(rig.a)
        rig.b.guest.wait(20)
        verdict(rig.a)
        down(rig.a, rig.b)
    finally:
        rig.end()


def stopped_behind_it():
    """Stopped while it clears up, a server ends the old VM first."""
    rig = Rig()
    try:
        begin(rig, stop_at='clean-up')
        rig.b.vm_start(True)
        rig.migrate(rig.a, rig.b)
        until('A to clean up', rig.a.serve.stopped)
        rig.a.serve.signal(signal.SIGTERM)
        rig.a.serve.signal(signal.SIGCONT)
        need(rig.a.serve.wait() == 0, 'A ended with', rig.a.serve.p.returncode, rig.a.serve.text()[-1500:])
        rig.a.guest.wait(20)
        works(rig.b)
        verdict(rig.b)
        down(rig.b)
    finally:
        rig.end()


if __name__ == '__main__':
    run_tests([('back at once', back_at_once), ('stopped behind it', stopped_behind_it), ('not beside another writer', not_beside_another_writer)])
