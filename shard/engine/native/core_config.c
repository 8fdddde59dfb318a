/* core_config.c: the group's members: the configuration in force is the latest in the log, committed or not (Raft
 * §4.1). */
#include "common/base/error.h"
#include "shard/engine/native/core_state.h"

static const struct core_member *find(const struct core_config *config, uint32_t id)
{
    for (uint32_t i = 0; i < config->count; i++) {
        if (config->members[i].id == id)
            return &config->members[i];
    }
    return NULL;
}

/* Peers are the members but us; who stays keeps its progress. */
void core_config_refresh(struct core *c)
{
    uint32_t kept = 0;
    const struct core_member *self = find(&c->config, c->self);
    must(c->config.count <= LIMIT_PEERS);
    c->self_voter = self != NULL && self->voter;
    c->voters = 0;
    c->cursor = 0;
    for (uint32_t i = 0; i < c->config.count; i++)
        c->voters += c->config.members[i].voter;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        const struct core_member *m = find(&c->config, c->peers[i].id);
        if (m == NULL || m->id == c->self)
            continue;
        if (kept != i)
            c->peers[kept] = c->peers[i];
        c->peers[kept++].voter = m->voter;
    }
    c->peer_count = kept;
    for (uint32_t i = 0; i < c->config.count; i++) {
        const struct core_member *m = &c->config.members[i];
        if (m->id == c->self || core_peer(c, m->id) != NULL)
            continue;
        struct core_peer *p = &c->peers[c->peer_count++];
        *p = (struct core_peer){.id = m->id, .voter = m->voter};
        core_replicate_begin(c, p);
    }
}

void core_config_install(struct core *c, const struct core_config *config, uint64_t index)
{
    c->previous = c->config;
    c->config = *config;
    c->config.index = index;
    core_config_refresh(c);
    core_election_role_from_config(c);
    c->changed = true; /* the driver's caller must know whom to reach */
    core_trace(c, CORE_TRACE_CONFIG, index, config->count);
}

/* The log was cut: a configuration in the dropped part never was. One at most is not committed (core_config_change). */
void core_config_truncated(struct core *c, uint64_t from)
{
    if (c->config.index < from || c->previous.count == 0)
        return;
    uint64_t dropped = c->config.index;
    c->config = c->previous;
    c->previous.count = 0;
    core_config_refresh(c);
    core_election_role_from_config(c);
    c->changed = true;
    core_trace(c, CORE_TRACE_CONFIG_ROLLBACK, c->config.index, dropped);
}

/* Quorums of two configurations overlap only if they differ by one server. */
static bool single_change(const struct core_config *a, const struct core_config *b)
{
    uint32_t differing = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct core_member *m = find(b, a->members[i].id);
        differing += m == NULL || m->voter != a->members[i].voter;
    }
    for (uint32_t i = 0; i < b->count; i++)
        differing += find(a, b->members[i].id) == NULL;
    return differing <= 1;
}

bool core_config_sane(const struct core_config *config)
{
    uint32_t voters = 0;
    if (config->count == 0 || config->count > LIMIT_PEERS)
        return false;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct core_member *m = &config->members[i];
        if (m->id == 0 || find(config, m->id) != m)
            return false;
        voters += m->voter;
    }
    return voters > 0;
}

int core_config_change(struct core *c, const struct core_config *config, struct core_orders *out)
{
    if (c->role != CORE_LEADER)
        return HF_E_NOT_LEADER;
    bool own_term = c->commit >= c->noop || (c->bugs & CORE_BUG_CHANGE_EARLY) != 0;
    if (c->transferee != 0 || !own_term || c->commit < c->config.index)
        return HF_E_BUSY;
    if (config->index != c->config.index)
        return HF_E_COMPARE_FAILED;
    if (!core_config_sane(config) || !single_change(&c->config, config))
        return HF_E_INVALID;
    out->append = CORE_APPEND_PROPOSED;
    out->index = c->last + 1;
    out->term = c->term;
    out->count = 1;
    core_log_append(c, c->term, 1);
    core_config_install(c, config, c->last);
    return HF_OK;
}
