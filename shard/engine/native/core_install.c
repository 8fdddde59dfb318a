/* core_install.c: the state machine came from elsewhere: the log follows it. */
#include "common/base/error.h"
#include "shard/engine/native/core_state.h"

/* The configuration as of the installed index. One that the log holds behind it stays in force. */
static void take_config(struct core *c, const struct core_installed *at, bool kept)
{
    if (!kept || c->config.index <= at->index) {
        c->config = *at->config;
        c->previous.count = 0;
    } else if (c->previous.count == 0 || c->previous.index <= at->index) {
        c->previous = *at->config;
    }
    core_config_refresh(c);
    core_election_role_from_config(c);
    c->changed = true;
}

int core_install(struct core *c, const struct core_installed *at, struct core_orders *out)
{
    uint64_t term;
    bool kept = core_term_at(c, at->index, &term) && term == at->term;
    bool back = !c->held && at->index < c->applied && (c->bugs & CORE_BUG_INSTALL_BACK) == 0;
    if (at->index < c->runs[0].first || back)
        return HF_E_INVALID;
    if (c->role == CORE_LEADER)
        return HF_E_BUSY; /* who asked it for something waits for the entry to be applied */
    if (!kept && at->index <= c->commit)
        return HF_E_CORRUPT;
    uint64_t last = c->last;
    if (at->term > c->term || c->role == CORE_CANDIDATE || c->role == CORE_PRECANDIDATE)
        core_election_follow(c, at->term > c->term ? at->term : c->term, 0, c->self);
    if (!kept) {
        core_log_restart(c, at->index, at->term);
        c->ack = (struct core_ack){0}; /* what it and the late ones promise is about entries that are gone */
        c->late_count = 0;
        out->restart = true;
        out->index = at->index;
        out->term = at->term;
    }
    c->hard_state_dirty = true; /* nothing leaves before it is durable */
    if (c->commit < at->index)
        c->commit = at->index;
    c->applied = at->index;
    c->held = false;
    c->need_from = 0;
    c->need_index = 0;
    take_config(c, at, kept);
    core_trace(c, kept ? CORE_TRACE_INSTALLED : CORE_TRACE_RESTARTED, at->index, last);
    return HF_OK;
}
