/* Whole moves between two servers in one thread: the real manager, devices, link and journal; a pretend network. */
#include "moverig.h"

/* ---- it works -------------------------------------------------------------------------------------------------------- */

/* The reason for everything: a guest that writes all the time arrives identical and goes on. */
TEST(move_under_load)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.compared, 1);
	EXPECT_EQ(w.s[0].journal.own, OWN_RELEASED);
	EXPECT_EQ(w.s[1].journal.own, OWN_OWNER);
	EXPECT_EQ(w.s[1].journal.epoch, 2);
	EXPECT(w.s[0].vm.discarded);
	EXPECT_EQ(w.s[0].gones, 1);
	guest_is_well(&w, 1);
}

/* There and back again, several times: nothing of a move may be left that hinders the next (F23). */
TEST(ping_pong)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });

	for (int i = 0; i < 6; i++) {
		struct move_plan p = plan_to(i % 2 ? 'a' : 'b');

		world_move(&w, i % 2, &p);
		world_until(&w, out_over(&w));
		EXPECT_EQ(out_rc(&w), 0);
		guest_is_well(&w, !(i % 2));
	}
	EXPECT_EQ(w.compared, 6);
	EXPECT_EQ(w.s[0].journal.epoch, 7);
}

/* A disk at the target whose writes overtake each other. */
TEST(unordered_disk_at_the_target)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	w.lifo_disk = true;
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.compared, 1);
	guest_is_well(&w, 1);
}

/* The target takes its time: the source is told that it lives, and waits. */
TEST(slow_place_and_vm)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	w.s[1].place_late = 2000;
	w.s[1].vm.opens_late = 2000;
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
}

/* Sums of every block, taken on both sides: equal passes. */
TEST(verify_passes)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	p.verify = true;
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.compared, 1);
	guest_is_well(&w, 1);
}

/* One wrong block at the target: found before commit, and the guest stays. */
TEST(verify_finds_one_wrong_block)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	p.verify = true;
	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->phase == MOVE_STOP || out_over(&w));
	ns_write(&w.s[1], 500, 1, 77);
	world_until(&w, out_over(&w));
	EXPECT(out_rc(&w) < 0);
	EXPECT(strstr(w.s[0].last_done, "LBA 384") || strstr(w.s[0].last_done, "differ"));
	guest_is_well(&w, 0);
	EXPECT_EQ(w.s[0].journal.own, OWN_OWNER);
	EXPECT_EQ(w.s[1].unplaces, 1);
}

/* ---- cancel ---------------------------------------------------------------------------------------------------------- */

static void cancel_in(enum move_phase phase)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->phase >= phase || out_over(&w));
	EXPECT_EQ(move_out_progress(w.out)->phase, phase);
	EXPECT_EQ(move_out_cancel(w.out, "the test says so"), 0);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), -ECANCELED);
	EXPECT(strstr(w.s[0].last_done, "the test says so"));
	EXPECT_EQ(w.s[0].journal.own, OWN_OWNER);
	EXPECT_EQ(w.s[0].journal.epoch, 1);
	guest_is_well(&w, 0);
	/* The target forgot it, durably. */
	world_until(&w, w.s[1].journal.own == OWN_NONE);
	EXPECT_EQ(w.s[1].unplaces, w.s[1].places);
	/* R1: nothing is left behind, or this would find it in use. */
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
}

TEST(cancel_in_connect) { cancel_in(MOVE_CONNECT); }
TEST(cancel_in_track) { cancel_in(MOVE_TRACK); }
TEST(cancel_in_precopy) { cancel_in(MOVE_PRECOPY); }
TEST(cancel_in_stop) { cancel_in(MOVE_STOP); }
TEST(cancel_in_transfer) { cancel_in(MOVE_TRANSFER); }

