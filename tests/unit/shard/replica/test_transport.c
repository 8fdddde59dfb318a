/* test_transport.c: who is heard: members with their own incarnation, of the same cluster, group, log epoch and engine;
 * everybody else is dropped, but for a group that changed meanwhile; and however much is received, memory is that of one message. */
#include "shard/replica/transport.h"

#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "tests/unit/unit.h"

#define ENDPOINT "tcp://127.0.0.1:21090"
#define NEWCOMER "tcp://127.0.0.1:21091"

static struct net *net;
static struct transport *transport;
static struct net_socket *sender;

static Hf__Catalog__Members group = HF__CATALOG__MEMBERS__INIT;

static void begin(void)
{
    static Hf__Catalog__Member list[3], *pointers[3];
    struct identity id = {
        .cluster = 7, .group = 1, .replica = 1, .incarnation = 11, .engine = "native", .log_epoch = 2};
    const struct net_options options = {.hwm = 100, .message_bytes = 1 << 20};
    for (uint32_t i = 0; i < 3; i++) {
        hf__catalog__member__init(&list[i]);
        list[i].replica = i + 1;
        list[i].incarnation = i + 11; /* no addresses: members all the same */
        pointers[i] = &list[i];
    }
    group.n_members = 3;
    group.members = pointers;
    net = net_new(1, 16);
    CU_ASSERT_EQUAL_FATAL(transport_open(net, ENDPOINT, &id, &transport), HF_OK);
    transport_members(transport, &group);
    CU_ASSERT_EQUAL_FATAL(net_connect(net, ENDPOINT, &options, &sender), HF_OK);
}

static void end(void)
{
    net_close(&sender);
    transport_close(&transport);
    net_free(&net);
}

/* As member 2 sends it to us. */
static Hf__Raft__Envelope envelope(Hf__Raft__Raft *body)
{
    Hf__Raft__Envelope e = HF__RAFT__ENVELOPE__INIT;
    hf__raft__raft__init(body);
    body->kind = HF__RAFT__KIND__VOTE;
    body->term = UINT64_C(1) << 61;
    body->transfer = true;
    e.version = 1;
    e.cluster = 7;
    e.group = 1;
    e.log_epoch = 2;
    e.engine = (char *)"native";
    e.from = 2;
    e.from_incarnation = 12;
    e.to = 1;
    e.to_incarnation = 11;
    e.body_case = HF__RAFT__ENVELOPE__BODY_RAFT;
    e.raft = body;
    return e;
}

static int receive(const Hf__Raft__Envelope **out)
{
    struct net_poll_item item = {.socket = transport_socket(transport)};
    CU_ASSERT_EQUAL(net_poll(&item, 1, 20000), 1);
    return transport_receive(transport, out);
}

static int heard(const Hf__Raft__Envelope *e, const Hf__Raft__Envelope **out)
{
    struct buf packed = {0};
    pack_append(&e->base, &packed);
    while (net_send(sender, buf_slice(&packed)) != HF_OK) /* not connected yet */
        (void)net_poll(NULL, 0, 1);
    buf_deinit(&packed);
    return receive(out);
}

static void only_members_are_heard(void)
{
    begin();
    Hf__Raft__Raft body;
    const Hf__Raft__Envelope *got = NULL;
    Hf__Raft__Envelope e = envelope(&body);
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    CU_ASSERT(got && got->from == 2 && got->raft->term == body.term);
    e.to_incarnation = 0; /* it may not know ours yet */
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
#define WRONG(field, value)                                                                                            \
    do {                                                                                                               \
        e = envelope(&body);                                                                                           \
        e.field = (value);                                                                                             \
        CU_ASSERT_EQUAL(heard(&e, &got), HF_E_PROTOCOL);                                                               \
    } while (0)
    WRONG(version, 2);
    WRONG(cluster, 8);
    WRONG(group, 2);
    WRONG(to, 2);
    WRONG(from, 1); /* ourselves */
    WRONG(from, 4); /* nobody */
    WRONG(from, 0);
    WRONG(log_epoch, 1);
    WRONG(log_epoch, 3);
    WRONG(engine, (char *)"libraft");
    WRONG(from_incarnation, 13);
    WRONG(from_incarnation, 0);
    WRONG(to_incarnation, 12);
    WRONG(body_case, HF__RAFT__ENVELOPE__BODY__NOT_SET);
#undef WRONG
    end();
}

/* Of replica 4, that came while we were away, and knows us. */
static Hf__Raft__Envelope of_newcomer(Hf__Raft__Raft *body)
{
    Hf__Raft__Envelope e = envelope(body);
    body->kind = HF__RAFT__KIND__APPEND;
    body->term = 9;
    body->transfer = false;
    e.from = 4;
    e.from_incarnation = 14;
    return e;
}

