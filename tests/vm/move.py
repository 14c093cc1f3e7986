"""A real Linux in a real QEMU is moved between two servers, while it works on its disk.

    move.py [TEST...]      TAP; all tests without arguments

What is shown: the guest goes on (same boot, same processes, no beat of its heart lost), its kernel saw no timeout, reset or error
of the disk, every checksum agrees, and what stood still how long, measured from outside. Then everything that can go wrong.
"""
import contextlib, json, os, re, signal, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import baseline
from vmrig import Failed, Lab, Qmp, Tools, need, rig, run_tests, until

BAD_WORDS = re.compile(r'nvme.*([Tt]imeout|[Rr]eset|[Aa]bort|dead|frozen|I/O [Ee]rror|not ready)|I/O error|Buffer I/O|EXT4-fs (error|warning)|'
                       r'blk_update_request|hung_task|blocked for more than|soft lockup|Oops:|BUG:|Call Trace')


class Pair:
    """Two servers, and a guest that is moved between them. keys: more lines for [guest vm1] at both. shared: both have the file of its disk."""
    def __init__(self, lab, disk='192M', memory='384M', keys='', append='', shared=False):
        self.lab, self.memory, self.append, self.n, self.guest, self.gaps = lab, memory, append, 0, None, []
        both = 'block=4096\n' + ('shared=yes\nnguid=0123456789abcdef0123456789abcdef\n' if shared else '')
        here = '[namespace disk]\nsize=%s\npath=%s/disk-A.img\n%s' % (disk, lab.dir, both) if shared else ''
        self.a, self.b = [lab.side(n, {'disk': disk} if n == 'A' else {}, vm='qemu:%s/%s.qmp' % (lab.dir, n), keys=keys,
                                   arrives=n == 'B', disk_keys=both, extra=here if n == 'B' else '') for n in 'AB']
        self.a.start()
        self.b.start()

    def qemu(self, side, incoming=False, **kw):
        qmp = '%s/%s.qmp' % (self.lab.dir, side.name)
        for p in (qmp, qmp + '.qtest'):
            if os.path.exists(p):
                os.unlink(p)
        self.n += 1
        vm = self.lab.vm('%s%d' % (side.name, self.n), guest=self.guest, nvme=[side.sock], incoming=incoming, paused=incoming,
                         qtest=False, **{'memory': self.memory, 'append': self.append, **kw},
                         more=['-qmp', 'unix:%s,server=on,wait=off' % qmp, '-qtest', 'unix:%s.qtest,server=on,wait=off' % qmp,
                               '-qtest-log', 'none'])
        return vm.start()

    def boot(self, **kw):
        self.vm = self.qemu(self.a, **kw)
        self.guest, self.at = self.vm.guest, self.a
        self.guest.ready()
        self.boots = list(self.guest.boots)
        return self.guest

    def other(self):
        return self.b if self.at is self.a else self.a

    def migrate(self, *args):
        """`ferry migrate` and, as soon as the place is made, the QEMU that waits for the guest. Gives both."""
        to = self.other()
        self.log = '%s/migrate-%d.log' % (self.lab.dir, self.lab.count(''))
        p = self.lab.proc('migrate', self.log, ['migrate', 'vm1', '--to', to.link, '--control', self.at.control, '--json'] + list(args))
        until(lambda: 'a place at %s: %s' % (to.name, p.text()[-400:]), lambda: os.path.exists(to.sock) or not p.running())
        return p

    def events(self):
        with open(self.log, errors='replace') as f:
            return [json.loads(x) for x in f if x.startswith('{')]

    def arrive(self, p, vm2, limit=120):
        """The move must end well; then the guest is at the other side."""
        until(lambda: 'the move to end: %s' % p.text()[-1500:], lambda: not p.running(), limit)
        need(p.p.returncode == 0, 'the move ended with', p.p.returncode, p.text()[-2500:], self.at.serve.text()[-1500:],
             self.other().serve.text()[-1500:])
        self.guest.moved(vm2)
        need(self.vm.wait(20) == 0, 'the old QEMU:', self.vm.say())
        self.vm, self.at = vm2, self.other()

    def move(self, *args):
        """There; the gap seen from outside in s."""
        mark = self.guest.beats.now()
        p = self.migrate(*args)
        self.arrive(p, self.qemu(self.other(), incoming=True))
        end = self.guest.beats.now() + 20
        until('the guest to beat at ' + self.at.name, lambda: self.guest.beats.now() > end)
        gap = self.guest.beats.gap(mark)[0]
        said = [m for m in re.findall(r'of it, in ms: [^"]*', open(self.log).read())]
        self.gaps.append(gap)
        print('# moved to %s: the heart stood still for %.1f ms; %s' % (self.at.name, gap * 1e3, said[-1] if said else ''), flush=True)
        return gap

    def fails(self, p, limit=60, codes=(1, 3, 5)):
        """The move must fail, and the guest be where it was."""
        until(lambda: 'the move to fail: %s' % p.text()[-1500:], lambda: not p.running(), limit)
        need(p.p.returncode in codes, 'the move ended with', p.p.returncode, p.text()[-2500:])
        return p.text()

    def check(self):
        """The guest is the one that was started, and well."""
        need(self.guest.boots == self.boots, 'the guest booted again:', self.guest.boots)
        self.guest.beats.check()
        lines = [x for x in self.guest.dmesg().splitlines() if BAD_WORDS.search(x)]
        need(not lines, 'its kernel says:', '\n'.join(lines[:20]))

    def end(self):
        self.vm.quit()
        rig.down(self.a, self.b)


