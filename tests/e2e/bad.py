#!/usr/bin/env python3
"""What an operator does wrong, and what the world does wrong: a sentence that helps, the documented exit code, nothing left behind."""
import json, os, signal, socket, subprocess, sys, threading
from rig import *

USAGE, FAILED, REFUSED, DOUBT, CANCELLED, UNREACHABLE = 2, 1, 3, 4, 5, 6


def expect(got, code, *words):
    rc, out, err = got
    need(rc == code, 'exit code', rc, 'instead of', code, out, err)
    for w in words:
        need(w in out + err, 'no "%s" in: %s' % (w, out + err))


def with_rig(fn, **kw):
    def run():
        rig = Rig(**kw)
        try:
            fn(rig)
        except Failed as e:
            raise Failed('%s\n%s' % (e, '\n'.join('--- %s\n%s' % (p.name, p.text()[-1500:]) for p in rig.procs)))
        finally:
            rig.end()
    return run


def flags():
    expect(ferry('migrate', 'vm1'), USAGE, '--to')
    expect(ferry('migrate', '--to', 'unix:/x'), USAGE)
    expect(ferry('status', '--nonsense'), USAGE, '--nonsense')
    expect(ferry('nonsense'), USAGE, 'nonsense')
    expect(ferry('migrate', 'vm1', '--to', 'unix:/x', '--downtime', '10parsecs'), USAGE, '10parsecs')
    expect(ferry('serve'), USAGE, '--config')
    expect(ferry('nvme', 'read', '-n', '1'), USAGE)
    expect(ferry('status', '--control', '/nowhere/at/all'), UNREACHABLE, '/nowhere/at/all', 'ferry serve')
    expect(ferry('status', '--control', '/' + 'x' * 200), UNREACHABLE, 'too long')


def configuration(rig):
    def config(text, line, *words):
        with open(rig.a.ini, 'w') as f:
            f.write(text)
        where = '%s:%d' % (rig.a.ini, line) if line else rig.a.ini
        expect(ferry('serve', '-c', rig.a.ini), USAGE, where, *words)
        expect(ferry('serve', '--check', '-c', rig.a.ini), USAGE, where, *words)
    head = '[server]\nrun_dir=%s\nstate_dir=%s\n' % (rig.a.run, rig.a.state)
    config('[server]\nnonsense=1\n', 2, 'nonsense')
    config('[nonsense]\nx=1\n', 0, 'nonsense')
    config(head + '[namespace d]\nsize=12parsecs\n', 5, '12parsecs')
    config(head + '[guest g]\nnamespaces=missing\n', 0, 'missing')
    expect(ferry('serve', '-c', rig.dir + '/nothing.ini'), USAGE, 'nothing.ini')
    need(not os.path.exists(rig.a.run), 'a refused configuration made directories')


def rpc(rig):
    """Anything may come to the control socket: an answer or the end of the connection, and the server goes on."""
    rig.a.start()
    for raw in (b'{"jsonrpc":"2.0","id":1,"method":"nonsense"}\n', b'nonsense\n', b'[]\n', b'{}\n', b'{"id":[],"method":7,"params":"x"}\n',
                b'{"jsonrpc":"2.0","id":1,"method":"migrate","params":{"guest":7,"to":{}}}\n', b'\x00\xff\xfe\n', b'{"a":' * 5000 + b'\n',
                b'GET / HTTP/1.1\r\n\r\n', b'FERR' + bytes(200) + b'\n'):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(rig.a.control)
        s.sendall(raw)
        answer = s.recv(65536)
        s.close()
        need(not answer or b'error' in answer, raw[:60], 'was answered with', answer[:200])
        need(rig.a.call('status')['result'], 'no status after', raw[:60])
    # The wrong socket: a link, a vfio-user socket, something that is no server at all.
    for path in (rig.a.link[5:], rig.a.sock):
        p = subprocess.run([FERRY, 'status', '--control', path], capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)
        need(p.returncode == UNREACHABLE and p.stderr, path, p.returncode, p.stdout, p.stderr)
    down(rig.a)


