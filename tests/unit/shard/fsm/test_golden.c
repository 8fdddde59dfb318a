/* test_golden.c: state machines as the first program of each format left them on disk (tests/golden/fsm) are read for
 * ever: opened by the product, every row decoded and compared with the text beside, and gone on with.
 * test_fsm_golden --generate DIR   writes those of a new format with this program; a file that is there is never written
 * again. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/sys/disk.h"
#include "proto/pack.h"
#include "shard/fsm/session_record.h"
#include "shard/fsm/versions.h"
#include "shard/fsm/vkey.h"
#include "shard/store/store.h"
#include "tests/unit/shard/fsm/transact.h"
#include "tests/unit/unit.h"

#define FILE_BYTES_MAX (1u << 20)
#define VERSIONS 6 /* how many formats are in tests/golden/fsm */

#define COLLECT_STEPS 13

/* ---- what is in it ---- */

static void config(struct machine *m)
{
    Hf__Catalog__Member a = HF__CATALOG__MEMBER__INIT, b = HF__CATALOG__MEMBER__INIT, *list[] = {&a, &b};
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    struct buf bytes = {0};
    a.replica = 1;
    a.incarnation = 77;
    a.raft_endpoint = (char *)"tcp://127.0.0.1:1";
    a.client_endpoint = (char *)"tcp://127.0.0.1:2";
    b.replica = 2;
    b.incarnation = 78;
    b.role = HF__CATALOG__ROLE__LEARNER;
    members.index = m->index + 1;
    members.n_members = 2;
    members.members = list;
    pack_append(&members.base, &bytes);
    machine_apply(m, LOG_CONFIG, buf_slice(&bytes));
    buf_deinit(&bytes);
}

static Hf__Entry__Command in_space(Hf__Entry__Command c, Hf__Entry__Space space)
{
    c.space = space;
    return c;
}

/* Every kind of entry, command and row. Sessions are 3 and 4. */
static void write_first(struct machine *m)
{
    static const uint8_t odd[] = {'a', 0, 0xff, '\n'};
    machine_apply(m, LOG_NOOP, slice_make(NULL, 0));                       /* 2 */
    machine_apply(m, LOG_COMMAND, machine_session(&m->arena, m->t, 0, 0)); /* 3 */
    machine_apply(m, LOG_COMMAND, machine_session(&m->arena, m->t, 0, 0)); /* 4 */
    machine_run(m, machine_put("a", "first"));
    machine_run(m, machine_put("a", "second"));
    Hf__Entry__Command c = machine_put("", "with odd bytes in its key");
    c.key = pack_bytes(slice_make(odd, sizeof odd));
    machine_run(m, c);
    c = machine_put("lives", "for a minute");
    c.ttl_ms = 60000;
    machine_run(m, c);
    machine_run(m, machine_put("gone", "soon"));
    machine_run(m, machine_delete("gone"));
    Hf__Entry__Command many[] = {machine_put("fix/1", "1"), machine_put("fix/2", "2"), machine_put("fiy", "3")};
    machine_run_many(m, many, 3);
    machine_run(m, machine_delete_prefix("fix/"));
    machine_run(m, machine_put("fix/2", "again"));
    machine_run(m, in_space(machine_put("routes", "a catalog key"), HF__ENTRY__SPACE__CATALOG));
    machine_run(m, machine_put("z", "of another shard"));
}

/* One prepared at home, one elsewhere, one committed that others do not have yet. */
static void transactions(struct machine *m)
{
    Hf__Entry__Txn *home = transact(TRANSACT_GROUP, 4, 2, m->t + 1), *other = transact(TRANSACT_OTHER, 99, 5, m->t + 1),
                   *done = transact(TRANSACT_GROUP, 4, 3, m->t + 1);
    transact_put_for(home, "h", "for a while", 1000);
    transact_delete(home, "i");
    transact_other(home, TRANSACT_OTHER);
    transact_delete_prefix(other, "j/");
    transact_put(done, "e", "committed");
    transact_other(done, TRANSACT_OTHER);
    Hf__Entry__Command c[] = {transact_prepare(home), transact_prepare(other), transact_prepare(done),
                              transact_commit(done, m->t + 1)};
    m->sequence += 65536;
    must(machine_run_many(m, c, 4)->code == HF_OK && machine_last(m)->r.code == HF_OK);
    transact_reset();
}

