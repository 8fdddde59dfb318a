/* view.c: arrays of runs and stretches, cut at both ends: truncation at the back, trimming at the front. */
#include "shard/log/view.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"

#define CAP_MIN 16 /* of either array */

void view_init(struct view *v, uint64_t base, uint64_t base_term)
{
    *v = (struct view){
        .base = base, .last = base, .durable = base, .run_cap = CAP_MIN, .run_count = 1, .stretch_cap = CAP_MIN};
    v->runs = malloc(CAP_MIN * sizeof *v->runs);
    v->stretches = malloc(CAP_MIN * sizeof *v->stretches);
    must(v->runs != NULL && v->stretches != NULL); /* out of memory */
    v->runs[0] = (struct log_run){.first = base, .term = base_term};
}

void view_deinit(struct view *v)
{
    free(v->runs);
    free(v->stretches);
    *v = (struct view){0};
}

void view_check(const struct view *v)
{
    const struct log_run *runs = v->runs + v->run_head;
    must(v->run_count > 0 && runs[0].first == v->base && v->base <= v->durable && v->durable <= v->last);
    for (size_t i = 1; i < v->run_count; i++)
        must(runs[i].first > runs[i - 1].first && runs[i].term > runs[i - 1].term && runs[i].first <= v->last);
    const struct view_stretch *s = v->stretches + v->stretch_head;
    for (size_t i = 0; i < v->stretch_count; i++) {
        must(s[i].first > v->base && s[i].first <= v->durable);
        must(i == 0 || s[i].first > s[i - 1].first);
    }
}

/* Room for one more behind `*head + *count` items of `size` bytes: moves them to the front, or grows. */
static void *make_room(void *items, size_t *head, size_t count, size_t *cap, size_t size)
{
    if (*head + count < *cap)
        return items;
    if (*head > *cap / 2) {
        memmove(items, (char *)items + *head * size, count * size);
    } else {
        size_t more = *cap * 2;
        char *grown = malloc(more * size);
        must(grown != NULL); /* out of memory */
        memcpy(grown, (char *)items + *head * size, count * size);
        free(items);
        items = grown;
        *cap = more;
    }
    *head = 0;
    return items;
}

static void push_run(struct view *v, uint64_t first, uint64_t term)
{
    v->runs = make_room(v->runs, &v->run_head, v->run_count, &v->run_cap, sizeof *v->runs);
    v->runs[v->run_head + v->run_count++] = (struct log_run){.first = first, .term = term};
}

void view_append(struct view *v, uint64_t term)
{
    uint64_t last_term = view_last_term(v);
    must(term >= last_term); /* terms never fall */
    v->last++;
    if (term > last_term)
        push_run(v, v->last, term);
}

void view_truncate(struct view *v, uint64_t index)
{
    must(index > v->base); /* what is trimmed was committed and stays */
    if (index > v->last)
        return;
    while (v->runs[v->run_head + v->run_count - 1].first >= index)
        v->run_count--;
    while (v->stretch_count > 0 && v->stretches[v->stretch_head + v->stretch_count - 1].first >= index)
        v->stretch_count--;
    v->last = index - 1;
    if (v->durable > v->last)
        v->durable = v->last;
}

/* The run that holds `index`, base ≤ index ≤ last. */
static size_t run_of(const struct view *v, uint64_t index)
{
    const struct log_run *runs = v->runs + v->run_head;
    size_t low = 0, high = v->run_count - 1;
    while (low < high) {
        size_t mid = (low + high + 1) / 2;
        if (runs[mid].first <= index)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

int view_term(const struct view *v, uint64_t index, uint64_t *out_term)
{
    if (index < v->base || index > v->last)
        return HF_E_ABSENT;
    if (index >= v->runs[v->run_head + v->run_count - 1].first) {
        *out_term = view_last_term(v); /* the common question */
        return 0;
    }
    *out_term = v->runs[v->run_head + run_of(v, index)].term;
    return 0;
}

uint64_t view_trim(struct view *v, uint64_t index)
{
    must(index >= v->base && index <= v->last);
    size_t run = run_of(v, index);
    v->run_head += run;
    v->run_count -= run;
    v->runs[v->run_head].first = index;
    v->base = index;
    if (v->durable < index)
        v->durable = index;
    while (v->stretch_count > 0) {
        const struct view_stretch *s = v->stretches + v->stretch_head;
        if (s->first > index)
            break;
        if (v->stretch_count == 1 ? v->durable > index : s[1].first > index + 1) {
            v->stretches[v->stretch_head].first = index + 1; /* still holds index + 1 */
            break;
        }
        v->stretch_head++;
        v->stretch_count--;
    }
    return v->runs[v->run_head].term;
}

bool view_set_base_term(struct view *v, uint64_t term)
{
    struct log_run *run = &v->runs[v->run_head];
    if (run->term == term)
        return true;
    if (run->term != 0 || (v->run_count > 1 ? run[1].term < term : v->base < v->last))
        return false;
    run->term = term;
    if (v->run_count > 1 && run[1].term == term) {
        run[1].first = v->base;
        v->run_head++;
        v->run_count--;
    }
    return true;
}

void view_frame(struct view *v, uint64_t first, uint64_t segment, uint64_t offset, uint64_t bytes)
{
    must(first > v->base && first <= v->last && first == v->durable + 1);
    v->durable = v->last;
    if (v->stretch_count > 0) {
        struct view_stretch *s = &v->stretches[v->stretch_head + v->stretch_count - 1];
        must(s->first < first);
        if (s->segment == segment && s->offset + s->bytes == offset && s->bytes + bytes <= VIEW_STRETCH_BYTES) {
            s->bytes += bytes;
            return;
        }
    }
    v->stretches = make_room(v->stretches, &v->stretch_head, v->stretch_count, &v->stretch_cap, sizeof *v->stretches);
    v->stretches[v->stretch_head + v->stretch_count++] =
        (struct view_stretch){.first = first, .segment = segment, .offset = offset, .bytes = bytes};
}

const struct view_stretch *view_find(const struct view *v, uint64_t index, uint64_t *out_last)
{
    const struct view_stretch *s = v->stretches + v->stretch_head;
    if (v->stretch_count == 0 || index < s[0].first || index > v->durable)
        return NULL;
    size_t low = 0, high = v->stretch_count - 1;
    while (low < high) {
        size_t mid = (low + high + 1) / 2;
        if (s[mid].first <= index)
            low = mid;
        else
            high = mid - 1;
    }
    *out_last = low + 1 < v->stretch_count ? s[low + 1].first - 1 : v->durable;
    return &s[low];
}

uint64_t view_reach(const struct view *v, uint64_t index, uint64_t bytes)
{
    uint64_t last, reached = index;
    const struct view_stretch *oldest = v->stretches + v->stretch_head, *s = view_find(v, index, &last);
    if (s == NULL)
        return v->base; /* nothing is known to be kept */
    for (; s->bytes <= bytes; s--) {
        bytes -= s->bytes;
        reached = s->first - 1;
        if (s == oldest)
            break;
    }
    return reached;
}

uint64_t view_oldest_segment(const struct view *v)
{
    return v->stretch_count == 0 ? 0 : v->stretches[v->stretch_head].segment;
}