def make_fs(g, size='192M'):
    g.sh('mkfs.ext4 -q -F /dev/nvme0n1 && mkdir -p /mnt && mount /dev/nvme0n1 /mnt && mkdir -p /run/tree && '
         'for d in 1 2 3 4 5 6 7 8; do mkdir -p /run/tree/d$d; for f in 1 2 3 4 5 6 7 8 9 10; do '
         'head -c $((f * 3001 + d)) /dev/urandom >/run/tree/d$d/f$f; done; done; '
         'cd /run/tree && find . -type f | sort | xargs sha256sum >/run/tree.sums && tar cf /run/tree.tar .')


# Each runs until /run/stop is there and ends with 0 only if everything it read was what it had written.
UNPACK = '''n=0; while [ ! -e /run/stop ]; do n=$((n + 1)); d=/mnt/tree.$((n % 3)); rm -rf $d; mkdir $d; tar xf /run/tree.tar -C $d || exit 3
(cd $d && sha256sum -c -s /run/tree.sums) || { echo "round $n: $(cd $d && sha256sum -c /run/tree.sums 2>&1 | grep -v OK | head)"; exit 4; }
done; echo $n rounds'''
FSYNC = '''n=0; while [ ! -e /run/stop ]; do n=$((n + 1)); f=/mnt/sync.$((n % 8)); dd if=/dev/urandom of=$f bs=4k count=16 conv=fsync 2>/dev/null || exit 3
sha256sum $f >$f.sum; sync $f.sum; sha256sum -c -s $f.sum || { echo "round $n: $f differs"; exit 4; }
done; echo $n rounds'''
FIO = '''n=0; while [ ! -e /run/stop ]; do n=$((n + 1)); fio --name=v --filename=/mnt/fio.dat --size=8M --rw=randwrite --bsrange=4k-32k --ioengine=psync \
--direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0 --output=/run/fio.out || { cat /run/fio.out; exit 4; }
done; echo $n rounds'''
UPTIME = 'while [ ! -e /run/stop ]; do cat /proc/uptime >/run/up; sleep 1; done; cat /run/up'


def start_load(g):
    g.sh('rm -f /run/stop')
    return [g.start(s) for s in (UNPACK, FSYNC, FIO, UPTIME)]


