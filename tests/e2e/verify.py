#!/usr/bin/env python3
"""`ferry verify` as people use it: against a real `ferry serve` over sockets, with every shape of report; and what it says when things
are wrong. Known failures of our own device are in verify_xfail.txt, each with its reason; a test that passes though it is listed fails."""
import json, os, shutil, subprocess, sys, xml.dom.minidom, xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import liar, ucis
from rig import FERRY, SLOWER, Rig, ferry, need, run_tests, until

XFAIL = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'verify_xfail.txt')


class Dut:
    """A server that gives its MMC away, and guests with a namespace each."""
    def __init__(self, rig, name='dut', guests=3, size='16M', more=''):
        self.dir = rig.dir
        self.ini, self.mmc = '%s/%s.ini' % (rig.dir, name), '%s/%s-mmc.sock' % (rig.dir, name)
        text = '[server]\nname=%s\nrun_dir=%s/%s\nstate_dir=%s/%s-state\nmmc_socket=%s\n' % (name, rig.dir, name, rig.dir, name, self.mmc)
        for i in range(1, guests + 1):
            text += '[namespace d%d]\nsize=%s\nblock=512\nbackend=ram\ndelay=20us\n[guest vm%d]\nnamespaces=d%d\n%s%s' % (
                i, size, i, i, 'doorbells=trapped\n' if i == 1 else '', more)
        with open(self.ini, 'w') as f:
            f.write(text)
        self.serve = rig.proc('serve ' + name, '%s/%s.log' % (rig.dir, name), ['serve', '-v', '-c', self.ini])
        self.control = '%s/%s/control.sock' % (rig.dir, name)
        until('the server to listen', lambda: os.path.exists(self.control) or need(self.serve.running(), self.serve.text()))
        self.sockets = ','.join([self.mmc] + ['%s/%s/vm%d.sock' % (rig.dir, name, i) for i in range(1, guests + 1)])


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
    code, out, errs = verify('run', '--socket', dut.sockets, '--seed', '1', '--xfail', XFAIL, '--timeout', '60s',
                             '--report', ','.join(files), '--store', rig.dir + '/runs.db')
    need(code == 0, 'ended with', code, out[-4000:], errs)
    need(dut.serve.running(), 'the server died:', dut.serve.text()[-2000:])
    with open(files[0]) as f:
        r = json.load(f)
    need(r['format'] == 'ferry-verify-1' and len(r['tests']) >= 300, 'tests:', len(r['tests']))
    need(r['counts']['PASS'] >= 290, r['counts'])
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
    code, cov, errs = verify('coverage', rig.dir + '/runs.db', '--html', rig.dir + '/cov.html', '--gate')
    need(code == 0 and 'nothing is missing that can be reached' in cov, code, cov, errs)
    for line in cov.splitlines():
        if line.split(' ')[0] and ' of ' in line:
            print('# ' + line, flush=True)
    with open(rig.dir + '/cov.html') as f:
        page = f.read()
    need('<table id="fields">' in page and 'http' not in page and '<script' not in page, 'the coverage page is not alone')
    code, out, errs = verify('report', files[0])
    need(code == 0 and 'reading' in out and 'SKIP' in out, code, out[:500], errs)
    code, out, errs = verify('run', '--socket', dut.sockets, '--seed', '2', '--group', 'ID,ST,MR')
    need(code == 0, 'the suite leaves a device as it found it: a second run', code, out, errs)
    code, out, errs = verify('diff', files[0], files[0])
    need(code == 0 and out == '0 tests differ\n', code, out, errs)


