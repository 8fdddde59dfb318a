/* txncycle.h: cycles of dependencies between transactions, named by the kinds of their edges. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/txncheck.h"

struct txncycle;

struct txncycle *txncycle_new(size_t nodes); /* NULL: out of memory */
void txncycle_free(struct txncycle *g);
bool txncycle_edge(struct txncycle *g, uint32_t from, uint32_t to, enum txn_edge kind); /* false: out of memory */
size_t txncycle_edges(const struct txncycle *g);
/* Tells the first cycle, G0 before G1c before G-single before G2, those without real time first. */
void txncycle_find(struct txncycle *g, struct txn_report *report);