def stop_load(g, jobs):
    g.sh('touch /run/stop')
    for j in jobs:
        code, out = j.wait(90)
        need(code == 0, 'the work in the guest ended with', code, out)
        print('# %s: %s' % ({UNPACK: 'unpack and compare', FSYNC: 'fsync', FIO: 'fio verify', UPTIME: 'uptime'}[j.script], out.strip()[-60:]))


def audit(g):
    """Nothing in the page cache: what is on the medium. And the file system is whole."""
    g.sh('sync; echo 3 >/proc/sys/vm/drop_caches; for f in /mnt/sync.*.sum; do sha256sum -c -s $f || exit 3; done')
    g.sh('umount /mnt && e2fsck -f -n /dev/nvme0n1', 120)


def sees(g, mib):
    """Waits until Linux knows the size, without anybody asking it to look."""
    size = lambda: int(g.sh('blockdev --getsize64 /dev/nvme0n1')) >> 20
    until(lambda: '%d MiB, not %d' % (size(), mib), lambda: size() == mib)


def grow(p, mib):
    code, out, err = p.at.ferry('resize', 'vm1', '1', '%dM' % mib)
    need(code == 0, out, err)


def grow_fs(g, mib):
    sees(g, mib)
    g.sh('resize2fs /dev/nvme0n1 2>&1 && df -k /mnt | awk \'END { exit $2 < %d }\'' % (mib * 800), 120)


NEW_BLOCKS = 'dd if=/dev/nvme0n1 iflag=direct bs=1M skip=240 count=8 2>/dev/null | sha256sum'


def moves_under_load():
    with Lab('move') as lab:
        p = Pair(lab)
        g = p.boot()
        make_fs(g)
        load = start_load(g)
        p.move()
        # It grows at the other side, and takes what lies in its new blocks along.
        grow(p, 256)
        sees(g, 256)
        g.sh('dd if=/dev/urandom of=/dev/nvme0n1 oflag=direct bs=1M seek=240 count=8 2>/dev/null')
        new = g.sh(NEW_BLOCKS)
        p.move()
        need(g.sh(NEW_BLOCKS) == new, 'the new blocks are others after the move')
        grow_fs(g, 256)
        p.move()
        grow(p, 320)  # the guest may still have to be told when it has moved
        p.move()
        grow_fs(g, 320)
        p.move()
        p.move()
        stop_load(g, load)
        sees(g, 320)
        audit(g)
        p.check()
        print('# gaps in ms: %s; a beat usually comes every %.1f ms' % (' '.join('%.0f' % (x * 1e3) for x in p.gaps), g.beats.usual() * 1e3))
        p.end()


def handed_over():
    """The disk is a file that both servers reach: only the memory moves."""
    with Lab('handover') as lab:
        p = Pair(lab, shared=True)
        g = p.boot()
        make_fs(g)
        load = start_load(g)
        for _ in range(2):
            p.move('--mode', 'handover')
            sent = p.events()[-1]['progress']
            need(not sum(n['sent'] for n in sent['namespaces']), 'blocks were copied:', sent)
        stop_load(g, load)
        audit(g)
        p.check()
        p.end()


def beside_the_incumbent():
    """The same guest with the same work, on QEMU's own nvme device mirrored over NBD, and on ours: both gaps from outside, in one run."""
    with Lab('gap') as lab:
        r = baseline.move(lab, prepare=baseline.PREPARE, load=baseline.LOAD)
        theirs = r['gap_s']
        r['job'].wait(120)
        r['b'].quit()
        p = Pair(lab, disk='256M')
        g = p.boot()
        g.sh(baseline.PREPARE, 120)
        for _ in range(3):
            job = g.start(baseline.LOAD)
            until('the load to write', lambda: p.at.vm().get('writes', 0) > 300)
            p.move()
            code, said = job.wait(120)
            need(code == 0, 'the load:', said[-2000:])
        ours = sorted(p.gaps)[1]
        print('# the heart stood still for %.0f ms with ours (median of %s), %.0f ms with QEMU\'s nvme and blockdev-mirror (its own word: %s ms): ratio %.2f'
              % (ours * 1e3, ' '.join('%.0f' % (x * 1e3) for x in p.gaps), theirs * 1e3, r['down_ms'], ours / theirs), flush=True)
        g.sh('cd /mnt && sha256sum -c /tmp/sums >/dev/null && cd / && umount /mnt && e2fsck -fn /dev/nvme0n1', 120)
        p.check()
        p.end()


