/* crc32c.c: CRC-32C, reflected polynomial 0x82f63b78: the SSE 4.2 instruction where the processor has it, else
 * slicing by eight (Kounavis and Berry, 2005) over tables made once. */
#include "common/base/crc32c.h"

#include <pthread.h>
#include <string.h>

#include "common/base/endian.h"

#define CRC32C_POLYNOMIAL 0x82f63b78u

typedef uint32_t crc32c_fn(uint32_t crc, const uint8_t *p, size_t size);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static crc32c_fn *chosen;
static uint32_t table[8][256];

static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t size)
{
    for (; size >= 8; p += 8, size -= 8) {
        uint32_t low = get_le32(p) ^ crc, high = get_le32(p + 4);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^
              table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    for (; size > 0; p++, size--)
        crc = table[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t size)
{
    uint64_t wide = crc;
    for (; size >= 8; p += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size > 0; p++, size--)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}
#endif

static void choose(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
        table[0][i] = crc;
    }
    for (int row = 1; row < 8; row++)
        for (int i = 0; i < 256; i++)
            table[row][i] = table[row - 1][i] >> 8 ^ table[0][table[row - 1][i] & 0xff];
    chosen = by_table;
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2"))
        chosen = by_instruction;
#endif
}

uint32_t crc32c(uint32_t seed, const void *data, size_t size)
{
    pthread_once(&once, choose);
    return ~chosen(~seed, data, size);
}

uint32_t crc32c_portable(uint32_t seed, const void *data, size_t size)
{
    pthread_once(&once, choose);
    return ~by_table(~seed, data, size);
}
