#!/usr/bin/env python3
"""Linux on our controller, in both doorbell modes: its nvme driver, nvme-cli, ext4, fio, resets of every kind, reboots; and firmware.

Tests of one mode share a guest, one after the other (a failed one gets a new guest for the next). After each the kernel must have
nothing to complain about but what the test caused. What a test writes it reads back around the page cache.

Programs are run from the initramfs only, never from the disk under test: an emulated processor does not notice that we, not it,
changed a page of code.
"""
import atexit, json, re, sys

import bootdisk
from vmrig import Lab, Tools, need, run_tests, until

BDF = '0000:00:04.0'
PCI = '/sys/bus/pci/devices/' + BDF
# Whatever of this the kernel says is a failure, unless the test allows it by a pattern of its own.
BAD = re.compile(r'(nvme|0000:00:04|ext4|jbd2|blk_|Buffer|EXT4|JBD2).*([Tt]imeout|resetting|is down|[Aa]bort|not ready|Removing|disabling|unable|[Cc]ould not|'
                 r'[Ff]ail|[Ee]rror|[Ii]nvalid|[Uu]nexpected|warning)|I/O error|BUG:|WARNING:|Oops:|hung task|soft lockup')
DISK = 256 << 20
READ = 'iflag=direct bs=1M'
FIND = 'for d in /sys/class/nvme/nvme0/nvme0*n*; do b=${d##*/}; case $b in nvme0c*) b=nvme0n${b##*n};; esac; echo "$(cat $d/nsid) $b"; done'


class Use:
    """A guest, its server, and what the kernel has said."""
    def __init__(self, doorbells):
        self.doorbells, self.lab, self.boots, self.disk = doorbells, None, 0, {'1': '', '2': ''}

    def begin(self):
        if self.lab:
            return
        self.lab = Lab('use')
        try:
            self.side = self.lab.side('A', {'disk': str(DISK), 'small': '32M'}, keys='doorbells=%s\n' % self.doorbells)
            self.side.start()
            self.start_vm()
        except Exception:
            self.broken()
            raise

    def start_vm(self):
        # iomem=relaxed: nvme-cli reads our registers itself (show-regs, effects-log).
        self.boots = 1
        self.vm = self.lab.vm('A%d' % self.lab.count('vm'), nvme=[self.side.sock], append='iomem=relaxed').start()
        self.guest = self.vm.guest
        self.guest.ready()
        live(self)

    def up_again(self):
        self.boots += 1
        self.guest.ready(self.boots)
        live(self)

    # In scripts, @1 and @2 are the disks with NSID 1 and 2. Linux numbers its own in the order in which it happens to scan them.
    def script(self, text):
        return text.replace('@1', self.disk['1']).replace('@2', self.disk['2'])

    def sh(self, script, limit=60):
        return self.guest.sh(self.script(script), limit)

    def run(self, script, limit=60):
        return self.guest.run(self.script(script), limit)

    def start(self, script):
        return self.guest.start(self.script(script))

    def quiet(self, allow=None):
        said = [x for x in self.guest.dmesg().splitlines() if BAD.search(x) and not (allow and re.search(allow, x))]
        need(not said, 'the kernel says:\n' + '\n'.join(said))

    def broken(self):
        self.lab.say()
        self.lab.end()
        self.lab = None

    def end(self):
        self.vm.quit()
        self.side.serve.signal(15)
        need(self.side.serve.wait() == 0, 'the server ended with', self.side.serve.p.returncode)
        need(not self.side.run_leftovers(), 'left:', self.side.run_leftovers())
        self.lab.end()
        self.lab = None


def test(allow=None):
    """A test of a guest; the kernel may say what matches `allow`."""
    def mark(fn):
        def run(u):
            u.begin()
            try:
                fn(u)
                u.quiet(allow)
            except Exception:
                u.broken()
                raise
        run.title = fn.__name__.replace('_', ' ')
        return run
    return mark