def wrong_targets(rig):
    rig.a.start()
    rig.b.start()
    rig.a.vm_start(False)
    works(rig.a)
    expect(rig.a.ferry('migrate', 'nobody', '--to', rig.b.link), REFUSED, 'nobody')
    expect(rig.b.ferry('migrate', 'vm1', '--to', rig.a.link), REFUSED, 'vm1')
    expect(rig.a.ferry('migrate', 'vm1', '--to', rig.a.link), USAGE, 'itself')
    expect(rig.a.ferry('migrate', 'vm1', '--to', 'nonsense:1'), USAGE, 'unix:/PATH or tcp:HOST:PORT')
    expect(rig.a.ferry('migrate', 'vm1', '--to', 'tcp:127.0.0.1'), USAGE, 'tcp:127.0.0.1')
    expect(rig.a.ferry('migrate', 'vm1', '--to', 'tcp:127.0.0.1:70000'), USAGE, '70000')
    expect(rig.a.ferry('migrate', 'vm1', '--to', 'unix:/nowhere/at.all'), REFUSED, 'at.all', 'No such file')
    rc, out, err = rig.a.ferry('migrate', 'vm1', '--to', 'unix:' + rig.b.control)
    need(rc in (FAILED, REFUSED) and out + err, 'a control socket as link:', rc, out, err)
    need(settled(rig) is rig.a, 'it left')
    works(rig.a)
    v = verdict(rig.a)
    need(v['resets'] == 0, 'refused moves reset the controller')
    down(rig.a, rig.b)


def refused(extra, *words):
    """The target says no, with a reason; the guest has noticed nothing and B keeps nothing."""
    def run(rig):
        rig.a.start()
        rig.b.start()
        rig.a.vm_start(False)
        rig.b.vm_start(True)
        works(rig.a)
        rc, out, err = rig.a.ferry('migrate', 'vm1', '--to', rig.b.link, '--json')
        need(rc in (FAILED, REFUSED), 'ended with', rc, out, err)
        for w in words:
            need(w in out + err, 'no "%s" in: %s' % (w, (out + err)[-1500:]))
        need(settled(rig) is rig.a, 'it left')
        works(rig.a)
        v = verdict(rig.a)
        need(v['resets'] == 0, 'a refused move reset the controller')
        rig.b.guest.signal(signal.SIGTERM)
        rig.b.guest.wait()
        need(not os.path.isdir(rig.b.pool) or not os.listdir(rig.b.pool), 'left in the pool:', os.path.isdir(rig.b.pool) and os.listdir(rig.b.pool))
        down(rig.a, rig.b)
    return run


def resolve(rig):
    """The target dies for good after the hand-over. The source says so, and a person ends it."""
    rig.a.start('commit')  # before anything of it is done
    rig.b.start()
    rig.a.vm_start(False)
    rig.b.vm_start(True)
    works(rig.a)
    c = rig.migrate(rig.a, rig.b)
    until('the source in commit', rig.a.serve.stopped)
    rig.b.serve.kill()
    rig.a.serve.signal(signal.SIGCONT)
    until('doubt', lambda: rig.a.vm().get('in_doubt'))
    expect(rig.a.ferry('status'), DOUBT, 'in doubt', 'ferry status vm1', 'ferry resolve', rig.b.link)
    expect(rig.a.ferry('cancel', 'vm1'), REFUSED, 'too late')
    expect(rig.a.ferry('resolve', 'vm1', '--runs', 'here'), REFUSED, '--force')
    expect(rig.a.ferry('resolve', 'vm1', '--runs', 'nowhere', '--force'), FAILED, 'here or there')
    expect(rig.a.ferry('resolve', 'vm1', '--runs', 'here', '--force'), 0, 'owner')
    need(c.wait() == 1, 'migrate ended with', c.p.returncode, c.text()[-500:])
    works(rig.a)
    expect(rig.a.ferry('resolve', 'vm1', '--runs', 'here', '--force'), REFUSED, 'not in doubt')
    v = verdict(rig.a)
    need(v['resets'] == 0, 'taking it back reset the controller')
    down(rig.a)


