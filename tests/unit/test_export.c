/* The exports: the log is byte for byte what it was, the others are read back by readers of our own (their tools: tests/e2e/monitor.py). */
#include "monrig.h"
#include "verify/describe.h"
#include "verify/export.h"

/* A small story: a write, a read in two pieces, a mask, an entry of a data queue, and one thing that must not be. */
static void story(struct mrig *r)
{
	struct mport *p = &r->p[1];
	struct vuser_irq_set mask = { le32_of(sizeof(mask)), le32_of(VUSER_SET_NONE | VUSER_SET_MASK), le32_of(2), le32_of(1), le32_of(1) };
	struct nvme_sqe w = mr_rw(NVME_NVM_WRITE, 3, MR_DATA, 8), d = mr_rw(NVME_NVM_READ, 4, MR_DATA + 0x1200, 8);
	struct nvme_sqe q = { .opc = NVME_OP_CDQ, .prp1 = le64_of(MR_DATA + 0x20000) };
	struct nvme_lbamq e = { .nsid = le32_of(1), .nlb0 = le32_of(7), .lbamqa = 1 | NVME_ESA_FIRST << 1 };

	rec_test(r->store, r->now, "story");
	d.prp2 = le64_of(MR_DATA + 0x8000);
	r->now += 1000;
	mr_submit(p, 1, &w);
	r->now += 500;
	mr_submit(p, 1, &d);
	r->now += 2500;
	mr_done(p, 1, 4, 0, 0);
	r->now += 100;
	mr_raise(p, 1);
	mr_done(p, 1, 3, NVME_WRITE_FAULT | NVME_DNR, 0);
	r->now += 1;
	mr_consume(p, 1);
	mr_ask(p, VUSER_DEVICE_SET_IRQS, &mask, sizeof(mask), NULL, 0, NULL, 0);
	nvme_cdq_pc_put(&q, 1);
	nvme_cdq_cqs_put(&q, MR_MC_ID);
	nvme_cdq_cdqsize_put(&q, 64);
	mr_admin(&r->p[0], q, 5);
	q = (struct nvme_sqe){ .opc = NVME_OP_TRACK_SEND };
	nvme_track_send_lact_put(&q, 1);
	nvme_track_send_cdqid_put(&q, 5);
	mr_admin(&r->p[0], q, 0);
	memcpy(r->p[0].mem + MR_DATA + 0x20000, &e, 32);
	r->now += 7;
	mr_pump(r);
	mr_doorbell(p, 2, 0xffff);
	rec_flush(r->store);
}

static uint8_t *written(int (*fn)(const char *, FILE *, struct err *), const char *record, size_t *n)
{
	char *p = NULL;
	FILE *f = open_memstream(&p, n);
	struct err err = { "" };

	EXPECT_EQ(fn(record, f, &err), 0);
	fclose(f);
	EXPECT(p != NULL);
	return (uint8_t *)p;
}

static void same_as_golden(const char *name, const uint8_t *p, size_t n)
{
	static char path[512], want[1 << 18];
	FILE *f;
	size_t got;

	snprintf(path, sizeof(path), "%s/tests/golden/%s", getenv("FERRY_SRC") ? getenv("FERRY_SRC") : ".", name);
	if (getenv("FERRY_WRITE_GOLDEN")) {
		f = fopen(path, "w");
		EXPECT_EQ(fwrite(p, 1, n, f), n);
		fclose(f);
	}
	f = fopen(path, "r");
	EXPECT(f != NULL);
	got = fread(want, 1, sizeof(want), f);
	fclose(f);
	EXPECT_EQ(got, n);
	EXPECT_MEM(want, p, n);
}

TEST(log_is_golden)
{
	uint8_t *p;
	size_t n;

	MRIG(r, false);
	story(r);
	EXPECT_RULE(r, DBL_RANGE, 1);
	p = written(export_log, r->path, &n);
	same_as_golden("monitor.txt", p, n);
	free(p);
}

/* ---- perfetto ---------------------------------------------------------------------------------------------------------------------- */

struct slice { const uint8_t *p, *end; };

static uint64_t varint(struct slice *s)
{
	uint64_t v = 0;

	for (unsigned shift = 0;; shift += 7) {
		EXPECT(s->p < s->end && shift < 64);
		v |= (uint64_t)(*s->p & 0x7f) << shift;
		if (!(*s->p++ & 0x80))
			return v;
	}
}

/* Next field: its number; value or bytes. False at the end. */
static bool field(struct slice *s, unsigned *no, uint64_t *v, struct slice *bytes)
{
	uint64_t key;

	if (s->p == s->end)
		return false;
	key = varint(s);
	*no = (unsigned)(key >> 3);
	if ((key & 7) == 0) {
		*v = varint(s);
	} else if ((key & 7) == 1) {
		le64 w;

		EXPECT(s->end - s->p >= 8);
		memcpy(&w, s->p, 8);
		*v = le64_get(w);
		s->p += 8;
	} else {
		uint64_t len;

		EXPECT_EQ(key & 7, 2);
		len = varint(s);
		EXPECT(len <= (uint64_t)(s->end - s->p));
		*bytes = (struct slice){ s->p, s->p + len };
		s->p += len;
	}
	return true;
}

struct ptrack { uint64_t uuid, parent; unsigned depth, begun; };

static struct ptrack *ptrack(struct ptrack *t, unsigned n, uint64_t uuid)
{
	for (unsigned i = 0; i < n; i++)
		if (t[i].uuid == uuid)
			return &t[i];
	return NULL;
}

