/* libraft_io.c: what libraft asks for: its log and vote in ours, messages put into line, memory it may forget. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "shard/engine/base/committed.h"
#include "shard/engine/libraft/libraft_state.h"

static struct engine *engine_of(struct raft_io *io)
{
    return io->impl;
}

static void *owned(size_t size) /* libraft frees it */
{
    void *p = raft_malloc(size > 0 ? size : 1);
    must(p != NULL);
    return p;
}

/* ---- start ---- */

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io, (void)id, (void)address;
    return 0;
}

static int io_start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick, raft_io_recv_cb receive)
{
    (void)ms; /* every turn ticks */
    engine_of(io)->on_tick = tick;
    engine_of(io)->on_receive = receive;
    return 0;
}

/* A group's first entry is made by `create`; configurations do not change. */
static int io_refuse(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)io, (void)conf;
    return RAFT_CANTBOOTSTRAP;
}

/* All members. Who must not lead, and who must not vote (I13), is a stand-by to itself: what it says of itself to
 * libraft concerns nobody else. */
static void give_configuration(struct engine *e, struct raft_configuration *out)
{
    size_t voters = 0;
    raft_configuration_init(out);
    for (uint32_t i = 0; i < e->peer_count; i++)
        voters += e->peers[i].voter;
    for (uint32_t i = 0; i < e->peer_count; i++) {
        const struct peer *p = &e->peers[i];
        bool barred = p->id == e->env.replica && (e->env.recovering != 0 || (e->env.held && voters == 1));
        char address[16];
        snprintf(address, sizeof address, "%u", p->id);
        must(raft_configuration_add(out, p->id, address, p->voter && !barred ? RAFT_VOTER : RAFT_STANDBY) == 0);
    }
}

/* What is surely committed: libraft starts as if a snapshot covered it. */
static struct raft_snapshot *give_snapshot(struct engine *e, uint64_t index)
{
    struct raft_snapshot *s = owned(sizeof *s);
    uint64_t term = 0;
    must(log_term(e->log, index, &term) == HF_OK);
    *s = (struct raft_snapshot){.index = index, .term = term, .configuration_index = e->members->index};
    give_configuration(e, &s->configuration);
    s->bufs = owned(sizeof *s->bufs);
    s->bufs[0] = (struct raft_buffer){.base = owned(1), .len = 1};
    s->n_bufs = 1;
    return s;
}

static void drop_entries(struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || entries[i].batch != entries[i - 1].batch)
            raft_free(entries[i].batch);
    }
    raft_free(entries);
}

/* One stretch of the log becomes one batch of memory. HF_E_FORMAT: not an entry of this engine's. */
static int give_stretch(const struct log_entry *entries, size_t count, struct raft_entry *out)
{
    size_t bytes = 0, used = 0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind == LOG_CONFIG)
            return HF_E_FORMAT;
        bytes += entries[i].data.size;
    }
    uint8_t *batch = owned(bytes);
    for (size_t i = 0; i < count; i++) {
        struct slice data = entries[i].data;
        if (data.size > 0)
            memcpy(batch + used, data.data, data.size);
        out[i] = (struct raft_entry){.term = entries[i].term,
                                     .type = entries[i].kind == LOG_NOOP ? RAFT_BARRIER : RAFT_COMMAND,
                                     .buf = {.base = batch + used, .len = data.size},
                                     .batch = batch};
        used += data.size;
    }
    return HF_OK;
}

/* Entries [first, last] of the log. */
static int give_entries(struct engine *e, uint64_t first, uint64_t last, struct raft_entry **out)
{
    struct raft_entry *all = owned((last - first + 1) * sizeof *all);
    for (uint64_t at = first; at <= last;) {
        struct log_entry *entries;
        size_t count;
        int rc = log_read(e->log, at, COMMITTED_ENTRIES, COMMITTED_BYTES, &e->in, &entries, &count);
        if (rc == HF_OK)
            rc = give_stretch(entries, count, all + (at - first));
        arena_reset(&e->in);
        if (rc != HF_OK) {
            drop_entries(all, at - first);
            return rc;
        }
        at += count;
    }
    *out = all;
    return HF_OK;
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                   raft_index *start, struct raft_entry **entries, size_t *count)
{
    struct engine *e = engine_of(io);
    struct log_hard_state hs = log_hard_state(e->log);
    uint64_t base = log_first(e->log) - 1, last = log_last(e->log), sure = hs.commit;
    if (sure < e->applied)
        sure = e->applied;
    if (sure > last)
        sure = last;
    if (sure < base)
        sure = base;
    uint64_t behind =
        sure <= base ? base
                     : log_reach(e->log, sure < log_synced(e->log) ? sure : log_synced(e->log), LIBRAFT_KEEP_BYTES);
    *term = hs.term;
    *vote = hs.vote;
    *start = behind + 1;
    *count = last - behind;
    *entries = NULL;
    if (*count > 0)
        e->failed = give_entries(e, behind + 1, last, entries);
    if (e->failed != HF_OK)
        return RAFT_IOERR; /* libraft_begin says which */
    *snapshot = give_snapshot(e, sure);
    return 0;
}

