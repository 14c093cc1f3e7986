#!/usr/bin/env python3
"""The kill matrix: every phase of a move, every victim, at several instants.

After each murder what died is started again, and then: exactly one side runs the guest, the guest writes again, a later normal
move works, everything the guest ever wrote is there (lost 0, invented 0), the servers end well, nothing is left behind.

kill.py            one instant each (CI)
FERRY_E2E=full     five instants each
kill.py NAME...    only these cases
FERRY_E2E_KEEP=1   leaves the directories with all logs
"""
import os, signal, sys
from rig import *

PHASES = ['connect', 'track', 'pre-copy', 'converge', 'stop', 'transfer', 'commit', 'clean-up']
VICTIMS = ['source', 'target', 'client', 'ctrl-c', 'term']
TURNS = [0, 1, 3, 8, 30]  # turns of the main loop after the phase was entered
# The target's own names for where it is when the source is in a phase.
AT_TARGET = {'connect': 'connect', 'track': 'pre-copy', 'pre-copy': 'pre-copy', 'converge': 'pre-copy', 'stop': 'pre-copy',
             'transfer': 'transfer', 'commit': 'commit', 'clean-up': 'done'}


def start(rig, phase, turns, stops, *more):
    stop_at = '%s+%d' % (phase if stops is rig.a else AT_TARGET[phase], turns)
    rig.a.start(stop_at if stops is rig.a else None)
    rig.b.start(stop_at if stops is rig.b else None)
    rig.a.vm_start(False)
    rig.b.vm_start(True)
    works(rig.a)
    # Converging takes a link slower than the guest.
    client = rig.migrate(rig.a, rig.b, *(['--bandwidth', '24M'] if phase == 'converge' else []), *more)

    def there():
        if stops.serve.stopped():
            return True
        # The target's last phase begins when the source may be through.
        need(client.running() or stops is rig.b, 'the move ended before %s:' % phase, client.text()[-1500:])
        return False
    until(lambda: 'a stop at %s: %s' % (stop_at, client.text()[-1500:]), there, 60)
    return client


def murder(rig, victim, client, stopped):
    """Does it; gives the servers that have to be started again."""
    serve = stopped.serve
    if victim in ('source', 'target'):
        dead = rig.a if victim == 'source' else rig.b
        dead.serve.kill()
        serve.signal(signal.SIGCONT)
        return [dead]
    if victim == 'term':
        rig.a.serve.signal(signal.SIGTERM)
        serve.signal(signal.SIGCONT)
        need(rig.a.serve.wait() == 0, 'SIGTERM: the source ended with', rig.a.serve.p.returncode, rig.a.serve.text()[-1500:])
        need(not [f for f in rig.a.run_leftovers() if f != 'vm1.ctl'], 'SIGTERM left', rig.a.run_leftovers())
        return [rig.a]
    client.signal(signal.SIGKILL if victim == 'client' else signal.SIGINT)
    if victim == 'client':
        client.wait()
    serve.signal(signal.SIGCONT)
    return []


def client_end(client, victim, owner, rig):
    code = client.wait(60)
    if victim == 'client':
        return
    moved = owner is rig.b
    allowed = {'source': [0, 4, 6], 'target': [0, 1], 'ctrl-c': [0, 5], 'term': [0, 4, 5]}[victim]
    need(code in allowed, 'migrate ended with', code, 'not in', allowed, client.text()[-1500:])
    need(code != 0 or moved, 'migrate says moved, and the guest runs at', owner.name)
    need(code not in (1, 5) or not moved, 'migrate says', code, 'and the guest runs at', owner.name)


def later_move(rig, owner, *more):
    to = other(rig, owner)
    if to.guest.running():
        until('the guest at %s waits' % to.name, lambda: to.guest_listens())
    if not to.guest.running():
        to.vm_start(True)
    c = rig.migrate(owner, to, *more)
    need(c.wait(90) == 0, 'the later move ended with', c.p.returncode, c.text()[-1500:])
    need(owner.guest.wait() == 0, 'the guest that moved away ended with', owner.guest.p.returncode, owner.guest.text())
    need(settled(rig) is to, 'it is elsewhere than moved to')
    works(to)
    return to


def case(phase, victim, i, make=Rig, also=lambda rig, owner: None, more=()):
    """make: the rig; also: called whenever one side is the owner; more: for `ferry migrate`."""
    rig = make(rate='48M' if phase == 'converge' else '16M')
    # The target is killed where the source is in the phase, and where it is itself, in turns.
    stopped = rig.b if victim == 'target' and i % 2 else rig.a
    try:
        client = start(rig, phase, TURNS[i], stopped, *more)
        for dead in murder(rig, victim, client, stopped):
            dead.start()
        owner = settled(rig)
        client_end(client, victim, owner, rig)
        works(owner)
        also(rig, owner)
        gone = other(rig, owner)
        if owner is rig.b:  # its old process has no purpose any more
            need(gone.guest.wait() == 0, 'the old guest process ended with', gone.guest.p.returncode)
        end = later_move(rig, owner, *more)
        also(rig, end)
        v = verdict(end)
        if victim in ('client', 'ctrl-c') or (victim == 'target' and owner is rig.a):
            need(v['resets'] == 0, 'no controller of the guest died, and it saw', v['resets'], 'resets')
        down(rig.a, rig.b)
    except Failed as e:
        raise Failed('%s\n%s' % (e, logs(rig)))
    finally:
        rig.end()


def logs(rig):
    return '\n'.join('--- %s\n%s' % (p.name, p.text()[-2500:]) for p in rig.procs)


def main():
    rounds = range(len(TURNS)) if os.environ.get('FERRY_E2E') == 'full' else [None]
    tests = []
    n = 0
    for r in rounds:
        for p in PHASES:
            for v in VICTIMS:
                i = r if r is not None else n % len(TURNS)
                n += 1
                tests.append(('%s/%s/%d' % (p, v, i), lambda p=p, v=v, i=i: case(p, v, i)))
    if len(sys.argv) > 1:
        tests = [('%s/%s/%d' % (p, v, i), lambda p=p, v=v, i=i: case(p, v, i)) for p in PHASES for v in VICTIMS
                 for i in range(len(TURNS)) if any('%s/%s/%d' % (p, v, i) == a or a in (p, v, p + '/' + v) for a in sys.argv[1:])]
    run_tests(tests, int(os.environ.get('FERRY_E2E_JOBS', '4')))


if __name__ == '__main__':
    main()
