/* native_turn.c: the phases of a turn: events into the core, its orders into the log, messages and entries out. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/engine/base/committed.h"
#include "shard/engine/native/native_state.h"

_Static_assert((int)CORE_SNAPSHOT_REPLY == (int)HF__RAFT__KIND__SNAPSHOT_REPLY, "message kinds are the wire's");
_Static_assert(CORE_RECOVERING_FORGOT == ENGINE_RECOVERING_FORGOT, "the number is the caller's");
_Static_assert((int)LOG_CONFIG == (int)HF__RAFT__ENTRY_KIND__CONFIG, "entry kinds are the wire's");

/* The core allocates nothing: its array of runs grows here, before an event may need the room. */
static void make_room(struct engine *e)
{
    if (core_runs_room(e->core) >= CORE_RUNS_ROOM)
        return;
    size_t cap = core_runs_cap(e->core) * 2;
    struct core_run *runs = malloc(cap * sizeof *runs);
    must(runs != NULL);
    free(core_give_runs(e->core, runs, cap));
    e->runs = runs;
}

static void tell_hard_state(struct engine *e)
{
    struct core_hard_state hs = core_hard_state(e->core);
    if (hs.term == e->saved.term && hs.vote == e->saved.vote && hs.commit == e->saved.commit)
        return;
    log_set_hard_state(e->log, (struct log_hard_state){.term = hs.term, .vote = hs.vote, .commit = hs.commit});
    e->saved = hs;
}

/* The term is the log's bound and comes first; the commit index comes with the restart, it means nothing in the old log.
 */
static void restart_log(struct engine *e, uint64_t index, uint64_t term)
{
    struct core_hard_state hs = core_hard_state(e->core);
    uint64_t commit = log_hard_state(e->log).commit;
    log_set_hard_state(e->log, (struct log_hard_state){.term = hs.term, .vote = hs.vote, .commit = commit});
    log_restart(e->log, index, term);
}

int native_feed(struct engine *e, const struct core_event *event, const struct log_entry *entries)
{
    struct core_orders orders;
    make_room(e);
    int rc = core_step(e->core, event, &orders);
    if (orders.restart)
        restart_log(e, orders.index, orders.term);
    if (orders.truncate != 0) {
        log_truncate(e->log, orders.truncate);
        native_members_truncated(e, orders.truncate);
    }
    switch (orders.append) {
    case CORE_APPEND_NOTHING:
        break;
    case CORE_APPEND_MESSAGE:
        must(entries != NULL && entries[orders.skip].index == orders.index);
        log_append(e->log, entries + orders.skip, orders.count);
        native_members_appended(e, entries + orders.skip, orders.count);
        break;
    case CORE_APPEND_PROPOSED: {
        must(orders.count == 1 && entries != NULL);
        struct log_entry entry = *entries;
        entry.index = orders.index;
        entry.term = orders.term;
        log_append(e->log, &entry, 1);
        break;
    }
    case CORE_APPEND_NOOP: {
        struct log_entry noop = {.index = orders.index, .term = orders.term, .kind = LOG_NOOP};
        log_append(e->log, &noop, 1);
        break;
    }
    }
    return rc;
}

static struct log_entry *batch_of(struct engine *e, size_t count)
{
    if (count > e->batch_cap) {
        free(e->batch);
        e->batch_cap = count + count / 2;
        e->batch = malloc(e->batch_cap * sizeof *e->batch);
        must(e->batch != NULL);
    }
    return e->batch;
}

/* The entries of a message, checked (I11), as the core and as the log want them. False: malformed, the message is
 * dropped. */
static bool decode_entries(struct engine *e, const Hf__Raft__Raft *m, struct core_entry *entries,
                           struct log_entry *batch)
{
    for (size_t i = 0; i < m->n_entries; i++) {
        const Hf__Raft__Entry *entry = m->entries[i];
        if ((unsigned)entry->kind > LOG_CONFIG || entry->data.len > LIMIT_ENTRY_BYTES)
            return false;
        batch[i] = (struct log_entry){.index = m->index + 1 + i,
                                      .term = entry->term,
                                      .kind = (enum log_kind)entry->kind,
                                      .data = pack_slice(entry->data)};
        entries[i] = (struct core_entry){.term = entry->term};
        if (batch[i].kind != LOG_CONFIG)
            continue;
        const Hf__Catalog__Members *members = pack_unpack(&hf__catalog__members__descriptor, batch[i].data, &e->in);
        struct core_config *config = arena_alloc(&e->in, sizeof *config);
        if (members == NULL || native_members_core(members, config) != HF_OK)
            return false;
        entries[i].config = config;
    }
    return true;
}

