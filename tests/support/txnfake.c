/* txnfake.c: in place of libholdfast for txnload's own test: the calls that it uses on a store in this process, which is
 * strictly serializable, loses some answers, and is wrong in a way that TXNFAKE_BUG names: reads (what was read is not
 * validated), half (some commits write the first half only), late (some plain puts vanish), stale (a scan of a moment ago). */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/include/holdfast/holdfast.h"

#define VERSIONS_MAX 400000
#define OPS_MAX 256

struct bytes {
    char *data;
    size_t size;
};

struct version {
    struct bytes key, value;
    uint64_t at;
    bool deleted;
    struct version *older; /* of the same key */
};

struct hf {
    int unused;
};

struct op { /* range: a read of [key, end); prefix: a delete */
    struct bytes key, value;
    bool range, prefix, deleted;
};

struct hf_txn {
    uint64_t start, above;
    struct op writes[OPS_MAX], reads[OPS_MAX];
    size_t write_count, read_count;
};

struct hf_future {
    struct hf_item items[VERSIONS_MAX / 100];
    size_t count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct version *newest[VERSIONS_MAX]; /* one a key, sorted by key */
static size_t key_count;
static uint64_t now = 1, calls;

static bool bug(const char *name)
{
    const char *set = getenv("TXNFAKE_BUG");
    return set != NULL && strcmp(set, name) == 0;
}

/* All copies stay until the program ends: versions point to them, and they are few. */
struct kept {
    struct kept *next;
    char data[];
};
static struct kept *_Atomic kept;

static struct bytes copy(struct hf_bytes b)
{
    struct kept *made = malloc(sizeof *made + b.size + 1);
    if (made == NULL)
        abort();
    made->next = atomic_load(&kept);
    while (!atomic_compare_exchange_weak(&kept, &made->next, made))
        continue;
    if (b.size > 0)
        memcpy(made->data, b.data, b.size);
    return (struct bytes){made->data, b.size};
}

static struct bytes view(struct hf_bytes b)
{
    return (struct bytes){(char *)(uintptr_t)b.data, b.size};
}

static int compare(struct bytes a, struct bytes b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static bool has_prefix(struct bytes key, struct bytes prefix)
{
    return key.size >= prefix.size && memcmp(key.data, prefix.data, prefix.size) == 0;
}

/* Where the key stands, or would. */
static size_t place(struct bytes key)
{
    size_t low = 0, high = key_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(newest[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void write_version(struct bytes key, struct bytes value, bool deleted)
{
    size_t at = place(key);
    struct version *v = calloc(1, sizeof *v);
    bool there = at < key_count && compare(newest[at]->key, key) == 0;
    if (v == NULL || key_count == VERSIONS_MAX)
        abort();
    *v =
        (struct version){.key = key, .value = value, .at = now, .deleted = deleted, .older = there ? newest[at] : NULL};
    if (!there) {
        memmove(&newest[at + 1], &newest[at], (key_count - at) * sizeof newest[0]);
        key_count++;
    }
    newest[at] = v;
}

static const struct version *version_at(size_t at, uint64_t when)
{
    const struct version *v = newest[at];
    while (v != NULL && v->at >= when)
        v = v->older;
    return v != NULL && !v->deleted ? v : NULL;
}

static const struct version *find(struct bytes key, uint64_t when)
{
    size_t at = place(key);
    return at < key_count && compare(newest[at]->key, key) == 0 ? version_at(at, when) : NULL;
}

static bool changed(const struct op *read, uint64_t since)
{
    for (size_t i = place(read->key); i < key_count; i++) {
        int order = compare(newest[i]->key, read->range ? read->value : read->key);
        if (read->range ? order >= 0 : order != 0)
            break;
        if (newest[i]->at >= since)
            return true;
    }
    return false;
}

static void delete_all(struct bytes prefix)
{
    for (size_t i = place(prefix); i < key_count && has_prefix(newest[i]->key, prefix); i++)
        if (!newest[i]->deleted)
            write_version(newest[i]->key, (struct bytes){0}, true);
}

/* Its answer is lost now and then, whether it was done or not. Holding the lock. */
static int answer(int code, bool *do_it)
{
    uint64_t n = ++calls * 0x9e3779b97f4a7c15u >> 40;
    *do_it = code == HF_OK && n % 50 != 7;
    return n % 50 == 7 || n % 50 == 8 ? HF_E_OUTCOME_UNKNOWN : code;
}

static int give(const struct version *v, struct hf_value *out)
{
    if (v == NULL)
        return HF_E_NOT_FOUND;
    *out = (struct hf_value){.data = malloc(v->value.size + 1), .size = v->value.size};
    if (out->data == NULL)
        abort();
    memcpy(out->data, v->value.data, v->value.size);
    return HF_OK;
}

int hf_open(const struct hf_options *options, unsigned abi, struct hf **out)
{
    (void)options;
    (void)abi;
    *out = calloc(1, sizeof **out);
    return *out != NULL ? HF_OK : HF_E_NO_MEMORY;
}

void hf_close(struct hf **h)
{
    free(*h);
    *h = NULL;
}

const char *hf_error_text(int code)
{
    return hf_error_name(code);
}

const char *hf_error_name(int code)
{
    return code == HF_OK                  ? "OK"
           : code == HF_E_CONFLICT        ? "CONFLICT"
           : code == HF_E_OUTCOME_UNKNOWN ? "OUTCOME_UNKNOWN"
                                          : "OTHER";
}

enum hf_class hf_error_class(int code)
{
    return code == HF_OK ? HF_CLASS_NONE : code == HF_E_OUTCOME_UNKNOWN ? HF_CLASS_OUTCOME_UNKNOWN : HF_CLASS_GIVE_UP;
}

void hf_value_free(struct hf_value *value)
{
    free(value->data);
    *value = (struct hf_value){0};
}

int hf_get(struct hf *h, struct hf_bytes key, uint64_t at, uint32_t deadline_ms, struct hf_value *out)
{
    (void)h;
    (void)deadline_ms;
    pthread_mutex_lock(&lock);
    int code = give(find(view(key), at ? at : UINT64_MAX), out);
    pthread_mutex_unlock(&lock);
    return code;
}

int hf_put(struct hf *h, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms, uint32_t deadline_ms,
           struct hf_version *out_version)
{
    bool do_it;
    (void)h;
    (void)ttl_ms;
    (void)deadline_ms;
    (void)out_version;
    pthread_mutex_lock(&lock);
    int code = answer(HF_OK, &do_it);
    now++;
    if (do_it && !(bug("late") && now % 4 == 0))
        write_version(copy(key), copy(value), false);
    pthread_mutex_unlock(&lock);
    return code;
}

int hf_cas(struct hf *h, struct hf_bytes key, const struct hf_bytes *expected, const struct hf_bytes *value,
           uint32_t deadline_ms, struct hf_version *out_version)
{
    bool do_it;
    (void)h;
    (void)deadline_ms;
    (void)out_version;
    pthread_mutex_lock(&lock);
    const struct version *v = find(view(key), UINT64_MAX);
    bool holds = expected == NULL ? v == NULL : v != NULL && compare(v->value, view(*expected)) == 0;
    int code = answer(holds ? HF_OK : HF_E_COMPARE_FAILED, &do_it);
    now++;
    if (do_it)
        write_version(copy(key), copy(*value), false);
    pthread_mutex_unlock(&lock);
    return code;
}

int hf_delete_prefix(struct hf *h, struct hf_bytes prefix, uint32_t deadline_ms, struct hf_version *out_version)
{
    (void)h;
    (void)deadline_ms;
    (void)out_version;
    pthread_mutex_lock(&lock);
    now++;
    delete_all(view(prefix));
    pthread_mutex_unlock(&lock);
    return HF_OK;
}

int hf_timestamp(struct hf *h, uint64_t above, uint32_t deadline_ms, uint64_t *out_timestamp)
{
    (void)h;
    (void)above;
    (void)deadline_ms;
    pthread_mutex_lock(&lock);
    *out_timestamp = ++now;
    pthread_mutex_unlock(&lock);
    return HF_OK;
}

int hf_cut(struct hf *h, uint32_t deadline_ms, uint64_t *out_timestamp)
{
    return hf_timestamp(h, 0, deadline_ms, out_timestamp);
}

int hf_txn_begin(struct hf *h, uint64_t above, uint32_t deadline_ms, struct hf_txn **out)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL ? hf_timestamp(h, above, deadline_ms, &(*out)->start) : HF_E_NO_MEMORY;
}

int hf_txn_get(struct hf_txn *t, struct hf_bytes key, uint32_t deadline_ms, struct hf_value *out)
{
    (void)deadline_ms;
    nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL); /* so that others come in between */
    for (size_t i = t->write_count; i-- > 0;) {
        const struct op *w = &t->writes[i];
        if (w->prefix ? has_prefix(view(key), w->key) : compare(view(key), w->key) == 0)
            return w->prefix ? HF_E_NOT_FOUND : give(&(struct version){.value = w->value}, out);
    }
    pthread_mutex_lock(&lock);
    t->reads[t->read_count++] = (struct op){.key = copy(key)};
    int code = give(find(view(key), t->start), out);
    pthread_mutex_unlock(&lock);
    return code;
}

static int item_order(const void *a, const void *b)
{
    return compare(view(((const struct hf_item *)a)->key), view(((const struct hf_item *)b)->key));
}

int hf_txn_scan(struct hf_txn *t, const struct hf_range *range, uint32_t deadline_ms, struct hf_future **out_page)
{
    struct hf_future *page = calloc(1, sizeof *page);
    struct bytes start = view(range->start), end = view(range->end);
    (void)deadline_ms;
    if (page == NULL)
        abort();
    pthread_mutex_lock(&lock);
    t->reads[t->read_count++] = (struct op){.key = copy(range->start), .value = copy(range->end), .range = true};
    uint64_t when = bug("stale") && t->start > 40 && t->start % 3 == 0 ? t->start - 40 : t->start;
    for (size_t i = place(start); i < key_count && compare(newest[i]->key, end) < 0; i++) {
        const struct version *v = version_at(i, when);
        bool own = false;
        for (size_t j = 0; j < t->write_count; j++)
            own = own || compare(t->writes[j].key, newest[i]->key) == 0;
        if (v != NULL && !own)
            page->items[page->count++] =
                (struct hf_item){.key = {v->key.data, v->key.size}, .value = {v->value.data, v->value.size}};
    }
    pthread_mutex_unlock(&lock);
    for (size_t j = 0; j < t->write_count; j++) {
        const struct op *w = &t->writes[j];
        bool later = false;
        for (size_t k = j + 1; k < t->write_count; k++)
            later = later || compare(t->writes[k].key, w->key) == 0;
        if (!w->prefix && !later && compare(w->key, start) >= 0 && compare(w->key, end) < 0)
            page->items[page->count++] =
                (struct hf_item){.key = {w->key.data, w->key.size}, .value = {w->value.data, w->value.size}};
    }
    if (page->count > 0)
        qsort(page->items, page->count, sizeof page->items[0], item_order);
    *out_page = page;
    return HF_OK;
}

size_t hf_future_count(const struct hf_future *f)
{
    return f->count;
}

struct hf_item hf_future_item(const struct hf_future *f, size_t i)
{
    return f->items[i];
}

int hf_future_more(const struct hf_future *f, struct hf_bytes *out_next)
{
    (void)f;
    (void)out_next;
    return 0;
}

void hf_future_free(struct hf_future *f)
{
    free(f);
}

int hf_txn_put(struct hf_txn *t, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms)
{
    (void)ttl_ms;
    t->writes[t->write_count++] = (struct op){.key = copy(key), .value = copy(value)};
    return HF_OK;
}

int hf_txn_delete_prefix(struct hf_txn *t, struct hf_bytes prefix)
{
    t->writes[t->write_count++] = (struct op){.key = copy(prefix), .prefix = true};
    return HF_OK;
}

int hf_txn_commit(struct hf_txn *t, uint32_t deadline_ms, uint64_t *out_timestamp)
{
    bool do_it, good = true;
    (void)deadline_ms;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; good && i < t->read_count && !bug("reads"); i++)
        good = !changed(&t->reads[i], t->start);
    for (size_t i = 0; good && i < t->write_count; i++)
        good = t->writes[i].prefix || !changed(&t->writes[i], t->start);
    int code = answer(good ? HF_OK : HF_E_CONFLICT, &do_it);
    *out_timestamp = ++now;
    size_t count = bug("half") && now % 16 == 0 ? t->write_count / 2 : t->write_count;
    for (size_t i = 0; do_it && i < count; i++) {
        if (t->writes[i].prefix)
            delete_all(t->writes[i].key);
        else
            write_version(t->writes[i].key, t->writes[i].value, false);
    }
    t->above = now;
    pthread_mutex_unlock(&lock);
    return code;
}

uint64_t hf_txn_conflict(const struct hf_txn *t, struct hf_bytes *out_key)
{
    (void)out_key;
    return t->above;
}

void hf_txn_free(struct hf_txn *t)
{
    free(t);
}

int hf_txn_run(struct hf *h, hf_txn_fn *fn, void *ctx, const struct hf_txn_options *options, uint64_t *out_timestamp)
{
    uint64_t at;
    int code = HF_E_CONFLICT;
    for (int i = 0; code == HF_E_CONFLICT && i < 20; i++) {
        struct hf_txn *t;
        if (hf_txn_begin(h, 0, options->deadline_ms, &t) != HF_OK)
            return HF_E_NO_MEMORY;
        code = fn(t, ctx);
        if (code == HF_OK)
            code = hf_txn_commit(t, options->deadline_ms, out_timestamp ? out_timestamp : &at);
        hf_txn_free(t);
    }
    return code;
}
