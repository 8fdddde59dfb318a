/* test_checkpoint.c: a checkpoint made while the machine goes on is exactly the state its own meta says; sent through a
 * stream and put in another machine's place it stays so, also over the crash points of an install. */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/pack.h"
#include "shard/snapshot/install.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

extern char **environ;

#define SEED 20264
#define BUFFER_BYTES (64 * 1024)
#define CUT_MAX 20
#define CHECKPOINTS 6
#define ENTRIES_EACH 30
#define ENTRIES_MAX 100000

static const char *self;

static void ignore(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    (void)ctx, (void)index, (void)term, (void)position, (void)r;
}

/* Configurations of the random history have no members; these have as many as the index says. */
static struct slice members_as_of(uint64_t index, struct arena *arena)
{
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    Hf__Catalog__Member each[3], *list[3];
    struct buf packed = {0};
    for (unsigned i = 0; i < 3; i++) {
        each[i] = (Hf__Catalog__Member)HF__CATALOG__MEMBER__INIT;
        each[i].replica = i + 1;
        list[i] = &each[i];
    }
    members.index = index;
    members.n_members = 1 + index % 3;
    members.members = list;
    pack_append(&members.base, &packed);
    struct slice copy = arena_copy(arena, buf_slice(&packed));
    buf_deinit(&packed);
    return copy;
}

/* `count` more entries of the history, in one batch. */
static void advance(struct machine *m, size_t count)
{
    struct log_entry entries[CUT_MAX];
    arena_reset(&m->arena);
    for (size_t i = 0; i < count; i++) {
        uint64_t index = fsm_info(m->fsm)->applied.index + 1 + i;
        entries[i] = machine_random(SEED, index, &m->arena);
        if (entries[i].kind == LOG_CONFIG)
            entries[i].data = members_as_of(index, &m->arena);
    }
    must(fsm_apply(m->fsm, entries, count, ignore, NULL) == HF_OK);
}

static void start_small(struct machine *m) /* memtables that fill up: flushes go on all the time */
{
    machine_start(m, "", "", true);
    machine_close(m);
    m->config.buffer_bytes = BUFFER_BYTES;
    machine_open(m);
}

static bool same_content(struct fsm *a, struct fsm *b)
{
    struct buf left = {0}, right = {0};
    machine_dump(a, &left);
    machine_dump(b, &right);
    bool same = slice_equal(buf_slice(&left), buf_slice(&right)) &&
                memcmp(fsm_info(a)->digest, fsm_info(b)->digest, DIGEST_BYTES) == 0;
    buf_deinit(&left);
    buf_deinit(&right);
    return same;
}

/* The machine in `dir` against one that applied the same history to the index it says. */
static bool as_replayed(const char *dir, struct machine *reference)
{
    struct machine m = {.config = {.dir = dir}};
    struct arena arena = {0};
    struct fsm_info info = {0};
    char where[256] = "";
    bool good = fsm_peek(dir, &arena, &info, where) == HF_OK && machine_try_open(&m);
    if (good) {
        const struct fsm_info *opened = fsm_info(m.fsm);
        good = opened->applied.index == info.applied.index && opened->applied.term == info.applied.term &&
               opened->applied.epoch == info.applied.epoch && opened->ceiling.t == info.ceiling.t &&
               opened->cluster == info.cluster && opened->group == info.group &&
               opened->members->n_members == info.members->n_members &&
               memcmp(opened->digest, info.digest, DIGEST_BYTES) == 0;
        while (fsm_info(reference->fsm)->applied.index < info.applied.index)
            advance(reference, 1);
        good = good && fsm_info(reference->fsm)->applied.index == info.applied.index &&
               same_content(m.fsm, reference->fsm);
    } else {
        fprintf(stderr, "%s: %s\n", dir, where);
    }
    machine_close(&m);
    arena_deinit(&arena);
    return good;
}

/* ---- while writes go on ---- */

