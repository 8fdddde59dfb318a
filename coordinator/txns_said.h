/* txns_said.h: what a shard's answer means for the transaction that asked.
 *
 * Position: txns.c's. Pure. */
#pragma once

#include "coordinator/txns.h"

enum txns_verdict {
    TXNS_SAID_DONE,        /* it did what it was asked */
    TXNS_SAID_AGAIN,       /* ask again; surely not done by that attempt */
    TXNS_SAID_SILENT,      /* ask again; that attempt may have been executed */
    TXNS_SAID_REDRAW,      /* VALIDATING: at another timestamp */
    TXNS_SAID_REFUSED,     /* surely not done by that attempt, nor by another: `code` */
    TXNS_SAID_COMMITTED,   /* home: it is decided so, for ever */
    TXNS_SAID_ROLLED_BACK, /* home: likewise */
    TXNS_SAID_UNKNOWN      /* home, or what is to be told: nothing that helps; whoever looks later finds out */
};

struct txns_word {
    enum txns_verdict verdict;
    int code;             /* REFUSED, ROLLED_BACK: for the client. AGAIN: what it was */
    struct hlc timestamp; /* DONE of a prepare: least commit; COMMITTED: the commit's; REDRAW: above which */
};

/* NULL: no answer in time. */
struct txns_word txns_said_judge(enum txns_step step, const Hf__Client__Reply *reply);
