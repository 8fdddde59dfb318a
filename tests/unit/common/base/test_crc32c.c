/* test_crc32c.c: the vectors of RFC 3720 B.4, continuation, and the instruction against the table. */
#include "common/base/crc32c.h"

#include <string.h>

#include "common/base/random.h"
#include "tests/unit/unit.h"

static void vectors_of_rfc_3720(void)
{
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    CU_ASSERT_EQUAL(crc32c(0, bytes, sizeof bytes), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    CU_ASSERT_EQUAL(crc32c(0, bytes, sizeof bytes), 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    CU_ASSERT_EQUAL(crc32c(0, bytes, sizeof bytes), 0x46dd794eu);
    CU_ASSERT_EQUAL(crc32c(0, "123456789", 9), 0xe3069283u);
    CU_ASSERT_EQUAL(crc32c_portable(0, "123456789", 9), 0xe3069283u);
    CU_ASSERT_EQUAL(crc32c(0, NULL, 0), 0);
}

static void instruction_and_table_agree_at_every_cut(void)
{
    uint8_t bytes[300];
    struct random random = {7};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)random_next(&random);
    uint32_t whole = crc32c(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut++) {
        uint32_t head = crc32c(0, bytes, cut);
        CU_ASSERT_EQUAL(head, crc32c_portable(0, bytes, cut));
        CU_ASSERT_EQUAL(crc32c(head, bytes + cut, sizeof bytes - cut), whole);
        CU_ASSERT_EQUAL(crc32c_portable(head, bytes + cut, sizeof bytes - cut), whole);
    }
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"vectors of RFC 3720", vectors_of_rfc_3720},
        {"instruction and table agree at every cut", instruction_and_table_agree_at_every_cut},
    };
    return UNIT_MAIN("crc32c", cases);
}
