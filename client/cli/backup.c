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

#include "client/cli/keeper.h"
#include "client/cli/manifest.h"
#include "client/cli/progress.h"
#include "client/cli/stop.h"
#include "client/status.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "proto/pack.h"

#define PATH_BYTES 4096
#define PART_MS 5000u                                   /* for an answer: a leader that went gives none */
#define CONNECT_MS 1000u                                /* a process that is gone takes no question */
#define PATIENCE_NS ((uint64_t)15000 * CLOCK_NS_PER_MS) /* without a part: some elections */
#define SILENCE_NS ((uint64_t)2000 * CLOCK_NS_PER_MS)   /* then it is said that we wait */
#define POLL_MS 100
#define BEGINS_MAX 10 /* a view is lost with its leader */
#define GIVE_BACK_MS 1000u
#define GIVEN_UP UINT64_MAX /* as an offset (client.proto): nobody goes on with the view */

struct making { /* one file */
    struct cli *c;
    struct admin *a;
    uint64_t cluster;
    uint32_t shard;
    const char *temp; /* its name until it is whole */
    int fd;
    char leader[LIMIT_TEXT_BYTES + 1]; /* endpoint; of the view, if there is one */
    bool known;                        /* that it leads */
    uint64_t at;                       /* as of when; 0: when its view is made */
    uint64_t view, offset;
    int begins;
    uint64_t heard_ns; /* when the last part came */
    char why[512];     /* no further one comes */
    bool told;         /* that we wait */
    struct progress progress;
};

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
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
    if (m->begins++ == BEGINS_MAX)
        return cli_error(m->c, HF_E_UNAVAILABLE,
                         "backup: shard %" PRIu32 ": begun %d times and lost each time, last: %s; is its leader stable "
                         "(holdfast status)?",
                         m->shard, BEGINS_MAX, m->why);
    if (ftruncate(m->fd, 0) != 0 || lseek(m->fd, 0, SEEK_SET) != 0)
        return cli_error(m->c, HF_E_IO, "backup: cannot write %s: %s", m->temp, strerror(errno));
    return HF_OK;
}

static void explain_no_leader(struct making *m, const struct hf_cluster_status *s)
{
    size_t silent = 0, all = 0;
    for (size_t i = 0; i < s->shards_count; i++)
        for (size_t k = 0; s->shards[i].shard == m->shard && k < s->shards[i].count; k++, all++)
            silent += s->shards[i].replicas[k].said == NULL;
    int n = snprintf(m->why, sizeof m->why, "it has no leader");
    if (silent > 0)
        snprintf(m->why + n, sizeof m->why - (size_t)n, "; %zu of its %zu replicas do not answer", silent, all);
}

/* Who leads now. *out_said: exit code after an error was said. HF_E_UNAVAILABLE: nobody known, m->why. */
static int find_leader(struct making *m, int *out_said)
{
    struct hf_cluster_status *s = NULL;
    const char *endpoint = NULL;
    int rc = status_collect(m->a, m->c->endpoints, m->c->timeout_ms, &s);
    if (rc != HF_OK || s->cluster == 0)
        snprintf(m->why, sizeof m->why, "nobody at %.400s tells who leads it", m->c->endpoints);
    else if (s->cluster != m->cluster)
        snprintf(m->why, sizeof m->why, "another cluster answers at %.400s", m->c->endpoints);
    else if ((endpoint = status_leader_endpoint(s, m->shard)) == NULL)
        explain_no_leader(m, s);
    m->known = endpoint != NULL;
    if (endpoint && strcmp(endpoint, m->leader) != 0) {
        if (m->view != 0)
            *out_said = begin_again(m); /* the view is the old one's */
        snprintf(m->leader, sizeof m->leader, "%s", endpoint);
    }
    status_free(&s);
    return endpoint ? HF_OK : HF_E_UNAVAILABLE;
}

static int ask(struct making *m, uint64_t offset, uint32_t deadline_ms, Hf__Client__Reply **reply)
{
    Hf__Client__Backup part = HF__CLIENT__BACKUP__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    part.view = m->view;
    part.at = m->view == 0 ? m->at : 0;
    part.offset = offset;
    request.cluster = m->cluster;
    request.shard = m->shard;
    request.op_case = HF__CLIENT__REQUEST__OP_BACKUP;
    request.backup = &part;
    struct admin_question q = {.endpoint = m->leader, .request = &request};
    admin_ask(m->a, &q, 1, (struct admin_patience){.deadline_ms = deadline_ms, .connect_ms = CONNECT_MS});
    *reply = q.reply;
    return q.code == HF_OK ? q.reply->code : q.code;
}

