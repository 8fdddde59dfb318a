/* backup.c: backup create DIR | backup create FILE --shard N, backup verify DIR|FILE.
 *
 * The shard's leader makes the stream; it is written beside its final name, synced, read again and checked whole, and only
 * then gets its name. A directory has a manifest, so that a file that goes missing later is missed. */
#include "client/cli/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/manifest.h"
#include "client/cli/progress.h"
#include "client/cli/stop.h"
#include "client/status.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "proto/pack.h"

#define PATH_BYTES 4096
#define PART_MS 30000u /* an answer may wait for an election */
#define POLL_MS 100
#define TRIES_MAX 100 /* of one part, in a row: with the pauses about ten seconds */
#define BEGINS_MAX 10 /* a view is lost with its leader */

struct making { /* one file */
    struct cli *c;
    struct admin *a;
    uint64_t cluster;
    uint32_t shard;
    const char *temp; /* its name until it is whole */
    int fd;
    uint64_t view, offset;
    struct progress progress;
};

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* The endpoint of the shard's leader in `out`; false: none known now. */
static bool find_leader(const struct making *m, char out[LIMIT_TEXT_BYTES + 1])
{
    struct hf_cluster_status *s = NULL;
    bool found = false;
    if (status_collect(m->a, m->c->endpoints, m->c->timeout_ms, &s) == HF_OK) {
        const char *endpoint = status_leader_endpoint(s, m->shard);
        found = endpoint != NULL && s->cluster == m->cluster;
        if (found)
            snprintf(out, LIMIT_TEXT_BYTES + 1, "%s", endpoint);
    }
    status_free(&s);
    return found;
}

static int write_all(const struct making *m, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(m->fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cli_error(m->c, errno == ENOSPC || errno == EDQUOT ? HF_E_NO_SPACE : HF_E_IO,
                             "backup: cannot write %s: %s", m->temp, strerror(errno));
        data += n;
        size -= (size_t)n;
    }
    return HF_OK;
}

/* From the beginning, by whoever leads now. */
static int begin_again(struct making *m)
{
    m->view = m->offset = 0;
    if (ftruncate(m->fd, 0) != 0 || lseek(m->fd, 0, SEEK_SET) != 0)
        return cli_error(m->c, HF_E_IO, "backup: cannot write %s: %s", m->temp, strerror(errno));
    return HF_OK;
}

static int ask(struct making *m, const char *leader, Hf__Client__Reply **reply)
{
    Hf__Client__Backup part = HF__CLIENT__BACKUP__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    part.view = m->view;
    part.offset = m->offset;
    request.cluster = m->cluster;
    request.shard = m->shard;
    request.op_case = HF__CLIENT__REQUEST__OP_BACKUP;
    request.backup = &part;
    return admin_ask_one(m->a, leader, &request, m->c->timeout_given ? m->c->timeout_ms : PART_MS, reply);
}

static bool may_ask_again(int rc)
{
    return rc == HF_E_ABSENT || rc == HF_E_TIMEOUT || rc == HF_E_IO || hf_error_class(rc) != HF_CLASS_GIVE_UP;
}

