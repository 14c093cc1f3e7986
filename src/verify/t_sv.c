/* The vendor's part of a state image whose meaning we know (docs/stream.md): what a driver relies on and the standard part does not carry.
 * MC0 moves to MC1, whose own state is put back behind each test. */
#include "verify/t_be.h"
#include "verify/t_db.h"

struct pair { struct vctl *from, *to; struct vmem image; uint32_t len; };
enum { ONLY = 3 };

static struct pair begin(struct vt *t)
{
	static const uint8_t known[16] = FERRY_STATE_UUID;
	struct pair p = { t->mc[0], t->mc[1] };
	struct vmem f;

	vh_identify(t->mmc, 0x20, 0, 0, 0, &f, ST(S_OK));
	if (!f.p[1] || memcmp(f.p + 2 + 2 * f.p[0], known, 16))
		vt_skip(t, "the vendor format at index 1 is not one we know");
	vsv_keep_own(t, p.to);
	vt_io_make(p.from, 1, 32);
	return p;
}

static void halt(struct vt *t, struct pair *p)
{
	vh_suspend(t->mmc, p->from->cntlid, 1, false, ST(S_OK));
	vh_suspend(t->mmc, p->to->cntlid, 1, false, ST(S_OK));
	p->len = vh_image(t->mmc, p->from, 1, 1, &p->image);
}

static unsigned put(struct vt *t, struct pair *p, const uint16_t *want)
{
	return vh_set(t->mmc, p->to->cntlid, ONLY, 1, 1, 0, &p->image, p->len / 4, want);
}

/* The admin queue and what is out on it go along too. */
static void go_on(struct vt *t, struct pair *p)
{
	put(t, p, ST(S_OK));
	vh_adopt(p->to, p->from);
	memcpy(p->to->acq.p, p->from->acq.p, p->to->acq.len);
	memcpy(p->to->asq.p, p->from->asq.p, p->to->asq.len);
	p->to->sq[0].tail = p->from->sq[0].tail;
	p->to->sq[0].rung = p->from->sq[0].rung;
	p->to->sq[0].head = p->from->sq[0].head;
	p->to->cq[0].head = p->from->cq[0].head;
	p->to->cq[0].phase = p->from->cq[0].phase;
	for (unsigned i = 0; i < VT_CMDS; i++)
		if (t->cmd[i].used && t->cmd[i].c == p->from)
			t->cmd[i].c = p->to;
	vh_resume(t->mmc, p->to->cntlid, ST(S_OK));
}

/* ---- features */

static uint32_t feature(struct vctl *c, unsigned fid, uint32_t cdw11)
{
	vh_feature(c, false, fid, cdw11, 0, ST(S_OK));
	return le32_get(c->t->last.dw0);
}

static uint64_t timestamp(struct vctl *c, bool set, uint64_t ms)
{
	struct nvme_sqe s = { .opc = set ? NVME_OP_SET_FEATURES : NVME_OP_GET_FEATURES, .cdw10 = le32_of(NVME_FID_TIMESTAMP) };
	struct vmem m = vt_mem(c, 8);
	le64 v = le64_of(ms);

	memcpy(m.p, &v, 8);
	vt_do_data(c, 0, &s, &m, 8, ST(S_OK));
	memcpy(&v, m.p, 8);
	return le64_get(v) & 0xffffffffffffull;
}

static void features(struct vt *t)
{
	static const struct { uint8_t fid; uint32_t cdw11; } set[] = {
		{ NVME_FID_ARBITRATION, 0x01020304 }, { NVME_FID_TEMP, 0x141 }, { NVME_FID_IRQ_COALESCE, 0x0203 },
		{ NVME_FID_IRQ_VECTOR, 0x10001 }, { NVME_FID_WRITE_ATOMIC, 1 }, { NVME_FID_AER, 0x101 },
	};
	struct pair p = begin(t);
	uint32_t had[ARRAY_LEN(set)], fresh[ARRAY_LEN(set)], n = 0;
	const uint64_t then = 1700000000000ull;
	uint64_t now;

	for (unsigned i = 0; i < ARRAY_LEN(set); i++) {
		fresh[i] = feature(p.from, set[i].fid, set[i].cdw11 & 0xff);
		vh_feature(p.from, true, set[i].fid, set[i].cdw11, 0, ST(S_OK));
		had[i] = feature(p.from, set[i].fid, set[i].cdw11 & 0xff);
		n += had[i] != fresh[i];
	}
	VEXPECT(t, n == ARRAY_LEN(set), "only %u of the features can be set", n);
	timestamp(p.from, true, then);
	halt(t, &p);
	go_on(t, &p);
	for (unsigned i = 0; i < ARRAY_LEN(set); i++)
		VEXPECT(t, feature(p.to, set[i].fid, set[i].cdw11 & 0xff) == had[i], "feature %02xh is %xh, at the source it was %xh", set[i].fid,
			le32_get(t->last.dw0), had[i]);
	now = timestamp(p.to, false, 0);
	VEXPECT(t, now >= then && now < then + 3600000, "the Timestamp goes from %llu to %llu", (unsigned long long)then, (unsigned long long)now);
	vsv_put_back(t, p.to);
}

