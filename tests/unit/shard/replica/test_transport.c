/* test_transport.c: who is heard: members with their own incarnation, of the same cluster, group, log epoch and engine;
 * everybody else is dropped, and however much is received, memory is that of one message. */
#include "shard/replica/transport.h"

#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "tests/unit/unit.h"

#define ENDPOINT "tcp://127.0.0.1:21090"

static struct net *net;
static struct transport *transport;
static struct net_socket *sender;

static void begin(void)
{
    static Hf__Catalog__Member list[3], *pointers[3];
    struct identity id = {
        .cluster = 7, .group = 1, .replica = 1, .incarnation = 11, .engine = "native", .log_epoch = 2};
    const struct net_options options = {.hwm = 100, .message_bytes = 1 << 20};
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    for (uint32_t i = 0; i < 3; i++) {
        hf__catalog__member__init(&list[i]);
        list[i].replica = i + 1;
        list[i].incarnation = i + 11; /* no addresses: members all the same */
        pointers[i] = &list[i];
    }
    members.n_members = 3;
    members.members = pointers;
    net = net_new(1, 16);
    CU_ASSERT_EQUAL_FATAL(transport_open(net, ENDPOINT, &id, &transport), HF_OK);
    transport_members(transport, &members);
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
        {"memory is that of one message", memory_is_that_of_one_message},
    };
    return UNIT_MAIN("transport", cases);
}
