/* futures.c: many calls under way at once: started without waiting, collected from a queue, judged by class.
 *
 * futures ENDPOINTS COUNT [PREFIX]     writes COUNT keys, 256 at a time, reads each back; exit 0 when all are as written */
#include <holdfast/holdfast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 10000u
#define AT_ONCE 256u

struct totals {
    size_t done, not_done, unknown, wrong;
};

static struct hf_bytes key_of(const char *prefix, size_t n, char *room, size_t size)
{
    int length = snprintf(room, size, "%s/%06zu", prefix, n);
    return (struct hf_bytes){room, (size_t)length};
}

/* One finished call. The tag says which key it was about. */
static void judge(struct hf_future *f, int reads, struct totals *t)
{
    size_t n = (size_t)hf_future_tag(f);
    int code = hf_future_poll(f);
    if (code == HF_OK) {
        struct hf_bytes value = hf_future_value(f); /* borrowed from the future */
        t->wrong += reads && (value.size != sizeof n || memcmp(value.data, &n, sizeof n) != 0);
        t->done++;
    } else if (hf_future_class(f) == HF_CLASS_OUTCOME_UNKNOWN) {
        t->unknown++; /* writing the same again would be right here: it is the same value */
    } else {
        fprintf(stderr, "key %zu: %s\n", n, hf_future_message(f));
        t->not_done++;
    }
    hf_future_free(f);
}

static int start(struct hf *h, struct hf_queue *q, const char *prefix, size_t n, int reads)
{
    char room[128];
    struct hf_bytes key = key_of(prefix, n, room, sizeof room); /* copied by the call */
    struct hf_call call = {.deadline_ms = DEADLINE_MS, .queue = q, .tag = (void *)n};
    struct hf_future *f; /* comes back through the queue */
    if (reads)
        return hf_get_async(h, key, 0, &call, &f);
    return hf_put_async(h, key, (struct hf_bytes){&n, sizeof n}, 0, &call, &f);
}

static struct totals round_of(struct hf *h, struct hf_queue *q, const char *prefix, size_t count, int reads)
{
    struct totals t = {0};
    struct hf_future *finished[64];
    size_t under_way = 0;
    for (size_t n = 0; n < count || under_way > 0;) {
        int rc = HF_OK;
        while (n < count && under_way < AT_ONCE && (rc = start(h, q, prefix, n, reads)) == HF_OK) {
            n++;
            under_way++;
        }
        if (rc && rc != HF_E_BUSY) { /* surely not started: busy is tried again after some finished */
            fprintf(stderr, "key %zu: %s\n", n, hf_error_text(rc));
            t.not_done++;
            n++;
        }
        size_t got = hf_queue_take(q, 1000, finished, sizeof finished / sizeof finished[0]);
        for (size_t i = 0; i < got; i++)
            judge(finished[i], reads, &t);
        under_way -= got;
    }
    return t;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: futures ENDPOINTS COUNT [PREFIX]\n");
        return 2;
    }
    size_t count = strtoul(argv[2], NULL, 10);
    const char *prefix = argc > 3 ? argv[3] : "futures";
    struct hf_options options = {.endpoints = argv[1]};
    struct hf *h = NULL;
    struct hf_queue *q = NULL;
    int rc = hf_open(&options, HF_ABI, &h);
    if (rc == HF_OK)
        rc = hf_queue_open(h, &q);
    if (rc) {
        fprintf(stderr, "%s\n", hf_error_text(rc));
        return 1;
    }
    struct totals w = round_of(h, q, prefix, count, 0), r = round_of(h, q, prefix, count, 1);
    hf_close(&h);
    hf_queue_free(q);
    printf("written %zu, not %zu, unknown %zu; read %zu, not %zu, wrong %zu\n", w.done, w.not_done, w.unknown, r.done,
           r.not_done, r.wrong);
    return w.done == count && r.done == count && r.wrong == 0 ? 0 : 1;
}