/* All parts into the file. HF_OK, or an exit code after saying why; after a signal HF_OK, too. */
static int fetch(struct making *m)
{
    char leader[LIMIT_TEXT_BYTES + 1], text[512] = "it has no leader";
    int begins = 0, tries = 0, rc = HF_E_UNAVAILABLE;
    for (bool known = false, more = true; more && !stop_asked();) {
        if (tries++ == TRIES_MAX || begins == BEGINS_MAX)
            return cli_error(m->c, rc, "backup: shard %" PRIu32 ": %s", m->shard, text);
        known = known || find_leader(m, leader);
        Hf__Client__Reply *reply = NULL;
        rc = known ? ask(m, leader, &reply) : HF_E_UNAVAILABLE;
        int wrote = HF_OK;
        if (rc == HF_OK && reply->view != 0) {
            wrote = write_all(m, reply->value.data, reply->value.len);
            m->view = reply->view;
            m->offset += reply->value.len;
            more = reply->more;
            tries = 0;
            progress_bytes(&m->progress, clock_boot_ns(), m->offset, 0);
        } else if (rc == HF_OK) {
            rc = HF_E_PROTOCOL;
        }
        if (rc && known)
            snprintf(text, sizeof text, "%s", reply && *reply->message ? reply->message : hf_error_text(rc));
        if (reply)
            hf__client__reply__free_unpacked(reply, NULL);
        if (wrote)
            return wrote;
        if (rc == HF_OK)
            continue;
        if (!may_ask_again(rc))
            return cli_error(m->c, rc, "backup: shard %" PRIu32 ": %s", m->shard, text);
        bool lost = rc == HF_E_ABSENT || hf_error_class(rc) == HF_CLASS_RETRY_ELSEWHERE || rc == HF_E_TIMEOUT;
        known &= !lost;
        if (lost && m->view != 0) {
            begins++;
            wrote = begin_again(m);
            if (wrote)
                return wrote;
        }
        pause_ms(POLL_MS);
    }
    return HF_OK;
}

