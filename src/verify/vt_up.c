/* Bringing a DUT up: memory for each controller, reset, Identify, and from that what tests may ask of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "verify/model.h"
#include "verify/pi.h"
#include "verify/vt_in.h"

enum { MEM_BYTES = 24 << 20, OTHERS_EACH = 1 << 20 };
#define OTHERS_OFF (1ull << 30)
/* All migratable controllers have their memory at the same addresses, as a VM has on both servers; the MMCs elsewhere, so that a
 * controller that uses somebody else's address is noticed. */
#define MC_IOVA 0x100000000ull
#define MMC_IOVA 0x300000000ull

#define CAP_TEXT_(name, text, why) text,
#define CAP_WHY_(name, text, why) why,
const char *dut_cap_name(unsigned bit)
{
	static const char *const name[] = { DUT_CAPS(CAP_TEXT_) };

	return bit < DUT_CAP_COUNT ? name[bit] : "?";
}
const char *dut_cap_why(unsigned bit)
{
	static const char *const why[] = { DUT_CAPS(CAP_WHY_) };

	return bit < DUT_CAP_COUNT ? why[bit] : "?";
}

void dut_close(struct dut *d)
{
	if (d->close)
		d->close(d);
	memset(d, 0, sizeof(*d));
}

static int map(struct vctl *c, uint64_t iova, struct err *err)
{
	int rc;

	c->bytes = MEM_BYTES;
	c->iova = iova;
	c->fd = memfd_create("ferry-verify", MFD_CLOEXEC);
	if (c->fd < 0 || ftruncate(c->fd, MEM_BYTES))
		return err_set(err, -errno, "no memory for tests: %s", strerror(errno));
	c->mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->mem == MAP_FAILED) {
		c->mem = NULL;
		return err_set(err, -ENOMEM, "no memory for tests");
	}
	rc = c->port->ops->dma_map(c->port, iova, c->mem, MEM_BYTES, c->fd, 0);
	if (rc)
		return err_set(err, rc, "%s: the controller does not take memory: %s", c->dut->name, strerror(-rc));
	c->mapped = true;
	return vt_guard_open(c) ? err_set(err, -ENOMEM, "no memory for tests") : 0;
}

/* The controller gets a descriptor that allows no more than it may do: its own mapping cannot either. A file that may only be written
 * cannot be mapped, so for that it is one of both. */
static int descriptor(int fd, bool write)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
}

struct vmem vt_mem_as(struct vctl *c, uint32_t bytes, bool read, bool write)
{
	uint64_t len = round_up(bytes, VT_PAGE), iova = c->iova + (OTHERS_OFF + (uint64_t)c->others * OTHERS_EACH);
	int fd = memfd_create("ferry-verify-other", MFD_CLOEXEC), give, rc;
	uint8_t *p;

	if (fd < 0 || ftruncate(fd, (off_t)len) || !c->port || !c->port->ops->dma_map_as || c->others == ARRAY_LEN(c->other))
		vt_error(c->t, "no memory of other rights for %s", c->name);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	give = descriptor(fd, write);
	close(fd);
	if (p == MAP_FAILED || give < 0)
		vt_error(c->t, "no memory of other rights for %s: %s", c->name, strerror(errno));
	c->other[c->others].m = (struct vmem){ p, iova, (uint32_t)len };
	c->other[c->others++].fd = give;
	rc = c->port->ops->dma_map_as(c->port, iova, p, len, give, 0, read, write);
	if (rc)
		vt_error(c->t, "%s does not take memory that it may %s: %s", c->name, read ? "only read" : write ? "only write" : "not reach", strerror(-rc));
	return (struct vmem){ p, iova, bytes };
}

void vt_others_free(struct vctl *c, bool unmap)
{
	while (c->others) {
		struct vmem *m = &c->other[--c->others].m;

		if (unmap)
			c->port->ops->dma_unmap(c->port, m->iova, m->len);
		munmap(m->p, m->len);
		close(c->other[c->others].fd);
	}
}

