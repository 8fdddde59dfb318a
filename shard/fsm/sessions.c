/* sessions.c: the session table in memory: a ring of outcomes per session, indexed by seq. */
#include "shard/fsm/sessions.h"

#include <stdlib.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/failpoint.h"
#include "shard/fsm/session_record.h"
#include "shard/fsm/vkey.h"

/* A client that names more has only itself to blame; seq + 1 and done_below + window must not wrap. */
#define SESSIONS_SEQ_MAX (UINT64_MAX - LIMIT_SESSION_WINDOW)

struct session_backup {
    struct session_state state; /* its ring is in the arena */
};

struct session {
    struct list link;              /* in sessions.all, or in sessions.gone */
    struct list dirty;             /* in sessions.dirty */
    struct session_backup *backup; /* in the batch's arena; NULL: unchanged */
    bool created;                  /* since the last commit */
    struct session_state state;
};

void sessions_init(struct sessions *s)
{
    *s = (struct sessions){0};
    list_init(&s->all);
    list_init(&s->dirty);
    list_init(&s->gone);
}

static void session_free(struct session *session)
{
    free(session->state.ring);
    free(session);
}

void sessions_deinit(struct sessions *s)
{
    struct list *lists[] = {&s->all, &s->gone};
    for (size_t i = 0; i < 2; i++)
        LIST_EACH (at, lists[i])
            session_free(LIST_OWNER(at, struct session, link));
    hashmap_deinit(&s->by_id);
    buf_deinit(&s->record);
}

static struct session *insert(struct sessions *s, uint64_t id)
{
    struct session *session = calloc(1, sizeof *session);
    must(session != NULL); /* out of memory */
    session->state.id = id;
    list_init(&session->dirty);
    list_push(&s->all, &session->link);
    must(hashmap_put(&s->by_id, id, session) == NULL);
    return session;
}

static void mark_dirty(struct sessions *s, struct session *session)
{
    if (list_empty(&session->dirty))
        list_push(&s->dirty, &session->dirty);
}

static bool expired(const struct session *session, struct hlc now)
{
    uint64_t last = hlc_ms(session->state.last_used);
    return hlc_ms(now) > last && hlc_ms(now) - last > SESSIONS_TTL_MS;
}

static void remove_session(struct sessions *s, struct session *session, struct sum *sum)
{
    if (sum != NULL) {
        uint8_t id[8];
        put_le64(id, session->state.id);
        sum_add(sum, slice_make(id, sizeof id));
    }
    hashmap_remove(&s->by_id, session->state.id);
    list_remove(&session->dirty);
    list_remove(&session->link);
    list_push(&s->gone, &session->link);
}

static struct session *longest_unused(const struct sessions *s)
{
    struct session *found = NULL;
    LIST_EACH (at, &s->all) {
        struct session *session = LIST_OWNER(at, struct session, link);
        if (found == NULL || session->state.last_used.t < found->state.last_used.t)
            found = session;
    }
    must(found != NULL);
    return found;
}

void sessions_open(struct sessions *s, uint64_t id, struct hlc now, struct sum *sum)
{
    if (s->by_id.count >= LIMIT_SESSIONS)
        remove_session(s, longest_unused(s), sum);
    struct session *session = insert(s, id);
    session->created = true;
    session->state.last_used = now;
    mark_dirty(s, session);
}

/* Before the first change of a batch: a copy to go back to. */
static void keep_backup(struct session *session, struct arena *arena)
{
    if (session->backup != NULL || session->created)
        return;
    session->backup = arena_alloc(arena, sizeof *session->backup);
    session->backup->state = session->state;
    size_t bytes = session->state.cap * sizeof *session->state.ring;
    session->backup->state.ring = arena_alloc(arena, bytes);
    if (bytes > 0)
        memcpy(session->backup->state.ring, session->state.ring, bytes);
}

struct session *sessions_use(struct sessions *s, uint64_t id, struct hlc now, struct arena *arena)
{
    struct session *session = hashmap_get(&s->by_id, id);
    if (session == NULL)
        return NULL;
    if (expired(session, now)) {
        remove_session(s, session, NULL); /* the refusal it leads to is in the digest */
        return NULL;
    }
    keep_backup(session, arena);
    mark_dirty(s, session);
    session->state.last_used = hlc_max(session->state.last_used, now);
    return session;
}

void sessions_sweep(struct sessions *s, struct hlc now, struct sum *sum)
{
    LIST_EACH (at, &s->all) {
        struct session *session = LIST_OWNER(at, struct session, link);
        if (expired(session, now))
            remove_session(s, session, sum);
    }
}

void sessions_done_below(struct session *session, uint64_t done_below)
{
    struct session_state *state = &session->state;
    if (done_below > SESSIONS_SEQ_MAX)
        done_below = SESSIONS_SEQ_MAX;
    if (planted_bug("fsm.done_below_off_by_one") && done_below > 0)
        done_below++;
    if (done_below <= state->done_below)
        return;
    for (uint64_t seq = state->done_below; seq < done_below && seq < state->top; seq++)
        session_slot(state, seq)->known = false;
    state->done_below = done_below;
    if (state->top < done_below)
        state->top = done_below;
}

