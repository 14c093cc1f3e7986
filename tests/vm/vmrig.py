"""What the VM tests share: unmodified QEMU with an unmodified Linux on controllers of `ferry serve`.

    with Lab() as lab:                                  # a directory of its own, every process ended at the end
        a = lab.side('A', {'disk': '256M'})             # `ferry serve` with a guest vm1 that has these disks
        a.start()
        vm = lab.vm('A', nvme=[a.sock]).start()         # one QEMU
        vm.guest.ready()                                # Linux is up
        print(vm.guest.sh('nvme list'))                 # a command in the guest; its output; a failure raises

Three objects, because a guest outlives the QEMU that it runs in:
    Vm     one QEMU process: command line, QMP (vm.qmp), sockets (vm.path('qmp2'): for others), console
    Guest  the Linux in it: commands and heartbeat. `lab.vm('B', guest=vm.guest, incoming=True)` is another QEMU for the same guest:
           its channels are one stream over both. After a move say guest.moved(vm2): commands go there from now on
    Beats  what came from the guest's heartbeat, with our own clock: guest.beats.gap() is the longest silence

Nothing sleeps to be safe (see tests/e2e/rig.py). If anything fails, Lab prints the consoles.
"""
import base64, collections, json, os, re, select, shlex, shutil, signal, socket, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'e2e'))
import rig
from rig import Failed, need, run_tests, until  # noqa: F401 (the tests take them from here)

LIB_DIRS = ('lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu/ceph')
SLOWER = rig.SLOWER
KERNEL_ARGS = 'console=ttyS0 loglevel=5 mitigations=off panic=0 oops=panic tsc=unstable rdinit=/init'


class Tools:
    """The prepared root and guest (root.sh); its programs run with their own libraries and see our paths."""
    _found = None

    @classmethod
    def find(cls):
        if cls._found is None:
            p = subprocess.run([os.path.join(HERE, 'root.sh')], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            need(p.returncode == 0, 'tests/vm/root.sh failed with', p.returncode)
            cls._found = p.stdout.split()
        return cls._found

    @classmethod
    def root(cls, *path):
        return os.path.join(cls.find()[0], *path)

    @classmethod
    def guest(cls, *path):
        return os.path.join(cls.find()[1], *path)

    @classmethod
    def argv(cls, program):
        return [cls.root('lib64/ld-linux-x86-64.so.2'), '--library-path', ':'.join(cls.root(d) for d in LIB_DIRS), cls.root(program)]


class Proc(rig.Proc):
    """As rig.Proc, for any program."""
    def __init__(self, name, log, argv, env=None):
        self.name, self.log = name, log
        self.out = open(log, 'ab')
        self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out, env=dict(os.environ, **(env or {})))
        self.pid = self.p.pid


def connect(path, limit=20, alive=None):
    """A connection to a unix socket that somebody is about to make."""
    def attempt():
        need(alive is None or alive(), 'its process ended:', path)
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            return None
    return until('connection to ' + path, attempt, limit)


class QmpError(Failed):
    def __init__(self, command, error):
        super().__init__('QMP %s: %s: %s' % (command, error.get('class'), error.get('desc')))
        self.error = error


