"""What the end-to-end tests share: two `ferry serve`, guests, an RPC client, waiting with deadlines, a runner that prints TAP.

Everything is a process of the real program in a directory of its own. Nothing here sleeps to be safe: it waits for a state, and a
deadline ends the wait with a failure that says what was waited for.
"""
import json, os, shutil, signal, socket, subprocess, sys, tempfile, threading, time, traceback

FERRY = os.environ.get('FERRY_BIN') or os.path.join(os.environ.get('FERRY_BUILD', 'build'), 'src/cmd/ferry')
FERRY = os.path.abspath(FERRY)
SLOWER = float(os.environ.get('FERRY_E2E_SLOWER', '1'))  # deadlines times this (sanitizers, busy machines)


class Failed(Exception):
    pass


class Skipped(Exception):
    """What the test needs is not there; says what."""


def need(ok, *what):
    if not ok:
        raise Failed(' '.join(str(w) for w in what))


def until(what, get, limit=20):
    """Calls get() until it is true, and gives that."""
    end = time.monotonic() + limit * SLOWER
    nap = 0.001
    while True:
        v = get()
        if v:
            return v
        if time.monotonic() > end:
            raise Failed('waited %d s in vain: %s' % (limit * SLOWER, what() if callable(what) else what))
        time.sleep(nap)
        nap = min(nap * 1.5, 0.02)


class Proc:
    """A child with its output in a file; ended by its own pid."""
    def __init__(self, name, log, argv, env=None):
        self.name, self.log = name, log
        self.out = open(log, 'ab')
        self.p = subprocess.Popen([FERRY] + argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out,
                                  env=dict(os.environ, **(env or {})))
        self.pid = self.p.pid

    def running(self):
        return self.p.poll() is None

    def stopped(self):
        try:
            with open('/proc/%d/stat' % self.pid) as f:
                return f.read().rsplit(')', 1)[1].split()[0] == 'T'
        except OSError:
            return False

    def signal(self, sig):
        if self.running():
            self.p.send_signal(sig)

    def wait(self, limit=30):
        try:
            return self.p.wait(limit * SLOWER)
        except subprocess.TimeoutExpired:
            raise Failed('%s (pid %d) did not end' % (self.name, self.pid))

    def kill(self):
        self.signal(signal.SIGKILL)
        self.wait()

    def text(self):
        with open(self.log, errors='replace') as f:
            return f.read()


