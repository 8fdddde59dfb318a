/* migrate_port.h: the migration job's way to the catalog key "migration" and to the members of shards.
 *
 * Position: between migrate.c (the rules) and calls.c. Thread: loop thread only. */
#pragma once

struct coordinator;

void migrate_port_init(struct coordinator *c); /* makes c->migrate */
