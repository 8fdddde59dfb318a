/* counter.c: a counter that several programs raise at once and that is exact although answers get lost.
 *
 * counter ENDPOINTS KEY WRITER TIMES     raises KEY TIMES times as WRITER, prints the last total
 *
 * A compare-and-set whose outcome is unknown may have happened, and may still happen. Two things make going on right:
 *   - the value says who raised it how often ("7 alice=4 bob=3"), so reading it tells whether our step is in it;
 *   - no value ever comes back (the total only grows), so of all our attempts that expect the value we read, at most one can
 *     ever succeed, and none once the value is another.
 * So after an unknown outcome: read again and look. Doing the step again without looking would count it twice. */
#include <holdfast/holdfast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEADLINE_MS 2000u
#define VALUE_BYTES 1024
#define TRIES_MAX 1000

struct counter {
    struct hf *h;
    struct hf_bytes key;
    const char *writer;
    char value[VALUE_BYTES]; /* as read; "" and absent: nobody raised it yet */
    int absent;
};

static int read_it(struct counter *c)
{
    struct hf_value value;
    int rc = hf_get(c->h, c->key, 0, DEADLINE_MS, &value);
    c->absent = rc == HF_E_NOT_FOUND;
    c->value[0] = 0;
    if (c->absent)
        return HF_OK;
    if (rc)
        return rc;
    if (value.size < sizeof c->value) {
        memcpy(c->value, value.data, value.size);
        c->value[value.size] = 0;
    } else {
        rc = HF_E_CORRUPT;
    }
    hf_value_free(&value);
    return rc;
}

/* How often `writer` raised it, as far as `value` says; *out_at: where its " writer=n" begins, or the end. */
static unsigned long raised_by(const char *value, const char *writer, const char **out_at)
{
    size_t size = strlen(writer);
    const char *at = strchr(value, ' ');
    for (; at; at = strchr(at + 1, ' '))
        if (strncmp(at + 1, writer, size) == 0 && at[1 + size] == '=')
            break;
    *out_at = at ? at : value + strlen(value);
    return at ? strtoul(at + 2 + size, NULL, 10) : 0;
}

/* The value with one more by `writer`. */
static void raise_it(const struct counter *c, unsigned long step, char *out, size_t size)
{
    const char *at, *rest, *others = strchr(c->value, ' ');
    raised_by(c->value, c->writer, &at);
    rest = *at ? strchr(at + 1, ' ') : NULL;
    int before = others && others < at ? (int)(at - others) : 0;
    snprintf(out, size, "%lu%.*s %s=%lu%s", strtoul(c->value, NULL, 10) + 1, before, before ? others : "", c->writer,
             step, rest ? rest : "");
}

/* Makes the step-th step of this writer happen exactly once. */
static int step_once(struct counter *c, unsigned long step)
{
    int rc = HF_E_TIMEOUT;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        const char *at;
        rc = read_it(c);
        if (rc == HF_OK && raised_by(c->value, c->writer, &at) >= step)
            return HF_OK; /* an attempt before this read did it */
        if (rc == HF_OK) {
            char raised[VALUE_BYTES];
            raise_it(c, step, raised, sizeof raised);
            struct hf_bytes old = {c->value, strlen(c->value)}, new_value = {raised, strlen(raised)};
            rc = hf_cas(c->h, c->key, c->absent ? NULL : &old, &new_value, DEADLINE_MS, NULL);
            if (rc == HF_OK)
                return HF_OK;
        }
        switch (hf_error_class(rc)) {
        case HF_CLASS_OUTCOME_UNKNOWN: /* the next read decides */
            break;
        case HF_CLASS_GIVE_UP:
            if (rc != HF_E_COMPARE_FAILED && rc != HF_E_TIMEOUT)
                return rc;
            break; /* somebody was faster, or there was no leader for a while */
        case HF_CLASS_NONE:
        case HF_CLASS_RETRY_SAME:
        case HF_CLASS_RETRY_ELSEWHERE:
        case HF_CLASS_REFRESH_ROUTE:
            nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
            break;
        }
    }
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 5 || strpbrk(argv[3], " =")) {
        fprintf(stderr, "usage: counter ENDPOINTS KEY WRITER TIMES\n");
        return 2;
    }
    struct hf_options options = {.endpoints = argv[1]};
    struct counter c = {.key = {argv[2], strlen(argv[2])}, .writer = argv[3]};
    unsigned long times = strtoul(argv[4], NULL, 10);
    int rc = hf_open(&options, HF_ABI, &c.h);
    for (unsigned long i = 1; rc == HF_OK && i <= times; i++)
        rc = step_once(&c, i);
    if (rc == HF_OK)
        rc = read_it(&c);
    hf_close(&c.h);
    if (rc) {
        fprintf(stderr, "%s: %s\n", c.writer, hf_error_text(rc));
        return 1;
    }
    printf("%s\n", c.value);
    return 0;
}