void native_receive(struct engine *e, uint32_t from, const Hf__Raft__Raft *m)
{
    if ((unsigned)m->kind > CORE_SNAPSHOT_REPLY || m->n_entries > CORE_MESSAGE_ENTRIES)
        return;
    struct core_message message = {.kind = (enum core_kind)m->kind,
                                   .peer = from,
                                   .term = m->term,
                                   .index = m->index,
                                   .log_term = m->log_term,
                                   .commit = m->commit,
                                   .round = m->round,
                                   .reject = m->reject,
                                   .transfer = m->transfer,
                                   .recovering = m->recovering,
                                   .recovered = m->recovered,
                                   .entry_count = m->n_entries};
    struct log_entry *batch = batch_of(e, m->n_entries);
    struct core_event event = {.kind = CORE_EVENT_RECEIVE, .message = &message};
    if (m->n_entries > 0) {
        struct core_entry *entries = arena_alloc(&e->in, m->n_entries * sizeof *entries);
        if (!decode_entries(e, m, entries, batch)) {
            diag(DIAG_WARN, "raft message refused from=%" PRIu32 " index=%" PRIu64 " reason=entry", from, m->index);
            arena_reset(&e->in);
            return;
        }
        message.entries = entries;
    }
    (void)native_feed(e, &event, batch); /* messages are never refused with a code */
    arena_reset(&e->in);
}

int native_propose(struct engine *e, enum log_kind kind, struct slice data, uint64_t *out_index, uint64_t *out_term)
{
    if (data.size > LIMIT_ENTRY_BYTES)
        return HF_E_LIMIT;
    if (kind == LOG_CONFIG)
        return HF_E_INVALID; /* configurations change through `change` */
    struct log_entry entry = {.kind = kind, .data = data};
    uint64_t index = core_last(e->core) + 1;
    if (planted_bug("native.lose_entry") && index % 16 == 0)
        entry = (struct log_entry){.kind = LOG_NOOP}; /* acknowledged, and nowhere */
    int rc = native_feed(e, &(struct core_event){.kind = CORE_EVENT_PROPOSE, .count = 1}, &entry);
    if (rc == HF_OK) {
        *out_index = index;
        *out_term = core_hard_state(e->core).term;
    }
    return rc;
}

int native_barrier(struct engine *e, uint64_t id)
{
    return native_feed(e, &(struct core_event){.kind = CORE_EVENT_BARRIER, .id = id}, NULL);
}

void native_tick(struct engine *e, uint64_t now_ns)
{
    (void)native_feed(e, &(struct core_event){.kind = CORE_EVENT_TICK, .now_ns = now_ns}, NULL);
}

void native_campaign(struct engine *e)
{
    (void)native_feed(e, &(struct core_event){.kind = CORE_EVENT_CAMPAIGN}, NULL);
}

int native_transfer(struct engine *e, uint32_t to)
{
    return native_feed(e, &(struct core_event){.kind = CORE_EVENT_TRANSFER, .to = to}, NULL);
}

