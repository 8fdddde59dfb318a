/* json.h: text inside a JSON string, for programs that print a few lines of it.
 *
 * Thread: any. */
#pragma once

#include <stdio.h>

/* Any bytes, as they may stand in a file; quotes are the caller's. */
void json_text(FILE *to, const char *text);
