/* keys.c: put, get, del, cas, delprefix, timestamp: one request each. */
#include <inttypes.h>
#include <stdio.h>

#include "client/cli/cli.h"
#include "client/cli/text.h"
#include "common/base/limits.h"

static const struct hf_call *call_of(const struct cli *c, struct hf_call *call)
{
    *call = (struct hf_call){.deadline_ms = c->timeout_ms};
    return call;
}

static int wait_for(struct hf_future *f)
{
    int code;
    do
        code = hf_future_wait(f, 1000);
    while (code == HF_E_AGAIN);
    return code;
}

/* The library took the request not at all: say which limit it passes. */
static int not_taken(const struct cli *c, int rc, struct hf_bytes key)
{
    if (rc != HF_E_LIMIT)
        return cli_error(c, rc, NULL);
    return cli_error(c, rc, "the key has %zu bytes, the limit is %u; of a value %u", key.size,
                     (unsigned)LIMIT_KEY_BYTES, (unsigned)LIMIT_VALUE_BYTES);
}

/* Prints the version written. Ends `f`, which is set when `rc` is 0. */
static int end_write(const struct cli *c, int rc, struct hf_bytes key, struct hf_future *f)
{
    if (rc)
        return not_taken(c, rc, key);
    rc = wait_for(f);
    if (rc) {
        rc = cli_failed(c, rc, hf_future_message(f));
    } else {
        struct hf_version v = hf_future_version(f);
        if (c->json)
            printf("{\"version\":\"%" PRIu64 ".%" PRIu64 "\"}\n", v.timestamp, v.sequence);
        else
            puts("ok");
    }
    hf_future_free(f);
    return cli_flush_done(c, rc);
}

int keys_put(struct cli *c)
{
    struct hf_bytes key, value;
    struct hf_future *f = NULL;
    struct hf_call call;
    if (!cli_bytes(c, c->arguments[0].text, &key) || !cli_bytes(c, c->arguments[1].text, &value))
        return CLI_USAGE;
    int rc = cli_open(c);
    if (rc)
        return rc;
    rc = hf_put_async(c->h, key, value, c->ttl_ms, call_of(c, &call), &f);
    return end_write(c, rc, key, f);
}

int keys_del(struct cli *c)
{
    struct hf_bytes key;
    struct hf_future *f = NULL;
    struct hf_call call;
    if (!cli_bytes(c, c->arguments[0].text, &key))
        return CLI_USAGE;
    int rc = cli_open(c);
    if (rc)
        return rc;
    rc = hf_del_async(c->h, key, call_of(c, &call), &f);
    return end_write(c, rc, key, f);
}

int keys_delprefix(struct cli *c)
{
    struct hf_bytes prefix;
    struct hf_future *f = NULL;
    struct hf_call call;
    if (!cli_bytes(c, c->arguments[0].text, &prefix))
        return CLI_USAGE;
    int rc = cli_open(c);
    if (rc)
        return rc;
    rc = hf_delete_prefix_async(c->h, prefix, call_of(c, &call), &f);
    return end_write(c, rc, prefix, f);
}

int keys_cas(struct cli *c)
{
    struct hf_bytes key, old, new;
    struct hf_future *f = NULL;
    struct hf_call call;
    const char *old_text = c->arguments[1].text, *new_text = c->arguments[2].text;
    if (!c->arguments[0].text)
        return cli_usage(c, "cas: the key comes first, then OLD or --absent, then NEW or --absent");
    if (!cli_bytes(c, c->arguments[0].text, &key) || (old_text && !cli_bytes(c, old_text, &old)) ||
        (new_text && !cli_bytes(c, new_text, &new)))
        return CLI_USAGE;
    int rc = cli_open(c);
    if (rc)
        return rc;
    rc = hf_cas_async(c->h, key, old_text ? &old : NULL, new_text ? &new : NULL, call_of(c, &call), &f);
    return end_write(c, rc, key, f);
}

static void print_value(const struct cli *c, struct hf_bytes key, const struct hf_future *f)
{
    struct hf_bytes value = hf_future_value(f);
    struct hf_version v = hf_future_version(f);
    if (c->json) {
        bool hex = c->hex || !text_is_utf8(cli_slice(key)) || !text_is_utf8(cli_slice(value));
        fputs("{\"key\":", stdout);
        text_json_or_hex(stdout, cli_slice(key), hex);
        fputs(",\"value\":", stdout);
        text_json_or_hex(stdout, cli_slice(value), hex);
        printf(",\"version\":\"%" PRIu64 ".%" PRIu64 "\"%s}", v.timestamp, v.sequence, hex ? ",\"hex\":true" : "");
    } else if (c->hex) {
        text_hex(stdout, cli_slice(value));
    } else {
        fwrite(value.data ? value.data : "", 1, value.size, stdout);
    }
    putchar('\n');
}

int keys_get(struct cli *c)
{
    struct hf_bytes key;
    struct hf_future *f = NULL;
    struct hf_call call;
    if (!cli_bytes(c, c->arguments[0].text, &key))
        return CLI_USAGE;
    int rc = cli_open(c);
    if (rc)
        return rc;
    uint64_t at = c->at == CLI_AT_NONE ? 0 : c->at;
    rc = hf_get_async(c->h, key, at, call_of(c, &call), &f);
    if (rc)
        return not_taken(c, rc, key);
    rc = wait_for(f);
    if (rc)
        rc = cli_failed_at(c, rc, hf_future_message(f), at, hf_future_timestamp(f));
    else
        print_value(c, key, f);
    hf_future_free(f);
    return cli_flush(c, rc);
}

int keys_timestamp(struct cli *c)
{
    struct hf_future *f = NULL;
    struct hf_call call;
    int rc = cli_open(c);
    if (rc)
        return rc;
    rc = hf_timestamp_async(c->h, c->above, call_of(c, &call), &f);
    if (rc)
        return cli_error(c, rc, NULL);
    rc = wait_for(f);
    if (rc == HF_E_FUTURE_TIMESTAMP)
        rc = cli_error(c, rc, "%" PRIu64 " is far ahead of the cluster's time: no shard can have named it", c->above);
    else if (rc)
        rc = cli_failed(c, rc, hf_future_message(f));
    else if (c->json)
        printf("{\"timestamp\":\"%" PRIu64 "\"}\n", hf_future_timestamp(f));
    else
        printf("%" PRIu64 "\n", hf_future_timestamp(f));
    hf_future_free(f);
    return cli_flush(c, rc);
}