/* ---- events */

/* Requests that are out stay out, and count: with AERL+1 of them one more is too many. */
static void requests(struct vt *t)
{
	struct pair p = begin(t);
	unsigned limit = p.from->id.aerl + 1u;
	struct nvme_sqe s = { .opc = NVME_OP_AER };
	struct vcmd *first;

	if (limit < 2 || limit > 30)
		vt_skip(t, "AERL is %u", p.from->id.aerl);
	first = vh_aer(p.from);
	for (unsigned i = 1; i < limit; i++)
		vh_aer(p.from);
	vt_watch_silent(p.from);
	halt(t, &p);
	go_on(t, &p);
	vt_watch_silent(p.to);
	vt_do(p.to, 0, &s, ST(S_AER));
	vt_doorbell(p.to, 2, 99);
	vt_finish(t, first);
	vsv_put_back(t, p.to);
}

static void waiting_event(struct vt *t)
{
	struct pair p = begin(t);

	vt_doorbell(p.from, 2, 99);
	vt_watch_silent(p.from);
	vt_ring(p.from, 1);		/* what is wrong there is right again, or it would be found once more at the target */
	vt_watch_silent(p.from);
	halt(t, &p);
	go_on(t, &p);
	vt_finish(t, vh_aer(p.to));
	VEQ(t, le32_get(t->last.dw0), NVME_LID_ERROR << 16 | 1 << 8, "DW0 of an event that waited at the source");
	vsv_put_back(t, p.to);
}

/* ---- completions */

/* A full CQ: what was done and had no room comes at the target, each with its own status. */
static void no_room(struct vt *t)
{
	struct pair p = begin(t);
	struct nvme_sqe good = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(p.from->ns[0].nsid) }, bad = { .opc = 0x7f };
	struct vcmd *k[20];

	vt_cq_make(p.from, 2, 4, ST(S_OK));
	vt_sq_make(p.from, 2, 2, 32, ST(S_OK));
	p.from->cq[2].hold = true;
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		k[i] = vt_queue(p.from, 2, i & 1 ? &bad : &good, i & 1 ? ST(S_IO) : ST(S_OK));
	vt_ring(p.from, 2);
	vt_watch_silent(p.from);
	halt(t, &p);
	go_on(t, &p);
	p.to->cq[2].hold = false;
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
	vsv_put_back(t, p.to);
}

/* ---- what the guest reads */

static void read_log(struct vctl *c, struct vmem *m)
{
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .nsid = le32_of(0xffffffff), .cdw10 = le32_of(NVME_LID_ERROR | 1 << 15 | 63 << 16) };

	*m = vt_mem(c, 256);
	vt_do_data(c, 0, &s, m, 256, ST(S_OK));
}

static void what_it_reads(struct vt *t)
{
	struct pair p = begin(t);
	struct nvme_sqe bad = { .opc = 0x7f };
	struct vmem log, again, ns;
	uint8_t line = 0x5a, kept[256], nguid[16];

	vt_do(p.from, 1, &bad, ST(S_IO));
	read_log(p.from, &log);
	memcpy(kept, log.p, sizeof(kept));
	memcpy(nguid, p.from->ns[0].nguid, sizeof(nguid));
	p.from->port->ops->cfg_write(p.from->port, 0x3c, &line, 1);
	halt(t, &p);
	go_on(t, &p);
	read_log(p.to, &again);
	VEXPECT(t, !memcmp(kept, again.p, sizeof(kept)), "the error log is another one");
	vh_identify(p.to, NVME_CNS_NS, p.from->ns[0].nsid, 0, 0, &ns, ST(S_OK));
	VEXPECT(t, !memcmp(ns.p + 104, nguid, 16), "the namespace has another NGUID");
	line = 0;
	p.to->port->ops->cfg_read(p.to->port, 0x3c, &line, 1);
	VEQ(t, line, 0x5a, "Interrupt Line in configuration space");
	line = 0;
	p.from->port->ops->cfg_write(p.from->port, 0x3c, &line, 1);
	vsv_put_back(t, p.to);
	p.to->port->ops->cfg_write(p.to->port, 0x3c, &line, 1);
}