/* Bus master, or it may not reach memory; MSI-X, or it may not interrupt. */
void vt_port_again(struct vctl *c)
{
	enum { CAP_MSIX = 0x11, CAPS_MAX = 48 };
	struct port *p = c->port;
	uint8_t cmd[2] = { 0, 0 }, at = 0, cap[4];

	if (p->ops->cfg_read(p, 4, cmd, 2))
		return;
	cmd[0] |= 6;
	p->ops->cfg_write(p, 4, cmd, 2);
	if (p->ops->cfg_read(p, 0x34, &at, 1))
		return;
	for (unsigned n = 0; at >= 0x40 && n < CAPS_MAX && !p->ops->cfg_read(p, at, cap, 4); n++, at = cap[1])
		if (cap[0] == CAP_MSIX) {
			cap[3] = (cap[3] | 0x80) & 0xbf; /* enabled, not masked as a whole */
			p->ops->cfg_write(p, at + 2u, cap + 2, 2);
			return;
		}
}

static void identify(struct vctl *c, unsigned cns, uint32_t nsid, unsigned csi, struct vmem *m, const uint16_t *want)
{
	struct nvme_sqe s = { .opc = NVME_OP_IDENTIFY, .nsid = le32_of(nsid), .cdw10 = le32_of(cns), .cdw11 = le32_of(csi << 24) };

	memset(m->p, 0, VT_PAGE);
	vt_do_data(c, 0, &s, m, VT_PAGE, want);
}

/* Identify Namespace Identification Descriptor list: type, length, two reserved bytes, identifier. */
static void ns_ids(struct vns *n, const uint8_t *p)
{
	for (unsigned at = 0; at + 4 <= VT_PAGE && p[at + 1]; at += 4u + p[at + 1]) {
		uint8_t *to = p[at] == 1 ? n->eui64 : p[at] == 2 ? n->nguid : p[at] == 3 ? n->uuid : NULL;
		unsigned len = p[at] == 1 ? 8 : 16;

		if (to && p[at + 1] == len && at + 4 + len <= VT_PAGE)
			memcpy(to, p + at + 4, len);
	}
}

/* 8 bytes of metadata and blocks of the same size. */
static uint8_t pi_format(const struct nvme_id_ns *id)
{
	for (unsigned i = 0; i <= id->nlbaf && i < 16; i++)
		if (id->lbaf[4 * i] == 8 && !id->lbaf[4 * i + 1] && id->lbaf[4 * i + 2] == id->lbaf[4 * (id->flbas & 15) + 2])
			return (uint8_t)i;
	return 16;
}

static void learn_format(struct vns *n, const struct nvme_id_ns *id)
{
	unsigned f = id->flbas & 15;

	n->blocks = le64_get(id->nsze);
	n->lba = 1u << (id->lbaf[4 * f + 2] & 31);
	n->ms = (uint16_t)(id->lbaf[4 * f] | id->lbaf[4 * f + 1] << 8);
	n->flbas = id->flbas;
	n->mc = id->mc;
	n->dpc = id->dpc;
	n->dps = id->dps;
	n->pi_lbaf = pi_format(id);
}

void vt_learn_ns(struct vctl *c, struct vns *n)
{
	struct vmem m = vt_mem(c, VT_PAGE);
	struct nvme_id_ns id;

	identify(c, NVME_CNS_NS, n->nsid, 0, &m, ST(S_OK));
	memcpy(&id, m.p, sizeof(id));
	learn_format(n, &id);
}

void vt_format_put_back(struct vt *t)
{
	struct vt_format was = t->format;
	struct nvme_sqe s = { .opc = NVME_OP_FORMAT, .nsid = le32_of(was.nsid), .cdw10 = le32_of(was.cdw10) };

	if (!was.c)
		return;
	t->format.c = NULL;
	vt_do(was.c, 0, &s, ST(S_OK));
	for (unsigned i = 0; i < was.c->nss; i++)
		if (was.c->ns[i].nsid == was.nsid)
			vt_learn_ns(was.c, &was.c->ns[i]);
}

