/* The whole of every namespace before and after a sequence: what no command of ours named may not have changed. Blocks inside the sequence's
 * own area have a better judge (random.c) and are left out; so is what a falsified command may have named.
 */
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "verify/random_in.h"

enum { AUDIT_BYTES = 65536, AUDIT_BLOCKS_MAX = 1 << 20 };	/* larger namespaces: their beginning */
struct audit { struct vctl *c; unsigned ns; uint64_t blocks; uint64_t *sum; uint8_t *any; };
static struct audit audits[DUT_CTRLS * VT_NS]; /* one run at a time, as in random.c */
static unsigned audit_count;

static void forget(void)
{
	for (; audit_count; audit_count--) {
		free(audits[audit_count - 1].sum);
		free(audits[audit_count - 1].any);
	}
}

static uint32_t step_blocks(const struct vctl *c, uint32_t lba)
{
	uint64_t most = c->id.mdts ? MIN(4096ull << MIN(c->id.mdts, 16), (uint64_t)AUDIT_BYTES) : AUDIT_BYTES;

	return (uint32_t)(most / lba);
}

/* Each block's sum is given to what(), in order. */
static void read_all(struct audit *a, void (*what)(struct audit *, uint64_t lba, uint64_t sum))
{
	struct vns *n = &a->c->ns[a->ns];
	uint32_t step = step_blocks(a->c, n->lba);
	struct vmark mark = vt_mark(a->c);
	struct vmem m = vt_mem(a->c, AUDIT_BYTES);

	for (uint64_t lba = 0; lba < a->blocks; lba += step) {
		uint32_t nlb = (uint32_t)MIN((uint64_t)step, a->blocks - lba);
		struct vmark each = vt_mark(a->c);
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_READ, n->nsid, lba, nlb);
		vt_do_data(a->c, 1, &s, &m, nlb * n->lba, ST(S_OK));
		for (uint32_t i = 0; i < nlb; i++)
			what(a, lba + i, XXH3_64bits(m.p + (size_t)i * n->lba, n->lba));
		vt_back(a->c, each);
	}
	vt_back(a->c, mark);
}

static void keep(struct audit *a, uint64_t lba, uint64_t sum) { a->sum[lba] = sum; }

static void compare(struct audit *a, uint64_t lba, uint64_t sum)
{
	if (a->any[lba] || (!a->ns && lba < AREA))
		return;
	VEXPECT(a->c->t, a->sum[lba] == sum, "%s: LBA %llu of namespace %u changed, and no command had named it", a->c->name, (unsigned long long)lba,
		a->c->ns[a->ns].nsid);
}

void audit_begin(struct vt *t)
{
	forget();
	for (unsigned i = 0; i < t->mcs; i++) {
		vt_io_make(t->mc[i], 1, 16);
		for (unsigned k = 0; k < t->mc[i]->nss; k++) {
			struct audit *a = &audits[audit_count++];

			*a = (struct audit){ .c = t->mc[i], .ns = k, .blocks = MIN(t->mc[i]->ns[k].blocks, (uint64_t)AUDIT_BLOCKS_MAX) };
			a->sum = calloc(a->blocks, sizeof(*a->sum));
			a->any = calloc(a->blocks, 1);
			if (!a->sum || !a->any)
				vt_error(t, "no memory for the sums of a namespace");
			read_all(a, keep);
		}
	}
}

/* Which of the namespaces behind the first is whose, several controllers may share: all of them, then. */
void audit_wild(const struct vctl *c, uint32_t nsid, uint64_t lba, uint64_t nlb)
{
	bool first = c->nss && c->ns[0].nsid == nsid;

	for (unsigned i = 0; i < audit_count; i++) {
		struct audit *a = &audits[i];

		if (first ? a->c != c || a->ns : !a->ns && a->c->nss > 1)
			continue;
		for (uint64_t b = MIN(lba, a->blocks); b < a->blocks && b - lba < nlb; b++)
			a->any[b] = 1;
	}
}

void audit_end(struct vt *t)
{
	vt_fresh(t);
	for (unsigned i = 0; i < t->mcs; i++)
		vt_io_make(t->mc[i], 1, 16);
	for (unsigned i = 0; i < audit_count; i++)
		read_all(&audits[i], compare);
	forget();
}