class Rpc:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(20 * SLOWER)
        self.s.connect(path)
        self.f = self.s.makefile('rb')

    def call(self, method, **params):
        self.s.sendall(json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': method, 'params': params}).encode() + b'\n')
        while True:
            line = self.f.readline()
            if not line:
                raise OSError('closed')
            m = json.loads(line)
            if m.get('id') == 1:
                return m

    def close(self):
        self.f.close()
        self.s.close()


class Side:
    def __init__(self, rig, name, extra='', namespace=''):
        self.rig, self.name, self.serve, self.guest = rig, name, None, None
        d = rig.dir
        self.run, self.state, self.pool = '%s/%s' % (d, name), '%s/state-%s' % (d, name), '%s/pool-%s' % (d, name)
        self.control, self.link = self.run + '/control.sock', 'unix:%s/link.sock' % self.run
        self.ctl, self.sock = self.run + '/vm1.ctl', self.run + '/vm1.sock'
        self.ini, self.log = '%s/%s.ini' % (d, name), '%s/%s.log' % (d, name)
        self.image = '%s/disk-%s.img' % (d, name)
        text = '[server]\nname=%s\nrun_dir=%s\nstate_dir=%s\n' % (name, self.run, self.state)
        text += extra if extra else '[pool local]\nkind=file\ndir=%s\n' % self.pool
        if namespace:
            text += '[namespace disk]\nsize=%s\npath=%s\ncreate=yes\n' % (namespace, self.image)
            text += '[guest vm1]\nnamespaces=disk\nvm=embedded:%s\n' % self.ctl
        with open(self.ini, 'w') as f:
            f.write(text)

    def start(self, stop_at=None):
        self.serve = self.rig.proc('serve ' + self.name, self.log, ['serve', '-v', '-c', self.ini],
                                   {'FERRY_TEST_STOP_AT': stop_at} if stop_at else None)
        self.wait_up()

    def wait_up(self):
        def up():
            if not self.serve.running():
                raise Failed('server %s ended with %s: %s' % (self.name, self.serve.p.returncode, self.serve.text()[-500:]))
            try:
                Rpc(self.control).close()
                return True
            except OSError:
                return False
        until('server %s to answer' % self.name, up)

    def call(self, method, **params):
        r = Rpc(self.control)
        try:
            return r.call(method, **params)
        finally:
            r.close()

    def vm(self):
        """What status says of the guest, {} if nothing."""
        m = self.call('status')
        return next((g for g in m['result']['guests'] if g['name'] == 'vm1'), {})

    def vm_start(self, incoming):
        n = self.rig.count('guest')
        self.guest_report = '%s/guest-%d.json' % (self.rig.dir, n)
        # Commands wait while servers are dead or a move is driven by hand; what must not happen is that they are lost.
        argv = ['guest', '--timeout', '120s', '--control', self.ctl, '--socket', self.sock, '--memory', self.rig.memory, '--report', self.guest_report]
        argv += ['--incoming'] if incoming else self.rig.guest_args
        self.guest = self.rig.proc('guest-%d at %s' % (n, self.name), '%s/guest-%d.log' % (self.rig.dir, n), argv)
        until('guest at %s to listen' % self.name, lambda: self.guest_listens())

    def guest_listens(self):
        need(self.guest.running(), 'the guest ended:', self.guest.text())
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(self.ctl)
            return True
        except OSError:
            return False
        finally:
            s.close()

    def ferry(self, *args, **kw):
        return ferry(*args, '--control', self.control, **kw)

    def run_leftovers(self):
        return sorted(f for f in os.listdir(self.run) if f != 'lock')


def ferry(*args, **kw):
    """Runs a command to its end: exit code, standard output, standard error."""
    p = subprocess.run([FERRY] + list(args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120 * SLOWER, **kw)
    return p.returncode, p.stdout, p.stderr


class Rig:
    def __init__(self, memory='32M', namespace='64M', area='48M', rate='16M', b_extra='', a_extra=''):
        self.dir = tempfile.mkdtemp(prefix='ferry-e2e-')
        self.memory, self.n, self.procs = memory, 0, []
        self.guest_args = ['--rate', rate, '--area', area, '--area-zeroed', '--queues', '2', '--depth', '16', '--seed', '7']
        self.a = Side(self, 'A', a_extra, namespace)
        self.b = Side(self, 'B', b_extra)

    def count(self, _):
        self.n += 1
        return self.n

    def proc(self, name, log, argv, env=None):
        p = Proc(name, log, argv, env)
        self.procs.append(p)
        return p

    def migrate(self, frm, to, *more):
        n = self.count('migrate')
        return self.proc('migrate', '%s/migrate-%d.log' % (self.dir, n),
                         ['migrate', 'vm1', '--to', to.link, '--control', frm.control, '--json'] + list(more))

    def end(self):
        for p in self.procs:
            if p.running():
                p.signal(signal.SIGKILL)
                p.signal(signal.SIGCONT)
                p.p.wait()
            p.out.close()
        if not os.environ.get('FERRY_E2E_KEEP'):
            shutil.rmtree(self.dir, ignore_errors=True)


def other(rig, side):
    return rig.b if side is rig.a else rig.a


def settled(rig, limit=40):
    """Waits until nobody moves or doubts, and gives the one side that runs the guest. Two owners at any time are a failure."""
    last = {}

    def look():
        a1, b, a2 = rig.a.vm(), rig.b.vm(), rig.a.vm()
        last['a'], last['b'] = a2, b
        if a1.get('own') == a2.get('own') == b.get('own') == 'owner' and a1['epoch'] == a2['epoch']:
            raise Failed('two owners: %s and %s' % (a2, b))
        for v in (a2, b):
            if v.get('moving_out') or v.get('moving_in') or v.get('in_doubt'):
                return None
        owner = [s for s, v in ((rig.a, a2), (rig.b, b)) if v.get('own') == 'owner' and v.get('served')]
        return owner[0] if len(owner) == 1 else None
    return until(lambda: 'one owner and no move: %s' % last, look, limit)


def works(side, limit=30):
    """The guest writes: the counter of its controller grows, and grows again."""
    first = side.vm().get('writes', 0)
    until(lambda: 'the guest to write at %s: %s; %s' % (side.name, side.vm(), side.guest and side.guest.text()),
          lambda: side.vm().get('writes', 0) > first + 20, limit)


def verdict(side):
    """Ends the guest; it reads back everything first."""
    side.guest.signal(signal.SIGTERM)
    code = side.guest.wait(60)
    with open(side.guest_report) as f:
        v = json.load(f)
    need(code == 0, 'the guest ended with', code, v, side.guest.text())
    need(v['lost'] == 0 and v['invented'] == 0 and v['other'] == 0, 'violations:', v)
    need(v['verify_passes'] >= 1 and v['blocks_checked'] > 0, 'nothing was checked:', v)
    return v


def down(*sides):
    for s in sides:
        s.serve.signal(signal.SIGTERM)
    for s in sides:
        need(s.serve.wait() == 0, 'server', s.name, 'ended with', s.serve.p.returncode, s.serve.text()[-2000:])
        need(not s.run_leftovers(), 'left in', s.run, s.run_leftovers())
        left = [f for f in os.listdir(s.state) if f.endswith('~')]
        need(not left, 'left in', s.state, left)


def run_tests(tests, jobs=1):
    """tests: list of (name, function). TAP on standard output; a failed one's logs go to standard error."""
    lock, done, bad = threading.Lock(), [0], [0]
    todo = list(tests)
    print('1..%d' % len(todo), flush=True)

    def one(name, fn):
        began, why, skip = time.monotonic(), None, ''
        try:
            fn()
        except Skipped as e:
            skip = ' # SKIP %s' % e
        except Exception as e:  # whatever it is, the test failed
            why = str(e) if isinstance(e, Failed) else traceback.format_exc()
        with lock:
            done[0] += 1
            print('%sok %d - %s%s' % ('' if why is None else 'not ', done[0], name, skip), flush=True)
            print('# %.1f s' % (time.monotonic() - began), flush=True)
            if why is not None:
                bad[0] += 1
                for line in why.splitlines():
                    print('# ' + line, flush=True)
                print('# again: %s %s' % (sys.argv[0], name), flush=True)

    def worker():
        while True:
            with lock:
                if not todo:
                    return
                t = todo.pop(0)
            one(*t)
    threads = [threading.Thread(target=worker) for _ in range(jobs)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    sys.exit(1 if bad[0] else 0)
