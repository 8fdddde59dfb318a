/* must.c: how a failed must() ends the process. */
#include "common/base/must.h"

#include <stdio.h>
#include <stdlib.h>

void must_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: must(%s) failed\n", file, line, expr);
    fflush(stderr);
    abort();
}
