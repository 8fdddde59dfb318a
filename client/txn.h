/* txn.h: an open transaction as the files that make it share it: its calls (txn.c), its pages (txnpage.c), its repetition
 * (txnrun.c).
 *
 * Thread: one at a time, the application's. */
#pragma once

#include "client/txnset.h"

struct hf_txn {
    struct hf *h;         /* borrowed */
    uint64_t start;       /* what it reads at */
    uint64_t deadline_ns; /* of hf_txn_run, which bounds its calls; 0: none */
    bool ended;
    struct txnset set;
    struct hf_future *commit; /* owned; NULL: none was waited for */
    uint64_t above;           /* after RESTART_ABOVE: what it said */
    char message[256];        /* of the last failure */
};

/* HF_OK, or why no call is taken: the transaction ended, or its time is over. *deadline_ms is shortened to what is left. */
HF_CHECKED int txn_enter(struct hf_txn *t, uint32_t *deadline_ms);
/* Notes why a call fails; `code`. f may be NULL. */
int txn_failed(struct hf_txn *t, int code, const struct hf_future *f);
/* A read was RESTART_ABOVE(t->above): HF_OK: nothing was read yet, and it begins above now. Else the code to return. */
HF_CHECKED int txn_restart(struct hf_txn *t, uint32_t deadline_ms);

#define TXN_RESTARTS_MAX 8 /* of one read: one for each leader that went on alone, and some */
