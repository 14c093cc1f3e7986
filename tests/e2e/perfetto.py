"""A strict reader of Perfetto's native traces, for what our exporter says to be sure of. The viewer forgives nearly everything: a slice that
never ends, an end on another track, a parent that is not there all draw something. This forgives nothing.

    perfetto.py TRACE       prints what is in it, or the first thing that is wrong and where; exit code 0 or 1

Field numbers are those of the public trace schema. No protobuf library: packets are varints and lengths.
"""
import struct, sys

PACKET = 1                                                          # of Trace
TIMESTAMP, SEQUENCE, EVENT, INTERNED, FLAGS, DESCRIPTOR = 8, 10, 11, 12, 13, 60     # of TracePacket
CLEARED, NEEDS = 1, 2                                               # bits of FLAGS
UUID, NAME, PARENT = 1, 2, 5                                        # of TrackDescriptor
E_CATEGORY_IID, E_NOTE, E_TYPE, E_NAME_IID, E_TRACK, E_CATEGORY, E_NAME, E_FLOW, E_FLOW_END = 3, 4, 9, 10, 11, 22, 23, 47, 48  # of TrackEvent
N_NAME_IID, N_UINT, N_STRING, N_POINTER, N_NAME = 1, 3, 6, 7, 10    # of DebugAnnotation
I_CATEGORY, I_NAME, I_NOTE_NAME = 1, 2, 3                           # of InternedData: each entry has iid = 1, name = 2
BEGIN, END, INSTANT = 1, 2, 3

VARINT, FIXED64, BYTES = 0, 1, 2
# What we write, by message: field -> wire type. Anything else is a mistake of the exporter, not a newer schema.
TYPES = {
    'packet': {TIMESTAMP: VARINT, SEQUENCE: VARINT, EVENT: BYTES, INTERNED: BYTES, FLAGS: VARINT, DESCRIPTOR: BYTES},
    'descriptor': {UUID: VARINT, NAME: BYTES, PARENT: VARINT},
    'event': {E_CATEGORY_IID: VARINT, E_NOTE: BYTES, E_TYPE: VARINT, E_NAME_IID: VARINT, E_TRACK: VARINT, E_CATEGORY: BYTES, E_NAME: BYTES,
              E_FLOW: FIXED64, E_FLOW_END: FIXED64},
    'note': {N_NAME_IID: VARINT, N_UINT: VARINT, N_STRING: BYTES, N_POINTER: VARINT, N_NAME: BYTES},
    'interned': {I_CATEGORY: BYTES, I_NAME: BYTES, I_NOTE_NAME: BYTES},
    'entry': {1: VARINT, 2: BYTES},
}
MANY = {E_NOTE, E_FLOW, E_FLOW_END, E_CATEGORY, E_CATEGORY_IID}     # fields of an event that may come again


class Wrong(Exception):
    """The trace breaks a rule."""


def need(ok, *what):
    if not ok:
        raise Wrong(' '.join(str(w) for w in what))


# ---- the wire --------------------------------------------------------------------------------------------------------------------------

def varint(data, at, end):
    v = shift = 0
    while True:
        need(at < end, 'cut within a number')
        need(shift < 64, 'a number of more than ten bytes')
        v |= (data[at] & 0x7f) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            need(v < 1 << 64, 'a number of more than 64 bits')
            return v, at


def fields(data, at, end):
    """(field, wire type, value or (begin, end)) of one message."""
    while at < end:
        key, at = varint(data, at, end)
        no, wire = key >> 3, key & 7
        need(no > 0, 'field number 0')
        if wire == VARINT:
            v, at = varint(data, at, end)
        elif wire == FIXED64:
            need(end - at >= 8, 'cut within a fixed number')
            v, at = struct.unpack_from('<Q', data, at)[0], at + 8
        elif wire == BYTES:
            n, at = varint(data, at, end)
            need(n <= end - at, 'a length of', n, 'where', end - at, 'bytes are left')
            v, at = (at, at + n), at + n
        else:
            raise Wrong('wire type %d' % wire)
        yield no, wire, v


def message(kind, data, span, many=()):
    """{field: value}, or lists for the fields in `many`."""
    out = {}
    for no, wire, v in fields(data, *span):
        need(no in TYPES[kind], 'field', no, 'in a', kind)
        need(wire == TYPES[kind][no], 'field', no, 'of a', kind, 'has wire type', wire)
        if no in many:
            out.setdefault(no, []).append(v)
        else:
            need(no not in out, 'field', no, 'twice in one', kind)
            out[no] = v
    return out


def text(data, span):
    try:
        s = data[span[0]:span[1]].decode()
    except UnicodeDecodeError:
        raise Wrong('a name that is no UTF-8')
    need(s, 'an empty name')
    return s


# ---- what it says ----------------------------------------------------------------------------------------------------------------------

class Track:
    def __init__(self, name, parent):
        self.name, self.parent, self.open, self.last = name, parent, [], 0


class Flow:
    def __init__(self):
        self.points, self.ended, self.last = 0, False, 0


