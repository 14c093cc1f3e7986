/* Rows that take two servers, as `ferry demo` does: bulk copy, the guest's gap, bytes on the link, an idle server.
 *
 * Servers and guests are processes of this same program in a directory of their own, which is removed at the end; the link is TCP
 * over loopback. Namespaces are in memory, so that no disk is measured, except for the journals, whose fsync is part of a gap.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/bench.h"
#include "cmd/cli.h"
#include "cmd/demo_files.h"
#include "cmd/proc.h"
#include "spec/nvme.h"

enum { GUESTS = 10, MOVES_MAX = 100, START_S = 20, MOVE_S = 120, SEED_BYTES = 128 * 1024, COPY_BLOCKS = 4096, COPY_RANGES = 4, BLOCK = 4096 };

struct site { char run[64], control[96], link[40]; struct proc serve; };
struct stage {
	struct bench *b;
	char self[512], dir[64], log[96];
	struct site site[2];
	struct proc guest[GUESTS];
	uint64_t bytes;			/* of the namespace */
	bool shared;			/* it is a file that both servers have: moves hand it over */
};

/* One move, as its last progress tells it. */
struct moved { double seconds, gap_ns, device_gap_ns, link_bytes, ns_total, ns_sent, mem_total; };

/* ---- servers */

static int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (void *)&a, sizeof(a)) || getsockname(fd, (void *)&a, &len))
		a.sin_port = 0;
	if (fd >= 0)
		close(fd);
	return ntohs(a.sin_port);
}

static int write_config(struct stage *st, unsigned i, unsigned guests, bool vm, char *path, size_t cap)
{
	struct site *s = &st->site[i];
	FILE *f;

	snprintf(path, cap, "%s/%u.ini", st->dir, i);
	f = fopen(path, "we");
	if (!f)
		return err_set(&st->b->err, -errno, "cannot write %s: %s", path, strerror(errno));
	fprintf(f, "[server]\nname=%u\nrun_dir=%s\nstate_dir=%s/state\ncontrol=%s\nlink=%s\n\n[pool local]\nkind=ram\n", i, s->run, s->run,
		s->control, s->link);
	for (unsigned g = 0; g < guests; g++) {
		if (st->shared)
			fprintf(f, "\n[namespace disk%u]\npath=%s/disk%u\nsize=%" PRIu64 "\ncreate=yes\nshared=yes\nnguid=%032u\n", g, st->dir, g,
				st->bytes, g + 1);
		else if (!i)
			fprintf(f, "\n[namespace disk%u]\nbackend=ram\nsize=%" PRIu64 "\n", g, st->bytes);
		fprintf(f, i ? "\n[guest vm%u]\narrives=yes\n" : "\n[guest vm%u]\nnamespaces=disk%u\n", g, g);
		if (vm)
			fprintf(f, "vm=embedded:%s/vm%u.ctl\n", s->run, g);
		else
			fprintf(f, "vm=none\n");
	}
	return fclose(f) ? err_set(&st->b->err, -EIO, "cannot write %s", path) : 0;
}

static int interrupted(struct stage *st)
{
	return bench_stopped() ? err_set(&st->b->err, -EINTR, "interrupted") : 0;
}

static int site_start(struct stage *st, unsigned i, unsigned guests, bool vm)
{
	struct site *s = &st->site[i];
	char config[96];
	char *argv[] = { st->self, "serve", "--config", config, NULL };
	int rc;

	snprintf(s->run, sizeof(s->run), "%.40s/%u", st->dir, i);
	snprintf(s->control, sizeof(s->control), "%.40s/%u/control.sock", st->dir, i);
	snprintf(s->link, sizeof(s->link), "tcp:127.0.0.1:%d", free_port());
	rc = write_config(st, i, guests, vm, config, sizeof(config));
	if (!rc)
		rc = proc_start(&s->serve, "ferry serve", st->log, argv, &st->b->err);
	for (int n = 0; !rc && n < START_S * 50 && !(rc = interrupted(st)); n++) {
		struct rpc_peer *p = rpc_peer_open(s->control, &st->b->err);

		rpc_peer_close(p);
		if (p)
			return 0;
		if (!proc_running(&s->serve))
			break;
		usleep(20000);
	}
	return rc ? rc : err_set(&st->b->err, -ECHILD, "a server did not start");
}