/* Past the point of no return a cancel is refused as too late, and the move ends well (F21). */
TEST(cancel_after_commit_is_too_late)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, w.s[0].journal.own == OWN_HANDED);
	EXPECT_EQ(move_out_cancel(w.out, "too late"), -EALREADY);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
}

/* ---- the link breaks -------------------------------------------------------------------------------------------------- */

static void cut_in(enum move_phase phase, unsigned more_turns, int want)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');
	int on;

	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->phase >= phase || out_over(&w));
	for (unsigned i = 0; i < more_turns; i++)
		world_turn(&w);
	sim_link_cut(w.sim, "a", "b");
	world_until(&w, out_over(&w));
	on = out_rc(&w) == 0;
	EXPECT(on == want || want == 2);
	EXPECT_EQ(w.s[on].journal.own, OWN_OWNER);
	EXPECT(w.s[!on].journal.own != OWN_OWNER);
	guest_is_well(&w, on);
	if (on)
		return;
	w.out_stalled = false;
	world_until_slowly(&w, w.s[1].journal.own != OWN_RESERVED);	/* the target lets go by itself */
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
}

TEST(cut_in_connect) { cut_in(MOVE_CONNECT, 3, 1); }
TEST(cut_in_connect_later) { cut_in(MOVE_CONNECT, 140, 1); }
TEST(cut_in_track) { cut_in(MOVE_TRACK, 1, 1); }
TEST(cut_in_precopy_early) { cut_in(MOVE_PRECOPY, 2, 1); }
TEST(cut_in_precopy) { cut_in(MOVE_PRECOPY, 700, 1); }
TEST(cut_in_precopy_late) { cut_in(MOVE_PRECOPY, 1700, 1); }
TEST(cut_in_stop) { cut_in(MOVE_STOP, 1, 0); }
TEST(cut_in_transfer) { cut_in(MOVE_TRANSFER, 20, 0); }
TEST(cut_in_transfer_late) { cut_in(MOVE_TRANSFER, 100, 0); }

/* COMMIT itself is lost: the target never heard it, refuses durably when asked, and the source takes the guest back. */
TEST(commit_lost)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, w.s[0].journal.own == OWN_HANDED);
	sim_link_cut(w.sim, "a", "b");
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), -ECONNABORTED);
	EXPECT_EQ(w.s[0].journal.own, OWN_OWNER);
	EXPECT_EQ(w.s[0].journal.epoch, 3);	/* above the one that was offered */
	EXPECT_EQ(w.s[1].journal.own, OWN_NONE);
	guest_is_well(&w, 0);
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
}

/* Design rule 1, docs/ownership.md: a VM that died while it waited is noticed before the target becomes owner. Otherwise the guest would
 * belong to a server that can never start it. */
TEST(the_waiting_vm_dies_before_commit)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, w.s[0].journal.own == OWN_HANDED);
	w.s[1].vm.dead = true;
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), -ECONNABORTED);
	EXPECT_EQ(w.s[0].journal.own, OWN_OWNER);
	EXPECT_EQ(w.s[1].journal.own, OWN_NONE);
	guest_is_well(&w, 0);
}

/* COMMIT arrives, the answer is lost: the source asks and learns that the guest runs there. */
TEST(started_lost)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, w.s[1].journal.own == OWN_OWNER);
	sim_link_cut(w.sim, "a", "b");
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.s[0].journal.own, OWN_RELEASED);
	guest_is_well(&w, 1);
}

/* The network is silent, without a word, from the moment of commit: nobody runs it here, for as long as it takes; then it is told. */
TEST(doubt_lasts_until_the_target_answers)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');
	uint64_t until;
	int rc;
	const char *why;

	p.peer_silence_ns = 20 * NS_PER_MS;
	world_move(&w, 0, &p);
	world_until(&w, w.s[1].journal.own == OWN_OWNER);
	sim_link_set(w.sim, "a", "b", false);
	world_until(&w, move_out_progress(w.out)->phase == MOVE_DOUBT);
	until = sim_now_ns(w.sim) + 500 * NS_PER_MS;
	while (sim_now_ns(w.sim) < until) {
		world_turn(&w);
		EXPECT(!w.s[0].vm.running);
		EXPECT(nvme_ctrl_is_suspended(w.s[0].mc));
	}
	EXPECT(!move_out_ended(w.out, &rc, &why));
	EXPECT_EQ(rc, -EINPROGRESS);
	EXPECT_EQ(w.s[0].journal.own, OWN_HANDED);
	sim_link_set(w.sim, "a", "b", true);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
}

