/* log_rebuild.c: a damaged log is put aside and an empty one made under the same term and vote (I13). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "shard/log/hardstate.h"
#include "shard/log/log.h"
#include "shard/log/recover.h"
#include "shard/log/segments.h"

static int path_of(const char *dir, const char *name, char out[SEGMENTS_PATH_BYTES])
{
    int n = snprintf(out, SEGMENTS_PATH_BYTES, "%s/%s", dir, name);
    return n < 0 || n >= SEGMENTS_PATH_BYTES ? HF_E_LIMIT : HF_OK;
}

/* A hard state that is older than what is left of the entries has lost votes, and nobody knows which. */
static int check_hard_state(struct segments *s, struct log_hard_state hs, uint64_t term, char out_where[256])
{
    struct recovery found = {0};
    char ignored[RECOVER_WHERE_BYTES];
    uint64_t newest = term;
    if (s->count > 0) {
        (void)!recover_read(s, &found, ignored); /* damaged, that is why we are here: what is good before it counts */
        if (found.view.runs != NULL && view_last_term(&found.view) > newest)
            newest = view_last_term(&found.view);
        recover_deinit(&found);
    }
    if (newest <= hs.term)
        return HF_OK;
    snprintf(out_where, 256, "%s: its term %" PRIu64 " is older than an entry's, %" PRIu64 " (in %s)", HARDSTATE_NAME,
             hs.term, newest, s->dir);
    return HF_E_CORRUPT;
}

/* Oldest first; durable on return. */
static int move_segments(struct segments *s, const char *quarantine)
{
    struct disk *disk = s->disk;
    int rc = disk->ops->make_dir(disk, quarantine);
    if (rc == HF_E_EXISTS)
        rc = HF_OK;
    if (rc == HF_OK) /* or what moves there may come back, when the new log is long in use */
        rc = segments_sync_parent(disk, quarantine);
    for (size_t i = 0; rc == HF_OK && i < s->count; i++) {
        char name[SEGMENTS_NAME_BYTES], from[SEGMENTS_PATH_BYTES], to[SEGMENTS_PATH_BYTES];
        segments_name(s->items[i].id, name);
        rc = path_of(s->dir, name, from);
        if (rc == HF_OK)
            rc = path_of(quarantine, name, to);
        if (rc == HF_OK)
            rc = disk->ops->rename(disk, from, to);
        crash_point("log.quarantined");
    }
    if (rc == HF_OK)
        rc = disk->ops->sync_dir(disk, quarantine);
    return rc == HF_OK ? disk->ops->sync_dir(disk, s->dir) : rc;
}

static int make_first(const struct segments *old, uint64_t index, uint64_t term)
{
    struct segments fresh;
    segments_init(&fresh, old->disk, old->dir, old->segment_bytes);
    fresh.id_max = old->id_max;
    int rc = segments_add(
        &fresh,
        (struct frame_segment){.sequence = 1, .base = index, .base_term = term, .last = index, .last_term = term}, 0);
    segments_deinit(&fresh);
    return rc;
}

int log_rebuild(const struct log_config *config, const char *quarantine, uint64_t index, uint64_t term,
                char out_where[256])
{
    char path[SEGMENTS_PATH_BYTES];
    struct hardstate hard = {0};
    struct segments segments;
    struct log_hard_state hs;
    out_where[0] = '\0';
    int rc = path_of(config->dir, HARDSTATE_NAME, path);
    if (rc != HF_OK)
        return rc;
    segments_init(&segments, config->disk, config->dir, config->segment_bytes);
    rc = segments_load(&segments);
    if (rc == HF_OK)
        rc = hardstate_open(&hard, config->disk, path, &hs);
    if (rc != HF_OK)
        snprintf(out_where, 256, "%s: %s (in %s)", HARDSTATE_NAME, disk_error_text(rc), config->dir);
    if (rc == HF_OK)
        rc = check_hard_state(&segments, hs, term, out_where);
    if (rc == HF_OK) {
        rc = move_segments(&segments, quarantine);
        hs.commit = index; /* what was known to be committed beyond went with the entries */
        if (rc == HF_OK)
            rc = hardstate_write(&hard, hs);
        if (rc == HF_OK)
            rc = make_first(&segments, index, term);
        if (rc != HF_OK)
            snprintf(out_where, 256, "%s: %s while putting the damaged log aside", config->dir, disk_error_text(rc));
    }
    if (hard.file != NULL)
        hardstate_close(&hard);
    segments_deinit(&segments);
    return rc;
}