/* ---- term, vote, entries: durable before anything leaves that rests on them ---- */

void libraft_io_promise(struct engine *e, uint64_t term, uint64_t vote)
{
    struct log_hard_state hs = log_hard_state(e->log);
    log_set_hard_state(e->log, (struct log_hard_state){.term = term, .vote = vote, .commit = hs.commit});
    e->promised = true;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    uint64_t now = log_hard_state(engine_of(io)->log).term;
    must(term >= now);
    if (term > now)
        libraft_io_promise(engine_of(io), term, 0);
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    struct log_hard_state hs = log_hard_state(engine_of(io)->log);
    if (hs.vote != 0 && hs.vote != id) { /* G3 */
        must(planted_bug("libraft.second_vote"));
        return 0;
    }
    libraft_io_promise(engine_of(io), hs.term, id);
    return 0;
}

static int io_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry *entries, unsigned n,
                     raft_io_append_cb cb)
{
    struct engine *e = engine_of(io);
    uint64_t first = log_last(e->log) + 1;
    if (e->append_count == e->append_cap) {
        e->append_cap = e->append_cap * 2 + 16;
        e->appends = realloc(e->appends, e->append_cap * sizeof *e->appends);
        must(e->appends != NULL);
    }
    for (unsigned i = 0; i < n; i++) {
        bool noop = entries[i].type == RAFT_BARRIER;
        must(noop || entries[i].type == RAFT_COMMAND);
        struct log_entry entry = {.index = first + i, .term = entries[i].term, .kind = noop ? LOG_NOOP : LOG_COMMAND};
        if (!noop)
            entry.data = (struct slice){entries[i].buf.base, entries[i].buf.len};
        log_append(e->log, &entry, 1);
    }
    e->appends[e->append_count++] = (struct waiting_append){
        .req = req, .cb = cb, .term = e->raft.current_term, .last = first + n - 1, .round = e->answering.round};
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct engine *e = engine_of(io);
    must(index > libraft_commit(e));
    if (index <= log_last(e->log)) {
        diag(DIAG_INFO, "log truncated from=%" PRIu64 " last=%" PRIu64, (uint64_t)index, log_last(e->log));
        log_truncate(e->log, index);
    }
    return 0;
}

void libraft_io_stored(struct engine *e)
{
    size_t count = e->append_count;
    for (size_t i = 0; i < count; i++) {
        struct waiting_append a = e->appends[i];
        bool late = a.term != e->raft.current_term && !planted_bug("libraft.answer_new_term"); /* G2 */
        e->answering.stored = true;
        e->answering.mute = late;
        e->answering.upto = a.last;
        e->answering.round = a.round;
        a.cb(a.req, 0);
        memset(&e->answering, 0, sizeof e->answering);
        libraft_look(e);
    }
    must(e->append_count == count); /* storing asks for no more */
    e->append_count = 0;
}

/* ---- messages ---- */

struct waiting_message *libraft_io_queue(struct engine *e, Hf__Raft__Kind kind, uint32_t to)
{
    if (e->out_count == LIBRAFT_OUT_MAX)
        return NULL; /* as a network would */
    struct waiting_message *w = &e->out[e->out_count++];
    *w = (struct waiting_message){.to = to, .m = HF__RAFT__RAFT__INIT};
    w->m.kind = kind;
    w->m.term = e->raft.current_term;
    w->m.recovering = e->env.recovering;
    return w;
}

static struct waiting_message *queue_append(struct engine *e, uint32_t to, const struct raft_append_entries *a)
{
    struct peer *p = libraft_peer(e, to);
    must(p != NULL && a->term == e->raft.current_term);
    libraft_feed_look(e, p);
    if (libraft_feed_needed(e, p)) {
        libraft_feed_send(e, p);
        return NULL;
    }
    struct waiting_message *w = libraft_io_queue(e, HF__RAFT__KIND__APPEND, to);
    if (w == NULL)
        return NULL;
    w->m.index = a->prev_log_index;
    w->m.log_term = a->prev_log_term;
    w->m.commit = a->leader_commit;
    w->entries = a->entries;
    w->count = a->n_entries;
    return w;
}

