#!/usr/bin/env python3
"""nvme-cli's `lm` verbs in a guest that was given the migration management controller itself (mmc_socket=), and for comparison a
migratable one, which must know none of them.

nvme-cli 2.13 has bugs of its own here; the tests work around them and say so where they do:
  * create-cdq encodes CNTLID without its shift and the size as one byte: no queue of a real controller can be made with it.
  * get-cdq has room for 8 of the feature's 512 bytes, and dies of the rest: get_cdq_8_bytes=yes.
  * migration-send does not send --csvi, so a state image can be set with a raw command only; it aborts after any failed Set.
"""
import re, struct, sys

from vmrig import Lab, Tools, need, run_tests, until

MC, MMC = '0000:00:04.0', '0000:00:05.0'
INVALID_OPCODE, INVALID_FIELD, INVALID_CNTLID, INVALID_CDQ, NOT_SUSPENDED = 'Invalid Command Opcode', 'Invalid Field', 'Invalid Controller Identifier', \
    'Invalid Controller Data Queue', 'Controller Not Suspended'


class Manager:
    """The guest. In scripts, @M is the management controller and @G the migratable one (its disk: @Gn1)."""
    def begin(self):
        self.lab = Lab('lm')
        mmc = self.lab.dir + '/A/mmc.sock'
        self.side = self.lab.side('A', {'disk': '64M'}, server_keys='mmc_socket=%s\nget_cdq_8_bytes=yes\n' % mmc)
        self.side.start()
        # Both see the same namespace: as one disk with two paths Linux would choose the path itself.
        self.vm = self.lab.vm('A', nvme=[self.side.sock, mmc], append='nvme_core.multipath=N').start()
        self.vm.guest.ready()
        said = until('both controllers', lambda: self.both(self.vm.guest.sh('for c in /sys/class/nvme/nvme?; do echo $(cat $c/address $c/state) ${c##*/}; done')))
        self.names = {'@M': '/dev/' + said[MMC], '@G': '/dev/' + said[MC]}
        self.cntlid = self.vm.guest.sh('cat /sys/class/nvme/%s/cntlid' % said[MC]).strip()

    @staticmethod
    def both(text):
        d = {f[0]: f[2] for f in (x.split() for x in text.splitlines()) if len(f) == 3 and f[1] == 'live'}
        return d if set(d) == {MC, MMC} else None

    def run(self, script, limit=60):
        for k, v in list(self.names.items()) + [('@C', self.cntlid)]:
            script = script.replace(k, v)
        return self.vm.guest.run(script, limit)

    def ok(self, script, *says):
        code, out = self.run(script)
        need(code == 0 and 'NVMe status' not in out, script, '->', code, out)
        for s in says:
            need(s in out, script, 'does not say', s, ':', out)
        return out

    def refused(self, script, status):
        code, out = self.run(script)
        need('NVMe status: ' + status in out, script, '->', code, out, 'instead of', status)

    def queue(self):
        """Starts a queue of 128 slots for the migratable controller: its id. Its entries are in /tmp/entries."""
        self.run('rm -f /tmp/entries')
        self.job = self.vm.guest.start('exec cdq %s %s >/tmp/entries' % (self.names['@M'], self.cntlid))
        return re.fullmatch(r'id (\d+)', until('the queue', lambda: self.run('head -1 /tmp/entries')[1].strip() or None)).group(1)

    def queue_end(self):
        self.run('killall cdq')
        self.job.wait()

    def entries(self, n):
        """The first n entries: (NSID, SLBA, blocks, attributes)."""
        lines = until('%d entries' % n, lambda: (lambda x: x if len(x) >= n else None)(self.run('tail -n +2 /tmp/entries')[1].splitlines()))
        out = []
        for line in lines[:n]:
            nsid, nlb0, slba, _, a = struct.unpack('<IIQ15sB', bytes.fromhex(line.split()[1]))
            out.append((nsid, slba, nlb0 + 1, a) if a >> 6 == 0 else (0, 0, 0, a))
        return out


m = Manager()


def a_guest_gets_the_mmc():
    m.begin()
    said = m.ok('nvme id-ctrl @M')
    need(re.search(r'^oacs\s*: 0x[89a-f]\d\d$', said, re.M) and not re.search(r'^mcudmq\s*: 0$', said, re.M), said)
    need(re.search(r'^mcudmq\s*: 0$', m.ok('nvme id-ctrl @G'), re.M), 'the migratable controller reports migration queues')
    m.ok('nvme list-secondary @M | grep -i "Secondary Controller Identifier.*@C"')