/* Tracks are described before they are used, slices nest, ends match, time does not run back within a track. */
TEST(perfetto_is_well_formed)
{
	struct ptrack t[64] = { 0 };
	unsigned tracks = 0, begun = 0, ended = 0, instants = 0, flows = 0;
	uint64_t last = 0;
	struct slice s;
	uint8_t *p;
	size_t n;

	MRIG(r, false);
	story(r);
	p = written(export_perfetto, r->path, &n);
	s = (struct slice){ p, p + n };
	while (s.p < s.end) {
		struct slice packet, b = { 0 }, event = { 0 }, desc = { 0 };
		uint64_t v = 0, ts = 0, type = 0, uuid = 0, seq = 0;
		struct ptrack *k;
		unsigned no;

		EXPECT(field(&s, &no, &v, &packet));
		EXPECT_EQ(no, 1);
		while (field(&packet, &no, &v, &b)) {
			ts = no == 8 ? v : ts;
			seq = no == 10 ? v : seq;
			if (no == 11)
				event = b;
			if (no == 60)
				desc = b;
		}
		EXPECT_EQ(seq, 1);
		if (desc.p) {
			EXPECT(tracks < 64);
			while (field(&desc, &no, &v, &b)) {
				t[tracks].uuid = no == 1 ? v : t[tracks].uuid;
				t[tracks].parent = no == 5 ? v : t[tracks].parent;
			}
			EXPECT(!ptrack(t, tracks, t[tracks].uuid) && (!t[tracks].parent || ptrack(t, tracks, t[tracks].parent)));
			tracks++;
			continue;
		}
		EXPECT(event.p && ts >= last);
		last = ts;
		while (field(&event, &no, &v, &b)) {
			type = no == 9 ? v : type;
			uuid = no == 11 ? v : uuid;
			flows += no == 47 || no == 48;
		}
		k = ptrack(t, tracks, uuid);
		EXPECT(k && type >= 1 && type <= 3);
		if (type == 1)
			begun++, k->depth++;
		if (type == 2) {
			EXPECT(k->depth > 0);
			ended++, k->depth--;
		}
		instants += type == 3;
	}
	EXPECT_EQ(begun, monitor_stats(r->m)->commands);
	EXPECT_EQ(ended, begun); /* also of what is still out */
	EXPECT(instants > 100 && flows > begun);
	free(p);
}

/* ---- vcd -------------------------------------------------------------------------------------------------------------------------------- */

/* Signals are declared once and before they change; time only grows; a wire's value has its bits. */
TEST(vcd_is_well_formed)
{
	char ids[64][8], line[512], id[8], kind[16];
	unsigned n_ids = 0, changes = 0, bits;
	unsigned long long now = 0, t;
	bool body = false;
	uint8_t *p;
	size_t n;
	FILE *f;

	MRIG(r, false);
	story(r);
	p = written(export_vcd, r->path, &n);
	f = fmemopen(p, n, "r");
	while (fgets(line, sizeof(line), f)) {
		char *space;

		if (!body && sscanf(line, "$var %15s %u %7s", kind, &bits, id) == 3) {
			for (unsigned i = 0; i < n_ids; i++)
				EXPECT(strcmp(ids[i], id) != 0);
			strcpy(ids[n_ids++], id);
			continue;
		}
		if (strstr(line, "$enddefinitions"))
			body = true;
		else if (body && sscanf(line, "#%llu", &t) == 1) {
			EXPECT(t >= now);
			now = t;
		} else if (body) {
			unsigned i = 0;

			space = strrchr(line, ' ');
			EXPECT(space && (line[0] == 's' || (line[0] == 'b' && space - line == 33)));
			space[strcspn(space, "\n")] = 0;
			while (i < n_ids && strcmp(ids[i], space + 1))
				i++;
			EXPECT(i < n_ids);
			changes++;
		}
	}
	EXPECT(n_ids > 10 && changes > 100);
	fclose(f);
	free(p);
}

/* ---- pcapng --------------------------------------------------------------------------------------------------------------------------------- */

static uint32_t at32(const uint8_t *p)
{
	le32 v;

	memcpy(&v, p, 4);
	return le32_get(v);
}

TEST(pcapng_is_well_formed)
{
	unsigned packets = 0;
	uint8_t *p;
	size_t n, at = 0;

	MRIG(r, false);
	story(r);
	p = written(export_pcapng, r->path, &n);
	while (at < n) {
		uint32_t type, len;

		EXPECT(n - at >= 12);
		type = at32(p + at);
		len = at32(p + at + 4);
		EXPECT(len % 4 == 0 && len <= n - at && at32(p + at + len - 4) == len);
		EXPECT_EQ(type, at == 0 ? 0x0a0d0d0a : at == 28 ? 1 : 6);
		if (type == 6) {
			uint32_t got = at32(p + at + 20), whole = at32(p + at + 24);
			const uint8_t *m = p + at + 28;

			EXPECT(got <= whole && got + 32 + 12 <= len + 3u && m[0] == 1 && m[1] <= 1);
			EXPECT_EQ(at32(m + 16 + 4) + 16, whole); /* the message's own size */
			packets++;
		}
		at += len;
	}
	EXPECT_EQ(packets, monitor_stats(r->m)->messages);
	free(p);
}

TEST(formats_and_files)
{
	char out[400];
	struct err err;

	MRIG(r, false);
	story(r);
	snprintf(out, sizeof(out), "%s.out", r->path);
	unlink(out);
	for (const struct export_format *f = export_formats; f->name; f++) {
		EXPECT_EQ(export_record(f->name, r->path, out, NULL), 0);
		EXPECT(export_record(f->name, r->path, out, &err) < 0); /* never over what is there */
		EXPECT_EQ(unlink(out), 0);
		EXPECT(export_record(f->name, "/nowhere/at/all", out, &err) < 0);
		unlink(out);
	}
	EXPECT_EQ(export_record("none such", r->path, out, &err), -EINVAL);
}
