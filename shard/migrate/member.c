/* member.c: see member.h. */
#include "shard/migrate/member.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "shard/log/look.h"
#include "shard/replica/swap.h"

#define SEGMENT_BYTES (64u << 20)
#define READ_ENTRIES 256
#define READ_BYTES (4u << 20)

static void log_path(const char *dir, const struct identity *id, char out[DIRECTORY_PATH_BYTES])
{
    if ((size_t)snprintf(out, DIRECTORY_PATH_BYTES, "%s/%s-%u", dir, id->engine, id->log_epoch) >= DIRECTORY_PATH_BYTES)
        refuse("%s: the path is too long", dir);
}

static void read_identity(const char *dir, struct identity *id)
{
    int rc = identity_read(disk_posix(), dir, id);
    if (rc == HF_E_ABSENT)
        refuse("%s is no replica's directory: it has no identity", dir);
    if (rc)
        refuse("%s/identity cannot be read: %s", dir, error_text(rc));
    if (id->cluster == 0)
        refuse("%s belongs to no cluster yet: there is nothing to change; give --engine at its first start", dir);
}

/* ---- looking ---- */

static bool in_use(const char *dir)
{
    char path[DIRECTORY_PATH_BYTES];
    snprintf(path, sizeof path, "%s/LOCK", dir);
    return disk_locked(path);
}

/* Where the log is now: in its place, or still where a swap that was killed behind its identity had made it. */
static void look_path(const char *dir, const struct identity *id, char out[DIRECTORY_PATH_BYTES])
{
    char folder[DIRECTORY_PATH_BYTES];
    bool placed = false;
    log_path(dir, id, out);
    if (disk_posix()->ops->exists(disk_posix(), out, &placed) != HF_OK || placed || id->left.epoch == 0)
        return;
    if ((size_t)snprintf(folder, sizeof folder, "%s/" SWAP_FOLDER, dir) >= sizeof folder)
        refuse("%s: the path is too long", dir);
    log_path(folder, id, out);
}

struct ahead { /* what the log holds behind the state */
    struct fsm_foresight sight;
    struct arena arena;
};

static bool on_entry(void *ctx, const struct log_entry *entry)
{
    struct ahead *a = ctx;
    arena_reset(&a->arena);
    return entry->index == a->sight.applied.index + 1 && fsm_foresee(&a->sight, entry, &a->arena);
}

/* Where the state is sealed the log says no more: whatever it holds behind that counts for nothing. */
static void look_at_log(struct member_look *l)
{
    char path[DIRECTORY_PATH_BYTES];
    struct log_look log;
    struct ahead ahead = {0};
    bool due = swap_due(&l->info, &l->id);
    fsm_foresee_begin(&l->info, &ahead.sight);
    if (swap_precedes(&l->info, &l->id))
        ahead.sight.applied.epoch = l->id.log_epoch;
    look_path(l->dir, &l->id, path);
    log_look_from(path, l->info.applied.index + 1, due ? NULL : on_entry, &ahead, &log);
    arena_deinit(&ahead.arena);
    if (log.code || log.hard_code)
        snprintf(l->trouble, sizeof l->trouble, "%.400s cannot be read: %s %s; start the replica, and let it heal",
                 path, error_text(log.code ? log.code : log.hard_code), log.where);
    l->last = log.last;
    l->last_term = log.last >= log.first ? log.last_term : log.base_term;
    if (due || fsm_foreseen_seal(&ahead.sight))
        l->seal = ahead.sight.migration.seal;
}

void member_look(const char *dir, struct arena *arena, struct member_look *out)
{
    char path[DIRECTORY_PATH_BYTES], where[256] = "";
    *out = (struct member_look){.dir = dir, .used = in_use(dir)};
    read_identity(dir, &out->id);
    if (out->used)
        return;
    snprintf(path, sizeof path, "%s/fsm", dir);
    int rc = fsm_peek(path, arena, &out->info, where);
    if (rc)
        snprintf(out->trouble, sizeof out->trouble, "%.400s cannot be read: %s: %s; start the replica, and let it heal",
                 path, error_text(rc), where);
    else
        look_at_log(out);
}

/* ---- bringing it to where the group ends ---- */

static void on_result(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    (void)ctx, (void)index, (void)term, (void)position, (void)r;
}

static void read_entries(struct member *m, uint64_t from, uint64_t most, struct arena *arena, struct log_entry **out,
                         size_t *out_count)
{
    arena_reset(arena);
    int rc =
        log_read(m->log, from, most < READ_ENTRIES ? (size_t)most : READ_ENTRIES, READ_BYTES, arena, out, out_count);
    if (rc)
        refuse("the raft log of %s cannot be read: %s: %s", m->dir, error_text(rc), log_where(m->log));
}

