/* txnload_work.c: the workloads of txnload: lists and slots for txncheck, and three that judge what they see at once.
 *
 * The key space is cut at "h5" and "q5". lists: several keys on each shard, read, appended to, scanned, by transactions, by
 * plain reads and by compare-and-set. slots: each is written once and blindly (long forks, phantoms). bank: the sum never
 * changes, in no transaction and at no timestamp. skew: of two keys on two shards one at least is 1. prefix: pairs of keys on
 * two shards, deleted by a prefix over both. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/txnload.h"

#define LISTS 9 /* of an epoch */
#define SLOTS 24
#define ACCOUNTS 9
#define MONEY 100
#define PAIRS 4
#define SEEN_MAX 4096
#define EPOCHS_MAX 999999u

static const char places[] = "amz"; /* first letters of keys: a shard each */

static atomic_uint_fast64_t list_steps, slot_claims, pair_ids, prefix_deleted;
static atomic_uint_fast64_t pair_done[1 << 20]; /* when a pair's insert was acknowledged, by its number */

static uint64_t chance(struct load_client *c, uint64_t n)
{
    return random_below(&c->random, n);
}

/* ---- lists */

static void list_key(char *key, uint64_t epoch, uint64_t i)
{
    snprintf(key, LOAD_KEY_BYTES, "%c-l-%s-%06" PRIu64 "-%" PRIu64, places[i % 3], load_set.tag, epoch, i / 3);
}

static void new_value(struct load_client *c, char *value)
{
    snprintf(value, LOAD_KEY_BYTES, "%u.%" PRIu64, c->number, c->values++);
}

/* "1.1,2.1" and "3.1". False: it is full. */
static bool longer(char *list, const char *value)
{
    size_t size = strlen(list);
    if (size + strlen(value) + 2 > LOAD_VALUE_BYTES)
        return false;
    snprintf(list + size, LOAD_VALUE_BYTES - size, "%s%s", size ? "," : "", value);
    return true;
}

static bool list_append(struct load_client *c, struct load_txn *t, const char *key)
{
    char list[LOAD_VALUE_BYTES], value[LOAD_KEY_BYTES];
    if (!load_get(t, key, list))
        return false;
    load_saw(t, key, list);
    new_value(c, value);
    if (!longer(list, value))
        return true;
    load_appended(t, key, value);
    return load_put(t, key, list);
}

struct found {
    char key[LISTS][LOAD_KEY_BYTES];
    char list[LISTS][LOAD_VALUE_BYTES];
    size_t count;
};

static void found_list(void *context, const char *key, const char *value)
{
    struct found *f = context;
    if (f->count == LISTS || strlen(key) >= LOAD_KEY_BYTES || strlen(value) >= LOAD_VALUE_BYTES) {
        load_violation("lists: %s is not one that was written", key);
        return;
    }
    snprintf(f->key[f->count], LOAD_KEY_BYTES, "%s", key);
    snprintf(f->list[f->count++], LOAD_VALUE_BYTES, "%s", value);
}

/* The lists of one place, those that are not there included. */
static bool list_scan(struct load_txn *t, uint64_t epoch, unsigned place)
{
    char start[LOAD_KEY_BYTES], end[LOAD_KEY_BYTES], key[LOAD_KEY_BYTES];
    struct found *f = calloc(1, sizeof *f);
    snprintf(start, sizeof start, "%c-l-%s-%06" PRIu64 "-", places[place], load_set.tag, epoch);
    snprintf(end, sizeof end, "%c-l-%s-%06" PRIu64 ".", places[place], load_set.tag, epoch);
    bool good = f != NULL && load_scan(t, start, end, found_list, f);
    for (uint64_t i = place; good && i < LISTS; i += 3) {
        size_t at = 0;
        list_key(key, epoch, i);
        while (at < f->count && strcmp(f->key[at], key) != 0)
            at++;
        load_saw(t, key, at < f->count ? f->list[at] : "");
    }
    free(f);
    return good;
}

static void list_plain(struct load_client *c, const char *key)
{
    char list[LOAD_VALUE_BYTES], next[LOAD_VALUE_BYTES], value[LOAD_KEY_BYTES];
    struct load_txn t;
    load_begin(c, &t, true);
    bool good = load_get(&t, key, list);
    load_saw(&t, key, list);
    if (!load_end_plain(&t, t.code, LOAD_LISTS) || !good || chance(c, 2))
        return;
    memcpy(next, list, sizeof next);
    new_value(c, value);
    if (!longer(next, value))
        return;
    struct hf_bytes expected = load_bytes(list), becomes = load_bytes(next);
    load_begin(c, &t, true);
    load_saw(&t, key, list);
    load_appended(&t, key, value);
    int code =
        hf_cas(c->h, load_bytes(key), list[0] ? &expected : NULL, &becomes, (uint32_t)load_set.deadline_ms, NULL);
    load_end_plain(&t, code, LOAD_LISTS);
}