static int stage_open(struct stage *st, struct bench *b, uint64_t bytes, bool shared)
{
	const char *tmp = getenv("TMPDIR");
	ssize_t n;

	*st = (struct stage){ .b = b, .bytes = bytes, .shared = shared };
	bench_pin_off();
	n = readlink("/proc/self/exe", st->self, sizeof(st->self) - 1);
	snprintf(st->dir, sizeof(st->dir), "%.20s/ferry-bench-XXXXXX", tmp && strlen(tmp) <= 20 ? tmp : "/tmp");
	if (n <= 0 || !mkdtemp(st->dir)) {
		st->dir[0] = '\0';
		return err_set(&b->err, -errno, "cannot make a directory to work in: %s", strerror(errno));
	}
	snprintf(st->log, sizeof(st->log), "%s/log", st->dir);
	return 0;
}

/* Asked politely, a guest first reads back and checks all it wrote, at its own rate. */
static void guest_end(struct proc *p)
{
	if (proc_running(p))
		kill(p->pid, SIGKILL);
	proc_stop(p);
}

static void stage_close(struct stage *st)
{
	for (unsigned i = 0; i < GUESTS; i++)
		guest_end(&st->guest[i]);
	for (unsigned i = 0; i < 2; i++)
		proc_stop(&st->site[i].serve);
	if (st->dir[0])
		demo_remove_tree(st->dir);
}

/* ---- guests */

static int guest_start(struct stage *st, unsigned slot, unsigned g, struct site *s, uint64_t rate, bool incoming)
{
	char ctl[96], sock[96], rates[32], area[32];
	char *fresh[] = { st->self, "guest", "--control", ctl, "--socket", sock, "--memory", "64M", "--rate", rates, "--area", area, NULL };
	char *arriving[] = { st->self, "guest", "--control", ctl, "--socket", sock, "--memory", "64M", "--incoming", NULL };
	struct stat sb;
	int rc;

	snprintf(ctl, sizeof(ctl), "%.63s/vm%u.ctl", s->run, g);
	snprintf(sock, sizeof(sock), "%.63s/vm%u.sock", s->run, g);
	snprintf(rates, sizeof(rates), "%" PRIu64, MAX(rate, 1));
	snprintf(area, sizeof(area), "%" PRIu64, st->bytes);
	guest_end(&st->guest[slot]);
	rc = proc_start(&st->guest[slot], "ferry guest", st->log, incoming ? arriving : fresh, &st->b->err);
	for (int n = 0; !rc && stat(ctl, &sb); n++) {
		if (interrupted(st))
			return -EINTR;
		if (!proc_running(&st->guest[slot]) || n > START_S * 50)
			return err_set(&st->b->err, -ECHILD, "a guest did not start");
		usleep(20000);
	}
	return rc;
}

static json_object *call(struct stage *st, struct site *s, const char *method, json_object *params)
{
	struct rpc_peer *p = rpc_peer_open(s->control, &st->b->err);
	json_object *res = NULL;

	if (!p)
		json_object_put(params);
	else if (rpc_peer_call(p, method, params, &res, &st->b->err) != EXIT_FERRY_OK)
		res = NULL;
	rpc_peer_close(p);
	return res;
}

static bool attached(struct stage *st, struct site *s, unsigned guests)
{
	json_object *res = call(st, s, "status", json_object_new_object()), *list = json_get(res, "guests");
	unsigned n = 0;

	for (size_t i = 0; i < json_object_array_length(list); i++)
		n += json_object_get_boolean(json_get(json_object_array_get_idx(list, i), "attached"));
	json_object_put(res);
	return n == guests;
}

/* ---- data: a pseudo-random piece is written, then the controller's own Copy command multiplies it */

