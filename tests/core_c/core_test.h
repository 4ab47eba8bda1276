#ifndef TRIOBATCH_CORE_TEST_H
#define TRIOBATCH_CORE_TEST_H

#include "core.h"

/* Check all of the core, and set `counts` to what this thread has passed and
 * failed so far. What an emulator does not hand on can be left out.
 */
void check_all(int is_emulated, int counts[2]);

#endif
