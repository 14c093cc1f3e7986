#!/usr/bin/env python3
"""The incumbent: the same guest on QEMU's own `nvme` device, moved to a second QEMU with blockdev-mirror over NBD. Its gap is
measured as ours is, from outside, by the guest's heartbeat; the migration tests print both in one run.

    import baseline
    with Lab() as lab:
        result = baseline.move(lab, disk='256M', load=script)    # seconds: 'pause_s' across the switch, 'gap_s' the worst
                                                                # of the whole move, 'total_s'; 'down_ms': QEMU's own word

As a program it is a test: the guest that arrives is the one that left, its data is there, and the numbers are printed.
What is done is what QEMU's manual recommends for a disk without shared storage: an NBD export at the target, a mirror job until it is
ready, migration up to pre-switchover, the mirror completed in write-blocking mode and ended, then the switch.
"""
import time

from vmrig import Lab, Tools, need, run_tests, until


def disk_args(path):
    """A disk on QEMU's own device, at the address that ours has in other tests. Node names are the same on both sides."""
    return ['-blockdev', 'driver=raw,node-name=disk,file.driver=file,file.filename=%s' % path,
            '-device', 'nvme,id=nvme0,addr=0x4,serial=incumbent,drive=disk']


def empty_image(path, disk):
    with open(path, 'wb') as f:
        f.truncate(int(disk[:-1]) << {'M': 20, 'G': 30}[disk[-1]])


def written(vm):
    """Bytes that the guest has written to its disk since this was first asked."""
    now = next(x['stats']['wr_bytes'] for x in vm.qmp('query-blockstats') if x.get('qdev') == 'nvme0')
    vm.written0 = getattr(vm, 'written0', now)
    return now - vm.written0


def mirror_ready(qmp):
    jobs = qmp('query-block-jobs')
    need(jobs, 'the mirror ended by itself')
    return jobs[0]['ready']


def migration(qmp, wanted):
    m = qmp('query-migrate')
    need(m.get('status') not in ('failed', 'cancelled'), 'migration:', m)
    return m if m.get('status') == wanted else None


def start_target(lab, guest, disk, **kw):
    image = lab.dir + '/incumbent-b.img'
    empty_image(image, disk)
    b = lab.vm('incumbent-b', guest=guest, incoming=True, more=disk_args(image), **kw).start()
    b.qmp('nbd-server-start', addr={'type': 'unix', 'data': {'path': b.path('nbd')}})
    b.qmp('block-export-add', id='disk', type='nbd', node_name='disk', writable=True)
    return b


def mirror(a, b):
    a.qmp('blockdev-add', driver='nbd', node_name='there', export='disk', server={'type': 'unix', 'path': b.path('nbd')})
    # write-blocking: writes go to both sides from the start, so the job can end as soon as it is asked to.
    a.qmp('blockdev-mirror', job_id='mirror', device='disk', target='there', sync='full', copy_mode='write-blocking')
    until('the mirror to be ready', lambda: mirror_ready(a.qmp), 120)


def move(lab, disk='256M', prepare=None, load=None, **kw):
    """Boots a guest, runs `prepare` in it to the end, starts `load` in its background and moves it once. Gives numbers, the two Vms and the
    load's Job."""
    image = lab.dir + '/incumbent-a.img'
    empty_image(image, disk)
    a = lab.vm('incumbent-a', more=disk_args(image), **kw).start()
    g = a.guest
    g.ready()
    if prepare:
        g.sh(prepare, 120)
    b = start_target(lab, g, disk, **kw)
    for vm in (a, b):
        vm.qmp('migrate-set-capabilities', capabilities=[{'capability': c, 'state': True} for c in ('pause-before-switchover', 'events')])
    b.qmp('migrate-incoming', uri='unix:' + b.path('incoming'))
    job = g.start(load) if load else None
    until('the load to write', lambda: not load or written(a) > 1 << 20)
    mark, began = g.beats.now(), time.monotonic()
    until('some beats', lambda: g.beats.now() > mark + 100)
    mirror(a, b)
    a.qmp('migrate-set-parameters', downtime_limit=50, max_bandwidth=8 << 30)
    a.qmp('migrate', uri='unix:' + b.path('incoming'))
    until('the guest to stand', lambda: migration(a.qmp, 'pre-switchover'), 120)
    # The disks must be one and let go of before the target's device takes its own.
    a.qmp('block-job-cancel', device='mirror')
    a.qmp.event('BLOCK_JOB_COMPLETED')
    a.qmp('migrate-continue', state='pre-switchover')
    done = until('the migration', lambda: migration(a.qmp, 'completed'), 60)
    until('the target to run', lambda: b.status() == 'running')
    g.moved(b)
    after = g.beats.now()
    until('beats at the target', lambda: g.beats.now() > after + 100)
    g.beats.check(mark)
    pause, at = g.beats.hop()
    b.qmp('block-export-del', id='disk', mode='hard')
    a.quit()
    return {'pause_s': pause, 'gap_s': g.beats.gap(mark)[0], 'at_s': at - began, 'total_s': time.monotonic() - began, 'usual_s': g.beats.usual(mark),
            'down_ms': done.get('downtime'), 'a': a, 'b': b, 'job': job}


PREPARE = 'mkfs.ext4 -q /dev/nvme0n1 && mount /dev/nvme0n1 /mnt && cp -r /modules /bin /mnt/ && cd /mnt && find . -type f | xargs sha256sum >/tmp/sums && sync'
LOAD = ('fio --name=l --directory=/mnt --rw=randwrite --bs=4k --size=8M --fsync=32 --rate=4M --time_based --runtime=20 --verify=crc32c '
        '--do_verify=1 --verify_fatal=1')


def moves():
    with Lab('baseline') as lab:
        r = move(lab, prepare=PREPARE, load=LOAD)
        g = r['b'].guest
        code, said = r['job'].wait(120)
        need(code == 0, 'the load:', said[-3000:])
        g.sh('cd /mnt && sha256sum -c /tmp/sums >/dev/null && cd / && umount /mnt && e2fsck -fn /dev/nvme0n1', 120)
        print('# QEMU\'s own nvme, blockdev-mirror: outside pause %.1f ms, longest silence of the whole move %.1f ms (beats usually %.1f ms apart), '
              'its own word %s ms, %.1f s in all' % (r['pause_s'] * 1e3, r['gap_s'] * 1e3, r['usual_s'] * 1e3, r['down_ms'], r['total_s']), flush=True)
        r['b'].quit()


if __name__ == '__main__':
    Tools.find()
    run_tests([("the incumbent's move", moves)])
