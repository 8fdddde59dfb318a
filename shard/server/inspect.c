/* inspect.c: see inspect.h. Reads the small files only: opening the log or RocksDB would repair and so change them. */
#include "shard/server/inspect.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/error.h"
#include "shard/log/identity.h"

#define EXIT_NOT_FOUND 1
#define EXIT_REFUSED 6
#define PATH_BYTES 4096

struct tally {
    const char *dir;
    uint64_t files, bytes;
};

static bool in_use(const char *dir)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/LOCK", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0;
    close(fd);
    return held;
}

static void count_file(void *ctx, const char *name)
{
    struct tally *t = ctx;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        t->files++;
        t->bytes += (uint64_t)st.st_size;
    }
}

static struct tally tally_of(const char *dir, const char *name)
{
    static char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    struct tally t = {.dir = path};
    (void)disk_posix()->ops->list(disk_posix(), path, count_file, &t); /* an absent folder holds nothing */
    return t;
}

/* The inside of a JSON string; bytes from a file may be any. */
static void print_text(FILE *to, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at < 0x20 || *at == 0x7f)
            fprintf(to, "\\u%04x", (unsigned)*at);
        else
            fprintf(to, *at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
    }
}

static void print_members(const Hf__Catalog__Members *m, bool json)
{
    for (size_t i = 0; m && i < m->n_members; i++) {
        const Hf__Catalog__Member *r = m->members[i];
        const char *role = r->role == HF__CATALOG__ROLE__LEARNER ? "learner" : "voter";
        if (!json) {
            printf("member      %u %s incarnation %016" PRIx64 " raft %s client %s\n", r->replica, role, r->incarnation,
                   r->raft_endpoint, r->client_endpoint);
            continue;
        }
        printf("%s{\"replica\":%u,\"incarnation\":\"%016" PRIx64 "\",\"role\":\"%s\",\"raft\":\"", i ? "," : "",
               r->replica, r->incarnation, role);
        print_text(stdout, r->raft_endpoint);
        printf("\",\"client\":\"");
        print_text(stdout, r->client_endpoint);
        printf("\"}");
    }
}

static void print_all(const char *dir, const struct identity *id, const Hf__Catalog__Members *members, bool used,
                      bool json)
{
    char log_name[64];
    snprintf(log_name, sizeof log_name, "%s-%u", id->engine, id->log_epoch);
    struct tally log = tally_of(dir, log_name);
    struct tally fsm = tally_of(dir, "fsm");
    if (json) {
        printf(
            "{\"cluster\":\"%016" PRIx64 "\",\"shard\":%u,\"replica\":%u,\"incarnation\":\"%016" PRIx64
            "\",\"engine\":\"%s\",\"format\":%u,\"log_epoch\":%u,\"fresh\":%s,\"in_use\":%s,\"log\":{\"files\":%" PRIu64
            ",\"bytes\":%" PRIu64 "},\"fsm\":{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 "},\"members\":[",
            id->cluster, id->group, id->replica, id->incarnation, id->engine, id->format, id->log_epoch,
            id->cluster ? "false" : "true", used ? "true" : "false", log.files, log.bytes, fsm.files, fsm.bytes);
        print_members(members, true);
        printf("]}\n");
        return;
    }
    printf("cluster     %016" PRIx64 "%s\nreplica     %u/%u\nincarnation %016" PRIx64
           "\nengine      %s\nformat      %u\n"
           "log epoch   %u\nin use      %s\nlog         %" PRIu64 " files, %" PRIu64 " bytes\nfsm         %" PRIu64
           " files, %" PRIu64 " bytes\n",
           id->cluster, id->cluster ? "" : " (fresh: not a member yet)", id->group, id->replica, id->incarnation,
           id->engine, id->format, id->log_epoch, used ? "yes" : "no", log.files, log.bytes, fsm.files, fsm.bytes);
    print_members(members, false);
}

/* One line on stderr; as JSON it is what every command of `holdfast` says. */
static void say_error(const char *dir, const char *name, int rc, const char *what, bool json)
{
    if (!json) {
        fprintf(stderr, "holdfast-shard: %s/%s: %s\n", dir, name, what);
        return;
    }
    fprintf(stderr, "{\"error\":{\"code\":\"%s\",\"class\":\"%s\",\"message\":\"", error_name(rc),
            error_class_name(error_class(rc)));
    print_text(stderr, dir);
    fprintf(stderr, "/%s: %s\"}}\n", name, what);
}

int inspect_print(const char *dir, bool json)
{
    struct identity id;
    int rc = identity_read(disk_posix(), dir, &id);
    if (rc) {
        const char *what = rc == HF_E_ABSENT ? "no such file; this is no replica's directory" : disk_error_text(rc);
        say_error(dir, "identity", rc, what, json);
        return rc == HF_E_ABSENT ? EXIT_NOT_FOUND : EXIT_REFUSED;
    }
    Hf__Catalog__Members *members = NULL;
    rc = id.cluster ? peers_read(disk_posix(), dir, &members) : HF_OK;
    if (rc)
        say_error(dir, "peers", rc, disk_error_text(rc), json);
    print_all(dir, &id, members, in_use(dir), json);
    if (members)
        hf__catalog__members__free_unpacked(members, NULL);
    return rc ? EXIT_REFUSED : 0;
}
