/* wrongmeta.c: `wrongmeta DIR WHAT`: makes what the state machine of a stopped replica says of itself wrong, with checksums that
 * hold, as a bug or a mixed-up copy would. For tests of the cold start. WHAT:
 *   mangled  its record of the applied position has no form any more
 *   term     it says that it applied its last entry with a term that the log does not have there
 *   pointer  the snapshot pointer says so, of the same entry */
#include <stdio.h>
#include <string.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/sys/disk.h"
#include "shard/fsm/vkey.h"
#include "shard/snapshot/token.h"
#include "shard/store/store.h"

#define APPLIED_TERM_AT 25 /* in the record; shard/fsm/README.md */

static const char key[] = "mapplied";

static int write_record(const char *fsm_dir, bool mangled, char where[256])
{
    struct store_config config = {.dir = fsm_dir, .prefix = vkey_prefix_length};
    struct store *store = NULL;
    struct buf value = {0};
    int rc = store_open(&config, false, &store, where);
    if (rc != HF_OK)
        return rc;
    struct store_batch *batch = store_batch_new();
    rc = store_get(store, slice_text(key), &value);
    if (rc == HF_OK && mangled)
        value.size /= 2;
    else if (rc == HF_OK)
        put_le64(value.data + APPLIED_TERM_AT, get_le64(value.data + APPLIED_TERM_AT) + 1);
    if (rc == HF_OK) {
        store_batch_put(batch, slice_text(key), buf_slice(&value));
        rc = store_write(store, batch);
    }
    if (rc == HF_OK)
        rc = store_flush(store);
    buf_deinit(&value);
    store_batch_free(&batch);
    store_close(&store);
    return rc;
}

static int write_pointer(const char *dir, const char *fsm_dir, char where[256])
{
    struct arena arena = {0};
    struct fsm_info info;
    int rc = fsm_peek(fsm_dir, &arena, &info, where);
    if (rc == HF_OK) {
        struct token token = token_from(&info);
        token.term++;
        rc = token_write(disk_posix(), dir, &token);
    }
    arena_deinit(&arena);
    return rc;
}

int main(int argc, char **argv)
{
    char where[256] = "", fsm_dir[4096];
    if (argc != 3)
        return 2;
    const char *dir = argv[1], *what = argv[2];
    snprintf(fsm_dir, sizeof fsm_dir, "%s/fsm", dir);
    int rc = HF_E_INVALID;
    if (strcmp(what, "pointer") == 0)
        rc = write_pointer(dir, fsm_dir, where);
    else if (strcmp(what, "mangled") == 0 || strcmp(what, "term") == 0)
        rc = write_record(fsm_dir, what[0] == 'm', where);
    if (rc != HF_OK)
        fprintf(stderr, "wrongmeta: %s: %s\n", error_text(rc), where);
    return rc == HF_OK ? 0 : 1;
}
