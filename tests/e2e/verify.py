#!/usr/bin/env python3
"""`ferry verify` as people use it: against a real `ferry serve` over sockets, with every shape of report; and what it says when things
are wrong. Known failures of our own device are in verify_xfail.txt, each with its reason; a test that passes though it is listed fails."""
import json, os, subprocess, sys, xml.dom.minidom

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import FERRY, SLOWER, Rig, ferry, need, run_tests, until

XFAIL = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'verify_xfail.txt')


class Dut:
    """A server that gives its MMC away, and three guests with a namespace each."""
    def __init__(self, rig):
        self.dir = rig.dir
        self.ini, self.mmc = rig.dir + '/dut.ini', rig.dir + '/mmc.sock'
        text = '[server]\nname=dut\nrun_dir=%s/dut\nstate_dir=%s/dut-state\nmmc_socket=%s\n' % (rig.dir, rig.dir, self.mmc)
        for i in (1, 2, 3):
            text += '[namespace d%d]\nsize=16M\nblock=512\nbackend=ram\n[guest vm%d]\nnamespaces=d%d\n%s' % (
                i, i, i, 'doorbells=trapped\n' if i == 1 else '')
        with open(self.ini, 'w') as f:
            f.write(text)
        self.serve = rig.proc('serve dut', rig.dir + '/dut.log', ['serve', '-v', '-c', self.ini])
        self.control = rig.dir + '/dut/control.sock'
        until('the server to listen', lambda: os.path.exists(self.control) or need(self.serve.running(), self.serve.text()))
        self.sockets = ','.join([self.mmc] + ['%s/dut/vm%d.sock' % (rig.dir, i) for i in (1, 2, 3)])


def verify(*args):
    p = subprocess.run([FERRY, 'verify'] + list(args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600 * SLOWER)
    return p.returncode, p.stdout, p.stderr


def with_dut(fn):
    def run():
        rig = Rig()
        try:
            fn(rig, Dut(rig))
        finally:
            rig.end()
    return run


def suite(rig, dut):
    files = [rig.dir + '/r' + e for e in ('.json', '.xml', '.tap', '.html')]
    code, out, errs = verify('run', '--socket', dut.sockets, '--seed', '1', '--xfail', XFAIL, '--timeout', '%ds' % (5 * SLOWER),
                             '--report', ','.join(files))
    need(code == 0, 'ended with', code, out[-4000:], errs)
    need(dut.serve.running(), 'the server died:', dut.serve.text()[-2000:])
    with open(files[0]) as f:
        r = json.load(f)
    need(r['format'] == 'ferry-verify-1' and len(r['tests']) >= 50, 'tests:', len(r['tests']))
    need(r['counts']['PASS'] >= 45, r['counts'])
    need({'mmc', 'mc', 'mc2', 'ns', 'ns_mmc', 'irq'} <= set(r['capabilities']), 'what was seen of the server:', r['capabilities'])
    for t in r['tests']:
        need(t['verdict'] != 'SKIP' or t['why'], t['id'], 'is skipped without a reason')
    x = xml.dom.minidom.parse(files[1])
    need(len(x.getElementsByTagName('testcase')) == len(r['tests']), 'JUnit has another number of tests')
    with open(files[2]) as f:
        tap = f.read()
    need('1..%d\n' % len(r['tests']) in tap and tap.count('\nok ') + tap.count('\nnot ok ') == len(r['tests']), tap[:300])
    with open(files[3]) as f:
        page = f.read()
    need('<table id="checklist">' in page and 'http' not in page.replace('http-equiv', ''), 'the page is not alone')
    print('# ' + out.strip().splitlines()[-1], flush=True)


def replay_line(rig, dut):
    """Whatever is not as expected names the line that repeats it. A passing test that is listed as failing is not as expected."""
    with open(rig.dir + '/known', 'w') as f:
        f.write('CQ-01 said to fail, and does not\n')
    code, out, _ = verify('run', '--socket', dut.sockets, '--seed', '7', '--id', 'CQ-01,CQ-04', '--xfail', rig.dir + '/known')
    need(code == 1 and 'XPASS CQ-01' in out and 'CQ-04' not in out, code, out)
    line = [l for l in out.splitlines() if 'again: ferry ' in l]
    need(len(line) == 1, out)
    args = line[0].split('again: ferry ')[1].split()
    need(args[0] == 'verify' and args[args.index('--seed') + 1] == '7' and args[args.index('--id') + 1] == 'CQ-01', args)
    code, out, errs = verify(*args[1:])
    need(code == 0 and '1 passed' in out, 'without the list it passes:', code, out, errs)


def refusals(rig, dut):
    for args, want in ((['--socket', rig.dir + '/nothing.sock'], 'cannot connect'), ([], 'which sockets'),
                       (['--backend', 'magic'], '--backend is'), (['--socket', dut.sockets, '--xfail', rig.dir + '/no'], 'cannot be read')):
        code, _, errs = verify('run', *args)
        need(code == 2 and want in errs, args, code, errs)
    code, _, errs = verify('list', '--group', 'NOSUCH')
    need(code == 3, code, errs)


def dead_server(rig, dut):
    dut.serve.kill()
    code, out, errs = verify('run', '--socket', dut.sockets, '--id', 'CQ-01')
    need(code == 2 and 'cannot connect' in errs, code, out, errs)


def mmc_given_away(rig, dut):
    code, _, errs = ferry('nvme', 'id-ctrl', '--control', dut.control)
    need(code == 3 and 'gives its MMC away' in errs, code, errs)
    code, out, errs = ferry('migrate', 'vm1', '--to', 'unix:/nowhere', '--control', dut.control)
    need(code == 3 and 'gives its MMC away' in out + errs, code, out, errs)
    dut.serve.signal(15)
    need(dut.serve.wait() == 0, dut.serve.text())
    need(not os.path.exists(dut.mmc), 'the MMC\'s socket is left behind')


TESTS = [('verify_suite', suite), ('verify_replay_line', replay_line), ('verify_refusals', refusals),
         ('verify_dead_server', dead_server), ('verify_mmc_given_away', mmc_given_away)]
if __name__ == '__main__':
    only = sys.argv[1:]
    run_tests([(n, with_dut(f)) for n, f in TESTS if not only or n in only])