struct maker {
    struct fsm *fsm;
    const char *top;
    _Atomic uint64_t written; /* entries: a good many before each checkpoint */
    atomic_uint made;
    int rc;
};

static void *make(void *arg)
{
    struct maker *maker = arg;
    for (unsigned i = 0; i < CHECKPOINTS; i++) {
        char dir[64], where[256] = "";
        while (atomic_load(&maker->written) < (i + 1) * ENTRIES_EACH)
            usleep(100);
        snprintf(dir, sizeof dir, "%s/checkpoint-%u", maker->top, i);
        int rc = fsm_checkpoint(maker->fsm, dir, where);
        if (rc != HF_OK)
            fprintf(stderr, "%s: %s\n", error_name(rc), where);
        maker->rc = maker->rc == HF_OK ? rc : maker->rc;
        atomic_fetch_add(&maker->made, 1);
    }
    return NULL;
}

static void while_writes_go_on(void)
{
    struct machine m, reference;
    char top[] = "/tmp/hf-snap-XXXXXX";
    must(mkdtemp(top) != NULL);
    start_small(&m);
    machine_start(&reference, "", "", true);
    struct maker maker = {.fsm = m.fsm, .top = top};
    struct random random = {SEED};
    pthread_t thread;
    uint64_t last = 0;
    must(pthread_create(&thread, NULL, make, &maker) == 0);
    while (atomic_load(&maker.made) < CHECKPOINTS) {
        if (fsm_info(m.fsm)->applied.index < ENTRIES_MAX) /* enough, however late the other thread is */
            advance(&m, 1 + (size_t)random_below(&random, CUT_MAX));
        else
            usleep(1000);
        atomic_store(&maker.written, fsm_info(m.fsm)->applied.index);
    }
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(maker.rc, HF_OK);
    for (unsigned i = 0; i < CHECKPOINTS; i++) {
        char dir[64], where[256];
        struct arena arena = {0};
        struct fsm_info info = {0};
        snprintf(dir, sizeof dir, "%s/checkpoint-%u", top, i);
        CU_ASSERT_EQUAL(fsm_peek(dir, &arena, &info, where), HF_OK);
        CU_ASSERT(info.applied.index >= last + (i > 0 ? 0 : 1) && info.applied.index <= fsm_info(m.fsm)->applied.index);
        CU_ASSERT(as_replayed(dir, &reference));
        last = info.applied.index;
        arena_deinit(&arena);
    }
    CU_ASSERT(last > 100);
    must(disk_remove_tree(disk_posix(), top) == HF_OK);
    machine_stop(&m);
    machine_stop(&reference);
}

/* What is there under the name goes; what cannot be made says so; with RocksDB's own log on, too. */
static void again_and_nowhere(void)
{
    struct machine m, reference;
    char top[] = "/tmp/hf-snap-XXXXXX", dir[64], where[256] = "";
    must(mkdtemp(top) != NULL);
    machine_start(&m, "", "", true);
    machine_close(&m);
    m.config.sync_writes = true;
    machine_open(&m);
    machine_start(&reference, "", "", true);
    snprintf(dir, sizeof dir, "%s/c", top);
    for (unsigned i = 0; i < 3; i++) {
        advance(&m, CUT_MAX);
        CU_ASSERT_EQUAL(fsm_checkpoint(m.fsm, dir, where), HF_OK);
        CU_ASSERT(as_replayed(dir, &reference));
        CU_ASSERT_EQUAL(fsm_info(reference.fsm)->applied.index, fsm_info(m.fsm)->applied.index);
    }
    snprintf(dir, sizeof dir, "%s/none/c", top);
    CU_ASSERT_NOT_EQUAL(fsm_checkpoint(m.fsm, dir, where), HF_OK);
    CU_ASSERT(where[0] != '\0');
    struct arena arena = {0};
    struct fsm_info info = {.group = 77};
    CU_ASSERT_EQUAL(fsm_peek(dir, &arena, &info, where), HF_E_ABSENT);
    CU_ASSERT_EQUAL(info.group, 77);
    advance(&m, 1); /* and goes on */
    arena_deinit(&arena);
    must(disk_remove_tree(disk_posix(), top) == HF_OK);
    machine_stop(&m);
    machine_stop(&reference);
}

