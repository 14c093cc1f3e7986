/* The state image: what is in it, that it is complete, that a controller lives on with it elsewhere, and that a bad one
 * changes nothing (checklist SCS-13/14/18/19/20, X-09; design rule 6; docs/stream.md). */
#include "hmlm.h"

#include <ctype.h>

#include "device/nvme/state_rows.h"

enum { IMAGE_MAX = 96 * 1024 };

/* ---- completeness: every member has a row */

struct member { const char *name; size_t off, size; };
#define M_(type, m) { #m, offsetof(type, m), sizeof(((type *)0)->m) },
#define LIST_OF(type, ROWS)                                                     \
	static const struct member type##_members[] = { ROWS(type##_V, type##_A, type##_V, type##_V, type##_D) }

#define ctrl_V(r, m) M_(struct nvme_ctrl, m)
#define ctrl_A(r, m, w) M_(struct nvme_ctrl, m)
#define ctrl_D(m, why) M_(struct nvme_ctrl, m)
#define sq_V(r, m) M_(struct nvme_sq, m)
#define sq_A(r, m, w) M_(struct nvme_sq, m)
#define sq_D(m, why) M_(struct nvme_sq, m)
#define cq_V(r, m) M_(struct nvme_cq, m)
#define cq_A(r, m, w) M_(struct nvme_cq, m)
#define cq_D(m, why) M_(struct nvme_cq, m)
#define identity_V(r, m) M_(struct nvme_identity, m)
#define identity_A(r, m, w) M_(struct nvme_identity, m)
#define identity_D(m, why) M_(struct nvme_identity, m)
#define pci_V(r, m) M_(struct pci, m)
#define pci_A(r, m, w) M_(struct pci, m)
#define pci_D(m, why) M_(struct pci, m)
#define features_V(r, m) M_(struct nvme_features, m)
#define features_A(r, m, w) M_(struct nvme_features, m)
#define features_D(m, why) M_(struct nvme_features, m)
#define rate_V(r, m) M_(struct nvme_rate, m)
#define rate_A(r, m, w) M_(struct nvme_rate, m)
#define rate_D(m, why) M_(struct nvme_rate, m)
#define smart_V(r, m) M_(struct nvme_smart, m)
#define smart_A(r, m, w) M_(struct nvme_smart, m)
#define smart_D(m, why) M_(struct nvme_smart, m)
#define errlog_V(r, m) M_(struct nvme_errlog_entry, m)
#define errlog_A(r, m, w) M_(struct nvme_errlog_entry, m)
#define errlog_D(m, why) M_(struct nvme_errlog_entry, m)
#define event_V(r, m) M_(struct nvme_event, m)
#define event_A(r, m, w) M_(struct nvme_event, m)
#define event_D(m, why) M_(struct nvme_event, m)
LIST_OF(ctrl, NVME_CTRL_ROWS);
LIST_OF(sq, NVME_SQ_ROWS);
LIST_OF(cq, NVME_CQ_ROWS);
LIST_OF(identity, NVME_IDENTITY_ROWS);
LIST_OF(pci, NVME_PCI_ROWS);
LIST_OF(features, NVME_FEATURES_ROWS);
LIST_OF(rate, NVME_RATE_ROWS);
LIST_OF(smart, NVME_SMART_ROWS);
LIST_OF(errlog, NVME_ERRLOG_ROWS);
LIST_OF(event, NVME_EVENT_ROWS);

