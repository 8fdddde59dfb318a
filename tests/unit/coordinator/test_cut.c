/* test_cut.c: a timestamp is a strict cut only if it was drawn while all shards held, and all confirm that they did. */
#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/cut.h"
#include "coordinator/limits.h"
#include "tests/unit/unit.h"

#define SHARDS 3
#define MS CLOCK_NS_PER_MS
#define DEADLINE_NS (5000 * MS)

static struct {
    struct cut cut;
    uint64_t hold[SHARDS + 1]; /* by shard: whose questions it has */
    uint64_t at[SHARDS + 1];   /* the timestamp it was told last */
    int ends, asked;           /* how often */
    bool unled, unsent;
    uint64_t next; /* timestamp */
    int drawn, draw_code;
    uint64_t above;
    int answers, code; /* to clients */
    uint64_t timestamp;
    char text[256];
} f;

static Hf__Catalog__Shard shard_rows[SHARDS];
static Hf__Catalog__Shard *shard_list[SHARDS];
static Hf__Catalog__Routes routes;

static const Hf__Catalog__Routes *port_routes(void *ctx)
{
    (void)ctx;
    return &routes;
}

static bool port_led(void *ctx, uint32_t shard)
{
    (void)ctx;
    return !(f.unled && shard == 2);
}

static int port_ask(void *ctx, uint32_t shard, const Hf__Client__Hold *hold, bool wait, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    CU_ASSERT(wait != (bool)hold->end);
    if (f.unsent && shard == 2 && !hold->end)
        return HF_E_UNAVAILABLE;
    f.asked++;
    f.ends += hold->end;
    f.hold[shard] = hold->id;
    f.at[shard] = hold->at;
    return HF_OK;
}

static int port_draw(void *ctx, struct hlc above, struct hlc *out)
{
    (void)ctx;
    f.drawn++;
    f.above = above.t;
    *out = (struct hlc){++f.next > above.t ? f.next : above.t + 1};
    return f.draw_code;
}

static void port_answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    (void)ctx;
    (void)client;
    f.answers++;
    f.code = reply->code;
    f.timestamp = reply->timestamp;
    snprintf(f.text, sizeof f.text, "%s", reply->message);
}

static void begin(void)
{
    memset(&f, 0, sizeof f);
    f.next = 100;
    hf__catalog__routes__init(&routes);
    for (uint32_t i = 0; i < SHARDS; i++) {
        hf__catalog__shard__init(&shard_rows[i]);
        shard_rows[i].shard = i + 1;
        shard_list[i] = &shard_rows[i];
    }
    routes.n_shards = SHARDS;
    routes.shards = shard_list;
    const struct cut_port port = {
        .routes = port_routes, .led = port_led, .ask = port_ask, .draw = port_draw, .answer = port_answer};
    cut_init(&f.cut, &port, UINT64_MAX - 1);
}

static void ask(uint64_t now_ns)
{
    CU_ASSERT_EQUAL(cut_ask(&f.cut, &(struct forward_client){0}, DEADLINE_NS, now_ns), HF_OK);
}

static void say(uint32_t shard, int code, uint64_t above)
{
    cut_answered(&f.cut, f.hold[shard], shard, code, (struct hlc){above}, 1 * MS);
}

static void all_say(int code)
{
    for (uint32_t s = 1; s <= SHARDS; s++)
        say(s, code, 0);
}

static void drawn_while_all_hold_and_told_when_all_confirm(void)
{
    begin();
    ask(0);
    say(1, HF_OK, 0);
    say(3, HF_OK, 0);
    CU_ASSERT(f.drawn == 0 && f.answers == 0);
    ask(0); /* shares the round: its timestamp is not drawn yet */
    say(2, HF_OK, 0);
    CU_ASSERT(f.drawn == 1 && f.at[1] == 101 && f.at[2] == 101 && f.at[3] == 101 && f.answers == 0);
    ask(0); /* too late for this one */
    all_say(HF_OK);
    CU_ASSERT(f.answers == 2 && f.code == HF_OK && f.timestamp == 101 && f.ends == 0);
    cut_tick(&f.cut, 1 * MS);
    all_say(HF_OK);
    all_say(HF_OK);
    CU_ASSERT(f.answers == 3 && f.timestamp == 102 && f.cut.clients == 0);
    cut_deinit(&f.cut);
}

static void a_shard_that_does_not_hold_frees_the_others(void)
{
    begin();
    ask(0);
    say(1, HF_OK, 0);
    say(2, HF_E_NOT_READY, 0);
    CU_ASSERT(f.ends == 0);
    say(3, HF_OK, 0);
    CU_ASSERT(f.ends == SHARDS && f.drawn == 0 && f.answers == 0);
    cut_tick(&f.cut, 2 * MS); /* not at once */
    CU_ASSERT_EQUAL(f.asked, 2 * SHARDS);
    cut_tick(&f.cut, (CUT_RETRY_MS + 2) * MS);
    CU_ASSERT_EQUAL(f.asked, 3 * SHARDS);
    all_say(HF_OK);
    all_say(HF_OK);
    CU_ASSERT(f.answers == 1 && f.code == HF_OK);
    cut_deinit(&f.cut);
}