static void learn_namespaces(struct vctl *c, struct vmem *m)
{
	le32 list[64];

	c->nss = 0;
	identify(c, NVME_CNS_ACTIVE_NS, 0, 0, m, ST(S_OK));
	memcpy(list, m->p, sizeof(list));
	for (unsigned i = 0; i < ARRAY_LEN(list) && le32_get(list[i]) && c->nss < VT_NS; i++) {
		struct vns *n = &c->ns[c->nss++];
		struct nvme_id_ns id;

		*n = (struct vns){ .nsid = le32_get(list[i]) };
		identify(c, NVME_CNS_NS, n->nsid, 0, m, ST(S_OK));
		memcpy(&id, m->p, sizeof(id));
		learn_format(n, &id);
		identify(c, NVME_CNS_NS_DESC, n->nsid, 0, m, ST(S_OK, S_IF));
		ns_ids(n, m->p);
		if (n->lba < 512 || n->lba > VT_PAGE || !n->blocks)
			c->nss--; /* nothing our data buffers fit */
	}
}

static void learn(struct vctl *c)
{
	struct vmem m;

	if (c->port)
		m = vt_mem(c, VT_PAGE);
	else
		m = (struct vmem){ c->mem, 0, VT_PAGE };
	identify(c, NVME_CNS_CTRL, 0, 0, &m, ST(S_OK));
	memcpy(&c->id, m.p, sizeof(c->id));
	c->cntlid = le16_get(c->id.cntlid);
	c->mmc = le16_get(c->id.oacs) & NVME_OACS_HMLM;
	identify(c, NVME_CNS_CSI_CTRL, 0, 0, &m, ST(S_OK, S_IF));
	memcpy(&c->id_nvm, m.p, sizeof(c->id_nvm));
	learn_namespaces(c, &m);
}