# By default Linux zeroes a page when it gives it out, and a page that its processor has just written QEMU sends again anyhow.
UNZEROED = 'init_on_alloc=0'
# Files are read into the page cache while QEMU sends memory, each once; after the move they are compared without going to the disk.
CACHE_FILL = '''mkdir -p /mnt/c && for i in $(seq 100 227); do head -c 1048576 /dev/urandom >/mnt/c/$i; done
cd /mnt/c && sha256sum * >/run/cache.sums && sync && echo 3 >/proc/sys/vm/drop_caches'''
# Slowly, so that some of it comes after QEMU has sent the page that it comes into.
CACHE_READ = 'for f in /mnt/c/*; do cat $f >/dev/null; usleep 15000; done'
CACHE_LOOK = '''was=$(awk '{print $3}' /sys/block/nvme0n1/stat)
cd /mnt/c && sha256sum -c /run/cache.sums 2>&1 | grep -v ': OK$'
echo "$(($(awk '{print $3}' /sys/block/nvme0n1/stat) - was)) sectors read"'''


def cache_move(p):
    """One move, the cache filled meanwhile. Gives what is wrong with it afterwards."""
    g = p.guest
    g.sh(CACHE_FILL, 120)
    m = p.migrate()
    vm2 = p.qemu(p.other(), incoming=True)
    until('QEMU to send memory', lambda: not m.running() or 'begins to send its memory' in open(p.log, errors='replace').read())
    job = g.start(CACHE_READ)
    p.arrive(m, vm2)
    code, out = job.wait(40)
    need(code == 0, 'reading ended with', code, out)
    out = g.sh(CACHE_LOOK, 120).strip().splitlines()
    need(out and out[-1].endswith('sectors read'), out)
    print('# 128 MiB compared from the cache: %d files differ, %s' % (len(out) - 1, out[-1]), flush=True)
    need(int(out[-1].split()[0]) < 4096, 'the files were not in the cache:', out[-1])
    return out[:-1]


def page_cache():
    with Lab('cache') as lab:
        p = Pair(lab, memory='512M', append=UNZEROED)
        g = p.boot()
        g.sh('mkfs.ext4 -q -F /dev/nvme0n1 && mkdir -p /mnt && mount /dev/nvme0n1 /mnt')
        for _ in range(2):
            wrong = cache_move(p)
            need(not wrong, 'the page cache is not what was read:', wrong[:5])
        p.check()
        p.end()


def page_cache_without_touch():
    """The same must go wrong when QEMU is not told what the controller wrote: or the test above shows nothing."""
    with Lab('notouch') as lab:
        p = Pair(lab, memory='512M', keys='touch=no\n', append=UNZEROED)
        g = p.boot()
        g.sh('mkfs.ext4 -q -F /dev/nvme0n1 && mkdir -p /mnt && mount /dev/nvme0n1 /mnt')
        try:
            wrong = '\n'.join(cache_move(p))
            if not wrong:
                p.check()
        except Failed as e:
            wrong = str(e)
        need(wrong, 'nothing went wrong without touches: the page cache test proves nothing')
        print('# as it must: %s' % wrong.splitlines()[0][:200])
        p.vm.kill()


