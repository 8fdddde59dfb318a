/* conformance.h: what every engine is run through: tables of cases, each ended by a NULL name. */
#pragma once

#include "tests/conformance/boxes.h"

extern const struct unit_case conformance_entries[];  /* entries.c */
extern const struct unit_case conformance_leaders[];  /* leaders.c */
extern const struct unit_case conformance_reads[];    /* reads.c */
extern const struct unit_case conformance_installs[]; /* installs.c */
extern const struct unit_case conformance_disks[];    /* disks.c */
extern const struct unit_case conformance_refusals[]; /* refusals.c */
extern const struct unit_case conformance_seals[];    /* seals.c */
