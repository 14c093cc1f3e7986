"""The monitor between a real QEMU and its controller, at both ends of a move.

    monitored.py [TEST...]      TAP; all tests without arguments

What is shown: an unmodified Linux works, resets its controller and is moved as if nobody stood between; no rule is found broken; what was
recorded is whole, and opens in each format's own tool.
"""
import os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vmrig import Lab, Tools, need, rig, run_tests
from move import Pair
import monitor  # of tests/e2e: vmrig knows the way

WORK = '''set -e
mkfs.ext4 -q -F /dev/nvme0n1; mkdir -p /mnt; mount /dev/nvme0n1 /mnt
fio --name=v --filename=/mnt/f --size=2M --rw=randwrite --bsrange=4k-32k --ioengine=psync --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 \
    --output=/run/fio.out || { cat /run/fio.out; exit 4; }
dd if=/dev/urandom of=/mnt/kept bs=64k count=16 conv=fsync 2>/dev/null; sha256sum /mnt/kept >/run/kept.sum'''
ASK = '''set -e
nvme list >/dev/null; for v in id-ctrl smart-log error-log fw-log list-ns; do
    nvme $v /dev/nvme0 >/run/out 2>&1 || { echo "$v: $?"; cat /run/out; exit 5; }
done
nvme id-ns /dev/nvme0n1 >/dev/null; nvme get-feature /dev/nvme0 -f 4 >/dev/null'''


class Watched(Pair):
    """A pair whose QEMUs meet their controllers through a monitor each. The adapter insists that QEMU names its guest's socket: so the server's
    is renamed, and the monitor listens where it was."""
    def __init__(self, lab, *modes):
        super().__init__(lab, disk='64M', memory='256M')
        self.modes, self.monitors = list(modes), []
        self.stand_between(self.a)

    def stand_between(self, side):
        os.rename(side.sock, side.sock + '.own')
        self.monitors.append(monitor.Monitor(self.lab, [(side.sock, side.sock + '.own')], *self.modes.pop(0)))

    def migrate(self, *args):
        p = super().migrate(*args)
        if p.running():
            self.stand_between(self.other())
        return p


def opens_in_its_tools(lab, m, stats):
    monitor.opens_in_tshark(lab, m, stats)
    monitor.opens_in_gtkwave(lab, m, stats)
    monitor.opens_in_protoc(lab, m, stats)
    n = monitor.run_tool(lab, monitor.tool('sqlite3'), monitor.export(m, 'sqlite'), "SELECT count(*) FROM txn WHERE kind='cmd'")
    need(int(n) == stats['commands'], 'commands in the tables:', n, stats)
    with open(monitor.export(m, 'log')) as f:
        need(sum(x.startswith('==> @') for x in f) == stats['commands'], 'commands in the log')


def watched(at_a, at_b):
    with Lab('monitored') as lab:
        p = Watched(lab, at_a, at_b)
        g = p.boot()
        g.sh(WORK, 120)
        g.sh(ASK, 60)
        g.sh('nvme reset /dev/nvme0 && echo 3 >/proc/sys/vm/drop_caches && sha256sum -c -s /run/kept.sum', 60)
        g.dmesg()  # of a reset that was asked for
        load = g.start('n=0; while [ ! -e /run/stop ]; do n=$((n + 1)); dd if=/dev/urandom of=/mnt/w bs=16k count=8 conv=fsync 2>/dev/null || exit 3; done; echo $n')
        p.move()
        g.sh('touch /run/stop')
        need(load.wait(60)[0] == 0, 'the work while it was moved:', load.result)
        p.check()
        # The controller at B runs since before its client came: from a reset on it is judged.
        g.sh('nvme reset /dev/nvme0 && echo 3 >/proc/sys/vm/drop_caches && sha256sum -c -s /run/kept.sum && umount /mnt && e2fsck -fn /dev/nvme0n1', 120)
        p.vm.quit()
        for m in p.monitors:
            stats = m.end()
            monitor.whole(m, stats)
            need(stats['clients'] == 1 and stats['commands'] > 50 and stats['completions'] > 50, stats)
            print('# %s' % stats, flush=True)
            if m is p.monitors[0]:
                opens_in_its_tools(lab, m, stats)
        for s in (p.a, p.b):
            os.unlink(s.sock + '.own')
        rig.down(p.a, p.b)


MESSAGE, SHARED = ['--message-mode'], []
TESTS = [('message_then_shared', lambda: watched(MESSAGE, SHARED))]
if os.environ.get('FERRY_E2E') == 'full':
    TESTS += [('shared_then_message', lambda: watched(SHARED, MESSAGE))]

if __name__ == '__main__':
    want = sys.argv[1:]
    Tools.find()
    run_tests([t for t in TESTS if not want or t[0] in want])