static void lists_once(struct load_client *c)
{
    uint64_t epoch = atomic_fetch_add(&list_steps, 1) / load_set.epoch % EPOCHS_MAX;
    char key[LOAD_KEY_BYTES], list[LOAD_VALUE_BYTES];
    struct load_txn t;
    list_key(key, epoch, chance(c, LISTS));
    if (chance(c, 5) == 0) {
        list_plain(c, key);
        return;
    }
    bool good = load_begin(c, &t, false);
    bool one_place = chance(c, 3) == 0, reads_only = chance(c, 4) == 0;
    uint64_t place = chance(c, 3);
    for (uint64_t left = 1 + chance(c, 4); good && left > 0; left--) {
        list_key(key, epoch, one_place ? place + 3 * chance(c, LISTS / 3) : chance(c, LISTS));
        uint64_t what = chance(c, 20);
        if (what < 3) {
            good = list_scan(&t, epoch, (unsigned)(one_place ? place : chance(c, 3)));
        } else if (what < 10 || reads_only) {
            good = load_get(&t, key, list);
            if (good)
                load_saw(&t, key, list);
        } else {
            good = list_append(c, &t, key);
        }
    }
    load_end(&t, LOAD_LISTS);
}

/* ---- slots: two thirds of an epoch lie next to each other, on both sides of the cut "q5" */

static void slot_key(char *key, uint64_t epoch, uint64_t i)
{
    if (i % 3 == 2)
        snprintf(key, LOAD_KEY_BYTES, "a-s-%s-%06" PRIu64 "-%02" PRIu64, load_set.tag, epoch, i);
    else
        snprintf(key, LOAD_KEY_BYTES, "q%c-%s-%06" PRIu64 "-%02" PRIu64, i % 3 ? '5' : '4', load_set.tag,
                 i % 3 ? EPOCHS_MAX - epoch : epoch, i);
}

struct slots {
    uint64_t epoch;
    bool there[SLOTS];
};

static void found_slot(void *context, const char *key, const char *value)
{
    struct slots *s = context;
    char name[LOAD_KEY_BYTES];
    for (uint64_t i = 0; i < SLOTS; i++) {
        slot_key(name, s->epoch, i);
        if (strcmp(name, key) == 0) {
            s->there[i] = true;
            if (strcmp(value, "1") != 0)
                load_violation("slots: %s holds %s", key, value);
        }
    }
}

static bool slots_scan(struct load_txn *t, uint64_t epoch)
{
    char start[LOAD_KEY_BYTES], end[LOAD_KEY_BYTES], key[LOAD_KEY_BYTES];
    struct slots found = {.epoch = epoch};
    slot_key(start, epoch, 0);
    snprintf(end, sizeof end, "q5-%s-%06" PRIu64 ".", load_set.tag, EPOCHS_MAX - epoch);
    if (!load_scan(t, start, end, found_slot, &found))
        return false;
    for (uint64_t i = 0; i < SLOTS; i++) {
        slot_key(key, epoch, i);
        if (i % 3 != 2)
            load_saw(t, key, found.there[i] ? "1" : "");
    }
    return true;
}

static bool slots_read(struct load_client *c, struct load_txn *t, uint64_t epoch)
{
    char key[LOAD_KEY_BYTES], value[LOAD_VALUE_BYTES];
    if (chance(c, 3) == 0)
        return slots_scan(t, epoch);
    for (uint64_t left = 1 + chance(c, 4); left > 0; left--) {
        slot_key(key, epoch, chance(c, SLOTS));
        if (!load_get(t, key, value))
            return false;
        load_saw(t, key, value);
    }
    return true;
}

