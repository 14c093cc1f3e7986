#!/usr/bin/env python3
"""`ferry demo` interrupted: Ctrl-C at every stage ends what it started and removes what it made. Two at once; no room on the disk.

demo.py            interrupts, two at once; the full disk where a small tmpfs can be mounted
"""
import os, re, signal, subprocess, sys, tempfile, threading
from rig import *

STAGES = ['files', 'an ext4', 'the guest has booted', 'connect', 'pre-copy', 'stop', 'clean-up', 'checks everything', 'e2fsck']
# files: MiB taken from /usr and summed


def children(pid):
    """All descendants, by /proc."""
    kids, found = {}, []
    for p in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/stat' % p) as f:
                kids.setdefault(int(f.read().rsplit(')', 1)[1].split()[1]), []).append(int(p))
        except OSError:
            pass
    todo = [pid]
    while todo:
        for k in kids.get(todo.pop(), []):
            found.append(k)
            todo.append(k)
    return found


def alive(pids, marker):
    """Those that still run the program: a number may be another process by now."""
    left = []
    for p in pids:
        try:
            with open('/proc/%d/cmdline' % p, 'rb') as f:
                if marker.encode() in f.read():
                    left.append(p)
        except OSError:
            pass
    return left


class Demo:
    def __init__(self, top, name='w', *more):
        self.top, self.dir, self.tmp = top, '%s/%s' % (top, name), '%s/t' % top
        os.makedirs(self.tmp, exist_ok=True)
        self.p = subprocess.Popen([FERRY, 'demo', '--dir', self.dir, '--memory', '64M'] + list(more), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  env=dict(os.environ, TMPDIR=self.tmp))
        self.text, self.seen = '', []

    def until(self, words):
        for line in self.p.stdout:
            self.text += line
            if words in line:
                return True
        return False

    def finish(self):
        self.text += self.p.stdout.read()
        self.code = self.p.wait(180 * SLOWER)

    def clean(self, pids):
        need(not os.path.exists(self.dir), 'left:', self.dir)
        need(not os.listdir(self.tmp), 'left:', os.listdir(self.tmp))
        need(not alive(pids, self.top), 'still there:', alive(pids, self.top))


def in_dir(fn):
    def run():
        with tempfile.TemporaryDirectory(prefix='fd-', dir='/tmp') as top:
            fn(top)
    return run


def interrupt(words, sig=signal.SIGINT):
    def run(top):
        d = Demo(top)
        need(d.until(words), 'never said "%s": %s' % (words, d.text[-1500:]))
        pids = children(d.p.pid)
        d.p.send_signal(sig)
        d.finish()
        need(d.code == 5, 'exit code', d.code, d.text[-800:])
        need('interrupted' in d.text, d.text[-800:])
        d.clean(pids)
    return in_dir(run)


def two_at_once(top):
    both = [Demo(top, 'one'), Demo(top, 'two')]
    threads = [threading.Thread(target=d.finish) for d in both]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for d in both:
        need(d.code == 0 and 'lost 0, invented 0' in d.text, d.code, d.text[-1500:])
        need(not os.path.exists(d.dir), 'left:', d.dir)
    again = Demo(top, 'one')  # twice in one place
    again.finish()
    need(again.code == 0, again.code, again.text[-1500:])
    again.clean([])


def dir_is_there(top):
    os.mkdir(top + '/w')
    d = Demo(top)
    d.finish()
    need(d.code == 1 and 'remove it' in d.text, d.code, d.text)
    need(os.path.isdir(top + '/w') and not os.listdir(d.tmp), 'it removed what it had not made, or left something')


def full_disk(top, size, words):
    small = top + '/small'
    os.mkdir(small)
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=' + size, 'tmpfs', small], capture_output=True).returncode:
        print('# no tmpfs can be mounted here: not tried', flush=True)
        return
    try:
        d = Demo(top, 'small/w')
        d.finish()
        need(d.code == 1 and words in d.text, d.code, d.text[-1500:])
        need(not os.listdir(small) and not os.listdir(d.tmp), 'left:', os.listdir(small), os.listdir(d.tmp))
    finally:
        subprocess.run(['umount', small])


quick = ['an ext4', 'pre-copy', 'checks everything']
tests = [('interrupt at "%s"' % s, interrupt(s)) for s in (STAGES if os.environ.get('FERRY_E2E') == 'full' else quick)]
tests += [('terminate at "stop"', interrupt('stop', signal.SIGTERM)), ('the directory is there', in_dir(dir_is_there)),
          ('full disk', in_dir(lambda top: full_disk(top, '96M', 'room for 96 MiB'))), ('two at once', in_dir(two_at_once))]
run_tests([t for t in tests if not sys.argv[1:] or t[0] in sys.argv[1:]])
