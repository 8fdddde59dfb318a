/* clock.h: the only readers of the machine's clocks. */
#pragma once

#include <stdint.h>

/* CLOCK_BOOTTIME in nanoseconds: goes on through suspend, never jumps. All time-outs and leases count on it. */
uint64_t clock_boot_ns(void);

/* Milliseconds since 1970. The coordinator's oracle alone orders by it; everyone else stamps from the oracle. */
uint64_t clock_wall_ms(void);

#define CLOCK_NS_PER_MS 1000000ull