static void newcomers_are_heard_by_whom_nobody_leads(void)
{
    begin();
    Hf__Raft__Raft body;
    const Hf__Raft__Envelope *got = NULL;
    Hf__Raft__Envelope e = of_newcomer(&body);
    transport_follows(transport, 0, 5);
    static const Hf__Raft__Kind requests[] = {HF__RAFT__KIND__PREVOTE, HF__RAFT__KIND__VOTE, HF__RAFT__KIND__APPEND,
                                              HF__RAFT__KIND__SNAPSHOT};
    static const Hf__Raft__Kind others[] = {HF__RAFT__KIND__NONE,        HF__RAFT__KIND__PREVOTE_REPLY,
                                            HF__RAFT__KIND__VOTE_REPLY,  HF__RAFT__KIND__APPEND_REPLY,
                                            HF__RAFT__KIND__TIMEOUT_NOW, HF__RAFT__KIND__SNAPSHOT_REPLY,
                                            (Hf__Raft__Kind)99};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        body.kind = requests[i];
        CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        body.kind = others[i];
        CU_ASSERT_EQUAL(heard(&e, &got), HF_E_PROTOCOL);
    }
    e = of_newcomer(&body);
    body.term = 1; /* it has yet to be told of a later one */
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    body.term = UINT64_C(1) << 61; /* after no number of elections */
    CU_ASSERT_EQUAL(heard(&e, &got), HF_E_PROTOCOL);
    e = of_newcomer(&body);
    e.to_incarnation = 0; /* no configuration named us to it */
    CU_ASSERT_EQUAL(heard(&e, &got), HF_E_PROTOCOL);
    e = of_newcomer(&body);
    transport_follows(transport, 4, 9);
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    transport_follows(transport, 2, 9);
    CU_ASSERT_EQUAL(heard(&e, &got), HF_E_PROTOCOL);
    end();
}

/* The group was 1, 2 and 3 when we fell asleep; 4 came and leads, and sends us what follows on an entry we lack: until our
 * answer reaches it, it sends nothing else. */
static void a_newcomer_gets_its_answer(void)
{
    begin();
    struct identity id = {
        .cluster = 7, .group = 1, .replica = 4, .incarnation = 14, .engine = "native", .log_epoch = 2};
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    Hf__Catalog__Member us = HF__CATALOG__MEMBER__INIT, it = HF__CATALOG__MEMBER__INIT, *list[] = {&us, &it};
    us.replica = 1;
    us.incarnation = 11;
    us.raft_endpoint = (char *)ENDPOINT;
    it.replica = 4;
    it.incarnation = 14;
    it.raft_endpoint = (char *)NEWCOMER;
    members.n_members = 2;
    members.members = list;
    struct transport *newcomer = NULL;
    CU_ASSERT_EQUAL_FATAL(transport_open(net, NEWCOMER, &id, &newcomer), HF_OK);
    transport_members(newcomer, &members);
    Hf__Raft__Raft append = HF__RAFT__RAFT__INIT, reply = HF__RAFT__RAFT__INIT;
    append.kind = HF__RAFT__KIND__APPEND;
    append.term = reply.term = 9;
    reply.kind = HF__RAFT__KIND__APPEND_REPLY;
    reply.reject = true;
    const Hf__Raft__Envelope *got = NULL;
    struct net_poll_item at_us = {.socket = transport_socket(transport)};
    struct net_poll_item at_it = {.socket = transport_socket(newcomer)};
    bool there = false, back = false;
    for (int i = 0; i < 2000 && !back; i++) { /* nothing is queued before the connection is made: as heartbeats are */
        transport_send(newcomer, 1, &append, 5);
        (void)net_poll(&at_us, 1, 10);
        while (transport_receive(transport, &got) == HF_OK)
            there = got->from == 4;
        if (there)
            transport_send(transport, 4, &reply, 0);
        (void)net_poll(&at_it, 1, there ? 10 : 0);
        back = transport_receive(newcomer, &got) == HF_OK && got->from == 1 && got->raft->reject;
    }
    CU_ASSERT(there);
    CU_ASSERT(back);
    transport_close(&newcomer);
    end();
}

static bool says(uint32_t replica, const char *endpoint)
{
    const char *told = transport_snapshots(transport, replica);
    return endpoint ? told && strcmp(told, endpoint) == 0 : !told;
}