class Qmp:
    """qmp('migrate', uri='unix:...') gives the answer or raises QmpError. Events are kept in self.events."""
    def __init__(self, path, alive=None):
        self.s = connect(path, alive=alive)
        self.buf, self.events = b'', []
        self._next(lambda m: 'QMP' in m, 'greeting')
        self('qmp_capabilities')

    def _line(self, limit):
        end = time.monotonic() + limit
        while b'\n' not in self.buf:
            self.s.settimeout(max(0.001, end - time.monotonic()))
            try:
                more = self.s.recv(65536)
            except socket.timeout:
                return None
            if not more:
                raise Failed('QEMU closed its QMP socket')
            self.buf += more
        line, self.buf = self.buf.split(b'\n', 1)
        return json.loads(line)

    def _next(self, wanted, what, limit=30):
        end = time.monotonic() + limit * SLOWER
        while True:
            m = self._line(end - time.monotonic())
            if m is None:
                raise Failed('QMP: waited %d s in vain for %s' % (limit * SLOWER, what))
            if wanted(m):
                return m
            if 'event' in m:
                self.events.append(m)

    def __call__(self, command, **arguments):
        self.s.sendall(json.dumps({'execute': command, 'arguments': {k.replace('_', '-'): v for k, v in arguments.items()}}).encode() + b'\n')
        m = self._next(lambda m: 'return' in m or 'error' in m, 'the answer to ' + command)
        if 'error' in m:
            raise QmpError(command, m['error'])
        return m['return']

    def raw(self, command, arguments):
        """For arguments with underscores in their names."""
        self.s.sendall(json.dumps({'execute': command, 'arguments': arguments}).encode() + b'\n')
        m = self._next(lambda m: 'return' in m or 'error' in m, 'the answer to ' + command)
        if 'error' in m:
            raise QmpError(command, m['error'])
        return m['return']

    def event(self, name, limit=60, where=lambda data: True):
        """Waits for an event, also one that came earlier and was not yet asked for."""
        fits = lambda m: m.get('event') == name and where(m.get('data', {}))
        for i, m in enumerate(self.events):
            if fits(m):
                return self.events.pop(i)
        return self._next(fits, 'event ' + name, limit)

    def close(self):
        self.s.close()