static void note_name(void *ctx, const char *name)
{
    buf_append(ctx, name, strlen(name) + 1);
}

/* A look changes nothing, not even a name. */
static void a_look_changes_nothing(void)
{
    struct machine m;
    struct arena arena = {0};
    struct fsm_info info = {0};
    struct buf before = {0}, after = {0};
    char where[256];
    machine_start(&m, "", "", true);
    advance(&m, CUT_MAX);
    uint64_t index = fsm_info(m.fsm)->applied.index;
    machine_close(&m);
    must(disk_posix()->ops->list(disk_posix(), m.dir, note_name, &before) == HF_OK);
    CU_ASSERT_EQUAL(fsm_peek(m.dir, &arena, &info, where), HF_OK);
    CU_ASSERT(info.applied.index == index && info.range->catalog && info.heartbeat_ms == 100);
    must(disk_posix()->ops->list(disk_posix(), m.dir, note_name, &after) == HF_OK);
    CU_ASSERT(slice_equal(buf_slice(&before), buf_slice(&after)));
    buf_deinit(&before);
    buf_deinit(&after);
    arena_deinit(&arena);
    machine_stop(&m);
}

/* What is durable, all of one entry, whatever flushes end meanwhile: the digest tells. */
static void durable_info_is_of_one_entry(void)
{
    static uint8_t digests[ENTRIES_MAX][8];
    struct machine m;
    struct random random = {SEED};
    uint64_t last = 0, steps = 0;
    start_small(&m);
    struct arena arena = {0};
    for (unsigned i = 0; i < 600; i++) {
        advance(&m, 1 + (size_t)random_below(&random, CUT_MAX));
        const struct fsm_info *live = fsm_info(m.fsm);
        must(live->applied.index < ENTRIES_MAX);
        memcpy(digests[live->applied.index], live->digest, 8);
        if (random_below(&random, 20) == 0)
            must(fsm_flush_begin(m.fsm) == HF_OK);
        struct fsm_info info = {0};
        arena_reset(&arena);
        CU_ASSERT_EQUAL(fsm_durable_info(m.fsm, &arena, &info), HF_OK);
        CU_ASSERT(info.applied.index >= last && info.applied.index <= live->applied.index);
        if (info.applied.index > 1)
            CU_ASSERT(memcmp(digests[info.applied.index], info.digest, 8) == 0);
        CU_ASSERT(info.members != NULL && info.range != NULL);
        steps += info.applied.index > last;
        last = info.applied.index;
    }
    CU_ASSERT(steps > 5);
    arena_deinit(&arena);
    machine_stop(&m);
}

/* ---- through a stream into another's place ---- */

static int push(void *ctx, struct slice bytes)
{
    return stream_reader_push(ctx, bytes);
}

static struct token token_of(const char *dir, struct arena *arena)
{
    struct fsm_info info = {0};
    char where[256];
    must(fsm_peek(dir, arena, &info, where) == HF_OK);
    struct token token = {.cluster = info.cluster,
                          .group = info.group,
                          .log_epoch = info.applied.epoch,
                          .index = info.applied.index,
                          .term = info.applied.term,
                          .ceiling = info.ceiling,
                          .members = info.members};
    memcpy(token.digest, info.digest, DIGEST_BYTES);
    return token;
}

/* The checkpoint at `from` is staged in the replica's directory `top`. */
static void stage(const char *from, const char *top)
{
    struct arena arena = {0};
    struct stream_header header = {.token = token_of(from, &arena)};
    header.ceiling = header.token.ceiling;
    struct staging *s = NULL;
    struct stream_writer *w = NULL;
    must(staging_new(disk_posix(), top, &s) == HF_OK);
    struct stream_sink sink = staging_sink(s);
    struct stream_reader *r = stream_reader_new(&sink, 0);
    must(stream_writer_new(&header, push, r, &w) == HF_OK);
    must(stream_write_directory(w, from) == HF_OK && stream_finish(w) == HF_OK);
    must(stream_reader_finish(r) == HF_OK && staging_sync(s) == HF_OK);
    stream_writer_free(&w);
    stream_reader_free(&r);
    staging_free(&s);
    arena_deinit(&arena);
}