uint64_t sessions_below(const struct session *session)
{
    return session->state.done_below;
}

int sessions_outcome(const struct session *session, uint64_t seq, struct session_outcome *out)
{
    const struct session_state *state = &session->state;
    if (seq < state->done_below || seq - state->done_below >= LIMIT_SESSION_WINDOW)
        return HF_E_SESSION_WINDOW;
    if (seq >= state->top || !session_slot(state, seq)->known)
        return HF_E_NOT_FOUND;
    const struct session_ring *slot = session_slot(state, seq);
    *out = (struct session_outcome){.code = slot->code, .version = slot->version};
    return HF_OK;
}

void sessions_record(struct session *session, uint64_t seq, const struct session_outcome *outcome)
{
    session_state_set(&session->state, seq, outcome->code, outcome->version);
}

void sessions_write(struct sessions *s, struct store_batch *batch)
{
    uint8_t key[VKEY_SESSION_BYTES];
    LIST_EACH (at, &s->dirty) {
        const struct session *session = LIST_OWNER(at, struct session, dirty);
        buf_clear(&s->record);
        session_record_encode(&session->state, &s->record);
        vkey_session(session->state.id, key);
        store_batch_put(batch, slice_make(key, sizeof key), buf_slice(&s->record));
    }
    LIST_EACH (at, &s->gone) {
        vkey_session(LIST_OWNER(at, struct session, link)->state.id, key);
        store_batch_delete(batch, slice_make(key, sizeof key));
    }
}

void sessions_commit(struct sessions *s)
{
    LIST_EACH (at, &s->dirty) {
        struct session *session = LIST_OWNER(at, struct session, dirty);
        session->backup = NULL;
        session->created = false;
        list_remove(&session->dirty);
    }
    LIST_EACH (at, &s->gone)
        session_free(LIST_OWNER(at, struct session, link));
    list_init(&s->gone);
}

static void restore(struct session *session)
{
    if (session->backup == NULL)
        return;
    struct session_state state = session->backup->state;
    size_t bytes = state.cap * sizeof *state.ring;
    state.ring = bytes > 0 ? malloc(bytes) : NULL;
    must(bytes == 0 || state.ring != NULL); /* out of memory */
    if (bytes > 0)
        memcpy(state.ring, session->backup->state.ring, bytes);
    free(session->state.ring);
    session->state = state;
    session->backup = NULL;
}

/* Back into the list, by id: removed ones are old, so the search is from the front. */
static void reinsert(struct sessions *s, struct session *session)
{
    struct list *before = s->all.next;
    while (before != &s->all && LIST_OWNER(before, struct session, link)->state.id < session->state.id)
        before = before->next;
    list_remove(&session->link);
    list_push(before, &session->link);
    hashmap_put(&s->by_id, session->state.id, session);
}

void sessions_rollback(struct sessions *s)
{
    LIST_EACH (at, &s->dirty) {
        struct session *session = LIST_OWNER(at, struct session, dirty);
        list_remove(&session->dirty);
        if (session->created) {
            hashmap_remove(&s->by_id, session->state.id);
            list_remove(&session->link);
            session_free(session);
        } else {
            restore(session);
        }
    }
    LIST_EACH (at, &s->gone) {
        struct session *session = LIST_OWNER(at, struct session, link);
        if (session->created) {
            list_remove(&session->link);
            session_free(session);
            continue;
        }
        reinsert(s, session);
        restore(session);
    }
}

static int load_one(struct sessions *s, struct slice key, struct slice record, uint64_t applied)
{
    if (key.size != VKEY_SESSION_BYTES || s->by_id.count >= LIMIT_SESSIONS || get_be64(key.data + 1) > applied)
        return HF_E_CORRUPT;
    struct session *session = insert(s, get_be64(key.data + 1));
    if (planted_bug("fsm.sessions_forgotten"))
        return HF_OK;
    return session_record_decode(record, &session->state) ? HF_OK : HF_E_CORRUPT;
}

int sessions_load(struct sessions *s, struct store *store, uint64_t applied)
{
    struct store_iterator *it = store_iterator_new(store, false);
    const uint8_t first = VKEY_SESSION;
    int rc = HF_OK;
    store_iterator_seek(it, slice_make(&first, 1));
    for (; rc == HF_OK && store_iterator_valid(it); store_iterator_next(it)) {
        struct slice key = store_iterator_key(it);
        if (key.size < 1 || key.data[0] != VKEY_SESSION)
            break;
        rc = load_one(s, key, store_iterator_value(it), applied);
    }
    if (rc == HF_OK)
        rc = store_iterator_status(it);
    store_iterator_free(&it);
    return rc;
}