def damaged(name, at, *words):
    def run(rig):
        rig.a.start()
        down(rig.a)
        path = '%s/%s' % (rig.a.state, name)
        with open(path, 'r+b') as f:
            f.seek(at)
            f.write(b'\xff\xff\xff')
        if name.endswith('.json'):
            rc, out, err = ferry('serve', '-c', rig.a.ini)
            need(rc not in (0, USAGE), 'started with', rc)
            for w in words:
                need(w in err, 'no "%s" in: %s' % (w, err))
            return
        rig.a.start()
        rc, out, err = rig.a.ferry('status')
        for w in words:
            need(w in out, 'no "%s" in: %s' % (w, out))
        expect(rig.a.ferry('migrate', 'vm1', '--to', 'unix:/x'), REFUSED, 'damaged')
        expect(rig.a.ferry('resolve', 'vm1', '--runs', 'here', '--force'), 0, 'owner')
        rig.a.vm_start(False)
        works(rig.a)
        verdict(rig.a)
        down(rig.a)
    return run


def lost(rig):
    """The journal of a guest is gone. What it owned is not taken for what a failed move left behind, and what it had left is not started."""
    rig.a.start()
    rig.b.start()
    rig.a.vm_start(False)
    rig.b.vm_start(True)
    works(rig.a)
    need(rig.migrate(rig.a, rig.b).wait(60) == 0, 'the move failed')
    works(rig.b)
    for s in (rig.a, rig.b):
        s.serve.signal(signal.SIGTERM)
        s.serve.wait()
        os.unlink('%s/guest-vm1.journal' % s.state)
        s.start()
        rc, out, err = s.ferry('status')
        need('not served' in out and 'is gone' in out and 'ferry resolve' in out, s.name, 'says', out)
    need(os.listdir(rig.b.pool) == ['vm1-1.img'], 'in the pool:', os.listdir(rig.b.pool))
    expect(rig.b.ferry('resolve', 'vm1', '--runs', 'here'), REFUSED, '--force')
    expect(rig.b.ferry('resolve', 'vm1', '--runs', 'here', '--force'), 0, 'owner')
    expect(rig.a.ferry('resolve', 'vm1', '--runs', 'there', '--force'), 0, 'released')
    works(rig.b)
    rig.a.vm_start(True)
    need(rig.migrate(rig.b, rig.a).wait(60) == 0, 'the move back failed')
    works(rig.a)
    verdict(rig.a)
    down(rig.a, rig.b)


def vm_unsaid(rig):
    """A VM is attached that the server could neither stop nor move: its controller is not moved away under it."""
    with open(rig.a.ini) as f:
        text = f.read().replace('vm=embedded:%s\n' % rig.a.ctl, '')
    with open(rig.a.ini, 'w') as f:
        f.write(text)
    with open(rig.b.ini, 'a') as f:
        f.write('[guest vm1]\narrives=yes\n')
    rig.a.start()
    rig.b.start()
    rig.a.vm_start(False)
    works(rig.a)
    expect(rig.a.ferry('migrate', 'vm1', '--to', rig.b.link), REFUSED, 'vm=embedded:PATH')
    works(rig.a)
    need(verdict(rig.a)['resets'] == 0, 'a refused move reset the controller')
    down(rig.a, rig.b)