class Trace:
    def __init__(self, data):
        self.data, self.tracks, self.flows, self.names = data, {}, {}, {}
        self.sequence, self.cleared = None, False
        self.packets = self.begun = self.ended = self.instants = 0
        at = 0
        while at < len(data):
            try:
                at = self.packet(at)
            except Wrong as e:
                raise Wrong('packet %d (byte %d): %s' % (self.packets, at, e)) from None
        self.finish()

    def packet(self, at):
        key, p = varint(self.data, at, len(self.data))
        need(key == PACKET << 3 | BYTES, 'no packet begins here')
        n, p = varint(self.data, p, len(self.data))
        need(n <= len(self.data) - p, 'cut within a packet:', n, 'bytes announced,', len(self.data) - p, 'there')
        m = message('packet', self.data, (p, p + n))
        self.one_sequence(m)
        if INTERNED in m:
            self.intern(m[INTERNED])
        need((EVENT in m) + (DESCRIPTOR in m) <= 1, 'a track and an event in one packet')
        if DESCRIPTOR in m:
            self.describe(m[DESCRIPTOR])
        if EVENT in m:
            need(TIMESTAMP in m, 'an event without a time')
            self.event(m[EVENT], m[TIMESTAMP])
        self.packets += 1
        return p + n

    def one_sequence(self, m):
        need(m.get(SEQUENCE), 'no trusted sequence id')
        need(self.sequence in (None, m[SEQUENCE]), 'sequence', m.get(SEQUENCE), 'in a trace of sequence', self.sequence)
        self.sequence = m[SEQUENCE]
        if m.get(FLAGS, 0) & CLEARED:
            self.cleared, self.names = True, {}
        need(self.cleared or not (m.get(FLAGS, 0) & NEEDS or INTERNED in m), 'incremental state was never cleared')

    def intern(self, span):
        for kind, wire, v in fields(self.data, *span):
            need(TYPES['interned'].get(kind) == wire, 'field', kind, 'of interned data')
            e = message('entry', self.data, v)
            need(e.get(1) and 2 in e, 'an interned entry without its number or its name')
            need(self.names.setdefault((kind, e[1]), text(self.data, e[2])) == text(self.data, e[2]), 'number', e[1], 'interned twice')

    def word(self, m, inline, iid, kind, what):
        """A name that stands here or was interned; never both."""
        need((inline in m) != (iid in m), what, 'with' if inline in m else 'without', 'a name', 'and a number' if inline in m else '')
        if inline in m:
            return text(self.data, m[inline])
        need((kind, m[iid]) in self.names, what, 'names', m[iid], 'that was never interned')
        return self.names[kind, m[iid]]

    def describe(self, span):
        m = message('descriptor', self.data, span)
        need(m.get(UUID), 'a track without uuid')
        need(m[UUID] not in self.tracks, 'track', m[UUID], 'described twice')
        need(NAME in m, 'track', m[UUID], 'without a name')
        need(PARENT not in m or m[PARENT] in self.tracks, 'track', m[UUID], 'has a parent', m.get(PARENT), 'that was not described')
        self.tracks[m[UUID]] = Track(text(self.data, m[NAME]), m.get(PARENT))

    def event(self, span, time):
        m = message('event', self.data, span, MANY)
        need(m.get(E_TRACK) in self.tracks, 'an event on track', m.get(E_TRACK), 'that was not described')
        track = self.tracks[m[E_TRACK]]
        need(time >= track.last, 'time goes back from', track.last, 'to', time, 'on track', track.name)
        track.last = time
        for note in m.get(E_NOTE, ()):
            self.note(note)
        kind = m.get(E_TYPE)
        need(kind in (BEGIN, END, INSTANT), 'an event of type', kind)
        if kind == END:
            need(track.open, 'an end where nothing is open on track', track.name)
            track.open.pop()
            self.ended += 1
        else:
            name = self.word(m, E_NAME, E_NAME_IID, I_NAME, 'an event')
            for c in m.get(E_CATEGORY, ()):
                text(self.data, c)
            for c in m.get(E_CATEGORY_IID, ()):
                need((I_CATEGORY, c) in self.names, 'a category', c, 'that was never interned')
            if kind == BEGIN:
                track.open.append((name, time))
            self.begun, self.instants = self.begun + (kind == BEGIN), self.instants + (kind == INSTANT)
        for f in m.get(E_FLOW, ()):
            self.flow(f, time, False)
        for f in m.get(E_FLOW_END, ()):
            self.flow(f, time, True)

    def note(self, span):
        m = message('note', self.data, span)
        self.word(m, N_NAME, N_NAME_IID, I_NOTE_NAME, 'an annotation')
        need(sum(k in m for k in (N_UINT, N_STRING, N_POINTER)) == 1, 'an annotation without one value')
        if N_STRING in m:
            text(self.data, m[N_STRING])

    def flow(self, number, time, ends):
        f = self.flows.setdefault(number, Flow())
        need(number and not f.ended, 'flow', number, 'goes on after its end')
        need(f.points or not ends, 'flow', number, 'ends and never began')
        need(time >= f.last, 'flow', number, 'runs back in time')
        f.points, f.ended, f.last = f.points + 1, ends, time

    def finish(self):
        need(self.packets, 'no packet at all')
        for t in self.tracks.values():
            need(not t.open, 'track', t.name, 'ends with', len(t.open), 'open, innermost', t.open[-1:])
        for number, f in self.flows.items():
            need(f.ended, 'flow', number, 'begins and never ends')

    def about(self):
        return '%d packets, %d tracks, %d slices, %d instants, %d flows' % (
            self.packets, len(self.tracks), self.begun, self.instants, len(self.flows))


