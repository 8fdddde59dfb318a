/* test_route.c: which shard a request goes to: keys, sessions, prefixes, scans both ways over three ranges. */
#include <string.h>

#include "common/base/error.h"
#include "coordinator/route.h"
#include "proto/pack.h"
#include "tests/unit/unit.h"

/* Shard 1: [..g), shard 2: [g..p), shard 3: [p..). */
struct table {
    Hf__Catalog__Range ranges[3];
    Hf__Catalog__Route routes[3], *route_list[3];
    Hf__Catalog__Member members[3], *member_list[3];
    Hf__Catalog__Shard shards[3], *shard_list[3];
    Hf__Catalog__Routes all;
};

static struct table *table(void)
{
    static struct table t;
    static const char *const starts[] = {"", "g", "p"}, *const ends[] = {"g", "p", ""};
    hf__catalog__routes__init(&t.all);
    for (uint32_t i = 0; i < 3; i++) {
        hf__catalog__range__init(&t.ranges[i]);
        t.ranges[i].start = pack_bytes(slice_text(starts[i]));
        t.ranges[i].end = pack_bytes(slice_text(ends[i]));
        hf__catalog__route__init(&t.routes[i]);
        t.routes[i].range = &t.ranges[i];
        t.routes[i].shard = i + 1;
        hf__catalog__member__init(&t.members[i]);
        t.members[i].replica = 1;
        t.member_list[i] = &t.members[i];
        hf__catalog__shard__init(&t.shards[i]);
        t.shards[i].shard = i + 1;
        t.shards[i].n_members = 1;
        t.shards[i].members = &t.member_list[i];
        t.route_list[i] = &t.routes[i];
        t.shard_list[i] = &t.shards[i];
    }
    t.all.version = 1;
    t.all.n_routes = t.all.n_shards = 3;
    t.all.routes = t.route_list;
    t.all.shards = t.shard_list;
    return &t;
}

static bool is(struct slice s, const char *text)
{
    return slice_equal(s, slice_text(text));
}

static int get(const char *key, uint32_t shard, uint64_t session, struct route *out)
{
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    get.key = pack_bytes(slice_text(key));
    Hf__Client__Request r = HF__CLIENT__REQUEST__INIT;
    r.shard = shard;
    r.session = session;
    r.op_case = HF__CLIENT__REQUEST__OP_GET;
    r.get = &get;
    return route_request(&table()->all, &r, out);
}

static void keys(void)
{
    struct route route;
    CU_ASSERT_EQUAL_FATAL(routes_check(&table()->all), HF_OK);
    CU_ASSERT(get("", 0, 0, &route) == HF_OK && route.shard == 1);
    CU_ASSERT(get("fzz", 0, 0, &route) == HF_OK && route.shard == 1);
    CU_ASSERT(get("g", 0, 0, &route) == HF_OK && route.shard == 2);
    CU_ASSERT(get("p", 0, 0, &route) == HF_OK && route.shard == 3);
    CU_ASSERT(get("\xff\xff", 0, 0, &route) == HF_OK && route.shard == 3);
}

static void sessions_name_their_shard(void)
{
    struct route route;
    CU_ASSERT_EQUAL(get("a", 0, 7, &route), HF_E_INVALID);
    CU_ASSERT_EQUAL(get("a", 2, 7, &route), HF_E_WRONG_SHARD);
    CU_ASSERT(get("a", 1, 7, &route) == HF_OK && route.shard == 1);
    Hf__Client__SessionOpen open = HF__CLIENT__SESSION_OPEN__INIT;
    Hf__Client__Request r = HF__CLIENT__REQUEST__INIT;
    r.op_case = HF__CLIENT__REQUEST__OP_SESSION_OPEN;
    r.session_open = &open;
    CU_ASSERT_EQUAL(route_request(&table()->all, &r, &route), HF_E_INVALID);
    r.shard = 9;
    CU_ASSERT_EQUAL(route_request(&table()->all, &r, &route), HF_E_ABSENT);
    r.shard = 3;
    CU_ASSERT(route_request(&table()->all, &r, &route) == HF_OK && route.shard == 3);
}

static int prefix(const char *text, struct route *out)
{
    Hf__Client__Key key = HF__CLIENT__KEY__INIT;
    key.key = pack_bytes(slice_text(text));
    Hf__Client__Request r = HF__CLIENT__REQUEST__INIT;
    r.op_case = HF__CLIENT__REQUEST__OP_DELETE_PREFIX;
    r.delete_prefix = &key;
    return route_request(&table()->all, &r, out);
}

