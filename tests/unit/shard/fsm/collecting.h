/* collecting.h: what the tests of collection share: steps and passes, what is there, a short history of all cases. */
#pragma once

#include "tests/unit/shard/fsm/machine.h"

/* One entry; a pass, the one under way or a new one, to its end. */
void collecting_step(struct machine *m, uint64_t below, uint32_t steps);
void collecting_pass(struct machine *m, uint64_t below, uint32_t steps);
const struct fsm_collected *collecting_info(const struct machine *m);

/* How many records of that kind are there; appends their bytes, unless `out` is NULL. */
size_t collecting_records(struct machine *m, uint8_t kind, struct buf *out);
/* At `at` (0: the latest). COMPARE_FAILED: another value than that, if it is not NULL. */
int collecting_get(struct machine *m, enum fsm_space space, const char *key, uint64_t at, const char *value);
bool collecting_sees(struct machine *m, const char *key, uint64_t at, const char *value); /* NULL: nothing */
size_t collecting_items(struct machine *m, uint64_t at, bool reverse);                    /* live ones, by a scan */
/* What the transaction reads, as of `begin` and `now`. */
int collecting_validate(struct machine *m, Hf__Entry__Txn *t, uint64_t begin, uint64_t now);

/* A history in both spaces; returns the watermark up to which 13 of its 21 versions and 3 of its 4 markers may go. */
uint64_t collecting_history(struct machine *m);
/* Reads it, at the watermark w too, below which nothing may be read; twice: also when it is opened again. */
void collecting_see(struct machine *m, uint64_t w);
void collecting_see_twice(struct machine *m, uint64_t w);

void collecting_reopen(struct machine *m);
void collecting_compact(struct machine *m); /* all of it */
