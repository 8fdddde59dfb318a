/* logtap.c: wrappers around the log's functions that keep a shadow of what they did and report it to the checkers. */
#include "tests/sim/logtap.h"

#include "common/base/arena.h"
#include "common/base/error.h"
#include "common/base/hashmap.h"
#include "tests/sim/node.h"
#include "tests/sim/sim.h"

#define READ_ENTRIES 64

int __real_log_open(const struct log_config *config, struct log **out, struct log_report *out_report,
                    char out_where[256]);
void __real_log_append(struct log *log, const struct log_entry *entries, size_t count);
void __real_log_truncate(struct log *log, uint64_t index);
void __real_log_set_hard_state(struct log *log, struct log_hard_state hs);
int __real_log_sync(struct log *log);
void __real_log_restart(struct log *log, uint64_t index, uint64_t term);
void __wrap_log_restart(struct log *log, uint64_t index, uint64_t term);
int __wrap_log_open(const struct log_config *config, struct log **out, struct log_report *out_report,
                    char out_where[256]);
void __wrap_log_append(struct log *log, const struct log_entry *entries, size_t count);
void __wrap_log_truncate(struct log *log, uint64_t index);
void __wrap_log_set_hard_state(struct log *log, struct log_hard_state hs);
int __wrap_log_sync(struct log *log);

static struct node *current; /* borrowed; NULL: nobody's */

void logtap_begin(struct node *node)
{
    current = node;
}

void logtap_end(void)
{
    current = NULL;
}

struct node *logtap_node(void)
{
    return current;
}

uint64_t logtap_hash(enum log_kind kind, struct slice data)
{
    uint64_t hash = hashmap_hash_bytes(data.data, data.size) * 31 + (uint64_t)kind;
    return hash == 0 ? 1 : hash;
}

void shadow_create(struct shadow *s, uint64_t index, uint64_t term)
{
    shadow_deinit(s);
    *s = (struct shadow){
        .base = index, .synced_base = index, .last = index, .synced_last = index, .changed_from = index + 1};
    s->hard = s->synced_hard = (struct log_hard_state){.term = term, .commit = index};
    column_set(&s->term, index, term);
    column_set(&s->synced_term, index, term);
}

void shadow_lose(struct shadow *s, uint64_t index, uint64_t term)
{
    struct column lost = s->lost_term;
    struct log_hard_state hard = s->synced_hard;
    uint64_t last = s->synced_last > s->lost_last ? s->synced_last : s->lost_last;
    for (uint64_t i = s->base + 1; i <= s->synced_last; i++)
        column_set(&lost, i, column_get(&s->synced_term, i));
    s->lost_term = (struct column){0};
    shadow_create(s, index, term);
    s->lost_term = lost;
    s->lost_last = last;
    hard.commit = index;
    s->hard = s->synced_hard = hard;
}

uint64_t shadow_durable(const struct shadow *s)
{
    uint64_t same = s->changed_from - 1;
    return same < s->synced_last ? same : s->synced_last;
}

void shadow_deinit(struct shadow *s)
{
    column_deinit(&s->term);
    column_deinit(&s->hash);
    column_deinit(&s->synced_term);
    column_deinit(&s->synced_hash);
    column_deinit(&s->opened_term);
    column_deinit(&s->opened_hash);
    column_deinit(&s->lost_term);
}

static void adopt(struct shadow *s, uint64_t index)
{
    column_set(&s->term, index, column_get(&s->opened_term, index));
    column_set(&s->hash, index, column_get(&s->opened_hash, index));
    column_set(&s->synced_term, index, column_get(&s->opened_term, index));
    column_set(&s->synced_hash, index, column_get(&s->opened_hash, index));
}

void shadow_adopt(struct shadow *s)
{
    for (uint64_t i = s->opened_first; i <= s->opened_last; i++)
        adopt(s, i);
    s->last = s->synced_last = s->opened_last;
    if (s->opened_first - 1 < s->base)
        s->base = s->synced_base; /* it did not begin anew after all */
    s->synced_base = s->base;
    s->changed_from = s->last + 1;
    s->hard = s->synced_hard = s->opened_hard;
}