/* The answer vouches for what the message carried and not further: a tail behind it may be stale. libraft would name its
 * last entry (G13). */
static struct waiting_message *queue_append_reply(struct engine *e, uint32_t to,
                                                  const struct raft_append_entries_result *a)
{
    if (e->answering.mute)
        return NULL;
    must(e->answering.message || e->answering.stored);
    bool reject = a->rejected != 0 || (e->answering.message && a->term > e->answering.term);
    uint64_t index = a->last_log_index;
    if (!reject && index > e->answering.upto && !planted_bug("libraft.answer_tail"))
        index = e->answering.upto;
    struct waiting_message *w = e->out_count > 0 ? &e->out[e->out_count - 1] : NULL;
    if (!reject && w != NULL && w->to == to && w->m.kind == HF__RAFT__KIND__APPEND_REPLY && !w->m.reject &&
        w->m.term == e->raft.current_term) { /* one answer says it all */
        w->m.index = index > w->m.index ? index : w->m.index;
        w->m.round = e->answering.round > w->m.round ? e->answering.round : w->m.round;
        return NULL;
    }
    w = libraft_io_queue(e, HF__RAFT__KIND__APPEND_REPLY, to);
    if (w == NULL)
        return NULL;
    w->m.round = e->answering.round;
    w->m.reject = reject;
    w->m.index = index;
    w->m.commit = reject ? a->rejected : 0;
    return w;
}

static struct waiting_message *queue_vote(struct engine *e, uint32_t to, const struct raft_request_vote *v)
{
    struct waiting_message *w = libraft_io_queue(e, v->pre_vote ? HF__RAFT__KIND__PREVOTE : HF__RAFT__KIND__VOTE, to);
    if (w == NULL)
        return NULL;
    w->m.term = v->term;
    w->m.index = v->last_log_index;
    w->m.log_term = v->last_log_term;
    w->m.transfer = v->disrupt_leader;
    return w;
}

static struct waiting_message *queue_vote_reply(struct engine *e, uint32_t to, const struct raft_request_vote_result *v)
{
    bool pre = v->pre_vote == raft_tribool_true;
    struct waiting_message *w =
        libraft_io_queue(e, pre ? HF__RAFT__KIND__PREVOTE_REPLY : HF__RAFT__KIND__VOTE_REPLY, to);
    if (w == NULL)
        return NULL;
    w->m.term = v->term;
    w->m.reject = !v->vote_granted;
    if (pre && w->m.reject && e->raft.current_term > w->m.term && !planted_bug("libraft.term_unsaid"))
        w->m.term = e->raft.current_term; /* G15: it would name the candidate's, who then never learns of ours */
    return w;
}

static struct waiting_message *queue_timeout_now(struct engine *e, uint32_t to, const struct raft_timeout_now *t)
{
    struct waiting_message *w = libraft_io_queue(e, HF__RAFT__KIND__TIMEOUT_NOW, to);
    if (w == NULL)
        return NULL;
    w->m.index = t->last_log_index;
    w->m.log_term = t->last_log_term;
    return w;
}

/* Never fails (G7); what waits for it hears of it after the sending phases. `message` is gone on return. A TIMEOUT_NOW's
 * `req` is libraft's again at once (G11): it comes without a callback. */
static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb)
{
    struct engine *e = engine_of(io);
    uint32_t to = (uint32_t)message->server_id;
    struct waiting_message *w = NULL;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        w = queue_append(e, to, &message->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        w = queue_append_reply(e, to, &message->append_entries_result);
        break;
    case RAFT_IO_REQUEST_VOTE:
        w = queue_vote(e, to, &message->request_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        w = queue_vote_reply(e, to, &message->request_vote_result);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        (void)queue_timeout_now(e, to, &message->timeout_now);
        return 0;
    default:
        must(false); /* no snapshot leaves through libraft */
    }
    if (w != NULL) {
        w->req = req;
        w->cb = cb;
        return 0;
    }
    if (e->unsent_count == e->unsent_cap) {
        e->unsent_cap = e->unsent_cap * 2 + 16;
        e->unsent = realloc(e->unsent, e->unsent_cap * sizeof *e->unsent);
        must(e->unsent != NULL);
    }
    e->unsent[e->unsent_count++] = (struct unsent_message){req, cb};
    return 0;
}

/* ---- snapshots: there are none; this is how libraft's memory is kept small ---- */

/* libraft wants to send one: the follower is behind what it has in memory. It hears, outside of its own call, that there is
 * none, and leaves the follower alone until an answer lifts it; libraft_feed.c sees to that (G7). */
static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct engine *e = engine_of(io);
    if (planted_bug("libraft.snapshot_failed"))
        return RAFT_NOCONNECTION;   /* and it asks again, with every proposal */
    must(e->fetches < LIMIT_PEERS); /* one a peer: it is left alone then */
    e->fetch[e->fetches] = req;
    e->on_fetched[e->fetches++] = cb;
    return 0;
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct engine *e = engine_of(io);
    (void)snapshot;
    must(trailing > 0 && e->forget == NULL); /* its own; one from elsewhere never reaches libraft */
    e->forget = req;
    e->on_forgotten = cb;
    return 0;
}

