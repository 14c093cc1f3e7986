#!/usr/bin/env python3
"""A live migration of a controller by hand: the reference flow (NVMe Base 2.1, 8.1.12), one `ferry nvme` command after the other.

by_hand.py               checks it
by_hand.py --doc FILE    writes what a person would see, too: docs/by-hand.md
"""
import os, re, shutil, signal, sys
from rig import *

NGUID, UUID = '00112233445566778899aabbccddeeff', '6b8f2a1e-0c4d-4f5a-9b3e-2d1c0b9a8f7e'
CHUNK = 32  # blocks of 4 KiB in one Read: the largest transfer of `ferry nvme read`


class Hand:
    def __init__(self):
        self.rig = Rig(namespace='64M')
        d = self.rig.dir
        self.doc, self.chapter = [], None
        self.sides = {n: Side(self.rig, n, extra='''[namespace disk]
size=64M
path=%s/disk-%s.img
create=yes
nguid=%s
uuid=%s
[guest vm1]
namespaces=disk
''' % (d, n, NGUID, UUID)) for n in 'ABC'}
        self.rig.a, self.rig.b = self.sides['A'], self.sides['B']

    def say(self, text):
        self.doc.append(text)

    def do(self, side, args, code=0, has=None, show=True, first=None):
        """Runs `ferry nvme ARGS` at a side; exit code and words must be as told; what it printed."""
        rc, out, err = ferry('nvme', *args.split(), '--control', self.sides[side].control)
        both = err + out
        need(rc == code, 'at %s: %s: ended with %d: %s' % (side, args, rc, both))
        need(not has or has in both, 'at %s: %s: no "%s" in: %s' % (side, args, has, both))
        if show:
            text = both.rstrip().splitlines()
            if first and len(text) > first + 1:
                text = text[:first] + ['[... %d more lines]' % (len(text) - first - 1)] + text[-1:]
            text = '\n'.join(text + (['(exit code %d)' % rc] if rc else []))
            cmd = '%s$ ferry nvme %s' % (side, args)
            self.doc.append('```\n%s\n```' % '\n'.join(x for x in (cmd, text) if x).replace(self.rig.dir + '/', ''))
        return both

    def copy(self, slba, nlb, to='BC', show=False):
        """One range, read at A and written at the targets."""
        path = self.rig.dir + '/blocks'
        for at in range(slba, slba + nlb, CHUNK):
            n = min(CHUNK, slba + nlb - at)
            tail = '-n 1 --start-block %d --block-count %d --data-size %d --data %s' % (at, n - 1, n * 4096, path)
            self.do('A', 'read ' + tail, show=show)
            for t in to:
                self.do(t, 'write ' + tail, show=show and t == 'B')
            show = False


def ranges(text):
    return [(int(a), int(b)) for a, b in re.findall(r'(\d+) \+(\d+)', text)]


