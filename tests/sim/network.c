/* network.c: a message is packed when it is sent and unpacked when it arrives, as on the wire. */
#include "tests/sim/network.h"

#include "common/sys/failpoint.h"
#include "tests/sim/sim.h"

void network_init(struct network *net, uint64_t seed)
{
    *net = (struct network){.random = {.state = seed}};
    network_calm(net);
}

void network_calm(struct network *net)
{
    net->lost_permille = net->doubled_permille = net->late_permille = 0;
    net->delay_us_min = 50;
    net->delay_us_max = 400;
    net->late_ms = 0;
}

void network_heal(struct network *net)
{
    memset(net->cut, 0, sizeof net->cut);
}

void network_isolate(struct network *net, uint32_t id)
{
    for (uint32_t other = 0; other <= SIM_NODES_MAX; other++)
        net->cut[id][other] = net->cut[other][id] = true;
}

static bool passes(struct sim *sim, uint32_t from, uint32_t to, Hf__Raft__Raft *m)
{
    struct network *net = &sim->network;
    if (net->cut[from][to] || (net->filter != NULL && !net->filter(sim, m, from, to)))
        return false;
    if (net->no_votes && m->kind == HF__RAFT__KIND__VOTE_REPLY)
        return false;
    return random_below(&net->random, 1000) >= net->lost_permille;
}

void network_send(struct sim *sim, uint32_t from, uint32_t to, const Hf__Raft__Raft *said)
{
    struct network *net = &sim->network;
    Hf__Raft__Raft copy = *said, *m = &copy;
    if (m->kind == HF__RAFT__KIND__VOTE_REPLY && planted_bug("sim.refused_vote_counts"))
        m->reject = false;
    net->sent++;
    must(to >= 1 && to <= SIM_NODES_MAX);
    bool pass = passes(sim, from, to, m);
    sim_trace(sim, from, pass ? "send" : "send_lost", to, (uint64_t)m->kind << 32 | m->term, m->index);
    if (!pass) {
        net->lost++;
        return;
    }
    unsigned copies = random_below(&net->random, 1000) < net->doubled_permille ? 2 : 1;
    for (unsigned i = 0; i < copies; i++) {
        size_t size = hf__raft__raft__get_packed_size(m);
        struct message *message = malloc(sizeof *message + size);
        must(message != NULL);
        *message = (struct message){.from = from, .to = to, .size = size};
        hf__raft__raft__pack(m, message->bytes);
        uint64_t delay_us = net->delay_us_min + random_below(&net->random, net->delay_us_max - net->delay_us_min + 1);
        if (random_below(&net->random, 1000) < net->late_permille)
            delay_us += random_below(&net->random, net->late_ms * 1000 + 1);
        sim_schedule(sim, (struct sim_event){.kind = EVENT_DELIVER, .node = to, .message = message},
                     sim->now + delay_us * 1000);
    }
}