static const struct covered { const char *file, *name; size_t size; const struct member *m; unsigned count; } covered[] = {
	{ "/src/device/nvme/nvme.h", "struct nvme_ctrl {", sizeof(struct nvme_ctrl), ctrl_members, ARRAY_LEN(ctrl_members) },
	{ "/src/device/nvme/nvme.h", "struct nvme_sq {", sizeof(struct nvme_sq), sq_members, ARRAY_LEN(sq_members) },
	{ "/src/device/nvme/nvme.h", "struct nvme_cq {", sizeof(struct nvme_cq), cq_members, ARRAY_LEN(cq_members) },
	{ "/src/device/nvme/nvme.h", "struct nvme_identity {", sizeof(struct nvme_identity), identity_members, ARRAY_LEN(identity_members) },
	{ "/src/device/common/pci.h", "struct pci {", sizeof(struct pci), pci_members, ARRAY_LEN(pci_members) },
	{ "/src/device/nvme/nvme.h", "struct nvme_features {", sizeof(struct nvme_features), features_members, ARRAY_LEN(features_members) },
	{ "/src/device/nvme/nvme.h", "struct nvme_rate {", sizeof(struct nvme_rate), rate_members, ARRAY_LEN(rate_members) },
	{ "/src/device/nvme/nvme.h", "struct nvme_smart {", sizeof(struct nvme_smart), smart_members, ARRAY_LEN(smart_members) },
	{ "/src/device/nvme/nvme.h", "struct nvme_errlog_entry {", sizeof(struct nvme_errlog_entry), errlog_members, ARRAY_LEN(errlog_members) },
	{ "/src/device/nvme/nvme.h", "struct nvme_event {", sizeof(struct nvme_event), event_members, ARRAY_LEN(event_members) },
};

/* By bytes: what no row covers is padding, so less than the largest alignment and never at a place where an 8-byte member fits. */
static void bytes_covered(const struct covered *c)
{
	uint8_t *seen = calloc(1, c->size);
	size_t gap = 0;

	for (unsigned i = 0; i < c->count; i++)
		for (size_t b = 0; b < c->m[i].size; b++) {
			if (seen[c->m[i].off + b])
				fail_msg("%s: %s has two rows", c->name, c->m[i].name);
			seen[c->m[i].off + b] = 1;
		}
	for (size_t b = 0; b < c->size; b++) {
		gap = seen[b] ? 0 : gap + 1;
		if (gap >= 8)
			fail_msg("%s: bytes up to %zu are neither saved nor derived", c->name, b);
	}
	free(seen);
}

static bool has_row(const struct covered *c, const char *name, size_t len)
{
	for (unsigned i = 0; i < c->count; i++)
		if (strlen(c->m[i].name) == len && !strncmp(c->m[i].name, name, len))
			return true;
	return false;
}

static char *file_text(const char *path)
{
	char full[512];
	const char *src = getenv("FERRY_SRC");
	FILE *f;
	char *text = calloc(1, 256 * 1024);

	snprintf(full, sizeof(full), "%s%s", src ? src : ".", path);
	f = fopen(full, "r");
	if (!f)
		fail_msg("cannot read %s (FERRY_SRC is the source tree)", full);
	EXPECT(fread(text, 1, 256 * 1024 - 1, f) > 100);
	fclose(f);
	return text;
}

static void comments_blank(char *p)
{
	for (char *a = strstr(p, "/*"); a; a = strstr(a, "/*"))
		while (*a && strncmp(a, "*/", 2))
			*a++ = ' ';
	for (char *a = strstr(p, "*/"); a; a = strstr(a, "*/"))
		a[0] = a[1] = ' ';
	/* members of a build that breaks a rule on purpose are no part of a controller */
	for (char *a = strstr(p, "#ifdef FERRY_BREAK"); a; a = strstr(a, "#ifdef FERRY_BREAK")) {
		char *end = strstr(a, "#endif");

		EXPECT(end != NULL);
		memset(a, ' ', (size_t)(end + 6 - a));
	}
}

/* By names, since a small member can hide in padding: each identifier that stands before ; , or [ in the definition. */
static unsigned names_covered(const struct covered *c)
{
	char *text = file_text(c->file), *p, *end;
	unsigned n = 0;

	comments_blank(text);
	p = strstr(text, c->name);
	EXPECT(p != NULL);
	p += strlen(c->name);
	end = strchr(p, '}');	/* none of these has a nested structure */
	for (char *d = p; d < end; d++) {
		char *from = d;

		if (*d != ';' && *d != ',' && *d != '[')
			continue;
		while (from > p && (isalnum((unsigned char)from[-1]) || from[-1] == '_'))
			from--;
		if (!has_row(c, from, (size_t)(d - from)))
			fail_msg("%s: member %.*s is neither saved nor derived", c->name, (int)(d - from), from);
		n++;
		if (*d == '[')
			while (*d != ';' && *d != ',')
				d++;
	}
	free(text);
	return n;
}