def holds(side):
    """What a server holds: descriptors by kind, and KiB of its heap in use."""
    kinds = {}
    for f in os.listdir('/proc/%d/fd' % side.serve.pid):
        try:
            k = re.sub(r'[:0-9\[\]].*', '', os.readlink('/proc/%d/fd/%s' % (side.serve.pid, f)))
        except OSError:
            continue
        kinds[k] = kinds.get(k, 0) + 1
    return kinds, side.call('status')['result']['heap_bytes'] >> 10


def twenty_moves():
    with Lab('twenty') as lab:
        p = Pair(lab, disk='96M', memory='256M')
        g = p.boot()
        make_fs(g)
        load = start_load(g)
        seen = {}
        for i in range(20):
            p.move()
            if i % 2:   # back at A: both servers are in the same position as after every other pair of moves
                seen[i] = [holds(s) for s in (p.a, p.b)]
        stop_load(g, load)
        audit(g)
        p.check()
        first, last = seen[3], seen[19]
        for who, x, y in zip('AB', first, last):
            print('# server %s after 4 moves: %s, %d KiB of heap; after 20: %s, %d KiB' % (who, x[0], x[1], y[0], y[1]))
            need(x[0] == y[0], 'server', who, 'holds other descriptors after 20 moves than after 4:', x[0], y[0])
            # The guest fills its disk meanwhile, and the maps of it grow by some 40 KiB. A move's buffers are megabytes.
            need(y[1] < x[1] + 256, 'server', who, 'grew from', x[1], 'to', y[1], 'KiB')
        p.end()


def refused():
    with Lab('refused') as lab:
        p = Pair(lab, disk='96M', memory='256M')
        g = p.boot()
        make_fs(g)
        load = start_load(g)

        m = p.migrate()     # nobody starts a QEMU there
        text = p.fails(m)
        need('no QEMU waits' in text, 'the refusal does not say what is missing:', text[-600:])
        p.check()

        m = p.migrate()
        other = p.qemu(p.b, incoming=True, memory='320M')
        text = p.fails(m)
        need('320' in text and '256' in text, 'the refusal does not name both sizes:', text[-600:])
        other.kill()
        p.check()

        m = p.migrate()
        other = p.qemu(p.b, incoming=True)
        until('QEMU to wait', lambda: other.status() == 'inmigrate')
        other.kill()        # while it is connected, or just about to
        p.fails(m)
        p.check()

        p.move()
        stop_load(g, load)
        audit(g)
        p.check()
        p.end()


PHASES = ('track', 'pre-copy', 'stop', 'transfer')


def at_phase(p, m, phase, what):
    """Does something when the move is seen in that phase (or later)."""
    order = ['idle', 'connect', 'track', 'pre-copy', 'converge', 'stop', 'transfer', 'commit', 'clean-up', 'done', 'undo', 'failed']

    def there():
        with open(p.log, errors='replace') as f:
            seen = re.findall(r'"phase": ?"([a-z-]+)"', f.read())
        return not m.running() or any(order.index(s) >= order.index(phase) for s in seen if s in order)
    until('phase ' + phase, there)
    what()


def well_or_back(p, m, vm2):
    """After trouble the guest runs in exactly one place; p knows where."""
    until(lambda: 'the move to end: %s' % m.text()[-1500:], lambda: not m.running(), 90)
    if m.p.returncode == 0:
        p.arrive(m, vm2)
        return 'moved'
    need(m.p.returncode in (1, 3, 5), 'the move ended with', m.p.returncode, m.text()[-1500:])
    vm2.kill()
    return 'stayed'


def cancelled_at_each_step():
    with Lab('cancel') as lab:
        p = Pair(lab, disk='96M', memory='256M')
        g = p.boot()
        make_fs(g)
        load = start_load(g)
        for phase in PHASES:
            m = p.migrate()
            vm2 = p.qemu(p.other(), incoming=True)
            at_phase(p, m, phase, lambda: p.at.ferry('cancel', 'vm1'))
            print('# cancelled at %s: %s' % (phase, well_or_back(p, m, vm2)), flush=True)
            p.check()
        p.move()
        stop_load(g, load)
        audit(g)
        p.check()
        p.end()


