/* inspect.c: see inspect.h. Everything is opened for reading only; a directory that a process has open is looked at from
 * the outside. */
#include "shard/server/inspect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/error.h"
#include "common/sys/digest.h"
#include "common/sys/json.h"
#include "shard/fsm/image.h"
#include "shard/log/identity.h"
#include "shard/log/look.h"
#include "shard/replica/check.h"
#include "shard/server/offline.h"
#include "shard/snapshot/install.h"

#define PATH_BYTES 4096
#define NAMES_MAX 64
#define NAME_BYTES 256
#define DAMAGE_MAX 8
#define DAMAGE_BYTES 512

struct tally {
    const char *dir;
    uint64_t files, bytes;
};

struct names { /* of what lies in a folder */
    char name[NAMES_MAX][NAME_BYTES];
    size_t count;
};

struct found {
    const char *dir;
    struct arena arena;
    struct identity id;
    bool used;
    const Hf__Catalog__Members *members;
    int fsm_code, token_code, install_code;
    struct fsm_info fsm;
    uint64_t records;
    char digest[2 * DIGEST_BYTES + 1];
    char log_name[64];
    struct log_look log;
    struct token token;
    struct install_record install;
    struct names streams, quarantine;
    bool marked;
    char damage[DAMAGE_MAX][DAMAGE_BYTES];
    size_t damage_count;
};

static void path_of(const char *dir, const char *name, char out[PATH_BYTES])
{
    if ((size_t)snprintf(out, PATH_BYTES, "%s/%s", dir, name) >= PATH_BYTES)
        out[PATH_BYTES - 1] = 0; /* such a file is not there */
}

static void damaged(struct found *f, const char *format, ...) HF_PRINTF(2, 3);

static void damaged(struct found *f, const char *format, ...)
{
    if (f->damage_count == DAMAGE_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(f->damage[f->damage_count++], DAMAGE_BYTES, format, arguments);
    va_end(arguments);
}

static bool in_use(const char *dir)
{
    char path[PATH_BYTES];
    path_of(dir, "LOCK", path);
    return disk_locked(path);
}

static void count_file(void *ctx, const char *name)
{
    struct tally *t = ctx;
    char path[PATH_BYTES];
    path_of(t->dir, name, path);
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        t->files++;
        t->bytes += (uint64_t)st.st_size;
    }
}

static struct tally tally_of(const char *dir, const char *name)
{
    static char path[PATH_BYTES];
    path_of(dir, name, path);
    struct tally t = {.dir = path};
    (void)disk_posix()->ops->list(disk_posix(), path, count_file, &t); /* an absent folder holds nothing */
    return t;
}

static void note_name(void *ctx, const char *name)
{
    struct names *names = ctx;
    if (names->count < NAMES_MAX && strcmp(name, TOKEN_NAME) != 0)
        snprintf(names->name[names->count++], NAME_BYTES, "%s", name);
}

/* ---- looking ---- */

static void look_at_fsm(struct found *f)
{
    char path[PATH_BYTES], where[256] = "";
    uint8_t digest[DIGEST_BYTES];
    path_of(f->dir, "fsm", path);
    f->fsm_code = image_look(path, &f->arena, &f->fsm, digest, &f->records, where);
    if (f->fsm_code != HF_OK) {
        damaged(f, "state machine: %s: %s", error_text(f->fsm_code), where);
        return;
    }
    digest_hex(digest, DIGEST_BYTES, f->digest);
    if (f->fsm.cluster != f->id.cluster || f->fsm.group != f->id.group || f->fsm.applied.epoch != f->id.log_epoch)
        damaged(f,
                "state machine: of cluster %016" PRIx64 " shard %" PRIu32 " log epoch %" PRIu32
                ", not of this directory",
                f->fsm.cluster, f->fsm.group, f->fsm.applied.epoch);
}

static void look_at_log(struct found *f)
{
    char path[PATH_BYTES];
    path_of(f->dir, f->log_name, path);
    log_look(path, &f->log);
    if (f->log.hard_code != HF_OK)
        damaged(f, "%s/hardstate: %s", f->log_name, error_text(f->log.hard_code));
    if (f->log.code != HF_OK)
        damaged(f, "%s: %s%s%s", f->log_name, error_text(f->log.code), f->log.where[0] ? ": " : "", f->log.where);
    else if (f->fsm_code == HF_OK && f->log.last < f->fsm.applied.index)
        damaged(f, "%s: it ends at %" PRIu64 ", below the applied index %" PRIu64, f->log_name, f->log.last,
                f->fsm.applied.index);
}

static void look_at_snapshots(struct found *f)
{
    struct disk *disk = disk_posix();
    char path[PATH_BYTES];
    f->token_code = token_read(disk, f->dir, &f->arena, &f->token);
    if (f->token_code != HF_OK && f->token_code != HF_E_ABSENT)
        damaged(f, "snapshots/token: %s", error_text(f->token_code));
    f->install_code = install_read(disk, f->dir, &f->install);
    if (f->install_code != HF_OK && f->install_code != HF_E_ABSENT)
        damaged(f, "INSTALL: %s", error_text(f->install_code));
    path_of(f->dir, TOKEN_DIR, path);
    (void)disk->ops->list(disk, path, note_name, &f->streams);
    path_of(f->dir, "quarantine", path);
    (void)disk->ops->list(disk, path, note_name, &f->quarantine);
    path_of(f->dir, CHECK_MARK_NAME, path);
    if (disk->ops->exists(disk, path, &f->marked) != HF_OK)
        f->marked = false;
}

