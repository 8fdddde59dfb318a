/* peers.c: the file `peers`: hf.catalog.Members behind a header; bounded before it is unpacked (I11, I12). */
#include <stdio.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"
#include "shard/log/identity.h"

/* The header: magic 0, format 8, crc 12 (of all but these four bytes), length of what follows 16, zero 20. */
#define PEERS_NAME "peers"
#define PEERS_FORMAT 1u
#define PEERS_HEADER_BYTES 24u
#define PATH_BYTES 4096
#define MEMBER_BYTES_MAX (2u * LIMIT_TEXT_BYTES + 64u)
#define PEERS_BYTES_MAX (LIMIT_PEERS * (MEMBER_BYTES_MAX + 8u) + 32u)
#define MEMBER_TAG 0x12u /* Members.members: field 2, length-delimited */

static const char magic[8] = {'H', 'F', 'P', 'E', 'E', 'R', 'S', '\0'};

int peers_check(const Hf__Catalog__Members *members)
{
    if (members->n_members == 0 || members->n_members > LIMIT_PEERS)
        return members->n_members == 0 ? HF_E_INVALID : HF_E_LIMIT;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        if (m->replica == 0 || (m->role != HF__CATALOG__ROLE__VOTER && m->role != HF__CATALOG__ROLE__LEARNER))
            return HF_E_INVALID;
        if (strnlen(m->raft_endpoint, LIMIT_TEXT_BYTES + 1) > LIMIT_TEXT_BYTES ||
            strnlen(m->client_endpoint, LIMIT_TEXT_BYTES + 1) > LIMIT_TEXT_BYTES)
            return HF_E_LIMIT;
        for (size_t k = 0; k < i; k++)
            if (members->members[k]->replica == m->replica)
                return HF_E_INVALID;
    }
    return 0;
}

/* A base-128 number at *at, moved behind it. */
static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* Counts members and bounds each before the unpacker allocates for them. Only what a Members message of ours holds. */
static bool bounded(const uint8_t *at, const uint8_t *end)
{
    size_t members = 0;
    while (at < end) {
        uint64_t tag, value;
        if (!take_varint(&at, end, &tag) || !take_varint(&at, end, &value))
            return false;
        if (tag != MEMBER_TAG && (tag & 7) != 0)
            return false;
        if (tag == MEMBER_TAG) {
            if (++members > LIMIT_PEERS || value > MEMBER_BYTES_MAX || value > (uint64_t)(end - at))
                return false;
            at += value;
        }
    }
    return true;
}

static uint32_t file_crc(struct slice file)
{
    return crc32c(crc32c(0, file.data, 12), file.data + 16, file.size - 16);
}

static int decode(struct slice file, Hf__Catalog__Members **out)
{
    if (file.size < PEERS_HEADER_BYTES || memcmp(file.data, magic, sizeof magic) != 0 ||
        get_le32(file.data + 12) != file_crc(file))
        return HF_E_CORRUPT;
    if (get_le32(file.data + 8) != PEERS_FORMAT)
        return HF_E_FORMAT;
    size_t size = file.size - PEERS_HEADER_BYTES;
    const uint8_t *payload = file.data + PEERS_HEADER_BYTES;
    if (get_le32(file.data + 16) != size || get_le32(file.data + 20) != 0 || !bounded(payload, payload + size))
        return HF_E_CORRUPT;
    Hf__Catalog__Members *members = pack_unpack_owned(&hf__catalog__members__descriptor, slice_make(payload, size));
    if (members == NULL)
        return HF_E_CORRUPT;
    if (peers_check(members) != 0) {
        hf__catalog__members__free_unpacked(members, NULL);
        return HF_E_CORRUPT;
    }
    *out = members;
    return 0;
}

static int path_of(const char *dir, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, PEERS_NAME);
    return n < 0 || n >= PATH_BYTES ? HF_E_LIMIT : 0;
}

int peers_read(struct disk *disk, const char *dir, Hf__Catalog__Members **out)
{
    char path[PATH_BYTES];
    struct buf file = {0};
    int rc = path_of(dir, path);
    if (rc != 0)
        return rc;
    rc = disk_read_all(disk, path, PEERS_HEADER_BYTES + PEERS_BYTES_MAX, &file);
    if (rc == 0)
        rc = decode(buf_slice(&file), out);
    buf_deinit(&file);
    return rc == HF_E_LIMIT ? HF_E_CORRUPT : rc;
}

/* Would a member that is known by an address lose it? */
static bool forgets_address(const Hf__Catalog__Members *old, const Hf__Catalog__Members *new)
{
    for (size_t i = 0; i < new->n_members; i++)
        for (size_t k = 0; k < old->n_members; k++) {
            const Hf__Catalog__Member *to = new->members[i], *from = old->members[k];
            if (to->replica == from->replica && ((to->raft_endpoint[0] == '\0' && from->raft_endpoint[0] != '\0') ||
                                                 (to->client_endpoint[0] == '\0' && from->client_endpoint[0] != '\0')))
                return true;
        }
    return false;
}

static int replace(struct disk *disk, const char *dir, const Hf__Catalog__Members *members)
{
    char path[PATH_BYTES];
    struct buf file = {0};
    int rc = path_of(dir, path);
    if (rc != 0)
        return rc;
    memset(buf_extend(&file, PEERS_HEADER_BYTES), 0, PEERS_HEADER_BYTES);
    pack_append(&members->base, &file);
    must(file.size <= PEERS_HEADER_BYTES + PEERS_BYTES_MAX); /* peers_check bounded every part */
    memcpy(file.data, magic, sizeof magic);
    put_le32(file.data + 8, PEERS_FORMAT);
    put_le32(file.data + 16, (uint32_t)(file.size - PEERS_HEADER_BYTES));
    put_le32(file.data + 12, file_crc(buf_slice(&file)));
    rc = disk_replace(disk, path, buf_slice(&file));
    buf_deinit(&file);
    return rc;
}

int peers_write(struct disk *disk, const char *dir, const Hf__Catalog__Members *members)
{
    Hf__Catalog__Members *old = NULL;
    int rc = peers_check(members);
    if (rc != 0)
        return rc;
    rc = peers_read(disk, dir, &old);
    if (rc == HF_E_ABSENT)
        return replace(disk, dir, members);
    if (rc != 0)
        return rc;
    if (old->index != members->index)
        rc = forgets_address(old, members) ? HF_E_INVALID : replace(disk, dir, members);
    hf__catalog__members__free_unpacked(old, NULL);
    return rc;
}
