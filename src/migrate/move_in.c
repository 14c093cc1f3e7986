/* The target's half of moves: connections, sessions, and the answer to "did you start it?". `ferry serve` and the simulator poll it
 * from the thread that also runs the device; nothing here waits.
 *
 * A session ends in one of two ways. Started: the journal says owner, the guest runs. Otherwise: the move is durably refused first,
 * then the place is given back; after that no frame, however late, can start it. docs/ownership.md has the whole argument.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "migrate/in.h"

#define ALIVE_NS NS_PER_S
#define ASKER_NS (60 * NS_PER_S)	/* a connection that only asks may be quiet for so long */
#define CLOSING_NS (5 * NS_PER_S)

uint64_t in_now(const struct move_in *m) { return env_now_ns(m->env); }

void in_event(struct in_session *s, const char *kind, const char *fmt, ...)
{
	struct move_event e = { .at_ns = in_now(s->m), .kind = kind, .phase = s->p.phase };
	va_list ap;

	s->p.at_ns = e.at_ns;
	e.progress = s->p;
	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	if (s->m->site.event)
		s->m->site.event(s->m->site.ctx, s->guest.name, &e);
}

void in_enter(struct in_session *s, enum in_state state, enum move_phase phase)
{
	enum move_phase from = s->p.phase;

	s->state = state;
	s->at = s->sub_at = 0;
	s->state_ns = in_now(s->m);
	s->p.phase = phase;
	if (from != phase)
		in_event(s, "phase", "%s -> %s", move_phase_name(from), move_phase_name(phase));
}

int in_fail(struct in_session *s, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (s->state != IN_ENDING) {
		vsnprintf(s->why, sizeof(s->why), fmt, ap);
		s->rc = rc;
	}
	va_end(ap);
	return rc;
}

/* ---- connections ------------------------------------------------------------------------------------------------------ */

int in_send(struct in_conn *c, uint16_t type, const void *p, size_t len)
{
	struct iovec v = { (void *)p, len };

	c->sent_ns = env_now_ns(c->env);
	return link_send(c->link, type, &v, len ? 1 : 0) == -EAGAIN ? -EAGAIN : 0;
}

int in_say(struct in_conn *c, uint16_t type, const uint8_t move[16], int code, const char *text)
{
	struct frame_say s = { .code = le32_of((uint32_t)(code < 0 ? -code : code)) };
	uint8_t buf[sizeof(s) + FRAME_TEXT_MAX];
	size_t n = strnlen(text, FRAME_TEXT_MAX);

	memcpy(s.move, move, sizeof(s.move));
	memcpy(buf, &s, sizeof(s));
	memcpy(buf + sizeof(s), text, n);
	return in_send(c, type, buf, sizeof(s) + n);
}

static void conn_detach(struct in_conn *c)
{
	if (c->s && c->s->conn == c) {
		c->s->conn = NULL;
		c->s->have_msg = false;	/* it lay in the link's buffer */
		c->s->lost_ns = env_now_ns(c->env);
	}
	c->s = NULL;
}

static void conn_close_soon(struct in_conn *c)
{
	conn_detach(c);
	c->closing = true;
	c->opened_ns = env_now_ns(c->env);
}

static void conn_free(struct move_in *m, struct in_conn *c)
{
	conn_detach(c);
	list_del(&c->node);
	link_free(c->link);
	free(c);
	m->conn_count--;
}

static void conn_attach(struct in_conn *c, struct in_session *s)
{
	if (s->conn)
		conn_close_soon(s->conn);
	s->conn = c;
	s->have_msg = false;
	c->s = s;
}

/* Room for another one: the connection goes that has said nothing for longest and has no move. Whoever asks comes back. */
static void make_room(struct move_in *m)
{
	struct in_conn *oldest = NULL;

	LIST_EACH(&m->conns, it) {
		struct in_conn *c = LIST_ENTRY(it, struct in_conn, node);

		if (!c->s && (!oldest || link_heard_ns(c->link) < link_heard_ns(oldest->link)))
			oldest = c;
	}
	if (oldest)
		conn_free(m, oldest);
}