static int sync_parent(const struct cli *c, const char *path)
{
    char parent[PATH_BYTES];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = 0;
    int fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0
                 ? cli_error(c, HF_E_IO, "backup: cannot sync the directory of %s: %s", path, strerror(errno))
                 : HF_OK;
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Fetched, synced, checked, named. */
static int make_file(struct making *m, const char *path, Hf__Client__BackupHead *head)
{
    progress_start(&m->progress, clock_boot_ns());
    int rc = fetch(m);
    progress_end(&m->progress);
    if (!rc && !stop_asked() && fsync(m->fd) != 0)
        rc = cli_error(m->c, errno == ENOSPC ? HF_E_NO_SPACE : HF_E_IO, "backup: cannot sync %s: %s", m->temp,
                       strerror(errno));
    if (!rc && !stop_asked())
        rc = child_head(m->c, m->temp, head);
    if (!rc && !stop_asked() && link(m->temp, path) != 0) /* never over something that is there */
        rc = cli_error(m->c, errno == EEXIST ? HF_E_EXISTS : HF_E_IO, "backup: cannot name it %s: %s", path,
                       strerror(errno));
    return rc;
}

static int create_file(struct cli *c, struct admin *a, uint64_t cluster, uint32_t shard, const char *path,
                       Hf__Client__BackupHead *head)
{
    char temp[PATH_BYTES];
    struct stat st;
    if ((size_t)snprintf(temp, sizeof temp, "%s.%ld.tmp", path, (long)getpid()) >= sizeof temp)
        return cli_usage(c, "backup: the path is too long");
    if (lstat(path, &st) == 0)
        return cli_error(c, HF_E_EXISTS, "backup: %s is there already; give another name", path);
    struct making m = {.c = c, .a = a, .cluster = cluster, .shard = shard, .temp = temp};
    m.fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (m.fd < 0)
        return cli_error(c, errno == ENOSPC ? HF_E_NO_SPACE : HF_E_REFUSED, "backup: cannot make %s: %s", temp,
                         strerror(errno));
    int rc = make_file(&m, path, head);
    close(m.fd);
    (void)unlink(temp);
    return rc || stop_asked() ? rc : sync_parent(c, path);
}

static void say_file(const struct cli *c, const char *path, const Hf__Client__BackupHead *head, const char **comma)
{
    if (!c->json) {
        printf("shard %" PRIu32 ": %" PRIu64 " records, %" PRIu64 " bytes, as of index %" PRIu64 ": %s\n", head->shard,
               head->records, head->bytes, head->index, path);
        return;
    }
    printf("%s{\"shard\":%" PRIu32 ",\"cluster\":\"%016" PRIx64 "\",\"index\":%" PRIu64 ",\"term\":%" PRIu64
           ",\"ceiling\":%" PRIu64 ",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
           *comma, head->shard, head->cluster, head->index, head->term, head->ceiling, head->records, head->bytes);
    *comma = ",";
}

/* ---- create ---- */

static void file_name(const char *dir, uint32_t shard, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/shard-%" PRIu32 ".backup", dir, shard);
    must(n > 0 && n < PATH_BYTES); /* the directory's length was checked */
}

/* All shards into `dir`, which is ours. */
static int fill_directory(struct cli *c, struct admin *a, const struct hf_cluster_status *s, const char *dir,
                          Hf__Client__BackupHead *heads)
{
    int rc = HF_OK;
    for (size_t i = 0; i < s->shards_count && !rc && !stop_asked(); i++) {
        char file[PATH_BYTES];
        file_name(dir, s->shards[i].shard, file);
        rc = create_file(c, a, s->cluster, s->shards[i].shard, file, &heads[i]);
    }
    if (rc || stop_asked())
        return rc;
    rc = manifest_write(dir, heads, s->shards_count); /* last: who finds it finds all of them */
    return rc ? cli_error(c, rc, "backup: cannot write %s/" MANIFEST_NAME ": %s", dir, hf_error_text(rc)) : HF_OK;
}

/* The directory did not become a backup. */
static void clear_directory(const struct hf_cluster_status *s, const char *dir)
{
    static const char *const others[] = {MANIFEST_NAME, MANIFEST_NAME ".tmp"};
    char file[PATH_BYTES];
    for (size_t i = 0; i < s->shards_count; i++) {
        file_name(dir, s->shards[i].shard, file);
        (void)unlink(file);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        must(snprintf(file, sizeof file, "%s/%s", dir, others[i]) < (int)sizeof file);
        (void)unlink(file);
    }
    (void)rmdir(dir);
}

/* The directory gets its name when all shards are in it. */
static int create_directory(struct cli *c, struct admin *a, const struct hf_cluster_status *s)
{
    const char *path = c->arguments[0].text, *comma = "";
    char temp[PATH_BYTES - 64], file[PATH_BYTES];
    struct stat st;
    if ((size_t)snprintf(temp, sizeof temp, "%s.%ld.tmp", path, (long)getpid()) >= sizeof temp)
        return cli_usage(c, "backup: the path is too long");
    if (lstat(path, &st) == 0)
        return cli_error(c, HF_E_EXISTS, "backup: %s is there already; give a new name", path);
    if (mkdir(temp, 0700) != 0)
        return cli_error(c, errno == ENOSPC ? HF_E_NO_SPACE : HF_E_REFUSED, "backup: cannot make the directory %s: %s",
                         temp, strerror(errno));
    Hf__Client__BackupHead *heads = arena_zalloc(&c->arena, s->shards_count * sizeof *heads);
    int rc = fill_directory(c, a, s, temp, heads);
    if (!rc && !stop_asked() && rename(temp, path) != 0)
        rc = cli_error(c, HF_E_IO, "backup: cannot name the directory %s: %s", path, strerror(errno));
    else if (!rc && !stop_asked())
        rc = sync_parent(c, path);
    if (rc || stop_asked()) {
        clear_directory(s, temp);
        return rc;
    }
    fputs(c->json ? "{\"files\":[" : "", stdout);
    for (size_t i = 0; i < s->shards_count; i++) {
        file_name(path, s->shards[i].shard, file);
        say_file(c, file, &heads[i], &comma);
    }
    fputs(c->json ? "]}\n" : "", stdout);
    return HF_OK;
}

static int create_one(struct cli *c, struct admin *a, const struct hf_cluster_status *s)
{
    Hf__Client__BackupHead head;
    const char *comma = "";
    bool found = false;
    for (size_t i = 0; i < s->shards_count; i++)
        found |= s->shards[i].shard == c->shard;
    if (!found)
        return cli_error(c, HF_E_ABSENT, "there is no shard %" PRIu64 "; holdfast routes lists them", c->shard);
    int rc = create_file(c, a, s->cluster, (uint32_t)c->shard, c->arguments[0].text, &head);
    if (rc || stop_asked())
        return rc;
    fputs(c->json ? "{\"files\":[" : "", stdout);
    say_file(c, c->arguments[0].text, &head, &comma);
    fputs(c->json ? "]}\n" : "", stdout);
    return HF_OK;
}

int backup_create(struct cli *c)
{
    int rc = cli_check_endpoints(c);
    if (rc)
        return rc;
    struct admin *a = admin_open();
    if (!a)
        return cli_error(c, HF_E_NO_MEMORY, NULL);
    struct hf_cluster_status *s = NULL;
    rc = status_find(a, c->endpoints, c->timeout_ms, &s);
    if (rc) {
        rc = cli_error(c, rc, NULL);
    } else if (!s->routes) {
        rc = cli_no_routes(c);
    } else {
        stop_on_signals();
        signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error like a full disk */
        rc = cli_flush_done(c, (c->shard ? create_one : create_directory)(c, a, s));
    }
    status_free(&s);
    admin_close(&a);
    stop_end(); /* does not return after a signal */
    return rc;
}

/* ---- verify ---- */

static int by_shard(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
    return one < other ? -1 : one > other;
}

/* The numbers of the shards whose files are in `dir`. */
static int list_shards(struct cli *c, const char *path, DIR *dir, uint32_t *out, size_t *out_count)
{
    size_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        unsigned shard;
        char again[64];
        if (sscanf(entry->d_name, "shard-%u.backup", &shard) != 1)
            continue;
        snprintf(again, sizeof again, "shard-%u.backup", shard);
        if (strcmp(again, entry->d_name) != 0)
            continue;
        if (count == MANIFEST_SHARDS_MAX)
            return cli_error(c, HF_E_LIMIT, "backup: more than %u files in %s", MANIFEST_SHARDS_MAX, path);
        out[count++] = shard;
    }
    qsort(out, count, sizeof *out, by_shard);
    *out_count = count;
    return HF_OK;
}