def irqs(u):
    """{queue: how often it has interrupted}"""
    return {int(m[1]): sum(int(x) for x in m[0].split())
            for m in re.findall(r'^\s*\d+:((?:\s+\d+)+)\s.*nvme0q(\d+)', u.sh('cat /proc/interrupts'), re.M)}


def field(text, name):
    m = re.search(r'^%s\s*:\s*(\S+)' % re.escape(name), text, re.M)
    need(m, 'no', name, 'in', text)
    return m.group(1)


def reads_zero(u, dev, count=8):
    need(u.run('dd if=%s %s count=%d 2>/dev/null | tr -d "\\000" | head -c 1 | grep -q .' % (dev, READ, count))[0] == 1, dev, 'is not all zeroes')


def pattern(u, dev, mib=4, skip=0):
    """Random data at the start of a device, read back; gives its sum."""
    u.sh('dd if=/dev/urandom of=/tmp/pat bs=1M count=%d 2>/dev/null; dd if=/tmp/pat of=%s bs=1M seek=%d oflag=direct 2>/dev/null; rm /tmp/pat' % (mib, dev, skip))
    return summed(u, dev, mib, skip)


def summed(u, dev, mib=4, skip=0):
    return u.sh('dd if=%s %s count=%d skip=%d 2>/dev/null | sha256sum' % (dev, READ, mib, skip))


def live(u):
    """Waits until both disks are there and answer."""
    def found():
        d = dict(x.split() for x in u.run(FIND)[1].splitlines() if re.fullmatch(r'\d+ nvme0n\d+', x))
        return d if set(d) == {'1', '2'} and u.sh('cat /sys/class/nvme/nvme0/state').strip() == 'live' else None
    u.disk = {n: '/dev/' + d for n, d in until('both disks', found, 30).items()}
    u.sh('for d in @1 @2; do dd if=$d of=/dev/null %s count=1 2>/dev/null || exit 1; done' % READ)


def writing(u):
    """Waits until the first disk is being written."""
    w = lambda: int(u.sh('cat /sys/class/block/$(basename @1)/stat').split()[4])
    before = w()
    until('fio to write', lambda: w() > before + 500, 120)


# ---- what the driver finds