static bool none(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static bool same_ns(const struct vns *a, const struct vns *b)
{
	if (!none(a->nguid, 16))
		return !memcmp(a->nguid, b->nguid, 16);
	if (!none(a->uuid, 16))
		return !memcmp(a->uuid, b->uuid, 16);
	return !none(a->eui64, 8) && !memcmp(a->eui64, b->eui64, 8);
}

/* The subsystem all tests are about is that of the first MMC; the others are what it moves to. */
static void sort_subsystems(struct vt *t)
{
	const struct vctl *first = &t->ctl[0];

	for (unsigned i = t->ctls; i--;)
		if (t->ctl[i].mmc)
			first = &t->ctl[i];
	for (unsigned i = 0; i < t->ctls; i++)
		t->ctl[i].sub = memcmp(t->ctl[i].id.subnqn, first->id.subnqn, sizeof(first->id.subnqn)) != 0;
}

static void match_namespaces(struct vctl *mc, const struct vctl *mmc)
{
	for (unsigned k = 0; mmc && k < mc->nss; k++)
		for (unsigned j = 0; j < mmc->nss; j++)
			if (same_ns(&mc->ns[k], &mmc->ns[j]))
				mc->ns[k].mmc_nsid = mmc->ns[j].nsid;
}

static void sort_far(struct vt *t, struct vctl *c)
{
	if (c->mmc && !t->far_mmc)
		t->far_mmc = c;
	else if (!c->mmc && !t->far_mc)
		t->far_mc = c;
	snprintf(c->name, sizeof(c->name), "%s of far", c->mmc ? "MMC" : "MC");
}

/* Who is who, and which namespace of one controller is which of another. */
static void sort_out(struct vt *t)
{
	unsigned mmcs = 0;

	sort_subsystems(t);

	for (unsigned i = 0; i < t->ctls; i++) {
		struct vctl *c = &t->ctl[i];

		if (c->sub) {
			sort_far(t, c);
			continue;
		}
		if (c->mmc && !mmcs++)
			t->mmc = c;
		else if (c->mmc && !t->mmc2)
			t->mmc2 = c;
		else if (!c->mmc)
			t->mc[t->mcs++] = c;
		snprintf(c->name, sizeof(c->name), "%s%u", c->mmc ? "MMC" : "MC", c->mmc ? mmcs - 1 : t->mcs - 1);
	}
	for (unsigned i = 0; i < t->mcs; i++)
		match_namespaces(t->mc[i], t->mmc);
	if (t->far_mc)
		match_namespaces(t->far_mc, t->far_mmc);
}

static uint64_t discover(struct vt *t)
{
	struct vctl *mc = t->mcs ? t->mc[0] : t->mmc;
	unsigned oncs = mc ? le16_get(mc->id.oncs) : 0, oacs = mc ? le16_get(mc->id.oacs) : 0;
	uint64_t caps = t->dut->caps;

	caps |= t->mmc ? DUT_MMC : 0;
	caps |= t->mmc2 ? DUT_MMC2 : 0;
	caps |= t->mcs > 0 ? DUT_MC : 0;
	caps |= t->mcs > 1 ? DUT_MC2 : 0;
	caps |= mc && mc->nss ? DUT_NS : 0;
	caps |= t->mcs && mc->nss && mc->ns[0].mmc_nsid ? DUT_NS_MMC : 0;
	caps |= t->mcs > 1 && mc->nss > 1 && t->mc[1]->nss > 1 && same_ns(&mc->ns[1], &t->mc[1]->ns[1]) ? DUT_SHARED : 0;
	caps |= t->mmc && t->mmc->id.trattr & NVME_TRATTR_TUDCS ? DUT_TUDCS : 0;
	caps |= t->mmc && t->mmc->id.trattr & NVME_TRATTR_THMCS ? DUT_THMCS : 0;
	caps |= t->mmc && t->mmc->id.trattr & NVME_TRATTR_MRTLL ? DUT_MRTLL : 0;
	caps |= t->mmc && MIN(le16_get(t->mmc->id.mcudmq), le16_get(t->mmc->id.mnsudmq)) < t->mcs ? DUT_LIMIT : 0;
	caps |= t->far_mmc && t->far_mc && t->far_mc->nss && t->far_mc->ns[0].mmc_nsid ? DUT_FAR : 0;
	caps |= mc && le32_get(mc->id.sgls) & 3 ? DUT_SGL : 0;
	caps |= mc && le32_get(mc->id.sgls) & 3 && le32_get(mc->id.sgls) >> 16 & 1 ? DUT_BUCKET : 0;
	caps |= mc && le16_get(mc->id.fuses) & 1 ? DUT_FUSES : 0;
	caps |= t->mmc && t->mmc->id.minmrtg ? DUT_MINMRTG : 0;
	caps |= t->mmc && le16_get(t->mmc->id_nvm.aocs) & NVME_AOCS_RALBAS ? DUT_RALBAS : 0;
	caps |= oncs & NVME_ONCS_DSM ? DUT_DSM : 0;
	caps |= oncs & NVME_ONCS_WRITE_ZEROES ? DUT_WZ : 0;
	caps |= oncs & NVME_ONCS_WRITE_UNCOR ? DUT_WU : 0;
	caps |= oncs & NVME_ONCS_COPY ? DUT_COPY : 0;
	caps |= oncs & NVME_ONCS_COMPARE ? DUT_COMPARE : 0;
	caps |= oacs & NVME_OACS_FORMAT ? DUT_FORMAT : 0;
	caps |= mc && mc->nss && pi_usable(&mc->ns[0]) && (mc->ns[0].dps & 7 || (caps & DUT_FORMAT && caps & DUT_DESTROY)) ? DUT_PI : 0;
	caps |= t->mmc && le32_get(t->mmc->id.sanicap) & 7 ? DUT_SANITIZE : 0;
	caps |= mc && mc->cap >> 36 & 1 ? DUT_NSSR : 0;
	caps |= mc && mc->cap >> 57 & 1 ? DUT_CMB : 0;
	return caps;
}

/* The MMC first: whatever it suspended is released, so that an MC's CC.EN=1 is not held up. */
static void reset_all(struct vt *t)
{
	if (t->model)
		model_init(t->model, t);
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < t->ctls; i++) {
			struct vctl *c = &t->ctl[i];

			if (!c->port)
				c->used = c->reds = 0;
			if (!c->port || (pass == 0) != c->mmc)
				continue;
			vt_disable(c);
			vt_others_free(c, true);
			vt_guard_taken(c);
			c->used = 0;
			c->reds = 0;
			c->acq.len = c->asq.len = 0;
			vt_enable(c, true);
		}
}

void vt_fresh(struct vt *t) { reset_all(t); }