/* Ended early: the next backup need not wait until the server thinks so itself. */
static void give_back(struct making *m)
{
    Hf__Client__Reply *reply = NULL;
    if (m->view != 0 && ask(m, GIVEN_UP, GIVE_BACK_MS, &reply) != HF_OK)
        m->known = false; /* nobody there, or of an earlier version: it ends by itself */
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
}

/* The next part into the file. *out_said: exit code after an error was said. Else an error, m->why, when none came. */
static int take_part(struct making *m, bool *out_more, int *out_said)
{
    int rc = m->known ? HF_OK : find_leader(m, out_said);
    if (rc || *out_said)
        return rc;
    Hf__Client__Reply *reply = NULL;
    rc = ask(m, m->offset, m->c->timeout_given ? m->c->timeout_ms : PART_MS, &reply);
    if (rc == HF_OK && reply->view == 0)
        rc = HF_E_PROTOCOL;
    if (rc == HF_OK) {
        m->view = reply->view;
        *out_said = write_all(m, reply->value.data, reply->value.len);
        m->offset += reply->value.len;
        m->heard_ns = clock_boot_ns();
        m->told = false;
        *out_more = reply->more;
        progress_bytes(&m->progress, m->heard_ns, m->offset, 0);
    } else if (!reply) {
        snprintf(m->why, sizeof m->why, "its leader at %.400s does not answer", m->leader);
        rc = HF_E_UNAVAILABLE;
    } else {
        snprintf(m->why, sizeof m->why, "%s", *reply->message ? reply->message : hf_error_text(rc));
        if (rc == HF_E_TIMEOUT || rc == HF_E_OUTCOME_UNKNOWN)
            rc = HF_E_UNAVAILABLE; /* it had to wait too long there; whoever leads may be asked again */
    }
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
    return rc;
}

/* Says after a while that we wait, after a longer one that we do not. HF_OK, or an exit code. */
static int wait_on(struct making *m, int rc)
{
    uint64_t wait_ns = clock_boot_ns() - m->heard_ns, timeout_ns = (uint64_t)m->c->timeout_ms * CLOCK_NS_PER_MS;
    uint64_t patience_ns = timeout_ns > PATIENCE_NS ? timeout_ns : PATIENCE_NS;
    if (wait_ns > patience_ns)
        return cli_error(m->c, rc, "backup: shard %" PRIu32 ": for %.0f s no part of it came: %s; %s", m->shard,
                         (double)wait_ns / 1e9, m->why,
                         rc == HF_E_BUSY ? "begin again when another one ended"
                                         : "see holdfast status; begin again when the shard has a leader");
    if (wait_ns > SILENCE_NS && !m->told && !m->c->json) { /* there, an error is all that standard error has */
        progress_clear(&m->progress);
        fprintf(stderr, "holdfast: backup: shard %" PRIu32 ": %s; waiting, up to %.0f s\n", m->shard, m->why,
                (double)patience_ns / 1e9);
        m->told = true;
    }
    pause_ms(POLL_MS);
    return HF_OK;
}

