/* view.h: what the log holds, without payloads: base, last, terms as runs, and where on disk each stretch of entries
 * is.
 *
 * Position: log.c keeps it up to date, recover.c builds it from the segments. No I/O.
 * Invariants (view_check): runs begin at the base, their indexes rise, their terms never fall; stretches rise and lie
 * within (base, durable]. Memory: one stretch for VIEW_STRETCH_BYTES of frames or one larger frame, however many
 * entries. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"
#include "shard/log/log.h"

#define VIEW_STRETCH_BYTES (16u * 1024)

struct view_stretch { /* frames in a row that hold consecutive entries from `first` on */
    uint64_t first;
    uint64_t segment, offset;
    uint64_t bytes;
};

struct view {
    uint64_t base, last;
    uint64_t durable;     /* last index that a stretch holds, base when there is none */
    struct log_run *runs; /* owned; runs[run_head] begins at base */
    size_t run_head, run_count, run_cap;
    struct view_stretch *stretches; /* owned; the stretches of durable entries */
    size_t stretch_head, stretch_count, stretch_cap;
};

void view_init(struct view *v, uint64_t base, uint64_t base_term);
void view_deinit(struct view *v);
void view_check(const struct view *v);

/* The entry last + 1. Its term does not fall (must()). */
void view_append(struct view *v, uint64_t term);
/* Drops entries ≥ index. index > base (must()). */
void view_truncate(struct view *v, uint64_t index);
/* The base moves up to `index` ≤ last (must()); returns its term. */
uint64_t view_trim(struct view *v, uint64_t index);
/* Recovery learns the term of the base late: false when it contradicts the terms known. */
HF_CHECKED bool view_set_base_term(struct view *v, uint64_t term);
/* A synced frame that holds the entries from `first` to last, behind all frames added before. */
void view_frame(struct view *v, uint64_t first, uint64_t segment, uint64_t offset, uint64_t bytes);

HF_CHECKED int view_term(const struct view *v, uint64_t index,
                         uint64_t *out_term); /* base ≤ index ≤ last or HF_E_ABSENT */
static inline uint64_t view_last_term(const struct view *v)
{
    return v->runs[v->run_head + v->run_count - 1].term;
}

/* The stretch of a durable entry and the last index it holds; NULL: none is known. */
const struct view_stretch *view_find(const struct view *v, uint64_t index, uint64_t *out_last);
/* As log_reach; `index` durable or the base. */
uint64_t view_reach(const struct view *v, uint64_t index, uint64_t bytes);
/* The segment of the oldest durable entry, 0: there is none. */
uint64_t view_oldest_segment(const struct view *v);
