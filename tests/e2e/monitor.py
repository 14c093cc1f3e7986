#!/usr/bin/env python3
"""`ferry verify monitor` in front of real servers: what passes through is the same, what is right is not flagged, what is recorded is
whole, and each export opens in its own tool."""
import json, os, re, resource, shutil, socket, struct, subprocess, sys, threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import *  # noqa: E402,F403
import perfetto  # noqa: E402

LUA = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../tools/vfio-user.lua')


class Monitor:
    """lanes: list of (listen, to)."""
    def __init__(self, rig, lanes, *more):
        n = rig.count('monitor')
        self.record, self.log = '%s/run-%d.rec' % (rig.dir, n), '%s/monitor-%d.log' % (rig.dir, n)
        self.p = rig.proc('monitor', self.log, ['verify', 'monitor', '--listen', ','.join(a for a, _ in lanes), '--to', ','.join(b for _, b in lanes),
                                                '--record', self.record] + list(more))
        for a, _ in lanes:
            until('the monitor to listen at ' + a, lambda: os.path.exists(a))

    def end(self, clean=True):
        self.p.signal(signal.SIGTERM)
        code = self.p.wait()
        stats = json.loads(self.p.text().strip().splitlines()[-1])
        need(not clean or (code == 0 and stats['violations'] == 0), 'the monitor ended with', code, self.p.text()[-2000:])
        need(stats['not_recorded'] == 0, 'records are missing:', stats)
        return stats


def proxied(rig, *sides, more=()):
    """Guests of these sides go through a monitor."""
    lanes = [('%s/%s-mon.sock' % (rig.dir, s.name), s.sock) for s in sides]
    m = Monitor(rig, lanes, *more)
    for s, (a, _) in zip(sides, lanes):
        s.sock = a
    return m


def tables(m):
    out = '%s.%d.db' % (m.record, len(os.listdir(os.path.dirname(m.record))))
    code, _, e = ferry('verify', 'export', '--format', 'sqlite', m.record, out)
    need(code == 0, 'export to tables:', e)
    import sqlite3
    return sqlite3.connect(out)


def ask(db, sql):
    return db.execute(sql).fetchone()[0]


def test_at(tests, t0):
    return ([i for at, i in sorted((t['began_ns'], t['id']) for t in tests) if at <= t0] or ['before the first'])[-1]


def whole(m, stats):
    """No parent is missing; every command that completed has its completion, as many as were counted."""
    db = tables(m)  # (A doorbell in memory is written by no message.)
    need(ask(db, 'SELECT count(*) FROM orphan') == 0, 'records without their parent')
    need(ask(db, "SELECT count(*) FROM txn WHERE kind IN ('data','dbl','reg','prp_fetch') AND parent IS NULL "
                 "AND NOT (kind='dbl' AND msg IS NULL)") == 0, 'nobody made these')
    need(ask(db, "SELECT count(*) FROM txn WHERE kind='cmd'") == stats['commands'], 'commands')
    need(ask(db, "SELECT count(*) FROM txn WHERE kind='cqe' AND parent IS NOT NULL") == stats['completions'], 'completions')
    need(ask(db, "SELECT count(*) FROM txn c WHERE kind='cmd' AND status IS NOT NULL AND NOT EXISTS "
                 "(SELECT 1 FROM txn q WHERE q.kind='cqe' AND q.parent=c.uid)") == 0, 'ended without a completion')
    need(ask(db, "SELECT count(*) FROM txn WHERE kind='cmd' AND t_end < t_start AND t_end IS NOT NULL") == 0, 'ended before they began')
    db.close()


# ---- the same answers ------------------------------------------------------------------------------------------------------------

def message(mid, cmd, payload=b'', flags=0):
    return struct.pack('<HHIII', mid, cmd, 16 + len(payload), flags, 0) + payload


