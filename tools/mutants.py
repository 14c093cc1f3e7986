#!/usr/bin/env python3
"""Does the verifier notice? Builds our device with one defect at a time (tests/mutants/*.mut) and runs `ferry verify run` against it.

The sources stay as they are: a changed copy is compiled out of tree with the command of a finished build directory and linked in front of its
libraries, whose own copy of that file is then left out. A mutant is noticed when the suite fails, when the program dies, or when it
hangs. What the suite passes is a survivor and needs an explanation in its `survives:` line, which is refused if the mutant is noticed.

tests/mutants/*.mut, one mutant after the other; lines that begin with # are comments:

  == name-of-the-mutant
  what: one sentence: what is broken
  like: the rule, or whose known defect this is
  file: src/device/nvme/queue.c         the file that is changed; NAME.h: see `with`
  with: src/a.c src/b.c                 more files to compile (those that include a changed header); may have *
  define: NAME                          compiled with -DNAME instead of a change of text
  backend: sockets                      where it shows; without this line in-process. `monitored`: what the suite passes in-process is looked at
                                        by `ferry verify monitor` between the suite and a server, and noticed if that blames the device
  survives: why                         why the suite cannot or need not notice
  -                                     old text, whole lines or parts of one, must occur exactly once
          if (++cq->tail == cq->size) {
  +                                     new text, maybe none; - and + may come again
          if (++cq->tail + 1 == cq->size) {
"""
import argparse, concurrent.futures, glob, json, os, re, shlex, shutil, signal, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(ROOT, 'tests/mutants')
DOC = os.path.join(ROOT, 'docs/mutants.md')
FIELDS = ('what', 'like', 'file', 'with', 'define', 'backend', 'survives')
SEED = '1'
LIMIT_S = {'inprocess': 120, 'sockets': 300, 'monitored': 300}    # a whole run that takes longer hangs
MONITORED = 'ID,SU,RS,MR,ST,TS,TM,TR,RE,E2E'    # groups that are run through the monitor
COMMAND_S = 2                                   # what a single command may take
MEMORY = 8 << 30                                # of address space


class Trouble(Exception):
    """Something is wrong with the data or the machine, not with a mutant."""


class Mutant:
    def __init__(self, name, where):
        self.name, self.where, self.edits = name, where, []
        for f in FIELDS:
            setattr(self, f, '')

    def files(self):
        names = [self.file] if self.file.endswith('.c') else []
        for pattern in self.__dict__['with'].split():
            names += sorted(os.path.relpath(p, ROOT) for p in glob.glob(os.path.join(ROOT, pattern)))
        return list(dict.fromkeys(names))

    def text(self):
        """The changed file. Raises Trouble if a change does not apply."""
        with open(os.path.join(ROOT, self.file)) as f:
            text = f.read()
        for old, new in self.edits:
            if text.count(old) != 1:
                raise Trouble('%s: the old text occurs %d times in %s' % (self.name, text.count(old), self.file))
            text = text.replace(old, new)
        return text


# ---- the data ------------------------------------------------------------------------------------------------------------------------

def parse(path):
    mutants, m, part, lines = [], None, None, open(path).read().splitlines()
    for at, line in enumerate(lines + ['== ']):
        where = '%s:%d' % (os.path.relpath(path, ROOT), at + 1)
        if line.startswith('== '):
            if m and part is not None and part < 2:
                raise Trouble(where + ': the mutant before has no new text (+)')
            m, part = Mutant(line[3:].strip(), where), None
            mutants.append(m)
        elif line in ('-', '+'):
            if m is None or (line == '+') != (part == 1):
                raise Trouble(where + ': %s out of order' % line)
            part = 1 if line == '-' else 2
            if part == 1:
                m.edits.append(([], []))
        elif part:
            m.edits[-1][part - 1].append(line)
        elif line.strip() and not line.startswith('#'):
            key, _, value = line.partition(':')
            if m is None or key not in FIELDS or getattr(m, key):
                raise Trouble(where + ': not a field: ' + line)
            setattr(m, key, value.strip())
    for m in mutants[:-1]:
        m.edits = [tuple('\n'.join(part).rstrip('\n ') for part in e) for e in m.edits]
    return mutants[:-1]