static void prefixes(void)
{
    struct route route;
    CU_ASSERT(prefix("f", &route) == HF_OK && route.shard == 1); /* ends exactly where shard 2 begins */
    CU_ASSERT(prefix("g", &route) == HF_OK && route.shard == 2);
    CU_ASSERT(prefix("\xff", &route) == HF_OK && route.shard == 3);
    CU_ASSERT_EQUAL(prefix("", &route), HF_E_INVALID);
    CU_ASSERT_STRING_EQUAL(route.text, "spans shards 1..3: needs a transaction");
    struct table *t = table();
    t->ranges[0].end = t->ranges[1].start = pack_bytes(slice_text("fm"));
    Hf__Client__Key key = HF__CLIENT__KEY__INIT;
    key.key = pack_bytes(slice_text("f"));
    Hf__Client__Request r = HF__CLIENT__REQUEST__INIT;
    r.op_case = HF__CLIENT__REQUEST__OP_DELETE_PREFIX;
    r.delete_prefix = &key;
    CU_ASSERT_EQUAL(route_request(&t->all, &r, &route), HF_E_INVALID);
    CU_ASSERT_STRING_EQUAL(route.text, "spans shards 1..2: needs a transaction");
    t->routes[1].shard = 1; /* two ranges of one shard */
    CU_ASSERT(route_request(&t->all, &r, &route) == HF_OK && route.shard == 1);
}

static void prefix_ends(void)
{
    uint8_t out[8];
    CU_ASSERT(route_prefix_end(slice_text("ab"), out) == 2 && memcmp(out, "ac", 2) == 0);
    CU_ASSERT(route_prefix_end(slice_text("a\xff\xff"), out) == 1 && out[0] == 'b');
    CU_ASSERT_EQUAL(route_prefix_end(slice_text("\xff"), out), 0);
    CU_ASSERT_EQUAL(route_prefix_end(slice_text(""), out), 0);
}

static int scan(const char *start, const char *end, bool reverse, struct route *out)
{
    Hf__Client__Scan s = HF__CLIENT__SCAN__INIT;
    s.start = pack_bytes(slice_text(start));
    s.end = pack_bytes(slice_text(end));
    s.reverse = reverse;
    Hf__Client__Request r = HF__CLIENT__REQUEST__INIT;
    r.op_case = HF__CLIENT__REQUEST__OP_SCAN;
    r.scan = &s;
    return route_request(&table()->all, &r, out);
}

static void scans_go_on_range_by_range(void)
{
    struct route r;
    CU_ASSERT(scan("a", "", false, &r) == HF_OK && r.shard == 1 && r.cut && is(r.scan_start, "a") &&
              is(r.scan_end, "g"));
    CU_ASSERT(r.more && is(r.next, "g"));
    CU_ASSERT(scan("g", "", false, &r) == HF_OK && r.shard == 2 && is(r.scan_end, "p") && r.more && is(r.next, "p"));
    CU_ASSERT(scan("p", "", false, &r) == HF_OK && r.shard == 3 && !r.cut && !r.more);
    CU_ASSERT(scan("a", "g", false, &r) == HF_OK && r.shard == 1 && !r.cut && !r.more);
    CU_ASSERT(scan("h", "h", false, &r) == HF_OK && r.empty);
    CU_ASSERT(scan("z", "h", true, &r) == HF_OK && r.empty);
}

static void reverse_scans_go_down(void)
{
    struct route r;
    CU_ASSERT(scan("", "", true, &r) == HF_OK && r.shard == 3 && r.cut && is(r.scan_start, "p") &&
              r.scan_end.size == 0);
    CU_ASSERT(r.more && is(r.next, "p"));
    CU_ASSERT(scan("", "p", true, &r) == HF_OK && r.shard == 2 && is(r.scan_start, "g") && is(r.scan_end, "p"));
    CU_ASSERT(r.more && is(r.next, "g"));
    CU_ASSERT(scan("", "g", true, &r) == HF_OK && r.shard == 1 && !r.cut && !r.more);
    CU_ASSERT(scan("b", "h", true, &r) == HF_OK && r.shard == 2 && is(r.scan_end, "h") && is(r.next, "g"));
    CU_ASSERT(scan("g", "h", true, &r) == HF_OK && r.shard == 2 && !r.more);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"keys", keys},
        {"sessions name their shard", sessions_name_their_shard},
        {"prefixes", prefixes},
        {"prefix ends", prefix_ends},
        {"scans go on range by range", scans_go_on_range_by_range},
        {"reverse scans go down", reverse_scans_go_down},
    };
    return UNIT_MAIN("coordinator/route", cases);
}