static void look(struct found *f)
{
    Hf__Catalog__Members *members = NULL;
    int rc = f->id.cluster ? peers_read(disk_posix(), f->dir, &members) : HF_E_ABSENT;
    f->members = members;
    if (rc && f->id.cluster)
        damaged(f, "peers: %s", rc == HF_E_ABSENT ? "no such file" : error_text(rc));
    f->fsm_code = f->token_code = f->install_code = f->log.code = f->log.hard_code = HF_E_ABSENT;
    if (!f->id.cluster)
        return;
    if (!f->used) { /* a running process moves what we would read */
        look_at_fsm(f);
        look_at_log(f);
    }
    look_at_snapshots(f);
}

/* ---- telling: JSON ---- */

static void json_members(const Hf__Catalog__Members *m)
{
    for (size_t i = 0; m && i < m->n_members; i++) {
        const Hf__Catalog__Member *r = m->members[i];
        printf("%s{\"replica\":%u,\"incarnation\":\"%016" PRIx64 "\",\"role\":\"%s\",\"raft\":\"", i ? "," : "",
               r->replica, r->incarnation, r->role == HF__CATALOG__ROLE__LEARNER ? "learner" : "voter");
        json_text(stdout, r->raft_endpoint);
        printf("\",\"client\":\"");
        json_text(stdout, r->client_endpoint);
        printf("\"}");
    }
}

static void json_names(const char *key, const struct names *names)
{
    printf(",\"%s\":[", key);
    for (size_t i = 0; i < names->count; i++) {
        printf("%s\"", i ? "," : "");
        json_text(stdout, names->name[i]);
        putchar('"');
    }
    putchar(']');
}