/* One is aborted before it came, the next is sealed: 28 to 31. */
static void migration(struct machine *m)
{
    uint64_t members = fsm_info(m->fsm)->members->index;
    machine_apply(m, LOG_COMMAND, machine_migrate(&m->arena, HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT, 5, 1, 0));
    machine_apply(m, LOG_COMMAND, machine_migrate(&m->arena, HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE, 5, 1, members));
    machine_apply(m, LOG_COMMAND, machine_migrate(&m->arena, HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE, 6, 1, members));
    machine_apply(m, LOG_COMMAND, machine_migrate(&m->arena, HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL, 6, 1, members));
    must(fsm_enter_next_epoch(m->fsm) == HF_OK);
}

/* Version N begins with feature level N. Version 2 holds a consistency check, version 3 also the mark of a leader that went
 * on from a ceiling, version 4 transactions, version 5 a pass of collection that is in the middle of the versions of "gone", version 6 a change of engine: one aborted, one sealed. */
static void write_second(struct machine *m, int version)
{
    m->t += UINT64_C(5000) << 16;
    machine_apply(m, LOG_COMMAND, machine_lease(&m->arena, m->t + (UINT64_C(3000) << 16), m->t));
    machine_run(m, machine_in_session(machine_cas("c", NULL, "1"), 3, 1, 1));
    machine_run(m, machine_in_session(machine_cas("c", "0", "2"), 3, 2, 1));
    machine_run(m, machine_in_session(machine_cas("c", "1", "2"), 3, 3, 2));
    machine_run(m, machine_in_session(machine_put("c/7", "a gap before"), 3, 7, 2));
    machine_run(m, machine_in_session(machine_cas("gone", NULL, NULL), 4, 1, 1));
    machine_apply(m, LOG_COMMAND, machine_session(&m->arena, m->t, 3, 5)); /* fences (3, 5) */
    config(m);
    if (version >= 2)
        machine_apply(m, LOG_COMMAND, machine_check(&m->arena, m->t));
    if (version >= 3)
        machine_apply_silent(m, machine_restart(&m->arena, m->t));
    if (version >= 4)
        transactions(m);
    if (version >= 5)
        machine_apply(m, LOG_COMMAND, machine_collect(&m->arena, m->t, COLLECT_STEPS));
    if (version >= 6)
        migration(m);
}

static void check_migration(const struct fsm_migration *m)
{
    CU_ASSERT(m->state == FSM_MIGRATION_SEALED && m->id == 6 && m->epoch == 1 && m->aborted == 5 &&
              m->aborted_epoch == 1);
    CU_ASSERT(m->index == 31 && m->term == 1 && m->configuration == 23);
    CU_ASSERT(strcmp(m->source, "native") == 0 && strcmp(m->target, "libraft") == 0);
}

static void check_state(struct machine *m, int version)
{
    const struct fsm_info *info = fsm_info(m->fsm);
    CU_ASSERT(info->cluster == 0x1122334455667788 && info->group == 3);
    CU_ASSERT(info->heartbeat_ms == 100 && info->election_ms == 500);
    CU_ASSERT(info->feature_level == (uint32_t)version && info->checked == (version == 1 ? 0 : 24));
    CU_ASSERT(info->applied.epoch == (version >= 6 ? 2 : 1) &&
              info->applied.index == 22 + (uint64_t)version + (version >= 6 ? 3 : 0) && info->applied.term == 1);
    CU_ASSERT(info->restart.t == (version >= 3 ? m->t : 0));
    CU_ASSERT(info->ceiling.t == m->t + (UINT64_C(3000) << 16));
    CU_ASSERT(info->sessions == 2 && info->markers == 1);
    CU_ASSERT(info->members->n_members == 2 && info->members->index == 23);
    CU_ASSERT(info->members->members[1]->role == HF__CATALOG__ROLE__LEARNER);
    CU_ASSERT(slice_equal(pack_slice(info->range->end), slice_text("m")) && info->range->catalog);
    CU_ASSERT(machine_holds(m, "a", "second") && machine_holds(m, "lives", "for a minute"));
    CU_ASSERT(machine_holds(m, "gone", NULL) && machine_holds(m, "fix/1", NULL));
    CU_ASSERT(machine_holds(m, "c", "2") && machine_holds(m, "c/7", "a gap before"));
    CU_ASSERT(info->txns == (version >= 4 ? 3 : 0) && info->locks == (version >= 4 ? 3 : 0));
    CU_ASSERT(version < 4 || machine_holds(m, "e", "committed"));
    CU_ASSERT(info->collected.below.t == (version >= 5 ? m->t : 0) && info->collected.passes == 0);
    CU_ASSERT(info->collected.pass.t == info->collected.below.t && info->collected.versions == (version >= 5 ? 3 : 0));
    if (version >= 6)
        check_migration(&info->migration);
    m->t += UINT64_C(60000) << 16;
    CU_ASSERT(machine_holds(m, "lives", NULL));
}

