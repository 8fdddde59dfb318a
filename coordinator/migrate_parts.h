/* migrate_parts.h: what the files of the migration job share: the record in the catalog, the shards, the operators. */
#pragma once

#include "coordinator/migrate.h"

/* migrate.c. The job in memory changed: the catalog is to have it. Only while READY. */
void migrate_change(struct migrate *m, uint64_t now_ns);
/* Takes it; the shards are driven anew. */
void migrate_set_job(struct migrate *m, struct migrate_job **job, uint64_t now_ns);

/* migrate_drive.c */
struct migrate_look *migrate_look_begin(struct migrate *m, uint32_t shard, uint64_t now_ns); /* NULL: no such shard */
void migrate_look_end(struct migrate *m, struct migrate_look **look);
void migrate_drive_all(struct migrate *m, uint64_t now_ns);
void migrate_drive_seen(struct migrate *m, size_t at, uint64_t now_ns); /* all members answered, or did not in time */
void migrate_drive_forget(struct migrate *m);                           /* all of them */
void migrate_settle(struct migrate *m);                                 /* is the job over? */
void migrate_drive_gauges(const struct migrate *m);

/* migrate_ask.c */
void migrate_serve(struct migrate *m, uint64_t now_ns);
void migrate_served(struct migrate *m, int code); /* what the catalog says to the change of the one that is served */
void migrate_expire(struct migrate *m, uint64_t now_ns);
void migrate_dismiss(struct migrate *m); /* not the active one any more */
void migrate_survey_seen(struct migrate *m, size_t at, uint64_t now_ns);
void migrate_survey_end(struct migrate *m);
