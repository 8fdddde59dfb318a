/* digest.c: libsodium's generator and BLAKE2b, xxHash's XXH3. */
#include "common/sys/digest.h"

#include <string.h>

#include <sodium.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/base/must.h"

_Static_assert(sizeof(struct digest) >= sizeof(crypto_generichash_state), "room for libsodium's state");
_Static_assert(DIGEST_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");

_Static_assert(sizeof(struct sum) >= sizeof(XXH3_state_t), "room for xxHash's state");
_Static_assert(SUM_BYTES == sizeof(XXH128_canonical_t), "XXH3 of 128 bits");

static crypto_generichash_state *state(struct digest *d)
{
    return (crypto_generichash_state *)(void *)d->opaque;
}

void digest_init(void)
{
    must(sodium_init() >= 0);
}

void digest_random(void *out, size_t size)
{
    randombytes_buf(out, size);
}

uint64_t digest_random_u64(void)
{
    uint64_t v;
    do
        randombytes_buf(&v, sizeof v);
    while (v == 0);
    return v;
}

void digest_begin(struct digest *d)
{
    must(crypto_generichash_init(state(d), NULL, 0, DIGEST_BYTES) == 0);
}

void digest_add(struct digest *d, struct slice s)
{
    if (s.size > 0)
        must(crypto_generichash_update(state(d), s.data, s.size) == 0);
}

void digest_end(struct digest *d, uint8_t out[DIGEST_BYTES])
{
    must(crypto_generichash_final(state(d), out, DIGEST_BYTES) == 0);
}

void sum_begin(struct sum *s)
{
    must(XXH3_128bits_reset((XXH3_state_t *)(void *)s->opaque) == XXH_OK);
}

void sum_add(struct sum *s, struct slice bytes)
{
    if (bytes.size > 0)
        must(XXH3_128bits_update((XXH3_state_t *)(void *)s->opaque, bytes.data, bytes.size) == XXH_OK);
}

void sum_end(const struct sum *s, uint8_t out[SUM_BYTES])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest((const XXH3_state_t *)(const void *)s->opaque));
    memcpy(out, canonical.digest, SUM_BYTES);
}

void digest_hex(const uint8_t *bytes, size_t size, char *out)
{
    sodium_bin2hex(out, 2 * size + 1, bytes, size);
}
