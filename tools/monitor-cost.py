#!/usr/bin/env python3
"""What the monitor costs: one server, one guest that does 4 KiB commands as fast as it goes, with and without a monitor between, in turns.

    tools/monitor-cost.py [BUILD]      commands per second, and how many times fewer than without
"""
import json, os, signal, statistics, subprocess, sys, tempfile, time

FERRY = os.path.join(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else 'build'), 'src/cmd/ferry')
WAYS = {'without': None, '--guard off': ['--guard', 'off'], 'shared': [], '--guard all': ['--guard', 'all'], 'shared, recorded': ['--record', 'REC'], '--message-mode': ['--message-mode']}
SECONDS, ROUNDS = 1.5, 3


STARTED = []


def start(*argv):
    STARTED.append(subprocess.Popen([FERRY] + list(argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    return STARTED[-1]


def stop(p):
    p.send_signal(signal.SIGTERM)
    p.wait(timeout=60)


def there(path):
    end = time.monotonic() + 20
    while not os.path.exists(path):
        if time.monotonic() > end:
            sys.exit('waited 20 s in vain for ' + path)
        time.sleep(0.01)


def measure(d, way, depth):
    sock = own = d + '/run/vm1.sock'
    monitor = None
    if way is not None:
        sock = d + '/m.sock'
        monitor = start('verify', 'monitor', '--listen', sock, '--to', own, *[x.replace('REC', d + '/rec') for x in way])
        there(sock)
    guest = start('guest', '--socket', sock, '--control', d + '/g.ctl', '--report', d + '/report', '--max-blocks', '1', '--area', '16M', '--depth', str(depth))
    time.sleep(SECONDS)
    stop(guest)
    if monitor:
        stop(monitor)
    if os.path.exists(d + '/rec'):
        os.unlink(d + '/rec')
    with open(d + '/report') as f:
        return sum(json.load(f)['done'].values()) / SECONDS


def main():
    with tempfile.TemporaryDirectory() as d:
        with open(d + '/s.ini', 'w') as f:
            f.write('[server]\nname=s\nrun_dir=%s/run\nstate_dir=%s/state\n[namespace one]\nsize=64M\nbackend=ram\n[guest vm1]\nnamespaces=one\n' % (d, d))
        start('serve', '-c', d + '/s.ini')
        try:
            there(d + '/run/vm1.sock')
            for depth in (1, 32):
                got = {w: [] for w in WAYS}
                for _ in range(ROUNDS):
                    for w in WAYS:
                        got[w].append(measure(d, WAYS[w], depth))
                base = statistics.median(got['without'])
                for w in WAYS:
                    rate = statistics.median(got[w])
                    print('%2d in flight, %-18s %8.0f/s  %.1f' % (depth, w, rate, base / rate))
        finally:
            for p in reversed([p for p in STARTED if p.poll() is None]):
                stop(p)


main()
