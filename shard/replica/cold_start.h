/* cold_start.h: what a replica finds at its start, and what it does about it: one enum, one decision, one line.
 *
 * Position: directory.c collects the facts and does what was decided; nothing else decides.
 * Order:    an install that was under way is finished first (snapshot/install.h); then these facts hold still. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cold_state {
    COLD_FRESH,
    COLD_AHEAD,          /* applied > snapshot */
    COLD_EQUAL,          /* applied = snapshot */
    COLD_BEHIND_COVERED, /* applied < snapshot, the log covers the gap: unreachable (I4), replayed with an alarm */
    COLD_BEHIND_GAP,     /* the log begins behind applied */
    COLD_MISSING,        /* no state machine, or none that says where it stands */
    COLD_UNREADABLE,     /* its own records do not read as what they should be */
    COLD_FOREIGN_EPOCH,  /* of another cluster, group or log epoch */
    COLD_FOREIGN_TERM,   /* its term, or the snapshot's, is not the log's at that index (I5) */
    COLD_CORRUPT_FSM,    /* a checksum in fsm/ */
    COLD_CORRUPT_LOG,    /* a damaged frame, or an end below what was applied or published (I13) */
};
#define COLD_STATES (COLD_CORRUPT_LOG + 1)

enum cold_action {
    COLD_START_FRESH,
    COLD_SKIP,        /* the state machine is what it was: the log goes on behind it */
    COLD_REPLAY,      /* likewise; what is replayed should not have been missing */
    COLD_RESTORE,     /* the state comes from elsewhere; the log, term and vote stay */
    COLD_REBUILD_LOG, /* the log is put aside, the state machine stays if it can be used (I13) */
    COLD_REFUSE,      /* nobody to be healed by */
};

struct cold_facts {
    bool fresh;
    int fsm_code;     /* of opening it: HF_OK, HF_E_ABSENT, HF_E_INVALID (its records), HF_E_CORRUPT */
    bool fsm_foreign; /* cluster, group or epoch differ from identity; with HF_OK */
    uint64_t applied, applied_term;
    bool token; /* there is one, and it is this directory's */
    uint64_t snapshot, snapshot_term;
    int log_code;                                 /* of the log alone: HF_OK or HF_E_CORRUPT */
    uint64_t first, last;                         /* entries kept; last = first - 1: none */
    uint64_t log_applied_term, log_snapshot_term; /* the log's own at those indexes; 0: it does not hold them */
    uint32_t healers;                             /* other voters of the group */
    bool local_stream;                            /* a valid one is kept here */
    bool force_restore;                           /* --cold-start=restore */
};

struct cold_decision {
    enum cold_state state;
    enum cold_action action;
    const char *outcome; /* metric label: fresh, skipped, executed, fallback, refused */
    const char *reason;  /* metric label */
    uint64_t gap;        /* |applied - snapshot| */
};

/* Pure. */
struct cold_decision cold_start_classify(const struct cold_facts *facts);
const char *cold_state_name(enum cold_state state);

/* Counts it and prints the one line. */
void cold_start_report(const struct cold_decision *decision, const struct cold_facts *facts);

/* From here to ready is what a start takes; ready counts once. */
void cold_start_begin(uint64_t now_ns);
void cold_start_ready(uint64_t now_ns);

/* What the start spent its time on. */
enum cold_phase { COLD_PHASE_FSM, COLD_PHASE_LOG, COLD_PHASE_RESTORE, COLD_PHASE_TOTAL };
#define COLD_PHASES (COLD_PHASE_TOTAL + 1)
void cold_start_phase(enum cold_phase phase, uint64_t ns);