/* What the directory says of itself. */
struct contents {
    Hf__Client__BackupHead *heads; /* NULL: nothing */
    size_t count;
};

static const Hf__Client__BackupHead *head_of(const struct contents *all, uint32_t shard)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->heads[i].shard == shard)
            return &all->heads[i];
    return NULL;
}

static int read_contents(struct cli *c, const char *path, struct contents *out)
{
    *out = (struct contents){0};
    int rc = manifest_read(path, &c->arena, &out->heads, &out->count);
    if (rc == HF_OK || rc == HF_E_ABSENT)
        return HF_OK;
    const char *what = rc == HF_E_FORMAT ? "a later version of holdfast made this backup" : hf_error_text(rc);
    return cli_error(c, rc, "backup: %s/" MANIFEST_NAME ": %s", path, what);
}

/* Is there a file for each shard, and no other? `shards` is sorted. */
static int check_names(const struct cli *c, const char *path, const struct contents *all, const uint32_t *shards,
                       size_t count)
{
    char missing[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < all->count; i++)
        if (!bsearch(&all->heads[i].shard, shards, count, sizeof *shards, by_shard) && used < sizeof missing - 40)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%sshard-%" PRIu32 ".backup",
                                     used > 0 ? ", " : "", all->heads[i].shard);
    if (used > 0)
        return cli_error(c, HF_E_ABSENT, "backup: %s is not whole: it was made of %zu shards; missing: %s", path,
                         all->count, missing);
    for (size_t i = 0; i < count && all->heads; i++)
        if (!head_of(all, shards[i]))
            return cli_error(c, HF_E_CORRUPT, "backup: %s/shard-%" PRIu32 ".backup is no part of this backup", path,
                             shards[i]);
    return count ? HF_OK : cli_error(c, HF_E_ABSENT, "backup: %s holds no file shard-N.backup", path);
}