static void a_hold_that_was_lost_is_no_cut(void)
{
    begin();
    ask(0);
    uint64_t id = f.hold[1];
    all_say(HF_OK);
    say(1, HF_OK, 0);
    say(2, HF_E_ABSENT, 0);
    say(3, HF_OK, 0);
    CU_ASSERT(f.answers == 0 && f.cut.state == CUT_IDLE);
    cut_answered(&f.cut, id, 2, HF_OK, (struct hlc){0}, 1 * MS); /* of nobody's round */
    cut_tick(&f.cut, (CUT_RETRY_MS + 2) * MS);
    CU_ASSERT(f.hold[1] != id && f.hold[1] != 0);
    cut_answered(&f.cut, id, 2, HF_OK, (struct hlc){0}, 1 * MS); /* nor of this one */
    CU_ASSERT_EQUAL(f.cut.waiting, SHARDS);
    cut_deinit(&f.cut);
}

static void a_shard_that_went_on_from_a_ceiling_is_gone_above(void)
{
    begin();
    ask(0);
    all_say(HF_OK);
    say(1, HF_OK, 0);
    say(2, HF_E_RESTART_ABOVE, 5000);
    say(3, HF_OK, 0);
    cut_tick(&f.cut, (CUT_RETRY_MS + 2) * MS);
    all_say(HF_OK);
    CU_ASSERT(f.above == 5000 && f.at[2] == 5001);
    all_say(HF_OK);
    CU_ASSERT(f.answers == 1 && f.timestamp == 5001);
    cut_deinit(&f.cut);
}

static void what_cannot_be_is_said(void)
{
    begin();
    ask(0);
    say(1, HF_OK, 0);
    say(2, HF_E_REFUSED, 0);
    say(3, HF_OK, 0);
    CU_ASSERT(f.answers == 1 && f.code == HF_E_REFUSED && f.ends == SHARDS);
    f.unled = true;
    int asked = f.asked;
    ask((CUT_RETRY_MS + 2) * MS);
    CU_ASSERT(f.asked == asked && f.answers == 1); /* nobody waits for a shard without a leader */
    cut_tick(&f.cut, DEADLINE_NS);
    CU_ASSERT(f.answers == 2 && f.code == HF_E_UNAVAILABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(f.text, "shard 2"));
    CU_ASSERT_EQUAL(f.asked, asked);
    cut_deinit(&f.cut);
}

static void what_cannot_be_sent_or_drawn_is_tried_again(void)
{
    begin();
    f.unsent = true;
    ask(0);
    say(1, HF_OK, 0);
    say(3, HF_OK, 0);
    CU_ASSERT(f.cut.state == CUT_IDLE && f.ends == SHARDS);
    f.unsent = false;
    f.draw_code = HF_E_UNAVAILABLE; /* the oracle's lease ran out */
    cut_tick(&f.cut, (CUT_RETRY_MS + 2) * MS);
    all_say(HF_OK);
    CU_ASSERT(f.drawn == 1 && f.cut.state == CUT_IDLE && f.ends == 2 * SHARDS && f.answers == 0);
    f.draw_code = HF_OK;
    cut_tick(&f.cut, 2 * (CUT_RETRY_MS + 2) * MS);
    all_say(HF_OK);
    all_say(HF_OK);
    CU_ASSERT(f.answers == 1 && f.code == HF_OK);
    cut_deinit(&f.cut);
}

static void only_so_many_wait(void)
{
    begin();
    for (unsigned i = 0; i < CUT_CLIENTS_MAX; i++)
        ask(0);
    CU_ASSERT_EQUAL(cut_ask(&f.cut, &(struct forward_client){0}, DEADLINE_NS, 0), HF_E_BUSY);
    cut_tick(&f.cut, DEADLINE_NS);
    CU_ASSERT(f.answers == (int)CUT_CLIENTS_MAX && f.code == HF_E_UNAVAILABLE);
    all_say(HF_OK); /* nobody wants it any more */
    all_say(HF_OK);
    CU_ASSERT(f.cut.state == CUT_IDLE && f.answers == (int)CUT_CLIENTS_MAX);
    cut_deinit(&f.cut);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"drawn while all hold, told when all confirm", drawn_while_all_hold_and_told_when_all_confirm},
        {"a shard that does not hold frees the others", a_shard_that_does_not_hold_frees_the_others},
        {"a hold that was lost is no cut", a_hold_that_was_lost_is_no_cut},
        {"a shard that went on from a ceiling is gone above", a_shard_that_went_on_from_a_ceiling_is_gone_above},
        {"what cannot be is said", what_cannot_be_is_said},
        {"what cannot be sent or drawn is tried again", what_cannot_be_sent_or_drawn_is_tried_again},
        {"only so many wait", only_so_many_wait},
    };
    return UNIT_MAIN("coordinator/cut", cases);
}