/* A half-open connection before the stop: noticed by silence, and if the network stays away the guest simply goes on here. */
TEST(silent_network_before_stop)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	p.peer_silence_ns = 20 * NS_PER_MS;
	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->phase == MOVE_PRECOPY);
	sim_link_set(w.sim, "a", "b", false);
	world_until(&w, out_over(&w));
	EXPECT(out_rc(&w) < 0);
	EXPECT_EQ(w.s[0].journal.own, OWN_OWNER);
	guest_is_well(&w, 0);
}

/* Restarted in doubt: the record knows whom to ask. */
TEST(recover_asks)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');
	struct err err = { "" };

	world_move(&w, 0, &p);
	world_until(&w, w.s[1].journal.own == OWN_OWNER && w.s[1].vm.running);
	move_out_free(w.out);	/* what a restart does */
	EXPECT_EQ(journal_load(&w.s[0].journal, w.s[0].env, "g", &err), 0);
	EXPECT_EQ(w.s[0].journal.own, OWN_HANDED);
	w.out = move_out_recover(&w.s[0].site, "g", &err);
	EXPECT(w.out != NULL);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.s[0].journal.own, OWN_RELEASED);
	guest_is_well(&w, 1);
}

/* The same, but the target never got to it. */
TEST(recover_takes_back)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');
	struct err err = { "" };

	world_move(&w, 0, &p);
	world_until(&w, w.s[0].journal.own == OWN_HANDED);
	sim_link_cut(w.sim, "a", "b");
	move_out_free(w.out);
	w.out = move_out_recover(&w.s[0].site, "g", &err);
	EXPECT(w.out != NULL);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), -ECONNABORTED);
	EXPECT_EQ(w.s[0].journal.own, OWN_OWNER);
	EXPECT(journal_refused(&w.s[1].journal, w.s[1].journal.refused[0]));
}

/* In doubt for so long that the guest went on from the target, and a move of it back there came to nothing: the target's record says
 * none now. It did start here once, so the one that asks must not take it back (two owners). */
TEST(recover_asks_late)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');
	struct journal *b = &w.s[1].journal;
	struct err err = { "" };
	const uint8_t on[16] = { 1 }, back[16] = { 2 };

	world_move(&w, 0, &p);
	world_until(&w, b->own == OWN_OWNER && w.s[1].vm.running);
	move_out_free(w.out);
	EXPECT_EQ(w.s[0].journal.own, OWN_HANDED);
	w.s[1].vm.running = false;	/* it runs at a third server, under epoch 3 */
	nvme_ctrl_set_online(w.s[1].mc, false);
	EXPECT_EQ(journal_set(b, OWN_HANDED, 3, on, "sim:c", ""), 0);
	EXPECT_EQ(journal_set(b, OWN_RELEASED, 3, on, "sim:c", ""), 0);
	EXPECT_EQ(journal_set(b, OWN_RESERVED, 4, back, "sim:c", ""), 0);
	EXPECT_EQ(journal_refuse(b, back), 0);
	w.out = move_out_recover(&w.s[0].site, "g", &err);
	EXPECT(w.out != NULL);
	world_until(&w, out_over(&w));
	EXPECT_EQ(w.s[0].journal.own, OWN_RELEASED);
}

/* At the target's address is a server now that has never heard of the move (a new one, or one that lost its records): it cannot say `not
 * started`. The guest runs at the server that was there before. */