/* Checked whole. `shard`: what its name says, with `all`; 0: it stands alone. */
static int check_file(struct cli *c, const char *path, uint32_t shard, const struct contents *all,
                      struct backup_file *out)
{
    out->path = (const char *)arena_copy(&c->arena, slice_make(path, strlen(path) + 1)).data;
    int rc = child_head(c, out->path, &out->head);
    if (rc || shard == 0)
        return rc;
    const Hf__Client__BackupHead *head = &out->head, *was = head_of(all, shard);
    if (head->shard != shard)
        return cli_error(c, HF_E_REFUSED, "backup: %s holds shard %" PRIu32 "; the file was renamed", path,
                         head->shard);
    if (was && (was->cluster != head->cluster || was->bytes != head->bytes || was->records != head->records ||
                was->index != head->index || was->term != head->term))
        return cli_error(c, HF_E_CORRUPT, "backup: %s is whole, but of another backup than the rest of its directory",
                         path);
    return HF_OK;
}

static int check_directory(struct cli *c, const char *path, DIR *dir, struct backup_set *out)
{
    struct contents all;
    uint32_t *shards = arena_alloc(&c->arena, MANIFEST_SHARDS_MAX * sizeof *shards);
    int rc = read_contents(c, path, &all);
    if (!rc)
        rc = list_shards(c, path, dir, shards, &out->count);
    if (!rc)
        rc = check_names(c, path, &all, shards, out->count);
    if (rc)
        return rc;
    out->scope = all.heads ? BACKUP_CLUSTER : BACKUP_UNKNOWN;
    out->files = arena_zalloc(&c->arena, out->count * sizeof *out->files);
    for (size_t i = 0; i < out->count && !rc; i++) {
        char name[PATH_BYTES];
        if ((size_t)snprintf(name, sizeof name, "%s/shard-%" PRIu32 ".backup", path, shards[i]) >= sizeof name)
            return cli_usage(c, "backup: the path is too long");
        rc = check_file(c, name, shards[i], &all, &out->files[i]);
    }
    return rc;
}

int backup_files(struct cli *c, const char *path, struct backup_set *out)
{
    DIR *dir = opendir(path);
    if (!dir && errno != ENOTDIR)
        return cli_error(c, errno == ENOENT ? HF_E_ABSENT : HF_E_IO, "backup: cannot open %s: %s", path,
                         strerror(errno));
    *out = (struct backup_set){.scope = BACKUP_SHARD, .count = 1};
    if (!dir) {
        out->files = arena_zalloc(&c->arena, sizeof *out->files);
        return check_file(c, path, 0, NULL, out->files);
    }
    int rc = check_directory(c, path, dir, out);
    closedir(dir);
    return rc;
}

const char *backup_scope_name(enum backup_scope scope)
{
    switch (scope) {
    case BACKUP_CLUSTER:
        return "cluster";
    case BACKUP_SHARD:
        return "shard";
    case BACKUP_UNKNOWN:
        return "unknown";
    }
    must(false); /* one of the above */
}

const char *backup_scope_text(const struct backup_set *set, char out[128])
{
    out[0] = 0;
    if (set->scope == BACKUP_SHARD)
        snprintf(out, 128, "; this is shard %" PRIu32 " alone", set->files[0].head.shard);
    else if (set->scope == BACKUP_UNKNOWN)
        snprintf(out, 128, "; whether all shards are there cannot be told: there is no file \"" MANIFEST_NAME "\"");
    return out;
}

int backup_verify(struct cli *c)
{
    struct backup_set set;
    int rc = backup_files(c, c->arguments[0].text, &set);
    if (rc)
        return rc;
    const char *comma = "";
    char scope[128];
    if (c->json)
        printf("{\"intact\":true,\"scope\":\"%s\",\"files\":[", backup_scope_name(set.scope));
    for (size_t i = 0; i < set.count; i++)
        say_file(c, set.files[i].path, &set.files[i].head, &comma);
    if (c->json)
        fputs("]}\n", stdout);
    else
        printf("intact%s\n", backup_scope_text(&set, scope));
    return cli_flush(c, CLI_OK);
}