void move_in_accept(struct move_in *m, struct env_conn *ec)
{
	struct in_conn *c;

	if (m->conn_count >= IN_CONNS_MAX)
		make_room(m);
	c = m->conn_count < IN_CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		env_conn_close(ec);
		return;
	}
	c->env = m->env;
	c->link = link_new(m->env, ec);
	if (!c->link) {
		free(c);
		return;
	}
	c->opened_ns = c->sent_ns = in_now(m);
	list_push(&m->conns, &c->node);
	m->conn_count++;
}

/* ---- sessions --------------------------------------------------------------------------------------------------------- */

struct in_session *in_find(struct move_in *m, const uint8_t move[16])
{
	LIST_EACH(&m->sessions, it) {
		struct in_session *s = LIST_ENTRY(it, struct in_session, node);

		if (!memcmp(s->id, move, sizeof(s->id)))
			return s;
	}
	return NULL;
}

static struct in_session *find_guest(struct move_in *m, const char *guest)
{
	LIST_EACH(&m->sessions, it) {
		struct in_session *s = LIST_ENTRY(it, struct in_session, node);

		if (!strcmp(s->guest.name, guest))
			return s;
	}
	return NULL;
}

bool in_busy(const struct in_session *s)
{
	for (unsigned i = 0; i < IN_SLOTS; i++)
		if (mcmd_busy(&s->slot[i].cmd))
			return true;
	return mcmd_busy(&s->cmd);
}

static void last_gone(void *ctx)
{
	if (!in_busy(ctx))
		free(ctx);
}

static void session_free(struct in_session *s)
{
	struct move_in *m = s->m;

	if (s->conn && s->rc)
		conn_close_soon(s->conn);
	else if (s->conn)
		conn_detach(s->conn);	/* the source may still have a question */
	list_del(&s->node);
	m->session_count--;
	if (in_busy(s)) {	/* only when the program ends: the driver tells when it lets go */
		for (unsigned i = 0; i < IN_SLOTS; i++) {
			s->slot[i].cmd.abandoned = last_gone;
			s->slot[i].cmd.ctx = s;
		}
		s->cmd.abandoned = last_gone;
		s->cmd.ctx = s;
		free(s->image);
		s->image = NULL;
		return;
	}
	in_apply_fini(s);
	free(s);
}

static void session_end(struct in_session *s)
{
	if (s->state == IN_ENDING || s->state == IN_STARTED)
		return;
	if (s->rc)
		in_event(s, "error", "%s", s->why);
	in_enter(s, IN_ENDING, MOVE_UNDO);
	if (s->conn && s->rc)
		in_say(s->conn, s->refuse_only ? FRAME_REFUSED : FRAME_ERROR, s->id, s->rc, s->why);
}

/* Durably refused first; only then is there nothing left that could be started. */
static int end_run(struct in_session *s)
{
	int rc;

	STEP_BEGIN(s->at);
	for (unsigned i = 0; i < IN_SLOTS; i++)
		if (s->slot[i].cmd.state == MCMD_WANT)
			s->slot[i].cmd.state = MCMD_IDLE;
	STEP_WAIT(s->at, !in_busy(s));
	while (s->reserved && (rc = journal_refuse(s->journal, s->id)) != 0) {
		in_event(s, "error", "the move ended, but that cannot be recorded (%s); trying again", strerror(-rc));
		s->retry_ns = in_now(s->m) + NS_PER_S;
		STEP_WAIT(s->at, in_now(s->m) >= s->retry_ns);
	}
	/* The controller stays suspended, with or without a state in it: resumed it would run. The site resets it. */
	if (s->placed)
		s->m->site.unplace(s->m->site.ctx, s->guest.name);
	in_enter(s, IN_ENDING, MOVE_FAILED);
	in_event(s, "done", "%s", s->why);
	STEP_END(s->at);
}

static int run(struct in_session *s)
{
	switch (s->state) {
	case IN_PLACE: return in_place_run(s);
	case IN_PREPARE: return in_prepare_run(s);
	case IN_STARTING: return in_start_run(s);
	case IN_ENDING: return end_run(s);
	default: return -EAGAIN;
	}
}

