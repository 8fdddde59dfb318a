/* hardstate.c: the two copies of the hard state: written in turn, read newest first. */
#include "shard/log/hardstate.h"

#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/error.h"

/* A slot: magic 0, format 8, crc 12 (of the slot without these four bytes), sequence 16, term 24, vote 32, commit 40.
 */

static const char magic[8] = {'H', 'F', 'H', 'A', 'R', 'D', 'S', 'T'};

static uint32_t slot_crc(const uint8_t *slot)
{
    return crc32c(crc32c(0, slot, 12), slot + 16, HARDSTATE_SLOT_BYTES - 16);
}

static void slot_encode(uint8_t slot[HARDSTATE_SLOT_BYTES], uint64_t sequence, struct log_hard_state hs)
{
    memset(slot, 0, HARDSTATE_SLOT_BYTES);
    memcpy(slot, magic, sizeof magic);
    put_le32(slot + 8, HARDSTATE_FORMAT);
    put_le64(slot + 16, sequence);
    put_le64(slot + 24, hs.term);
    put_le64(slot + 32, hs.vote);
    put_le64(slot + 40, hs.commit);
    put_le32(slot + 12, slot_crc(slot));
}

static int slot_decode(const uint8_t slot[HARDSTATE_SLOT_BYTES], uint64_t *out_sequence, struct log_hard_state *out)
{
    if (memcmp(slot, magic, sizeof magic) != 0 || get_le32(slot + 12) != slot_crc(slot))
        return HF_E_CORRUPT;
    if (get_le32(slot + 8) != HARDSTATE_FORMAT)
        return HF_E_FORMAT;
    *out_sequence = get_le64(slot + 16);
    *out = (struct log_hard_state){
        .term = get_le64(slot + 24), .vote = get_le64(slot + 32), .commit = get_le64(slot + 40)};
    return 0;
}

/* Writes the copy that follows the newest over the older one. */
static int write_copy(struct hardstate *h, struct log_hard_state hs)
{
    uint8_t slot[HARDSTATE_SLOT_BYTES];
    uint64_t sequence = h->sequence + 1;
    slot_encode(slot, sequence, hs);
    int rc = h->disk->ops->write(h->disk, h->file, sequence % 2 * HARDSTATE_SLOT_BYTES, slot, sizeof slot);
    if (rc == 0)
        rc = h->disk->ops->sync(h->disk, h->file);
    if (rc == 0)
        h->sequence = sequence;
    return rc;
}

int hardstate_write(struct hardstate *h, struct log_hard_state hs)
{
    int rc = write_copy(h, hs);
    return rc == 0 ? write_copy(h, hs) : rc;
}

int hardstate_create(struct disk *disk, const char *path, struct log_hard_state hs)
{
    struct hardstate h = {.disk = disk};
    int rc = disk->ops->open(disk, path, DISK_CREATE, &h.file);
    if (rc != 0)
        return rc;
    rc = disk->ops->zero_fill(disk, h.file, 2 * HARDSTATE_SLOT_BYTES);
    if (rc == 0)
        rc = hardstate_write(&h, hs);
    hardstate_close(&h);
    return rc;
}

/* Takes the newer whole copy of `bytes` into h->sequence and *out. */
static int choose(struct hardstate *h, const uint8_t bytes[2 * HARDSTATE_SLOT_BYTES], struct log_hard_state *out)
{
    bool found = false, unknown = false;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t sequence;
        struct log_hard_state hs;
        int rc = slot_decode(bytes + i * HARDSTATE_SLOT_BYTES, &sequence, &hs);
        unknown |= rc == HF_E_FORMAT;
        if (rc != 0 || sequence % 2 != i || (found && sequence < h->sequence))
            continue;
        found = true;
        h->sequence = sequence;
        *out = hs;
    }
    return unknown ? HF_E_FORMAT : found ? 0 : HF_E_CORRUPT;
}

int hardstate_open(struct hardstate *h, struct disk *disk, const char *path, struct log_hard_state *out)
{
    uint8_t bytes[2 * HARDSTATE_SLOT_BYTES] = {0};
    uint64_t size = 0;
    *h = (struct hardstate){.disk = disk};
    int rc = disk->ops->open(disk, path, DISK_WRITE, &h->file);
    if (rc != 0)
        return rc;
    rc = disk->ops->size(disk, h->file, &size);
    if (rc == 0 && size > sizeof bytes)
        rc = HF_E_CORRUPT;
    if (rc == 0 && size > 0)
        rc = disk->ops->read(disk, h->file, 0, bytes, (size_t)size);
    if (rc == 0)
        rc = choose(h, bytes, out);
    if (rc != 0)
        hardstate_close(h);
    return rc;
}

void hardstate_close(struct hardstate *h)
{
    if (h->file != NULL)
        h->disk->ops->close(h->disk, &h->file);
}
