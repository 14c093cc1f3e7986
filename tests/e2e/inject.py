#!/usr/bin/env python3
"""Faults on purpose at a real server: messages cut short, doubled, lost, late, falsified and out of order, by the monitor between a client
and `ferry serve`. Whatever becomes of that client, the server lives, and the next one finds every controller as it must be. And a short
stress over sockets; and what the commands say when they are used wrongly."""
import json, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import FERRY, SLOWER, Rig, need, run_tests, until
from verify import Dut, verify, with_dut


class Proxy:
    def __init__(self, rig, dut, fault, n):
        real = dut.sockets.split(',')
        self.socks = ['%s/p%d-%d.sock' % (rig.dir, n, i) for i in range(len(real))]
        self.p = rig.proc('monitor', '%s/monitor-%d.log' % (rig.dir, n),
                          ['verify', 'monitor', '--listen', ','.join(self.socks), '--to', dut.sockets, '--quiet', '--inject', fault, '--seed', str(n)])
        until('the monitor to listen', lambda: all(os.path.exists(s) for s in self.socks) or need(self.p.running(), self.p.text()))

    def end(self):
        self.p.signal(15)
        self.p.wait()
        lines = [l for l in self.p.text().splitlines() if l.startswith('{')]
        text = self.p.text()
        return json.loads(text[text.index('{'):]) if lines else None


def healthy(dut, fault):
    need(dut.serve.running(), 'the server died of', fault, dut.serve.text()[-3000:])
    code, out, errs = verify('run', '--socket', dut.sockets, '--seed', '1', '--id', 'IO-01,SU-01,TS-01', '--timeout', '%ds' % (5 * SLOWER))
    need(code == 0, 'after', fault, 'the next client finds', code, out[-2000:], errs)


def faults_in_messages(rig, dut):
    """One message in so many, whatever it is. The client in between may fail, and is told why; it may not hang, nor may the server."""
    for n, (fault, often) in enumerate((('drop', 30), ('delay', 9), ('duplicate', 9), ('corrupt', 9), ('reorder', 9), ('cut', 25), ('kill', 25))):
        proxy = Proxy(rig, dut, 'message:%s:%d' % (fault, often), n + 1)
        code, out, errs = verify('run', '--socket', ','.join(proxy.socks), '--seed', str(n), '--id', 'BA-01,IO-01,IO-11,SU-01', '--timeout', '%ds' % (5 * SLOWER))
        stats = proxy.end()
        need(stats and stats['faults'][fault] > 0, 'no message was met:', fault, stats)
        if fault == 'delay':
            need(code == 0, 'messages that are only late are nobody\'s failure', code, out, errs)
        need(code in (0, 1, 2), fault, 'ended with', code, out, errs)
        healthy(dut, fault)
        print('# %s: %d times, the client ended with %d' % (fault, stats['faults'][fault], code), flush=True)


def stress_over_sockets(rig, dut):
    code, out, errs = verify('stress', '--socket', dut.sockets, '--seed', '3', '--rounds', '1', '--for', '600s', '--timeout', '%ds' % (20 * SLOWER))
    need(code == 0 and '1 passed, 0 failed' in out, code, out[-3000:], errs)
    healthy(dut, 'stress')


def same_seed(rig, dut):
    """In one process the same seed is the same run, faults and all."""
    runs = []
    for _ in (1, 2):
        code, out, errs = verify('run', '--backend', 'inprocess', '--by-message', '--seed', '11', '--id', 'RN-04', '--report', rig.dir + '/s.json')
        need(code == 0, code, out, errs)
        with open(rig.dir + '/s.json') as f:
            runs.append(json.load(f)['tests'][0]['commands'])
    need(runs[0] == runs[1] > 3000, runs)


def a_finding_is_kept(rig, dut):
    """A connection that breaks is a failure like others: told with the line that repeats it, and in the store. (Where it breaks before
    anything could be tried, nothing was: then the next seed.)"""
    store = rig.dir + '/kept.db'
    proxy = Proxy(rig, dut, 'message:kill:400', 99)
    for seed in range(3, 13):
        code, out, errs = verify('stress', '--socket', ','.join(proxy.socks), '--seed', str(seed), '--rounds', '1', '--for', '600s',
                                 '--timeout', '%ds' % (5 * SLOWER), '--store', store)
        if code != 2:
            break
    proxy.end()
    need(code == 1 and 'again: ferry verify replay --seed' in out and '0 passed, 1 failed' in out, code, out[-3000:], errs)
    code, out, errs = verify('failures', store)
    need(code == 1 and '    1 times, ' in out and out.endswith('1 defects\n'), code, out, errs)
    healthy(dut, 'kill')


def refusals(rig, dut):
    for args, want in ((['monitor', '--listen', 'a', '--to', 'b', '--inject', 'message:burn'], 'is no fault'),
                       (['monitor', '--listen', 'a', '--to', 'b', '--inject', 'doorbell:drop'], 'messages only')):
        code, _, errs = verify(*args)
        need(code == 1 and want in errs, args, code, errs)
    code, _, errs = verify('stress', '--socket', rig.dir + '/nothing.sock', '--rounds', '1')
    need(code == 2 and 'cannot connect' in errs, code, errs)
    code, _, errs = verify('failures', rig.dir + '/none.db')
    need(code == 1 and 'cannot be read' in errs and not os.path.exists(rig.dir + '/none.db'), code, errs)


TESTS = [('inject_messages', faults_in_messages), ('inject_stress', stress_over_sockets), ('inject_same_seed', same_seed),
         ('inject_kept', a_finding_is_kept), ('inject_refusals', refusals)]
if __name__ == '__main__':
    only = sys.argv[1:]
    run_tests([(n, with_dut(f)) for n, f in TESTS if not only or n in only])