static void print_traces(struct engine *e)
{
    static const struct {
        const char *text, *a, *b;
        enum diag_level level;
    } lines[] = {
        [CORE_TRACE_ROLE] = {"role changed", "role", "term", DIAG_DEBUG},
        [CORE_TRACE_TERM] = {"term raised", "term", "from", DIAG_DEBUG},
        [CORE_TRACE_VOTED] = {"voted", "for", "term", DIAG_DEBUG},
        [CORE_TRACE_LEADER] = {"leader known", "leader", "term", DIAG_DEBUG},
        [CORE_TRACE_TRUNCATED] = {"log truncated", "from", "last", DIAG_INFO},
        [CORE_TRACE_CONFIG] = {"configuration", "index", "members", DIAG_INFO},
        [CORE_TRACE_CONFIG_ROLLBACK] = {"configuration rolled back", "index", "dropped", DIAG_INFO},
        [CORE_TRACE_PEER_PROBE] = {"peer is probed", "peer", "next", DIAG_DEBUG},
        [CORE_TRACE_PEER_SNAPSHOT] = {"peer needs a snapshot", "peer", "base", DIAG_WARN},
        [CORE_TRACE_PEER_BEHIND] = {"peer misses what it acknowledged", "peer", "match", DIAG_WARN},
        [CORE_TRACE_SNAPSHOT_NEEDED] = {"this replica needs a snapshot", "leader", "index", DIAG_WARN},
        [CORE_TRACE_QUORUM_LOST] = {"quorum lost", "heard", "voters", DIAG_WARN},
        [CORE_TRACE_TRANSFER] = {"leadership is handed over", "to", "last", DIAG_INFO},
        [CORE_TRACE_TRANSFER_FAILED] = {"leadership was not taken over", "to", "match", DIAG_WARN},
        [CORE_TRACE_REFUSED] = {"raft message refused", "from", "kind", DIAG_WARN},
        [CORE_TRACE_INSTALLED] = {"the log goes on behind the installed state", "index", "last", DIAG_INFO},
        [CORE_TRACE_RESTARTED] = {"the log begins anew behind the installed state", "index", "last", DIAG_WARN},
        [CORE_TRACE_PEER_RECOVERING] = {"peer lost its log and is in no quorum", "peer", "until", DIAG_WARN},
        [CORE_TRACE_PEER_RECOVERED] = {"peer is in every quorum again", "peer", "match", DIAG_INFO},
        [CORE_TRACE_RECOVERED] = {"this log is complete again", "leader", "last", DIAG_INFO},
    };
    static const char *const roles[] = {"follower", "precandidate", "candidate", "leader", "learner"};
    struct core_trace t;
    while (core_next_trace(e->core, &t)) {
        if (t.kind == CORE_TRACE_ROLE)
            diag(lines[t.kind].level, "role changed role=%s term=%" PRIu64, roles[t.a], t.b);
        else
            diag(lines[t.kind].level, "%s %s=%" PRIu64 " %s=%" PRIu64, lines[t.kind].text, lines[t.kind].a, t.a,
                 lines[t.kind].b, t.b);
    }
}

/* What became of the inputs, told to the replica; never from inside one of its own calls to receive, propose or tick.
 */
static void report(struct engine *e)
{
    uint64_t id, index;
    if (core_changed(e->core))
        e->env.changed(e->env.ctx);
    while (core_next_barrier(e->core, &id, &index))
        e->env.barrier_ready(e->env.ctx, id, index);
    print_traces(e);
}

/* Behind the turn's sync, so that what it was said of is durable. */
static void report_late(struct engine *e)
{
    uint32_t from;
    uint64_t index, term;
    report(e);
    if (core_next_need(e->core, &from, &index, &term))
        e->env.snapshot_needed(e->env.ctx, from, index, term);
    if (core_recovery_due(e->core) && e->env.recovered(e->env.ctx) == HF_OK)
        (void)native_feed(e, &(struct core_event){.kind = CORE_EVENT_RECOVERED}, NULL);
}

void native_step(struct engine *e)
{
    (void)native_feed(e, &(struct core_event){.kind = CORE_EVENT_TURN}, NULL);
    report(e);
}

static void pack(const struct engine *e, const struct core_message *m, Hf__Raft__Raft *out)
{
    hf__raft__raft__init(out);
    out->kind = (Hf__Raft__Kind)m->kind;
    out->term = m->term;
    out->index = m->index;
    out->log_term = m->log_term;
    out->commit = m->commit;
    out->reject = m->reject;
    out->round = m->round;
    out->transfer = m->transfer;
    out->recovering = core_recovering(e->core);
    out->recovered = m->recovered;
}

struct outgoing { /* entries of the last append of this turn: followers that keep up are sent the same */
    uint64_t first;
    size_t asked, count, bytes;
    Hf__Raft__Entry **entries; /* in e->out, payloads borrowed from the log */
};

static int read_entries(struct engine *e, const struct core_message *m, struct outgoing *o)
{
    struct log_entry *entries;
    size_t count;
    if (o->count != 0 && o->first == m->index + 1 && o->asked == m->entry_count)
        return HF_OK;
    int rc = log_read(e->log, m->index + 1, m->entry_count, m->entry_bytes, &e->out, &entries, &count);
    if (rc != HF_OK)
        return rc;
    must(count >= 1 && count <= m->entry_count);
    Hf__Raft__Entry *packed = arena_alloc(&e->out, count * sizeof *packed);
    *o = (struct outgoing){.first = m->index + 1, .asked = m->entry_count, .count = count};
    o->entries = arena_alloc(&e->out, count * sizeof *o->entries);
    for (size_t i = 0; i < count; i++) {
        hf__raft__entry__init(&packed[i]);
        packed[i].term = entries[i].term;
        packed[i].kind = (Hf__Raft__EntryKind)entries[i].kind;
        packed[i].data = pack_bytes(entries[i].data);
        o->entries[i] = &packed[i];
        o->bytes += entries[i].data.size;
    }
    return HF_OK;
}