def judge(m):
    """What is wrong with a mutant's data, or None."""
    if not re.fullmatch(r'[a-z0-9-]+', m.name) or not m.what or not m.like or not m.file:
        return 'needs a name of small letters, and what, like and file'
    if m.backend not in WAYS:
        return 'unknown backend ' + m.backend
    if bool(m.edits) == bool(m.define):
        return 'needs either a change of text or a define'
    if any(not old.strip() or old == new for old, new in m.edits):
        return 'changes nothing'
    if not m.files() or any(not os.path.exists(os.path.join(ROOT, f)) for f in m.files() + [m.file]):
        return 'no file to compile'
    try:
        m.text()
    except (Trouble, OSError) as e:
        return str(e)
    return None


def load():
    mutants = [m for p in sorted(glob.glob(DATA + '/*.mut')) for m in parse(p)]
    names = [m.name for m in mutants]
    bad = ['%s: %s: %s' % (m.where, m.name, judge(m)) for m in mutants if judge(m)]
    bad += ['%s: there are two of this name' % n for n in sorted(set(names)) if names.count(n) > 1]
    if bad:
        raise Trouble('\n'.join(bad))
    return mutants


# ---- building ------------------------------------------------------------------------------------------------------------------------

class Build:
    def __init__(self, directory):
        self.dir = os.path.abspath(directory)
        self.ferry = os.path.join(self.dir, 'src/cmd/ferry')
        if not os.path.exists(self.ferry):
            raise Trouble('%s is not there: make build' % self.ferry)
        with open(os.path.join(self.dir, 'compile_commands.json')) as f:
            self.commands = {os.path.relpath(os.path.join(self.dir, e['file']), ROOT): shlex.split(e['command'])
                             for e in json.load(f) if 'libferry' in e['output']}
        out = subprocess.run(['ninja', '-C', self.dir, '-t', 'commands', 'src/cmd/ferry'], capture_output=True, text=True, check=True).stdout
        self.link = shlex.split(out.strip().splitlines()[-1])
        if any(a.startswith('-fsanitize') for a in self.link):
            raise Trouble('%s is built with sanitizers: use one without' % self.dir)

    def run(self, argv):
        p = subprocess.run(argv, cwd=self.dir, capture_output=True, text=True)
        if p.returncode:
            raise Trouble('%s\n%s' % (' '.join(argv), p.stderr))

    def compile(self, name, source, obj, more):
        argv = list(self.commands[name])
        argv = [a for i, a in enumerate(argv) if a not in ('-MD', '-MQ', '-MF') and (i == 0 or argv[i - 1] not in ('-MQ', '-MF'))]
        argv[argv.index('-o') + 1] = obj
        argv[argv.index('-c') + 1] = source
        self.run(argv[:1] + more + argv[1:] + ['-w', '-g0'])

    def make(self, m, where):
        """A ferry with this mutant in directory `where`. m None: one file compiled as it is, to prove the way itself."""
        if m is None:
            m = Mutant('none', '')
            m.file = 'src/device/nvme/queue.c'
        copy = os.path.join(where, m.file)
        os.makedirs(os.path.dirname(copy))
        with open(copy, 'w') as f:
            f.write(m.text())
        objs, more = [], ['-I' + os.path.join(where, 'src')] + (['-D' + m.define] if m.define else [])
        for i, name in enumerate(m.files()):
            objs.append(os.path.join(where, '%d.o' % i))
            self.compile(name, copy if name == m.file else os.path.join(ROOT, name), objs[-1], more)
        exe, link = os.path.join(where, 'ferry'), list(self.link)
        at = link.index('-o')
        link[at + 1:at + 2] = [exe] + objs
        self.run(link + ['-Wl,-S'])
        return exe


# ---- running -------------------------------------------------------------------------------------------------------------------------