def drain(h, show):
    """Reads the change log, copies what it names, gives the entries back. True when the log says `suspended`."""
    text = h.do('A', 'lm cdq-read --cdqid 1', show=show, first=4)
    need('full' not in text, 'the log overflowed: make it larger in this test')
    head = re.search(r'--hp (\d+)', text).group(1)
    # Entries name the same blocks over and over: each is copied once, or copying is slower than the guest. (A read of a deallocated range
    # gives zeroes: copied like data.)
    for chunk in sorted({lba // CHUNK for slba, nlb in ranges(text) for lba in range(slba, slba + nlb)}):
        h.copy(chunk * CHUNK, CHUNK)
    if 'namespace ' in text:
        h.do('A', 'lm set-cdq --cdqid 1 --hp ' + head, show=show)
    return 'suspended' in text


def start(h):
    a = h.sides['A']
    for s in h.sides.values():
        s.start()
    # Small commands, few of them: a person copies in between.
    h.rig.guest_args = ['--rate', '1M', '--area', '2M', '--area-zeroed', '--queues', '2', '--depth', '4', '--max-blocks', '8']
    a.vm_start(False)
    works(a)


def traps(h):
    h.say('## Mistakes, and what they are answered with\n\nBefore anything is changed. The flags are nvme-cli\'s, and so are the traps.')
    h.say('`migration-send --sel 0` alone is a *notification*: the controller goes on. It takes `--stype 1` to stop it.')
    h.do('A', 'lm migration-send --sel 0 --cntlid 2')
    h.do('A', 'lm migration-recv --sel 0 --cntlid 2 --numd 11', has='NOT Suspended')
    h.say('Without `--csvi` there is nothing behind the 48 bytes of header (above: both lengths are 0). A selector that does not exist, '
          'a controller that does not exist, the manager\'s own controller, an offset between two dwords:')
    h.do('A', 'lm migration-recv --sel 255 --cntlid 2 --csvi 1 --numd 11', 1, '(0/02h')
    h.do('A', 'lm migration-recv --sel 0 --cntlid 9 --csvi 1 --numd 11', 1, '(1/1fh')
    h.do('A', 'lm migration-send --sel 0 --stype 1 --cntlid 1', 1, '(1/1fh')
    h.do('A', 'lm migration-recv --sel 0 --cntlid 2 --csvi 1 --numd 11 --offset 2', 1, '(0/02h')
    h.do('A', 'lm migration-recv --sel 0 --cntlid 2 --csvi 99 --numd 11', 1, '(0/02h', show=False)
    h.do('A', 'lm migration-send --sel 0 --stype 7 --cntlid 2', 1, '(0/02h', show=False)
    h.say('Resume of what is not suspended, queues that do not exist, a middle piece of state without a first one:')
    h.do('A', 'lm migration-send --sel 1 --cntlid 2', 1, '(1/3ah')
    h.do('A', 'lm delete-cdq --cdqid 5', 1, '(1/37h')
    h.do('A', 'lm track-send --sel 0 --cdqid 5 --start', 1, '(1/37h', show=False)
    h.do('A', 'lm track-recv --cntlid 2', 1, '(1/1fh', show=False)
    with open(h.rig.dir + '/zeroes', 'wb') as f:
        f.write(bytes(4096))
    h.do('B', 'lm migration-send --sel 2 --cntlid 2 --csvi 1 --seq-ind 0 --numd 12 --input-file %s/zeroes' % h.rig.dir, 1, '(')
    h.do('A', 'lm migration-recv --cntlid 2', 2, 'sel', show=False)


def track(h):
    h.say('## 1. Log what changes\n\nA queue for changes of user data (2048 entries of 32 bytes; the size is in dwords), bound to controller '
          '2, then logging, then tracking of the guest\'s memory.')
    h.do('A', 'list-secondary')
    h.do('A', 'lm create-cdq --size 16384 --cntlid 2', has='CDQID=0x0001')
    h.do('A', 'lm create-cdq --size 16384 --cntlid 2', 1, '(0/02h', show=False)  # one at a time
    h.do('A', 'lm track-send --sel 0 --cdqid 1 --start')
    h.do('A', 'lm track-send --sel 0 --cdqid 1 --start', 1, '(1/37h', show=False)
    h.do('A', 'lm track-memory --cntlid 2 --start --addr 0 --length 32M')
    h.do('A', 'lm get-cdq --cdqid 1')


def copy_all(h):
    h.say('## 2. Copy what is allocated\n\nGet LBA Status tells which blocks are; only those are read, and written at the other servers.')
    text = h.do('A', 'get-lba-status -n 1', first=4)
    need('complete' in text, 'the list is longer than one answer')
    found = ranges(text)
    need(found, 'no block is allocated')
    h.say('The first piece (a script does the rest):')
    for i, (slba, nlb) in enumerate(found):
        h.copy(slba, nlb, show=i == 0)


def rounds(h):
    h.say('## 3. Copy again what changed meanwhile\n\nThe log is read, the blocks it names are copied, the entries are given back with `set-cdq`.')
    for i in range(3):
        until('an entry in the log', lambda: 'namespace' in h.do('A', 'lm get-cdq --cdqid 1', show=False) or True)
        need(not drain(h, i == 0), 'the log says suspended, and nobody has')
    h.say('What the controller wrote into the guest\'s memory meanwhile (completions, data it read):')
    h.do('A', 'lm track-recv --cntlid 2', first=4)


def stop(h):
    h.say('## 4. Stop\n\nFrom here on the guest waits. The log is read until its `suspended` entry, memory until nothing more is reported.')
    h.do('A', 'lm migration-send --sel 0 --stype 1 --cntlid 2')
    shown = [True]

    def over():
        s = drain(h, shown[0])
        shown[0] = False
        return s
    until('the entry that says suspended', over)
    until('all memory', lambda: 'nothing more, controller suspended' in h.do('A', 'lm track-recv --cntlid 2', show=False))
    h.do('A', 'lm track-recv --cntlid 2', has='nothing more, controller suspended')
    h.do('A', 'lm track-send --sel 0 --cdqid 1 --stop', 1, '(1/39h', show=False)
    h.do('A', 'lm migration-send --sel 0 --stype 1 --cntlid 2', show=False)  # once more is no error


def state_out(h):
    d = h.rig.dir
    h.say('## 5. The state, into a file\n\nThe 48 bytes of header say how much there is. `--csvi 1` is the standard part, `--csuuidi 1` our own, without '
          'which a driver would notice.')
    h.do('A', 'lm migration-recv --sel 0 --cntlid 2 --csvi 1 --csuuidi 1 --numd 11 --output-file %s/head' % d, has='Controller Suspended')
    head = open(d + '/head', 'rb').read()
    total = 48 + 4 * (int.from_bytes(head[16:32], 'little') + int.from_bytes(head[32:48], 'little'))
    h.do('A', 'lm migration-recv --sel 0 --cntlid 2 --csvi 1 --csuuidi 1 --numd %d --output-file %s/state --human-readable' %
         (total // 4 - 1, d), has='suspended throughout: yes')
    need(os.path.getsize(d + '/state') == total, 'the state has', os.path.getsize(d + '/state'), 'bytes and says', total)
    return total


def state_in(h, total):
    d = h.rig.dir
    h.say('## 6. The state, into another controller\n\nAt B in one piece; the controller there is suspended first.')
    h.do('B', 'lm migration-send --sel 0 --stype 1 --cntlid 2')
    h.do('B', 'lm migration-send --sel 2 --cntlid 2 --csvi 1 --csuuidi 1 --seq-ind 3 --numd 0 --input-file %s/state' % d, 1, '(0/02h', show=False)
    h.do('B', 'lm migration-send --sel 2 --cntlid 2 --csvi 1 --csuuidi 1 --seq-ind 3 --numd %d --input-file %s/state' % (total // 4, d))
    h.say('At C in three: first (1), middle (0), last (2). Between them it cannot be resumed.')
    h.do('C', 'lm migration-send --sel 0 --stype 1 --cntlid 2', show=False)
    data = open(d + '/state', 'rb').read()
    a, b = total // 12 * 4, total // 6 * 4
    for seq, at, to in ((1, 0, a), (0, a, b), (2, b, total)):
        with open(d + '/piece-%d' % seq, 'wb') as f:
            f.write(data[at:to])
        h.do('C', 'lm migration-send --sel 2 --cntlid 2 --csvi 1 --csuuidi 1 --seq-ind %d --offset %d --numd %d --input-file %s/piece-%d' %
             (seq, at, (to - at) // 4, d, seq))
        if seq == 1:
            h.do('C', 'lm migration-send --sel 1 --cntlid 2', 1, '(0/0ch')
    h.say('Read back, it is the same, byte for byte:')
    for t in 'BC':
        back = '%s/back-%s' % (d, t)
        h.do(t, 'lm migration-recv --sel 0 --cntlid 2 --csvi 1 --csuuidi 1 --numd %d --output-file %s' % (total // 4 - 1, back))
        need(open(back, 'rb').read() == data, 'the state read back at %s is another' % t)
    # Set once more: its queues exist now, which would be made twice.
    h.do('B', 'lm migration-send --sel 2 --cntlid 2 --csvi 1 --csuuidi 1 --seq-ind 3 --numd %d --input-file %s/state' % (total // 4, d), 1, '(0/02h',
         show=False)


def same_data(h):
    for t in 'BC':
        h.do(t, 'io-passthru --opcode 0 -n 1', show=False)  # Flush
        with open(h.sides['A'].image, 'rb') as x, open(h.sides[t].image, 'rb') as y:
            need(x.read() == y.read(), 'the data at %s is not what it is at A' % t)


def finish(h):
    h.say('## 7. Go on\n\nAt a target: Resume, and the queues are served again (`ferry migrate` gives the guest\'s memory a new home as well; '
          'these commands move the controller and its data alone). Or, as here, the way back: Resume at the source, and logging begins '
          'again with a `first` entry.')
    h.do('B', 'lm migration-send --sel 1 --cntlid 2')
    h.do('A', 'lm migration-send --sel 1 --cntlid 2')
    works(h.sides['A'])
    text = until('an entry', lambda: (lambda t: t if 'namespace' in t else None)(h.do('A', 'lm cdq-read --cdqid 1', show=False)))
    need('first' in text.splitlines()[0], 'logging did not begin with first:', text)
    h.do('A', 'lm track-send --sel 0 --cdqid 1 --stop')
    h.do('A', 'lm track-memory --cntlid 2 --stop', show=False)
    h.do('A', 'lm delete-cdq --cdqid 1')
    h.do('A', 'lm delete-cdq --cdqid 1', 1, '(1/37h', show=False)


def by_hand(doc):
    h = Hand()
    try:
        start(h)
        traps(h)
        track(h)
        copy_all(h)
        rounds(h)
        stop(h)
        total = state_out(h)
        state_in(h, total)
        same_data(h)
        finish(h)
        v = verdict(h.sides['A'])
        need(v['resets'] == 0, 'the guest saw', v['resets'], 'resets')
        down(*h.sides.values())
        if doc:
            with open(doc, 'w') as f:
                f.write('# A live migration by hand\n\n'
                        '`ferry migrate` does all of this by itself. Here it is in single steps, for who wants to see them or to try their own\n'
                        'manager or controller: real commands to the migration management controllers of three servers A, B and C (each prompt\n'
                        'says which; `--control` is left out), real output. `tests/e2e/by_hand.py` runs it and wrote this page.\n\n'
                        'The servers know nothing of such a move: nothing is written into the journals that say who may run a guest\n'
                        '(ownership.md). Do not do this to a guest you care for.\n\n' + '\n\n'.join(h.doc) + '\n')
    except Failed as e:
        raise Failed('%s\n%s' % (e, '\n'.join('--- %s\n%s' % (p.name, p.text()[-1500:]) for p in h.rig.procs)))
    finally:
        h.rig.end()


run_tests([('the reference flow by hand', lambda: by_hand(sys.argv[2] if sys.argv[1:2] == ['--doc'] else None))])