def conversation(path):
    """A client that asks for everything there is, and for things that are not; the answers."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10 * SLOWER)
    s.connect(path)
    asked = [message(1, 1, struct.pack('<HH', 0, 0) + b'{"capabilities":{"max_msg_fds":8}}\0'), message(2, 4, struct.pack('<IIII', 16, 0, 0, 0))]
    asked += [message(10 + i, 5, struct.pack('<IIIIQQ', 32, 0, i, 0, 0, 0)) for i in range(10)]
    asked += [message(30 + i, 7, struct.pack('<IIII', 16, 0, i, 0)) for i in range(6)]
    asked += [message(40, 9, struct.pack('<QII', 0, 7, 256)), message(41, 9, struct.pack('<QII', 0, 0, 8)), message(42, 9, struct.pack('<QII', 8, 0, 4)),
              message(43, 9, struct.pack('<QII', 1 << 40, 0, 4)), message(44, 25), message(45, 3, struct.pack('<IIQQ', 24, 0, 0, 4096)),
              message(46, 13), message(47, 9, struct.pack('<QII', 0x1c, 0, 4)), message(0, 9, struct.pack('<QII', 0x14, 0, 4)),
              message(0, 10, struct.pack('<QII', 0x14, 0, 4) + bytes(4)), message(48, 16, struct.pack('<II', 16, 1)), message(49, 8, bytes(20))]
    answers = []
    for a in asked:
        s.sendall(a[:7])
        s.sendall(a[7:])
        h = b''
        while len(h) < 16:
            h += s.recv(16 - len(h))
        size = struct.unpack_from('<I', h, 4)[0]
        while len(h) < size:
            h += s.recv(size - len(h))
        answers.append(h)
    s.close()
    return answers


def same_answers():
    rig = Rig()
    try:
        rig.a.start()
        path = rig.a.sock
        direct = conversation(path)
        m = proxied(rig, rig.a)
        through = conversation(rig.a.sock)
        need(len(direct) == len(through), 'numbers of answers')
        changed = [i for i in range(len(direct)) if direct[i] != through[i]]
        # Region 0's information is the one thing that is changed: its doorbells cannot be mapped.
        need(changed == [2], 'these answers differ:', changed)
        a, b = struct.unpack_from('<III', direct[2], 16), struct.unpack_from('<III', through[2], 16)
        # A short answer still says that there are capabilities; the whole one, asked for next, has none.
        need(a[1] & ~12 == b[1] & ~8 and a[1] & 4, 'flags of region 0', a, b)
        need(m.end()['messages'] == 2 * len(direct), 'messages')
        down(rig.a)
    finally:
        rig.end()


# ---- guests ------------------------------------------------------------------------------------------------------------------------

def tool(name):
    path = shutil.which(name)
    if not path:
        raise Skipped('%s is not installed (tools/deps-viewers.sh)' % name)
    return path


def run_tool(rig, *argv, **kw):
    p = subprocess.run(argv, capture_output=True, timeout=300 * SLOWER, env=dict(os.environ, HOME=rig.dir), **kw)
    need(p.returncode == 0, argv[0], 'ended with', p.returncode, p.stderr[-500:])
    return p.stdout


def guest_through(*more, check=None):
    rig = Rig()
    try:
        rig.a.start()
        m = proxied(rig, rig.a, more=more)
        rig.a.vm_start(False)
        works(rig.a)
        v = verdict(rig.a)
        stats = m.end()
        need(stats['commands'] >= sum(v['done'].values()), 'commands seen', stats, 'done', v['done'])
        need(stats['unjudged'] == 0, 'unjudged:', stats)
        whole(m, stats)
        if check:
            check(rig, m, stats)
        down(rig.a)
    finally:
        rig.end()


def export(m, fmt):
    out = '%s.%s' % (m.record, fmt)
    code, _, e = ferry('verify', 'export', '--format', fmt, m.record, out)
    need(code == 0, 'export', fmt, e)
    return out


def opens_in_tshark(rig, m, stats):
    tshark, out = tool('tshark'), export(m, 'pcapng')
    lines = run_tool(rig, tshark, '-X', 'lua_script:' + LUA, '-r', out, '-T', 'fields', '-e', 'vfio_user.cmd', '-e', 'vfio_user.type', '-e', 'vfio_user.uid',
                     '-e', '_ws.malformed').decode().splitlines()
    need(len(lines) == stats['messages'], 'packets', len(lines), stats)
    rows = [x.split('\t') for x in lines]
    need(all(len(r) == 4 and r[0] and r[2] and not r[3] for r in rows), 'packets that could not be dissected')
    reads = sum(r[0] == '11' and r[1] == '0' for r in rows)
    db = tables(m)
    need(reads == ask(db, "SELECT count(*) FROM txn WHERE kind='vfio_msg' AND opc=11 AND parent IS NULL") and reads > 0, 'DMA_READs', reads)
    db.close()


def opens_in_gtkwave(rig, m, stats):
    to_fst, to_vcd, out = tool('vcd2fst'), tool('fst2vcd'), export(m, 'vcd')
    run_tool(rig, to_fst, out, out + '.fst')
    text = run_tool(rig, to_vcd, out + '.fst').decode()
    need(len(re.findall(r'^s(?:write|read)#[0-9a-f]+ ', text, re.M)) > 50, 'commands are not in the waves')
    need('sq1_command' in text and 'cq1_completion' in text, 'signals are missing')


def opens_in_protoc(rig, m, stats):
    protoc, out = tool('protoc'), export(m, 'perfetto')
    with open(out, 'rb') as f:
        text = run_tool(rig, protoc, '--decode_raw', stdin=f).decode()
    begun, ended = len(re.findall(r'^    9: 1$', text, re.M)), len(re.findall(r'^    9: 2$', text, re.M))
    need(begun == stats['commands'] and ended == begun, 'slices', begun, ended, stats)


def is_a_right_trace(rig, m, stats):
    """By a reader that forgives nothing; and it does notice what is wrong."""
    with open(export(m, 'perfetto'), 'rb') as f:
        data = f.read()
    t = perfetto.Trace(data)
    print('# ' + t.about(), flush=True)
    need(t.begun == t.ended == stats['commands'], 'slices', t.begun, t.ended, stats)
    need(t.instants > stats['completions'] and len(t.flows) > 0, t.about())
    points = sum(f.points for f in t.flows.values())
    need(points >= stats['commands'] + len(t.flows), 'each command is announced by a doorbell:', points, len(t.flows), stats)
    for what, broken, says in perfetto.breakages(data):
        try:
            perfetto.Trace(broken)
        except perfetto.Wrong as e:
            need(re.search(says, str(e)), what, 'was noticed as:', e)
        else:
            raise Failed('not noticed: ' + what)


def opens_in_sqlite3(rig, m, stats):
    sqlite, out = tool('sqlite3'), export(m, 'sqlite')
    n = run_tool(rig, sqlite, out, "SELECT count(*) FROM txn_link l JOIN txn d ON d.uid=l.src JOIN txn c ON c.uid=l.dst "
                 "WHERE l.kind='announces' AND d.kind='dbl' AND c.kind='cmd'")
    need(int(n) == stats['commands'], 'each command has its doorbell:', n, stats)


def log_and_decode(rig, m, stats):
    with open(export(m, 'log')) as f:
        text = f.read()
    need(len(re.findall(r'^==> @', text, re.M)) == stats['commands'], 'commands in the log')
    need(len(re.findall(r'^        <== @', text, re.M)) == stats['completions'], 'completions in the log')
    code, out, e = ferry('decode', m.record)
    need(code == 0 and out.count(' cmd by host') == stats['commands'], 'decode:', e)


# ---- a move ------------------------------------------------------------------------------------------------------------------------

class Tap:
    """Between two servers' managers: passes everything on and keeps it."""
    def __init__(self, path, to):
        self.to, self.out, self.back, self.threads = to, bytearray(), bytearray(), []
        self.l = socket.socket(socket.AF_UNIX)
        self.l.bind(path)
        self.l.listen(4)
        t = threading.Thread(target=self.accept, daemon=True)
        t.start()

    def accept(self):
        while True:
            try:
                a, _ = self.l.accept()
                b = socket.socket(socket.AF_UNIX)
                b.connect(self.to)
            except OSError:
                return
            for x, y, keep in ((a, b, self.out), (b, a, self.back)):
                t = threading.Thread(target=self.pump, args=(x, y, keep), daemon=True)
                t.start()
                self.threads.append(t)

    @staticmethod
    def pump(x, y, keep):
        try:
            while True:
                d = x.recv(65536)
                if not d:
                    break
                keep += d
                y.sendall(d)
            y.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def end(self):
        self.l.close()
        for t in self.threads:
            t.join(20 * SLOWER)


