/* test_backup.c: a backup's stream part by part: whole and in order whatever is asked twice, of one moment, two at most,
 * forgotten when nobody asks. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/sys/clock.h"
#include "proto/client.pb-c.h"
#include "proto/pack.h"
#include "shard/fsm/image.h"
#include "shard/server/backup.h"
#include "shard/snapshot/stream.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

struct whole {
    struct stream_reader *reader;
    struct stream_header header;
    struct buf section;
    struct arena arena;
    uint64_t records;
    char last[32];
};

static int header(void *ctx, const struct stream_header *h)
{
    ((struct whole *)ctx)->header = *h;
    return HF_OK;
}

static int bytes(void *ctx, struct slice part)
{
    buf_append(&((struct whole *)ctx)->section, part.data, part.size);
    return HF_OK;
}

static int end(void *ctx)
{
    struct whole *w = ctx;
    for (size_t at = 0; at < w->section.size;) {
        uint32_t size = get_le32(w->section.data + at);
        const Hf__Client__BackupRecord *r =
            pack_unpack(&hf__client__backup_record__descriptor, slice_make(w->section.data + at + 4, size), &w->arena);
        CU_ASSERT_PTR_NOT_NULL_FATAL(r);
        char key[32];
        snprintf(key, sizeof key, "%.*s", (int)r->key.len, (const char *)r->key.data);
        CU_ASSERT(strcmp(key, w->last) > 0 && r->version->t > 0);
        memcpy(w->last, key, sizeof key);
        w->records++;
        at += 4 + size;
    }
    buf_clear(&w->section);
    return HF_OK;
}

static void begin(struct whole *w)
{
    *w = (struct whole){0};
    struct stream_sink sink = {.ctx = w, .header = header, .bytes = bytes, .end = end};
    w->reader = stream_reader_new(&sink, 0);
}

static void finish(struct whole *w)
{
    CU_ASSERT_EQUAL(stream_reader_finish(w->reader), HF_OK);
    stream_reader_free(&w->reader);
    buf_deinit(&w->section);
    arena_deinit(&w->arena);
}

static const struct backup_when *latest(const struct machine *m)
{
    static struct backup_when when;
    when = (struct backup_when){.now = {m->t}};
    return &when;
}

static void put_many(struct machine *m, int count)
{
    static char value[2000];
    char key[32];
    memset(value, 'x', sizeof value - 1);
    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof key, "k%05d", i);
        machine_run(m, machine_put(key, value));
    }
}

#define COUNT 1200 /* several parts */

static void part_by_part(void)
{
    struct machine m;
    struct whole w;
    struct backup_part part, again;
    char where[256];
    machine_start(&m, "", "", true);
    put_many(&m, COUNT);
    machine_run(&m, machine_put("gone", "x"));
    machine_run(&m, machine_delete("gone"));
    struct backup_when now = {.now = {m.t}};
    struct backup *b = backup_new();
    uint64_t index = fsm_info(m.fsm)->applied.index, offset = 0, view = 0, parts = 0;
    begin(&w);
    for (bool more = true; more; parts++) {
        CU_ASSERT_EQUAL_FATAL(backup_part(b, m.fsm, &now, view, offset, &part, where), HF_OK);
        struct buf copy = {0};
        buf_append(&copy, part.bytes.data, part.bytes.size);
        CU_ASSERT_EQUAL_FATAL(backup_part(b, m.fsm, &now, part.view, offset, &again, where),
                              HF_OK); /* its answer was lost */
        CU_ASSERT(slice_equal(buf_slice(&copy), again.bytes) && again.more == part.more);
        CU_ASSERT_EQUAL(stream_reader_push(w.reader, buf_slice(&copy)), HF_OK);
        view = part.view;
        more = part.more;
        offset += copy.size;
        buf_deinit(&copy);
        machine_run(&m, machine_put("k99999", "later")); /* does not show */
    }
    finish(&w);
    CU_ASSERT(w.records == COUNT && parts > 3);
    CU_ASSERT(w.header.token.index == index && w.header.token.cluster == fsm_info(m.fsm)->cluster);
    CU_ASSERT(w.header.ceiling.t >= now.now.t);
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, &now, view, offset, &part, where), HF_E_ABSENT); /* behind its end */
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, &now, view, 7, &part, where), HF_E_ABSENT);
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, &now, 77, 0, &part, where), HF_E_ABSENT);
    backup_free(&b);
    machine_stop(&m);
}

