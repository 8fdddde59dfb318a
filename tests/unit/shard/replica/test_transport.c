/* test_transport.c: who is heard: members with their own incarnation, of the same cluster, group, log epoch and engine;
 * everybody else is dropped, but for a group that changed meanwhile; and however much is received, memory is that of one message. */
#include "shard/replica/transport.h"

#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "tests/unit/common/sys/child.h"
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

/* Of member 2, which went on in epoch 3. */
static Hf__Raft__Envelope of_sealed(Hf__Raft__Sealed *sealed)
{
    Hf__Raft__Raft body;
    Hf__Raft__Envelope e = envelope(&body);
    hf__raft__sealed__init(sealed);
    sealed->epoch = 2;
    sealed->index = 90;
    sealed->term = 7;
    sealed->migration = 5;
    e.log_epoch = 3;
    e.engine = (char *)"libraft";
    e.body_case = HF__RAFT__ENVELOPE__BODY_SEALED;
    e.raft = NULL;
    e.sealed = sealed;
    return e;
}

static void the_end_of_our_log_is_heard_from_members_only(void)
{
    begin();
    Hf__Raft__Sealed sealed;
    const Hf__Raft__Envelope *got = NULL;
    Hf__Raft__Envelope e = of_sealed(&sealed);
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    CU_ASSERT(got->body_case == HF__RAFT__ENVELOPE__BODY_SEALED && got->sealed->index == 90 && got->sealed->term == 7);
#define WRONG(field, value)                                                                                            \
    do {                                                                                                               \
        e = of_sealed(&sealed);                                                                                        \
        (field) = (value);                                                                                             \
        CU_ASSERT_EQUAL(heard(&e, &got), HF_E_PROTOCOL);                                                               \
    } while (0)
    WRONG(sealed.epoch, 1); /* not the one before the sender's own */
    WRONG(sealed.epoch, 3);
    WRONG(sealed.epoch, 0);
    WRONG(sealed.index, 0);
    WRONG(sealed.term, 0);
    WRONG(e.log_epoch, 2);
    WRONG(e.log_epoch, 4);
    WRONG(e.from, 4);
    WRONG(e.from_incarnation, 13);
    WRONG(e.to_incarnation, 12);
    WRONG(e.cluster, 8);
#undef WRONG
    e = of_sealed(&sealed); /* of a member that is further ahead: the replica knows what to make of it */
    e.log_epoch = 4;
    sealed.epoch = 3;
    CU_ASSERT_EQUAL(heard(&e, &got), HF_OK);
    end();
}

static struct transport *behind, *ahead; /* replica 1 in epoch 2, replica 2 in epoch 3 */
static struct identity behind_id;

static void begin_two(void)
{
    static char endpoints[2][32] = {ENDPOINT, NEWCOMER};
    static Hf__Catalog__Member list[2], *pointers[2];
    Hf__Catalog__Members both = HF__CATALOG__MEMBERS__INIT;
    for (uint32_t i = 0; i < 2; i++) {
        hf__catalog__member__init(&list[i]);
        list[i].replica = i + 1;
        list[i].incarnation = i + 11;
        list[i].raft_endpoint = endpoints[i];
        pointers[i] = &list[i];
    }
    both.n_members = 2;
    both.members = pointers;
    behind_id = (struct identity){
        .cluster = 7, .group = 1, .replica = 1, .incarnation = 11, .engine = "native", .log_epoch = 2};
    struct identity id = {
        .cluster = 7, .group = 1, .replica = 2, .incarnation = 12, .engine = "libraft", .log_epoch = 3};
    id.left = (struct identity_left){.epoch = 2, .engine = "native", .migration = 5, .index = 90, .term = 7};
    net = net_new(1, 16);
    CU_ASSERT_EQUAL_FATAL(transport_open(net, ENDPOINT, &behind_id, &behind), HF_OK);
    CU_ASSERT_EQUAL_FATAL(transport_open(net, NEWCOMER, &id, &ahead), HF_OK);
    transport_members(behind, &both);
    transport_members(ahead, &both);
    transport_announce(ahead, "tcp://state:1");
}

static void end_two(void)
{
    transport_close(&behind);
    transport_close(&ahead);
    net_free(&net);
}

/* Until `to` hears something that is for it: `from` speaks once in a while, if it has something to say; who hears what is not for it
 * says so itself. */
static const Hf__Raft__Envelope *until_heard(struct transport *from, uint32_t number, const Hf__Raft__Raft *says,
                                             struct transport *to)
{
    const Hf__Raft__Envelope *got = NULL, *dropped = NULL;
    struct transport *other = to == behind ? ahead : behind;
    struct net_poll_item items[] = {{.socket = transport_socket(behind)}, {.socket = transport_socket(ahead)}};
    int rc = HF_E_AGAIN;
    for (int i = 0; i < 2000 && rc != HF_OK; i++) {
        if (says)
            transport_send(from, number, says, 0);
        (void)net_poll(items, 2, 10);
        int heard_there = transport_receive(other, &dropped);
        CU_ASSERT(heard_there == HF_E_AGAIN || heard_there == HF_E_PROTOCOL);
        rc = transport_receive(to, &got);
    }
    CU_ASSERT_EQUAL_FATAL(rc, HF_OK);
    CU_ASSERT_FATAL(got->body_case == HF__RAFT__ENVELOPE__BODY_SEALED);
    return got;
}