/* Design rule 6: each member is saved, or is named as derived with a reason. */
TEST(state_every_member_has_a_row)
{
	for (unsigned i = 0; i < ARRAY_LEN(covered); i++) {
		bytes_covered(&covered[i]);
		EXPECT_EQ(names_covered(&covered[i]), covered[i].count);
	}
}

/* ---- a controller with everything in it, and its image */

static uint32_t total(const uint8_t *b)
{
	uint32_t css, vss;

	memcpy(&css, b + 16, 4);
	memcpy(&vss, b + 32, 4);
	return 48 + 4 * (css + vss);
}
static uint32_t get_all(struct rig *r, unsigned cntlid, uint8_t *b)
{
	memset(b, 0, IMAGE_MAX);
	EXPECT_STATUS(hm_get(r, r->mmc, cntlid, 1, 1, 0, b, IMAGE_MAX), NVME_SUCCESS);
	EXPECT(total(b) <= 64 * 1024);
	return total(b);
}

/* Features set, AERs out, an event pending, an error logged, interrupts masked, a command in the queue not fetched. */
static void make_busy(struct rig *r)
{
	struct nvme_ctrl *c = r->mc;
	uint8_t *data = rig_alloc(r, c, 4096);
	uint64_t ts = 123456789;

	EXPECT_STATUS(rig_admin(r, c, hm_cmd(0x09, 0x08, 0x0203, 0, 0, 0)), NVME_SUCCESS);	/* coalescing */
	EXPECT_STATUS(rig_admin(r, c, hm_cmd(0x09, 0x04, 0x0140, 0, 0, 0)), NVME_SUCCESS);	/* temperature */
	memcpy(data, &ts, 8);
	EXPECT_STATUS(rig_admin_data(r, c, hm_cmd(0x09, 0x0e, 0, 0, 0, 0), data, 8), NVME_SUCCESS);
	r->now += 5 * NS_PER_MS;
	rig_submit(r, c, 0, hm_cmd(0x0c, 0, 0, 0, 0, 0));
	rig_submit(r, c, 0, hm_cmd(0x0c, 0, 0, 0, 0, 0));
	rig_io(r, c, 1, rig_rw(0x7f, 1, 0, 1));							/* unknown opcode */
	for (unsigned i = 0; i < 40; i++)
		EXPECT_STATUS(hm_write(r, c, 1, i, 1, data), NVME_SUCCESS);
	rig_settle(r);
	c->changed_ns[1] = 0x11;
	nvme_event_post(c, (struct nvme_event){ .aet = 1, .aei = 1, .lid = 2 });
	rig_settle(r);
	nvme_event_post(c, (struct nvme_event){ .aet = 1, .aei = 2, .lid = 2 });
	rig_reg_put(c, NVME_REG_INTMS, 4, 0x10);
}

/* Get, Set into another controller, Get there: byte for byte the same (19), the vendor part as well. */
TEST(hmlm_scs_19_round_trip)
{
	RIG(r, .mcs = 2, .queues = 4);
	uint8_t *a = rig_alloc(&r, r.mmc, IMAGE_MAX), *b = rig_alloc(&r, r.mmc, IMAGE_MAX);
	struct nvme_ctrl *t = r.host[2].ctrl;
	uint32_t len;

	make_busy(&r);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	len = get_all(&r, 2, a);
	rig_reg_put(t, NVME_REG_CC, 4, 0);	/* its own queues go; a reset target takes the image as well as an enabled one */
	rig_settle(&r);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 3, false), NVME_SUCCESS);
	r.now += 77 * NS_PER_MS;
	EXPECT_STATUS(hm_set(&r, r.mmc, 3, 3, 1, 1, 0, a, len), NVME_SUCCESS);
	r.now += 99 * NS_PER_MS;
	EXPECT_EQ(get_all(&r, 3, b), len);
	for (uint32_t i = 0; i < len; i++)
		if (a[i] != b[i])
			fail_msg("byte %u of the image differs: %02x, %02x", i, a[i], b[i]);
	EXPECT_EQ(t->aer_count, 1);
	EXPECT_EQ(t->event_count, 1);
	EXPECT_EQ(t->feat.irq_coalesce, 0x0203);
	EXPECT_EQ(t->intms, 0x10);
	EXPECT_EQ(t->who.cntlid, 2);
}