def target_dies_at_each_step():
    with Lab('dies') as lab:
        p = Pair(lab, disk='96M', memory='256M')
        g = p.boot()
        make_fs(g)
        load = start_load(g)
        for who in ('QEMU', 'server'):
            for phase in ('track', 'pre-copy', 'transfer'):
                # The last step is over in milliseconds, and behind it there is no way back: there the target stands still meanwhile.
                frozen = phase == 'transfer'
                if frozen:
                    p.b.serve.signal(signal.SIGTERM)
                    need(p.b.serve.wait() == 0, p.b.serve.text()[-500:])
                    p.b.start(stop_at=phase)
                m = p.migrate()
                vm2 = p.qemu(p.other(), incoming=True)

                def strike():
                    if who == 'QEMU':
                        vm2.kill()
                    else:
                        p.other().serve.kill()
                if frozen:
                    until('the target to stand still', lambda: not m.running() or p.b.serve.stopped())
                    strike()
                    p.b.serve.signal(signal.SIGCONT)
                else:
                    at_phase(p, m, phase, strike)
                until('the move to end', lambda: not m.running(), 90)
                print('# %s of the target killed at %s: exit %d' % (who, phase, m.p.returncode), flush=True)
                need(m.p.returncode in (1, 3), 'the target was killed at %s, and the move ended with %d:' % (phase, m.p.returncode), m.text()[-1500:])
                vm2.kill()
                if who == 'server':
                    p.other().start()
                p.check()
        p.move()
        stop_load(g, load)
        audit(g)
        p.check()
        p.end()


def source_qemu_dies():
    with Lab('gone') as lab:
        p = Pair(lab, disk='96M', memory='256M')
        p.boot()
        m = p.migrate()
        vm2 = p.qemu(p.b, incoming=True)
        at_phase(p, m, 'pre-copy', p.vm.kill)
        text = p.fails(m)
        need('QEMU' in text or 'VM' in text, 'the end does not say who died:', text[-600:])
        vm2.kill()
        until('A to own the guest still', lambda: p.a.vm().get('own') == 'owner')
        p.vm = p.qemu(p.a)  # and it can be started again
        p.vm.guest.ready(2)
        p.vm.quit()
        rig.down(p.a, p.b)


def order(g, script):
    """A command that nobody answers: it must not be asked again after the move."""
    del g.jobs[g.start(script).id]


def guest_reboots_while_moved():
    with Lab('reboot') as lab:
        p = Pair(lab, disk='96M', memory='256M')
        g = p.boot()
        g.sh('mkfs.ext4 -q -F /dev/nvme0n1 && mkdir -p /mnt && mount /dev/nvme0n1 /mnt && echo kept >/mnt/f && umount /mnt')

        job = g.start('while [ ! -e /run/stop ]; do nvme reset /dev/nvme0 || exit 3; sleep 0.2; dd if=/dev/nvme0n1 of=/dev/null bs=64k count=64 2>/dev/null || exit 4; done')
        p.move()            # a controller that its driver resets all the time
        g.sh('touch /run/stop')
        need(job.wait(60)[0] == 0, 'reset in the guest:', job.result)

        m = p.migrate()
        vm2 = p.qemu(p.other(), incoming=True)
        at_phase(p, m, 'track', lambda: order(g, 'reboot -f'))
        how = well_or_back(p, m, vm2)
        g.ready(2)
        need(g.sh('mkdir -p /mnt; mount /dev/nvme0n1 /mnt && cat /mnt/f; umount /mnt').strip() == 'kept', 'the file is gone')
        print('# rebooted while moved: %s' % how)

        m = p.migrate()
        vm2 = p.qemu(p.other(), incoming=True)
        at_phase(p, m, 'track', lambda: order(g, 'poweroff -f'))
        until('the move to end', lambda: not m.running(), 90)
        print('# powered off while moved: exit %d, %s' % (m.p.returncode, m.text().strip().splitlines()[-1][:160]))
        if m.p.returncode:  # it was quicker than the move
            need(p.vm.wait(30) == 0, p.vm.say())
            vm2.kill()
            need(p.at.vm().get('own') == 'owner', p.at.vm())
        else:
            need(vm2.wait(60) == 0, vm2.say())
        rig.down(p.a, p.b)