void native_send_early(struct engine *e)
{
    struct core_message m;
    struct outgoing o = {0};
    arena_reset(&e->out);
    if (planted_bug("native.ack_before_sync"))
        native_send_late(e);
    while (e->failed == HF_OK && core_next_early(e->core, &m)) {
        Hf__Raft__Raft raft;
        size_t entries = 0;
        if (m.entry_count > 0) {
            int rc = read_entries(e, &m, &o);
            if (rc != HF_OK) {
                e->failed = rc; /* persist says so and the process ends; nothing more is promised */
                return;
            }
            entries = o.count;
            core_sent(e->core, &m, o.count, o.bytes);
        }
        pack(e, &m, &raft);
        raft.n_entries = entries;
        raft.entries = o.entries;
        e->env.send(e->env.ctx, m.peer, &raft);
    }
}

int native_persist(struct engine *e)
{
    if (e->failed != HF_OK)
        return e->failed;
    tell_hard_state(e);
    if (log_dirty(e->log)) {
        int rc = log_sync(e->log);
        if (rc != HF_OK)
            return rc;
    }
    (void)native_feed(e, &(struct core_event){.kind = CORE_EVENT_PERSISTED, .index = log_synced(e->log)}, NULL);
    return HF_OK;
}

void native_send_late(struct engine *e)
{
    struct core_message m;
    Hf__Raft__Raft raft;
    while (core_next_late(e->core, &m)) {
        pack(e, &m, &raft);
        e->env.send(e->env.ctx, m.peer, &raft);
    }
}

int native_apply(struct engine *e)
{
    uint64_t limit = core_apply_limit(e->core), before = e->applied;
    if (core_held(e->core)) {
        report_late(e);
        return HF_E_NOT_READY;
    }
    int unreadable = HF_OK;
    int rc = committed_apply(&e->env, e->log, &e->applied, limit, &e->out, &unreadable);
    if (unreadable != HF_OK)
        return e->failed = unreadable; /* said by the next persist */
    if (e->applied > before)
        (void)native_feed(e, &(struct core_event){.kind = CORE_EVENT_APPLIED, .index = e->applied}, NULL);
    report_late(e); /* a sync or an apply may have changed what we are; told also while apply waits */
    return rc != HF_OK ? rc : core_apply_limit(e->core) > e->applied ? 1 : 0;
}

int native_committed(struct engine *e, uint64_t index, uint64_t term)
{
    const struct core_event event = {.kind = CORE_EVENT_COMMITTED, .committed = {index, term}};
    return native_feed(e, &event, NULL);
}

int native_trim(struct engine *e, uint64_t index)
{
    if (index > e->applied)
        return HF_E_INVALID; /* I4 is the caller's to keep; what is not applied at all is surely wrong */
    if (index <= core_base(e->core))
        return HF_OK;
    int rc = log_trim(e->log, index);
    if (rc != HF_OK)
        return rc;
    return native_feed(e, &(struct core_event){.kind = CORE_EVENT_TRIMMED, .index = index}, NULL);
}

int native_install(struct engine *e, uint64_t index, uint64_t term, const Hf__Catalog__Members *members)
{
    struct core_config config;
    struct core_installed installed = {.index = index, .term = term, .config = &config};
    uint64_t known;
    if (e->failed != HF_OK)
        return e->failed;
    if (index > CORE_INDEX_MAX || term > CORE_INDEX_MAX || members->index > index ||
        native_members_core(members, &config) != HF_OK)
        return HF_E_INVALID;
    bool kept = core_term_at(e->core, index, &known) && known == term;
    int rc = native_feed(e, &(struct core_event){.kind = CORE_EVENT_INSTALLED, .installed = &installed}, NULL);
    if (rc != HF_OK)
        return rc;
    e->applied = index;
    native_members_installed(e, index, members, kept);
    return native_persist(e);
}
