/* pages.c: scan and dump: items in key order, page after page, over all shards. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/keeper.h"
#include "client/cli/text.h"
#include "common/base/limits.h"

#define PAGE_RETRIES_MAX 20 /* a dump of many pages is not ended by one election */

void pages_print_item(FILE *to, const struct cli *c, const struct hf_item *item)
{
    struct slice key = cli_slice(item->key), value = cli_slice(item->value);
    if (c->json) {
        bool hex = c->hex || !text_is_utf8(key) || !text_is_utf8(value);
        fputs("{\"key\":", to);
        text_json_or_hex(to, key, hex);
        if (!c->keys_only) {
            fputs(",\"value\":", to);
            text_json_or_hex(to, value, hex);
        }
        fprintf(to, ",\"version\":\"%" PRIu64 ".%" PRIu64 "\"%s}", item->version.timestamp, item->version.sequence,
                hex ? ",\"hex\":true" : "");
    } else {
        void (*print)(FILE *, struct slice) = c->hex ? text_hex : text_escape;
        print(to, key);
        if (!c->keys_only) {
            putc('\t', to);
            print(to, value);
        }
    }
    putc('\n', to);
}

struct hf_bytes pages_prefix_end(struct cli *c, struct hf_bytes prefix)
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

static const char no_cut_hint[] = "--at 0 reads without it, each page as it then is";

/* What is read, and how far it came. */
struct reading {
    struct hf_range range;
    bool own;         /* the timestamp is ours: another may be taken while nothing is printed */
    uint64_t printed; /* items */
    uint8_t *next;    /* owned by c->arena; own: the first key after the last one printed */
    size_t next_size;
};

static void printed(struct reading *r, const struct hf_item *item)
{
    r->printed++;
    if (!r->own)
        return;
    must(item->key.size <= LIMIT_KEY_BYTES);
    memcpy(r->next, item->key.data, item->key.size);
    r->next[item->key.size] = 0;
    r->next_size = item->key.size + 1;
}

static int print_all(struct cli *c, struct reading *r, struct hf_cursor *cursor)
{
    const struct hf_item *item;
    int tries = 0;
    while (c->limit == 0 || r->printed < c->limit) {
        int rc;
        do
            rc = hf_cursor_next(cursor, &item);
        while (rc && hf_error_class(rc) != HF_CLASS_GIVE_UP && !c->timeout_given && tries++ < PAGE_RETRIES_MAX);
        if (rc || !item)
            return rc;
        tries = 0;
        pages_print_item(stdout, c, item);
        printed(r, item);
        if (ferror(stdout))
            break;
    }
    return HF_OK;
}

/* Our own timestamp is of no use for the rest: HF_OK: with another, or the latest, it is. Else an exit code, said. */
static int without_it(struct cli *c, struct reading *r, int code, const struct hf_cursor *cursor)
{
    uint64_t at = r->range.at, above = hf_cursor_restart_above(cursor);
    if (code == HF_E_RESTART_ABOVE && r->own && at != 0 && r->printed == 0)
        return cli_cut(c, no_cut_hint, &r->range.at); /* the coordinator hears of the mark from the shard, too */
    if (code != HF_E_REFUSED || !r->own || at == 0)
        return cli_failed_at(c, code, hf_cursor_message(cursor), at, above);
    cli_warn(c, "no snapshot: %s; %s is read page by page as it then is", hf_cursor_message(cursor),
             r->printed > 0 ? "from here on everything" : "everything");
    r->range.at = 0;
    if (r->printed > 0)
        r->range.start = (struct hf_bytes){r->next, r->next_size};
    return HF_OK;
}

/* One cursor, as far as it goes. *out_again: another one goes on. */
static int run_once(struct cli *c, struct reading *r, bool *out_again)
{
    struct hf_cursor *cursor;
    const struct hf_range *range = &r->range;
    int rc = hf_cursor_open(c->h, range, c->timeout_ms, &cursor);
    if (rc == HF_E_LIMIT)
        return cli_error(c, rc, "a bound or prefix has %zu bytes, the limit is %u",
                         range->start.size > range->end.size ? range->start.size : range->end.size,
                         LIMIT_KEY_BYTES + 1);
    if (rc)
        return cli_error(c, rc, NULL);
    rc = print_all(c, r, cursor);
    *out_again = rc != HF_OK;
    if (rc)
        rc = without_it(c, r, rc, cursor);
    hf_cursor_close(cursor);
    return rc;
}

static int run(struct cli *c, struct reading *r)
{
    int rc = cli_open(c);
    if (rc)
        return rc;
    if (c->limit > 0 && c->limit < 1000)
        r->range.page_items = (uint32_t)c->limit;
    if (r->own) {
        r->next = arena_alloc(&c->arena, LIMIT_KEY_BYTES + 1);
        rc = cli_cut(c, no_cut_hint, &r->range.at);
    }
    bool again = true;
    struct keeper *keeper = rc == HF_OK && r->range.at != 0 ? keeper_begin(c->h) : NULL;
    while (rc == HF_OK && again) {
        keeper_at(keeper, r->range.at);
        rc = run_once(c, r, &again);
    }
    keeper_end(&keeper);
    return cli_flush(c, rc);
}

static bool prefix_range(struct cli *c, struct hf_range *range)
{
    if (!cli_bytes(c, c->prefix, &range->start))
        return false;
    range->end = pages_prefix_end(c, range->start);
    return true;
}

int pages_scan(struct cli *c)
{
    struct reading r = {
        .range = {.reverse = c->reverse, .keys_only = c->keys_only, .at = c->at == CLI_AT_NONE ? 0 : c->at}};
    if (c->prefix && c->count > 0)
        return cli_usage(c, "scan: either --prefix or START and END");
    if (c->prefix && !prefix_range(c, &r.range))
        return CLI_USAGE;
    if (c->count > 0 && !cli_bytes(c, c->arguments[0].text, &r.range.start))
        return CLI_USAGE;
    if (c->count > 1 && !cli_bytes(c, c->arguments[1].text, &r.range.end))
        return CLI_USAGE;
    return run(c, &r);
}

int pages_dump(struct cli *c)
{
    bool own = c->at == CLI_AT_NONE;
    struct reading r = {.range = {.at = own ? 0 : c->at}, .own = own};
    if (c->prefix && !prefix_range(c, &r.range))
        return CLI_USAGE;
    return run(c, &r);
}
