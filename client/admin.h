/* admin.h: raw questions to named endpoints, many at once, without a handle: what operators' commands are made of.
 *
 * Not installed. Position: beside the way of a request: status, bootstrap, leader transfer.
 * Thread: a struct admin belongs to one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"
#include "proto/client.pb-c.h"

struct admin; /* sockets to the endpoints asked so far */

struct admin *admin_open(void); /* NULL: out of memory */
void admin_close(struct admin **a);

struct admin_question {
    const char *endpoint;         /* borrowed */
    Hf__Client__Request *request; /* borrowed; version, id and deadline are filled in */
    bool optional;                /* not waited for once grace_ms passed and anybody answered */
    /* out: */
    Hf__Client__Reply *reply; /* owned: admin_forget. NULL: none came */
    int code;                 /* HF_OK: reply is set (look at its code). HF_E_TIMEOUT: never handed over.
                               * HF_E_OUTCOME_UNKNOWN: handed over, not answered. HF_E_INVALID: bad endpoint */
    uint64_t id;
};

struct admin_patience {
    uint32_t deadline_ms; /* for all of it */
    uint32_t connect_ms;  /* an endpoint that takes no message for so long is given up; 0: the deadline */
    uint32_t grace_ms;    /* for optional ones, from the beginning */
};

/* Asks all at once; back when all are answered or given up. */
void admin_ask(struct admin *a, struct admin_question *questions, size_t count, struct admin_patience patience);
/* One question; its code, or the reply's. *out_reply (owned, may be NULL) is set in both cases. */
HF_CHECKED int admin_ask_one(struct admin *a, const char *endpoint, Hf__Client__Request *request, uint32_t deadline_ms,
                             Hf__Client__Reply **out_reply);
void admin_forget(struct admin_question *questions, size_t count); /* frees the replies */
