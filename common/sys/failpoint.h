/* failpoint.h: the only test hooks in product code; compiled out of packages (HF_FAILPOINTS off).
 *
 * crash_point("log.after_sync") ends the process with SIGKILL when HOLDFAST_CRASH_POINT names it, at the n-th pass
 * ("name:n"). With HOLDFAST_CRASH_STOPS it stops there (SIGSTOP) at every pass instead, so that a test can end several
 * at that moment, or let it go on. planted_bug("name") is true when HOLDFAST_PLANTED_BUG names it, or a test called
 * failpoint_plant(name): a checker must find it. */
#pragma once

#include <stdbool.h>

#ifdef HF_FAILPOINTS
void crash_point(const char *name);
bool planted_bug(const char *name);
void failpoint_plant(const char *name_or_null); /* tests: static text */
#else
static inline void crash_point(const char *name)
{
    (void)name;
}
static inline bool planted_bug(const char *name)
{
    (void)name;
    return false;
}
#endif