static void slots_once(struct load_client *c)
{
    char key[LOAD_KEY_BYTES];
    struct load_txn t;
    bool plain = chance(c, 8) == 0, good = load_begin(c, &t, plain);
    uint64_t claims = plain ? 1 : chance(c, 3), epoch = atomic_load(&slot_claims) / SLOTS;
    if (good && !plain && chance(c, 2))
        good = slots_read(c, &t, epoch % EPOCHS_MAX);
    for (; good && claims > 0; claims--) {
        uint64_t claim = atomic_fetch_add(&slot_claims, 1);
        slot_key(key, claim / SLOTS % EPOCHS_MAX, claim % SLOTS);
        load_appended(&t, key, "1");
        if (plain) {
            load_end_plain(&t, hf_put(c->h, load_bytes(key), load_bytes("1"), 0, (uint32_t)load_set.deadline_ms, NULL),
                           LOAD_SLOTS);
            return;
        }
        good = load_put(&t, key, "1");
    }
    if (good && chance(c, 2))
        slots_read(c, &t, epoch % EPOCHS_MAX);
    load_end(&t, LOAD_SLOTS);
}

/* ---- bank */

static void account_key(char *key, uint64_t i)
{
    snprintf(key, LOAD_KEY_BYTES, "%c-b-%s-%" PRIu64, places[i % 3], load_set.tag, i);
}

static void bank_judge(const char *where, uint64_t at, const long *money, size_t count)
{
    long sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += money[i];
    if (sum == ACCOUNTS * MONEY && count == ACCOUNTS)
        return;
    load_violation("bank: %s at %" PRIu64 ": %zu accounts hold %ld: %ld %ld %ld %ld %ld %ld %ld %ld %ld", where, at,
                   count, sum, money[0], money[1], money[2], money[3], money[4], money[5], money[6], money[7],
                   money[8]);
}

/* As of a timestamp: a transaction is there as a whole or not at all. */
static void bank_snapshot(struct load_client *c)
{
    long money[ACCOUNTS] = {0};
    char key[LOAD_KEY_BYTES], text[32];
    uint64_t at;
    uint32_t deadline = (uint32_t)load_set.deadline_ms;
    if ((chance(c, 4) ? hf_timestamp(c->h, 0, deadline, &at) : hf_cut(c->h, deadline, &at)) != HF_OK)
        return;
    for (uint64_t i = 0; i < ACCOUNTS; i++) {
        struct hf_value value = {0};
        account_key(key, i);
        if (hf_get(c->h, load_bytes(key), at, deadline, &value) != HF_OK)
            return;
        snprintf(text, sizeof text, "%.*s", (int)value.size, (const char *)value.data);
        money[i] = strtol(text, NULL, 10);
        hf_value_free(&value);
    }
    bank_judge("snapshot", at, money, ACCOUNTS);
    atomic_fetch_add(&load_done[LOAD_BANK], 1);
}

struct accounts {
    long money[ACCOUNTS];
    size_t count;
};

static void found_account(void *context, const char *key, const char *value)
{
    struct accounts *a = context;
    (void)key;
    if (a->count < ACCOUNTS)
        a->money[a->count] = strtol(value, NULL, 10);
    a->count++;
}

static void bank_read(struct load_client *c)
{
    char key[LOAD_KEY_BYTES], end[LOAD_KEY_BYTES], value[LOAD_VALUE_BYTES];
    struct accounts a = {.count = 0};
    struct load_txn t;
    bool good = load_begin(c, &t, false), scans = chance(c, 2);
    for (uint64_t i = 0; good && scans && i < 3; i++) {
        snprintf(key, sizeof key, "%c-b-%s-", places[i], load_set.tag);
        snprintf(end, sizeof end, "%c-b-%s.", places[i], load_set.tag);
        good = load_scan(&t, key, end, found_account, &a);
    }
    for (; good && !scans && a.count < ACCOUNTS; a.count++) {
        account_key(key, a.count);
        good = load_get(&t, key, value);
        a.money[a.count] = good ? strtol(value, NULL, 10) : 0;
    }
    if (load_end(&t, LOAD_BANK))
        bank_judge("transaction", t.invoked, a.money, a.count);
}

struct transfer {
    struct load_txn *t;
    char from[LOAD_KEY_BYTES], to[LOAD_KEY_BYTES];
    long amount;
};

/* hf_txn_fn, of hf_txn_run or not. */
static int bank_transfer(struct hf_txn *txn, void *context)
{
    struct transfer *w = context;
    char value[LOAD_VALUE_BYTES];
    w->t->t = txn;
    bool good = load_get(w->t, w->from, value);
    long left = good ? strtol(value, NULL, 10) - w->amount : 0;
    good = good && load_get(w->t, w->to, value);
    long more = good ? strtol(value, NULL, 10) + w->amount : 0;
    snprintf(value, sizeof value, "%ld", left);
    good = good && load_put(w->t, w->from, value);
    snprintf(value, sizeof value, "%ld", more);
    if (good)
        load_put(w->t, w->to, value);
    return w->t->code;
}