static int io(struct stage *st, struct site *s, uint8_t opc, uint64_t lba, uint32_t cdw12, const uint8_t *data, size_t len)
{
	json_object *o = json_object_new_object(), *res;
	char *hex = malloc(2 * len + 1);
	int bad;

	for (size_t i = 0; hex && i < len; i++)
		sprintf(hex + 2 * i, "%02x", data[i]);
	json_object_object_add(o, "queue", json_object_new_string("io"));
	json_object_object_add(o, "opcode", json_object_new_int(opc));
	json_object_object_add(o, "nsid", json_object_new_int(1));
	json_object_object_add(o, "cdw10", json_object_new_int64((int64_t)(lba & UINT32_MAX)));
	json_object_object_add(o, "cdw11", json_object_new_int64((int64_t)(lba >> 32)));
	json_object_object_add(o, "cdw12", json_object_new_int64(cdw12));
	json_object_object_add(o, "data", json_object_new_string(hex ? hex : ""));
	json_object_object_add(o, "data_len", json_object_new_int64((int64_t)len));
	free(hex);
	res = call(st, s, "nvme", o);
	bad = !res || json_num(res, "status");
	if (res && bad)
		err_set(&st->b->err, -EIO, "filling the namespace: %s", json_str(res, "status_name"));
	json_object_put(res);
	return bad ? -EIO : 0;
}

static int copy(struct stage *st, struct site *s, uint64_t to, uint64_t blocks)
{
	uint8_t d[COPY_RANGES * 32] = { 0 };
	unsigned n = 0;

	for (uint64_t at = 0; at < blocks; n++) {
		uint64_t nlb = MIN(blocks - at, (uint64_t)COPY_BLOCKS);
		le64 slba = le64_of(at);
		le16 nlb0 = le16_of((uint16_t)(nlb - 1));

		memcpy(d + n * 32 + 8, &slba, 8);
		memcpy(d + n * 32 + 16, &nlb0, 2);
		at += nlb;
	}
	return io(st, s, NVME_NVM_COPY, to, n - 1, d, n * 32ul);
}

static int fill(struct stage *st, struct site *s)
{
	uint64_t all = st->bytes / BLOCK, have = SEED_BYTES / BLOCK, seed = 7, w;
	uint8_t *p = malloc(SEED_BYTES);
	int rc;

	for (size_t i = 0; p && i < SEED_BYTES; i += 8) {
		w = bench_random(&seed);
		memcpy(p + i, &w, 8);
	}
	rc = p ? io(st, s, NVME_NVM_WRITE, 0, SEED_BYTES / BLOCK - 1, p, SEED_BYTES) : -ENOMEM;
	for (; !rc && have < all && !(rc = interrupted(st)); have += w) {
		w = MIN(MIN(have, all - have), (uint64_t)COPY_BLOCKS * COPY_RANGES);
		rc = copy(st, s, have, w);
	}
	free(p);
	return rc;
}

/* ---- moves */

static double sum(json_object *list, const char *key)
{
	double n = 0;

	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++)
		n += (double)json_u64(json_object_array_get_idx(list, i), key);
	return n;
}

static void moved_read(struct moved *m, json_object *p)
{
	m->seconds = (double)(json_u64(p, "at_ns") - json_u64(p, "started_ns")) / 1e9;
	m->gap_ns = (double)json_u64(p, "gap_ns");
	m->device_gap_ns = (double)json_u64(p, "device_gap_ns");
	m->link_bytes = (double)json_u64(p, "link_bytes");
	m->mem_total = (double)json_u64(p, "mem_total");
	m->ns_total = sum(json_get(p, "namespaces"), "total");
	m->ns_sent = sum(json_get(p, "namespaces"), "sent");
}

static int follow(struct stage *st, struct rpc_peer *p, int id, struct moved *m)
{
	struct err *err = &st->b->err, refused = { "" };
	uint64_t until = bench_now() + MOVE_S * NS_PER_S;

	while (bench_now() < until) {
		json_object *msg = NULL, *res, *event;
		int rc = rpc_peer_next(p, 200, &msg, err), code, end = 1;

		if (rc && rc != -EAGAIN)
			return rc;
		event = json_get(msg, "params");
		if (msg && rpc_is_answer(msg, id, &code, &res, &refused) && code) {
			end = err_set(err, -EIO, "the move was refused: %s", refused.text);
		} else if (!strcmp(json_str(event, "kind"), "end")) {
			end = json_num(event, "exit") ? err_set(err, -EIO, "the move failed: %s", json_str(event, "text")) : 0;
			moved_read(m, json_get(event, "progress"));
		}
		json_object_put(msg);
		if (end <= 0)
			return end;
	}
	return err_set(err, -ETIMEDOUT, "the move did not end within %d s", MOVE_S);
}

