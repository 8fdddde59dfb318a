/* txns_book.h: the transactions that are driven: who they are, which clients wait for them, what these are told.
 *
 * Position: txns.c's. Pure but for the port's answer. */
#pragma once

#include "coordinator/txns.h"

struct txns_one *txns_book_find(const struct txns *t, const struct txns_id *id); /* NULL: none */
void txns_book_keep(struct txns *t, struct txns_one *one);                       /* takes it */
void txns_book_drop(struct txns *t, struct txns_one *one);                       /* gone and answered: frees it */
void txns_book_free(struct txns_one *one);                                       /* was never kept, or nobody is left */

/* Once: tells all who wait one->code. */
void txns_book_answer(struct txns *t, struct txns_one *one);
/* The client waits for its answer, or has it at once. */
void txns_book_wait(struct txns *t, struct txns_one *one, const struct forward_client *client);
/* Nobody knows what became of it. Nothing if it is answered. */
void txns_book_unknown(struct txns *t, struct txns_one *one, const char *why);
