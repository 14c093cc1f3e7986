/* For tests/e2e alone: `ferry serve` stops itself at an exact place of a move, so that a test can kill it, or its partner, there.
 * FERRY_TEST_STOP_AT=PHASE or PHASE+TURNS: SIGSTOP to itself once, when a move enters PHASE, or so many turns of the main loop later (at the end
 * of the move, if that comes first).
 */
#ifndef FERRY_CMD_TEST_STOP_H
#define FERRY_CMD_TEST_STOP_H

void test_stop_init(void);
void test_stop_phase(const char *phase);	/* a move entered it */
void test_stop_turn(void);			/* the main loop went round */

#endif
