/* fuzz_files.c: any bytes as the files identity, peers and hard state, with their checksums as they are or made right
 * so that what stands behind them is reached. What is read back is what was written. */
#include <stdio.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/limits.h"
#include "shard/log/hardstate.h"
#include "shard/log/identity.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/simdisk.h"

#define FILE_BYTES_MAX 65536

/* All but the four bytes at 12, which hold it. */
static void fix_crc(uint8_t *bytes, size_t size)
{
    if (size >= 16)
        put_le32(bytes + 12, crc32c(crc32c(0, bytes, 12), bytes + 16, size - 16));
}

static void identity(struct disk *disk, struct slice in, bool fix)
{
    char text[FILE_BYTES_MAX + 16];
    size_t size = in.size;
    memcpy(text, in.data, size);
    if (fix)
        size += (size_t)snprintf(text + size, 16, "crc %08x\n", (unsigned)crc32c(0, text, size));
    must(disk_replace(disk, "d/identity", slice_make(text, size)) == HF_OK);
    struct identity id, again;
    int rc = identity_read(disk, "d", &id);
    if (rc != HF_OK) {
        must(rc == HF_E_CORRUPT || rc == HF_E_FORMAT);
        return;
    }
    must(id.format == IDENTITY_FORMAT && id.engine[IDENTITY_ENGINE_BYTES - 1] == '\0' && id.group && id.replica);
    must(identity_write(disk, "d", &id) == HF_OK && identity_read(disk, "d", &again) == HF_OK);
    must(memcmp(&id, &again, sizeof id) == 0);
    struct buf file = {0}; /* one text for one identity: nothing is read that would not have been written */
    must(disk_read_all(disk, "d/identity", FILE_BYTES_MAX, &file) == HF_OK);
    must(slice_equal(buf_slice(&file), slice_make(text, size)));
    buf_deinit(&file);
}

static void peers(struct disk *disk, struct slice in, bool fix)
{
    static uint8_t bytes[24 + FILE_BYTES_MAX];
    size_t size = in.size;
    memcpy(bytes, in.data, size);
    if (fix) { /* the input is what stands behind the header */
        memmove(bytes + 24, bytes, size);
        memcpy(bytes, "HFPEERS", 8);
        put_le32(bytes + 8, 1);
        put_le32(bytes + 16, (uint32_t)size);
        put_le32(bytes + 20, 0);
        size += 24;
        fix_crc(bytes, size);
    }
    must(disk_replace(disk, "d/peers", slice_make(bytes, size)) == HF_OK);
    Hf__Catalog__Members *members = NULL, *again = NULL;
    int rc = peers_read(disk, "d", &members);
    if (rc != HF_OK) {
        must(rc == HF_E_CORRUPT || rc == HF_E_FORMAT);
        return;
    }
    must(peers_check(members) == HF_OK && members->n_members <= LIMIT_PEERS);
    members->index ^= 1; /* else it is not written */
    rc = peers_write(disk, "d", members);
    must(rc == HF_OK && peers_read(disk, "d", &again) == HF_OK);
    must(again->index == members->index && again->n_members == members->n_members);
    fuzz_stable(&members->base);
    hf__catalog__members__free_unpacked(members, NULL);
    hf__catalog__members__free_unpacked(again, NULL);
}

static void hard_state(struct disk *disk, struct slice in, bool fix)
{
    static uint8_t bytes[FILE_BYTES_MAX + 2 * HARDSTATE_SLOT_BYTES];
    size_t size = in.size;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, in.data, size);
    if (fix) { /* two slots, each begun by half of the input */
        size_t half = in.size / 2 < HARDSTATE_SLOT_BYTES - 8 ? in.size / 2 : HARDSTATE_SLOT_BYTES - 8;
        size = 2 * HARDSTATE_SLOT_BYTES;
        memset(bytes, 0, size);
        for (size_t i = 0; i < 2; i++) {
            uint8_t *slot = bytes + i * HARDSTATE_SLOT_BYTES;
            memcpy(slot, "HFHARDST", 8);
            memcpy(slot + 8, in.data + i * half, half);
            fix_crc(slot, HARDSTATE_SLOT_BYTES);
        }
    }
    must(disk_replace(disk, "d/hardstate", slice_make(bytes, size)) == HF_OK);
    struct hardstate h;
    struct log_hard_state found, again;
    int rc = hardstate_open(&h, disk, "d/hardstate", &found);
    if (rc != HF_OK) {
        must(rc == HF_E_CORRUPT || rc == HF_E_FORMAT);
        return;
    }
    if (h.sequence < UINT64_MAX - 2) {
        found.term++;
        must(hardstate_write(&h, found) == HF_OK);
        hardstate_close(&h);
        must(hardstate_open(&h, disk, "d/hardstate", &again) == HF_OK);
        must(again.term == found.term && again.vote == found.vote && again.commit == found.commit);
    }
    hardstate_close(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    uint8_t what = fuzz_byte(&in);
    if (in.size > FILE_BYTES_MAX)
        return 0;
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    must(disk->ops->make_dir(disk, "d") == HF_OK);
    if (what % 3 == 0)
        identity(disk, in, what & 0x80);
    else if (what % 3 == 1)
        peers(disk, in, what & 0x80);
    else
        hard_state(disk, in, what & 0x80);
    simdisk_free(&sd);
    return 0;
}