static int move(struct stage *st, struct site *from, struct site *to, struct moved *m)
{
	struct rpc_peer *p = rpc_peer_open(from->control, &st->b->err);
	json_object *o = json_object_new_object();
	int id = -1, rc = -EIO;

	json_object_object_add(o, "guest", json_object_new_string("vm0"));
	json_object_object_add(o, "to", json_object_new_string(to->link));
	json_object_object_add(o, "mode", json_object_new_string(st->shared ? "handover" : "copy"));
	if (p && rpc_peer_send(p, "watch", json_object_new_object(), &st->b->err) > 0)
		id = rpc_peer_send(p, "migrate", o, &st->b->err);
	else
		json_object_put(o);
	if (id > 0)
		rc = follow(st, p, id, m);
	rpc_peer_close(p);
	return rc;
}

/* ---- bulk copy: a namespace full of data, nobody at work */

static int bulk_once(struct bench *b, double *rate)
{
	struct moved m = { 0 };
	struct stage st;
	int rc = stage_open(&st, b, MIN(b->v->size, 512 * MIB), false);

	for (unsigned i = 0; !rc && i < 2; i++)
		rc = site_start(&st, i, 1, false);
	if (!rc)
		rc = fill(&st, &st.site[0]);
	if (!rc)
		rc = move(&st, &st.site[0], &st.site[1], &m);
	stage_close(&st);
	*rate = m.seconds > 0 ? m.ns_total / m.seconds : 0;
	return rc;
}

int bench_bulk(struct bench *b, struct bench_out *out)
{
	double o[3], y[3], r[3];

	b->turn_ns = b->v->seconds / ARRAY_LEN(o);
	for (unsigned i = 0; i < ARRAY_LEN(o); i++) {
		int rc = bulk_once(b, &o[i]);

		y[i] = rc ? 0 : bench_yard_tcp(b);
		if (rc || y[i] < 0)
			return rc ? rc : -EIO;
		r[i] = o[i] / y[i];
	}
	out->value = b->bulk = bench_median(o, ARRAY_LEN(o));
	out->yard = bench_median(y, ARRAY_LEN(y));
	out->ratio = bench_median(r, ARRAY_LEN(r));
	snprintf(out->note, sizeof(out->note), "the whole move, from its start to its end, divided by the namespace's bytes");
	return 0;
}

/* ---- a guest that works, moved there and back again. The moves are made once for all the rows that are about them. */

struct moves { bool made, shared; int rc; unsigned n; uint64_t rate; struct err err; struct moved m[MOVES_MAX]; };
static struct moves copies, handovers = { .shared = true };

static int moves_run(struct bench *b, struct stage *st, struct moves *mv)
{
	unsigned want = (unsigned)MIN(b->v->moves, (uint64_t)MOVES_MAX);
	int rc = stage_open(st, b, MIN(b->v->size, 256 * MIB), mv->shared);

	for (unsigned i = 0; !rc && i < 2; i++)
		rc = site_start(st, i, 1, true);
	if (!rc)
		rc = fill(st, &st->site[0]);
	if (!rc)
		rc = guest_start(st, 0, 0, &st->site[0], mv->rate, false);
	for (unsigned i = 0; !rc && i < want; i++) {
		struct site *from = &st->site[i & 1], *to = &st->site[!(i & 1)];

		rc = guest_start(st, !(i & 1), 0, to, 0, true);
		if (!rc)
			rc = move(st, from, to, &mv->m[i]);
		if (!rc && proc_wait(&st->guest[i & 1], START_S * 1000, &b->err) == -ETIMEDOUT)
			rc = -ETIMEDOUT;
		mv->n = i + !rc;
	}
	stage_close(st);
	return rc;
}

/* What is 20 % of the link depends on the machine: of what the bulk copy reached. Half of what the guest does are writes. */
static int moves_make(struct bench *b, struct moves *mv)
{
	struct stage st;
	struct bench_out unused;

	if (!b->v->moves)
		return err_set(&b->err, -EINVAL, "--moves 0");
	if (!mv->made && !b->bulk)
		mv->rc = bench_bulk(b, &unused);
	mv->rate = (uint64_t)(b->bulk / 5 * 2);
	if (!mv->made && !mv->rc)
		mv->rc = moves_run(b, &st, mv);
	if (!mv->made)
		mv->err = b->err;
	mv->made = true;
	b->err = mv->err;
	return mv->rc;
}