/* A failure may have left a controller that CC.EN does not bring back: then the function is reset, once. */
bool vt_bring_up(struct vt *t, struct err *err)
{
	t->deadline_ns = vt_now_ns() + 20000000000ull;
	vt_guard_fresh(t);
	for (volatile unsigned attempt = 0; attempt < 2 && !t->lost; attempt++) {
		if (!setjmp(t->out)) {
			if (attempt)
				for (unsigned i = 0; i < t->ctls; i++)
					if (t->ctl[i].port && t->ctl[i].port->ops->reset) {
						t->ctl[i].port->ops->reset(t->ctl[i].port);
						vt_port_again(&t->ctl[i]);
					}
			reset_all(t);
			return true;
		}
	}
	t->lost = true;
	err_set(err, -ENODEV, "%s", t->why);
	return false;
}

static int open_all(struct vt *t, struct err *err)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		struct vctl *c = &t->ctl[i];
		int rc;

		c->t = t;
		c->index = i;
		c->dut = &t->dut->ctrl[i];
		c->port = c->dut->port;
		c->fd = -1;
		snprintf(c->name, sizeof(c->name), "C%u", i);
		if (!c->port) {
			c->mem = malloc(MEM_BYTES);
			c->bytes = MEM_BYTES;
			if (!c->mem)
				return err_set(err, -ENOMEM, "no memory for tests");
			continue;
		}
		/* Not known yet which it is: first by place, put right below. */
		rc = map(c, i ? MC_IOVA : MMC_IOVA, err);
		if (rc)
			return rc;
		vt_port_again(c);
		rc = c->port->ops->reg_read(c->port, NVME_REG_CAP, 8, &c->cap);
		if (rc || c->cap == UINT64_MAX || !c->cap)
			return err_set(err, rc ? rc : -ENODEV, "%s: no controller answers (CAP %llx)", c->dut->name,
				       (unsigned long long)c->cap);
		if (c->cap >> 32 & 15 || c->cap >> 48 & 15)
			return err_set(err, -ENOTSUP, "%s: doorbell stride or page size is not one we drive", c->dut->name);
	}
	return 0;
}

static int remap(struct vctl *c, uint64_t iova, struct err *err)
{
	int rc;

	if (!c->port || c->iova == iova)
		return 0;
	vt_disable(c);
	rc = c->port->ops->dma_unmap(c->port, c->iova, c->bytes);
	if (!rc)
		rc = c->port->ops->dma_map(c->port, iova, c->mem, c->bytes, c->fd, 0);
	c->iova = iova;
	return rc ? err_set(err, rc, "%s: memory could not be moved", c->dut->name) : 0;
}

int vt_open(struct vt *t, struct dut *d, struct err *err)
{
	int rc;

	t->dut = d;
	t->ctls = d->ctrls;
	rc = open_all(t, err);
	if (rc)
		return rc;
	if (!vt_bring_up(t, err))
		return -ENODEV;
	if (setjmp(t->out))
		return err_set(err, -ENODEV, "%s", t->why);
	for (unsigned i = 0; i < t->ctls; i++)
		learn(&t->ctl[i]);
	for (unsigned i = 0; i < t->ctls; i++) {
		rc = remap(&t->ctl[i], t->ctl[i].mmc ? MMC_IOVA : MC_IOVA, err);
		if (rc)
			return rc;
	}
	sort_out(t);
	t->caps = discover(t);
	return 0;
}

void vt_close(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		struct vctl *c = &t->ctl[i];

		if (c->mapped && c->port) {
			c->port->ops->reg_write(c->port, NVME_REG_CC, 4, 0);
			for (int n = 0; n < 1000 && t->dut->pump; n++)
				t->dut->pump(t->dut->ctx);
			vt_others_free(c, true);
			c->port->ops->dma_unmap(c->port, c->iova, c->bytes);
		}
		vt_others_free(c, false);
		vt_guard_close(c);
		if (c->mem && c->port)
			munmap(c->mem, c->bytes);
		else
			free(c->mem);
		if (c->port && c->fd >= 0)
			close(c->fd);
	}
	buf_fini(&t->trace);
}
