/* signals.h: SIGTERM and SIGINT as a file descriptor in the loop; SIGPIPE ignored. */
#pragma once

/* Blocks the signals in this and all later threads. Returns a descriptor that is readable when one came; -1: failed.
 * Call before any thread starts. */
int signals_init(void);
