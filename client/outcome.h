/* outcome.h: the judgement of replies: what a request's attempts, taken together, prove (I9).
 *
 * Position: attempt.c acts on what is decided here; nothing here sends or waits.
 * Thread:   I/O thread only. */
#pragma once

#include "client/client.h"

enum outcome {
    OUTCOME_FINAL,   /* the reply's code is the request's */
    OUTCOME_UNKNOWN, /* refused, but an earlier attempt may have been, or may yet be, executed */
    OUTCOME_RETRY,   /* the current attempt was refused (or passed on and lost): the same again */
    OUTCOME_IGNORE,  /* late; the current attempt decides */
};

/* True: it changes data, so a repeated execution would matter. */
bool outcome_is_write(const struct hf_future *r);
/* A transaction that wrote nothing and read one key at most: that was at one moment, and nothing is left to ask. */
bool outcome_known(const struct hf_future *r);
/* The class a reply carries; of a code without one, the table's. */
enum hf_class outcome_class(const Hf__Client__Reply *reply);
/* Notes that attempt r->attempts went out. */
void outcome_mark_sent(struct hf_future *r);
/* Notes the reply to `attempt`; `current`: it is the one we wait for. */
enum outcome outcome_judge(struct hf_future *r, uint32_t attempt, bool current, const Hf__Client__Reply *reply);

/* Notes whether a conflict is the end of an attempt that somebody was away for, and not that another one was first. */
void outcome_note_away(struct hf_future *r, const Hf__Client__Reply *reply);

int outcome_late(const struct hf *h, struct hf_future *r); /* the code at the deadline; sets r->message */
int outcome_refused(const struct hf_future *r, int code);  /* `code`, unless an attempt is unanswered */
int outcome_closed(const struct hf_future *r);
/* It no longer counts among the outstanding. */
void outcome_counted_out(struct hf *h, const struct hf_future *r);