static void next_state(struct in_session *s)
{
	switch (s->state) {
	case IN_PLACE:
		s->refuse_only = false;
		in_enter(s, IN_APPLY, MOVE_PRECOPY);
		break;
	case IN_PREPARE: in_enter(s, IN_PREPARED, MOVE_TRANSFER); break;
	case IN_STARTING:
		in_enter(s, IN_STARTED, MOVE_DONE);
		in_event(s, "done", "guest %s runs here, epoch %llu", s->guest.name, (unsigned long long)s->epoch);
		break;
	case IN_ENDING: s->state = IN_GONE; break;
	default: break;
	}
}

static int check_time(struct in_session *s)
{
	uint64_t now = in_now(s->m), in_state = now - s->state_ns;

	if (s->state >= IN_STARTING)
		return 0;
	/* A source that is gone now cannot commit any more, and cannot run its guest while the storage is locked from here. */
	if (!s->conn && s->mode == MOVE_HANDOVER && s->state >= IN_PREPARE)
		return in_fail(s, -ECONNRESET, "the connection was lost before the source committed");
	if (!s->conn && now - s->lost_ns > IN_GRACE_NS)
		return in_fail(s, -ETIMEDOUT, "the source has not come back for %llu s", (unsigned long long)(IN_GRACE_NS / NS_PER_S));
	if (s->state == IN_PLACE && in_state > IN_PLACE_NS)
		return in_fail(s, -ETIMEDOUT, "the place could not be made in %llu s", (unsigned long long)(IN_PLACE_NS / NS_PER_S));
	if (s->state == IN_PREPARE && in_state > IN_PREPARE_NS)
		return in_fail(s, -ETIMEDOUT, "flushing and setting the state took longer than %llu s",
			       (unsigned long long)(IN_PREPARE_NS / NS_PER_S));
	return 0;
}

static void check_link(struct in_session *s)
{
	struct in_conn *c = s->conn;

	if (!c)
		return;
	if (!s->have_msg && in_now(s->m) - link_heard_ns(c->link) > IN_GRACE_NS && !*link_error(c->link))
		conn_close_soon(c);	/* half open: the source comes back over a new one, or never */
}

static bool session_poll(struct in_session *s)
{
	enum in_state was = s->state;
	bool did = false;
	int rc = s->state == IN_ENDING ? 0 : in_slots_poll(s);	/* ending: what failed has had its say, it must not block the way out */

	if (!rc && s->conn && s->state != IN_PLACE && s->state != IN_ENDING) {
		rc = in_apply_poll(s, &did);
		if (rc == -ECONNRESET && s->conn) {
			in_event(s, "retry", "connection lost: %s", link_error(s->conn->link));
			conn_close_soon(s->conn);
			rc = 0;
		}
	}
	check_link(s);
	if (!rc)
		rc = check_time(s);
	if (!rc) {
		rc = run(s);
		if (!rc)
			next_state(s);
	}
	if (rc && rc != -EAGAIN && !s->owner)
		session_end(s);
	else if (rc && rc != -EAGAIN && s->conn)
		conn_close_soon(s->conn);	/* whatever it says, the guest is here */
	if (s->state == IN_STARTED && !s->conn)
		s->state = IN_GONE;	/* the journal answers from now on */
	return did || s->state != was;
}

/* ---- first frames ----------------------------------------------------------------------------------------------------- */

static void refuse(struct in_conn *c, const uint8_t move[16], int rc, const char *text)
{
	in_say(c, FRAME_REFUSED, move, rc, text);
	conn_close_soon(c);
}

static void attach_again(struct in_conn *c, struct in_session *s)
{
	struct frame_ready r = { .version = le32_of(FRAME_VERSION), .flags = le32_of(1) };

	conn_attach(c, s);
	memcpy(r.move, s->id, sizeof(r.move));
	in_event(s, "retry", "the source is back over a new connection");
	if (s->state == IN_APPLY)
		in_send(c, FRAME_READY, &r, sizeof(r));
}

