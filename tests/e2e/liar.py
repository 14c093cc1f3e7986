"""A vfio-user proxy that lies: what it is told to alter in the commands of the admin queue is altered between the client's ring and the
server's eyes, so that a good server looks like a bad one. Everything else passes through. Used by verify.py."""
import mmap, os, socket, struct, threading

DMA_MAP, DMA_UNMAP, REGION_INFO, REGION_WRITE = 2, 3, 5, 10
ASQ, AQA, ADMIN_BELL = 0x28, 0x24, 0x1000


class Liar:
    """Listens at path and passes on to upstream; alter(bytearray of 64 bytes) says whether it changed the command."""
    def __init__(self, path, upstream, alter):
        self.upstream, self.alter, self.told = upstream, alter, 0
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(4)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            Connection(self, client)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Connection:
    def __init__(self, liar, client):
        self.liar, self.client, self.areas = liar, client, []
        self.asq = self.size = self.seen = 0
        self.asked = {}
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.connect(liar.upstream)
        for frm, to, look in ((self.client, self.server, self.from_client), (self.server, self.client, self.from_server)):
            threading.Thread(target=self.pump, args=(frm, to, look), daemon=True).start()

    def pump(self, frm, to, look):
        try:
            while True:
                head, fds = self.take(frm, 16)
                mid, cmd, size, flags, _ = struct.unpack('<HHIII', head)
                body = bytearray(self.take(frm, size - 16)[0]) if size > 16 else bytearray()
                fds = look(mid, cmd, flags & 15, body, fds)
                socket.send_fds(to, [head], fds) if fds else to.sendall(head)
                to.sendall(body)
                for fd in fds:
                    os.close(fd)
        except (OSError, EOFError):
            for s in (frm, to):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def take(self, frm, n):
        data, fds = b'', []
        while len(data) < n:
            part, more, _, _ = socket.recv_fds(frm, n - len(data), 16)
            if not part:
                raise EOFError
            data, fds = data + part, fds + more
        return data, fds

    def from_client(self, mid, cmd, kind, body, fds):
        if kind == 0:
            self.asked[mid] = cmd
        if kind == 0 and cmd == DMA_MAP and fds:
            _, _, off, addr, size = struct.unpack('<IIQQQ', body[:32])
            self.areas.append((addr, size, mmap.mmap(fds[0], size, offset=off)))
        elif kind == 0 and cmd == DMA_UNMAP:
            addr = struct.unpack('<Q', body[8:16])[0]
            self.areas = [a for a in self.areas if a[0] != addr]
        elif kind == 0 and cmd == REGION_WRITE:
            off, region, count = struct.unpack('<QII', body[:16])
            if region == 0:
                self.written(off, int.from_bytes(body[16:16 + count], 'little'))
        return fds

    def from_server(self, mid, cmd, kind, body, fds):
        """The doorbells must come by message: no region may be mapped."""
        if kind == 1 and self.asked.pop(mid, cmd) == REGION_INFO and len(body) >= 32:
            body[4:8] = struct.pack('<I', struct.unpack('<I', body[4:8])[0] & ~(4 | 8))
            for fd in fds:
                os.close(fd)
            return []
        return fds

    def written(self, off, value):
        if off == AQA:
            self.size = (value & 0xfff) + 1
        elif off == ASQ:
            self.asq, self.seen = value, 0
        elif off == ADMIN_BELL:
            while self.size and self.seen != value % self.size:
                self.entry(self.asq + 64 * self.seen)
                self.seen = (self.seen + 1) % self.size

    def entry(self, addr):
        for base, size, mem in self.areas:
            if base <= addr and addr + 64 <= base + size:
                sqe = bytearray(mem[addr - base:addr - base + 64])
                if self.liar.alter(sqe):
                    self.liar.told += 1
                    mem[addr - base:addr - base + 64] = bytes(sqe)


def never_suspends(sqe):
    """Suspend with STYPE 1 becomes the notification, which changes nothing: a device that says it has stopped, and has not."""
    if sqe[0] != 0x41 or sqe[40] != 0 or sqe[46] != 1:
        return False
    sqe[46] = 0
    return True