static void apply(struct member *m, const struct log_entry *entry)
{
    int rc = fsm_apply(m->d.fsm, entry, 1, on_result,
                       NULL); /* one a call: some must be alone or the last, and nobody waits */
    if (rc)
        refuse("%s cannot apply entry %" PRIu64 ": %s; %s", m->d.fsm_dir, entry->index, disk_error_text(rc),
               directory_advice(rc));
}

/* A seal on the way is the last one: the group ends there. */
static void replay(struct member *m, uint64_t index)
{
    struct arena arena = {0};
    for (uint64_t at; (at = fsm_info(m->d.fsm)->applied.index) < index;) {
        struct log_entry *entries;
        size_t count;
        read_entries(m, at + 1, index - at, &arena, &entries, &count);
        for (size_t i = 0; i < count; i++)
            apply(m, &entries[i]);
    }
    arena_deinit(&arena);
}

/* Does the log hold a seal behind the state? */
static void foresee(struct member *m)
{
    struct ahead ahead = {0};
    struct arena arena = {0};
    uint64_t last = log_last(m->log);
    bool more = true;
    fsm_foresee_begin(fsm_info(m->d.fsm), &ahead.sight);
    while (more && ahead.sight.applied.index < last) {
        struct log_entry *entries;
        size_t count, i = 0;
        read_entries(m, ahead.sight.applied.index + 1, last - ahead.sight.applied.index, &arena, &entries, &count);
        while (more && i < count)
            more = on_entry(&ahead, &entries[i++]);
    }
    if (fsm_foreseen_seal(&ahead.sight))
        m->seal = ahead.sight.migration.seal;
    arena_deinit(&ahead.arena);
    arena_deinit(&arena);
}

static bool holds(struct log *log, uint64_t index, uint64_t term)
{
    uint64_t known = 0;
    return log_term(log, index, &known) == HF_OK && known == term;
}

/* The last entry that both logs hold; logs with one in common are the same before it. 0: none that they still hold. */
static uint64_t agree(struct log *a, struct log *b)
{
    uint64_t term, index = log_last(a) < log_last(b) ? log_last(a) : log_last(b);
    while (index > 0 && (log_term(a, index, &term) != HF_OK || !holds(b, index, term)))
        index--;
    return index;
}

static void give(struct member *m, const struct member *from, uint64_t index)
{
    struct arena arena = {0};
    while (log_last(m->log) < index) {
        struct log_entry *entries;
        size_t count;
        uint64_t left = index - log_last(m->log);
        arena_reset(&arena);
        int rc = log_read(from->log, log_last(m->log) + 1, left < READ_ENTRIES ? (size_t)left : READ_ENTRIES,
                          READ_BYTES, &arena, &entries, &count);
        if (rc)
            refuse("the raft log of %s cannot be read: %s: %s", from->dir, error_text(rc), log_where(from->log));
        log_append(m->log, entries, count);
        rc = log_sync(m->log);
        if (rc)
            refuse("the raft log of %s cannot be written: %s; %s", m->dir, disk_error_text(rc), directory_advice(rc));
    }
    arena_deinit(&arena);
}

/* Its log goes on as that of `from`, as it would if that one led: what it holds itself behind their last common entry goes. */
static void catch_up(struct member *m, const struct member *from, uint64_t index)
{
    uint64_t common = agree(m->log, from->log), term = log_hard_state(from->log).term;
    struct log_hard_state hs = log_hard_state(m->log);
    if (term > hs.term)
        log_set_hard_state(m->log, (struct log_hard_state){.term = term, .commit = hs.commit});
    if (common < log_last(m->log))
        log_truncate(m->log, common + 1);
    give(m, from, index);
}

static const struct member *holder(const struct member *m, const struct member *all, size_t count, uint64_t index,
                                   uint64_t term)
{
    for (size_t i = 0; i < count; i++)
        if (!all[i].done && holds(all[i].log, index, term) &&
            agree(m->log, all[i].log) >= fsm_info(m->d.fsm)->applied.index)
            return &all[i];
    return NULL;
}