TEST(recover_asks_somebody_else)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');
	struct journal *b = &w.s[1].journal;
	struct err err = { "" };
	uint64_t until;

	world_move(&w, 0, &p);
	world_until(&w, b->own == OWN_OWNER && w.s[1].vm.running);
	move_out_free(w.out);
	*b = (struct journal){ .env = b->env, .guest = "g" };
	w.out = move_out_recover(&w.s[0].site, "g", &err);
	EXPECT(w.out != NULL);
	until = sim_now_ns(w.sim) + 15 * NS_PER_S;
	w.turn_ns = 1000 * MR_TURN_NS;
	while (sim_now_ns(w.sim) < until) {
		world_turn(&w);
		EXPECT_EQ(w.s[0].journal.own, OWN_HANDED);
	}
	EXPECT(move_out_progress(w.out)->phase == MOVE_DOUBT);
	EXPECT_EQ(b->epoch, 0);		/* and a question leaves nothing */
}

/* Connections that say nothing are as many as a server takes. Who wants to move a guest is let in all the same. */
TEST(idle_connections_keep_nobody_out)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');
	struct env_conn *idle[40];
	struct err err = { "" };

	for (unsigned i = 0; i < ARRAY_LEN(idle); i++) {
		EXPECT((idle[i] = env_connect(w.s[0].env, "sim:b", &err)) != NULL);
		for (unsigned k = 0; k < 1000; k++)
			world_turn(&w);
	}
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
	for (unsigned i = 0; i < ARRAY_LEN(idle); i++)
		env_conn_close(idle[i]);
}

/* ---- the log overflows ------------------------------------------------------------------------------------------------ */

/* The mover gets no time while the guest writes thousands of small pieces, after the first pass: the ring fills, the device stops
 * logging, and what is written then is in no log. Everything is looked at again, deallocations too; the copy is still right (design rule 3). */
TEST(overflow_rescans)
{
	WORLD(w, .net = { SIM_KNOBS_MILD }, .blocks = 65536, .guest = { .area_bytes = 16 << 20, .rate = 20 << 20, .max_blocks = 1, .depth = 32, .weight = { [GUEST_WRITE] = 8, [GUEST_DSM] = 1 } });
	struct move_plan p = plan_to('b');
	uint64_t done;

	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->phase == MOVE_PRECOPY && move_out_progress(w.out)->round >= 2);
	guest_set_rate(&w.s[0].vm.h, 0);
	done = guest_stats(&w.s[0].vm.h)->done[GUEST_WRITE];
	w.out_stalled = true;
	world_until(&w, guest_stats(&w.s[0].vm.h)->done[GUEST_WRITE] > done + 6000);
	w.out_stalled = false;
	guest_set_rate(&w.s[0].vm.h, 20 * MIB);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(move_out_progress(w.out)->overflows, 1);
	EXPECT_EQ(w.s[0].kinds_overflow, 1);
	EXPECT_EQ(w.compared, 1);
	guest_is_well(&w, 1);
}

/* Between two overflows there is a whole round each time, and never an end in sight: that cannot go on for ever. */
TEST(overflows_now_and_then_end_the_move)
{
	WORLD(w, .net = { .delay_min_ns = 20000, .delay_max_ns = 60000, .bytes_per_s = 40 << 20 }, .blocks = 65536, .guest = { .area_bytes = 16 << 20, .rate = 20 << 20, .max_blocks = 1, .depth = 32, .weight = { [GUEST_WRITE] = 1 } });
	struct move_plan p = plan_to('b');
	unsigned n = 0, round;
	uint64_t done;

	p.no_throttle = true;
	p.downtime_ns = 1;
	world_move(&w, 0, &p);
	for (; n < 40 && !out_over(&w); n++) {
		round = move_out_progress(w.out)->round;
		world_until(&w, out_over(&w) || move_out_progress(w.out)->round >= round + 3);
		guest_set_rate(&w.s[0].vm.h, 0);
		done = guest_stats(&w.s[0].vm.h)->done[GUEST_WRITE];
		w.out_stalled = !out_over(&w);
		world_until(&w, guest_stats(&w.s[0].vm.h)->done[GUEST_WRITE] > done + 6000);
		w.out_stalled = false;
		guest_set_rate(&w.s[0].vm.h, 20 * MIB);
	}
	EXPECT_EQ(out_rc(&w), -EOVERFLOW);
	EXPECT_EQ(move_out_progress(w.out)->overflows, 15);	/* begun anew; the next ends it */
	guest_set_rate(&w.s[0].vm.h, 0);
	guest_is_well(&w, 0);
}