static void json_fsm(const struct found *f, struct tally files)
{
    printf(",\"fsm\":{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64, files.files, files.bytes);
    if (f->fsm_code == HF_OK)
        printf(",\"records\":%" PRIu64 ",\"digest\":\"%s\",\"feature_level\":%" PRIu32 ",\"ceiling\":%" PRIu64
               ",\"checked\":%" PRIu64 "",
               f->records, f->digest, f->fsm.feature_level, f->fsm.ceiling.t, f->fsm.checked);
    putchar('}');
    if (f->fsm_code == HF_OK) /* nobody runs it: what is applied is what is on disk */
        printf(",\"applied\":%" PRIu64 ",\"applied_term\":%" PRIu64 ",\"durable_applied\":%" PRIu64,
               f->fsm.applied.index, f->fsm.applied.term, f->fsm.applied.index);
    else
        printf(",\"applied\":null,\"applied_term\":null,\"durable_applied\":null");
}

static void json_log(const struct found *f, struct tally files)
{
    printf(",\"log\":{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64, files.files, files.bytes);
    if (f->log.code == HF_OK)
        printf(",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"last_term\":%" PRIu64 ",\"commit\":%" PRIu64
               ",\"torn_bytes\":%" PRIu64,
               f->log.first, f->log.last, f->log.last_term, f->log.commit, f->log.torn_bytes);
    if (f->log.hard_code == HF_OK)
        printf(",\"term\":%" PRIu64 ",\"vote\":%" PRIu64, f->log.hard.term, f->log.hard.vote);
    putchar('}');
}

static void print_json(const struct found *f, struct tally log, struct tally fsm)
{
    const struct identity *id = &f->id;
    printf("{\"cluster\":\"%016" PRIx64 "\",\"shard\":%u,\"replica\":%u,\"incarnation\":\"%016" PRIx64
           "\",\"engine\":\"%s\",\"format\":%u,\"log_epoch\":%u,\"fresh\":%s,\"in_use\":%s",
           id->cluster, id->group, id->replica, id->incarnation, id->engine, id->format, id->log_epoch,
           id->cluster ? "false" : "true", f->used ? "true" : "false");
    json_log(f, log);
    json_fsm(f, fsm);
    if (f->token_code == HF_OK)
        printf(",\"token\":{\"index\":%" PRIu64 ",\"term\":%" PRIu64 ",\"ceiling\":%" PRIu64 "}", f->token.index,
               f->token.term, f->token.ceiling.t);
    else
        printf(",\"token\":null");
    if (f->install_code == HF_OK)
        printf(",\"install\":{\"index\":%" PRIu64 ",\"term\":%" PRIu64 "}", f->install.index, f->install.term);
    else
        printf(",\"install\":null");
    json_names("snapshots", &f->streams);
    json_names("quarantine", &f->quarantine);
    printf(",\"marked\":%s,\"damage\":[", f->marked ? "true" : "false");
    for (size_t i = 0; i < f->damage_count; i++) {
        printf("%s\"", i ? "," : "");
        json_text(stdout, f->damage[i]);
        putchar('"');
    }
    printf("],\"members\":[");
    json_members(f->members);
    printf("]}\n");
}

/* ---- telling: people ---- */

static void print_state(const struct found *f, struct tally log, struct tally fsm)
{
    if (f->fsm_code == HF_OK)
        printf("applied     %" PRIu64 " term %" PRIu64 " (durable: nobody runs it)\n", f->fsm.applied.index,
               f->fsm.applied.term);
    printf("log         %" PRIu64 " files, %" PRIu64 " bytes\n", log.files, log.bytes);
    if (f->log.code == HF_OK && f->log.first <= f->log.last)
        printf("entries     %" PRIu64 " to %" PRIu64 ", last term %" PRIu64 ", commit at least %" PRIu64 "\n",
               f->log.first, f->log.last, f->log.last_term, f->log.commit);
    else if (f->log.code == HF_OK)
        printf("entries     none, the log begins behind %" PRIu64 "\n", f->log.last);
    if (f->log.torn_bytes)
        printf("torn tail   %" PRIu64 " bytes: of a crash, cut at the next start\n", f->log.torn_bytes);
    if (f->log.hard_code == HF_OK)
        printf("vote        replica %" PRIu64 " in term %" PRIu64 "\n", f->log.hard.vote, f->log.hard.term);
    printf("fsm         %" PRIu64 " files, %" PRIu64 " bytes\n", fsm.files, fsm.bytes);
    if (f->fsm_code == HF_OK)
        printf("content     %" PRIu64 " records, digest %.16s, feature level %" PRIu32 "\n", f->records, f->digest,
               f->fsm.feature_level);
}

static void print_names(const char *label, const struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        printf("%-12s%s\n", label, names->name[i]);
}

static void print_text(const struct found *f, struct tally log, struct tally fsm)
{
    const struct identity *id = &f->id;
    printf("cluster     %016" PRIx64 "%s\nreplica     %u/%u\nincarnation %016" PRIx64
           "\nengine      %s\nformat      %u\nlog epoch   %u\nin use      %s\n",
           id->cluster, id->cluster ? "" : " (fresh: not a member yet)", id->group, id->replica, id->incarnation,
           id->engine, id->format, id->log_epoch,
           f->used ? "yes: a process has it; state machine and log are told when it is stopped" : "no");
    print_state(f, log, fsm);
    if (f->token_code == HF_OK)
        printf("token       %" PRIu64 " term %" PRIu64 "\n", f->token.index, f->token.term);
    if (f->install_code == HF_OK)
        printf("INSTALL     a state of index %" PRIu64 " is being put in place: the next start finishes it\n",
               f->install.index);
    print_names("snapshots", &f->streams);
    print_names("quarantine", &f->quarantine);
    if (f->marked)
        puts("marked      differs from the majority: the next start takes the state from another replica");
    for (size_t i = 0; f->members && i < f->members->n_members; i++) {
        const Hf__Catalog__Member *r = f->members->members[i];
        printf("member      %u %s incarnation %016" PRIx64 " raft %s client %s\n", r->replica,
               r->role == HF__CATALOG__ROLE__LEARNER ? "learner" : "voter", r->incarnation, r->raft_endpoint,
               r->client_endpoint);
    }
    for (size_t i = 0; i < f->damage_count; i++)
        printf("DAMAGE      %s\n", f->damage[i]);
}

/* Why `identity` cannot be read; the exit code. */
static int no_identity(const char *dir, int rc, bool json)
{
    char path[PATH_BYTES];
    struct stat st;
    const char *why = disk_error_text(rc); /* of errno */
    path_of(dir, "identity", path);
    if (!dir[0])
        return offline_error("\"\"", HF_E_ABSENT, "this names no directory", json);
    if (stat(dir, &st) == 0 ? !S_ISDIR(st.st_mode) : errno == ENOTDIR)
        return offline_error(dir, HF_E_ABSENT, "it is no directory, so no replica's", json);
    if (rc == HF_E_ABSENT)
        return offline_error(path, rc, "no such file; this is no replica's directory", json);
    return offline_error(path, rc == HF_E_IO ? HF_E_REFUSED : rc, why, json);
}

int inspect_print(const char *dir, bool json)
{
    static struct found f; /* too large for the stack */
    f = (struct found){.dir = dir};
    int rc = identity_read(disk_posix(), dir, &f.id);
    if (rc)
        return no_identity(dir, rc, json);
    f.used = in_use(dir);
    snprintf(f.log_name, sizeof f.log_name, "%s-%u", f.id.engine, f.id.log_epoch);
    look(&f);
    struct tally log = tally_of(dir, f.log_name), fsm = tally_of(dir, "fsm");
    (json ? print_json : print_text)(&f, log, fsm);
    rc = f.damage_count ? OFFLINE_DEGRADED : 0;
    if (f.members)
        hf__catalog__members__free_unpacked((Hf__Catalog__Members *)(uintptr_t)f.members, NULL);
    arena_deinit(&f.arena);
    return fflush(stdout) == 0 ? rc : OFFLINE_NOT_DONE;
}
