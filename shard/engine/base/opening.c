/* opening.c: the log an engine opens must hold what the state machine has applied, and be the log it was applied from. */
#include "shard/engine/base/opening.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "shard/engine/base/folder.h"

/* The log must hold what the state machine has applied, and be the log it was applied from (I5). */
static int check_cover(const struct engine_env *env, const struct log *log, const char *path, char where[256])
{
    uint64_t base = log_first(log) - 1, last = log_last(log), term = 0;
    if (last < env->applied) {
        snprintf(where, 256, "%.120s: log ends at %" PRIu64 ", the state machine has applied %" PRIu64, path, last,
                 env->applied);
        return HF_E_CORRUPT;
    }
    if (base > env->applied) {
        snprintf(where, 256, "%.120s: log begins after %" PRIu64 ", the state machine has applied %" PRIu64, path, base,
                 env->applied);
        return HF_E_CORRUPT;
    }
    if (log_term(log, env->applied, &term) != HF_OK || term != env->applied_term) {
        snprintf(where, 256,
                 "%.120s: term at %" PRIu64 " is %" PRIu64 ", the state machine applied it with term %" PRIu64, path,
                 env->applied, term, env->applied_term);
        return HF_E_CORRUPT;
    }
    return HF_OK;
}

/* While no state machine says how far it is: from where on the configurations of the log count. */
static uint64_t guess_applied(const struct engine_env *env, const struct log *log)
{
    uint64_t term;
    bool known = log_term(log, env->applied, &term) == HF_OK && term == env->applied_term;
    return known ? env->applied : log_first(log) - 1;
}

static void tell_found(struct engine_found *found, int code, const struct log *log, uint64_t applied)
{
    if (found == NULL)
        return;
    *found = (struct engine_found){.log_code = code, .snapshot = found->snapshot};
    if (code != HF_OK)
        return;
    found->first = log_first(log);
    found->last = log_last(log);
    found->commit = log_hard_state(log).commit;
    if (log_term(log, applied, &found->applied_term) != HF_OK)
        found->applied_term = 0;
    if (log_term(log, found->snapshot, &found->snapshot_term) != HF_OK)
        found->snapshot_term = 0;
}

int opening_log(const char *engine, const struct engine_env *env, uint64_t cache_bytes, struct log **out,
                uint64_t *out_applied, char where[256])
{
    char path[FOLDER_PATH_BYTES];
    struct log_report found = {0};
    where[0] = '\0';
    *out = NULL;
    int rc = folder_path(engine, env->dir, env->log_epoch, path);
    if (rc != HF_OK)
        return rc;
    struct log_config config = {
        .disk = env->disk, .dir = path, .segment_bytes = env->segment_bytes, .cache_bytes = cache_bytes};
    rc = log_open(&config, out, &found, where);
    tell_found(env->found, rc, *out, env->applied);
    *out_applied = env->applied;
    if (rc == HF_OK && env->held)
        *out_applied = guess_applied(env, *out);
    else if (rc == HF_OK)
        rc = check_cover(env, *out, path, where);
    if (rc != HF_OK) {
        if (*out != NULL)
            log_close(out);
        return rc;
    }
    diag(DIAG_INFO, "log open segments=%" PRIu64 " frames=%" PRIu64 " entries=%" PRIu64 " torn_bytes=%" PRIu64,
         found.segments, found.frames, found.entries, found.torn_bytes);
    return HF_OK;
}
