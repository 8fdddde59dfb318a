/* inspect.h: what a directory that nobody runs holds: identity, members, log, applied position. Changes nothing.
 *
 * Position: `holdfast inspect DIR` runs it; it stands outside the way of a request. */
#pragma once

#include <stdbool.h>

/* Prints to stdout, as text or one JSON object; returns the process's exit code: 0, 1 (no replica's directory),
 * 6 (unreadable), 7 (damage was found, and is told). One that is in use is said to be so. */
int inspect_print(const char *dir, bool json);