def a_move_through(*more):
    """The guest at the source and the one at the target, each through a lane of one monitor; and the link between the managers."""
    rig = Rig()
    try:
        rig.a.start()
        rig.b.start()
        m = proxied(rig, rig.a, rig.b, more=more)
        tap = Tap(rig.dir + '/tap.sock', rig.b.link[len('unix:'):])
        rig.b.link = 'unix:' + rig.dir + '/tap.sock'
        rig.a.vm_start(False)
        rig.b.vm_start(True)
        works(rig.a)
        client = rig.migrate(rig.a, rig.b)
        need(client.wait(60) == 0, 'migrate:', client.text()[-1000:])
        need(settled(rig) is rig.b, 'the guest is not at B')
        works(rig.b)
        verdict(rig.b)
        stats = m.end()
        need(stats['clients'] >= 2 and stats['commands'] > 20, stats)
        whole(m, stats)
        down(rig.a, rig.b)
        tap.end()
        for name, data, words in (('out', tap.out, ('HELLO', 'STATE', 'COMMIT')), ('back', tap.back, ('READY', 'PREPARED', 'STARTED'))):
            path = '%s/link-%s' % (rig.dir, name)
            with open(path, 'wb') as f:
                f.write(data)
            code, out, e = ferry('decode', path)
            need(code == 0, 'decode of the link:', e)
            need(all(re.search('^%s ' % w, out, re.M) for w in words), 'frames are missing in', name)
    finally:
        rig.end()


