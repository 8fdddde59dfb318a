/* simstore_trouble.c: what goes wrong with a medium, and when it flushes by itself. */
#include "tests/support/simstore_internal.h"

void simstore_flush_permille(struct simstore *m, uint32_t permille)
{
    m->flush_permille = permille;
}

void simstore_misread(struct simstore *m, uint64_t times)
{
    m->misread_times = times;
}

bool simstore_misreads(const struct simstore *m)
{
    return m->misread_times > 0;
}

void simstore_damage(struct simstore *m)
{
    m->damaged = true;
}

void simstore_fail(struct simstore *m, int code, uint64_t times)
{
    m->fail_code = code;
    m->fail_times = times;
}