class Beats:
    """The heartbeat as it came: (our time in s, number, guest's uptime in ms, pid)."""
    def __init__(self):
        self.all = []
        self.bad = []
        self.hops = []  # numbers (marks) of the first beat that came from another QEMU than the one before
        self.vm = None

    def take(self, line, now, vm=None):
        f = line.split()
        if vm is not self.vm:
            if self.vm:
                self.hops.append(len(self.all))
            self.vm = vm
        if len(f) == 3 and all(x.isdigit() for x in f):
            self.all.append((now,) + tuple(int(x) for x in f))
        else:
            self.bad.append(line)

    def now(self):
        """A mark: how many there are."""
        return len(self.all)

    def gap(self, since=0, until_=None):
        """The longest silence in seconds from beat number `since` (a mark) on, and when it began. (0, None) with fewer than two."""
        b = self.all[max(0, since - 1):until_]
        return max(((y[0] - x[0], x[0]) for x, y in zip(b, b[1:])), default=(0, None))

    def hop(self, n=-1):
        """The silence in seconds across the nth move (the last, if not said), and when it began: the pause itself. gap() from before the
        move on also has what the guest lost to the work of moving, and to whoever else uses this machine."""
        i = self.hops[n]
        return self.all[i][0] - self.all[i - 1][0], self.all[i - 1][0]

    def usual(self, since=0):
        """The median distance between beats in s: what the guest does undisturbed."""
        b = self.all[since:]
        d = sorted(y[0] - x[0] for x, y in zip(b, b[1:]))
        return d[len(d) // 2] if d else 0

    def check(self, since=0):
        """One process, no beat lost or twice, time never backwards: the guest that beats is the guest that beat."""
        need(not self.bad, 'torn heartbeat:', self.bad[:3])
        b = self.all[since:]
        for x, y in zip(b, b[1:]):
            need(y[1] == x[1] + 1, 'beats lost or invented:', x, y)
            need(y[2] >= x[2] and y[3] == x[3], 'another guest, or its time went backwards:', x, y)


class Job:
    """A script in the guest. wait() gives (exit code, output)."""
    def __init__(self, guest, id_, script):
        self.guest, self.id, self.script, self.result = guest, id_, script, None
        self.request = b'\nrun %s %s .\n' % (id_.encode(), base64.b64encode(script.encode()))

    def done(self):
        return self.result is not None

    def wait(self, limit=60):
        until(lambda: 'the guest to end %r; console: %s' % (self.script, self.guest.console_tail()),
              lambda: self.done() or self.guest.check_alive(), limit)
        return self.result


class Guest:
    """The Linux inside; it may run in one QEMU after the other."""
    def __init__(self, name):
        self.name, self.vms, self.at = name, [], None
        self.beats, self.boots = Beats(), []   # boots: (boot id, kernel) of every start
        self.jobs, self.n = {}, 0
        self.lock = threading.Lock()
        self.channels = {'cmd': [], 'beat': []}  # sockets, oldest QEMU first
        self.part = {'cmd': b'', 'beat': b''}
        self.wake, self.woken = socket.socketpair()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.ended = False
        self.thread.start()

    # -- for the tests ------------------------------------------------------------------------------------------------

    def ready(self, boots=1, limit=120):
        """Waits until Linux has started (for the nth time)."""
        until(lambda: '%s to boot: %s' % (self.name, self.console_tail()), lambda: len(self.boots) >= boots or self.check_alive(), limit)
        return self.boots[boots - 1]

    def start(self, script):
        """Runs a shell script in the background of the guest and gives the Job."""
        with self.lock:
            self.n += 1
            j = Job(self, '%s-%d' % (self.name, self.n), script)
            self.jobs[j.id] = j
        self._send(j.request)
        return j

    def run(self, script, limit=60):
        return self.start(script).wait(limit)

    def sh(self, script, limit=60):
        """Output of a script that must succeed."""
        code, out = self.run(script, limit)
        need(code == 0, 'in the guest: %s\nended with %d:\n%s' % (script, code, out))
        return out

    def dmesg(self):
        """What the kernel has said since this was last asked (or since it started)."""
        return self.sh('dmesg -c')

    def moved(self, vm):
        """The guest runs in another QEMU: commands go there. What may have been lost half-way is asked again (it runs once)."""
        self.at = vm
        for j in [j for j in self.jobs.values() if not j.done()]:
            self._send(j.request)

    def check_alive(self):
        """None, or raises: nobody will answer any more."""
        need(any(v.running() for v in self.vms), 'QEMU of', self.name, 'ended:', ' | '.join(v.say() for v in self.vms))

    def console_tail(self):
        return '\n'.join(v.console()[-1500:] for v in self.vms)

    # -- channels -----------------------------------------------------------------------------------------------------

    def attach(self, vm):
        self.vms.append(vm)
        if self.at is None:
            self.at = vm
        for kind in ('cmd', 'beat'):
            s = connect(vm.path(kind), alive=vm.running)
            s.settimeout(20 * SLOWER)
            self.channels[kind].append((vm, s))
        self.wake.send(b'.')

    def _send(self, request):
        for vm, s in self.channels['cmd']:
            if vm is self.at:
                try:
                    s.sendall(request)
                except OSError:
                    pass  # its QEMU ended: moved() or check_alive() will speak of it

    def _read(self):
        """Its own thread. Earlier QEMUs are read out before later ones: the streams join where the guest moved."""
        while not self.ended:
            all_ = [(k, s, vm) for k in ('beat', 'cmd') for vm, s in self.channels[k]]
            got, _, _ = select.select([s for _, s, _ in all_] + [self.woken], [], [])
            now = time.monotonic()
            if self.woken in got:
                self.woken.recv(100)
            for kind, s, vm in all_:
                self._drain(kind, s, vm, now)

    def _drain(self, kind, s, vm, now):
        while True:
            try:
                data = os.read(s.fileno(), 65536)  # recv() would wait: the timeout is for sending
            except BlockingIOError:
                return
            except OSError:
                data = b''
            if not data:
                self.channels[kind] = [c for c in self.channels[kind] if c[1] is not s]
                s.close()
                return
            *lines, self.part[kind] = (self.part[kind] + data).split(b'\n')
            for line in lines:
                line = line.decode(errors='replace')
                if kind == 'beat':
                    self.beats.take(line, now, vm)
                else:
                    self._answer(line)

    def _answer(self, line):
        f = line.split(' ')
        if f[0] == 'ready' and len(f) == 3:
            self.part['beat'] = b''
            self.boots.append((f[1], f[2]))
        elif f[0] == 'done' and len(f) == 5 and f[4] == '.' and f[1] in self.jobs:
            try:
                self.jobs[f[1]].result = int(f[2]), base64.b64decode(f[3], validate=True).decode(errors='replace')
            except ValueError:
                pass

    def end(self):
        self.ended = True
        self.wake.send(b'.')
        self.thread.join()
        for k in self.channels:
            for _, s in self.channels[k]:
                s.close()
        self.wake.close()
        self.woken.close()


class Vm:
    """One QEMU. Build it with Lab.vm(); start() runs it.

    nvme       vfio-user sockets of controllers; PCI addresses 00:04.0, 00:05.0 ... (the same in every QEMU of a guest)
    incoming   True: starts with -incoming defer and waits (qmp('migrate-incoming', uri=...))
    paused     True: starts with -S
    boot       'linux': our kernel and initramfs; 'bios', 'uefi': firmware and what it finds; 'none'
    append     more kernel arguments
    initrd     'initrd.img', or 'initrd-small.img' without nvme-cli, fio, e2fsprogs
    more       more QEMU arguments (a list)

    Sockets: path('qmp') is the test's (vm.qmp), path('qmp2') is for somebody else (ferry's adapter), path('qtest') likewise.
    """
    def __init__(self, lab, name, guest, nvme=(), cpus=2, memory='384M', incoming=False, paused=False, boot='linux', append='',
                 more=(), qtest=True, initrd='initrd.img'):
        self.lab, self.name, self.guest = lab, name, guest
        self.nvme, self.cpus, self.memory, self.incoming, self.paused, self.boot = list(nvme), cpus, memory, incoming, paused, boot
        self.append, self.more, self.qtest, self.initrd = append, list(more), qtest, initrd
        self.proc, self._qmp = None, None

    def path(self, what):
        return '%s/vm-%s.%s' % (self.lab.dir, self.name, what)

    def argv(self):
        a = Tools.argv('usr/bin/qemu-system-x86_64')
        a += ['-L', Tools.root('usr/share/qemu'), '-L', Tools.root('usr/share/seabios')]
        a += ['-name', self.name, '-accel', 'tcg', '-machine', 'q35,memory-backend=mem0', '-cpu', 'max', '-m', self.memory, '-smp', str(self.cpus)]
        a += ['-object', 'memory-backend-memfd,id=mem0,size=%s,share=on' % self.memory]
        a += ['-nodefaults', '-no-user-config', '-display', 'none']
        a += ['-chardev', 'file,id=console,append=on,path=' + self.path('console'), '-device', 'isa-serial,chardev=console']
        a += ['-device', 'virtio-serial-pci,id=ports,addr=0x3']
        for n, kind in enumerate(('cmd', 'beat')):
            a += ['-chardev', 'socket,id=%s,server=on,wait=off,path=%s' % (kind, self.path(kind))]
            a += ['-device', 'virtserialport,bus=ports.0,nr=%d,chardev=%s,name=ferry.%s' % (n + 1, kind, kind)]
        for q in ('qmp', 'qmp2'):
            a += ['-qmp', 'unix:%s,server=on,wait=off' % self.path(q)]
        if self.qtest:
            a += ['-qtest', 'unix:%s,server=on,wait=off' % self.path('qtest'), '-qtest-log', 'none']
        for n, sock in enumerate(self.nvme):
            a += ['-device', json.dumps({'driver': 'vfio-user-pci', 'id': 'nvme%d' % n, 'addr': '0x%x' % (4 + n),
                                         'socket': {'type': 'unix', 'path': sock}, **({'bootindex': n} if self.boot in ('bios', 'uefi') else {})})]
        if self.boot == 'linux':
            a += ['-kernel', Tools.guest('vmlinuz'), '-initrd', Tools.guest(self.initrd)]
            a += ['-append', KERNEL_ARGS + ' ' + self.append]
        elif self.boot == 'uefi':
            shutil.copy(Tools.root('usr/share/OVMF/OVMF_VARS_4M.fd'), self.path('vars'))
            a += ['-drive', 'if=pflash,unit=0,format=raw,readonly=on,file=' + Tools.root('usr/share/OVMF/OVMF_CODE_4M.fd')]
            a += ['-drive', 'if=pflash,unit=1,format=raw,file=' + self.path('vars')]
        if self.incoming:
            a += ['-incoming', 'defer']
        if self.paused:
            a += ['-S']
        return a + self.more

    def start(self):
        # QEMU's own modules lie in the prepared root.
        self.proc = self.lab.spawn('qemu ' + self.name, self.path('log'), self.argv(), {'QEMU_MODULE_DIR': Tools.root('usr/lib/x86_64-linux-gnu/qemu')})
        self.guest.attach(self)
        return self

    @property
    def qmp(self):
        if self._qmp is None:
            self._qmp = Qmp(self.path('qmp'), self.running)
        return self._qmp

    @property
    def pid(self):
        return self.proc.pid

    def running(self):
        return self.proc is not None and self.proc.running()

    def status(self):
        return self.qmp('query-status')['status']

    def console(self):
        try:
            with open(self.path('console'), errors='replace') as f:
                return f.read()
        except OSError:
            return ''

    def say(self):
        return '%s: exit %s, %s' % (self.name, self.proc and self.proc.p.poll(), self.proc and self.proc.text()[-500:])

    def wait(self, limit=60):
        """For its end (poweroff, quit). Gives the exit code."""
        return self.proc.wait(limit)

    def quit(self):
        if self.running():
            self.qmp('quit')
            need(self.wait() == 0, self.say())

    def kill(self):
        if self.running():
            self.proc.kill()


class VmSide(rig.Side):
    """`ferry serve` for VMs: side.start(), side.call('status'), side.ferry('nvme', ...), side.sock (guest vm1's vfio-user socket)."""
    def __init__(self, lab, name, disks, vm, keys, extra, disk_keys, arrives, server_keys):
        super().__init__(lab, name)
        self.disks = disks
        text = '[server]\nname=%s\nrun_dir=%s\nstate_dir=%s\n%s' % (name, self.run, self.state, server_keys)
        text += '[pool local]\nkind=file\ndir=%s\n' % self.pool
        for d, size in disks.items():
            text += '[namespace %s]\nsize=%s\npath=%s\ncreate=yes\n%s' % (d, size, self.disk(d), disk_keys)
        text += '[guest vm1]\nvm=%s\n%s' % (vm, keys)
        text += 'arrives=yes\n' if arrives else 'namespaces=%s\n' % ','.join(disks)
        with open(self.ini, 'w') as f:
            f.write(text + extra)

    def disk(self, name):
        return '%s/%s-%s.img' % (self.rig.dir, name, self.name)


def on_term(_signal, _frame):
    """Whoever stops a test (meson, when its time is over) must not leave its machines behind."""
    for lab in list(Lab.open):
        lab.end()
    os._exit(1)


class Lab(rig.Rig):
    open = []

    def __init__(self, name='vm'):
        Lab.open.append(self)
        self.dir = tempfile.mkdtemp(prefix='ferry-%s-' % name)
        self.n, self.procs, self.vms, self.sides = 0, [], [], []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.say()
        self.end()

    def side(self, name, disks=None, vm='none', keys='', extra='', disk_keys='', arrives=False, server_keys=''):
        """disks: {name: size}, the namespaces of guest vm1, in order; keys: more lines of [guest vm1]; disk_keys: of each
        [namespace]; server_keys: of [server]; extra: more sections; arrives: vm1 comes from elsewhere."""
        s = VmSide(self, name, disks or {}, vm, keys, extra, disk_keys, arrives, server_keys)
        self.sides.append(s)
        return s

    def vm(self, name, guest=None, **kw):
        """A QEMU (not started). guest: the Guest of an earlier one, if it is the same guest."""
        v = Vm(self, name, guest or Guest(name), **kw)
        self.vms.append(v)
        return v

    def spawn(self, name, log, argv, env=None):
        p = Proc(name, log, argv, env)
        self.procs.append(p)
        return p

    def say(self):
        """The ends of all consoles and logs, for a failure."""
        for p in self.procs:
            print('# ---- %s: exit %s\n%s' % (p.name, p.p.poll(), p.text()[-3000:]), file=sys.stderr)
        for v in self.vms:
            print('# ---- console of %s\n%s' % (v.name, v.console()[-6000:]), file=sys.stderr)
        sys.stderr.flush()

    def end(self):
        if self not in Lab.open:
            return
        Lab.open.remove(self)
        for p in self.procs:
            if p.running():
                p.signal(signal.SIGKILL)
        for g in {v.guest for v in self.vms}:
            g.end()
        super().end()


signal.signal(signal.SIGTERM, on_term)
