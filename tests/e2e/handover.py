#!/usr/bin/env python3
"""`ferry migrate --mode handover`: the controller and the memory move, the disk is a file that both servers reach. Its lock says who may write.

The lock is looked at from outside: the kernel lists it with the process that has it. Two can never have it; here it is seen that whoever
runs the guest does, and that who does not run it has given it up.

handover.py            all
handover.py NAME...    only these
FERRY_E2E=full         the whole kill matrix, with five instants each; else one victim or two of each phase
"""
import fcntl, os, signal, struct, sys
from rig import *
import kill

REFUSED = 3
NGUID = '0123456789abcdef0123456789abcdef'
HANDOVER = ('--mode', 'handover')
FULL = os.environ.get('FERRY_E2E') == 'full'
PHASES = ['connect', 'track', 'pre-copy', 'stop', 'transfer', 'commit', 'clean-up']
VICTIMS = ['source', 'target', 'ctrl-c']
SOME = [('stop', 'source', 3), ('stop', 'target', 1), ('transfer', 'source', 1), ('transfer', 'target', 4), ('transfer', 'ctrl-c', 3),
        ('commit', 'source', 2), ('commit', 'target', 3), ('clean-up', 'source', 0)]


class SharedRig(Rig):
    """Both servers name one file; `says` is what each adds to it."""
    def __init__(self, says=('shared=yes', 'shared=yes'), other_file=False, **kw):
        super().__init__(**kw)
        self.disk = self.dir + '/shared.img'
        for side, word in ((self.a, says[0]), (self.b, says[1])):
            with open(side.ini) as f:
                text = f.read().split('[namespace')[0]
            path = self.disk + side.name if other_file else self.disk
            text += '[namespace shared]\nsize=64M\npath=%s\ncreate=yes\nnguid=%s\n%s\n' % (path, NGUID, word)
            text += '[guest vm1]\nnamespaces=shared\nvm=embedded:%s\n' % side.ctl
            with open(side.ini, 'w') as f:
                f.write(text + ('arrives=yes\n' if side is self.b else ''))


def has_lock(side, path):
    """Does this server have the lock of the file? The kernel tells it with the descriptor that has it."""
    inode = ':%d ' % os.stat(path).st_ino
    fds = '/proc/%d/fdinfo' % side.serve.pid
    for fd in os.listdir(fds):
        try:
            with open('%s/%s' % (fds, fd)) as f:
                if any(line.startswith('lock:') and 'WRITE' in line and inode in line for line in f):
                    return True
        except OSError:  # closed meanwhile
            pass
    return False


def owner_has_lock(rig, owner):
    need(has_lock(owner, rig.disk), owner.name, 'runs the guest without the lock of its disk')
    away = other(rig, owner)
    need(not has_lock(away, rig.disk), away.name, 'has the lock of a disk whose guest it does not run')


FLOCK = 'hhlli4x'  # l_type, l_whence, l_start, l_len, l_pid


class Thief:
    """A third process' lock (of an open file description, as the servers')."""
    def __init__(self, path):
        self.f = open(path, 'r+b')

    def take(self):
        fcntl.fcntl(self.f, fcntl.F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))

    def drop(self):
        self.f.close()


def with_rig(fn, **kw):
    def run():
        rig = SharedRig(**kw)
        try:
            fn(rig)
        except Failed as e:
            raise Failed('%s\n%s' % (e, kill.logs(rig)))
        finally:
            rig.end()
    return run


def begin(rig, a_stop=None, b_stop=None):
    rig.a.start(a_stop)
    rig.b.start(b_stop)
    rig.a.vm_start(False)
    rig.b.vm_start(True)
    works(rig.a)
    owner_has_lock(rig, rig.a)


def handed(rig, frm, to):
    if not (to.guest and to.guest.running()):
        to.vm_start(True)
    c = rig.migrate(frm, to, *HANDOVER)
    need(c.wait(60) == 0, 'the handover ended with', c.p.returncode, c.text()[-1500:])
    frm.guest.wait(20)
    works(to)
    owner_has_lock(rig, to)
    return c


def not_handed(rig, *words):
    c = rig.migrate(rig.a, rig.b, *HANDOVER)
    need(c.wait(60) != 0, 'it was handed over')
    for w in words:
        need(w in c.text(), 'no "%s" in: %s' % (w, c.text()[-1500:]))
    need(settled(rig) is rig.a, 'the guest is not where it was')
    works(rig.a)


def end(rig, side, resets=0):
    v = verdict(side)
    need(v['resets'] == resets, 'the guest saw', v['resets'], 'resets instead of', resets)
    away = other(rig, side)
    if away.guest and away.guest.running():
        away.guest.signal(signal.SIGTERM)
        away.guest.wait()
    down(rig.a, rig.b)


def there_and_back(rig):
    """Also over a restart of each server: who does not run the guest leaves the file alone."""
    begin(rig)
    handed(rig, rig.a, rig.b)
    rig.a.serve.signal(signal.SIGTERM)
    need(rig.a.serve.wait() == 0, 'A ended with', rig.a.serve.p.returncode)
    rig.a.start()
    owner_has_lock(rig, rig.b)
    handed(rig, rig.b, rig.a)
    handed(rig, rig.a, rig.b)
    end(rig, rig.b)


def not_shared_at_the_target(rig):
    begin(rig)
    not_handed(rig, 'shared=yes', 'two writers')
    end(rig, rig.a)


def not_shared_at_the_source(rig):
    begin(rig)
    rc, out, err = rig.a.ferry('migrate', 'vm1', '--to', rig.b.link, *HANDOVER)
    need(rc == REFUSED and 'shared=yes' in err, 'the source said', rc, out, err)
    works(rig.a)
    end(rig, rig.a)


