/* model.c: random turns on a log, and the comparison with what it must hold. */
#include "tests/unit/shard/log/model.h"

#include <stdio.h>
#include <string.h>

static void change_hard_state(struct model *m, struct rig *rig, struct random *random)
{
    if (random_below(random, 6) == 0) {
        m->hs.term += 1 + random_below(random, 2);
        m->hs.vote = random_below(random, 4);
    } else if (random_below(random, 6) == 0 && m->hs.vote == 0) {
        m->hs.vote = 1 + random_below(random, 3);
    }
    uint64_t synced = log_synced(rig->log);
    if (m->hs.commit < synced && random_below(random, 2) == 0)
        m->hs.commit += random_below(random, synced - m->hs.commit + 1);
    log_set_hard_state(rig->log, m->hs);
    rig->term = m->hs.term;
}

static void append(struct model *m, struct rig *rig, struct random *random)
{
    size_t count = random_below(random, 3) == 0 ? random_below(random, 60) : random_below(random, 6);
    if (m->last + count >= MODEL_ENTRIES)
        count = 0;
    rig_append(rig, count);
    for (size_t i = 0; i < count; i++)
        m->terms[++m->last] = m->hs.term;
}

/* Behind the end, or at an entry that is not committed. */
static void restart(struct model *m, struct rig *rig, struct random *random)
{
    uint64_t keep = m->hs.commit > m->base ? m->hs.commit : m->base;
    uint64_t index = m->last + 1 + random_below(random, 20);
    if (m->last > keep && random_below(random, 3) == 0)
        index = keep + 1 + random_below(random, m->last - keep);
    if (index >= MODEL_ENTRIES)
        return;
    uint64_t term = m->hs.term - (m->hs.term > m->terms[m->last] ? random_below(random, 2) : 0);
    log_restart(rig->log, index, term);
    m->base = m->last = m->hs.commit = index;
    m->terms[index] = term;
}

void model_turn(struct model *m, struct rig *rig, struct random *random)
{
    change_hard_state(m, rig, random);
    for (uint64_t steps = random_below(random, 3) + 1; steps > 0; steps--) {
        uint64_t keep = m->hs.commit > m->base ? m->hs.commit : m->base;
        if (m->last > keep && random_below(random, 8) == 0) {
            uint64_t index = keep + 1 + random_below(random, m->last - keep);
            log_truncate(rig->log, index);
            m->last = index - 1;
        }
        if (m->restarts && random_below(random, 8) == 0)
            restart(m, rig, random);
        append(m, rig, random);
        uint64_t synced = log_synced(rig->log), most = m->hs.commit < synced ? m->hs.commit : synced;
        if (most > m->base && random_below(random, 10) == 0) {
            m->base += random_below(random, most - m->base + 1);
            must(log_trim(rig->log, m->base) == 0);
        }
    }
}

bool model_same_entries(const struct model *m, struct rig *rig)
{
    if (log_last(rig->log) != m->last)
        return false;
    for (uint64_t i = log_first(rig->log) - 1; i <= m->last; i++) {
        uint64_t term;
        if (log_term(rig->log, i, &term) != 0 || term != m->terms[i])
            return false;
    }
    return true;
}

bool model_same_vote(const struct model *m, const struct rig *rig)
{
    struct log_hard_state hs = log_hard_state(rig->log);
    return hs.term == m->hs.term && hs.vote == m->hs.vote;
}

bool model_recovered(struct model *m, const struct model *before, const struct model *after, struct rig *rig)
{
    bool old = model_same_entries(before, rig), new = model_same_entries(after, rig);
    uint64_t base = log_first(rig->log) - 1;
    struct log_hard_state hs = log_hard_state(rig->log);
    bool good = (old || new) && (base == before->base || base == after->base) &&
                (model_same_vote(before, rig) || model_same_vote(after, rig)) && hs.commit <= log_last(rig->log) &&
                hs.commit >= base &&
                (hs.commit <= before->hs.commit || hs.commit <= after->hs.commit || hs.commit == base);
    if (!good)
        fprintf(stderr,
                "log (%llu, %llu] term %llu vote %llu; before (%llu, %llu] %llu %llu, after (%llu, %llu] %llu %llu\n",
                (unsigned long long)base, (unsigned long long)log_last(rig->log), (unsigned long long)hs.term,
                (unsigned long long)hs.vote, (unsigned long long)before->base, (unsigned long long)before->last,
                (unsigned long long)before->hs.term, (unsigned long long)before->hs.vote,
                (unsigned long long)after->base, (unsigned long long)after->last, (unsigned long long)after->hs.term,
                (unsigned long long)after->hs.vote);
    *m = new ? *after : *before;
    m->base = base;
    m->hs = hs;
    rig->term = hs.term;
    return good && rig_check(rig);
}