def create_cdq_is_judged():
    # CNTLID arrives as 0: see above.
    m.refused('nvme lm create-cdq @M --size 128 --cntlid @C --consent', INVALID_CNTLID)
    m.refused('nvme lm create-cdq @M --size 1024 --cntlid @C --consent', INVALID_FIELD)
    code, said = m.run('cdq @M 99')
    need(code == 1 and 'status 0x411f' in said, said)


def a_queue_lives_and_dies():
    for f in ('get-cdq @M -C 1', 'set-cdq @M -C 1 -H 0', 'delete-cdq @M -C 1'):
        m.refused('nvme lm ' + f, INVALID_CDQ)
    q = m.queue()
    need('Head Pointer' in m.ok('nvme lm get-cdq @M -C ' + q), 'get-cdq')
    m.ok('nvme lm set-cdq @M -C %s -H 0 -T 7' % q, 'Head Pointer: 0')
    said = m.ok('nvme lm get-cdq @M -C ' + q)
    need(re.search(r'Head Pointer\s*:\s*(0x)?0\b', said) and re.search(r'Tail Pointer Trigger\s*:\s*(0x)?7\b', said), said)
    m.refused('nvme lm set-cdq @M -C %s -H 5' % q, INVALID_FIELD)     # nothing was posted: the head may not move
    m.refused('nvme lm set-cdq @M -C %s -H 5000' % q, INVALID_FIELD)
    m.refused('nvme lm set-cdq @M -C %s -H 0 -T 5000' % q, INVALID_FIELD)
    code, said = m.run('cdq @M @C')                                  # one queue for each migratable controller
    need(code == 1 and 'status 0x4002' in said, said)
    m.ok('nvme lm delete-cdq @M -C ' + q, 'Successful')
    m.refused('nvme lm delete-cdq @M -C ' + q, INVALID_CDQ)
    m.queue_end()


def track_send_logs_what_the_guest_writes():
    q = m.queue()
    m.refused('nvme lm track-send @M -s 0 -C 99 --start', INVALID_CDQ)
    m.ok('nvme lm track-send @M -s 0 -C %s --start' % q, 'Successful')
    for at in (7, 9):
        m.ok('dd if=/dev/urandom of=@Gn1 bs=8k count=1 seek=%d oflag=direct 2>/dev/null' % at)
    m.ok('blkdiscard -o $((64 * 4096)) -l $((16 * 4096)) @Gn1')
    m.ok('nvme lm track-send @M -s 0 -C %s --stop' % q, 'Successful')
    m.ok('dd if=/dev/urandom of=@Gn1 bs=8k count=1 oflag=direct 2>/dev/null')
    need(m.entries(5) == [(0, 0, 0, 0x83), (1, 14, 2, 1), (1, 18, 2, 1), (1, 64, 16, 0x21), (0, 0, 0, 0x85)], m.entries(5))
    m.ok('nvme lm set-cdq @M -C %s -H 5' % q, 'Head Pointer: 5')      # all consumed
    need(re.search(r'Head Pointer\s*:\s*(0x)?5\b', m.ok('nvme lm get-cdq @M -C ' + q)), 'the head')
    need(len(m.run('tail -n +2 /tmp/entries')[1].splitlines()) == 5, 'an entry after the last')
    m.ok('nvme lm delete-cdq @M -C ' + q)
    m.queue_end()


def the_default_suspends_nobody():
    m.ok('nvme lm migration-send @M -s 0 -c @C', 'Successful')       # --stype 0: a notification
    m.ok('nvme lm migration-recv @M -s 0 -c @C -n 11', 'Controller NOT Suspended')
    m.refused('nvme lm migration-send @M -s 1 -c @C', NOT_SUSPENDED)


def mistakes_have_their_status():
    m.refused('nvme lm migration-recv @M -c @C -n 11', INVALID_FIELD)  # selector FFh
    m.refused('nvme lm migration-send @M -s 7 -c @C', INVALID_FIELD)
    m.refused('nvme lm migration-send @M -s 0 -t 5 -c @C', INVALID_FIELD)
    for c in ('1', '99'):                                             # the management controller itself; nobody
        m.refused('nvme lm migration-send @M -s 0 -t 1 -c ' + c, INVALID_CNTLID)
        m.refused('nvme lm migration-recv @M -s 0 -n 11 -c ' + c, INVALID_CNTLID)


def state_is_what_linux_made():
    head = m.ok('nvme lm migration-recv @M -s 0 -c @C -n 11 -H')     # --csvi 0: a header and nothing behind it
    need(re.search(r'\(NVMECSS\)\s*: 0$', head, re.M) and re.search(r'\(VSS\)\s*: 0$', head, re.M), head)
    said = m.ok('nvme lm migration-recv @M -s 0 -c @C -V 1 -n 255 -H')
    need(re.search(r'\(NIOSQ\)\s*: 2$', said, re.M) and re.search(r'\(NIOCQ\)\s*: 2$', said, re.M), said)
    need(len(re.findall(r'\(IOSQQSIZE\)\s*: 0x3ff$', said, re.M)) == 2, said)   # Linux's 1024 entries, 0's based
    need(sorted(re.findall(r'\(IOSQCQID\)\s*: 0x(\d)$', said, re.M)) == ['1', '2'], said)