/* It fills at the worst moment, while the guest is being stopped: the guest goes on here, everything is looked at, and the move ends. */
TEST(overflow_in_stop_retreats)
{
	WORLD(w, .net = { SIM_KNOBS_MILD }, .blocks = 65536, .guest = { .area_bytes = 16 << 20, .max_blocks = 1, .depth = 32, .weight = { [GUEST_WRITE] = 8, [GUEST_DSM] = 1 } });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	w.s[0].vm.burst = 6000;
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.s[0].vm.burst, 0);
	EXPECT_EQ(w.s[0].kinds_overflow, 1);
	EXPECT_EQ(w.compared, 1);
	guest_is_well(&w, 1);
}

/* Not an overflow, only far more than was predicted: the stop is taken back rather than made long. */
TEST(too_much_left_in_stop_retreats)
{
	WORLD(w, .net = { .delay_min_ns = 20000, .delay_max_ns = 60000, .bytes_per_s = 20 << 20 }, .guest = { .rate = 2 << 20, .area_bytes = 4 << 20, .depth = 32, .weight = { [GUEST_WRITE] = 1 } });
	struct move_plan p = plan_to('b');

	p.no_throttle = true;	/* time stands still during the burst: a limited guest would never get through it */
	world_move(&w, 0, &p);
	w.s[0].vm.burst = 600;
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.s[0].kinds_overflow, 0);
	EXPECT(w.s[0].retreats >= 1);
	EXPECT_EQ(w.compared, 1);
	guest_is_well(&w, 1);
}

/* ---- refusals --------------------------------------------------------------------------------------------------------- */

static void refused_with(struct world *w, int rc, const char *words)
{
	struct move_plan p = plan_to('b');

	world_move(w, 0, &p);
	world_until(w, out_over(w));
	EXPECT_EQ(out_rc(w), rc);
	if (!strstr(w->s[0].last_done, words))
		fail_msg("'%s' does not say '%s'", w->s[0].last_done, words);
	guest_is_well(w, 0);
}

TEST(refused_no_room)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });

	w.s[1].refuse_place = -ENOSPC;
	refused_with(&w, -ENOSPC, "no room");
	EXPECT_EQ(w.s[1].journal.own, OWN_NONE);
}

TEST(refused_already_here)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	w.s[1].journal.own = OWN_OWNER;
	w.s[1].journal.epoch = 9;
	w.one_owner_unchecked = true;	/* the records are made to contradict each other */
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), -EEXIST);
	EXPECT(strstr(w.s[0].last_done, "already here"));
}

TEST(refused_wrong_size)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	uint64_t was = w.blocks;

	w.wrong_size = true;
	refused_with(&w, -EINVAL, "blocks");
	w.wrong_size = false;
	EXPECT_EQ(w.blocks, was);
}

/* A source that does not own the guest does not even start. */
TEST(start_needs_ownership)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('a');
	struct err err;

	EXPECT(!move_out_start(&w.s[1].site, &p, &err));
	EXPECT(strstr(err.text, "not owned here"));
}

TEST(vm_that_does_not_pause)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });

	w.s[0].vm.fail_pause = true;
	refused_with(&w, -EIO, "does not pause");
}

