/* identity.c: the file `identity`: fixed lines in fixed order, checked as a whole before any is believed (I10, I11). */
#include "shard/log/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/error.h"

#define IDENTITY_NAME "identity"
#define IDENTITY_TEXT_MAX 4096u /* of any format */
#define CRC_LINE_BYTES 13u      /* "crc xxxxxxxx\n" */
#define PATH_BYTES 4096
#define NO_ENGINE "-" /* in the file, where no engine was chosen yet */

static bool engine_valid(const char engine[IDENTITY_ENGINE_BYTES])
{
    size_t size = strnlen(engine, IDENTITY_ENGINE_BYTES);
    return size < IDENTITY_ENGINE_BYTES && strspn(engine, "abcdefghijklmnopqrstuvwxyz0123456789_") == size;
}

/* The number after "key " in the line at *at, which then moves behind the line. Decimal, or hex of 16 digits. */
static bool take_number(const char **at, const char *key, bool hex, uint64_t max, uint64_t *out)
{
    size_t size = strlen(key);
    const char *text = *at;
    if (strncmp(text, key, size) != 0 || text[size] != ' ')
        return false;
    text += size + 1;
    size_t digits = strspn(text, hex ? "0123456789abcdef" : "0123456789");
    if (text[digits] != '\n' || (hex ? digits != 16 : digits < 1 || digits > 10 || (text[0] == '0' && digits > 1)))
        return false;
    uint64_t value = strtoull(text, NULL, hex ? 16 : 10);
    if (value > max)
        return false;
    *at = text + digits + 1;
    *out = value;
    return true;
}

static bool take_engine(const char **at, const char *key, char out[IDENTITY_ENGINE_BYTES])
{
    const char *text = *at;
    size_t key_size = strlen(key);
    if (strncmp(text, key, key_size) != 0 || text[key_size] != ' ')
        return false;
    text += key_size + 1;
    size_t size = strcspn(text, "\n");
    if (size == 0 || size >= IDENTITY_ENGINE_BYTES || text[size] != '\n')
        return false;
    memset(out, 0, IDENTITY_ENGINE_BYTES);
    memcpy(out, text, size);
    *at = text + size + 1;
    if (strcmp(out, NO_ENGINE) == 0)
        memset(out, 0, IDENTITY_ENGINE_BYTES);
    return engine_valid(out);
}

/* The last line must be the checksum of all before it: true of every format, so that a newer one is told from damage.
 */
static bool crc_holds(const char *text, size_t size)
{
    char line[CRC_LINE_BYTES + 1];
    if (size <= CRC_LINE_BYTES || text[size - CRC_LINE_BYTES - 1] != '\n')
        return false;
    snprintf(line, sizeof line, "crc %08" PRIx32 "\n", crc32c(0, text, size - CRC_LINE_BYTES));
    return memcmp(text + size - CRC_LINE_BYTES, line, CRC_LINE_BYTES) == 0;
}

static bool take_left(const char **at, struct identity_left *left)
{
    uint64_t epoch;
    if (!take_engine(at, "left_engine", left->engine) || !take_number(at, "left_epoch", false, UINT32_MAX, &epoch) ||
        !take_number(at, "left_migration", true, UINT64_MAX, &left->migration) ||
        !take_number(at, "left_index", true, UINT64_MAX, &left->index) ||
        !take_number(at, "left_term", true, UINT64_MAX, &left->term))
        return false;
    left->epoch = (uint32_t)epoch;
    return epoch != 0 && left->engine[0] != '\0';
}

/* Lines that an identity may have or not: each stands alone and in this order. */
static bool take_rest(const char **at, struct identity *id)
{
    uint64_t heartbeat, election;
    if (strncmp(*at, "heartbeat_ms ", 13) == 0) {
        if (!take_number(at, "heartbeat_ms", false, UINT32_MAX, &heartbeat) ||
            !take_number(at, "election_ms", false, UINT32_MAX, &election) || heartbeat == 0 || election == 0)
            return false;
        id->heartbeat_ms = (uint32_t)heartbeat;
        id->election_ms = (uint32_t)election;
    }
    if (strncmp(*at, "recovering ", 11) == 0 &&
        (!take_number(at, "recovering", true, UINT64_MAX, &id->recovering) || id->recovering == 0))
        return false;
    return strncmp(*at, "left_engine ", 12) != 0 || take_left(at, &id->left);
}