static int admit(struct move_in *m, struct in_session *s, struct err *err)
{
	struct in_session *other = find_guest(m, s->guest.name);

	if (other && other->state == IN_STARTED) {	/* moved here, and now from somewhere else again? the journal decides */
		if (other->conn)
			conn_close_soon(other->conn);
	} else if (other) {
		return err_set(err, -EBUSY, "another move of guest '%s' to here is under way", s->guest.name);
	}
	if (m->session_count >= IN_SESSIONS_MAX)
		return err_set(err, -EBUSY, "%d moves to this server are under way, that is the limit", IN_SESSIONS_MAX);
	s->journal = m->site.journal(m->site.ctx, s->guest.name);
	if (!s->journal)
		return err_set(err, -EIO, "the ownership record of guest '%s' cannot be read here", s->guest.name);
	return 0;
}

static void on_hello(struct move_in *m, struct in_conn *c, const struct link_msg *msg)
{
	struct in_session *s = calloc(1, sizeof(*s)), *old;
	struct err err = { "" };
	bool resume = false;
	int rc;

	if (!s) {
		refuse(c, msg->data, -ENOMEM, "out of memory");
		return;
	}
	s->m = m;
	list_init(&s->node);
	rc = in_hello_judge(s, msg, &resume, &err);
	old = rc ? NULL : in_find(m, s->id);
	if (old && (old->state == IN_PLACE || old->state == IN_APPLY) && !strcmp(old->guest.name, s->guest.name)) {
		free(s);
		attach_again(c, old);
		return;
	}
	if (!rc && (resume || old))
		rc = err_set(&err, -ESTALE, "this move is not under way here any more");
	if (!rc)
		rc = admit(m, s, &err);
	if (rc) {
		refuse(c, msg->data, rc, err.text);
		free(s);
		return;
	}
	s->refuse_only = true;
	s->p.started_ns = s->state_ns = in_now(m);
	s->p.ns_count = s->ns_count;
	list_push(&m->sessions, &s->node);
	m->session_count++;
	conn_attach(c, s);
	in_enter(s, IN_PLACE, MOVE_CONNECT);
}

/* The record's word on a move that no session here knows. It says `started` only if the guest was owned here under that epoch or a
 * later one; it says `not started` only after that is durable, and only if it has seen the move's epoch. Before anybody can be in doubt
 * about a move its target has recorded the reservation: one whose record does not go so far has lost it (or got an old one back), or is
 * not the server that was asked then. It cannot know what happened. */
static void answer_from_journal(struct move_in *m, struct in_conn *c, const struct frame_commit *q, const char *guest)
{
	struct journal *j = m->site.journal(m->site.ctx, guest);
	int rc;

	if (!j) {
		in_say(c, FRAME_LATER, q->move, EIO, "the ownership record cannot be read here");
		return;
	}
	if (journal_started(j, q->move, le64_get(q->epoch))) {
		in_say(c, FRAME_STARTED, q->move, 0, "it was started here");
		return;
	}
	if (!journal_refused(j, q->move) && j->epoch < le64_get(q->epoch)) {
		in_say(c, FRAME_LATER, q->move, ESTALE, "this server's record of that guest knows nothing of this move: it was lost, or this is not the "
		       "server that the guest was moved to. Find out who runs it");
		return;
	}
	rc = journal_refuse(j, q->move);
	if (rc)
		in_say(c, FRAME_LATER, q->move, rc, "the ownership record cannot be written here");
	else
		in_say(c, FRAME_NOT_STARTED, q->move, 0, "this server did not get to starting it and now never will");
}

void in_answer(struct move_in *m, struct in_conn *c, const struct frame_commit *q)
{
	struct in_session *s = in_find(m, q->move);
	char guest[sizeof(q->guest) + 1] = "";

	memcpy(guest, q->guest, sizeof(q->guest));
	if (!*guest || strchr(guest, '/') || strnlen(guest, sizeof(guest)) >= sizeof(q->guest)) {
		in_say(c, FRAME_LATER, q->move, EINVAL, "a question about a guest that cannot be");
		return;
	}
	if (s && s->state == IN_STARTED) {
		in_say(c, FRAME_STARTED, q->move, 0, "it runs here");
	} else if (s && s->state >= IN_STARTING && s->state != IN_GONE) {
		in_say(c, FRAME_LATER, q->move, EAGAIN, *s->why ? s->why : "it is being started");
	} else if (s && s->state != IN_GONE) {
		/* Not committed, and the source asks instead of committing: it will not be. The answer follows when that is durable. */
		in_fail(s, 0, "the source asked before it committed: its COMMIT was lost");
		session_end(s);
		in_say(c, FRAME_LATER, q->move, EAGAIN, "it was not committed here; recording that");
	} else {
		answer_from_journal(m, c, q, guest);
	}
}

