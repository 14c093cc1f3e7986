#!/usr/bin/env python3
"""A disk that does not answer. Requests that wait for it are told of, and so is their end; `ferry resize` does not wait for ever; everything goes
on when the disk does. The disk hangs because its file system is frozen, which needs root and a loop device; the slow one needs nothing."""
import os, re, signal, subprocess, sys
from rig import *

FAILED = 1
M = 1 << 20


class FrozenRig(Rig):
    """The guest's disk is a file on a small ext4 of its own, that can be frozen: who writes there then waits."""
    def __init__(self, **kw):
        super().__init__(**kw)
        self.fs, self.mnt, self.frozen = self.dir + '/fs.img', self.dir + '/fs', False
        os.mkdir(self.mnt)
        with open(self.fs, 'wb') as f:
            f.truncate(160 * M)
        self.mounted = self.run('mkfs.ext4', '-q', self.fs) and self.run('mount', '-o', 'loop', self.fs, self.mnt)
        self.a.image = self.mnt + '/disk.img'
        with open(self.a.ini) as f:
            text = re.sub('path=.*', 'path=' + self.a.image, f.read()).replace('[server]\n', '[server]\nslow=1s\n')
        with open(self.a.ini, 'w') as f:
            f.write(text)

    def run(self, *argv):
        try:
            return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 0
        except OSError:
            return False

    def freeze(self, on):
        need(self.run('fsfreeze', '-f' if on else '-u', self.mnt), 'cannot freeze' if on else 'cannot thaw')
        self.frozen = on

    def end(self):
        if self.frozen:
            self.run('fsfreeze', '-u', self.mnt)
        for p in self.procs:  # before the file system can go
            if p.running():
                p.kill()
        if self.mounted:
            self.run('umount', self.mnt)
        super().end()


def frozen(fn):
    def run():
        rig = FrozenRig()
        try:
            if not rig.mounted or not rig.run('fsfreeze', '-f', rig.mnt) or not rig.run('fsfreeze', '-u', rig.mnt):
                raise Skipped('no file system can be mounted and frozen here')
            fn(rig)
        except Failed as e:
            raise Failed('%s\n%s' % (e, '\n'.join('--- %s\n%s' % (p.name, p.text()[-2500:]) for p in rig.procs)))
        finally:
            rig.end()
    return run


def begin(rig):
    rig.a.start()
    rig.a.vm_start(False)
    works(rig.a)


def disk(side):
    return side.vm()['namespaces'][0]


def hang(rig):
    rig.freeze(True)
    until('requests to be slow', lambda: disk(rig.a)['slow_requests'])


def thaw(rig):
    rig.freeze(False)
    works(rig.a)
    until(lambda: 'no request to be slow: %s' % disk(rig.a), lambda: not disk(rig.a)['slow_requests'])


def end(rig):
    v = verdict(rig.a)
    need(v['resets'] == 0, 'the controller was reset')
    down(rig.a)


SLOW = re.compile(r'guest vm1, namespace 1: the disk has had a (write of (\d+) blocks at (\d+)|flush|[a-z ]+ of .*) for ([0-9.]+) s and does not answer')
OVER = re.compile(r'guest vm1, namespace 1: the disk is done with the .*, after ([0-9.]+) s: all is well')


def told(rig):
    begin(rig)
    need(not SLOW.search(rig.a.serve.text()), 'a disk that is well was called slow')
    hang(rig)
    need(disk(rig.a)['slow_oldest_ns'] >= 10 ** 9, 'too young to be slow:', disk(rig.a))
    said = until('a write to be told of', lambda: [m for m in SLOW.finditer(rig.a.serve.text()) if m.group(2)])
    need(int(said[0].group(2)) > 0 and float(said[0].group(4)) >= 1, 'a strange request:', said[0].group(0))
    rc, out, err = rig.a.ferry('status')
    need('does not answer' in out, 'status says nothing:', out)
    until('all of them to be told of', lambda: len(SLOW.findall(rig.a.serve.text())) >= disk(rig.a)['slow_requests'])
    thaw(rig)
    begun, over = len(SLOW.findall(rig.a.serve.text())), len(OVER.findall(rig.a.serve.text()))
    need(begun == over, begun, 'requests were told of as slow, and', over, 'as done')
    end(rig)


def other_size(size, bytes, *more):
    """Nothing is asked of a disk that is known to hang, and nobody is told of another size."""
    def run(rig):
        begin(rig)
        hang(rig)
        rc, out, err = rig.a.ferry('resize', 'vm1', '1', size, '--timeout', '1s', *more)
        need(rc == FAILED and 'has not answered' in err, 'resize ended with', rc, out, err)
        need(disk(rig.a)['bytes'] == 64 * M == length(rig), 'the server says', disk(rig.a), 'the file has', length(rig))
        thaw(rig)
        rc, out, err = rig.a.ferry('resize', 'vm1', '1', size, *more)
        need(rc == 0 and disk(rig.a)['bytes'] == bytes == length(rig), 'afterwards:', rc, err, disk(rig.a), length(rig))
        end(rig)
    return run


def length(rig):
    return os.stat(rig.a.image).st_size


def cut_later(rig):
    """The disk hangs, and nobody knows yet. The guest has the new size, the record says it; what lies behind it goes before it grows again."""
    with open(rig.a.ini) as f:
        text = f.read().replace('slow=1s', 'slow=3600s')
    with open(rig.a.ini, 'w') as f:
        f.write(text)
    begin(rig)
    rig.freeze(True)
    seen = []

    def stands():
        seen.append(rig.a.vm()['writes'])
        return len(seen) > 20 and len(set(seen[-20:])) == 1
    until('the guest to stand still, with its last requests all over its disk', stands)
    rc, out, err = rig.a.ferry('resize', 'vm1', '1', '4M', '--shrink', '--timeout', '1s')
    need(rc == 0 and 'not cut off yet' in err, 'resize ended with', rc, out, err)
    need(disk(rig.a)['bytes'] == 4 * M and length(rig) == 64 * M, 'the server says', disk(rig.a), 'the file has', length(rig))
    rig.a.guest.kill()  # its disk is not there any more
    rig.freeze(False)
    until('the file to be cut before it grows', lambda: rig.a.ferry('resize', 'vm1', '1', '8M')[0] == 0)
    need(disk(rig.a)['bytes'] == 8 * M == length(rig), 'the server says', disk(rig.a), 'the file has', length(rig))
    with open(rig.a.image, 'rb') as f:
        f.seek(4 * M)
        need(not any(f.read()), 'what was cut off is back')
    rig.a.serve.signal(signal.SIGTERM)
    need(rig.a.serve.wait() == 0, 'the server ended with', rig.a.serve.p.returncode)


if __name__ == '__main__':
    tests = [('told', frozen(told)), ('smaller', frozen(other_size('56M', 56 * M, '--shrink'))), ('larger', frozen(other_size('128M', 128 * M))),
             ('cut later', frozen(cut_later))]
    run_tests([t for t in tests if not sys.argv[1:] or t[0] in sys.argv[1:]], 2)