/* X-09, and the goal of at most 64 KiB: 64 queue pairs, in one piece and in many, are the same controller. */
TEST(hmlm_x_09_64_queue_pairs)
{
	RIG(r, .mcs = 2);
	uint8_t *a = rig_alloc(&r, r.mmc, IMAGE_MAX), *b = rig_alloc(&r, r.mmc, IMAGE_MAX);
	uint64_t ring = rig_iova(&r, r.mc, rig_alloc(&r, r.mc, 8192));
	uint32_t len;

	for (unsigned q = 1; q <= 64; q++) {
		EXPECT_EQ(nvme_cq_create(r.mc, (uint16_t)q, 64, ring, q & 1, (uint16_t)q), NVME_SUCCESS);
		EXPECT_EQ(nvme_sq_create(r.mc, (uint16_t)q, (uint16_t)q, 64, ring + 4096, q & 3), NVME_SUCCESS);
		r.mc->cq[q].tail = r.mc->cq[q].head = (uint16_t)(q - 1);
		r.mc->db[2 * q + 1] = q - 1;
		r.mc->cq[q].phase = q & 2;
	}
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 3, false), NVME_SUCCESS);
	len = get_all(&r, 2, a);
	EXPECT_EQ(a[16] + 256u * a[17], 2 + 6 * 128);
	for (uint32_t at = 0; at < len; at += 1024)
		EXPECT_STATUS(hm_set(&r, r.mmc, 3, at ? 0 : 1, 1, 1, at, a + at, MIN(1024, len - at)), NVME_SUCCESS);
	EXPECT_STATUS(hm_set(&r, r.mmc, 3, 2, 1, 1, len, NULL, 0), NVME_SUCCESS);
	EXPECT_EQ(get_all(&r, 3, b), len);
	EXPECT_MEM(a, b, len);
	for (unsigned q = 1; q <= 64; q++) {
		EXPECT_EQ(r.host[2].ctrl->cq[q].phase, (q & 2) != 0);
		EXPECT_EQ(r.host[2].ctrl->sq[q].prio, q & 3);
	}
}

/* ---- the guest goes on at the target */

/* The guest's memory moves with it: the target sees what the source saw, at the same addresses. */
static void memory_moves(struct rig *r)
{
	struct rig_host *s = &r->host[1], *t = &r->host[2], old = *t;

	EXPECT_EQ(gmem_del(&s->dev->gmem, s->iova, RIG_MEM, NULL), 0);
	EXPECT_EQ(gmem_del(&t->dev->gmem, t->iova, RIG_MEM, NULL), 0);
	t->mem = s->mem;
	t->iova = s->iova;
	t->used = s->used;
	memcpy(t->q, s->q, sizeof(t->q));
	memcpy(t->stash, s->stash, sizeof(t->stash));
	t->stashed = s->stashed;
	s->mem = old.mem;
	s->iova = old.iova;
	EXPECT_EQ(gmem_add(&t->dev->gmem, t->iova, RIG_MEM, t->mem, true, true), 0);
}
static struct nvme_ctrl *move(struct rig *r)
{
	struct nvme_ctrl *t = r->host[2].ctrl;
	uint8_t *a = rig_alloc(r, r->mmc, IMAGE_MAX);
	uint32_t len;