static void follow(const char *top, const struct token *token)
{
    must(token_write(disk_posix(), top, token) == HF_OK); /* the log's part is the engine's */
    must(install_done(disk_posix(), top) == HF_OK);
}

static void install(const char *from, const char *top)
{
    struct arena arena = {0};
    struct token token = token_of(from, &arena);
    struct install_record record = {token.cluster, token.group, token.log_epoch, token.index, token.term};
    stage(from, top);
    must(install_exchange(disk_posix(), top, &record) == HF_OK);
    follow(top, &token);
    arena_deinit(&arena);
}

struct world {
    struct machine source;         /* goes on */
    struct machine old, reference; /* `old` is closed, at top/fsm */
    char top[200], machine[256], checkpoint[256];
    struct arena arena;
    struct token token; /* of the checkpoint */
};

static void world_in(struct world *w, const char *top)
{
    char where[256];
    *w = (struct world){0};
    must((size_t)snprintf(w->top, sizeof w->top, "%s", top) < sizeof w->top);
    snprintf(w->machine, sizeof w->machine, "%s/fsm", w->top);
    snprintf(w->checkpoint, sizeof w->checkpoint, "%s/checkpoint", w->top);
    machine_start(&w->source, "", "", true);
    machine_start(&w->reference, "", "", true);
    for (unsigned i = 0; i < 20; i++)
        advance(&w->source, CUT_MAX);
    must(fsm_checkpoint(w->source.fsm, w->checkpoint, where) == HF_OK);
    advance(&w->source, CUT_MAX);
    w->token = token_of(w->checkpoint, &w->arena);
    must(w->token.index == 401);
    w->old = (struct machine){.config = {.dir = w->machine}};
    machine_create(&w->old, "", "", true);
}

static void world_start(struct world *w)
{
    char top[] = "/tmp/hf-snap-XXXXXX";
    must(mkdtemp(top) != NULL);
    world_in(w, top);
}

static void world_stop(struct world *w)
{
    must(disk_remove_tree(disk_posix(), w->top) == HF_OK);
    machine_stop(&w->source);
    machine_stop(&w->reference);
    arena_deinit(&w->arena);
}

static void into_anothers_place(void)
{
    struct world w;
    world_start(&w);
    char where[256] = "";
    stage(w.checkpoint, w.top);
    CU_ASSERT_EQUAL(install_check(w.top, &w.token, where), HF_OK);
    struct token other = w.token;
    other.index++;
    CU_ASSERT_EQUAL(install_check(w.top, &other, where), HF_E_SNAPSHOT_TOKEN);
    other = w.token;
    other.digest[5] ^= 1;
    CU_ASSERT_EQUAL(install_check(w.top, &other, where), HF_E_SNAPSHOT_TOKEN);
    CU_ASSERT(strstr(where, "401") != NULL);
    install(w.checkpoint, w.top);
    CU_ASSERT(as_replayed(w.machine, &w.reference));
    CU_ASSERT_EQUAL(fsm_info(w.reference.fsm)->applied.index, 401);
    /* What is no state machine, checksums or not. */
    char path[256];
    stage(w.checkpoint, w.top);
    snprintf(path, sizeof path, "%s/" INSTALL_INCOMING "/CURRENT", w.top);
    must(disk_posix()->ops->remove(disk_posix(), path) == HF_OK);
    CU_ASSERT_EQUAL(install_check(w.top, &w.token, where), HF_E_SNAPSHOT_BODY);
    world_stop(&w);
}