void libraft_io_idle(struct engine *e)
{
    while (e->fetches > 0) {
        uint32_t at = --e->fetches;
        e->on_fetched[at](e->fetch[at], NULL, RAFT_NOTFOUND);
        libraft_look(e);
    }
    if (e->forget != NULL) {
        struct raft_io_snapshot_put *req = e->forget;
        e->forget = NULL;
        raft_set_snapshot_threshold(&e->raft, UINT32_MAX);
        e->on_forgotten(req, 0);
        libraft_look(e);
    }
    for (size_t i = 0; i < e->unsent_count; i++)
        e->unsent[i].cb(e->unsent[i].req, 0);
    e->unsent_count = 0;
}

void libraft_io_forget(struct engine *e)
{
    uint64_t commit = e->raft.commit_index;
    if (e->forget != NULL || commit > log_synced(e->log) || commit <= log_first(e->log))
        return;
    if (log_first(e->log) - 1 > e->raft.log.offset || log_reach(e->log, commit, LIBRAFT_RAM_BYTES) > e->raft.log.offset)
        raft_set_snapshot_threshold(&e->raft, 1); /* with the next commit */
}

void libraft_io_cancel(struct engine *e)
{
    for (size_t i = 0; i < e->append_count; i++)
        e->appends[i].cb(e->appends[i].req, 0); /* (for a second failure it would cut its log behind the end) */
    e->append_count = 0;
    for (size_t i = 0; i < e->out_count; i++) {
        if (e->out[i].cb != NULL)
            e->out[i].cb(e->out[i].req, RAFT_CANCELED);
    }
    e->out_count = 0;
    for (size_t i = 0; i < e->batch_count; i++)
        raft_free(e->batch[i].base);
    e->batch_count = e->batch_bytes = 0;
    libraft_io_idle(e);
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    libraft_io_cancel(engine_of(io));
    cb(io);
}

static raft_time io_time(struct raft_io *io)
{
    return engine_of(io)->now_ns / 1000000;
}

/* For election time-outs, which libraft draws from 1 to 2 times: 1 to 1.3, as everywhere. */
static int io_random(struct raft_io *io, int min, int max)
{
    uint64_t span = (uint64_t)(max - min) * 3 / 10;
    return min + (int)random_below(&engine_of(io)->random, span + 1);
}

/* ---- the state machine is not libraft's: apply reads the log behind its commit index ---- */

static int fsm_ignore(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)fsm, (void)buf;
    *result = NULL;
    return 0;
}

/* Called where libraft has taken over all commits, before it forgets. */
static int fsm_forget(struct raft_fsm *fsm, struct raft_buffer **bufs, unsigned *n)
{
    struct engine *e = fsm->data;
    uint64_t at = e->raft.last_applied;
    if (at > log_synced(e->log) || at <= log_first(e->log))
        return RAFT_BUSY;
    uint64_t keep = log_reach(e->log, at, LIBRAFT_KEEP_BYTES); /* not below what is left of the log */
    uint64_t trailing = keep < at ? at - keep : 1;
    raft_set_snapshot_trailing(&e->raft, trailing < UINT32_MAX ? (unsigned)trailing : UINT32_MAX);
    *bufs = owned(sizeof **bufs);
    (*bufs)[0] = (struct raft_buffer){.base = owned(1), .len = 1};
    *n = 1;
    return 0;
}

static int fsm_there_already(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    raft_free(buf->base);
    return 0;
}

void libraft_io_init(struct engine *e)
{
    e->io = (struct raft_io){
        .version = 1,
        .impl = e,
        .init = io_init,
        .close = io_close,
        .load = io_load,
        .start = io_start,
        .bootstrap = io_refuse,
        .recover = io_refuse,
        .set_term = io_set_term,
        .set_vote = io_set_vote,
        .send = io_send,
        .append = io_append,
        .truncate = io_truncate,
        .snapshot_put = io_snapshot_put,
        .snapshot_get = io_snapshot_get,
        .time = io_time,
        .random = io_random,
    };
    e->fsm = (struct raft_fsm){
        .version = 1, .data = e, .apply = fsm_ignore, .snapshot = fsm_forget, .restore = fsm_there_already};
}
