#!/usr/bin/env python3
"""`ferry resize`: a running guest's disk becomes larger or smaller, outlasts restarts and crashes at any place, and goes along with a move.

The guest works on its disk all the time and checks in the end that nothing it ever wrote is lost."""
import json, os, resource, signal, socket, sys
from rig import *

USAGE, FAILED, REFUSED = 2, 1, 3
M = 1 << 20


def expect(got, code, *words):
    rc, out, err = got
    need(rc == code, 'exit code', rc, 'instead of', code, out, err)
    for w in words:
        need(w in out + err, 'no "%s" in: %s' % (w, out + err))


def size(side):
    """What the server says, which its record must say too."""
    said = side.vm()['namespaces'][0]['bytes']
    with open(side.state + '/guests.json') as f:
        kept = json.load(f)['guests']['vm1']['namespaces'][0]
    need(kept['blocks'] * kept['block'] == said, 'the record has', kept, 'the server says', said)
    return said


def length(path):
    return os.stat(path).st_size


def begin(rig, stop_at=None):
    rig.a.start(stop_at)
    rig.a.vm_start(False)
    works(rig.a)


def finish(rig, *sides, restarts=0):
    works(rig.a)
    v = verdict(rig.a)
    need(v['resets'] == restarts, 'the controller was reset', v['resets'], 'times, the server started again', restarts, 'times')
    down(*(sides or [rig.a]))


def restart(side):
    side.serve.signal(signal.SIGTERM)
    need(side.serve.wait() == 0, 'the server ended with', side.serve.p.returncode, side.serve.text()[-1000:])
    side.start()
    works(side)


def both_ways(rig):
    begin(rig)
    expect(rig.a.ferry('resize', 'vm1', '1', '128M'), 0, '128.0 MiB', 'before 64.0 MiB')
    need(size(rig.a) == 128 * M == length(rig.a.image), 'sizes', size(rig.a), length(rig.a.image))
    need(os.stat(rig.a.image).st_blocks * 512 < 100 * M, 'the file is not sparse')
    expect(rig.a.ferry('resize', 'vm1', '1', '128M'), 0, '128.0 MiB')  # nothing to do is done
    restart(rig.a)
    need(size(rig.a) == 128 * M, 'after a restart:', size(rig.a))
    need('ferry resize' in rig.a.serve.text(), 'nobody was told that size= does not count any more')
    expect(rig.a.ferry('resize', 'vm1', '1', '56M'), REFUSED, 'lost for ever', '--shrink')
    need(size(rig.a) == 128 * M == length(rig.a.image), 'refused, and done')
    expect(rig.a.ferry('resize', 'vm1', '1', '56M', '--shrink'), 0, '56.0 MiB', 'before 128.0 MiB')
    need(size(rig.a) == 56 * M == length(rig.a.image), 'sizes', size(rig.a), length(rig.a.image))
    restart(rig.a)
    need(size(rig.a) == 56 * M, 'after a restart:', size(rig.a))
    finish(rig, restarts=2)


def bad(rig):
    begin(rig)
    for text, code, *words in (('0', REFUSED, 'blocks of 4096'), ('100000001', REFUSED, 'blocks of 4096'), ('6000000T', REFUSED, 'not a size'),
                               ('99999999999T', USAGE), ('-1', USAGE), ('lots', USAGE, 'lots'), ('', USAGE)):
        expect(rig.a.ferry('resize', 'vm1', '1', text), code, *words)
    expect(rig.a.ferry('resize', 'nobody', '1', '1G'), REFUSED, "'nobody' is unknown")
    expect(rig.a.ferry('resize', 'vm1', '2', '1G'), REFUSED, 'no namespace 2')
    expect(rig.a.ferry('resize', 'vm1', '4294967297', '1G'), REFUSED, 'no namespace 4294967297')
    expect(rig.a.ferry('resize', 'vm1', 'x', '1G'), USAGE, "'x'")
    expect(rig.a.ferry('resize', 'vm1', '1'), USAGE)
    for p in ({}, {'guest': 'vm1'}, {'guest': 'vm1', 'nsid': 1}, {'guest': 'vm1', 'nsid': '1', 'bytes': 1 << 30}, {'guest': 'vm1', 'nsid': 1, 'bytes': -4096},
              {'guest': 'vm1', 'nsid': 1, 'bytes': 1e9}, {'guest': 'vm1', 'nsid': -1, 'bytes': 1 << 30}, {'guest': 'vm1', 'nsid': 1, 'bytes': 1 << 64},
              {'guest': 'vm1', 'nsid': 1, 'bytes': (1 << 64) - 4096}, {'guest': [], 'nsid': {}, 'bytes': None}):
        need('error' in rig.a.call('resize', **p), p, 'was done')
    need(size(rig.a) == 64 * M == length(rig.a.image), 'something was done')
    finish(rig)


