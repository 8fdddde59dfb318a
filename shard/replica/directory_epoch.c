/* directory_epoch.c: a directory leaves an epoch: another engine's log for the same state machine (swap.h says how). */
#include <inttypes.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "shard/replica/aside.h"
#include "shard/replica/directory.h"
#include "shard/replica/swap.h"

static void write_token(struct directory *d)
{
    struct token token = token_from(fsm_info(d->fsm)); /* the one that is there is of a log that was left */
    int rc = token_write(d->config.disk, d->config.dir, &token);
    if (rc)
        refuse("%s/" TOKEN_DIR "/" TOKEN_NAME " cannot be written: %s; %s", d->config.dir, disk_error_text(rc),
               directory_advice(rc));
    d->facts.token = false;
    d->facts.snapshot = d->facts.snapshot_term = 0;
}

void directory_enter_epoch(struct directory *d)
{
    if (!swap_precedes(fsm_info(d->fsm), &d->id))
        return;
    int rc = fsm_enter_next_epoch(d->fsm);
    if (rc)
        refuse("%s cannot enter log epoch %u: %s; %s", d->fsm_dir, d->id.log_epoch, disk_error_text(rc),
               directory_advice(rc));
    write_token(d);
}

bool directory_epoch_ends(const struct directory *d)
{
    const struct fsm_info *info = fsm_info(d->fsm);
    bool fetched = d->install_pending && info->applied.epoch > d->id.log_epoch;
    return swap_due(info, &d->id) && (fetched || info->applied.epoch == d->id.log_epoch);
}

void directory_end_install(struct directory *d)
{
    if (!d->install_pending)
        return;
    aside_unmark(d); /* while INSTALL says that this machine is another */
    int rc = install_done(d->config.disk, d->config.dir);
    if (rc)
        refuse("%s/INSTALL cannot be removed: %s; %s", d->config.dir, disk_error_text(rc), directory_advice(rc));
    d->install_pending = false;
}

void directory_leave_epoch(struct directory *d)
{
    const struct fsm_seal *seal = &fsm_info(d->fsm)->migration.seal;
    bool sealed = fsm_sealed(fsm_info(d->fsm));
    int rc = planted_bug("swap.unflushed") ? HF_OK : fsm_flush(d->fsm);
    if (rc == HF_OK)
        rc = swap_directory(d->config.disk, d->config.dir, d->config.segment_bytes, fsm_info(d->fsm), &d->id);
    if (rc == HF_E_ABSENT)
        refuse("%s goes over to engine %s, which this program does not have; it has %s", d->config.dir, seal->target,
               engine_names());
    if (rc)
        refuse("%s cannot go over to engine %s, log epoch %u: %s; %s", d->config.dir, seal->target, seal->epoch + 1,
               disk_error_text(rc), directory_advice(rc));
    diag(DIAG_INFO, "engine changed to %s log_epoch=%u migration=%016" PRIx64 " sealed=%" PRIu64 " applied=%" PRIu64,
         d->id.engine, d->id.log_epoch, seal->id, seal->index, fsm_info(d->fsm)->applied.index);
    d->ops = d->config.engines ? d->config.engines(d->id.engine) : engine_find(d->id.engine);
    if (sealed)
        directory_enter_epoch(d);
    else
        write_token(d);
    directory_end_install(d); /* last: only it says that a state of a later epoch was not copied from elsewhere */
}

void directory_change_engine(struct directory *d, struct engine_env *env)
{
    char where[256] = "";
    must(!d->engine && d->fsm && !d->install_pending);
    int rc = directory_note_times(d);
    if (rc)
        refuse("cannot write identity in %s: %s; the directory must be writable", d->config.dir, disk_error_text(rc));
    env->unused = true;
    directory_fill_env(d, env);
    env->found = NULL;
    rc = d->ops->open(env, &d->engine, where);
    if (rc)
        refuse("the new raft log of %s cannot be opened: %s: %s; %s", d->config.dir, error_text(rc), where,
               directory_advice(rc));
}