static void nothing_is_left(struct server *s)
{
	EXPECT(!s->mc->udmq);
	EXPECT(!s->mc->tracked_by);
	EXPECT_EQ(s->mc->suspend, NVME_RUNNING);
	EXPECT(!(le16_get(s->mc->rate.cfg.rlc) & 1));
	for (unsigned i = 0; i < ARRAY_LEN(s->ss->cdq); i++)
		EXPECT(!s->ss->cdq[i].live);
}

/* ---- a disk that hangs */

/* Writes that were given to it and are not done. Reads go through. */
static struct list hung;
static int hang_submit(struct blk *b, struct blk_io *io)
{
	if (io->op != BLK_WRITE)
		return blk_submit(b->below, io);
	list_push(&hung, &io->link);
	return 0;
}
static int hang_poll(struct blk *b) { return blk_poll(b->below); }
static int hang_next(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len) { return blk_next_allocated(b->below, lba, start, len); }
static const struct blk_ops hang_ops = { .name = "hang", .submit = hang_submit, .poll = hang_poll, .next_allocated = hang_next };

/* The source's disk takes writes and does not end them, so its controller is never drained. The move is given up in its own time and not in
 * that of a command to the MMC, which would be reset for it with all other moves; the guest runs as before, though its disk still hangs. */
TEST(disk_hangs_in_stop)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');
	struct nvme_ns *ns = nvme_ns_find(w.s[0].ss, 1);
	struct blk *disk = ns->blk, hang = *disk;
	struct list *l;

	list_init(&hung);
	hang.ops = &hang_ops;
	hang.below = disk;
	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->phase >= MOVE_PRECOPY);
	ns->blk = &hang;
	world_until(&w, !list_empty(&hung));
	world_until(&w, w.s[0].mc->suspend == NVME_DRAINING);
	EXPECT(!w.s[0].vm.running);
	world_until_slowly(&w, out_over(&w));
	EXPECT(out_rc(&w) < 0);
	EXPECT(hnvme_ready(w.s[0].h));
	EXPECT(w.s[0].vm.running);
	EXPECT(!list_empty(&hung));
	move_out_free(w.out);
	w.out = NULL;
	nothing_is_left(&w.s[0]);
	ns->blk = disk;
	while ((l = list_pop(&hung))) {
		struct blk_io *io = LIST_ENTRY(l, struct blk_io, link);

		io->done(io, blk_submit(disk, io) == BLK_DONE ? 0 : -EIO);
	}
	guest_is_well(&w, 0);
}

/* ---- convergence ------------------------------------------------------------------------------------------------------ */

/* A guest that writes faster than the link carries: slowed down, moved, and at the target as fast as ever. Its limit must not travel. */
TEST(throttled_until_it_fits)
{
	WORLD(w, .net = { .delay_min_ns = 20000, .delay_max_ns = 60000, .bytes_per_s = 40 << 20 }, .guest = { .rate = 200 << 20, .weight = { [GUEST_WRITE] = 1 } });
	struct move_plan p = plan_to('b');
	struct nvme_rate_limit before;

	memcpy(&before, &w.s[0].mc->rate.cfg, sizeof(before));
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT(w.s[0].kinds_throttle >= 1);
	EXPECT_EQ(w.compared, 1);
	EXPECT_EQ(le16_get(w.s[1].mc->rate.cfg.rlc) & NVME_RLC_RLE, 0);
	EXPECT_MEM(&w.s[1].mc->rate.cfg, &before, sizeof(before));
	guest_is_well(&w, 1);
}