/* Sorted, and the median of it. */
static double column(const struct moves *mv, size_t off, double *v)
{
	for (unsigned i = 0; i < mv->n; i++)
		memcpy(&v[i], (const char *)&mv->m[i] + off, sizeof(double));
	return bench_median(v, mv->n);
}

static int gaps(struct bench *b, struct bench_out *out, bool worst)
{
	double v[MOVES_MAX], d[MOVES_MAX], median;
	int rc = moves_make(b, &copies);

	if (rc)
		return rc;
	median = column(&copies, offsetof(struct moved, gap_ns), v);
	out->value = out->ratio = (worst ? v[copies.n - 1] : median) / 1e6;
	snprintf(out->note, sizeof(out->note), "%u moves; the guest reads and writes %.0f MB/s; device's share %.2f ms", copies.n,
		 (double)copies.rate / 1e6, column(&copies, offsetof(struct moved, device_gap_ns), d) / 1e6);
	return 0;
}

int bench_gap(struct bench *b, struct bench_out *out) { return gaps(b, out, false); }
int bench_gap_worst(struct bench *b, struct bench_out *out) { return gaps(b, out, true); }

/* The file's share of it is to be made durable in the pause; the disk is whatever holds TMPDIR. */
int bench_gap_handover(struct bench *b, struct bench_out *out)
{
	double v[MOVES_MAX], l[MOVES_MAX];
	int rc = moves_make(b, &copies);

	rc = rc ? rc : moves_make(b, &handovers);
	if (rc)
		return rc;
	out->yard = column(&copies, offsetof(struct moved, gap_ns), v) / 1e6;
	out->value = column(&handovers, offsetof(struct moved, gap_ns), v) / 1e6;
	out->ratio = out->value / MAX(out->yard, 1e-6);
	snprintf(out->note, sizeof(out->note), "%u moves; worst %.2f ms; %.1f MiB on the link", handovers.n, v[handovers.n - 1] / 1e6,
		 column(&handovers, offsetof(struct moved, link_bytes), l) / MIB);
	return 0;
}

/* Memory counts on both sides: it goes over the same link. */
int bench_link_bytes(struct bench *b, struct bench_out *out)
{
	double ratio[MOVES_MAX], again[MOVES_MAX];
	int rc = moves_make(b, &copies);

	if (rc)
		return rc;
	for (unsigned i = 0; i < copies.n; i++) {
		const struct moved *m = &copies.m[i];

		ratio[i] = m->link_bytes / MAX(m->ns_total + m->mem_total, 1.0);
		again[i] = (m->ns_sent - m->ns_total) / MAX(m->ns_total, 1.0);
	}
	out->value = out->ratio = bench_median(ratio, copies.n);
	snprintf(out->note, sizeof(out->note), "of allocated blocks and memory; %.0f %% of the blocks went twice", 100 * bench_median(again, copies.n));
	return 0;
}

/* ---- an idle server */

static double cpu_ns(pid_t pid)
{
	char path[64];
	unsigned long long ns = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	if (f)
		fclose(f);
	return (double)ns;
}

int bench_idle(struct bench *b, struct bench_out *out)
{
	struct stage st;
	struct site *s = &st.site[0];
	uint64_t begin;
	double ns;
	int rc = stage_open(&st, b, 16 * MIB, false);

	if (!rc)
		rc = site_start(&st, 0, GUESTS, true);
	for (unsigned g = 0; !rc && g < GUESTS; g++)
		rc = guest_start(&st, g, g, s, 0, false);
	for (int n = 0; !rc && !attached(&st, s, GUESTS); n++)
		rc = interrupted(&st) ? -EINTR : n < START_S * 10 ? usleep(100000) : err_set(&b->err, -ETIMEDOUT, "the guests did not all attach");
	if (!rc) {
		usleep(500000);	/* their drivers have come up by then */
		ns = cpu_ns(s->serve.pid);
		begin = bench_now();
		usleep(2000000);
		out->value = out->ratio = 100 * (cpu_ns(s->serve.pid) - ns) / (double)(bench_now() - begin);
		snprintf(out->note, sizeof(out->note), "of a core, %d guests attached, over 2 s; %.1f MiB resident", GUESTS,
			 (double)bench_rss(s->serve.pid) / MIB);
		if (!ns)
			rc = err_set(&b->err, -ENOTSUP, "this kernel does not tell how long a process has run");
	}
	stage_close(&st);
	return rc;
}