static void bank_once(struct load_client *c)
{
    uint64_t what = chance(c, 10), giver = chance(c, ACCOUNTS),
             taker = (giver + 1 + chance(c, ACCOUNTS - 1)) % ACCOUNTS;
    struct load_txn t;
    struct transfer w = {.t = &t, .amount = 1 + (long)chance(c, 20)};
    if (what < 2) {
        bank_snapshot(c);
        return;
    }
    if (what < 5) {
        bank_read(c);
        return;
    }
    account_key(w.from, giver);
    account_key(w.to, taker);
    if (what < 8) {
        struct hf_txn_options options = {.deadline_ms = (uint32_t)load_set.deadline_ms};
        load_begin(c, &t, true);
        int code = hf_txn_run(c->h, bank_transfer, &w, &options, NULL);
        load_end_plain(&t, code, LOAD_BANK);
        return;
    }
    if (load_begin(c, &t, false))
        bank_transfer(t.t, &w);
    load_end(&t, LOAD_BANK);
}

/* ---- skew */

static void skew_key(char *key, uint64_t pair, unsigned which)
{
    snprintf(key, LOAD_KEY_BYTES, "%c-w-%s-%" PRIu64, which ? 'z' : 'a', load_set.tag, pair);
}

static void skew_once(struct load_client *c)
{
    char key[2][LOAD_KEY_BYTES], value[2][LOAD_VALUE_BYTES];
    uint64_t pair = chance(c, PAIRS);
    unsigned which = (unsigned)chance(c, 2);
    bool looks = chance(c, 4) == 0, ones;
    struct load_txn t;
    skew_key(key[0], pair, 0);
    skew_key(key[1], pair, 1);
    bool good = load_begin(c, &t, false) && load_get(&t, key[0], value[0]) && load_get(&t, key[1], value[1]);
    if (good && !looks) {
        ones = strcmp(value[0], "1") == 0 && strcmp(value[1], "1") == 0;
        if (ones)
            load_put(&t, key[which], "0");
        else
            load_put(&t, key[strcmp(value[0], "1") == 0], "1");
    }
    if (load_end(&t, LOAD_SKEW) && strcmp(value[0], "1") != 0 && strcmp(value[1], "1") != 0)
        load_violation("skew: %s and %s hold \"%s\" and \"%s\"", key[0], key[1], value[0], value[1]);
}

/* ---- prefix: h0-… on one shard, h9-… on the next; "h" is deleted with what counts how often */

struct pairs {
    uint64_t id[SEEN_MAX];
    unsigned sides[SEEN_MAX];
    size_t count;
    char generation[LOAD_KEY_BYTES];
    uint64_t deleted; /* a deletion that was done before the look began had begun then */
    char bad[256];
};

static void found_pair(void *context, const char *key, const char *value)
{
    struct pairs *p = context;
    char start[LOAD_KEY_BYTES];
    int size = snprintf(start, sizeof start, "-%s-", load_set.tag);
    if (strncmp(key + 2, start, (size_t)size) != 0)
        return; /* another process's */
    uint64_t id = strtoull(key + 2 + size, NULL, 10), done = atomic_load(&pair_done[id % (1 << 20)]);
    size_t at = 0;
    while (at < p->count && p->id[at] != id)
        at++;
    if (at == SEEN_MAX)
        return;
    if (at == p->count)
        p->id[p->count++] = id, p->sides[at] = 0;
    p->sides[at] |= key[1] == '0' ? 1 : 2;
    if (strcmp(value, "-") != 0 && strcmp(value, p->generation) != 0)
        snprintf(p->bad, sizeof p->bad, "%s is of generation %s, it is %s", key, value, p->generation);
    if (done != 0 && done < p->deleted)
        snprintf(p->bad, sizeof p->bad, "%s was deleted before, by its prefix", key);
}

static void prefix_look(struct load_client *c, const char *generation_key)
{
    char value[LOAD_VALUE_BYTES];
    struct load_txn t;
    struct pairs *p = calloc(1, sizeof *p);
    if (p == NULL)
        exit(2);
    p->deleted = atomic_load(&prefix_deleted);
    bool good = load_begin(c, &t, false) && load_get(&t, generation_key, value);
    if (good) {
        snprintf(p->generation, sizeof p->generation, "%.40s", value);
        load_scan(&t, "h", "i", found_pair, p);
    }
    if (load_end(&t, LOAD_PREFIX)) {
        for (size_t i = 0; i < p->count; i++)
            if (p->sides[i] != 3)
                load_violation("prefix: of pair %" PRIu64 " only side %u is there", p->id[i], p->sides[i]);
        if (p->bad[0])
            load_violation("prefix: %s", p->bad);
    }
    free(p);
}