@test()
def the_driver_starts(u):
    live(u)
    need(u.sh('cat /sys/class/nvme/nvme0/queue_count').strip() == '3', 'not two I/O queues')
    need(u.sh('cat /sys/class/block/$(basename @1)/size').strip() == str(DISK // 512), 'size')
    need(u.sh('cat /sys/class/block/$(basename @1)/queue/logical_block_size').strip() == '4096', 'block size')
    d = json.loads(u.sh('nvme list -o json'))['Devices']
    need(all(x in json.dumps(d) for x in ('nvme0n1', 'nvme0n2', 'Ferry NVMe')), 'nvme list:', d)


@test()
def each_processor_has_its_queue_and_interrupt(u):
    before = irqs(u)
    need(set(before) == {0, 1, 2}, 'vectors of queues:', before)
    for cpu in (0, 1):
        u.sh('taskset -c %d dd if=@1 of=/dev/null bs=4k count=64 iflag=direct 2>/dev/null' % cpu)
    after = irqs(u)
    need(all(after[q] > before[q] for q in (1, 2)), 'interrupts before and after:', before, after)


@test('resetting controller')
def the_driver_uses_shadow_doorbells(u):
    t = '/sys/kernel/tracing'
    u.sh('mount -t tracefs t %s 2>/dev/null; echo 1 >%s/events/nvme/nvme_setup_cmd/enable; echo 1 >%s/events/nvme/nvme_complete_rq/enable' % (t, t, t))
    u.sh('nvme reset /dev/nvme0')
    live(u)
    said = u.sh('echo 0 >%s/events/nvme/enable; cat %s/trace; echo >%s/trace' % (t, t, t))
    m = re.search(r'nvme_setup_cmd: nvme0: qid=0, cmdid=(\d+),.*nvme_admin_dbbuf', said)
    need(m, 'no Doorbell Buffer Config in the trace:', said[-2000:])
    done = re.search(r'nvme_complete_rq: nvme0: qid=0, cmdid=%s, .*status=(\S+)' % m.group(1), said[m.end():])
    need(done and int(done.group(1), 0) == 0, 'its completion:', done and done.group(0))


# ---- nvme-cli

@test()
def nvme_cli_reads_everything(u):
    c = u.sh('nvme id-ctrl /dev/nvme0')
    need(int(field(c, 'oacs'), 0) & 0x100 and int(field(c, 'oncs'), 0) & 4 and field(c, 'cntrltype') == '1', c)
    need(field(c, 'subnqn') == 'nqn.2026-01.org.ferry:A', c)
    n = u.sh('nvme id-ns @1')
    need(int(field(n, 'nsze'), 0) == DISK // 4096 and field(n, 'nguid') != '0' * 32, n)
    need('nguid' in u.sh('nvme ns-descs @1'), 'descriptors')
    need(re.findall(r'0x\d+$', u.sh('nvme list-ns /dev/nvme0'), re.M) == ['0x1', '0x2'], 'list-ns')
    need('num of ctrls present: 1' in u.sh('nvme list-ctrl /dev/nvme0'), 'list-ctrl')
    s = u.sh('nvme smart-log /dev/nvme0')
    need(field(s, 'critical_warning') == '0' and field(s, 'available_spare') == '100%' and int(field(s, 'host_read_commands')) > 0, s)
    need('Entry[ 0]' in u.sh('nvme error-log /dev/nvme0 -e 1'), 'error-log')
    need('frs1' in u.sh('nvme fw-log /dev/nvme0'), 'fw-log')
    need('Format NVM' in u.sh('nvme effects-log /dev/nvme0'), 'effects-log')
    need(int(field(u.sh('nvme show-regs /dev/nvme0'), 'version'), 0) == 0x20100, 'show-regs')
    need('LID 0x5 ' in u.sh('nvme supported-log-pages /dev/nvme0'), 'supported-log-pages')


@test()
def an_error_is_logged_and_counted(u):
    before = int(field(u.sh('nvme smart-log /dev/nvme0'), 'num_err_log_entries'))
    code, said = u.run('nvme write-uncor @1 -s 20 -c 0')
    need(code != 0 and 'Invalid Command Opcode' in said, said)
    after = int(field(u.sh('nvme smart-log /dev/nvme0'), 'num_err_log_entries'))
    need(after == before + 1, 'entries before and after:', before, after)
    e = u.sh('nvme error-log /dev/nvme0 -e 1')
    need(int(field(e, 'error_count')) == after and int(field(e, 'nsid'), 0) == 1 and int(field(e, 'lba'), 0) == 20, e)


@test()
def features_are_got_and_set(u):
    need('0x00010001' in u.sh('nvme get-feature /dev/nvme0 -f 7'), 'number of queues')
    for fid, value in ((4, 0x155), (2, 0), (1, 2)):
        u.sh('nvme set-feature /dev/nvme0 -f %d -V %d' % (fid, value))
        got = u.sh('nvme get-feature /dev/nvme0 -f %d' % fid)
        need(int(got.rsplit(':', 1)[1], 16) == value, got)
    u.sh('nvme set-feature /dev/nvme0 -f 6 -V 0')
    need('00000000' in u.sh('nvme get-feature /dev/nvme0 -f 6'), 'the write cache stayed on')
    u.sh('nvme set-feature /dev/nvme0 -f 6 -V 1')
    need(u.run('nvme get-feature /dev/nvme0 -f 0x7f')[0] != 0, 'a feature that does not exist was read')


# ---- data

@test(r'mounted filesystem|drop_caches')
def ext4_keeps_its_files(u):
    u.sh('mkfs.ext4 -q @1 && mount @1 /mnt')
    u.sh('mkdir -p /mnt/tree && cp -r /modules /bin /mnt/tree/ && cd /mnt/tree && find . -type f | xargs sha256sum >/tmp/sums && rm -rf bin/nvme && sync', 120)
    u.sh('cp /bin/nvme /mnt/tree/bin/ && umount /mnt && e2fsck -fn @1', 120)
    u.sh('mount @1 /mnt && cd /mnt/tree && sha256sum -c /tmp/sums >/dev/null && cd / && umount /mnt', 120)


@test()
def fio_verifies_what_two_processors_wrote(u):
    u.sh('fio --name=v --filename=@1 --rw=randrw --bs=4k-64k --iodepth=16 --ioengine=libaio --direct=1 --size=24M --offset_increment=24M '
         '--numjobs=2 --cpus_allowed=0-1 --cpus_allowed_policy=split --verify=crc32c --do_verify=1 --verify_fatal=1 --group_reporting', 180)


@test(r'mounted filesystem')
def fio_fsyncs_on_a_filesystem(u):
    u.sh('mkfs.ext4 -q @2 && mount @2 /mnt')
    u.sh('fio --name=s --directory=/mnt --rw=randwrite --bs=4k --size=4M --fsync=8 --verify=crc32c --do_verify=1 --verify_fatal=1', 180)
    u.sh('umount /mnt && e2fsck -fn @2')


@test('rescanning namespaces')
def format_leaves_zeroes(u):
    for ses in (0, 1):
        pattern(u, '@1')
        other = pattern(u, '@2')
        u.sh('nvme format @1 -l 0 -s %d -f' % ses)
        reads_zero(u, '@1')
        need(summed(u, '@2') == other, 'formatting one disk changed the other')


@test()
def discarded_blocks_read_zero(u):
    behind = pattern(u, '@1', 4, 8)
    pattern(u, '@1', 8)
    u.sh('/bin/blkdiscard -f -o 0 -l $((8 << 20)) @1')
    reads_zero(u, '@1')
    need(summed(u, '@1', 4, 8) == behind, 'blocks behind the discarded ones changed')
    pattern(u, '@1', 8)
    u.sh('/bin/blkdiscard -z -o 0 -l $((8 << 20)) @1')  # Write Zeroes
    reads_zero(u, '@1')
    need(summed(u, '@1', 4, 8) == behind, 'blocks behind the zeroed ones changed')


# ---- another size

def sees(u, dev, mib):
    """Waits until Linux knows the size, without anybody asking it to look."""
    u.size = lambda: int(u.sh('blockdev --getsize64 ' + dev))
    until(lambda: '%d MiB, not %d' % (mib, u.size() >> 20), lambda: u.size() == mib << 20)


@test(r'mounted filesystem|resized filesystem|resizing filesystem')
def a_disk_grows_under_its_filesystem(u):
    u.sh('mkfs.ext4 -q @2 32M && mount @2 /mnt && dd if=/dev/urandom of=/mnt/old bs=1M count=8 2>/dev/null && sha256sum /mnt/old >/tmp/old && dmesg -c >/dev/null')
    j = u.start('fio --name=g --directory=/mnt --rw=randwrite --bs=4k --size=4M --ioengine=libaio --iodepth=8 --direct=1 --time_based --runtime=4 '
                '--verify=crc32c --do_verify=1 --verify_fatal=1 --verify_backlog=256')
    until('fio to write', lambda: u.run('test -s /mnt/g.0.0')[0] == 0)
    code, out, err = u.side.ferry('resize', 'vm1', '2', '96M')
    need(code == 0, out, err)
    sees(u, '@2', 96)
    said = u.guest.sh('dmesg')
    need('rescanning namespaces' in said and 'detected capacity change from 65536 to 196608' in said, 'the kernel says:', said)
    u.sh('resize2fs @2 2>&1 && df -k /mnt | awk \'END { exit $2 < 80000 }\'', 120)
    code, said = j.wait(120)
    need(code == 0, 'fio:', said[-3000:])
    u.sh('dd if=/dev/urandom of=/mnt/new bs=1M count=50 2>/dev/null && sha256sum /mnt/new >/tmp/new && sync && echo 3 >/proc/sys/vm/drop_caches', 120)
    u.sh('sha256sum -c -s /tmp/old /tmp/new && umount /mnt && e2fsck -fn @2', 120)
    changed = u.sh('nvme changed-ns-list-log /dev/nvme0')
    need('[' not in changed, 'the list was not cleared by the driver that read it:', changed)


@test(r'beyond end of device|I/O error')
def a_disk_shrinks(u):
    u.side.ferry('resize', 'vm1', '2', '96M')
    sees(u, '@2', 96)
    kept = pattern(u, '@2', 8)
    pattern(u, '@2', 4, 60)
    code, out, err = u.side.ferry('resize', 'vm1', '2', '32M')
    need(code == 3 and '--shrink' in err, code, out, err)
    code, out, err = u.side.ferry('resize', 'vm1', '2', '32M', '--shrink')
    need(code == 0, out, err)
    sees(u, '@2', 32)
    need(summed(u, '@2', 8) == kept, 'the data changed')
    u.side.ferry('resize', 'vm1', '2', '64M')
    sees(u, '@2', 64)
    need(summed(u, '@2', 8) == kept, 'the data changed')
    need(u.run('dd if=@2 bs=1M skip=32 %s 2>/dev/null | tr -d "\\000" | head -c 1 | grep -q .' % 'iflag=direct')[0] == 1, 'old data came back')
    u.side.ferry('resize', 'vm1', '2', '32M', '--shrink')
    sees(u, '@2', 32)


# ---- resets

def under_load(u, script, allow_errors=False):
    """Verifying fio on the first disk while something happens to the controller: what it had been told was written is there."""
    j = u.start('fio --name=l --filename=@1 --rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --direct=1 --size=16M --loops=50 '
                      '--time_based --runtime=6 --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_backlog=256')
    writing(u)
    u.sh(script)
    code, said = j.wait(120)
    need(code == 0, 'fio:', said[-3000:])


@test('resetting controller')
def nvme_reset_under_load(u):
    data = pattern(u, '@1', 4, 32)
    under_load(u, 'for n in 1 2 3; do nvme reset /dev/nvme0 || exit 1; done')
    live(u)
    need(summed(u, '@1', 4, 32) == data, 'data changed')


@test()
def function_level_reset_under_load(u):
    data = pattern(u, '@1', 4, 32)
    need(u.sh('cat %s/reset_method' % PCI).split() == ['flr'], 'reset methods')
    under_load(u, 'echo 1 >%s/reset' % PCI)
    live(u)
    need(summed(u, '@1', 4, 32) == data, 'data changed')


@test()
def unbind_and_bind(u):
    data = pattern(u, '@1')
    for _ in range(3):
        u.sh('cd /sys/bus/pci/drivers/nvme && echo %s >unbind && [ ! -e @1 ] && echo %s >bind' % (BDF, BDF))
        live(u)
    need(summed(u, '@1') == data, 'data changed')


@test()
def removed_and_found_again_on_the_bus(u):
    data = pattern(u, '@1')
    u.sh('echo 1 >%s/remove && [ ! -e %s ] && echo 1 >/sys/bus/pci/rescan' % (PCI, PCI))
    live(u)
    need(summed(u, '@1') == data, 'data changed')


@test()
def the_machine_reboots(u):
    data = pattern(u, '@1')
    u.start('reboot -f')
    u.up_again()
    live(u)
    need(summed(u, '@1') == data, 'data changed')


@test()
def the_machine_is_reset_under_load(u):
    data = pattern(u, '@1', 4, 32)
    u.start('fio --name=l --filename=@1 --rw=randwrite --bs=4k --iodepth=32 --ioengine=libaio --direct=1 --size=16M --time_based --runtime=60')
    writing(u)
    u.vm.qmp('system_reset')
    u.up_again()
    live(u)
    need(summed(u, '@1', 4, 32) == data, 'data changed')


@test()
def power_off_and_on_again(u):
    data = pattern(u, '@1')
    u.quiet()
    u.start('poweroff -f')
    need(u.vm.wait() == 0, u.vm.say())
    need(u.side.serve.running(), 'the server ended')
    until('the server to see its guest go', lambda: not u.side.vm()['attached'])
    u.start_vm()
    live(u)
    need(summed(u, '@1') == data, 'data changed')


@test()
def a_killed_vm_leaves_a_usable_disk(u):
    data = pattern(u, '@1', 4, 32)
    u.start('fio --name=l --filename=@1 --rw=randwrite --bs=4k --iodepth=32 --ioengine=libaio --direct=1 --size=16M --time_based --runtime=60')
    writing(u)
    u.vm.kill()
    until('the server to see its guest go', lambda: not u.side.vm()['attached'])
    u.start_vm()
    live(u)
    need(summed(u, '@1', 4, 32) == data, 'data changed')


@test()
def the_server_ends_clean(u):
    u.quiet()
    u.end()
    u.begin = lambda: None
    u.quiet = lambda allow: None


GUEST = [the_driver_starts, each_processor_has_its_queue_and_interrupt, the_driver_uses_shadow_doorbells, nvme_cli_reads_everything,
         an_error_is_logged_and_counted, features_are_got_and_set, ext4_keeps_its_files, fio_verifies_what_two_processors_wrote,
         fio_fsyncs_on_a_filesystem, format_leaves_zeroes, discarded_blocks_read_zero, a_disk_grows_under_its_filesystem,
         a_disk_shrinks, nvme_reset_under_load, function_level_reset_under_load,
         unbind_and_bind, removed_and_found_again_on_the_bus, the_machine_reboots, the_machine_is_reset_under_load, power_off_and_on_again,
         a_killed_vm_leaves_a_usable_disk, the_server_ends_clean]


# ---- firmware

def boots_from_the_disk(firmware, doorbells):
    """Firmware reads GRUB, GRUB reads kernel and initramfs, all through our controller; then Linux finds the same bytes there."""
    with Lab('boot') as lab:
        size = 96 << 20
        a = lab.side('A', {'disk': str(size)}, keys='doorbells=%s\n' % doorbells, disk_keys='block=512\n')
        bootdisk.make(a.disk('disk'), size)
        a.start()
        vm = lab.vm('A', nvme=[a.sock], boot=firmware).start()
        for boots in (1, 2):  # a warm reset leaves the controller to the firmware as Linux had it
            vm.guest.ready(boots, 180)
            need('BOOT_IMAGE=/vmlinuz' in vm.guest.sh('cat /proc/cmdline'), 'something else was booted')
            need(vm.guest.run('[ -d /sys/firmware/efi ]')[0] == (0 if firmware == 'uefi' else 1), 'not booted by', firmware)
            got = vm.guest.sh('mount -o ro /dev/nvme0n1p1 /mnt && sha256sum </mnt/vmlinuz; umount /mnt').split()[0]
            with open(Tools.guest('vmlinuz'), 'rb') as f:
                import hashlib
                need(got == hashlib.sha256(f.read()).hexdigest(), 'another kernel on the disk')
            bad = [x for x in vm.guest.dmesg().splitlines() if BAD.search(x) and 'nvme' in x]
            need(not bad, bad)
            if boots == 1:
                vm.qmp('system_reset')
        vm.quit()


def tests():
    out = []
    for doorbells in ('mapped', 'trapped'):
        u = Use(doorbells)
        atexit.register(lambda u=u: u.lab and u.lab.end())  # one test alone: the last one, which ends the server, is not run
        out += [('%s: %s' % (doorbells, t.title), lambda t=t, u=u: t(u)) for t in GUEST]
    for firmware in ('bios', 'uefi'):
        for doorbells in ('mapped', 'trapped'):
            out.append(('%s boots from the disk, doorbells %s' % (firmware, doorbells),
                        lambda f=firmware, d=doorbells: boots_from_the_disk(f, d)))
    only = sys.argv[1:]
    return [t for t in out if not only or any(o in t[0] for o in only)]


if __name__ == '__main__':
    Tools.find()
    run_tests(tests())
