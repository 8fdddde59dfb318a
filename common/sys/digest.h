/* digest.h: random ids and content digests, by libsodium. */
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

/* Hex text with closing NUL: out holds 2 * size + 1. */
void digest_hex(const uint8_t *bytes, size_t size, char *out);