/* All parts into the file. HF_OK, or an exit code after saying why; after a signal HF_OK, too. */
static int fetch(struct making *m)
{
    int said = HF_OK;
    m->heard_ns = clock_boot_ns();
    for (bool more = true; more && !said && !stop_asked();) {
        int rc = take_part(m, &more, &said);
        if (rc == HF_OK || said)
            continue;
        if (rc == HF_E_RESTART_ABOVE || rc == HF_E_TOO_OLD)
            return cli_error(m->c, rc,
                             "backup: shard %" PRIu32 " can no longer be read as of the moment of the others: %s; %s",
                             m->shard, m->why,
                             rc == HF_E_TOO_OLD ? "it was begun too late: raise its --retention-seconds, begin again"
                                                : "begin again");
        if (rc != HF_E_ABSENT && hf_error_class(rc) == HF_CLASS_GIVE_UP)
            return cli_error(m->c, rc, "backup: shard %" PRIu32 ": %s", m->shard, m->why);
        m->known &= hf_error_class(rc) == HF_CLASS_RETRY_SAME;
        if (rc == HF_E_ABSENT)
            said = begin_again(m);
        if (!said && !stop_asked())
            said = wait_on(m, rc);
    }
    return said;
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
    if (rc || stop_asked())
        give_back(m);
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

static int create_file(struct cli *c, struct admin *a, uint64_t cluster, uint32_t shard, uint64_t at, const char *path,
                       Hf__Client__BackupHead *head)
{
    char temp[PATH_BYTES];
    struct stat st;
    if ((size_t)snprintf(temp, sizeof temp, "%s.%ld.tmp", path, (long)getpid()) >= sizeof temp)
        return cli_usage(c, "backup: the path is too long");
    if (lstat(path, &st) == 0)
        return cli_error(c, HF_E_EXISTS, "backup: %s is there already; give another name", path);
    struct making m = {.c = c, .a = a, .cluster = cluster, .shard = shard, .at = at, .temp = temp};
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
static int fill_directory(struct cli *c, struct admin *a, const struct hf_cluster_status *s, uint64_t at,
                          const char *dir, Hf__Client__BackupHead *heads)
{
    int rc = HF_OK;
    for (size_t i = 0; i < s->shards_count && !rc && !stop_asked(); i++) {
        char file[PATH_BYTES];
        file_name(dir, s->shards[i].shard, file);
        rc = create_file(c, a, s->cluster, s->shards[i].shard, at, file, &heads[i]);
    }
    if (rc || stop_asked())
        return rc;
    rc = manifest_write(dir, at, heads, s->shards_count); /* last: who finds it finds all of them */
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
    uint64_t at = 0;
    int rc = cli_cut(c, "a backup is of one moment of all shards", &at);
    struct keeper *keeper = !rc && at != 0 ? keeper_begin(c->h) : NULL;
    keeper_at(keeper, at);
    if (!rc && !stop_asked())
        rc = fill_directory(c, a, s, at, temp, heads);
    keeper_end(&keeper);
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
    if (c->json)
        printf("],\"timestamp\":\"%" PRIu64 "\"}\n", at);
    else if (at != 0)
        printf("all as of timestamp %" PRIu64 "\n", at);
    return HF_OK;
}

static int create_one(struct cli *c, struct admin *a, const struct hf_cluster_status *s)
{
    Hf__Client__BackupHead head = HF__CLIENT__BACKUP_HEAD__INIT;
    const char *comma = "";
    bool found = false;
    for (size_t i = 0; i < s->shards_count; i++)
        found |= s->shards[i].shard == c->shard;
    if (!found)
        return cli_no_shard(c, c->shard);
    int rc = create_file(c, a, s->cluster, (uint32_t)c->shard, 0, c->arguments[0].text, &head);
    if (rc || stop_asked())
        return rc;
    fputs(c->json ? "{\"files\":[" : "", stdout);
    say_file(c, c->arguments[0].text, &head, &comma);
    fputs(c->json ? "]}\n" : "", stdout);
    return HF_OK;
}

static int create(struct cli *c, struct admin *a, const struct hf_cluster_status *s, const void *ctx)
{
    (void)ctx;
    stop_on_signals();
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error like a full disk */
    return cli_flush_done(c, (c->shard ? create_one : create_directory)(c, a, s));
}

int backup_create(struct cli *c)
{
    int rc = cluster_act(c, create, NULL);
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
    uint64_t at;                   /* 0: not all of one moment */
    Hf__Client__BackupHead *heads; /* NULL: nothing */
    size_t count;
};

static const Hf__Client__BackupHead *head_of(const struct contents *all, uint32_t shard)
{
    must(all->count == 0 || all->heads != NULL);
    for (size_t i = 0; i < all->count; i++)
        if (all->heads[i].shard == shard)
            return &all->heads[i];
    return NULL;
}

static int read_contents(struct cli *c, const char *path, struct contents *out)
{
    *out = (struct contents){0};
    int rc = manifest_read(path, &c->arena, &out->at, &out->heads, &out->count);
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
    out->at = all.at;
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
    struct backup_set set = {0};
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
        printf("],\"timestamp\":\"%" PRIu64 "\"}\n", set.at);
    else if (set.at != 0)
        printf("intact%s, all as of timestamp %" PRIu64 "\n", backup_scope_text(&set, scope), set.at);
    else
        printf("intact%s\n", backup_scope_text(&set, scope));
    return cli_flush(c, CLI_OK);
}