def no_room(rig):
    """The file may not become so long; the record cannot be written. The guest keeps what it has."""
    begin(rig)
    was = resource.prlimit(rig.a.serve.pid, resource.RLIMIT_FSIZE, (100 * M, resource.RLIM_INFINITY))
    expect(rig.a.ferry('resize', 'vm1', '1', '128M'), FAILED, 'File too large')
    resource.prlimit(rig.a.serve.pid, resource.RLIMIT_FSIZE, was)
    need(size(rig.a) == 64 * M == length(rig.a.image), 'sizes', size(rig.a), length(rig.a.image))
    for to in ('128M', '56M'):
        tmp = rig.a.state + '/guests.json~'
        os.mkdir(tmp)
        expect(rig.a.ferry('resize', 'vm1', '1', to, '--shrink'), FAILED, 'cannot write the record')
        os.rmdir(tmp)
        need(size(rig.a) == 64 * M <= length(rig.a.image), 'sizes', size(rig.a), length(rig.a.image))
    expect(rig.a.ferry('resize', 'vm1', '1', '128M'), 0)
    need(size(rig.a) == 128 * M == length(rig.a.image), 'sizes', size(rig.a), length(rig.a.image))
    finish(rig)


def at_once(rig):
    """What comes while a size is being changed: another change, a move. And the other way round."""
    begin(rig)
    rig.b.start()
    r = Rpc(rig.a.control)
    asks = [('resize', {'guest': 'vm1', 'nsid': 1, 'bytes': 128 * M}), ('resize', {'guest': 'vm1', 'nsid': 1, 'bytes': 192 * M}),
            ('migrate', {'guest': 'vm1', 'to': rig.b.link})]
    r.s.sendall(b''.join(json.dumps({'jsonrpc': '2.0', 'id': i, 'method': m, 'params': p}).encode() + b'\n' for i, (m, p) in enumerate(asks)))
    got = {}
    while len(got) < len(asks):
        m = json.loads(r.f.readline())
        got[m['id']] = m
    r.close()
    need(got[0].get('result', {}).get('bytes') == 128 * M, got)
    need('being resized already' in got[1]['error']['message'] and 'being resized' in got[2]['error']['message'], got)
    need(size(rig.a) == 128 * M, size(rig.a))
    rig.b.vm_start(True)
    move = rig.migrate(rig.a, rig.b, '--bandwidth', '1M', '--no-throttle')
    until('the move to copy', lambda: rig.a.vm().get('moving_out', {}).get('phase') in ('pre-copy', 'converge'))
    expect(rig.a.ferry('resize', 'vm1', '1', '192M'), REFUSED, 'being moved')
    expect(rig.b.ferry('resize', 'vm1', '1', '192M'), REFUSED, 'not run here')
    expect(rig.a.ferry('cancel', 'vm1'), 0)
    move.wait()
    need(settled(rig) is rig.a, 'it left')
    expect(rig.a.ferry('resize', 'vm1', '1', '192M'), 0)
    rig.b.guest.signal(signal.SIGTERM)
    rig.b.guest.wait()
    finish(rig, rig.a, rig.b)


def crash(place, to, after):
    """Dead between the medium and the record, or between the record and the guest. The file has what the record says, at least."""
    def run(rig):
        begin(rig, place)
        p = rig.proc('resize', rig.dir + '/resize.log', ['resize', 'vm1', '1', to, '--shrink', '--control', rig.a.control])
        until('the server to stop at ' + place, rig.a.serve.stopped)
        rig.a.serve.kill()
        need(length(rig.a.image) >= after * M, 'the file is shorter than the record says:', length(rig.a.image))
        need(p.wait() != 0, 'the dead server has answered')
        with open(rig.a.image, 'r+b') as f:  # what is behind the end by the record was somebody's once
            f.truncate(128 * M)
            f.seek(after * M)
            f.write(b'old' * (after < 128))
        rig.a.start()
        need(size(rig.a) == after * M <= length(rig.a.image), 'sizes', size(rig.a), length(rig.a.image))
        works(rig.a)
        expect(rig.a.ferry('resize', 'vm1', '1', '160M'), 0)
        need(size(rig.a) == 160 * M == length(rig.a.image), 'sizes', size(rig.a), length(rig.a.image))
        with open(rig.a.image, 'rb') as f:
            f.seek(after * M)
            need(not any(f.read()), 'new blocks are not zero')
        finish(rig, restarts=1)
    return run