def other_runs(rig, dut):
    """A part of the suite, compared with another part; a store that two runs share."""
    a, b, store = rig.dir + '/a.json', rig.dir + '/b.json', rig.dir + '/two.db'
    for path, group in ((a, 'ID,RS'), (b, 'ID')):
        code, out, errs = verify('run', '--socket', dut.sockets, '--seed', '3', '--group', group, '--report', path, '--store', store)
        need(code == 0, code, out, errs)
    code, out, _ = verify('diff', a, b)
    need(code == 1 and 'RS-01    PASS -> not run' in out, code, out)
    code, out, errs = verify('coverage', store)
    need(code == 0 and out.startswith('2 runs\n') and 'RESUME=3A' not in out and 'aim_status(t, VOP_SET_STATE, 0x00c);' in out, code, out[:2000], errs)
    code, twice, errs = verify('coverage', store, store)
    need(code == 0 and twice.startswith('4 runs\n') and twice.splitlines()[1:] == out.splitlines()[1:], code, twice[:300], errs)
    code, _, errs = verify('coverage', rig.dir + '/none.db')
    need(code == 1 and not os.path.exists(rig.dir + '/none.db'), code, errs)
    code, _, errs = verify('report', dut.ini)
    need(code == 2 and 'is not a report' in errs, code, errs)
    code, out, errs = verify('run', '--socket', dut.sockets, '--checklist', 'NVM21_5_1_17_1_2_01')
    need(code == 0 and 'RS' in out, 'chosen by the id of a statement:', code, out, errs)


def in_a_browser(rig, dut):
    """Both pages, opened: what the browser made of them has every test and every field."""
    chromium = shutil.which('chromium') or shutil.which('chromium-browser')
    if not chromium:
        print('# SKIP the pages are not opened: no chromium here', flush=True)
        return
    page, cov, report = rig.dir + '/run.html', rig.dir + '/cov.html', rig.dir + '/run.json'
    code, out, errs = verify('run', '--backend', 'inprocess', '--seed', '1', '--report', page + ',' + report, '--store', rig.dir + '/b.db')
    need(code == 0, code, out, errs)
    code, _, errs = verify('coverage', rig.dir + '/b.db', '--html', cov)
    need(code == 0, errs)
    with open(report) as f:
        tests = json.load(f)['tests']

    def dom(path):
        p = subprocess.run([chromium, '--headless', '--no-sandbox', '--disable-gpu', '--user-data-dir=' + rig.dir + '/browser', '--dump-dom',
                            'file://' + path], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120 * SLOWER)
        need(p.returncode == 0, p.returncode, p.stderr[-1000:])
        return p.stdout
    d = dom(page)
    table = d.split('<table id="tests">')[1].split('</table>')[0]
    need(table.count('<tr>') == len(tests) + 1, 'rows:', table.count('<tr>'), 'tests:', len(tests))
    need(all('<td>%s</td>' % t['id'] in table for t in tests), 'a test is missing in the page')
    need('<h1>ferry verify: as expected</h1>' in d, d[:500])
    d = dom(cov)
    need(d.split('<table id="fields">')[1].split('</table>')[0].count('<tr>') > 80 and d.count('<table id="cross') >= 10, d[:500])


