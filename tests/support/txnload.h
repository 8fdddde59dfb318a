/* txnload.h: between txnload.c (threads, transactions recorded) and its workloads (txnload_work.c). */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/include/holdfast/holdfast.h"
#include "common/base/random.h"

#define LOAD_KEY_BYTES 64
#define LOAD_VALUE_BYTES 4096

struct load_settings {
    const char *endpoints, *out, *tag, *work;
    uint64_t clients, seed, seconds, deadline_ms, pause_us, epoch;
};

enum load_work { LOAD_LISTS, LOAD_SLOTS, LOAD_BANK, LOAD_SKEW, LOAD_PREFIX, LOAD_WORKS };

struct load_client {
    unsigned number;
    bool routed;
    struct random random;
    struct hf *h;
    uint64_t above;  /* what the last one met */
    uint64_t values; /* so many were made: each is another */
};

/* A transaction under way, or one plain operation. */
struct load_txn {
    struct load_client *client;
    struct hf_txn *t;
    uint64_t invoked, above, commit;
    int code;     /* HF_OK, or of what failed first */
    FILE *record; /* of its operations; into `text` */
    char *text;
    size_t size;
};

extern struct load_settings load_set;
extern atomic_uint_fast64_t load_done[LOAD_WORKS];

uint64_t load_now_ns(void); /* since the machine started, sleep included: the same for all processes */
struct hf_bytes load_bytes(const char *text);
/* Something was seen that must never be. */
__attribute__((format(printf, 1, 2))) void load_violation(const char *format, ...);

/* Begins one; `plain`: no transaction, only its record. To be given to load_end, whatever it returns. */
bool load_begin(struct load_client *c, struct load_txn *t, bool plain);
/* value: at least LOAD_VALUE_BYTES; "" is what is not there. False: it failed, t->code says how. */
bool load_get(struct load_txn *t, const char *key, char *value);
bool load_put(struct load_txn *t, const char *key, const char *value);
bool load_delete_prefix(struct load_txn *t, const char *prefix);
/* Every key of [start, end) is given to `each`, its value as text. */
bool load_scan(struct load_txn *t, const char *start, const char *end,
               void (*each)(void *context, const char *key, const char *value), void *context);
/* For txncheck: what was read ("" or values by commas), what was appended. */
void load_saw(struct load_txn *t, const char *key, const char *list);
void load_appended(struct load_txn *t, const char *key, const char *value);
/* Commits if nothing failed, else rolls back; records; true: it is committed. */
bool load_end(struct load_txn *t, enum load_work work);
/* Ends a plain operation with its code. */
bool load_end_plain(struct load_txn *t, int code, enum load_work work);

/* The workloads: what must be there first (false: not done), one step, and the last look at everything (false: not done). */
bool load_prepare(struct load_client *c);
void load_once(struct load_client *c, enum load_work work);
bool load_look(struct load_client *c);