def no_server(rig):
    """Something answers at the control socket that is no server of ours."""
    path = rig.dir + '/other.sock'
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(1)
    s.settimeout(60 * SLOWER)

    def answer(text):
        c, _ = s.accept()
        c.recv(65536)
        c.sendall(text)
        c.close()
    for text in (b'{"id":1,"result":"x"}', b'{"id":1}', b'{"id":1,"result":{"guests":{}}}', b'{"id":1,"result":{"guests":[1,null]}}', b'[]'):
        for args in (['status'], ['cancel', 'vm1'], ['shutdown'], ['resize', 'vm1', '1', '1G']):
            t = threading.Thread(target=answer, args=(text + b'\n',))
            t.start()
            rc, out, err = ferry(*args, '--control', path)
            t.join()
            need(rc in (0, FAILED, UNREACHABLE), args, 'answered with', text, 'ended with', rc, out, err)
    s.close()


def slow_stop(rig):
    """Stopped while its disk is slow: what the disk has is waited for, so that no read lands in the guest's memory afterwards."""
    with open(rig.a.ini) as f:
        text = f.read().replace('create=yes', 'create=yes\ndelay=2s')
    with open(rig.a.ini, 'w') as f:
        f.write(text)
    rig.a.start()
    rig.a.guest = rig.proc('guest', rig.dir + '/guest.log', ['guest', '--timeout', '120s', '--control', rig.a.ctl, '--socket', rig.a.sock,
                                                             '--memory', rig.memory] + rig.guest_args)
    until('the guest to have written', lambda: rig.a.vm().get('writes', 0) > 0, 60)
    rig.a.serve.signal(signal.SIGTERM)
    need(rig.a.serve.wait() == 0, 'A ended with', rig.a.serve.p.returncode, rig.a.serve.text()[-1500:])
    need('still running' not in rig.a.serve.text() and 'stays open' not in rig.a.serve.text(), rig.a.serve.text()[-1500:])


FULL = '[pool small]\nkind=ram\nmax_bytes=1M\n'
tests = [
    ('flags', flags),
    ('configuration', with_rig(configuration)),
    ('rpc', with_rig(rpc)),
    ('wrong targets', with_rig(wrong_targets)),
    ('target without room', with_rig(refused(FULL, 'no [pool] here has room', '64 MiB'), b_extra=FULL)),
    ('target without a pool', with_rig(refused('', 'no [pool] here has room'), b_extra='; none\n')),
    ('resolve', with_rig(resolve)),
    ('journal damaged', with_rig(damaged('guest-vm1.journal', 8, 'not served', 'damaged'))),
    ('journals lost', with_rig(lost)),
    ('a VM we know nothing of', with_rig(vm_unsaid)),
    ('no server of ours', with_rig(no_server)),
    ('stopped with a slow disk', with_rig(slow_stop)),
    ('record damaged', with_rig(damaged('guests.json', 0, 'guests.json', 'damaged'))),
]


def other_block(rig):
    with open(rig.b.ini, 'a') as f:
        f.write('[namespace disk]\nsize=64M\nblock=512\npath=%s\ncreate=yes\n[guest vm1]\nnamespaces=disk\narrives=yes\nvm=embedded:%s\n' %
                (rig.b.image, rig.b.ctl))
    refused('', 'namespaces in the configuration here')(rig)


def already_there(rig):
    with open(rig.b.ini, 'a') as f:
        f.write('[namespace disk]\nsize=64M\npath=%s\ncreate=yes\n[guest vm1]\nnamespaces=disk\nvm=embedded:%s\n' % (rig.b.image, rig.b.ctl))
    rig.a.start()
    rig.b.start()
    rig.a.vm_start(False)
    works(rig.a)
    rc, out, err = rig.a.ferry('migrate', 'vm1', '--to', rig.b.link)
    need(rc in (FAILED, REFUSED) and 'is already here' in out + err, rc, (out + err)[-800:])
    works(rig.a)
    need(verdict(rig.a)['resets'] == 0, 'a refused move reset the controller')
    down(rig.a, rig.b)


tests += [('another block size', with_rig(other_block)), ('a guest of that name is there', with_rig(already_there))]
run_tests([t for t in tests if not sys.argv[1:] or t[0] in sys.argv[1:]], 2)
