/* store_checkpoint.c: a copy of an open store made of hard links, while others write. */
#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/disk.h"
#include "shard/store/store_internal.h"

/* RocksDB writes into a directory of this name first and renames it. */
#define UNFINISHED_SUFFIX ".tmp"

int store_checkpoint(struct store *s, const char *dir, char where[256])
{
    char unfinished[LIMIT_TEXT_BYTES], *text = NULL;
    if ((size_t)snprintf(unfinished, sizeof unfinished, "%s" UNFINISHED_SUFFIX, dir) >= sizeof unfinished)
        return HF_E_LIMIT;
    int rc = disk_remove_tree(disk_posix(), unfinished); /* of a process killed here */
    if (rc == HF_OK)
        rc = disk_remove_tree(disk_posix(), dir);
    uint64_t room = 0;
    if (rc == HF_OK)
        rc = disk_room(s->dir, &room);
    if (rc == HF_OK && room < STORE_ROOM_BYTES)
        rc = HF_E_NO_SPACE;
    if (rc != HF_OK) {
        snprintf(where, 256, "%.200s: %s", dir, disk_error_text(rc));
        return rc;
    }
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(s->db, &text);
    if (text == NULL)
        rocksdb_checkpoint_create(checkpoint, dir, 0, &text); /* 0: what is in memory is flushed first */
    if (checkpoint != NULL)
        rocksdb_checkpoint_object_destroy(checkpoint);
    return store_error(text, where);
}