def state_image():
    """A running guest's state, from the real controller: our decoder, written from the documents, agrees with its maker."""
    rig = Rig()
    try:
        rig.a.start()
        rig.a.vm_start(False)
        works(rig.a)
        path = rig.dir + '/state'
        args = ['nvme', 'lm', 'migration-recv', '--sel', '0', '--cntlid', '2', '--csvi', '1', '--csuuidi', '1', '--output-file', path, '--control', rig.a.control]
        code, _, e = ferry(*args, '--numd', '11')
        need(code == 0, e)
        with open(path, 'rb') as f:
            head = f.read()
        total = 48 + 4 * (int.from_bytes(head[16:32], 'little') + int.from_bytes(head[32:48], 'little'))
        os.unlink(path)
        code, _, e = ferry(*args, '--numd', str(total // 4 - 1))
        need(code == 0, e)
        code, out, e = ferry('decode', path)
        need(code == 0 and not e, 'decode:', e)
        need('2 submission queues, 2 completion queues' in out, out[:500])
        for tag in ('FORMAT', 'PROPS', 'ADMIN', 'IDENTITY', 'NAMESPACES', 'QUEUES', 'FEATURES', 'PCI', 'MSIX', 'DOORBELLS', 'SMART'):
            need(re.search(r'%s, (required|optional)' % tag, out), tag, 'is missing')
        need('unknown' not in out and re.search(r'subnqn: nqn\.', out), out[:3000])
        verdict(rig.a)
        down(rig.a)
    finally:
        rig.end()


def no_room():
    """The recording cannot be written: that is said, and what passes goes on passing, and is judged."""
    rig = Rig()
    try:
        rig.a.start()
        log = rig.dir + '/monitor.log'
        p = rig.proc('monitor', log, ['verify', 'monitor', '--listen', rig.dir + '/m.sock', '--to', rig.a.sock, '--record', rig.dir + '/small'])
        until('the monitor to listen', lambda: os.path.exists(rig.dir + '/m.sock'))
        resource.prlimit(p.pid, resource.RLIMIT_FSIZE, (20000, 20000))
        rig.a.sock = rig.dir + '/m.sock'
        rig.a.vm_start(False)
        works(rig.a)
        until('the monitor to say so', lambda: 'and not recorded' in p.text())
        verdict(rig.a)
        p.signal(signal.SIGTERM)
        code, text = p.wait(), p.text()
        stats = json.loads(next(x for x in text.splitlines() if x.startswith('{')))
        need(code == 1 and 'File too large' in text, 'ended with', code, text)
        need(stats['commands'] > 100 and stats['not_recorded'] > stats['commands'] and stats['violations'] == 0, stats)
        down(rig.a)
    finally:
        rig.end()


def stopped_in_the_middle():
    """Two at once, one for each guest; Ctrl-C for the one, a kill for the other, while guests work through them: both recordings are whole up
    to where they end. And however much has passed, a monitor has not grown."""
    rig = Rig()
    try:
        rig.a.start()
        rig.b.start()
        one, two = proxied(rig, rig.a), Monitor(rig, [(rig.dir + '/again.sock', rig.a.sock)])  # and one behind the other
        rig.a.sock = rig.dir + '/again.sock'
        rig.a.vm_start(False)
        works(rig.a)
        with open('/proc/%d/status' % one.p.pid) as f:
            kib = int(re.search(r'VmHWM:\s+(\d+)', f.read()).group(1))
        # Sanitizers keep what was freed, and map a lot.
        need(kib < 65536 * SLOWER, 'the monitor has', kib, 'KiB')
        two.p.signal(signal.SIGINT)
        need(two.p.wait() == 0, 'after Ctrl-C:', two.p.text())
        one.p.signal(signal.SIGKILL)
        one.p.wait()
        for m in (one, two):
            code, out, e = ferry('verify', 'export', '--format', 'log', m.record)
            need(code == 0 and out.count('==> @') > 20, 'the recording does not open:', e, out[:300])
            db = tables(m)
            need(ask(db, 'SELECT count(*) FROM orphan') == 0, 'records without their parent')
            db.close()
        print('# a monitor has %d KiB' % kib, flush=True)
    finally:
        rig.end()


# ---- the suite ---------------------------------------------------------------------------------------------------------------------

INI = """[server]
name=s
run_dir={d}/run
state_dir={d}/state
mmc_socket={d}/mmc.sock
""" + ''.join("""[namespace d%d]
size=16M
block=512
backend=ram
delay=20us
[guest vm%d]
namespaces=d%d
""" % (i, i, i) for i in (1, 2, 3))


# What a test does wrong on purpose, or because the book lets it (a doorbell rung again after a standstill): the monitor says so. What is not
# listed is a finding; what is listed must be found, so that the list stays true.
PROVOKED = {
    'BA-31': {'DBL_ABSENT', 'DBL_RANGE'},
    'BE-02': {'CQ_HEAD_OVER', 'DBL_RANGE'}, 'BE-03': {'DBL_RANGE'}, 'BE-04': {'DBL_RANGE'},
    'E2E-07': {'DBL_SAME'}, 'E2E-08': {'DBL_SAME'}, 'E2E-10': {'DBL_SAME'},
}
# Random sequences with a host's faults in them may break any of a host's rules, or none.
FAULTY = ('RN-04', 'RN-05')
OF_HOSTS = {'DBL_RANGE', 'DBL_ABSENT', 'DBL_SAME', 'DBL_DISABLED', 'SQ_OVER', 'CQ_HEAD_OVER', 'CID_REUSE'}
# Shadow doorbells in memory, and a state that brings some, are not followed well enough there to be judged: DB, SV, BQ are not in the list.
# Whole moves and random sequences take minutes through a monitor: FERRY_E2E=full has them.
LONG = ('XC', 'E2E', 'RN')
GROUPS = 'BA,IO,SG,FU,BE,MP,ID,CQ,FT,TS,TM,TR,SU,RS,MR,ST,LA,RE,XS' + (',' + ','.join(LONG) if os.environ.get('FERRY_E2E') == 'full' else '')


def findings(record, tests):
    """Pairs of a test and a rule that was broken while it ran."""
    found = {}
    with open(record) as f:
        for line in f:
            if '"kind":"violation"' in line:
                v = json.loads(line)
                found.setdefault((test_at(tests, v['t0']), v['note'].split(':')[0]), []).append(v)
    return found


def judge_findings(record, tests):
    found = findings(record, tests)
    surprise = {k: v[0] for k, v in found.items() if k[1] not in PROVOKED.get(k[0], ()) and not (k[0] in FAULTY and k[1] in OF_HOSTS)}
    need(not surprise, 'found, and provoked by nobody:', surprise)
    ran = {t['id'] for t in tests if t['verdict'] == 'PASS'}
    missed = [(i, r) for i in ran for r in PROVOKED.get(i, ()) if (i, r) not in found]
    need(not missed, 'provoked, and not found:', missed)
    return any(i in ran for i in PROVOKED)


def run_suite(sockets, report, *choose):
    p = subprocess.run([FERRY, 'verify', 'run', '--socket', ','.join(sockets), '--seed', '3', '--timeout', '%ds' % (5 * SLOWER), '--report', report] +
                       list(choose), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600 * SLOWER)
    need(p.returncode in (0, 1) and os.path.exists(report), 'the suite says', p.stdout[-3000:], p.stderr)
    with open(report) as f:
        return json.load(f)['tests']


def suite_through(*more, groups=GROUPS):
    """The conformance suite through the monitor, management and guests' controllers in one: nothing is found but what tests provoke.

    Its verdicts are not this test's business, except that nothing breaks: some tests bound what happens in a time, or between two sockets, and
    a proxy on a busy machine may be late. e2e-verify has the verdicts, alone and without a monitor."""
    rig = Rig()
    try:
        d = rig.dir + '/s'
        os.mkdir(d)
        with open(d + '/s.ini', 'w') as f:
            f.write(INI.format(d=d))
        serve = rig.proc('serve', d + '/log', ['serve', '-c', d + '/s.ini'])
        sockets = [d + '/mmc.sock'] + ['%s/run/vm%d.sock' % (d, i) for i in (1, 2, 3)]
        until('the server to listen', lambda: all(os.path.exists(s) for s in sockets))
        # The suite polls, and uses the memory of an Identify again before anybody else can read it: so the monitor is told who is who.
        m = Monitor(rig, [('%s/m%d.sock' % (d, i), s) for i, s in enumerate(sockets)], '--quiet', '--cntlid', '1,2,3,4', *more)
        tests = run_suite(['%s/m%d.sock' % (d, i) for i in range(4)], d + '/r.json', '--group', groups)
        bad = [(t['id'], t['verdict'], t['why']) for t in tests if t['verdict'] not in ('PASS', 'SKIP')]
        need(not any(v == 'ERROR' for _, v, _ in bad) and len(bad) < 5, 'broken by standing between:', bad)
        stats = m.end(clean=False)
        whole(m, stats)
        need(judge_findings(m.record, tests) or groups != GROUPS, 'no test that provokes anything ran')
        need(stats['lent'] > stats['commands'] / 2 or '--guard' not in more, 'what commands lend was not looked at:', stats)
        # Not finding anything says little unless there was something to judge.
        need(stats['reports'] > 10 and stats['states'] > 10, 'reports of memory and states that were judged', stats)
        print('# %d tests, %d commands seen, %d violations, all provoked; reports %d, states %d; unjudged %d; lent %d, unsure %d; late: %s' % (
            len(tests), stats['commands'], stats['violations'], stats['reports'], stats['states'], stats['unjudged'], stats['lent'],
            stats['lent_unsure'], [b[0] for b in bad]), flush=True)
        serve.signal(signal.SIGTERM)
        need(serve.wait() == 0, 'the server ended badly')
    finally:
        rig.end()


TESTS = [
    ('the same answers with and without', same_answers),
    ('a guest, shared mode', lambda: guest_through(check=log_and_decode)),
    ('a guest, message mode', lambda: guest_through('--message-mode')),
    ('packets in tshark', lambda: guest_through('--message-mode', check=opens_in_tshark)),
    ('waves in gtkwave', lambda: guest_through(check=opens_in_gtkwave)),
    ('a trace in protoc', lambda: guest_through(check=opens_in_protoc)),
    ('a right trace', lambda: guest_through(check=is_a_right_trace)),
    ('tables in sqlite3', lambda: guest_through(check=opens_in_sqlite3)),
    ('a move, shared mode', a_move_through),
    ('a move, message mode', lambda: a_move_through('--message-mode')),
    ('a state image', state_image),
    ('no room for the recording', no_room),
    ('stopped in the middle', stopped_in_the_middle),
    ('the suite, shared mode', lambda: suite_through('--guard', 'all')),
    ('the suite, message mode', lambda: suite_through('--message-mode', '--shared', '0')),
    # Without data queues, whose memory our management controller wants mapped: so what it says comes by message too, and is judged as it comes.
    ('memory and states, message mode throughout', lambda: suite_through('--message-mode', groups='TM,TR,MR,ST')),
]

if __name__ == '__main__':
    pick = sys.argv[1:]
    run_tests([t for t in TESTS if not pick or any(p in t[0] for p in pick)])
