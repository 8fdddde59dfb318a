/* libraft_send.c: messages out: appends before our own disk, everything else behind it (I7), large ones in pieces (G6). */
#include <inttypes.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/engine/libraft/libraft_state.h"

struct piece { /* of an append: what one message carries */
    Hf__Raft__Entry entry[LIBRAFT_MESSAGE_ENTRIES];
    Hf__Raft__Entry *pointer[LIBRAFT_MESSAGE_ENTRIES];
    size_t count, bytes;
};

static void piece_add(struct piece *p, uint64_t term, bool noop, struct slice data)
{
    Hf__Raft__Entry *entry = &p->entry[p->count];
    hf__raft__entry__init(entry);
    entry->term = term;
    entry->kind = noop ? HF__RAFT__ENTRY_KIND__NOOP : HF__RAFT__ENTRY_KIND__COMMAND;
    entry->data = pack_bytes(data);
    p->pointer[p->count++] = entry;
    p->bytes += data.size;
}

/* Sends m with the piece behind m->index, whose commit it vouches for as far as it goes; m moves behind it. */
static void send_piece(struct engine *e, const struct waiting_message *w, Hf__Raft__Raft *m, struct piece *p)
{
    uint64_t commit = w->m.commit, upto = m->index + p->count;
    m->commit = commit < upto || planted_bug("libraft.whole_commit") ? commit : upto;
    m->n_entries = p->count;
    m->entries = p->pointer;
    e->env.send(e->env.ctx, w->to, m);
    if (p->count > 0)
        m->log_term = p->entry[p->count - 1].term;
    m->index = upto;
    p->count = p->bytes = 0;
}

/* libraft sends all it has, whatever that is. The rest of a long tail is sent when the peer has rejected what comes behind
 * it, or answered what came before. */
static void send_entries(struct engine *e, const struct waiting_message *w)
{
    Hf__Raft__Raft m = w->m;
    struct piece *p = arena_alloc(&e->out_arena, sizeof *p);
    size_t sent = 0;
    p->count = p->bytes = 0;
    for (size_t i = 0; i < w->count && sent < LIBRAFT_BURST_BYTES; i++) {
        bool noop = w->entries[i].type == RAFT_BARRIER;
        struct slice data = {w->entries[i].buf.base, noop ? 0 : w->entries[i].buf.len};
        if (p->count == LIBRAFT_MESSAGE_ENTRIES || (p->count > 0 && p->bytes + data.size > LIBRAFT_MESSAGE_BYTES)) {
            sent += p->bytes;
            send_piece(e, w, &m, p);
        }
        piece_add(p, w->entries[i].term, noop, data);
    }
    send_piece(e, w, &m, p);
}

/* As many entries of the log behind m.index as one message carries. */
static void send_fed(struct engine *e, const struct waiting_message *w)
{
    Hf__Raft__Raft m = w->m;
    struct piece *p = arena_alloc(&e->out_arena, sizeof *p);
    struct log_entry *entries;
    size_t count = 0;
    p->count = p->bytes = 0;
    if (m.index < log_first(e->log) - 1 || m.index > log_last(e->log))
        return; /* the log moved since */
    if (m.index < log_last(e->log)) {
        int rc = log_read(e->log, m.index + 1, LIBRAFT_MESSAGE_ENTRIES, LIBRAFT_MESSAGE_BYTES, &e->out_arena, &entries,
                          &count);
        if (rc != HF_OK) {
            e->failed = rc; /* persist says so and the process ends */
            return;
        }
    }
    for (size_t i = 0; i < count; i++)
        piece_add(p, entries[i].term, entries[i].kind == LOG_NOOP, entries[i].data);
    send_piece(e, w, &m, p);
}

static void send_one(struct engine *e, struct waiting_message *w)
{
    struct peer *p = libraft_peer(e, w->to);
    if (w->m.kind == HF__RAFT__KIND__APPEND) {
        w->m.round = e->round_last;
        w->m.recovered = p != NULL && p->brought && p->still_recovering ? p->recovering : 0;
    }
    if (w->feed)
        send_fed(e, w);
    else if (w->m.kind == HF__RAFT__KIND__APPEND)
        send_entries(e, w);
    else
        e->env.send(e->env.ctx, w->to, &w->m);
    arena_reset(&e->out_arena);
}

/* What speaks of entries is worth nothing when its term is over: they may be gone. */
static bool of_a_term(Hf__Raft__Kind kind)
{
    return kind == HF__RAFT__KIND__APPEND || kind == HF__RAFT__KIND__APPEND_REPLY || kind == HF__RAFT__KIND__SNAPSHOT;
}

/* Sends what may leave now, in order; the rest stays. */
static void flush(struct engine *e, bool early)
{
    size_t count = e->out_count, kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct waiting_message *w = &e->out[i];
        if (early && w->m.kind != HF__RAFT__KIND__APPEND) {
            e->out[kept++] = *w;
            continue;
        }
        if (!of_a_term(w->m.kind) || w->m.term == e->raft.current_term)
            send_one(e, w);
        if (w->cb != NULL)
            w->cb(w->req, 0);
    }
    must(e->out_count == count); /* sending asks for no more */
    e->out_count = kept;
}

void libraft_send_early(struct engine *e)
{
    if (e->failed == HF_OK && !e->promised)
        flush(e, true);
    if (planted_bug("libraft.answer_before_sync"))
        flush(e, false);
}

void libraft_send_late(struct engine *e)
{
    if (e->failed == HF_OK && !e->promised) /* acknowledged is what was stored, also while the disk is full */
        flush(e, false);
    libraft_io_idle(e);
}