static void prefix_delete(struct load_client *c, const char *generation_key)
{
    char value[LOAD_VALUE_BYTES];
    struct load_txn t;
    uint64_t begun = load_now_ns();
    bool counts = chance(c, 2) != 0, good = load_begin(c, &t, false);
    if (good && counts && load_get(&t, generation_key, value)) {
        uint64_t next = strtoull(value, NULL, 10) + 1;
        snprintf(value, sizeof value, "%" PRIu64, next);
        good = load_put(&t, generation_key, value);
    }
    if (good && t.code == HF_OK)
        load_delete_prefix(&t, "h");
    good = load_end(&t, LOAD_PREFIX);
    if (chance(c, 4) == 0) {
        begun = load_now_ns();
        good = hf_delete_prefix(c->h, load_bytes("h"), (uint32_t)load_set.deadline_ms, NULL) == HF_OK;
    }
    if (!good)
        return;
    uint64_t was = atomic_load(&prefix_deleted);
    while (was < begun && !atomic_compare_exchange_weak(&prefix_deleted, &was, begun))
        continue;
}

static void prefix_once(struct load_client *c)
{
    char generation_key[LOAD_KEY_BYTES], key[LOAD_KEY_BYTES], value[LOAD_VALUE_BYTES] = "-";
    uint64_t what = chance(c, 20);
    struct load_txn t;
    snprintf(generation_key, sizeof generation_key, "m-g-%s", load_set.tag);
    if (what < 2) {
        prefix_delete(c, generation_key);
        return;
    }
    if (what < 8) {
        prefix_look(c, generation_key);
        return;
    }
    uint64_t id = atomic_fetch_add(&pair_ids, 1);
    bool good = load_begin(c, &t, false);
    if (good && chance(c, 2))
        good = load_get(&t, generation_key, value);
    for (unsigned side = 0; good && side < 2; side++) {
        snprintf(key, sizeof key, "h%c-%s-%" PRIu64, side ? '9' : '0', load_set.tag, id);
        good = load_put(&t, key, value);
    }
    if (load_end(&t, LOAD_PREFIX))
        atomic_store(&pair_done[id % (1 << 20)], load_now_ns());
}

/* ---- all of them */

bool load_prepare(struct load_client *c)
{
    char key[LOAD_KEY_BYTES], money[16];
    struct load_txn t;
    bool good = load_begin(c, &t, false);
    snprintf(money, sizeof money, "%d", MONEY);
    for (uint64_t i = 0; good && i < ACCOUNTS; i++) {
        account_key(key, i);
        good = load_put(&t, key, money);
    }
    for (uint64_t i = 0; good && i < 2u * PAIRS; i++) {
        skew_key(key, i / 2, i % 2);
        good = load_put(&t, key, "1");
    }
    snprintf(key, sizeof key, "m-g-%s", load_set.tag);
    if (good)
        load_put(&t, key, "1");
    return load_end(&t, LOAD_BANK);
}

void load_once(struct load_client *c, enum load_work work)
{
    switch (work) {
    case LOAD_LISTS:
        lists_once(c);
        return;
    case LOAD_SLOTS:
        slots_once(c);
        return;
    case LOAD_BANK:
        bank_once(c);
        return;
    case LOAD_SKEW:
        skew_once(c);
        return;
    case LOAD_PREFIX:
        prefix_once(c);
        return;
    case LOAD_WORKS:
        return;
    }
}

bool load_look(struct load_client *c)
{
    char key[LOAD_KEY_BYTES], value[LOAD_VALUE_BYTES];
    uint64_t lists = (atomic_load(&list_steps) + load_set.epoch - 1) / load_set.epoch;
    uint64_t slots = (atomic_load(&slot_claims) + SLOTS - 1) / SLOTS;
    static uint64_t epoch; /* where the last look ended */
    for (; epoch < lists || epoch < slots; epoch++) {
        struct load_txn t;
        bool good = load_begin(c, &t, false);
        for (unsigned place = 0; good && place < 3 && epoch < lists; place++)
            good = list_scan(&t, epoch, place);
        for (uint64_t i = 0; good && i < SLOTS && epoch < slots; i++) {
            slot_key(key, epoch, i);
            good = load_get(&t, key, value);
            if (good)
                load_saw(&t, key, value);
        }
        if (!load_end(&t, LOAD_LISTS))
            return false;
    }
    return true;
}
