/* See signature.h. */
#include "verify/signature.h"

#include <ctype.h>
#include <stdio.h>

#include "verify/model.h"
#include "verify/vt_in.h"

/* The sentence with each number as '#': addresses, identifiers and places are chance. */
static void without_numbers(const char *s, char *out, size_t cap)
{
	size_t n = 0;

	while (*s && n + 1 < cap) {
		size_t hex = strspn(s, "0123456789abcdefABCDEF"), dec = strspn(s, "0123456789");
		bool start = n == 0 || !isalnum((unsigned char)out[n - 1]);

		if (dec && (hex == dec || s[hex] == 'h' || start)) {
			out[n++] = '#';
			s += hex;
			s += *s == 'h';
		} else {
			out[n++] = *s++;
		}
	}
	out[n] = '\0';
}

/* Only classes that a value has by itself or by the shadow's word; those of chance (which legal value) are left out. */
static const char *odd_class(const struct model *m, const struct vfield *f, uint32_t v)
{
	switch (f->kind) {
	case VK_RESERVED: return v ? "reserved-bit" : NULL;
	case VK_ENUM: return v > f->max ? "reserved-value" : NULL;
	case VK_CNTLID: return m && !model_ctrl((struct model *)m, (uint16_t)v) ? "wrong-object" : NULL;
	case VK_OFFSET: return v & 3 ? "unaligned" : NULL;
	default: return NULL;
	}
}

static void odd_fields(struct vt *t, const struct vcmd *k, char *out, size_t cap)
{
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; k->op >= 0 && i < VF_COUNT && n < cap; i++) {
		const char *class = vfields[i].op == (enum vop)k->op ? odd_class(t->model, &vfields[i], vf_get(&k->sqe, (enum vfid)i)) : NULL;

		if (class)
			n += (size_t)snprintf(out + n, cap - n, " %s/%s", vfields[i].name, class);
	}
}

void sig_note(struct vt *t, const struct vcmd *k)
{
	struct vt_wrong *w = &t->wrong;
	const char *op = k->op >= 0 ? vops[k->op].name : k->qid ? nvme_nvm_op_name(k->sqe.opc) : nvme_admin_op_name(k->sqe.opc);
	size_t n;

	w->set = true;
	n = (size_t)snprintf(w->text, sizeof(w->text), "%s", op);
	if (k->mstate < MS_COUNT)
		n += (size_t)snprintf(w->text + n, sizeof(w->text) - n, "@%s", mstate_name(k->mstate));
	if (n < sizeof(w->text))
		odd_fields(t, k, w->text + n, sizeof(w->text) - n);
	n = strlen(w->text);
	n += (size_t)snprintf(w->text + n, sizeof(w->text) - n, " got %x/%02x want", nvme_cqe_status(&k->cqe) >> 8, nvme_cqe_status(&k->cqe) & 0xff);
	for (unsigned i = 0; k->want[i] != ST_END && n + 8 < sizeof(w->text); i++)
		n += (size_t)snprintf(w->text + n, sizeof(w->text) - n, " %x/%02x", k->want[i] >> 8, k->want[i] & 0xff);
}

static void first_word(const char *list, char *out, size_t cap) { snprintf(out, cap, "%.*s", list ? (int)strcspn(list, " ") : 1, list ? list : "-"); }

/* How long a random sequence was, and how well it could be shrunk, is chance too. */
static void plain_why(const struct vresult *r, char *out, size_t cap)
{
	char *shrunk;

	without_numbers(r->why, out, cap);
	shrunk = strstr(out, " (# steps, shrunk");
	if (shrunk)
		*shrunk = '\0';
}

void sig_of(const struct vresult *r, char out[SIG_MAX])
{
	char item[24], what[SIG_MAX - 140];

	first_word(r->test->covers, item, sizeof(item));
	if (r->wrong[0])
		snprintf(what, sizeof(what), "%s", r->wrong);
	else
		plain_why(r, what, sizeof(what));
	snprintf(out, SIG_MAX, "%s %s %s", item, vt_verdict_name(r->verdict), what);
}

/* ---- crashes */

/* "    #3 0x55 in name file:line" of a sanitizer; "ferry: frame name"; "ferry: internal error at FILE:LINE: expected ..." */
static bool frame_line(const char *line, size_t len, char *out, size_t cap)
{
	static const char *const not_ours[] = { "__", "raise", "abort", "gsignal", "memcpy", "memset", "memmove", "strlen", "check_failed" };
	char l[400];
	const char *in;

	snprintf(l, sizeof(l), "%.*s", (int)MIN(len, sizeof(l) - 1), line);
	in = strstr(l, " in ");
	if (l[strspn(l, " ")] == '#' && in) {
		in += 4;
	} else if (!strncmp(l, "ferry: frame ", 13)) {
		in = l + 13;
	} else {
		return false;
	}
	for (unsigned i = 0; i < ARRAY_LEN(not_ours); i++)
		if (!strncmp(in, not_ours[i], strlen(not_ours[i])))
			return false;
	snprintf(out, cap, "%.*s", (int)strcspn(in, " ["), in);
	return true;
}

void sig_frame(const char *text, char *out, size_t cap)
{
	static const char ours[] = "internal error at ";
	const char *check = text ? strstr(text, ours) : NULL;

	snprintf(out, cap, "?");
	if (check) {
		check += sizeof(ours) - 1;
		snprintf(out, cap, "%.*s", (int)strcspn(check, "\n"), check);
		return;
	}
	for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		if (frame_line(p, strcspn(p, "\n"), out, cap))
			return;
}

void sig_crash(const char *id, int sig, const char *text, char out[SIG_MAX])
{
	char frame[160];

	sig_frame(text, frame, sizeof(frame));
	snprintf(out, SIG_MAX, "%s CRASH %s in %s", id, sig ? strsignal(sig) : "sanitizer", frame);
}

/* ---- buckets */

static bool is_failure(const struct vresult *r) { return r->verdict == VT_FAIL || r->verdict == VT_ERROR || r->verdict == VT_XPASS; }

unsigned sig_fold(const struct vrun *run, struct sig_bucket *out, unsigned max)
{
	unsigned n = 0, at;
	char sig[SIG_MAX];

	for (unsigned i = 0; i < run->results; i++) {
		const struct vresult *r = &run->result[i];

		if (!is_failure(r))
			continue;
		sig_of(r, sig);
		for (at = 0; at < n && strcmp(out[at].sig, sig); at++)
			;
		if (at == max)
			continue;
		if (at == n) {
			out[n] = (struct sig_bucket){ .least = r };
			snprintf(out[n++].sig, SIG_MAX, "%s", sig);
		}
		out[at].count++;
		if (r->commands < out[at].least->commands)
			out[at].least = r;
		for (; at && out[at].count > out[at - 1].count; at--) {
			struct sig_bucket swap = out[at];

			out[at] = out[at - 1];
			out[at - 1] = swap;
		}
	}
	return n;
}