static void two_at_once(void)
{
    struct machine m;
    struct backup_part one, other, third;
    char where[256];
    machine_start(&m, "", "", true);
    put_many(&m, COUNT);
    struct backup *b = backup_new();
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), 0, 0, &one, where), HF_OK);
    size_t size = one.bytes.size;
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), 0, 0, &other, where), HF_OK);
    CU_ASSERT(one.view != other.view);
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), 0, 0, &third, where), HF_E_BUSY);
    backup_expire(b, clock_boot_ns());
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), one.view, size, &third, where), HF_OK);
    backup_expire(b, clock_boot_ns() + 21 * 1000 * (uint64_t)CLOCK_NS_PER_MS);
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), one.view, size, &third, where), HF_E_ABSENT);
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), 0, 0, &third, where), HF_OK);
    backup_stop(b); /* the machine may be closed */
    machine_close(&m);
    machine_open(&m);
    backup_free(&b);
    machine_stop(&m);
}

static uint64_t whole_backup(struct backup *b, struct machine *m)
{
    struct backup_part part = {.more = true};
    char where[256];
    for (uint64_t offset = 0; part.more; offset += part.bytes.size)
        CU_ASSERT_EQUAL_FATAL(backup_part(b, m->fsm, latest(m), part.view, offset, &part, where), HF_OK);
    return part.view;
}

/* One after another: those that came to their end are in nobody's way, and one that did not stays. */
static void many_in_a_row(void)
{
    struct machine m;
    struct backup_part one, other, part;
    char where[256];
    machine_start(&m, "", "", true);
    put_many(&m, COUNT);
    struct backup *b = backup_new();
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), 0, 0, &one, where), HF_OK);
    size_t size = one.bytes.size;
    uint64_t last = 0;
    for (int i = 0; i < 4; i++)
        last = whole_backup(b, &m);
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), 0, 0, &other, where), HF_OK);
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), last, 0, &part, where), HF_E_ABSENT); /* its place went */
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), one.view, size, &part, where), HF_OK);
    CU_ASSERT_EQUAL(backup_part(b, m.fsm, latest(&m), 0, 0, &part, where), HF_E_BUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(where, "2 backups are under way"));
    backup_free(&b);
    machine_stop(&m);
}

#define SECOND_NS ((uint64_t)1000 * CLOCK_NS_PER_MS)

/* Begins one; its code. *out_size: of its first part. */
static int begin_one(struct backup *b, struct machine *m, uint64_t *out_view, char where[256])
{
    struct backup_part part = {0};
    int rc = backup_part(b, m->fsm, latest(m), 0, 0, &part, where);
    *out_view = part.view;
    return rc;
}

static int end_one(struct backup *b, struct machine *m, uint64_t view)
{
    struct backup_part part;
    char where[256];
    int rc = backup_part(b, m->fsm, latest(m), view, BACKUP_GIVEN_UP, &part, where);
    CU_ASSERT(rc != HF_OK || (part.view == view && part.bytes.size == 0 && !part.more));
    return rc;
}

/* Clients that end early: one that can say so gives its view back, one that cannot is in the way for some seconds. */
static void interrupted(void)
{
    struct machine m;
    char where[256];
    uint64_t now_ns = clock_boot_ns(), one, other, third;
    machine_start(&m, "", "", true);
    put_many(&m, COUNT);
    struct backup *b = backup_new();
    backup_expire(b, now_ns);
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(begin_one(b, &m, &one, where), HF_OK);
        CU_ASSERT_EQUAL(end_one(b, &m, one), HF_OK);
        CU_ASSERT_EQUAL(end_one(b, &m, one), HF_E_ABSENT);
    }
    CU_ASSERT_EQUAL(begin_one(b, &m, &one, where), HF_OK);
    backup_expire(b, now_ns += 3 * SECOND_NS);
    CU_ASSERT_EQUAL(begin_one(b, &m, &other, where), HF_OK);
    CU_ASSERT_EQUAL(begin_one(b, &m, &third, where), HF_E_BUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(where, "2 backups are under way here, the one idle longest for 3.0 s"));
    backup_expire(b, now_ns += 3 * SECOND_NS);
    CU_ASSERT_EQUAL(begin_one(b, &m, &third, where), HF_OK);
    CU_ASSERT_EQUAL(end_one(b, &m, one), HF_E_ABSENT); /* it was idle longest */
    CU_ASSERT_EQUAL(begin_one(b, &m, &one, where), HF_E_BUSY);
    backup_expire(b, now_ns += 19 * SECOND_NS); /* idle, but nobody wants its place */
    CU_ASSERT_EQUAL(end_one(b, &m, third), HF_OK);
    backup_expire(b, now_ns + 21 * SECOND_NS);
    CU_ASSERT_EQUAL(end_one(b, &m, other), HF_E_ABSENT);
    backup_free(&b);
    machine_stop(&m);
}

