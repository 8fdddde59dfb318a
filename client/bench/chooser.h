/* chooser.h: which record an operation takes: uniform, or zipfian with the parameter of YCSB (0.99).
 *
 * Position: the driver threads ask for each operation. Zipfian by Gray et al., Quickly generating billion-record
 * synthetic databases, 1994; the popular records are spread over the key space by a hash. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/random.h"

struct chooser { /* constant after chooser_init: threads share it */
    uint64_t records;
    bool zipfian;
    double alpha, zeta, eta, half;
};

void chooser_init(struct chooser *c, uint64_t records, bool zipfian);
uint64_t chooser_next(const struct chooser *c, struct random *r); /* below records */

#define CHOOSER_KEY_BYTES 16
/* The record's key: two letters that spread records evenly over the alphabet, a dash and its number. Returns its size.
 */
size_t chooser_key(uint64_t record, char out[CHOOSER_KEY_BYTES + 8]);
