/* clients.h: writes and reads at replicas that take themselves for leaders, and what clients were told. */
#pragma once

#include <stdint.h>

#include "common/base/random.h"
#include "tests/sim/load.h"

struct sim;
struct node;
struct write;

struct clients {
    struct random random;
    uint64_t gap_us;     /* between two requests, on average */
    uint64_t last_id;    /* of requests */
    uint64_t told_index; /* highest acknowledged */
    struct load load;
};

void clients_init(struct clients *c, uint64_t seed);
void clients_act(struct sim *sim); /* one request or a burst, and when the next comes */
uint64_t clients_write(struct sim *sim, uint32_t node, uint32_t size); /* the request's id */
uint64_t clients_read(struct sim *sim, uint32_t node);
void clients_write_done(struct node *n, const struct write *w);
void clients_read_done(struct node *n, uint64_t id, uint64_t index);