def start(argv, log):
    """A mutant may ask for any amount of memory, and die in any way."""
    return subprocess.Popen(['prlimit', '--core=0', '--as=%d' % MEMORY] + argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def end(p):
    if p.poll() is None:
        p.kill()
    p.wait()


def verify(exe, args, where, limit):
    """('passes' | 'fails' | 'dies' | 'hangs', who noticed first, what it said)."""
    with open(os.path.join(where, 'out'), 'w+') as log:
        p = start([exe, 'verify', 'run', '--seed', SEED, '--fail-fast', '--timeout', '%ds' % COMMAND_S] + args, log)
        try:
            code = p.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(p)
        log.seek(0)
        text = log.read()
    first = re.search(r'^(FAIL|ERROR) +(\S+) .*\n +(.*)', text, re.M)
    if code == 0:
        return 'passes', '', ''
    if code is None or code < 0:
        return 'hangs' if code is None else 'dies', '', '' if code is None else signal.Signals(-code).name
    refused = re.search(r'^ferry: (.*)', text, re.M)    # it could not even be looked at
    if not first and refused:
        return 'fails', 'first look', refused.group(1)
    if not first:
        raise Trouble('ended with code %d and without a failure:\n%s' % (code, text[-2000:]))
    return 'fails', first.group(2), first.group(3)


def in_process(exe, where):
    return verify(exe, ['--backend', 'inprocess'], where, LIMIT_S['inprocess'])


def config(where):
    text = '[server]\nname=dut\nrun_dir=%s/run\nstate_dir=%s/state\nmmc_socket=%s/mmc.sock\n' % (where, where, where)
    for i in (1, 2, 3):
        text += '[namespace d%d]\nsize=16M\nblock=512\nbackend=ram\ndelay=20us\n[guest vm%d]\nnamespaces=d%d\n' % (i, i, i)
    with open(where + '/dut.ini', 'w') as f:
        f.write(text + 'doorbells=trapped\n')
    return where + '/dut.ini'


def over_sockets(exe, clean, where):
    """The mutant serves; an unchanged verifier is its client."""
    sockets = [where + '/mmc.sock'] + [where + '/run/vm%d.sock' % i for i in (1, 2, 3)]
    with open(where + '/serve.log', 'w') as log:
        p = start([exe, 'serve', '-c', config(where)], log)
        try:
            until = time.monotonic() + 60
            while True:
                verdict = verify(clean, ['--socket', ','.join(sockets)], where, LIMIT_S['sockets'])
                if 'cannot connect' not in verdict[2] or p.poll() is not None:
                    break
                if time.monotonic() > until:
                    raise Trouble('the server does not listen: ' + verdict[2])
                time.sleep(0.05)
            return ('dies', verdict[1], 'the server ended with %d' % p.returncode) if p.poll() is not None else verdict
        finally:
            end(p)


def at_fault(record):
    """The first thing for which the monitor blames the device: what the host does wrong, the suite does on purpose."""
    with open(os.path.join(ROOT, 'docs/monitor.md')) as f:
        rules = re.findall(r'^\| ([A-Z_]+) \| D \|', f.read(), re.M)
    with open(record) as f:
        for line in f:
            note = json.loads(line)['note'] if '"kind":"violation"' in line else ''
            if note.split(':')[0] in rules:
                return 'fails', 'the monitor: ' + note.split(':')[0], note
    return 'passes', '', ''


def monitored(exe, clean, where):
    """What the suite passes in-process, looked at by a monitor between it and the mutant. The suite's own verdicts do not count here: between
    sockets some of what it bounds in time may be late. The management controller wants its host's memory mapped."""
    alone = in_process(exe, where)
    if alone[0] != 'passes':
        return alone
    where = tempfile.mkdtemp(dir=where)
    there, here = [where + '/mmc.sock'] + [where + '/run/vm%d.sock' % i for i in (1, 2, 3)], [where + '/m%d.sock' % i for i in range(4)]
    with open(where + '/log', 'w') as log:
        running = []
        try:
            running.append(start([exe, 'serve', '-c', config(where)], log))
            running.append(start([clean, 'verify', 'monitor', '--listen', ','.join(here), '--to', ','.join(there), '--record', where + '/record', '--quiet',
                                  '--message-mode', '--shared', '0', '--cntlid', '1,2,3,4'], log))
            until = time.monotonic() + 60
            while not all(map(os.path.exists, there + here)):
                if time.monotonic() > until:
                    raise Trouble('the server or the monitor does not listen')
                time.sleep(0.05)
            suite = start([clean, 'verify', 'run', '--seed', SEED, '--timeout', '%ds' % COMMAND_S, '--socket', ','.join(here), '--group', MONITORED], log)
            running.append(suite)
            try:
                suite.wait(LIMIT_S['monitored'])
            except subprocess.TimeoutExpired:
                return 'hangs', '', ''
            if running[0].poll() is not None:
                return 'dies', '', 'the server ended with %d' % running[0].returncode
            running[1].terminate()
            running[1].wait(60)
            return at_fault(where + '/record')
        finally:
            for p in running:
                end(p)


WAYS = {'': lambda exe, clean, where: in_process(exe, where), 'sockets': over_sockets, 'monitored': monitored}


def row_of(build, m):
    """What one mutant's own trouble is (it does not compile), is told in its row."""
    try:
        return examine(build, m)
    except Trouble as e:
        return {'name': m.name, 'verdict': 'trouble', 'test': '', 'said': str(e), 'seconds': 0.0}


def examine(build, m, backend=''):
    """Builds and runs one mutant (None: no change). Returns its row."""
    where = tempfile.mkdtemp(prefix='ferry-mut-')
    began = time.monotonic()
    try:
        exe = build.make(m, where)
        backend = m.backend if m else backend
        for again in range(2):
            t = time.monotonic()
            how = WAYS[backend](exe, build.ferry, where)
            # A run that was slow may have failed because this machine was: what is true shows again.
            if how[0] in ('passes', 'dies') or time.monotonic() - t < COMMAND_S:
                break
        return {'name': m.name if m else '', 'verdict': how[0], 'test': how[1], 'said': how[2], 'seconds': round(time.monotonic() - began, 1)}
    finally:
        shutil.rmtree(where, ignore_errors=True)


# ---- results -------------------------------------------------------------------------------------------------------------------------

def noticed(r):
    return r['verdict'] in ('fails', 'dies', 'hangs')


def by_whom(r):
    return {'fails': r['test'], 'dies': 'it dies' + (' in ' + r['test'] if r['test'] else ''), 'hangs': 'it hangs'}.get(r['verdict'], '')


def score(results):
    n = sum(noticed(r) for r in results)
    return n, len(results), 100.0 * n / max(len(results), 1)


def document(mutants, results):
    """docs/mutants.md. Times are left out: they are the machine's."""
    row = {r['name']: r for r in results}
    n, of, percent = score(results)
    text = '# Mutants\n\nMade by `make mutants`; do not edit. Our device with one defect each (`tests/mutants/`), and which test of `ferry verify run`\n'
    text += 'noticed first (seed %s). "It dies", "it hangs": the program did; that is noticing too.\n\n' % SEED
    text += '**%d of %d noticed: %.1f %%.**\n\n' % (n, of, percent)
    text += '| mutant | what is broken | like | noticed by |\n|---|---|---|---|\n'
    for m in mutants:
        who = by_whom(row[m.name]) or '**survives**'
        text += '| %s | %s | %s | %s%s |\n' % (m.name, m.what.replace('|', '\\|'), m.like.replace('|', '\\|'), who,
                                                {'sockets': ' (over sockets)', 'monitored': ' (the suite alone does not)'}.get(m.backend, ''))
    left = [m for m in mutants if not noticed(row[m.name])]
    if left:
        text += '\n## Survivors\n\n' + ''.join('* **%s**: %s\n' % (m.name, m.survives or 'not explained') for m in left)
    return text


def documented():
    """Names in docs/mutants.md, and those it calls survivors."""
    with open(DOC) as f:
        text = f.read()
    rows = re.findall(r'^\| ([a-z0-9-]+) \|.*\| ([^|]*) \|$', text, re.M)
    rows = rows[1:]     # the first is the head of the table
    return [a for a, _ in rows], [a for a, b in rows if 'survives' in b]


def wrong(m, r):
    """Why this row makes the run fail, or None."""
    if noticed(r) and m.survives:
        return 'is explained as a survivor, and %s noticed it' % by_whom(r)
    if r['verdict'] == 'trouble':
        return r['said'].strip().splitlines()[-1]
    if not noticed(r) and not m.survives:
        return 'survives without an explanation'
    return None


# ---- what is asked for ---------------------------------------------------------------------------------------------------------------

def run(mutants, args):
    build = Build(args.build)
    for backend in sorted({m.backend for m in mutants}):
        control = examine(build, None, backend)
        if noticed(control):
            raise Trouble('without a defect it %s too: %s %s' % (control['verdict'], control['test'], control['said']))
    results, bad = [], 0
    if args.tap:
        print('1..%d' % (len(mutants) + 1))
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for m, r in zip(mutants, pool.map(lambda m: row_of(build, m), mutants)):
            why = wrong(m, r)
            bad += why is not None
            results.append(r)
            line = '%-44s %-7s %-12s %6.1f s' % (m.name, r['verdict'], by_whom(r) if noticed(r) else 'SURVIVES', r['seconds'])
            line = '%sok %d - %s' % ('not ' if why else '', len(results), line) if args.tap else line
            print(line + ('  # ' + why if why else ''), flush=True)
            if args.verbose and r['said']:
                print('#   ' + r['said'])
    n, of, percent = score(results)
    enough = percent >= args.least
    if args.tap:
        print('%sok %d - %d of %d mutants noticed' % ('' if enough else 'not ', of + 1, n, of))
    print('%s%d of %d mutants noticed: %.1f %%, %d not as expected' % ('# ' if args.tap else '', n, of, percent, bad))
    return results, 0 if enough and not bad else 1


def check(mutants):
    """The data apply, there are enough, and the page in docs is about these."""
    names, survivors = documented()
    bad = []
    if len(mutants) < 60:
        bad.append('fewer than 60 mutants')
    if names != [m.name for m in mutants]:
        diff = sorted(set(names) ^ {m.name for m in mutants})
        bad.append('docs/mutants.md is of other mutants (%s): make mutants' % (', '.join(diff) or 'another order'))
    if set(survivors) != {m.name for m in mutants if m.survives}:
        bad.append('docs/mutants.md and the explanations name other survivors')
    for b in bad:
        print('# ' + b)
    print('1..1\n%sok 1 - %d mutants apply, and docs/mutants.md is about them' % ('not ' if bad else '', len(mutants)))
    return 1 if bad else 0


def options():
    p = argparse.ArgumentParser(description='Runs the verifier against our device with one defect at a time.')
    p.add_argument('names', nargs='*', help='these mutants only (shell patterns)')
    p.add_argument('--build', default=os.environ.get('FERRY_BUILD', os.path.join(ROOT, 'build')), help='a finished build directory')
    p.add_argument('--jobs', type=int, default=os.cpu_count() or 1)
    p.add_argument('--least', type=float, default=95, help='per cent that must be noticed')
    p.add_argument('--sample', type=int, help='only every N-th, and none over sockets')
    p.add_argument('--check', action='store_true', help='run nothing: do the data apply, is the page in docs about them')
    p.add_argument('--doc', action='store_true', help='write docs/mutants.md')
    p.add_argument('--json', metavar='FILE', help='write the rows there')
    p.add_argument('--others', metavar='FILE', help='rows of an earlier run (--json) for those that are not run now')
    p.add_argument('--tap', action='store_true')
    p.add_argument('--verbose', '-v', action='store_true', help='also what the first failing test said')
    return p.parse_args()


def main():
    import fnmatch
    args = options()
    mutants = load()
    if args.check:
        return check(mutants)
    chosen = [m for m in mutants if not args.names or any(fnmatch.fnmatchcase(m.name, n) for n in args.names)]
    if args.sample:
        chosen = [m for m in chosen if not m.backend][::args.sample]
    if not chosen:
        raise Trouble('no such mutant')
    results, code = run(chosen, args)
    if args.others:
        with open(args.others) as f:
            results = results + [r for r in json.load(f) if r['name'] not in {c.name for c in chosen}]
    if args.json:
        with open(args.json, 'w') as f:
            json.dump(results, f, indent=1)
    if args.doc and {m.name for m in mutants} <= {r['name'] for r in results}:
        with open(DOC, 'w') as f:
            f.write(document(mutants, results))
    return code


if __name__ == '__main__':
    try:
        sys.exit(main())
    except Trouble as e:
        print('mutants: %s' % e, file=sys.stderr)
        sys.exit(2)