void member_follow(struct member *m, const struct member *all, size_t count, uint64_t index, uint64_t term)
{
    uint64_t applied = fsm_info(m->d.fsm)->applied.index;
    const struct identity_left *left = &m->d.id.left;
    if (m->done && left->epoch && (left->index != index || left->term != term))
        refuse("%s went over at %" PRIu64 ":%" PRIu64 ", not at %" PRIu64 ":%" PRIu64 "; replace this replica", m->dir,
               left->index, left->term, index, term);
    if (m->done)
        return;
    if (applied > index)
        refuse("the state of %s is at index %" PRIu64 ", beyond %" PRIu64 ":%" PRIu64
               ", where a majority of the logs end; start the group, and stop it again",
               m->dir, applied, index, term);
    if (!holds(m->log, index, term)) {
        const struct member *from = holder(m, all, count, index, term);
        if (!from)
            refuse("the log of %s ends at %" PRIu64 ":%" PRIu64 " and does not hold %" PRIu64 ":%" PRIu64
                   ", nor is there one here that it could follow; start the group, let it catch up, and stop it again",
                   m->dir, m->last, m->last_term, index, term);
        catch_up(m, from, index);
    }
    replay(m, index);
    must(fsm_sealed(fsm_info(m->d.fsm)) == (m->seal.epoch != 0)); /* what comes from another's log holds no seal */
}

static void open_log(struct member *m)
{
    char path[DIRECTORY_PATH_BYTES], where[256] = "";
    struct log_report report;
    uint64_t term = 0;
    const struct fsm_info *info = fsm_info(m->d.fsm);
    log_path(m->dir, &m->d.id, path);
    struct log_config config = {.disk = disk_posix(), .dir = path, .segment_bytes = SEGMENT_BYTES};
    int rc = log_open(&config, &m->log, &report, where);
    if (rc)
        refuse("%s cannot be opened: %s: %s; start the replica, and let it heal", path, error_text(rc), where);
    if (log_last(m->log) < info->applied.index || log_term(m->log, info->applied.index, &term) != HF_OK ||
        term != info->applied.term) /* I5 */
        refuse("%s does not hold what the state machine has applied, index %" PRIu64
               "; start the replica, and let it heal",
               path, info->applied.index);
    m->last = log_last(m->log);
    rc = log_term(m->log, m->last, &m->last_term);
    must(rc == HF_OK);
}

/* ---- the directory ---- */

static void open_directory(struct member *m, const struct identity *id)
{
    Hf__Catalog__Members *peers = NULL;
    int rc = peers_read(disk_posix(), m->dir, &peers);
    if (rc)
        refuse("%s/peers cannot be read: %s; bring the file back or replace this replica", m->dir, error_text(rc));
    const Hf__Catalog__Member *self = directory_member(peers, id->replica);
    snprintf(m->raft, sizeof m->raft, "%s", self ? self->raft_endpoint : "");
    snprintf(m->client, sizeof m->client, "%s", self ? self->client_endpoint : "");
    hf__catalog__members__free_unpacked(peers, NULL);
    struct directory_config config = {.disk = disk_posix(),
                                      .dir = m->dir,
                                      .group = id->group,
                                      .replica = id->replica,
                                      .raft_endpoint = m->raft,
                                      .client_endpoint = m->client,
                                      .segment_bytes = SEGMENT_BYTES};
    directory_open(&m->d, &config);
    directory_open_fsm(&m->d);
}

void member_open(struct member *m, const char *dir)
{
    struct identity id;
    *m = (struct member){.dir = dir};
    read_identity(dir, &id);
    open_directory(m, &id);
    if (!m->d.fsm || m->d.install_pending || m->d.id.recovering)
        refuse("%s is not whole: %s; start the replica, and let it heal", dir,
               m->d.where[0] ? m->d.where : "its log and state do not belong together yet");
    open_log(m);
    foresee(m);
}

/* Where no entry did. */
static void seal(struct directory *d, const char *target)
{
    int rc = fsm_seal_offline(d->fsm, d->id.engine, target);
    if (rc == HF_E_REFUSED)
        refuse("%s: this group was made by an earlier version (feature level %u, a change of engine needs %u)",
               d->config.dir, fsm_info(d->fsm)->feature_level, FSM_FEATURE_MIGRATE);
    if (rc)
        refuse("%s cannot be sealed: %s; %s", d->fsm_dir, disk_error_text(rc), directory_advice(rc));
}

void member_change(struct member *m, const char *target)
{
    struct directory *d = &m->d;
    if (m->done)
        return;
    log_close(&m->log);
    crash_point("migrate.before_seal");
    if (m->seal.epoch == 0)
        seal(d, target);
    must(strcmp(fsm_info(d->fsm)->migration.seal.target, target) == 0);
    crash_point("migrate.after_seal");
    directory_leave_epoch(d);
}

void member_close(struct member *m)
{
    if (m->log)
        log_close(&m->log);
    directory_close(&m->d);
}
