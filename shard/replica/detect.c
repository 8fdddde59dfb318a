/* detect.c: see detect.h. */
#include "shard/replica/detect.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "shard/engine/engine.h"

/* ---- what is there ---- */

static bool log_name(const char *name, struct detect_log *out)
{
    const char *dash = strrchr(name, '-');
    size_t size = dash ? (size_t)(dash - name) : 0, digits = dash ? strspn(dash + 1, "0123456789") : 0;
    if (size == 0 || size >= sizeof out->engine || digits == 0 || digits > 10 || dash[1 + digits] != '\0')
        return false;
    uint64_t epoch = strtoull(dash + 1, NULL, 10);
    snprintf(out->engine, sizeof out->engine, "%.*s", (int)size, name);
    out->epoch = (uint32_t)epoch;
    return epoch <= UINT32_MAX && engine_shipped(out->engine);
}

static void note(void *ctx, const char *name)
{
    struct detect_facts *f = ctx;
    struct detect_log log;
    if (strcmp(name, "LOCK") == 0 || strcmp(name, "lost+found") == 0) /* the latter is of every new file system */
        return;
    if (log_name(name, &log)) {
        if (f->logs_count < DETECT_LOGS_MAX)
            f->logs[f->logs_count++] = log;
    } else if (strcmp(name, "peers") == 0) {
        f->peers = true;
    }
    if (f->foreign[0] == '\0' || log_name(name, &log)) /* a log says most */
        snprintf(f->foreign, sizeof f->foreign, "%s", name);
}

int detect_look(struct disk *disk, struct detect_facts *facts)
{
    int rc = disk->ops->list(disk, facts->dir, note, facts);
    if (rc == HF_OK)
        facts->identity_code = identity_read(disk, facts->dir, &facts->id);
    return rc;
}

/* ---- what it means ---- */

static HF_PRINTF(2, 3) enum detect_verdict refused(char *message, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, DETECT_MESSAGE_BYTES, format, arguments);
    va_end(arguments);
    return DETECT_REFUSED;
}

static enum detect_verdict unread(const struct detect_facts *f, char *message)
{
    if (f->identity_code == HF_E_FORMAT)
        return refused(message,
                       "%s/identity has a format this program does not know (it knows %d); use a newer program", f->dir,
                       IDENTITY_FORMAT);
    return refused(message, "%s/identity cannot be read: %s; bring the file back from this replica's backup", f->dir,
                   error_text(f->identity_code));
}

/* A directory without identity may hold nothing else: it would be somebody's data. */
static enum detect_verdict nobodys(const struct detect_facts *f, char *message)
{
    const char *engine = f->engine ? f->engine : ENGINE_DEFAULT;
    if (f->foreign[0])
        return refused(
            message,
            "directory %s has no identity but holds \"%s\"; give an empty directory, or bring its identity back",
            f->dir, f->foreign);
    if (!engine_find(engine))
        return refused(message, "--engine %s: this program does not have it; it has %s", engine, engine_names());
    return DETECT_NEW;
}

static enum detect_verdict of_another(const struct detect_facts *f, char *message)
{
    const struct identity *id = &f->id;
    if (id->group != f->group)
        return refused(message,
                       "directory %s belongs to shard %" PRIu32 ", not to shard %" PRIu32
                       "; start it with --shard %" PRIu32,
                       f->dir, id->group, f->group, id->group);
    if (id->replica != f->replica)
        return refused(message,
                       "directory %s belongs to replica %" PRIu32 ", not to replica %" PRIu32
                       "; start it with --replica %" PRIu32,
                       f->dir, id->replica, f->replica, id->replica);
    if (f->cluster && id->cluster && id->cluster != f->cluster)
        return refused(message,
                       "directory %s belongs to cluster %016" PRIx64 ", not to cluster %016" PRIx64
                       "; give the right --dir",
                       f->dir, id->cluster, f->cluster);
    if (f->engine && strcmp(f->engine, id->engine) != 0)
        return refused(
            message, "directory %s is run by engine %s, not %s; leave --engine out: engines are changed by a migration",
            f->dir, id->engine, f->engine);
    if (!engine_find(id->engine))
        return refused(message, "directory %s is run by engine %s, which this program does not have; it has %s", f->dir,
                       id->engine, engine_names());
    return DETECT_MEMBER;
}

/* The log that identity names, and no other: which of two is the truth nobody could tell later. A directory that was told no
 * cluster yet may hold what a killed bootstrap made, which is of epoch 1. */
static enum detect_verdict parts(const struct detect_facts *f, char *message)
{
    const struct identity *id = &f->id;
    bool fresh = id->cluster == 0, present = false;
    uint32_t epoch = fresh ? 1 : id->log_epoch;
    for (size_t i = 0; i < f->logs_count; i++) {
        bool own = strcmp(f->logs[i].engine, id->engine) == 0 && f->logs[i].epoch == epoch;
        present |= own;
        if (!own)
            return refused(message,
                           "directory %s holds %s-%" PRIu32 ", but its identity names engine %s, log epoch %" PRIu32
                           "; it was copied there: move it away",
                           f->dir, f->logs[i].engine, f->logs[i].epoch, id->engine, epoch);
    }
    if (fresh)
        return DETECT_FRESH;
    if (!present)
        return refused(message,
                       "%s has no files of engine %s, log epoch %" PRIu32
                       ", which its identity names; bring %s-%" PRIu32 " back or replace this replica",
                       f->dir, id->engine, epoch, id->engine, epoch);
    if (!f->peers)
        return refused(message, "%s/peers is missing; bring the file back or replace this replica", f->dir);
    return DETECT_MEMBER;
}

enum detect_verdict detect_decide(const struct detect_facts *facts, char message[DETECT_MESSAGE_BYTES])
{
    message[0] = '\0';
    if (facts->identity_code == HF_E_ABSENT)
        return nobodys(facts, message);
    if (facts->identity_code != HF_OK)
        return unread(facts, message);
    enum detect_verdict verdict = of_another(facts, message);
    return verdict == DETECT_REFUSED ? verdict : parts(facts, message);
}
