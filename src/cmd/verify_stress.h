/* `ferry verify stress` and `ferry verify failures`; and frames for those who read what a crashed run wrote. */
#ifndef FERRY_CMD_VERIFY_STRESS_H
#define FERRY_CMD_VERIFY_STRESS_H

#include "cmd/command.h"

command_run cmd_verify_stress, cmd_verify_failures;
extern const struct opt verify_stress_opts[];
extern const char verify_stress_about[];
/* A fatal signal writes our frames to stderr before it kills: "ferry: frame ...". Not where a sanitizer does that. */
void verify_crash_frames(void);

#endif