static void tells_the_end(const Hf__Raft__Envelope *e)
{
    CU_ASSERT(e->from == 2 && e->log_epoch == 3 && e->sealed->epoch == 2 && e->sealed->migration == 5);
    CU_ASSERT(e->sealed->index == 90 && e->sealed->term == 7);
    const char *state = transport_snapshots(behind, 2);
    CU_ASSERT(state != NULL && strcmp(state, "tcp://state:1") == 0);
}

/* No engine hears it. */
static void who_speaks_of_a_log_that_was_left_is_told_so(void)
{
    Hf__Raft__Raft body = HF__RAFT__RAFT__INIT;
    body.kind = HF__RAFT__KIND__PREVOTE;
    body.term = 7;
    begin_two();
    tells_the_end(until_heard(behind, 2, &body, behind));
    end_two();
}

/* A learner asks nobody for a vote, and would never be told. */
static void who_hears_of_a_later_epoch_asks(void)
{
    Hf__Raft__Raft body = HF__RAFT__RAFT__INIT;
    body.kind = HF__RAFT__KIND__APPEND;
    body.term = 9;
    begin_two();
    tells_the_end(until_heard(ahead, 1, &body, behind));
    end_two();
}

/* Once to everybody; who is there already hears of one more, who is not hears where his log ends. */
static void who_goes_over_says_so(void)
{
    struct identity id = behind_id;
    begin_two();
    id = behind_id;
    id.left = (struct identity_left){.epoch = 2, .engine = "native", .migration = 5, .index = 90, .term = 7};
    snprintf(id.engine, sizeof id.engine, "libraft");
    transport_tell_end(behind, &id.left); /* before its own identity says so */
    id.log_epoch = 3;
    transport_cross(behind, &id);
    Hf__Raft__Raft body = HF__RAFT__RAFT__INIT;
    body.kind = HF__RAFT__KIND__APPEND;
    const Hf__Raft__Envelope *got = NULL;
    int rc = HF_E_AGAIN;
    for (int i = 0; i < 2000 && rc != HF_OK; i++) { /* the connection may come too late for what was said once */
        struct net_poll_item item = {.socket = transport_socket(ahead)};
        transport_tell_end(behind, &id.left);
        (void)net_poll(&item, 1, 10);
        rc = transport_receive(ahead, &got);
    }
    CU_ASSERT_EQUAL_FATAL(rc, HF_OK);
    CU_ASSERT(got->from == 1 && got->log_epoch == 3 && got->sealed->epoch == 2 && got->sealed->index == 90);
    rc = HF_E_AGAIN;
    for (int i = 0; i < 2000 && (rc != HF_OK || got->body_case != HF__RAFT__ENVELOPE__BODY_RAFT); i++) {
        struct net_poll_item item = {.socket = transport_socket(ahead)};
        transport_send(behind, 2, &body, 0);
        (void)net_poll(&item, 1, 10);
        rc = transport_receive(ahead, &got);
        CU_ASSERT(rc != HF_E_PROTOCOL);
    }
    CU_ASSERT_EQUAL(rc, HF_OK);
    end_two();
}

static void told_twice(const void *unused)
{
    (void)unused;
    begin();
    transport_members(transport, &group);
    end();
}

static void a_member_without_an_address_is_reported_once(void)
{
    struct child c = child_run(told_twice, NULL);
    CU_ASSERT_EQUAL(child_exit(&c), 0);
    const char *said = strstr(c.output, "replica 1/2 has no raft address: it stays a member");
    CU_ASSERT_PTR_NOT_NULL_FATAL(said);
    CU_ASSERT_PTR_NULL(strstr(said + 1, "replica 1/2 has no raft address"));
    CU_ASSERT_PTR_NOT_NULL(strstr(c.output, "replica 1/3 has no raft address"));
    CU_ASSERT_PTR_NULL(strstr(c.output, "replica 1/1 has no raft address")); /* itself */
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
        {"a member without an address", a_member_without_an_address_is_reported_once},
        {"the end of our log", the_end_of_our_log_is_heard_from_members_only},
        {"who speaks of a log that was left", who_speaks_of_a_log_that_was_left_is_told_so},
        {"who hears of a later epoch asks", who_hears_of_a_later_epoch_asks},
        {"who goes over says so", who_goes_over_says_so},
    };
    return UNIT_MAIN("transport", cases);
}