/* The table of sessions answers as it did. */
static void check_sessions(struct machine *m)
{
    CU_ASSERT(machine_run(m, machine_in_session(machine_put("c", "9"), 3, 2, 2))->code == HF_E_COMPARE_FAILED);
    const struct fsm_result *r = machine_run(m, machine_in_session(machine_put("c", "9"), 3, 3, 2));
    CU_ASSERT(r->code == HF_OK && r->version.t.t < m->t);
    CU_ASSERT(machine_run(m, machine_in_session(machine_put("c", "9"), 3, 1, 1))->code == HF_E_SESSION_WINDOW);
    CU_ASSERT(machine_run(m, machine_in_session(machine_put("c", "9"), 3, 5, 2))->code == HF_E_FENCED);
    CU_ASSERT(machine_holds(m, "c", "2"));
    CU_ASSERT(machine_run(m, machine_in_session(machine_put("c", "9"), 3, 4, 2))->code == HF_OK);
    CU_ASSERT(machine_holds(m, "c", "9"));
}

/* The pass that is under way ends as it would have ended. */
static void check_collection(struct machine *m)
{
    const struct fsm_collected *c = &fsm_info(m->fsm)->collected;
    uint64_t w = c->below.t;
    struct arena arena = {0};
    struct fsm_value value;
    for (int n = 0; n < 100 && c->passes == 0; n++)
        machine_apply(m, LOG_COMMAND, machine_collect(&m->arena, w, 2));
    CU_ASSERT(c->passes == 1 && c->swept.t == w && c->versions == 5 && c->markers == 1);
    CU_ASSERT(machine_holds(m, "a", "second") && machine_holds(m, "gone", NULL) && machine_holds(m, "fix/1", NULL));
    CU_ASSERT(machine_holds(m, "fix/2", "again"));
    CU_ASSERT_EQUAL(fsm_get(m->fsm, FSM_USER, slice_text("a"), (struct hlc){w - 1}, (struct hlc){w}, &arena, &value),
                    HF_E_TOO_OLD);
    arena_deinit(&arena);
}

/* ---- rows as text ---- */

static void say(struct buf *out, const char *format, ...) HF_PRINTF(2, 3);

static void say(struct buf *out, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    must(size >= 0 && (size_t)size < sizeof text);
    buf_append(out, text, (size_t)size);
}

static void say_bytes(struct buf *out, struct slice s)
{
    say(out, " \"");
    for (size_t i = 0; i < s.size; i++)
        say(out, s.data[i] >= 0x20 && s.data[i] < 0x7f ? "%c" : "\\x%02x", s.data[i]);
    say(out, "\"");
}

static void say_version(struct buf *out, struct slice key, struct slice value, struct arena *arena)
{
    struct vkey k;
    struct slice user = {0};
    struct version_value v;
    CU_ASSERT_FATAL(vkey_decode(key, &k) && vkey_user(k.prefix, arena, &user));
    say(out, "%c space %u", k.kind, k.space);
    say_bytes(out, user);
    say(out, " version %" PRIu64 ".%" PRIu64, k.version.t.t, k.version.seq);
    if (k.kind == VKEY_MARKER) {
        CU_ASSERT(value.size == 0);
        return;
    }
    CU_ASSERT_FATAL(versions_decode(value, &v));
    say(out, " flags %u expiry %" PRIu64, v.flags, v.expiry.t);
    say_bytes(out, v.payload);
}