	EXPECT_STATUS(hm_suspend(r, r->mmc, 2, false), NVME_SUCCESS);
	len = get_all(r, 2, a);
	rig_reg_put(t, NVME_REG_CC, 4, 0);
	rig_settle(r);
	EXPECT_STATUS(hm_suspend(r, r->mmc, 3, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_set(r, r->mmc, 3, 3, 1, 1, 0, a, len), NVME_SUCCESS);
	memory_moves(r);
	EXPECT_STATUS(hm_resume(r, r->mmc, 3), NVME_SUCCESS);
	return t;
}

/* Admin and I/O queues at every phase: wherever the ring stands, the first completion at the target has the phase the
 * driver waits for (20). With the admin phase left out this hangs. */
TEST(hmlm_scs_20_phases_go_on)
{
	for (unsigned before = 0; before < 70; before += 7) {
		RIG(r, .mcs = 2, .queues = 1, .qsize = 32);
		struct nvme_sqe id = hm_cmd(0x06, 1, 0, 0, 0, 0);
		uint8_t *data = rig_alloc(&r, r.mc, 4096);
		struct nvme_ctrl *t;

		for (unsigned i = 0; i < before; i++) {
			EXPECT_STATUS(rig_admin_data(&r, r.mc, id, data, 4096), NVME_SUCCESS);
			EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
		}
		t = move(&r);
		for (unsigned i = 0; i < 40; i++) {
			EXPECT_STATUS(rig_admin_data(&r, t, id, data, 4096), NVME_SUCCESS);
			EXPECT_STATUS(hm_write(&r, t, 1, 0, 1, data), NVME_SUCCESS);
		}
	}
}

/* A command in the queue that the source had not fetched runs at the target, once (SUS-06 across a move). */
TEST(state_unfetched_command_runs_at_the_target)
{
	RIG(r, .mcs = 2, .queues = 1);
	uint8_t *data = rig_alloc(&r, r.mc, 512);
	struct nvme_sqe w = rig_rw(NVME_NVM_WRITE, 1, 3, 1);
	struct nvme_ctrl *t;
	uint16_t io;

	rig_data(&r, r.mc, &w, data, 512);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	io = rig_submit(&r, r.mc, 1, w);
	t = move(&r);
	EXPECT_STATUS(rig_wait(&r, t, 1, io), NVME_SUCCESS);
	EXPECT_EQ(t->stats.writes, 1);
	EXPECT_EQ(r.mc->stats.writes, 0);
}

/* An AER outstanding at the source is completed by an event at the target, under the identifier the driver gave it. */
TEST(state_aer_completes_at_the_target)
{
	RIG(r, .mcs = 2);
	uint16_t cid = rig_submit(&r, r.mc, 0, hm_cmd(0x0c, 0, 0, 0, 0, 0));
	struct nvme_ctrl *t;
	struct nvme_cqe c;

	rig_settle(&r);
	t = move(&r);
	EXPECT(!rig_try(&r, t, 0, cid, &c));
	nvme_event_post(t, (struct nvme_event){ .aet = 1, .aei = 1, .lid = 2 });
	c = rig_wait(&r, t, 0, cid);
	EXPECT_EQ(le32_get(c.dw0), 0x00020101);
}

/* Completions that had no room in the guest's queue come at the target when it makes room: none lost, none twice. */
TEST(state_held_completions_come_at_the_target)
{
	RIG(r, .mcs = 2, .queues = 1, .qsize = 8);
	struct rig_host *h = &r.host[1];
	uint8_t *data = rig_alloc(&r, r.mc, 512);
	struct nvme_sqe w = rig_rw(NVME_NVM_WRITE, 1, 0, 1);
	struct nvme_ctrl *t;
	struct nvme_cqe c;

	/* a second pair whose completion queue has two entries, so one fits */
	rig_ring(h, 2, 8);
	EXPECT_EQ(nvme_cq_create(r.mc, 2, 2, rig_iova(&r, r.mc, h->q[2].cq), true, 2), NVME_SUCCESS);
	EXPECT_EQ(nvme_sq_create(r.mc, 2, 2, 8, rig_iova(&r, r.mc, h->q[2].sq), 0), NVME_SUCCESS);
	rig_data(&r, r.mc, &w, data, 512);
	for (unsigned i = 0; i < 5; i++)
		rig_submit(&r, r.mc, 2, w);
	rig_settle(&r);
	EXPECT_EQ(r.mc->held_count, 4);
	t = move(&r);
	EXPECT_EQ(t->held_count, 4);
	for (unsigned i = 0, slot = 0, phase = 1; i < 5; i++) {
		rig_settle(&r);
		memcpy(&c, r.host[2].q[2].cq + 16 * slot, 16);
		EXPECT_EQ(nvme_cqe_phase(&c), phase);
		EXPECT_STATUS(c, NVME_SUCCESS);
		EXPECT_EQ(le16_get(c.cid), i);
		slot ^= 1;
		phase ^= slot == 0;
		rig_doorbell(t, 5, slot);
	}
	rig_settle(&r);
	EXPECT_EQ(t->held_count, 0);
	EXPECT_EQ(t->stats.writes, 0);
}

/* An interrupt that nobody could be given at the source is raised at the target. */
TEST(state_pending_interrupt_is_raised)
{
	RIG(r, .mcs = 2, .queues = 1);
	struct nvme_sqe w = rig_rw(NVME_NVM_WRITE, 1, 0, 1);
	unsigned before;

	rig_data(&r, r.mc, &w, rig_alloc(&r, r.mc, 512), 512);
	r.host[1].irq_deaf = true;
	rig_submit(&r, r.mc, 1, w);
	rig_settle(&r);
	before = r.host[2].irqs[1];
	move(&r);
	EXPECT(r.host[2].irqs[1] > before);
}

/* ---- bad images change nothing */

static uint8_t *record_find(uint8_t *b, unsigned tag)
{
	uint32_t css, end = total(b), len, at;

	memcpy(&css, b + 16, 4);
	for (at = 48 + css * 4; at < end; at += 8 + (uint32_t)round_up(len, 4)) {
		memcpy(&len, b + at + 4, 4);
		if (b[at] == tag && !b[at + 1])
			return b + at;
	}
	fail_msg("no record %u", tag);
	return NULL;
}

struct bench { uint8_t *good, *bad, *before, *after; uint32_t len; struct nvme_ctrl *t; };
static struct bench bench(struct rig *r)
{
	struct bench x = { .good = rig_alloc(r, r->mmc, IMAGE_MAX), .bad = rig_alloc(r, r->mmc, IMAGE_MAX),
			   .before = rig_alloc(r, r->mmc, IMAGE_MAX), .after = rig_alloc(r, r->mmc, IMAGE_MAX),
			   .t = r->host[2].ctrl };

