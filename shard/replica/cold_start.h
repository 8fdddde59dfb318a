/* cold_start.h: what a replica finds at its start, and what it does about it: one enum, one decision, one line.
 *
 * Position: directory.c collects the facts and does what was decided; nothing else decides. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum cold_state {
    COLD_FRESH,
    COLD_AHEAD,          /* applied > snapshot */
    COLD_EQUAL,          /* applied = snapshot */
    COLD_BEHIND_COVERED, /* applied < snapshot, the log covers the gap: unreachable (I4), replayed with an alarm */
    COLD_BEHIND_GAP,     /* applied < snapshot, it does not */
    COLD_MISSING,        /* no state machine, or none that says where it stands */
    COLD_UNREADABLE,     /* its meta cannot be read as what it should be */
    COLD_FOREIGN_EPOCH,  /* of another cluster, group or log epoch */
    COLD_FOREIGN_TERM,   /* its term is not the log's at that index */
    COLD_CORRUPT_FSM,    /* a checksum in fsm/ */
    COLD_CORRUPT_LOG,    /* a damaged frame, or an end below the applied index (I13) */
};

enum cold_action { COLD_START_FRESH, COLD_SKIP, COLD_REPLAY, COLD_RESTORE, COLD_REBUILD_LOG, COLD_REFUSE };

struct cold_facts {
    bool fresh;
    int fsm_code;          /* of opening it: HF_OK, HF_E_ABSENT, HF_E_CORRUPT, HF_E_FORMAT … */
    bool fsm_meta_bad;     /* it opened, its meta did not decode */
    bool fsm_foreign;      /* cluster, group or epoch differ from identity */
    uint64_t applied, applied_term;
    int token_code;        /* HF_OK, HF_E_ABSENT, HF_E_CORRUPT */
    uint64_t snapshot, snapshot_term;
    int log_code;          /* of opening it */
    uint64_t first, last, commit;
    bool applied_in_log, applied_term_agrees, snapshot_term_agrees;
    uint32_t voters;       /* of the group; 1: nobody to be healed by */
    bool local_stream;     /* --snapshot-keep left a valid one */
    bool force_restore;    /* --cold-start=restore */
};

struct cold_decision {
    enum cold_state state;
    enum cold_action action;
    const char *outcome; /* metric label: fresh, skipped, executed, fallback */
    const char *reason;  /* metric label */
    uint64_t gap;        /* |applied - snapshot| */
};

struct cold_decision cold_start_classify(const struct cold_facts *facts);
const char *cold_state_name(enum cold_state state);