static void say_session(struct buf *out, struct slice key, struct slice value)
{
    struct session_state s = {0};
    CU_ASSERT_FATAL(key.size == VKEY_SESSION_BYTES && session_record_decode(value, &s));
    for (size_t i = 1; i < key.size; i++)
        s.id = s.id << 8 | key.data[i];
    say(out, "s session %" PRIu64 " last use %" PRIu64 " done below %" PRIu64, s.id, s.last_used.t, s.done_below);
    for (uint64_t seq = s.done_below; seq < s.top; seq++) {
        const struct session_ring *slot = session_slot(&s, seq);
        if (slot->known)
            say(out, "; %" PRIu64 " %s %" PRIu64 ".%" PRIu64, seq, error_name(slot->code), slot->version.t.t,
                slot->version.seq);
    }
    free(s.ring);
}

static void say_txn(struct buf *out, struct slice value, struct arena *arena)
{
    static const char *const ops[] = {"none", "put", "delete", "cas", "delete prefix"};
    const Hf__Entry__TxnRecord *r = pack_unpack(&hf__entry__txn_record__descriptor, value, arena);
    CU_ASSERT_FATAL(r != NULL && r->txn != NULL && r->txn->id != NULL);
    say(out, "t home %u session %" PRIu64 " seq %" PRIu64 " %s", r->txn->id->home, r->txn->id->session, r->txn->id->seq,
        r->state == HF__ENTRY__TXN_STATE__COMMITTED ? "committed" : "prepared");
    say(out, " start %" PRIu64 " above %" PRIu64 " expires %" PRIu64 " commit %" PRIu64 " others", r->txn->start,
        r->min_commit, r->expires, r->commit);
    for (size_t i = 0; i < r->txn->n_others; i++)
        say(out, " %u", r->txn->others[i]);
    for (size_t i = 0; i < r->txn->n_writes; i++) {
        const Hf__Entry__TxnWrite *w = r->txn->writes[i];
        say(out, "; %s", ops[w->op]);
        say_bytes(out, pack_slice(w->key));
        say_bytes(out, pack_slice(w->value));
        say(out, " for %" PRIu64, w->ttl_ms);
    }
}

/* Each row: what it says, then its bytes. */
static void say_rows(struct machine *m, struct buf *out)
{
    struct buf dump = {0};
    struct arena arena = {0};
    machine_dump(m->fsm, &dump);
    for (size_t at = 0; at < dump.size;) {
        struct slice part[2];
        for (size_t i = 0; i < 2; i++) {
            memcpy(&part[i].size, dump.data + at, sizeof part[i].size);
            part[i].data = dump.data + at + sizeof part[i].size;
            at += sizeof part[i].size + part[i].size;
        }
        if (part[0].data[0] == VKEY_SESSION)
            say_session(out, part[0], part[1]);
        else if (part[0].data[0] == VKEY_TXN)
            say_txn(out, part[1], &arena);
        else if (part[0].data[0] == VKEY_META)
            say_bytes(out, part[0]);
        else
            say_version(out, part[0], part[1], &arena);
        for (size_t i = 0; i < 2; i++) {
            say(out, i ? " " : "\n    ");
            for (size_t b = 0; b < part[i].size; b++)
                say(out, "%02x", part[i].data[b]);
        }
        say(out, "\n");
    }
    arena_deinit(&arena);
    buf_deinit(&dump);
}

/* ---- directories ---- */

static void write_new(const char *path, struct slice content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        perror(path);
    must(fd >= 0); /* a golden file is never written again */
    must(write(fd, content.data, content.size) == (ssize_t)content.size);
    must(close(fd) == 0);
}

static void copy_directory(const char *from, const char *to)
{
    char path[1024];
    DIR *d = opendir(from);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        struct buf content = {0};
        if (e->d_name[0] == '.' || strcmp(e->d_name, "LOCK") == 0 || strncmp(e->d_name, "LOG", 3) == 0)
            continue; /* not part of the format */
        snprintf(path, sizeof path, "%s/%s", from, e->d_name);
        must(disk_read_all(disk_posix(), path, FILE_BYTES_MAX, &content) == 0);
        snprintf(path, sizeof path, "%s/%s", to, e->d_name);
        write_new(path, buf_slice(&content));
        buf_deinit(&content);
    }
    closedir(d);
}

static void read_rows(const char *dir, struct buf *out)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/rows.txt", dir);
    CU_ASSERT_EQUAL_FATAL(disk_read_all(disk_posix(), path, FILE_BYTES_MAX, out), 0);
}