def another_file(rig):
    """Two files with one identity: handed over, the guest would find another disk."""
    with open(rig.disk + 'B', 'wb') as f:
        f.truncate(64 << 20)
    rig.disk += 'A'
    begin(rig)
    not_handed(rig, 'nobody has locked')
    end(rig, rig.a)


def not_into_an_old_copy(rig):
    """There by a copy into another file; what stays behind is old. A handover back would lose all that was written since."""
    rig.disk += 'A'
    begin(rig)
    c = rig.migrate(rig.a, rig.b)
    need(c.wait(60) == 0, 'the copy ended with', c.p.returncode, c.text()[-1500:])
    rig.a.guest.wait()
    works(rig.b)
    rig.a.vm_start(True)
    c = rig.migrate(rig.b, rig.a, *HANDOVER)
    need(c.wait(60) != 0 and 'old copy' in c.text(), 'a handover into an old copy:', c.p.returncode, c.text()[-1500:])
    need(settled(rig) is rig.b, 'the guest is not where it was')
    works(rig.b)
    c = rig.migrate(rig.b, rig.a)
    need(c.wait(60) == 0, 'the copy back ended with', c.p.returncode, c.text()[-1500:])
    works(rig.a)
    rig.b.guest.wait()
    end(rig, rig.a)


def again_after_a_failure(rig):
    """What a handover that came to nothing left at the target is no old copy."""
    begin(rig, b_stop='transfer')
    c = rig.migrate(rig.a, rig.b, *HANDOVER)
    until('B to stop', rig.b.serve.stopped)
    c.signal(signal.SIGINT)
    until(lambda: 'A to undo it: %s' % rig.a.vm(), lambda: rig.a.vm().get('moving_out', {}).get('phase') != 'transfer')
    rig.b.serve.signal(signal.SIGCONT)
    need(c.wait() == 5, 'migrate ended with', c.p.returncode, c.text()[-1500:])
    need(settled(rig) is rig.a, 'the guest is not where it was')
    works(rig.a)
    owner_has_lock(rig, rig.a)
    handed(rig, rig.a, rig.b)
    end(rig, rig.b)


def stolen(rig):
    """Between the source, which has given the lock up, and the target somebody else takes it: the guest stands still until he lets go."""
    begin(rig, a_stop='transfer')
    c = rig.migrate(rig.a, rig.b, *HANDOVER)
    until('A to stop: %s' % c.text(), rig.a.serve.stopped)
    need(not has_lock(rig.a, rig.disk) and not has_lock(rig.b, rig.disk), 'the lock was not given up, or taken too early')
    thief = Thief(rig.disk)
    thief.take()
    rig.a.serve.signal(signal.SIGCONT)
    until(lambda: 'A to say that it waits: %s' % rig.a.vm(), lambda: 'stands still' in rig.a.vm().get('says', ''))
    until('migrate to say so', lambda: 'not ours any more' in c.text())
    need('two writers' in c.text(), 'not said why:', c.text()[-1500:])
    before = rig.a.vm()
    need(before['suspended'] and not has_lock(rig.b, rig.disk), 'somebody runs it:', before, rig.b.vm())
    thief.drop()
    need(c.wait() == 1, 'migrate ended with', c.p.returncode, c.text()[-1500:])
    need(settled(rig) is rig.a, 'the guest is not where it was')
    need(rig.a.vm()['writes'] >= before['writes'], 'its controller is another one')
    works(rig.a)
    owner_has_lock(rig, rig.a)
    end(rig, rig.a)


def wrong_word(rig):
    """A person says that the target never started it, and the target is just about to: its lock says otherwise."""
    begin(rig, b_stop='commit')
    c = rig.migrate(rig.a, rig.b, *HANDOVER)
    until('B to stop', rig.b.serve.stopped)
    need(has_lock(rig.b, rig.disk) and not has_lock(rig.a, rig.disk), 'the lock is not where the guest is going')
    rc, out, err = rig.a.ferry('resolve', 'vm1', '--runs', 'here', '--force')
    need(rc == REFUSED and 'locked' in err, 'resolve said', rc, out, err)
    rig.b.serve.signal(signal.SIGCONT)
    need(c.wait(60) == 0, 'the handover ended with', c.p.returncode, c.text()[-1500:])
    need(settled(rig) is rig.b, 'the guest is not at B')
    works(rig.b)
    owner_has_lock(rig, rig.b)
    end(rig, rig.b)


def matrix():
    every = [(p, v, i) for p in PHASES for v in VICTIMS for i in range(len(kill.TURNS))]
    for p, v, i in every if FULL else SOME:
        yield '%s/%s/%d' % (p, v, i), lambda p=p, v=v, i=i: kill.case(p, v, i, SharedRig, owner_has_lock, HANDOVER)


tests = [
    ('there and back', with_rig(there_and_back)),
    ('not shared at the target', with_rig(not_shared_at_the_target, says=('shared=yes', ''))),
    ('not shared at the source', with_rig(not_shared_at_the_source, says=('', 'shared=yes'))),
    ('another file', with_rig(another_file, other_file=True)),
    ('not into an old copy', with_rig(not_into_an_old_copy, other_file=True)),
    ('again after a failure', with_rig(again_after_a_failure)),
    ('stolen', with_rig(stolen)),
    ('wrong word', with_rig(wrong_word)),
] + list(matrix())
run_tests([t for t in tests if not sys.argv[1:] or t[0] in sys.argv[1:]], int(os.environ.get('FERRY_E2E_JOBS', '4')))
