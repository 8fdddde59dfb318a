/* digest.h: random ids and content digests, by libsodium; sums of many bytes, by xxHash. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/slice.h"

#define DIGEST_BYTES 32

/* Prepares libsodium; called once at start of every process, before threads. */
void digest_init(void);

/* Cryptographically random. */
void digest_random(void *out, size_t size);
uint64_t digest_random_u64(void); /* never 0 */

/* Incremental BLAKE2b-256. */
struct digest {
    _Alignas(64) unsigned char opaque[384];
};

void digest_begin(struct digest *d);
void digest_add(struct digest *d, struct slice s);
void digest_end(struct digest *d, uint8_t out[DIGEST_BYTES]);

/* Incremental XXH3 of 128 bits, for much data: a tenth of the time. It finds differences that happen, not such as somebody
 * makes; who is to be believed takes a digest. */
#define SUM_BYTES 16

struct sum {
    _Alignas(64) unsigned char opaque[576];
};

void sum_begin(struct sum *s);
void sum_add(struct sum *s, struct slice bytes);
void sum_end(const struct sum *s, uint8_t out[SUM_BYTES]); /* the same on every machine */

/* Hex text with closing NUL: out holds 2 * size + 1. */
void digest_hex(const uint8_t *bytes, size_t size, char *out);