/* Installs in a process of its own, which dies at `point`. */
static void install_and_die(const struct world *w, const char *point)
{
    char *args[] = {(char *)(uintptr_t)self, (char *)"install", (char *)(uintptr_t)w->checkpoint,
                    (char *)(uintptr_t)w->top, NULL};
    pid_t pid;
    int status;
    setenv("HOLDFAST_CRASH_POINT", point, 1);
    must(posix_spawn(&pid, self, NULL, NULL, args, environ) == 0);
    unsetenv("HOLDFAST_CRASH_POINT");
    must(waitpid(pid, &status, 0) == pid);
    CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void killed_at_crash_points(void)
{
    static const struct {
        const char *point;
        bool pending;
    } rows[] = {{"install.before_record", false},
                {"install.after_record", true},
                {"install.after_exchange", true},
                {"install.before_done", true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world w;
        struct install_record record = {0};
        bool pending = false;
        world_start(&w);
        install_and_die(&w, rows[i].point);
        CU_ASSERT_EQUAL(install_finish(disk_posix(), w.top, &pending, &record), HF_OK);
        CU_ASSERT_EQUAL(pending, rows[i].pending);
        if (pending) {
            CU_ASSERT(record.cluster == w.token.cluster && record.group == 3 && record.log_epoch == 1);
            CU_ASSERT(record.index == 401 && record.term == w.token.term);
            follow(w.top, &w.token);
        }
        CU_ASSERT(as_replayed(w.machine, &w.reference)); /* the old one or the new one */
        CU_ASSERT_EQUAL(fsm_info(w.reference.fsm)->applied.index, pending ? 401 : 1);
        CU_ASSERT_EQUAL(install_finish(disk_posix(), w.top, &pending, &record), HF_OK);
        CU_ASSERT(!pending);
        world_stop(&w);
    }
}

/* For test_powercut.py: a world in a directory that stays; and what a start makes of it. */

static int prepare(const char *top)
{
    struct world w;
    world_in(&w, top);
    machine_stop(&w.source);
    machine_stop(&w.reference);
    arena_deinit(&w.arena);
    return 0;
}

/* Says which machine is there, "old" or "new"; fails when it is neither, or not whole. */
static int settle(const char *top)
{
    struct install_record record = {0};
    struct machine reference;
    struct arena arena = {0};
    char machine[256], checkpoint[256];
    bool pending = false, again = false;
    snprintf(machine, sizeof machine, "%s/fsm", top);
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint", top);
    machine_start(&reference, "", "", true);
    must(install_finish(disk_posix(), top, &pending, &record) == HF_OK);
    struct token token = token_of(checkpoint, &arena);
    if (pending) {
        must(record.index == token.index && record.term == token.term);
        follow(top, &token);
    }
    must(install_finish(disk_posix(), top, &again, &record) == HF_OK && !again);
    must(as_replayed(machine, &reference));
    bool old = fsm_info(reference.fsm)->applied.index == 1;
    struct token found = {0};
    int rc = token_read(disk_posix(), top, &arena, &found);
    must(old ? rc == HF_E_ABSENT : rc == HF_OK && token_equal(&found, &token));
    puts(old ? "old" : "new");
    machine_stop(&reference);
    arena_deinit(&arena);
    return 0;
}

int main(int argc, char **argv)
{
    self = argv[0];
    digest_init();
    if (argc == 4 && strcmp(argv[1], "install") == 0) {
        install(argv[2], argv[3]);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "prepare") == 0)
        return prepare(argv[2]);
    if (argc == 3 && strcmp(argv[1], "settle") == 0)
        return settle(argv[2]);
    static const struct unit_case cases[] = {
        {"while writes go on", while_writes_go_on},
        {"again under the same name, and where nothing can be made", again_and_nowhere},
        {"a look changes nothing", a_look_changes_nothing},
        {"what is durable is of one entry", durable_info_is_of_one_entry},
        {"into another's place", into_anothers_place},
        {"killed at the crash points of an install", killed_at_crash_points},
    };
    return UNIT_MAIN("checkpoint", cases);
}