def suspended_read_and_resumed():
    m.ok('dd if=/dev/urandom of=/tmp/pat bs=64k count=1 2>/dev/null; dd if=/tmp/pat of=@Gn1 bs=64k count=1 oflag=direct 2>/dev/null')
    q = m.queue()
    m.ok('nvme lm track-send @M -s 0 -C %s --start' % q)
    m.ok('nvme lm migration-send @M -s 0 -t 1 -c @C', 'Successful')
    need(m.entries(2) == [(0, 0, 0, 0x83), (0, 0, 0, 0x87)], m.entries(2))
    m.ok('nvme lm migration-recv @M -s 0 -c @C -n 11', 'Controller Suspended')
    read = m.vm.guest.start('dd if=%sn1 bs=64k count=1 iflag=direct 2>/dev/null | cmp - /tmp/pat' % m.names['@G'])
    # The tool writes one dword less to its file than it asked for.
    m.ok('nvme lm migration-recv @M -s 0 -c @C -V 1 -n 39 -f /tmp/state')
    code, said = m.run('[ $(stat -c %s /tmp/state) = 156 ]')
    need(code == 0, 'not the size of two queue pairs', said)
    need(struct.unpack('<HB', bytes.fromhex(m.ok('head -c 3 /tmp/state | xxd -p').strip())) == (0, 1), 'the header says not suspended')
    code, said = m.run('head -c 152 /tmp/state >/tmp/image; nvme admin-passthru @M --opcode=0x41 --cdw10=0x30002 '
                       '--cdw11=$((0x10000 | @C)) --cdw15=38 --write --data-len=152 --input-file=/tmp/image')
    need('NVMe status: ' + INVALID_FIELD in said, 'Set Controller State into a controller that has queues:', code, said)
    need(not read.done(), 'a suspended controller reads')
    m.ok('nvme lm migration-send @M -s 1 -c @C', 'Successful')
    need(read.wait()[0] == 0, 'the read that waited:', read.wait())
    need(m.entries(3)[2] == (0, 0, 0, 0x83), m.entries(3))            # logging goes on: the first since the resume
    m.refused('nvme lm migration-send @M -s 1 -c @C', NOT_SUSPENDED)
    m.ok('nvme lm delete-cdq @M -C ' + q)
    m.queue_end()


def a_migratable_controller_knows_none_of_it():
    for verb in ('create-cdq @G --size 128 -c @C --consent', 'delete-cdq @G -C 1', 'track-send @G -s 0 -C 1 --start', 'migration-send @G -s 0 -t 1 -c @C',
                 'migration-recv @G -s 0 -n 11 -c @C'):
        m.refused('nvme lm ' + verb, INVALID_OPCODE)
    for verb in ('get-cdq @G -C 1', 'set-cdq @G -C 1 -H 0'):
        m.refused('nvme lm ' + verb, INVALID_FIELD)


def the_server_refuses_to_move_and_ends_clean():
    code, _, said = m.side.ferry('migrate', 'vm1', '--to', 'unix:/nowhere')
    need(code != 0 and 'mmc_socket' in said, said)
    bad = [x for x in m.vm.guest.dmesg().splitlines() if re.search(r'nvme.*(timeout|reset|error|abort)', x)]
    need(not bad, bad)
    m.vm.quit()
    m.side.serve.signal(15)
    need(m.side.serve.wait() == 0, 'the server ended with', m.side.serve.p.returncode, m.side.serve.text()[-2000:])
    need(not m.side.run_leftovers(), m.side.run_leftovers())


def shown(fn):
    def run():
        try:
            fn()
        except Exception:
            m.lab.say()
            raise
    return run


TESTS = [a_guest_gets_the_mmc, create_cdq_is_judged, a_queue_lives_and_dies, track_send_logs_what_the_guest_writes, the_default_suspends_nobody,
         mistakes_have_their_status, state_is_what_linux_made, suspended_read_and_resumed, a_migratable_controller_knows_none_of_it,
         the_server_refuses_to_move_and_ends_clean]

if __name__ == '__main__':
    Tools.find()
    try:
        run_tests([(t.__name__.replace('_', ' '), shown(t)) for t in TESTS if len(sys.argv) < 2 or t is TESTS[0] or any(a in t.__name__ for a in sys.argv[1:])])
    finally:
        m.lab.end()