def coverage_for_tools(rig, dut):
    """The counts as UCIS: every bin of it is right, holes and what is out of reach are told apart, and a broken file would be noticed. A run
    with holes fails its gate."""
    store, path = rig.dir + '/u.db', rig.dir + '/u.xml'
    code, out, errs = verify('run', '--backend', 'inprocess', '--seed', '3', '--group', 'RS,SU', '--store', store, '--gate')
    need(code == 1 and 'coverage is not what it must be' in out and 'LBA_STATUS=OK' in out, code, out[-1000:], errs)
    code, out, errs = verify('coverage', store, '--ucis', path)
    need(code == 0, code, errs)
    bins = ucis.read(path)
    need(bins[('field bins', 'SUSPEND.stype', 'legal')][0] > 10, 'no hits of what was sent all the time')
    need(bins[('operation x status', 'LBA_STATUS', '80')] == (0, 'bins'), 'a hole:', bins[('operation x status', 'LBA_STATUS', '80')])
    need(bins[('operation x status', 'TRACK_MEM', '38')] == (0, 'ignore'), 'out of reach:', bins[('operation x status', 'TRACK_MEM', '38')])
    need(len({k[0] for k in bins}) >= 13 and len(bins) > 800, 'groups and bins:', len({k[0] for k in bins}), len(bins))
    with open(path) as f:
        text = f.read()
    for what, to in (('coverageCount="', 'coverageCount="-'), (' type="bins"', ''), ('<options/>', ''), ('<range from="0"', '<range from="a"'),
                     ('ucisVersion="1.0" w', 'w'), ('</coverpointBin>', '<more/></coverpointBin>')):
        need(what in text, what)
        need(ucis.wrong(xml.etree.ElementTree.fromstring(text.replace(what, to, 1))), 'not noticed:', what, to)
    n = ucis.read_by_pyucis(path)
    print('# PyUCIS is not installed: only our own rules were tried' if n is None else '# PyUCIS reads %d groups' % n, flush=True)
    need(n is None or n == len({k[0] for k in bins}), 'PyUCIS finds', n)
    text = rig.dir + '/stubs.c'
    code, out, errs = verify('coverage', store, '--stubs', text)
    with open(text) as f:
        stubs = f.read()
    need(code == 0 and 'aim_status(t, VOP_LBA_STATUS, 0x080);' in stubs and 'VF_SUSPEND_stype, VB_LEGAL' not in stubs, code, stubs[:500], errs)


def same_seed(rig, dut):
    """In one process nothing but the seed decides: the same commands, test by test."""
    runs = []
    for i in (1, 2):
        path = '%s/seed-%d.json' % (rig.dir, i)
        code, out, errs = verify('run', '--backend', 'inprocess', '--seed', '42', '--group', 'TS,SU,E2E,RN', '--quiet', '1ms', '--report', path)
        need(code == 0, code, out, errs)
        with open(path) as f:
            runs.append({t['id']: t['commands'] for t in json.load(f)['tests'] if t['group'] in ('E2E', 'RN')})
    need(runs[0] == runs[1] and sum(runs[0].values()) > 10000, 'differ:', runs)


def without_hmlm(rig, dut):
    """A subsystem without live migration: what it rests on runs; each test and each statement about migration is skipped and says that it
    is for want of HMLMS."""
    path = rig.dir + '/plain.json'
    code, out, errs = verify('run', '--backend', 'inprocess', '--no-hmlm', '--seed', '1', '--report', path, '--gate')
    need(code == 0, code, out, errs)
    with open(path) as f:
        r = json.load(f)
    ran = 0
    for t in r['tests']:
        of_migration = [k for k in t['checklist'].split() if not k.startswith('B-') and k != 'V-ID-13']
        if of_migration:
            need(t['verdict'] == 'SKIP' and ('OACS.HMLMS=1' in t['why'] or t['group'] == 'FI'), t['id'], t['verdict'], t['why'])
        elif t['group'] in ('BA', 'IO'):
            need(t['verdict'] == 'PASS' or t['verdict'] == 'SKIP' and t['id'] in ('IO-21', 'IO-22'), t['id'], t['verdict'], t['why'])
        ran += t['verdict'] == 'PASS'
    need(ran > 100, 'tests that ran:', ran)
    items = [i for i in r['checklist'] if not i['key'].startswith('B-')]
    for i in items:
        need(i['state'] != 'failed' and i['state'] != 'known failure', i)
        need(i['state'] != 'skipped' or 'OACS.HMLMS=1' in i['why'], i)
        need(i['state'] != 'waived' or i['why'], i)
        need(i['class'] != 'shall' or i['state'] in ('skipped', 'waived') or i['key'] == 'V-ID-13', 'asked of a device without migration:', i)
    need(sum(i['state'] == 'skipped' for i in items) > 240, 'statements skipped:', sum(i['state'] == 'skipped' for i in items))