static void heartbeats_say_where_a_state_is_served(void)
{
    begin();
    static char long_text[5001];
    memset(long_text, 'x', sizeof long_text - 1);
    Hf__Raft__Raft body;
    const Hf__Raft__Envelope *got = NULL;
    Hf__Raft__Envelope e = envelope(&body);
    e.snapshot_endpoint = (char *)"tcp://one:1";
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK); /* a vote */
    CU_ASSERT(says(2, NULL));
    body.kind = HF__RAFT__KIND__APPEND;
    Hf__Raft__Entry entry = HF__RAFT__ENTRY__INIT, *entries[] = {&entry};
    body.n_entries = 1;
    body.entries = entries;
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    CU_ASSERT(says(2, NULL));
    body.n_entries = 0;
    e.cluster = 8;
    CU_ASSERT_EQUAL(heard(&e, &got), HF_E_PROTOCOL);
    CU_ASSERT(says(2, NULL));
    e.cluster = 7;
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    CU_ASSERT(says(2, "tcp://one:1"));
    CU_ASSERT(says(3, NULL));
    e.snapshot_endpoint = (char *)"";
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK); /* an older program's, or none */
    e.snapshot_endpoint = long_text;
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    CU_ASSERT(says(2, "tcp://one:1"));
    transport_members(transport, &group);
    CU_ASSERT(says(2, "tcp://one:1"));
    body.kind = HF__RAFT__KIND__SNAPSHOT;
    e.snapshot_endpoint = (char *)"tcp://two:2";
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    CU_ASSERT(says(2, "tcp://two:2"));
    group.members[1]->incarnation++; /* another one */
    transport_members(transport, &group);
    CU_ASSERT(says(2, NULL));
    Hf__Raft__Envelope newcomer = of_newcomer(&body); /* leads, and is no member that we know */
    newcomer.snapshot_endpoint = (char *)"tcp://four:4";
    CU_ASSERT_EQUAL(heard(&newcomer, &got), HF_OK);
    CU_ASSERT(says(4, "tcp://four:4"));
    end();
}

static void own_heartbeats_say_it(void)
{
    begin();
    const struct net_options options = {.hwm = 100, .message_bytes = 1 << 20};
    struct net_socket *second = NULL;
    struct arena arena = {0};
    CU_ASSERT_EQUAL_FATAL(net_listen(net, NEWCOMER, &options, &second), HF_OK);
    group.members[1]->raft_endpoint = (char *)NEWCOMER;
    transport_members(transport, &group);
    transport_announce(transport, "tcp://us:1");
    Hf__Raft__Entry entry = HF__RAFT__ENTRY__INIT, *entries[] = {&entry};
    for (int kind = HF__RAFT__KIND__PREVOTE; kind <= HF__RAFT__KIND__SNAPSHOT_REPLY + 1; kind++) {
        Hf__Raft__Raft body = HF__RAFT__RAFT__INIT;
        struct net_message message;
        bool with_entry = kind > HF__RAFT__KIND__SNAPSHOT_REPLY;
        body.kind = with_entry ? HF__RAFT__KIND__APPEND : (Hf__Raft__Kind)kind;
        body.n_entries = with_entry;
        body.entries = entries;
        const Hf__Raft__Envelope *e = NULL;
        do { /* nothing is queued before the connection is made; then what was repeated comes first */
            struct net_poll_item item = {.socket = second};
            transport_send(transport, 2, &body, 0);
            (void)net_poll(&item, 1, 10);
            if (net_receive(second, NULL, &message) != HF_OK)
                continue;
            e = pack_unpack(&hf__raft__envelope__descriptor, net_message_data(&message), &arena);
            CU_ASSERT_PTR_NOT_NULL_FATAL(e);
            net_message_release(&message);
        } while (!e || e->raft->kind != body.kind || e->raft->n_entries != body.n_entries);
        bool tells = kind == HF__RAFT__KIND__APPEND || kind == HF__RAFT__KIND__SNAPSHOT;
        CU_ASSERT_STRING_EQUAL(e->snapshot_endpoint, tells ? "tcp://us:1" : "");
    }
    net_close(&second);
    arena_deinit(&arena);
    end();
}

static void memory_is_that_of_one_message(void)
{
    begin();
    Hf__Raft__Raft body;
    Hf__Raft__Envelope e = envelope(&body);
    const Hf__Raft__Envelope *first = NULL, *got = NULL;
    CU_ASSERT_EQUAL(heard(&e, &first), HF_OK);
    for (int i = 0; i < 50; i++) {
        CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
        CU_ASSERT_PTR_EQUAL(got, first); /* the same place again */
    }
    end();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"only members are heard", only_members_are_heard},
        {"newcomers are heard by whom nobody leads", newcomers_are_heard_by_whom_nobody_leads},
        {"a newcomer gets its answer", a_newcomer_gets_its_answer},
        {"heartbeats say where a state is served", heartbeats_say_where_a_state_is_served},
        {"own heartbeats say it", own_heartbeats_say_it},
        {"memory is that of one message", memory_is_that_of_one_message},
    };
    return UNIT_MAIN("transport", cases);
}
