/* job.h: a job of the coordinator's, told to people and as JSON. Functions print to standard output; nothing is kept. */
#pragma once

#include "proto/catalog.pb-c.h"

const char *job_phase_text(Hf__Catalog__JobPhase phase);

void job_json(const Hf__Catalog__Job *j); /* all of it, a line */
void job_table(const Hf__Catalog__Job *j);
void job_line(const Hf__Catalog__JobShard *s); /* its line in the table */

/* As status tells of it: without its shards, one object or one line. */
void job_json_brief(const Hf__Catalog__Job *j);
void job_table_brief(const Hf__Catalog__Job *j);
