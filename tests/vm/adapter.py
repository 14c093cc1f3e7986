#!/usr/bin/env python3
"""The QEMU adapter (src/vm/qemu) with real, unmodified QEMUs: refusals, a move of memory and PCI function, and the way back from each step.

tests/vm/vm_adapter.c makes the calls that the manager makes, and carries the stream. Most guests here are firmware that found nothing to
boot: it has set up the function, and this test adds an MSI-X table as a driver would. The controller's own state is not moved here.
Numbers are printed, none is judged.
"""
import json, os, re, subprocess, sys

from vmrig import Lab, connect, need, run_tests, until

DRIVER = os.path.join(os.environ.get('FERRY_BUILD', 'build'), 'tests/vm-adapter')


class Adapter:
    """vm_adapter. a('settle A 0') gives (rc, text); ok() wants rc 0; no() wants a failure whose sentence has all these words."""
    def __init__(self):
        self.p = subprocess.Popen([DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.us, self.carried = {}, 0

    def __call__(self, line):
        self.p.stdin.write(line + '\n')
        self.p.stdin.flush()
        m = re.match(r'(-?\d+) (\d+) (\d+) (\d+) \| (.*)', self.p.stdout.readline())
        need(m, 'vm_adapter died at:', line)
        self.us[line] = int(m[2])
        self.carried = int(m[4])
        return int(m[1]), m[5]

    def ok(self, *lines):
        text = ''
        for line in lines:
            rc, text = self(line)
            need(rc == 0, line, 'gave', rc, text)
        return text

    def no(self, line, *words):
        rc, text = self(line)
        need(rc < 0 and rc != -11, line, 'gave', rc, text)
        missing = [w for w in words if w not in text]
        need(not missing, line, 'says', repr(text), 'without', missing)
        return text

    def end(self):
        self.p.stdin.close()
        self.p.wait()


class Qtest:
    """Reads and writes a guest as the adapter does, but straight down; only while the adapter is not connected."""
    BDF = 0x80000000 | 4 << 11

    def __init__(self, vm):
        self.s = connect(vm.path('qmp2') + '.qtest')
        self.s.settimeout(20)
        self.f = self.s.makefile('r')

    def __call__(self, line):
        self.s.sendall((line + '\n').encode())
        while True:
            r = self.f.readline().split()
            if r[0] == 'IRQ':
                continue
            need(r[0] == 'OK', line, r)
            return r[1] if len(r) > 1 else None

    def get(self, at):
        latch = self('inl 0xcf8')
        self('outl 0xcf8 0x%x' % (self.BDF | at & 0xfc))
        v = self('inl 0xcfc')
        self('outl 0xcf8 ' + latch)
        return int(v, 16)

    def put(self, at, value, size='l'):
        latch = self('inl 0xcf8')
        self('outl 0xcf8 0x%x' % (self.BDF | at & 0xfc))
        self('out%s 0x%x 0x%x' % (size, 0xcfc + (at & 3), value))
        self('outl 0xcf8 ' + latch)

    def cap(self, id_):
        at = self.get(0x34) & 0xff
        while at:
            v = self.get(at)
            if v & 0xff == id_:
                return at
            at = v >> 8 & 0xff
        raise AssertionError('no capability %d' % id_)

    def table(self):
        at = self.cap(0x11)
        where = self.get(at + 4)
        bar = 0x10 + 4 * (where & 7)
        return (self.get(bar) & ~15) + (where & ~7), ((self.get(at + 2 & ~3) >> 16 & 0x7ff) + 1) * 16

    def all(self):
        at, size = self.table()
        return [self.get(4 * i) for i in range(64)], self('read 0x%x 0x%x' % (at, size)), int(self('inl 0xcf8'), 16)

    def close(self):
        self.f.close()
        self.s.close()


def as_a_driver_would(vm):
    """Bus mastering on, three vectors set up, one of them masked, MSI-X on; a latch that must not change. Gives what is there then."""
    q = Qtest(vm)
    q.put(0x04, 0x0406, 'w')
    q.put(0x0c, 0x10, 'b')
    at, _ = q.table()
    for n, masked in ((0, 0), (1, 0), (2, 1)):
        q('write 0x%x 0x10 0x%s' % (at + 16 * n, b''.join(x.to_bytes(4, 'little') for x in (0xfee00000 + 0x1000 * n, 0, 0x4021 + n, masked)).hex()))
    q.put(q.cap(0x11) + 2, 0x8000, 'w')
    q.put(q.cap(0x10) + 8, 0x2030, 'w')
    q('outl 0xcf8 0x80001234')
    seen = q.all()
    q.close()
    need(seen[1].count('e0fe') == 3, 'the table did not take the vectors:', seen[1][:200])
    return seen


class Two:
    """Servers and QEMUs A and B, as often as needed; vm-adapter connected to neither."""
    def __init__(self):
        self.lab, self.a, self.n = Lab('adapter'), Adapter(), 0
        self.sides = {}
        for name in 'AB':
            self.sides[name] = self.lab.side(name, {'disk-' + name: '16M'})
            self.sides[name].start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.lab.say()
        self.a.end()
        self.lab.end()

    def qemu(self, side, incoming=False, qtest=True, nvme=True, more=(), memory='192M', enumerated=True, **kw):
        self.n += 1
        v = self.lab.vm('%s%d' % (side, self.n), nvme=[self.sides[side].sock] if nvme is True else nvme or [], boot=kw.pop('boot', 'none'), cpus=kw.pop('cpus', 1),
                        memory=memory, incoming=incoming, qtest=False, more=list(more), **kw)
        if qtest:
            v.more += ['-qtest', 'unix:%s.qtest,server=on,wait=off' % v.path('qmp2'), '-qtest-log', 'none']
        v.start()
        v.qmp
        if not incoming and enumerated and nvme is True:
            until('firmware to set up the function', lambda: any(r['address'] not in (-1, 0) for b in v.qmp('query-pci') for d in b['devices'] if
                                                                 d['qdev_id'] == 'nvme0' for r in d['regions']))
        return v

    def new(self, name, vm, sock=None):
        self.a.ok('new %s %s %s' % (name, vm.path('qmp2'), sock or self.sides[name[0]].sock))

    def begun(self, **kw):
        """Source and target connected, the stream begun at both ends and flowing."""
        src, dst = self.qemu('A', **kw), self.qemu('B', incoming=True, **kw)
        seen = as_a_driver_would(src)
        self.new('A', src), self.new('B', dst)
        self.a.ok('open A', 'open B', 'begin A out', 'begin B in', 'flow A B')
        return src, dst, seen


def unchanged(vm, seen):
    """seen: what Qtest.all() gave; without the latch if the guest works meanwhile."""
    q = Qtest(vm)
    now = q.all()
    q.close()
    for i, (x, y) in enumerate(zip(seen[0], now[0])):
        need(x == y, 'configuration dword %02xh was %08x and is %08x' % (4 * i, x, y))
    need(seen[1:] == now[1:len(seen)], 'the table or the latch changed:', seen[1:], now[1:])


def settings(vm):
    return vm.qmp('query-migrate-capabilities'), {k: v for k, v in vm.qmp('query-migrate-parameters').items()}


# ---- moves

def moves():
    with Two() as t:
        src, dst, seen = t.begun()
        src_shape, dst_shape = t.a.ok('shape A'), t.a.ok('shape B')
        need(src_shape == dst_shape and '192 MiB' in src_shape and 'nvme0 at 04.0' in src_shape, src_shape, dst_shape)
        t.a.ok('settle A 20', 'pause A')
        need(not src.qmp('query-status')['running'], 'the source runs after pause')
        t.a.ok('finish A', 'image A', 'arrive B')
        need(dst.status() == 'paused', 'the target stands until resume, but is', dst.status())
        t.a.ok('resume B')
        need(dst.status() == 'running', 'the target is', dst.status())
        t.a.ok('discard A', 'close A', 'close B')
        need(src.wait() == 0, 'the source did not end')
        unchanged(dst, seen)
        print('# us: ' + ', '.join('%s %d' % (k, v) for k, v in t.a.us.items() if k[-1] in 'AB'))


def behind_a_port():
    """The bus of a device behind a root port has no number at a target that waits."""
    port = ['-device', 'pcie-root-port,id=rp0,addr=0x6']
    with Two() as t:
        dev = lambda s: port + ['-device', json.dumps({'driver': 'vfio-user-pci', 'id': 'nvme0', 'bus': 'rp0', 'socket': {'type': 'unix', 'path': t.sides[s].sock}})]
        src = t.qemu('A', nvme=None, more=dev('A'))
        dst = t.qemu('B', nvme=None, more=dev('B'), incoming=True)
        place = lambda v: [d['pci_bridge'].get('devices', []) for b in v.qmp('query-pci') for d in b['devices'] if d['qdev_id'] == 'rp0'][0]
        until('firmware to set up the function', lambda: place(src) and place(src)[0]['regions'][0]['address'] not in (-1, 0))
        t.new('A', src), t.new('B', dst)
        t.a.ok('open A', 'open B', 'begin A out', 'begin B in', 'flow A B', 'settle A 20', 'pause A', 'finish A', 'image A', 'arrive B', 'resume B')
        need(place(src) == place(dst), place(src), place(dst))


def paused_by_its_user():
    with Two() as t:
        src, dst = t.qemu('A'), t.qemu('B', incoming=True)
        src.qmp('stop')
        t.new('A', src), t.new('B', dst)
        t.a.ok('open A', 'open B', 'begin A out', 'flow A', 'settle A 20', 'pause A', 'resume A', 'resume A')
        need(src.status() == 'paused', 'taken back, it is', src.status())
        t.a.ok('begin A out', 'begin B in', 'flow A B', 'settle A 20', 'pause A', 'finish A', 'image A', 'arrive B', 'resume B', 'resume B')
        need(dst.status() == 'paused', 'arrived, it is', dst.status())


def held_until_allowed():
    """An idle guest does not stand before a time was allowed; then it does."""
    with Two() as t:
        src, dst, seen = t.begun(memory='512M')
        last = [-1]

        def still():
            before, (rc, text) = t.a.carried, t.a('settle A 0 300')
            need(rc == -11 and src.status() == 'running' and not text.startswith('left 0 '), rc, text, src.status())
            last.append(text)
            return t.a.carried == before and before > 0
        until('the stream to be held', still)
        print('# held with', last[-1], 'after', t.a.carried, 'bytes')
        t.a.ok('settle A 20', 'pause A', 'finish A', 'image A', 'arrive B', 'resume B')
        need(dst.status() == 'running', dst.status())


# ---- ways back

def taken_back():
    """From each step: the guest runs on at the source, nothing of the function or of QEMU's settings has changed, and it can be moved again."""
    steps = (('begin A out',), ('begin A out', 'flow A', 'settle A 0 50'), ('begin A out', 'flow A', 'settle A 20'),
             ('begin A out', 'flow A', 'settle A 20', 'pause A'), ('begin A out', 'flow A', 'settle A 20', 'pause A', 'finish A', 'image A'))
    with Two() as t:
        src = t.qemu('A')
        seen, before = as_a_driver_would(src), settings(src)
        for s in steps:
            t.new('A', src)
            t.a.ok('open A')
            for line in s:
                rc, text = t.a(line)
                need(rc == 0 or (rc == -11 and line.startswith('settle A 0')), line, rc, text)
            t.a.ok('resume A')
            need(src.status() == 'running', 'after', s, 'the source is', src.status())
            t.a.ok('resume A', 'alive A', 'close A')
            unchanged(src, seen)
            need(settings(src) == before, 'settings changed by', s, settings(src), before)
        dst = t.qemu('B', incoming=True)
        t.new('A', src), t.new('B', dst)
        t.a.ok('open A', 'open B', 'begin A out', 'begin B in', 'flow A B', 'settle A 20', 'pause A', 'finish A', 'image A', 'arrive B', 'resume B',
               'close A', 'close B')
        unchanged(dst, seen)


def half_finished():
    """Taken back while the rest is being sent and nobody reads it: cancelled in the middle."""
    with Two() as t:
        src = t.qemu('A')
        seen = as_a_driver_would(src)
        t.new('A', src)
        t.a.ok('open A', 'begin A out', 'flow A', 'settle A 20', 'pause A', 'dry')
        t.a('finish A - 200')
        t.a.ok('resume A', 'close A')
        need(src.status() == 'running', src.status())
        unchanged(src, seen)


def closed_by_us():
    """close: a source goes on as it is, a target that began to receive ends."""
    with Two() as t:
        src, dst, seen = t.begun()
        t.a('settle A 0 100')
        t.a.ok('close B', 'close A')
        need(dst.wait() == 0, 'the target did not end')
        until('the source to give up', lambda: src.qmp('query-migrate').get('status') == 'failed')
        need(src.status() == 'running', src.status())
        unchanged(src, seen)


def target_killed():
    for when in ('settle A 0 50', 'pause A', 'finish A'):
        with Two() as t:
            src, dst, seen = t.begun()
            if when == 'settle A 0 50':
                t.a(when)
            else:
                t.a.ok('settle A 20', 'pause A')
            if when == 'finish A':
                t.a.ok('finish A', 'image A')
            dst.kill()
            t.a.no('alive B', 'is gone')
            if when == 'finish A':
                t.a.no('arrive B', 'is gone')
            t.a.no('resume B')
            t.a.ok('resume A', 'close A', 'close B')
            need(src.status() == 'running', src.status())
            unchanged(src, seen)


def source_killed():
    with Two() as t:
        src, dst, seen = t.begun()
        t.a.ok('settle A 20', 'pause A')
        src.kill()
        t.a.no('alive A', 'is gone')
        t.a.no('finish A', 'gone')
        t.a.no('resume A', 'gone')
        t.a.no('arrive B', 'cut off')
        t.a.no('resume B', 'half a guest')
        t.a.ok('discard A', 'close A', 'close B')
        need(dst.wait() == 0, 'the target did not end')


def others_interfere():
    with Two() as t:
        src, dst, seen = t.begun()
        t.a.ok('settle A 20', 'pause A')
        src.qmp('migrate_cancel')
        t.a.no('finish A', 'QEMU')
        t.a.ok('resume A')
        need(src.status() == 'running', src.status())
        t.a.ok('begin A out', 'flow A', 'settle A 20', 'pause A')
        src.qmp('system_reset')
        src.qmp.event('RESET')
        t.a.no('finish A', 'was reset')
        t.a.ok('resume A')
        need(src.status() == 'running', src.status())
        t.a.ok('begin A out', 'flow A', 'settle A 20')
        src.qmp('migrate_cancel')
        t.a.no('pause A', 'somebody else')
        t.a.ok('resume A')
        src.qmp('quit')
        src.wait()
        t.a.no('alive A', 'it was told to')


# ---- refusals

def refused_at_open():
    with Two() as t:
        def refuse(words, sock=None, **kw):
            v = t.qemu('A', enumerated=False, **kw)
            t.new('A', v, sock)
            print('# ' + t.a.no('open A', *words))
            t.a.ok('close A')
            v.quit()
        refuse(['not shared', 'share=on'], more=['-object', 'memory-backend-ram,id=other,size=16M'])
        refuse(['no vfio-user-pci', t.sides['A'].sock], nvme=None)
        refuse(['2 vfio-user-pci', 'would be lost'], nvme=[t.sides['A'].sock, t.sides['B'].sock])
        refuse(['connected to ' + t.sides['B'].sock, 'not to'], nvme=[t.sides['B'].sock])
        refuse(['has no name'], nvme=None, more=['-device', json.dumps({'driver': 'vfio-user-pci', 'socket': {'type': 'unix', 'path': t.sides['A'].sock}})])
        refuse(['-qtest unix:'], qtest=False)
        v = t.qemu('A', enumerated=False)
        t.new('A', v, t.sides['A'].run + '/../A/vm1.sock')
        t.a.ok('open A')  # another name of the same socket
        t.new('C', v, t.sides['A'].sock)
        t.a.ok('patience C 1000')
        print('# ' + t.a.no('open C', 'has not greeted', 'another client'))
        v.quit()
        t.a.no('open A', 'no QEMU answers')
        print('# ' + t.a.no('open C', 'no QEMU answers', '-qmp unix:'))


def refused_at_begin():
    with Two() as t:
        src, dst = t.qemu('A'), t.qemu('B', incoming=True)
        t.new('A', src), t.new('B', dst)
        t.a.ok('open A', 'open B')
        print('# ' + t.a.no('begin A in', 'does not wait for a guest'))
        print('# ' + t.a.no('begin B out', 'waits for one'))
        src.qmp('migrate-set-parameters', max_bandwidth=4096)
        src.qmp('migrate', uri='exec:cat >/dev/null')
        print('# ' + t.a.no('begin A out', 'by somebody else'))
        src.qmp('migrate_cancel')
        until('it to be cancelled', lambda: src.qmp('query-migrate')['status'] == 'cancelled')
        need(src.status() == 'running' and dst.status() == 'inmigrate', src.status(), dst.status())
        t.a.ok('begin A out', 'begin B in', 'flow A B', 'settle A 20', 'pause A', 'finish A', 'image A', 'arrive B')


def other_memory():
    """A target of another size: the shapes differ, and if nobody looks QEMU's own words come."""
    with Two() as t:
        src, dst = t.qemu('A'), t.qemu('B', incoming=True, memory='256M')
        t.new('A', src), t.new('B', dst)
        t.a.ok('open A', 'open B')
        need(t.a.ok('shape A') != t.a.ok('shape B'), 'the shapes are equal')
        t.a.ok('begin A out', 'begin B in', 'flow A B')
        t.a('settle A 20 3000')
        print('# ' + t.a.no('arrive B', 'cannot take the guest', "device 'ram'"))
        t.a.ok('resume A', 'close A', 'close B')
        need(src.status() == 'running', src.status())
        need(dst.wait() == 0, 'the target did not end')


def image_changed():
    with Two() as t:
        src, dst, seen = t.begun()
        t.a.ok('settle A 20', 'pause A', 'finish A', 'image A', 'spoil A')
        print('# ' + t.a.no('arrive B', 'checksum'))
        t.a.no('resume B', 'half a guest')
        t.a.ok('resume A', 'close B', 'close A')
        need(src.status() == 'running', src.status())
        unchanged(src, seen)


# ---- Linux

def linux_goes_on():
    """A Linux that works on its disk through every way back: no timeout, no error, nothing of it lost."""
    with Two() as t:
        src = t.qemu('A', boot='linux', cpus=2, memory='384M')
        g = src.guest
        g.ready()
        g.sh('mkfs.ext4 -q -O ^has_journal /dev/nvme0n1 && mount /dev/nvme0n1 /mnt && dmesg -c >/dev/null')
        job = g.start('i=0; while [ ! -e /stop ]; do i=$((i+1)); dd if=/dev/urandom of=/mnt/f bs=64k count=32 conv=fsync 2>/dev/null || exit 1; '
                      's=$(sha256sum </mnt/f); echo 3 >/proc/sys/vm/drop_caches; [ "$s" = "$(sha256sum </mnt/f)" ] || exit 2; done; echo $i')
        t.new('A', src)
        t.a.ok('open A')
        mark = g.beats.now()
        for n in range(6):
            t.a.ok('begin A out', 'flow A')
            rc, text = t.a('settle A 0 300')
            need(rc == -11, 'not held:', rc, text)
            rc, text = t.a('settle A 100 60000')
            need(rc == 0, rc, text)
            t.a.ok('pause A')
            if n % 2:
                t.a.ok('finish A', 'image A')
            t.a.ok('resume A')
            print('# settle %d us, pause %d us, resume %d us; %s' % (t.a.us['settle A 100 60000'], t.a.us['pause A'], t.a.us['resume A'], text))
        print('# longest silence of the guest %.1f ms' % (1000 * g.beats.gap(mark)[0]))
        code, out = g.run('touch /stop')
        code, out = job.wait()
        need(code == 0 and int(out) > 0, 'the work ended with', code, out)
        said = g.dmesg()
        need(not re.search(r'nvme|timeout|I/O error|hung|BUG|WARNING', said), said)
        g.beats.check(mark)


def linux_arrives():
    """Linux with its nvme driver attached goes over and runs on there, its vectors as the driver set them. (Its controller's state stays behind:
    that is the manager's part, so nothing is asked of the disk afterwards.)"""
    with Two() as t:
        src = t.qemu('A', boot='linux', cpus=2, memory='384M', initrd='initrd-small.img')
        g = src.guest
        g.ready()
        dst = t.qemu('B', incoming=True, boot='linux', cpus=2, memory='384M', initrd='initrd-small.img', guest=g)
        t.new('A', src), t.new('B', dst)
        mark = g.beats.now()
        t.a.ok('open A', 'open B', 'begin A out', 'begin B in', 'flow A B', 'settle A 30', 'pause A', 'finish A', 'image A', 'arrive B', 'resume B', 'close B')
        g.moved(dst)
        arrived = g.beats.now()
        until('the guest to beat at the target', lambda: g.beats.now() > arrived + 50)
        t.a.ok('close A')
        q = Qtest(src)  # it stands, as it was
        seen = q.all()
        q.close()
        need(bytes.fromhex(seen[1][2:]).count(b'\xe0\xfe') >= 2, 'no vectors were in use:', seen[1][:200])
        unchanged(dst, seen[:2])
        need(int(g.sh('cat /proc/uptime').split('.')[0]) > 0, 'no uptime')
        g.beats.check(mark)
        need(len(g.boots) == 1, 'it has booted again:', g.boots)
        print('# longest silence of the guest %.1f ms; ' % (1000 * g.beats.gap(mark)[0]) +
              ', '.join('%s %d us' % (k, t.a.us[k]) for k in ('pause A', 'finish A', 'arrive B', 'resume B')))


if __name__ == '__main__':
    all_ = [moves, behind_a_port, paused_by_its_user, held_until_allowed, taken_back, half_finished, closed_by_us, target_killed, source_killed,
            others_interfere, refused_at_open, refused_at_begin, other_memory, image_changed, linux_goes_on, linux_arrives]
    run_tests([(f.__name__, f) for f in all_ if len(sys.argv) < 2 or f.__name__ in sys.argv[1:]])
