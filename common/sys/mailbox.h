/* mailbox.h: the one place where threads meet: many producers, one consumer, an eventfd to wait on.
 *
 * Items are intrusive; posting transfers the item to the consumer, taking transfers it to the caller. */
#pragma once

#include <stdbool.h>

#include "common/base/list.h"
#include "common/base/must.h"

struct mailbox;

struct mailbox *mailbox_new(void);     /* NULL: out of memory or descriptors */
void mailbox_free(struct mailbox **m); /* must be empty */

int mailbox_fd(const struct mailbox *m); /* readable while items wait */

/* Any thread. */
void mailbox_post(struct mailbox *m, struct list *item);
/* Any thread: wakes the consumer without an item. */
void mailbox_wake(struct mailbox *m);
/* Consumer: appends everything that waits to `out` (initialised) in posting order; clears the descriptor. */
void mailbox_take(struct mailbox *m, struct list *out);