static int decode(const char *text, size_t size, struct identity *out)
{
    struct identity id = {0};
    uint64_t format, group, replica, log_epoch;
    const char *at = text;
    if (memchr(text, '\0', size) != NULL || !crc_holds(text, size) ||
        !take_number(&at, "format", false, UINT32_MAX, &format))
        return HF_E_CORRUPT;
    if (format != IDENTITY_FORMAT)
        return HF_E_FORMAT;
    if (!take_number(&at, "cluster", true, UINT64_MAX, &id.cluster) ||
        !take_number(&at, "group", false, UINT32_MAX, &group) ||
        !take_number(&at, "replica", false, UINT32_MAX, &replica) ||
        !take_number(&at, "incarnation", true, UINT64_MAX, &id.incarnation) || !take_engine(&at, "engine", id.engine) ||
        !take_number(&at, "log_epoch", false, UINT32_MAX, &log_epoch) || !take_rest(&at, &id))
        return HF_E_CORRUPT;
    if (at != text + size - CRC_LINE_BYTES || group == 0 || replica == 0)
        return HF_E_CORRUPT;
    id.group = (uint32_t)group;
    id.replica = (uint32_t)replica;
    id.format = (uint32_t)format;
    id.log_epoch = (uint32_t)log_epoch;
    *out = id;
    return 0;
}

static int path_of(const char *dir, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, IDENTITY_NAME);
    return n < 0 || n >= PATH_BYTES ? HF_E_LIMIT : 0;
}

int identity_read(struct disk *disk, const char *dir, struct identity *out)
{
    char path[PATH_BYTES];
    struct buf text = {0};
    int rc = path_of(dir, path);
    if (rc != 0)
        return rc;
    rc = disk_read_all(disk, path, IDENTITY_TEXT_MAX, &text);
    if (rc == 0) {
        size_t size = text.size;
        buf_append(&text, "", 1); /* the parser's end */
        rc = decode((const char *)text.data, size, out);
    }
    buf_deinit(&text);
    return rc == HF_E_LIMIT ? HF_E_CORRUPT : rc;
}

int identity_write(struct disk *disk, const char *dir, const struct identity *id)
{
    char path[PATH_BYTES], text[768];
    if (id->group == 0 || id->replica == 0 || id->format != IDENTITY_FORMAT || !engine_valid(id->engine) ||
        !engine_valid(id->left.engine))
        return HF_E_INVALID;
    int rc = path_of(dir, path);
    if (rc != 0)
        return rc;
    int n = snprintf(text, sizeof text - CRC_LINE_BYTES,
                     "format %" PRIu32 "\ncluster %016" PRIx64 "\ngroup %" PRIu32 "\nreplica %" PRIu32
                     "\nincarnation %016" PRIx64 "\nengine %s\nlog_epoch %" PRIu32 "\n",
                     id->format, id->cluster, id->group, id->replica, id->incarnation,
                     id->engine[0] == '\0' ? NO_ENGINE : id->engine, id->log_epoch);
    must(n > 0 && (size_t)n < sizeof text - CRC_LINE_BYTES);
    size_t size = (size_t)n, room = sizeof text - CRC_LINE_BYTES;
    if (id->heartbeat_ms && id->election_ms)
        size += (size_t)snprintf(text + size, room - size, "heartbeat_ms %" PRIu32 "\nelection_ms %" PRIu32 "\n",
                                 id->heartbeat_ms, id->election_ms);
    if (id->recovering)
        size += (size_t)snprintf(text + size, room - size, "recovering %016" PRIx64 "\n", id->recovering);
    if (id->left.epoch)
        size += (size_t)snprintf(text + size, room - size,
                                 "left_engine %s\nleft_epoch %" PRIu32 "\nleft_migration %016" PRIx64
                                 "\nleft_index %016" PRIx64 "\nleft_term %016" PRIx64 "\n",
                                 id->left.engine, id->left.epoch, id->left.migration, id->left.index, id->left.term);
    must(size < room);
    snprintf(text + size, CRC_LINE_BYTES + 1, "crc %08" PRIx32 "\n", crc32c(0, text, size));
    return disk_replace(disk, path, slice_make(text, size + CRC_LINE_BYTES));
}