/* The same, but given up: the limit is lifted exactly. */
TEST(throttle_is_lifted_when_given_up)
{
	WORLD(w, .net = { .delay_min_ns = 20000, .delay_max_ns = 60000, .bytes_per_s = 40 << 20 }, .guest = { .rate = 200 << 20, .weight = { [GUEST_WRITE] = 1 } });
	struct move_plan p = plan_to('b');
	struct nvme_rate_limit before;

	memcpy(&before, &w.s[0].mc->rate.cfg, sizeof(before));
	world_move(&w, 0, &p);
	world_until(&w, w.s[0].kinds_throttle >= 1 && le16_get(w.s[0].mc->rate.cfg.rlc) & NVME_RLC_RLE);
	move_out_cancel(w.out, "enough");
	world_until(&w, out_over(&w));
	EXPECT_MEM(&w.s[0].mc->rate.cfg, &before, sizeof(before));
	guest_is_well(&w, 0);
}

TEST(gives_up_when_asked)
{
	WORLD(w, .net = { .delay_min_ns = 20000, .delay_max_ns = 60000, .bytes_per_s = 40 << 20 }, .guest = { .rate = 200 << 20, .weight = { [GUEST_WRITE] = 1 } });
	struct move_plan p = plan_to('b');

	p.no_throttle = true;
	p.give_up_ns = NS_PER_S;
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), -ETIME);
	EXPECT_EQ(w.s[0].kinds_throttle, 0);
	guest_is_well(&w, 0);
}

/* 4 MiB/s over a link that could carry hundreds. */
TEST(bandwidth_cap_holds)
{
	WORLD(w, .net = { SIM_KNOBS_MILD }, .guest = { .rate = 1 << 20 });
	struct move_plan p = plan_to('b');
	const struct move_progress *g;

	p.bandwidth = 4 << 20;
	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->round >= 2 || out_over(&w));
	g = move_out_progress(w.out);
	EXPECT(g->link_bytes < (g->at_ns - g->started_ns) / 1000 * 5 + (1 << 20));
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
}

/* ---- the migration management controller stands still ---------------------------------------------------------------- */

/* It takes commands and answers none, long enough that the driver gives it up: the move ends, and the guest is as it was (design rule 4).
 * When it answers again, nothing of the move is left in it, and the next move goes through; without a restart of the program. */
static void frozen_in(enum move_phase phase, int side)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->phase >= phase || out_over(&w));
	EXPECT_EQ(move_out_progress(w.out)->phase, phase);
	w.s[side].mmc_frozen = true;
	world_until_slowly(&w, out_over(&w));
	EXPECT(out_rc(&w) < 0);
	world_until_slowly(&w, !hnvme_ready(w.s[side].h));
	move_out_free(w.out);
	w.out = NULL;
	guest_is_well(&w, 0);
	w.s[side].mmc_frozen = false;
	world_until_slowly(&w, hnvme_ready(w.s[side].h) && w.s[1].journal.own == OWN_NONE);
	nothing_is_left(&w.s[0]);
	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.compared, 1);
	guest_is_well(&w, 1);
}

TEST(mmc_frozen_in_track) { frozen_in(MOVE_TRACK, 0); }
TEST(mmc_frozen_in_precopy) { frozen_in(MOVE_PRECOPY, 0); }
TEST(mmc_frozen_in_stop) { frozen_in(MOVE_STOP, 0); }
TEST(mmc_frozen_at_the_target) { frozen_in(MOVE_PRECOPY, 1); }

/* At the target, after it has written down that the guest is its own: nobody else may start it, so it must. The reset has resumed the guest's
 * controller by then. */
TEST(mmc_frozen_after_commit)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, move_out_progress(w.out)->phase >= MOVE_COMMIT);
	w.s[1].mmc_frozen = true;	/* COMMIT is still on its way */
	world_until_slowly(&w, !hnvme_ready(w.s[1].h));
	EXPECT_EQ(w.s[1].journal.own, OWN_OWNER);
	EXPECT(!w.s[1].vm.running);
	w.s[1].mmc_frozen = false;
	world_until_slowly(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	guest_is_well(&w, 1);
	nothing_is_left(&w.s[1]);
}
