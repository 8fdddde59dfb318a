/* pages.c: scan and dump: items in key order, page after page, over all shards. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/text.h"
#include "common/base/limits.h"

#define PAGE_RETRIES_MAX 20 /* a dump of many pages is not ended by one election */

static void print_item(const struct cli *c, const struct hf_item *item)
{
    struct slice key = cli_slice(item->key), value = cli_slice(item->value);
    if (c->json) {
        bool hex = c->hex || !text_is_utf8(key) || !text_is_utf8(value);
        fputs("{\"key\":", stdout);
        text_json_or_hex(stdout, key, hex);
        if (!c->keys_only) {
            fputs(",\"value\":", stdout);
            text_json_or_hex(stdout, value, hex);
        }
        printf(",\"version\":\"%" PRIu64 ".%" PRIu64 "\"%s}", item->version.timestamp, item->version.sequence,
               hex ? ",\"hex\":true" : "");
    } else {
        void (*print)(FILE *, struct slice) = c->hex ? text_hex : text_escape;
        print(stdout, key);
        if (!c->keys_only) {
            putchar('\t');
            print(stdout, value);
        }
    }
    putchar('\n');
}

/* The first key after all that begin with `prefix`; empty when there is none. In c->arena. */
static struct hf_bytes prefix_end(struct cli *c, struct hf_bytes prefix)
{
    size_t size = prefix.size;
    const uint8_t *bytes = prefix.data;
    while (size > 0 && bytes[size - 1] == 0xff)
        size--;
    if (size == 0)
        return (struct hf_bytes){NULL, 0};
    uint8_t *end = arena_alloc(&c->arena, size);
    memcpy(end, bytes, size);
    end[size - 1]++;
    return (struct hf_bytes){end, size};
}

static int run(struct cli *c, struct hf_range *range)
{
    int rc = cli_open(c);
    if (rc)
        return rc;
    if (c->limit > 0 && c->limit < 1000)
        range->page_items = (uint32_t)c->limit;
    struct hf_cursor *cursor;
    rc = hf_cursor_open(c->h, range, c->timeout_ms, &cursor);
    if (rc == HF_E_LIMIT)
        return cli_error(c, rc, "a bound or prefix has %zu bytes, the limit is %u",
                         range->start.size > range->end.size ? range->start.size : range->end.size,
                         LIMIT_KEY_BYTES + 1);
    if (rc)
        return cli_error(c, rc, NULL);
    const struct hf_item *item;
    int tries = 0;
    for (uint64_t count = 0; c->limit == 0 || count < c->limit; count++) {
        do
            rc = hf_cursor_next(cursor, &item);
        while (rc && hf_error_class(rc) != HF_CLASS_GIVE_UP && !c->timeout_given && tries++ < PAGE_RETRIES_MAX);
        if (rc || !item)
            break;
        tries = 0;
        print_item(c, item);
        if (ferror(stdout))
            break;
    }
    if (rc)
        rc = cli_failed(c, rc, hf_cursor_message(cursor));
    hf_cursor_close(cursor);
    return cli_flush(c, rc);
}

static bool prefix_range(struct cli *c, struct hf_range *range)
{
    if (!cli_bytes(c, c->prefix, &range->start))
        return false;
    range->end = prefix_end(c, range->start);
    return true;
}

int pages_scan(struct cli *c)
{
    struct hf_range range = {.reverse = c->reverse, .keys_only = c->keys_only, .at = c->at};
    if (c->prefix && c->count > 0)
        return cli_usage(c, "scan: either --prefix or START and END");
    if (c->prefix && !prefix_range(c, &range))
        return CLI_USAGE;
    if (c->count > 0 && !cli_bytes(c, c->arguments[0].text, &range.start))
        return CLI_USAGE;
    if (c->count > 1 && !cli_bytes(c, c->arguments[1].text, &range.end))
        return CLI_USAGE;
    return run(c, &range);
}

int pages_dump(struct cli *c)
{
    struct hf_range range = {0};
    if (c->prefix && !prefix_range(c, &range))
        return CLI_USAGE;
    return run(c, &range);
}