struct mover { struct vt *t; struct pair *p; };
static void move_it(void *ctx)
{
	struct mover *m = ctx;

	halt(m->t, m->p);
	go_on(m->t, m->p);
}

static void interrupts(struct vt *t)
{
	struct pair p = begin(t);

	sv_table(t, p.from, p.to, move_it, &(struct mover){ t, &p });
	vsv_put_back(t, p.to);
}

/* The guest goes on telling its tails and heads in memory, and nobody tells it to ring. */
static void shadow_doorbells(struct vt *t)
{
	struct pair p = begin(t);
	struct shadow s = db_begin(p.from);

	db_work(&s, 1, 50);
	halt(t, &p);
	go_on(t, &p);
	s.c = p.to;
	s.db.p = p.to->mem + (s.db.iova - p.to->iova);
	s.ei.p = p.to->mem + (s.ei.iova - p.to->iova);
	db_work(&s, 1, 50);
	vsv_put_back(t, p.to);
}

/* ---- what may not be taken */

/* Where a record of the vendor's part begins; 0: there is none. */
static uint32_t record(const struct pair *p, unsigned tag)
{
	uint64_t css;

	memcpy(&css, p->image.p + 16, 8);
	for (uint64_t at = 48 + 4 * le64toh(css); at + 8 <= p->len;) {
		le16 id;
		le32 len;

		memcpy(&id, p->image.p + at, 2);
		memcpy(&len, p->image.p + at + 4, 4);
		if (le16_get(id) == tag)
			return (uint32_t)at;
		at += 8 + round_up((uint64_t)le32_get(len), 4);
	}
	return 0;
}

static void grow(struct pair *p, const void *more, uint32_t bytes)
{
	le64 vss;

	memcpy(p->image.p + p->len, more, bytes);
	p->len += bytes;
	memcpy(&vss, p->image.p + 32, 8);
	vss = le64_of(le64_get(vss) + bytes / 4);
	memcpy(p->image.p + 32, &vss, 8);
}

static void refused(struct vt *t)
{
	enum { NAMESPACES = 5, DOORBELLS = 0x12 };
	const uint8_t required[8] = { 0x77, 0x77, 1, 0 }, optional[8] = { 0x77, 0x77, 0, 0 };
	struct pair p = begin(t), whole;
	uint32_t at;

	halt(t, &p);
	whole = p;
	p.image = vt_mem(t->mmc, whole.len + VT_PAGE);
	memcpy(p.image.p, whole.image.p, whole.len);
	at = record(&p, NAMESPACES);
	VEXPECT(t, at && record(&p, DOORBELLS), "the records of docs/stream.md are not there");
	p.image.p[at + 8 + 8] ^= 8; /* NSZE of the first */
	put(t, &p, ST(S_IF, S_38));
	p.image.p[at + 8 + 8] ^= 8;
	p.image.p[at + 8 + 4] ^= 1; /* its block size */
	put(t, &p, ST(S_IF, S_38));
	p.image.p[at + 8 + 4] ^= 1;
	at = record(&p, DOORBELLS);
	p.image.p[at + 7] = 0x7f; /* the record is longer than everything */
	put(t, &p, ST(S_IF));
	p.image.p[at + 7] = 0;
	grow(&p, required, 8);
	put(t, &p, ST(S_IF));
	memcpy(p.image.p + p.len - 8, optional, 8);
	p.image.p[p.len - 4] = 0xfc; /* 252 bytes that the image does not have */
	put(t, &p, ST(S_IF));
	p.image.p[p.len - 4] = 0;
	put(t, &p, ST(S_OK));
	vsv_put_back(t, p.to);
}

enum { NEED = NEED_MM | DUT_MC2 | DUT_NS | DUT_REGS };
const struct vtest tests_sv[] = {
	{ "SV-01", NEED, "SCS-19 E2E-12", features, "features go on", NULL },
	{ "SV-02", NEED, "SCS-19 SUS-04", requests, "event requests stay outstanding", NULL },
	{ "SV-03", NEED, "SCS-19", waiting_event, "an event that waits for a request goes along", NULL },
	{ "SV-04", NEED, "SCS-19 SUS-02", no_room, "completions that wait for room go along", NULL },
	{ "SV-05", NEED, "SCS-19 E2E-12", what_it_reads, "the error log, namespaces' identities, configuration space", NULL },
	{ "SV-06", NEED, "SCS-14 SCS-15", refused, "other namespaces, unknown records, lengths that lie", "negative hostile" },
	{ "SV-07", NEED, "SCS-19 E2E-12", interrupts, "the MSI-X table goes along", NULL },
	{ "SV-08", NEED, "SCS-19 B-DB-1", shadow_doorbells, "shadow doorbells go on", NULL },
	{ .id = NULL }
};
