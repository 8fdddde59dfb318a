/* test_oom.c: out of memory is an answer, never an abort: each allocation of the library fails once, in its turn, and
 * every call then either works or says so; the handle goes on. (libzmq and protobuf-c allocate in libraries of their
 * own, which the linker's --wrap does not reach.) */
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/unit.h"

static _Atomic long countdown = -1; /* the allocation that fails: 0 is the next; below 0: none */
static _Thread_local bool exempt;   /* the fake's thread */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t size);

static bool fails(void)
{
    return !exempt && atomic_load(&countdown) >= 0 && atomic_fetch_sub(&countdown, 1) == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t size)
{
    return fails() ? NULL : __real_strndup(s, size);
}

static void exempt_thread(void)
{
    exempt = true;
}

static struct fake fake;

static struct hf_bytes text(const char *s)
{
    return (struct hf_bytes){s, strlen(s)};
}

static bool fair(int rc) /* what a call may say after one allocation failed */
{
    return rc == HF_OK || rc == HF_E_NO_MEMORY || rc == HF_E_TIMEOUT || rc == HF_E_UNAVAILABLE;
}

static void use(struct hf *h)
{
    struct hf_value value;
    struct hf_range range = {0};
    struct hf_cursor *cursor = NULL;
    const struct hf_item *item;
    char *big = __real_calloc(1, 100000); /* takes the path of large messages */
    CU_ASSERT_TRUE(fair(hf_put(h, text("a"), text("v"), 0, 1000, NULL)));
    CU_ASSERT_TRUE(fair(hf_put(h, text("z"), (struct hf_bytes){big, 100000}, 0, 1000, NULL)));
    int rc = hf_get(h, text("a"), 0, 1000, &value);
    CU_ASSERT_TRUE(fair(rc));
    if (rc == HF_OK)
        hf_value_free(&value);
    rc = hf_cursor_open(h, &range, 1000, &cursor);
    CU_ASSERT_TRUE(fair(rc));
    while (rc == HF_OK && hf_cursor_next(cursor, &item) == HF_OK && item)
        ;
    hf_cursor_close(cursor);
    free(big);
}

static void every_allocation_may_fail(void)
{
    static const char *const keys[] = {"a", "b", "c", "m", "z"};
    fake_init(&fake, 21494);
    memcpy(fake.keys, keys, sizeof keys);
    fake.keys_count = sizeof keys / sizeof keys[0];
    fake.split = true;
    fake.thread_begins = exempt_thread;
    fake_start(&fake);
    long n = 0;
    for (bool failed = true; failed; n++) {
        fake.sessions_count = 0;
        struct hf *h = NULL;
        struct hf_options options = {.endpoints = fake.endpoints[FAKE_COORDINATOR]};
        atomic_store(&countdown, n);
        int rc = hf_open(&options, HF_ABI, &h);
        CU_ASSERT_TRUE(rc == HF_OK || rc == HF_E_NO_MEMORY);
        if (rc == HF_OK)
            use(h);
        failed = atomic_exchange(&countdown, -1) < 0;
        if (rc == HF_OK) /* there is memory again, and it works */
            CU_ASSERT_EQUAL(hf_put(h, text("a"), text("v"), 0, 5000, NULL), HF_OK);
        hf_close(&h);
    }
    fake_stop(&fake);
    CU_ASSERT_TRUE(n > 20); /* it did reach the allocations */
}

int main(void)
{
    static const struct unit_case cases[] = {{"every allocation may fail", every_allocation_may_fail}};
    return UNIT_MAIN("client out of memory", cases);
}