def read(path):
    with open(path, 'rb') as f:
        return Trace(f.read())


# ---- traces that are wrong, made of a right one ------------------------------------------------------------------------------------------

def number(v):
    out = b''
    while v > 0x7f:
        out, v = out + bytes([v & 0x7f | 0x80]), v >> 7
    return out + bytes([v])


def packed(field, wire, v):
    return number(field << 3 | wire) + (number(v) if wire == VARINT else struct.pack('<Q', v) if wire == FIXED64 else number(len(v)) + v)


def taken_apart(data, span=None):
    """[[field, wire, value]] with bytes for spans."""
    return [[no, w, data[v[0]:v[1]] if w == BYTES else v] for no, w, v in fields(data, *(span or (0, len(data))))]


def together(parts):
    return b''.join(packed(*p) for p in parts)


def value(packet, *path):
    """The first value at these field numbers, or None."""
    for no in path:
        packet = next((v for f, _, v in (taken_apart(packet) if isinstance(packet, bytes) else packet) if f == no), None)
        if packet is None:
            return None
    return packet


def changed(packet, path, new):
    """With another value there; None: without it."""
    out = []
    for no, w, v in taken_apart(packet):
        if no != path[0]:
            out.append([no, w, v])
        elif len(path) > 1:
            out.append([no, w, changed(v, path[1:], new)])
        elif new is not None:
            out.append([no, w, new])
    return together(out)


def breakages(data):
    """(what is wrong, the trace, what is to be said of it), each from one change to a right trace."""
    packets = [v for _, _, v in taken_apart(data)]

    def first(want, *path, after=-1):
        return next(i for i, p in enumerate(packets) if i > after and value(p, *path) is not None and (want is None or value(p, *path) == want))

    def without(i):
        return packets[:i] + packets[i + 1:]

    def instead(i, path, new):
        return packets[:i] + [changed(packets[i], path, new)] + packets[i + 1:]

    begin, end = first(BEGIN, EVENT, E_TYPE), first(END, EVENT, E_TYPE)
    track, child = first(None, DESCRIPTOR, UUID), first(None, DESCRIPTOR, PARENT)
    flow, flow_end = first(None, EVENT, E_FLOW), first(None, EVENT, E_FLOW_END)
    again = first(value(packets[begin], EVENT, E_TRACK), EVENT, E_TRACK, after=begin)
    yield 'cut in its midst', data[:-3], 'cut within'
    yield 'bytes between packets', together([[PACKET, BYTES, p] for p in packets[:5]]) + b'\x50' + data, 'no packet begins here'
    for what, parts, says in (
            ('an end without a begin', without(begin), 'an end where nothing is open'),
            ('a begin without its end', without(end), 'open, innermost|nothing is open'),
            ('an unknown track', without(track), 'was not described'),
            ('an unknown parent', instead(child, (DESCRIPTOR, PARENT), 12345), 'parent 12345 that was not described'),
            ('a track described twice', packets[:child + 1] + packets[child:], 'described twice'),
            ('an end on another track', instead(end, (EVENT, E_TRACK), value(packets[track], DESCRIPTOR, UUID)), 'nothing is open'),
            ('time that goes back', instead(again, (TIMESTAMP,), value(packets[begin], TIMESTAMP) - 1), 'time goes back'),
            ('an event without a name', instead(begin, (EVENT, E_NAME), None), 'without a name'),
            ('a name that was never interned', instead(begin, (EVENT,), value(packets[begin], EVENT).replace(packed(E_NAME, BYTES, value(
                packets[begin], EVENT, E_NAME)), packed(E_NAME_IID, VARINT, 7))), 'never interned'),
            ('another sequence', instead(begin, (SEQUENCE,), 2), 'sequence 2'),
            ('no sequence', instead(begin, (SEQUENCE,), None), 'no trusted sequence'),
            ('no time', instead(begin, (TIMESTAMP,), None), 'without a time'),
            ('a flow that does not begin', instead(flow, (EVENT, E_FLOW), None), 'never began|never ends'),
            ('a flow that does not end', instead(flow_end, (EVENT, E_FLOW_END), None), 'never ends')):
        yield what, together([[PACKET, BYTES, p] for p in parts]), says


if __name__ == '__main__':
    try:
        print(read(sys.argv[1]).about())
    except Wrong as e:
        sys.exit('%s: %s' % (sys.argv[1], e))
