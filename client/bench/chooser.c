/* chooser.c: see chooser.h. */
#include "client/bench/chooser.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define THETA 0.99

static uint64_t scramble(uint64_t n)
{
    struct random r = {n};
    return random_next(&r);
}

void chooser_init(struct chooser *c, uint64_t records, bool zipfian)
{
    *c = (struct chooser){.records = records, .zipfian = zipfian};
    for (uint64_t i = 1; zipfian && i <= records; i++)
        c->zeta += pow(1.0 / (double)i, THETA);
    double zeta2 = 1.0 + pow(0.5, THETA);
    c->alpha = 1.0 / (1.0 - THETA);
    c->half = 1.0 + pow(0.5, THETA);
    c->eta = zipfian ? (1.0 - pow(2.0 / (double)records, 1.0 - THETA)) / (1.0 - zeta2 / c->zeta) : 0;
}

uint64_t chooser_next(const struct chooser *c, struct random *r)
{
    if (!c->zipfian)
        return random_below(r, c->records);
    double u = (double)(random_next(r) >> 11) / 9007199254740992.0;
    double uz = u * c->zeta;
    uint64_t rank = 0;
    if (uz >= c->half)
        rank = (uint64_t)((double)c->records * pow(c->eta * u - c->eta + 1.0, c->alpha));
    else if (uz >= 1.0)
        rank = 1;
    return scramble(rank) % c->records;
}

size_t chooser_key(uint64_t record, char out[CHOOSER_KEY_BYTES + 8])
{
    uint64_t h = scramble(~record);
    int n = snprintf(out, CHOOSER_KEY_BYTES + 8, "%c%c-%012" PRIu64, (int)('a' + h % 26), (int)('a' + h / 26 % 26),
                     record % UINT64_C(1000000000000));
    return (size_t)n;
}