def there_and_back(rig):
    """The size goes along, also to where the guest has been before with another one; and what is too small there says so."""
    begin(rig)
    rig.b.start()
    expect(rig.a.ferry('resize', 'vm1', '1', '128M'), 0)
    rig.b.vm_start(True)
    need(rig.migrate(rig.a, rig.b).wait(60) == 0, 'there')
    image = rig.b.pool + '/vm1-1.img'
    need(size(rig.b) == 128 * M == length(image), 'sizes', size(rig.b), length(image))
    expect(rig.a.ferry('resize', 'vm1', '1', '192M'), REFUSED, 'not run here', rig.b.link)
    expect(rig.b.ferry('resize', 'vm1', '1', '256M'), FAILED, 'pool local', 'max_bytes', '192.0 MiB')
    expect(rig.b.ferry('resize', 'vm1', '1', '160M'), 0)
    need(size(rig.b) == 160 * M == length(image), 'sizes', size(rig.b), length(image))
    restart(rig.b)
    need(size(rig.b) == 160 * M, 'after a restart:', size(rig.b))
    works(rig.b)
    rig.a.guest.wait()
    rig.a.vm_start(True)
    was = resource.prlimit(rig.a.serve.pid, resource.RLIMIT_FSIZE, (140 * M, resource.RLIM_INFINITY))
    back = rig.migrate(rig.b, rig.a)
    need(back.wait(60) in (FAILED, REFUSED), 'the small side took it', back.text()[-500:])
    for w in ('%d bytes now' % (160 * M), '%d when it was here' % (128 * M), 'File too large'):
        need(w in back.text(), 'no "%s" in: %s' % (w, back.text()[-1500:]))
    need(settled(rig) is rig.b, 'it left')
    resource.prlimit(rig.a.serve.pid, resource.RLIMIT_FSIZE, was)
    need(size(rig.a) == 128 * M <= length(rig.a.image), 'the old data:', size(rig.a), length(rig.a.image))
    works(rig.b)
    need(rig.migrate(rig.b, rig.a).wait(60) == 0, 'back')
    need(size(rig.a) == 160 * M == length(rig.a.image), 'sizes', size(rig.a), length(rig.a.image))
    restart(rig.a)
    need(size(rig.a) == 160 * M, 'after a restart:', size(rig.a))
    rig.b.guest.wait()
    finish(rig, rig.a, rig.b, restarts=2)


def size_of_the_file(rig):
    """size= left out: the file's, found at the first start and kept."""
    with open(rig.a.ini) as f:
        text = f.read().replace('size=64M\n', '').replace('create=yes\n', '')
    with open(rig.a.ini, 'w') as f:
        f.write(text)
    with open(rig.a.image, 'wb') as f:
        f.truncate(80 * M)
    for _ in range(2):
        rig.a.start()
        need(size(rig.a) == 80 * M, size(rig.a))
        down(rig.a)


def with_rig(fn, **kw):
    def run():
        rig = Rig(area='16M', **kw)
        try:
            fn(rig)
        except Failed as e:
            raise Failed('%s\n%s' % (e, '\n'.join('--- %s\n%s' % (p.name, p.text()[-1500:]) for p in rig.procs)))
        finally:
            rig.end()
    return run


def small_pool(rig):
    with open(rig.b.ini, 'a') as f:
        f.write('max_bytes=192M\n')
    there_and_back(rig)


tests = [
    ('larger, smaller, and a restart', with_rig(both_ways)),
    ('sizes and names that cannot be', with_rig(bad)),
    ('no room', with_rig(no_room)),
    ('two at once, and moves', with_rig(at_once)),
    ('larger, dead before the record', with_rig(crash('resize-extended', '128M', 64))),
    ('larger, dead after the record', with_rig(crash('resize-recorded', '128M', 128))),
    ('smaller, dead before the record', with_rig(crash('resize-extended', '56M', 64))),
    ('smaller, dead after the record', with_rig(crash('resize-recorded', '56M', 56))),
    ('moved there and back', with_rig(small_pool)),
    ('the size of the file', with_rig(size_of_the_file)),
]
run_tests([t for t in tests if not sys.argv[1:] or t[0] in sys.argv[1:]], 2)