@contextlib.contextmanager
def ends_all(pids):
    """Whoever wrote his pid there is nobody's child; he is ended all the same."""
    try:
        yield
    finally:
        for pid in open(pids).read().split() if os.path.exists(pids) else []:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass


def started_by_the_servers():
    """Nobody types a QEMU command line: `ferry vm run` at the source, start= at the target; and `ferry migrate` does the rest."""
    with Lab('start') as lab, ends_all(lab.dir + '/pids'):
        qemu = lab.dir + '/qemu'
        with open(qemu, 'w') as f:
            f.write('#!/bin/sh\necho $$ >>%s/pids\nexec %s -L %s -L %s -qmp unix:%s/test-$$.qmp,server=on,wait=off "$@"\n' % (lab.dir, ' '.join(Tools.argv('usr/bin/qemu-system-x86_64')), Tools.root('usr/share/qemu'),
                    Tools.root('usr/share/seabios'), lab.dir))
        os.chmod(qemu, 0o755)
        keys = 'memory=128M\ncpus=1\nqemu=%s\nqemu_args=-nodefaults -no-user-config -display none\n' % qemu
        a = lab.side('A', {'disk': '64M'}, vm='qemu:%s/A.qmp' % lab.dir, keys=keys)
        b = lab.side('B', {}, vm='qemu:%s/B.qmp' % lab.dir, arrives=True,
                     keys=keys + 'start=%s vm run vm1 -c %s/B.ini --incoming >>%s/start.log 2>&1\n' % (rig.FERRY, lab.dir, lab.dir))
        a.start()
        b.start()
        first = lab.proc('vm run', lab.dir + '/run.log', ['vm', 'run', 'vm1', '-c', a.ini])
        q = Qmp('%s/test-%d.qmp' % (lab.dir, first.pid), first.running)
        need(q('query-status')['status'] == 'running', 'the VM at A does not run')
        q.close()
        code, out, err = a.ferry('migrate', 'vm1', '--to', b.link)
        need(code == 0, 'the move ended with', code, out[-800:], err[-800:], open(lab.dir + '/start.log').read()[-800:])
        need(first.wait() == 0, 'the VM at A ended with', first.p.returncode, first.text())
        second = int(open(lab.dir + '/pids').read().split()[1])
        q = Qmp('%s/test-%d.qmp' % (lab.dir, second))
        need(q('query-status')['status'] == 'running', 'the VM at B does not run')
        q('quit')
        q.close()
        until('the VM at B to leave its controller', lambda: not b.vm().get('attached'))
        rig.down(a, b)


TESTS = [('started_by_the_servers', started_by_the_servers), ('moves_under_load', moves_under_load), ('handed_over', handed_over), ('beside_the_incumbent', beside_the_incumbent), ('page_cache', page_cache), ('page_cache_without_touch', page_cache_without_touch),
         ('twenty_moves', twenty_moves), ('refused', refused), ('cancelled_at_each_step', cancelled_at_each_step),
         ('target_dies_at_each_step', target_dies_at_each_step), ('source_qemu_dies', source_qemu_dies),
         ('guest_reboots_while_moved', guest_reboots_while_moved)]

if __name__ == '__main__':
    want = sys.argv[1:]
    Tools.find()
    run_tests([t for t in TESTS if not want or t[0] in want])