def two_servers(rig, dut):
    """Moves from one server's subsystem to another's, which is smaller: by hand as it were, without either server's manager."""
    other, path = Dut(rig, 'far', guests=1, size='8M', more='queues=4\n'), rig.dir + '/far.json'
    code, out, errs = verify('run', '--socket', dut.sockets + ',' + other.sockets, '--seed', '1', '--id', 'ID-29,ID-30,E2E-15,E2E-16,E2E-17,E2E-18', '--report', path,
                             '--timeout', '60s')
    need(code == 0, code, out, errs)
    with open(path) as f:
        r = json.load(f)
    verdict = {t['id']: t['verdict'] for t in r['tests']}
    need(all(verdict['E2E-%d' % i] == 'PASS' for i in (15, 16, 17, 18)), verdict)
    small = [x['took'] for x in r['readings'] if x['test'] == 'E2E-15']
    need(small and small[0].startswith('queues 4 of 64, blocks 16384 of 32768'), small)
    need(dut.serve.running() and other.serve.running(), 'a server died')


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


def failure_repeated(rig, dut):
    """A device that says it has suspended and has not: a random test finds it, over sockets, and the line it prints finds it again: the
    same commands lead to the same sentence. What is sent is the same with a good device too, from run to run."""
    path = rig.dir + '/liar.sock'
    proxy = liar.Liar(path, dut.mmc, liar.never_suspends)
    sockets = dut.sockets.replace(dut.mmc, path)

    def outcome(args):
        report = rig.dir + '/replay.json'
        code, out, errs = verify(*args, '--report', report, '--timeout', '60s')
        need(code == 1, 'the lie is not found:', code, out, errs)
        with open(report) as f:
            tests = json.load(f)['tests']
        need(len(tests) == 1 and tests[0]['verdict'] == 'FAIL' and 'shrunk to' in tests[0]['why'], tests)
        return out, tests[0]['why']

    try:
        out, why = outcome(['run', '--socket', sockets, '--seed', '11', '--id', 'RN-01'])
        line = [l for l in out.splitlines() if 'again: ferry verify replay ' in l]
        need(len(line) == 1, out)
        again = outcome(line[0].split('again: ferry verify ')[1].split())
        need(again[1] == why, 'another failure:', why, again[1])
        need(proxy.told >= 2, 'the lie was told', proxy.told, 'times')
        print('# twice: ' + why, flush=True)
    finally:
        proxy.close()
    digests = []
    for i in (1, 2):
        report = '%s/same-%d.json' % (rig.dir, i)
        code, out, errs = verify('run', '--socket', dut.sockets, '--seed', '11', '--group', 'RN,XC', '--report', report, '--timeout', '60s')
        need(code == 0, code, out, errs)
        with open(report) as f:  # not RN-04: after a fault the next steps depend on when it struck
            digests.append({t['id']: (t['sequence'], t['commands']) for t in json.load(f)['tests'] if t['id'] != 'RN-04'})
    need(digests[0] == digests[1], 'other commands:', [(k, digests[0][k], digests[1][k]) for k in digests[0] if digests[0][k] != digests[1][k]])


def refusals(rig, dut):
    for args, want in ((['--socket', rig.dir + '/nothing.sock'], 'cannot connect'), ([], 'which sockets'),
                       (['--backend', 'magic'], '--backend is'), (['--backend', 'ioctl'], 'which device'),
                       (['--backend', 'ioctl', '--device', '/dev/null', '--yes-destroy'], 'name the device twice'), (['--socket', dut.sockets, '--xfail', rig.dir + '/no'], 'cannot be read')):
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


TESTS = [('verify_suite', suite), ('verify_replay_line', replay_line), ('verify_two_servers', two_servers), ('verify_failure_repeated', failure_repeated), ('verify_refusals', refusals),
         ('verify_other_runs', other_runs), ('verify_without_hmlm', without_hmlm), ('verify_same_seed', same_seed), ('verify_coverage_for_tools', coverage_for_tools), ('verify_in_a_browser', in_a_browser), ('verify_dead_server', dead_server), ('verify_mmc_given_away', mmc_given_away)]
if __name__ == '__main__':
    only = sys.argv[1:]
    run_tests([(n, with_dut(f)) for n, f in TESTS if not only or n in only])