	make_busy(r);
	EXPECT_STATUS(hm_suspend(r, r->mmc, 2, false), NVME_SUCCESS);
	x.len = get_all(r, 2, x.good);
	rig_reg_put(x.t, NVME_REG_CC, 4, 0);
	rig_settle(r);
	rig_enable(r, x.t);		/* enabled, with an AER out: there is something to disturb */
	rig_submit(r, x.t, 0, hm_cmd(0x0c, 0, 0, 0, 0, 0));
	rig_settle(r);
	EXPECT_STATUS(hm_suspend(r, r->mmc, 3, false), NVME_SUCCESS);
	get_all(r, 3, x.before);
	memcpy(x.bad, x.good, x.len);
	return x;
}
/* Sends bad; must be refused with st (0: any refusal), and the target must be as before. Then bad is good again. */
static void refused(struct rig *r, struct bench *x, unsigned st)
{
	struct nvme_cqe c = hm_set(r, r->mmc, 3, 3, 1, 1, 0, x->bad, x->len);

	EXPECT(nvme_cqe_status(&c) != 0);
	if (st)
		EXPECT_STATUS(c, st);
	EXPECT_EQ(get_all(r, 3, x->after), total(x->before));
	EXPECT_MEM(x->before, x->after, total(x->before));
	memcpy(x->bad, x->good, x->len);
}

TEST(hmlm_scs_13_14_18_bad_standard_part)
{
	RIG(r, .mcs = 2, .queues = 3);
	struct bench x = bench(&r);
	uint8_t *sq = x.bad + 56, *cq = sq + 3 * 24;
	static const struct { unsigned cq, off, value, status; } bad[] = {
		{ 0, 10, 2, NVME_INVALID_FIELD },	/* QID twice */
		{ 0, 10, 0, NVME_INVALID_FIELD },	/* QID 0 */
		{ 0, 10, 65, NVME_NOT_ENOUGH_RESOURCES },
		{ 0, 12, 9, NVME_INVALID_FIELD },	/* CQID not there */
		{ 0, 12, 0, NVME_INVALID_FIELD },
		{ 0, 14, 0, NVME_INVALID_FIELD },	/* not contiguous */
		{ 0, 0, 4, NVME_INVALID_FIELD },	/* address */
		{ 0, 8, 0, NVME_INVALID_FIELD },	/* one entry */
		{ 0, 16, 32, NVME_INVALID_FIELD },	/* head = size */
		{ 0, 18, 32, NVME_INVALID_FIELD },
		{ 0, 17, 255, NVME_INVALID_FIELD },
		{ 1, 10, 2, NVME_INVALID_FIELD },
		{ 1, 10, 0, NVME_INVALID_FIELD },
		{ 1, 10, 200, NVME_NOT_ENOUGH_RESOURCES },
		{ 1, 12, 32, NVME_INVALID_FIELD },
		{ 1, 14, 32, NVME_INVALID_FIELD },
		{ 1, 16, 2, NVME_INVALID_FIELD },	/* not contiguous */
		{ 1, 18, 200, NVME_INVALID_FIELD },	/* vector */
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		(bad[i].cq ? cq : sq)[bad[i].off] = (uint8_t)bad[i].value;
		refused(&r, &x, bad[i].status);
	}
	x.bad[0] = 1;			/* outer version */
	refused(&r, &x, NVME_INVALID_FIELD);
	x.bad[48] = 1;			/* inner version */
	refused(&r, &x, NVME_INVALID_FIELD);
	x.bad[50] = 2;			/* counts that do not fill NVMECSS */
	refused(&r, &x, NVME_INVALID_FIELD);
	x.bad[51] = 0xff;
	refused(&r, &x, NVME_INVALID_FIELD);
	x.bad[16]++;			/* NVMECSS */
	refused(&r, &x, NVME_INVALID_FIELD);
	x.bad[23] = 0x40;		/* times 4 it is 0 in 64 bits */
	refused(&r, &x, NVME_INVALID_FIELD);
	x.bad[24] = 1;			/* the high half of 128 bits */
	refused(&r, &x, NVME_INVALID_FIELD);
	x.bad[40] = 1;
	refused(&r, &x, NVME_INVALID_FIELD);
	x.bad[34] = 1;			/* VSS beyond what came */
	refused(&r, &x, NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_set(&r, r.mmc, 3, 3, 1, 1, 0, x.good, x.len), NVME_SUCCESS);
}

TEST(state_bad_vendor_part)
{
	RIG(r, .mcs = 2, .queues = 3);
	struct bench x = bench(&r);
	static const struct { unsigned tag, off, value; } bad[] = {
		{ NVME_STATE_FORMAT, 8, 2 },		/* a later format */
		{ NVME_STATE_FORMAT, 4, 8 },		/* lengths */
		{ NVME_STATE_PROPS, 4, 1 },
		{ NVME_STATE_PROPS, 7, 0xff },
		{ NVME_STATE_PROPS, 8, 1 },		/* CAP is another controller's */
		{ NVME_STATE_PROPS, 16, 1 },		/* ASQ not page aligned */
		{ NVME_STATE_PROPS, 8 + 40, 2 },	/* a bool of 2 */
		{ NVME_STATE_ADMIN, 8, 200 },		/* admin head beyond the ring */
		{ NVME_STATE_ADMIN, 16, 2 },		/* phase 2 */
		{ NVME_STATE_NAMESPACES, 8, 9 },	/* a namespace that is not here */
		{ NVME_STATE_NAMESPACES, 8 + 4, 12 },	/* another block size */
		{ NVME_STATE_NAMESPACES, 8 + 9, 99 },	/* another capacity */
		{ NVME_STATE_QUEUES, 8, 9 },		/* extras of a queue that is not there */
		{ NVME_STATE_QUEUES, 8 + 2, 7 },
		{ NVME_STATE_EVENTS, 8, 4 },		/* a one-shot, which only an MMC has */
		{ NVME_STATE_FEATURES, 8 + 24, 200 },	/* number of queues */
		{ NVME_STATE_PCI, 8, 0xff },		/* vendor id */
		{ NVME_STATE_DBBUF, 8, 2 },
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		record_find(x.bad, bad[i].tag)[bad[i].off] = (uint8_t)bad[i].value;
		refused(&r, &x, 0);
	}
	memset(record_find(x.bad, NVME_STATE_IDENTITY) + 8, 'x', 256);	/* a name without an end */
	refused(&r, &x, NVME_INVALID_FIELD);
	record_find(x.bad, NVME_STATE_AERS)[0] = NVME_STATE_EVENTS;	/* one twice, one missing */
	refused(&r, &x, NVME_INVALID_FIELD);
	record_find(x.bad, NVME_STATE_RATE)[1] = 0x70;			/* an unknown one that is required */
	refused(&r, &x, NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_set(&r, r.mmc, 3, 3, 1, 1, 0, x.good, x.len), NVME_SUCCESS);
}

/* An unknown record that is optional is skipped: a newer writer can add to what we know. */
TEST(state_unknown_optional_record_is_skipped)
{
	RIG(r, .mcs = 2, .queues = 3);
	struct bench x = bench(&r);
	uint8_t *smart = record_find(x.bad, NVME_STATE_SMART);

	EXPECT_EQ(smart[2], 0);
	smart[1] = 0x70;
	EXPECT_STATUS(hm_set(&r, r.mmc, 3, 3, 1, 1, 0, x.bad, x.len), NVME_SUCCESS);
}

/* Our part replaces a controller, so it must be standing still. */
TEST(state_vendor_part_needs_a_suspended_controller)
{
	RIG(r, .mcs = 2);
	uint8_t *a = rig_alloc(&r, r.mmc, IMAGE_MAX);
	uint32_t len;

	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	len = get_all(&r, 2, a);
	EXPECT_STATUS(hm_set(&r, r.mmc, 3, 3, 1, 1, 0, a, len), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 3, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_set(&r, r.mmc, 3, 3, 1, 1, 0, a, len), NVME_SUCCESS);
}

/* Mutated, cut and lying images with fixed seeds: refused without a trace, or taken; never a crash. */
static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}
static void mutate(struct bench *x, uint64_t *seed, uint32_t *len)
{
	unsigned n = 1 + (unsigned)(next(seed) % 4);
	/* half of the hits in the front, where the structure is */
	for (unsigned i = 0; i < n; i++) {
		uint32_t at = (uint32_t)(next(seed) % (next(seed) & 1 ? 700 : x->len));

		switch (next(seed) % 3) {
		case 0: x->bad[at] ^= (uint8_t)(1u << next(seed) % 8); break;
		case 1: x->bad[at] = (uint8_t)next(seed); break;
		case 2: memset(x->bad + at, 0xff, MIN(4, x->len - at)); break;
		}
	}
	*len = next(seed) % 8 ? x->len : (uint32_t)(next(seed) % x->len) & ~3u;
}
static void fuzz(uint64_t seed, unsigned rounds)
{
	RIG(r, .mcs = 2, .queues = 3);
	struct bench x = bench(&r);
	struct buf before = { 0 }, after = { 0 };
	unsigned refusals = 0;

	EXPECT_EQ(nvme_state_save(x.t, 1, 1, true, &before), NVME_SUCCESS);
	for (unsigned i = 0; i < rounds; i++) {
		uint8_t *exact;
		uint32_t len;

		memcpy(x.bad, x.good, x.len);
		mutate(&x, &seed, &len);
		exact = malloc(len ? len : 1);	/* so that a read behind the end is seen */
		memcpy(exact, x.bad, len);
		if (nvme_state_load(x.t, 1, 1, exact, len) == NVME_SUCCESS) {
			for (unsigned q = 1; q <= 64; q++)	/* taken: as it was again */
				if (x.t->sq[q].live)
					nvme_sq_delete(&x.t->sq[q]);
			for (unsigned q = 1; q <= 64; q++)
				if (x.t->cq[q].live)
					nvme_cq_delete(&x.t->cq[q]);
			EXPECT_EQ(nvme_state_load(x.t, 1, 1, before.data, before.len), NVME_SUCCESS);
		} else {
			refusals++;
		}
		free(exact);
		buf_drop_front(&after, after.len);
		EXPECT_EQ(nvme_state_save(x.t, 1, 1, true, &after), NVME_SUCCESS);
		EXPECT_EQ(after.len, before.len);
		EXPECT_MEM(after.data, before.data, before.len);
	}
	EXPECT(refusals > rounds / 4);
	buf_fini(&before);
	buf_fini(&after);
}

TEST(state_fuzz_seed_1) { fuzz(0x9e3779b97f4a7c15, 1500); }
TEST(state_fuzz_seed_2) { fuzz(0xd1b54a32d192ed03, 1500); }
