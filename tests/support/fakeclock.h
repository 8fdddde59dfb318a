/* fakeclock.h: the clock of what is under test while fakes serve it, where it is linked with --wrap=clock_boot_ns (and, if it looks at
 * that one, too, --wrap=clock_wall_ms): it goes on by at most a few milliseconds for each turn of every fake. So a fake that gets no
 * processor is not late: nothing is asked for twice, no deadline passes and no lease ends because of it. Without a fake that runs it
 * goes as the machine's does. Any thread. */
#pragma once

#include <stdint.h>

#define FAKECLOCK_TURN_MS 2 /* in which a fake turns once when nothing is to do */

uint32_t fakeclock_begin(void); /* a fake runs from now on; what it is called below */
void fakeclock_turn(uint32_t fake);
void fakeclock_end(uint32_t fake);