static void check_rows(struct machine *m, const char *dir)
{
    struct buf rows = {0}, want = {0};
    say_rows(m, &rows);
    read_rows(dir, &want);
    bool same = slice_equal(buf_slice(&rows), buf_slice(&want));
    if (!same)
        fprintf(stderr, "%s holds now\n%.*s", dir, (int)rows.size, (const char *)rows.data);
    CU_ASSERT(same);
    buf_deinit(&rows);
    buf_deinit(&want);
}

/* `how`: "nosync", where all is in sorted files, or "sync", where the second half is in RocksDB's own log. */
static void check_directory(int version, const char *how)
{
    char dir[512], files[600];
    struct machine m = {.t = (UINT64_C(1005000)) << 16};
    snprintf(dir, sizeof dir, "%s/%d", HF_GOLDEN_DIR, version);
    snprintf(files, sizeof files, "%s/%s", dir, how);
    digest_init();
    snprintf(m.dir, sizeof m.dir, "/tmp/hf-golden-XXXXXX");
    must(mkdtemp(m.dir) != NULL);
    copy_directory(files, m.dir);
    m.config = (struct fsm_config){.dir = m.dir, .sync_writes = strcmp(how, "sync") == 0};
    machine_open(&m);
    m.sequence = fsm_info(m.fsm)->newest.seq;
    check_rows(&m, dir);
    check_state(&m, version);
    check_sessions(&m);
    if (version >= 5)
        check_collection(&m);
    machine_close(&m);
    machine_open(&m);
    CU_ASSERT(machine_holds(&m, "c", "9"));
    machine_stop(&m);
}

static void test_nosync(void)
{
    for (int version = 1; version <= VERSIONS; version++)
        check_directory(version, "nosync");
}

static void test_sync(void)
{
    for (int version = 1; version <= VERSIONS; version++)
        check_directory(version, "sync");
}

/* The same entries make the same rows and the same digest today (I2). */
static void test_applied_as_before(void)
{
    for (int version = 1; version <= VERSIONS; version++) {
        struct machine m;
        char dir[512], where[256] = "";
        snprintf(dir, sizeof dir, "%s/%d", HF_GOLDEN_DIR, version);
        machine_start(&m, "", "m", true);
        machine_close(&m);
        must(store_destroy(m.dir, where) == 0);
        m.feature_level = (uint32_t)version;
        machine_create(&m, "", "m", true);
        machine_open(&m);
        write_first(&m);
        write_second(&m, version);
        check_rows(&m, dir);
        check_state(&m, version);
        machine_stop(&m);
    }
}

static const char *generate_dir;

static void generate_one(const char *how)
{
    struct machine m;
    struct buf rows = {0};
    char path[1024];
    bool sync = strcmp(how, "sync") == 0;
    machine_start(&m, "", "m", true);
    machine_close(&m);
    m.config.sync_writes = sync;
    machine_open(&m);
    write_first(&m);
    must(fsm_flush(m.fsm) == 0);
    write_second(&m, VERSIONS);
    if (!sync)
        must(fsm_flush(m.fsm) == 0);
    say_rows(&m, &rows);
    snprintf(path, sizeof path, "%s/rows.txt", generate_dir);
    if (!sync)
        write_new(path, buf_slice(&rows));
    snprintf(path, sizeof path, "%s/%s", generate_dir, how);
    must(mkdir(path, 0755) == 0);
    copy_directory(m.dir, path); /* as a crash would leave it: nothing was closed */
    machine_stop(&m);
    buf_deinit(&rows);
}

static void generate(void)
{
    generate_one("nosync");
    generate_one("sync");
}

int main(int argc, char **argv)
{
    static const struct unit_case cases[] = {
        {"state machines of all versions, flushed", test_nosync},
        {"state machines of all versions, in RocksDB's log", test_sync},
        {"applied as before", test_applied_as_before},
    };
    static const struct unit_case generator[] = {{"generate", generate}};
    if (argc == 3 && strcmp(argv[1], "--generate") == 0)
        generate_dir = argv[2];
    if (generate_dir)
        return UNIT_MAIN("shard/fsm golden", generator);
    return UNIT_MAIN("shard/fsm golden", cases);
}