static void on_first(struct move_in *m, struct in_conn *c, const struct link_msg *msg)
{
	static const uint8_t nobody[16];
	struct frame_commit q;
	uint32_t lo, hi;
	const char *name;

	if (!frame_limits(msg->type, &lo, &hi, &name) || msg->len < lo || msg->len > hi) {
		in_say(c, FRAME_ERROR, nobody, EPROTO, "a frame that cannot be");
		conn_close_soon(c);
		return;
	}
	switch (msg->type) {
	case FRAME_ALIVE: break;
	case FRAME_HELLO: on_hello(m, c, msg); break;
	case FRAME_ASK: case FRAME_COMMIT:
		memcpy(&q, msg->data, sizeof(q));
		in_answer(m, c, &q);
		break;
	case FRAME_CANCEL: case FRAME_ERROR: conn_close_soon(c); break;
	default:
		in_say(c, FRAME_ERROR, nobody, EPROTO, "a connection begins with HELLO or ASK");
		conn_close_soon(c);
	}
}

/* ---- poll ------------------------------------------------------------------------------------------------------------- */

static bool conn_poll(struct move_in *m, struct in_conn *c)
{
	uint64_t now = in_now(m);
	bool did = link_poll(c->link);
	struct link_msg msg;
	int rc = 0;

	if (c->closing) {
		if (!link_backlog(c->link) || *link_error(c->link) || now - c->opened_ns > CLOSING_NS)
			conn_free(m, c);
		return true;
	}
	if (!c->s) {
		rc = link_recv(c->link, &msg);
		if (rc > 0)
			on_first(m, c, &msg);
		else if (rc < 0 || now - link_heard_ns(c->link) > ASKER_NS ||
			 (!link_received(c->link) && now - c->opened_ns > IN_GRACE_NS))
			conn_close_soon(c);
	}
	if (!c->closing && now - c->sent_ns > ALIVE_NS)
		in_send(c, FRAME_ALIVE, NULL, 0);
	return did || rc;
}

bool move_in_poll(struct move_in *m)
{
	bool did = hnvme_poll(m->site.mmc);

	LIST_EACH(&m->conns, it)
		did |= conn_poll(m, LIST_ENTRY(it, struct in_conn, node));
	LIST_EACH(&m->sessions, it) {
		struct in_session *s = LIST_ENTRY(it, struct in_session, node);

		did |= session_poll(s);
		if (s->conn)
			did |= link_poll(s->conn->link);	/* the answer leaves with this poll */
		if (s->state == IN_GONE)
			session_free(s);
	}
	m->wake_ns = in_now(m) + (did ? 0 : list_empty(&m->sessions) ? 20 * NS_PER_MS : 50 * NS_PER_US);
	return did;
}

uint64_t move_in_deadline(const struct move_in *m)
{
	return list_empty(&m->conns) && list_empty(&m->sessions) ? UINT64_MAX : m->wake_ns;
}

const struct move_progress *move_in_progress(const struct move_in *m, const char *guest)
{
	struct in_session *s = find_guest((struct move_in *)m, guest);

	return s ? &s->p : NULL;
}

struct move_in *move_in_new(const struct move_site *site)
{
	struct move_in *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->site = *site;
	m->env = site->env;
	list_init(&m->conns);
	list_init(&m->sessions);
	return m;
}

void move_in_free(struct move_in *m)
{
	if (!m)
		return;
	LIST_EACH(&m->sessions, it)
		session_free(LIST_ENTRY(it, struct in_session, node));
	LIST_EACH(&m->conns, it)
		conn_free(m, LIST_ENTRY(it, struct in_conn, node));
	free(m);
}