/* Everything a log holds, into the shadow's opened_ part. */
static int read_opened(struct log *log, struct shadow *s)
{
    struct arena arena = {0};
    int rc = 0;
    s->opened_first = log_first(log);
    s->opened_last = log_last(log);
    s->opened_hard = log_hard_state(log);
    for (uint64_t at = s->opened_first; rc == 0 && at <= s->opened_last;) {
        struct log_entry *entries = NULL;
        size_t count = 0;
        rc = log_read(log, at, READ_ENTRIES, SIZE_MAX, &arena, &entries, &count);
        for (size_t i = 0; rc == 0 && i < count; i++, at++) {
            column_set(&s->opened_term, at, entries[i].term);
            column_set(&s->opened_hash, at, logtap_hash(entries[i].kind, entries[i].data));
        }
        arena_reset(&arena);
    }
    arena_deinit(&arena);
    return rc;
}

int __wrap_log_open(const struct log_config *config, struct log **out, struct log_report *out_report,
                    char out_where[256])
{
    int rc = __real_log_open(config, out, out_report, out_where);
    if (rc != 0 || current == NULL)
        return rc;
    rc = read_opened(*out, &current->shadow);
    if (rc != 0) { /* a log that opens can be read */
        log_close(out);
        return rc;
    }
    checks_see(current->sim,
               (struct check_event){.kind = CHECK_OPENED, .node = current, .index = current->shadow.opened_last});
    shadow_adopt(&current->shadow);
    return 0;
}

void __wrap_log_append(struct log *log, const struct log_entry *entries, size_t count)
{
    __real_log_append(log, entries, count);
    for (size_t i = 0; current != NULL && i < count; i++) {
        struct shadow *s = &current->shadow;
        uint64_t hash = logtap_hash(entries[i].kind, entries[i].data);
        checks_see(current->sim, (struct check_event){.kind = CHECK_APPENDED,
                                                      .node = current,
                                                      .index = entries[i].index,
                                                      .term = entries[i].term,
                                                      .hash = hash,
                                                      .other = column_get(&s->term, entries[i].index - 1)});
        column_set(&s->term, entries[i].index, entries[i].term);
        column_set(&s->hash, entries[i].index, hash);
        s->last = entries[i].index;
        if (s->last < s->changed_from)
            s->changed_from = s->last;
    }
}

void __wrap_log_truncate(struct log *log, uint64_t index)
{
    __real_log_truncate(log, index);
    if (current == NULL || index > current->shadow.last)
        return;
    current->shadow.last = index - 1;
    if (index < current->shadow.changed_from)
        current->shadow.changed_from = index;
}

void __wrap_log_set_hard_state(struct log *log, struct log_hard_state hs)
{
    __real_log_set_hard_state(log, hs);
    if (current != NULL)
        current->shadow.hard = hs;
}

int __wrap_log_sync(struct log *log)
{
    int rc = __real_log_sync(log);
    if (rc != 0 || current == NULL)
        return rc;
    struct shadow *s = &current->shadow;
    for (uint64_t i = s->changed_from; i <= s->last; i++) {
        column_set(&s->synced_term, i, column_get(&s->term, i));
        column_set(&s->synced_hash, i, column_get(&s->hash, i));
    }
    s->synced_last = s->last;
    s->synced_base = s->base;
    s->changed_from = s->last + 1;
    s->synced_hard = s->hard;
    return 0;
}

void __wrap_log_restart(struct log *log, uint64_t index, uint64_t term)
{
    __real_log_restart(log, index, term);
    if (current == NULL)
        return;
    struct shadow *s = &current->shadow;
    current->sim->result.restarts++;
    s->base = s->last = index;
    column_set(&s->term, index, term);
    column_set(&s->hash, index, 0);
    s->changed_from = index;
    s->hard = log_hard_state(log);
}