#define HISTORY 4000
#define SEED 20260711

/* What a scan at `at` finds, as a backup's records. */
static uint64_t scanned(struct machine *m, struct hlc at, struct buf *out)
{
    struct arena arena = {0};
    struct fsm_scan scan = {
        .space = FSM_USER, .at = at, .now = at, .items_max = 100000, .bytes_max = 1 << 30, .steps_max = 1 << 30};
    struct fsm_page page;
    CU_ASSERT_EQUAL_FATAL(fsm_scan(m->fsm, &scan, &arena, &page), HF_OK);
    CU_ASSERT(!page.more);
    for (size_t i = 0; i < page.count; i++) {
        buf_append(out, page.items[i].key.data, page.items[i].key.size);
        buf_append(out, &page.items[i].version, sizeof page.items[i].version);
        buf_append(out, page.items[i].value.data, page.items[i].value.size);
    }
    uint64_t count = page.count;
    arena_deinit(&arena);
    return count;
}

static uint64_t imaged(struct machine *m, struct hlc at, struct buf *out)
{
    struct image *image = image_new(m->fsm);
    struct image_item item;
    char where[256];
    uint64_t count = 0;
    for (int rc = HF_OK; rc != HF_E_NOT_FOUND; count += rc == HF_OK) {
        size_t steps = 50;
        rc = image_next(image, at, at, &steps, &item, where);
        CU_ASSERT_FATAL(rc == HF_OK || rc == HF_E_AGAIN || rc == HF_E_NOT_FOUND);
        if (rc != HF_OK)
            continue;
        buf_append(out, item.key.data, item.key.size);
        buf_append(out, &item.version, sizeof item.version);
        buf_append(out, item.value.data, item.value.size);
    }
    image_free(&image);
    return count;
}

/* Values, deletes, deleted prefixes and expiries of a random history, seen as of every stage of it. */
static void at_a_timestamp_it_shows_what_a_scan_does(void)
{
    struct machine m;
    uint64_t most = 0, times[HISTORY / 100], count = 0;
    machine_start(&m, "", "", true);
    for (uint64_t i = 1; i <= HISTORY; i++) {
        struct arena arena = {0};
        struct log_entry e = machine_random(SEED, fsm_info(m.fsm)->applied.index + 1, &arena);
        CU_ASSERT_EQUAL_FATAL(fsm_apply(m.fsm, &e, 1, machine_report, &m), HF_OK);
        arena_deinit(&arena);
        buf_clear(&m.results);
        if (i % 100 != 0)
            continue;
        times[count++] = fsm_info(m.fsm)->newest.t.t; /* below it, without what has just been written */
        for (uint64_t k = 0; k < count; k += 1 + count / 8) {
            struct buf one = {0}, other = {0};
            uint64_t found = scanned(&m, (struct hlc){times[k]}, &one);
            CU_ASSERT_EQUAL(imaged(&m, (struct hlc){times[k]}, &other), found);
            CU_ASSERT(slice_equal(buf_slice(&one), buf_slice(&other)));
            most = found > most ? found : most;
            buf_deinit(&one);
            buf_deinit(&other);
        }
    }
    CU_ASSERT(most > 10); /* there was something to see */
    machine_stop(&m);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"at a timestamp it shows what a scan does", at_a_timestamp_it_shows_what_a_scan_does},
        {"part by part", part_by_part},
        {"two at once", two_at_once},
        {"many in a row", many_in_a_row},
        {"interrupted", interrupted},
    };
    return UNIT_MAIN("backup", cases);
}
