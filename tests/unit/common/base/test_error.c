/* test_error.c: the table of outcomes: texts, names, classes, and what an unknown number means. */
#include "common/base/error.h"

#include "tests/unit/unit.h"

static void codes_have_distinct_numbers_names_and_texts(void)
{
    static const int codes[] = {
#define X(name, number, cls, text) name,
        HF_ERRORS(X)
#undef X
    };
    size_t count = sizeof codes / sizeof codes[0];
    for (size_t i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(codes[i], -(int)(i + 1)); /* numbers travel on the wire: no gaps, none moved */
        CU_ASSERT_STRING_NOT_EQUAL(error_text(codes[i]), "unknown error");
        CU_ASSERT_NOT_EQUAL(error_class(codes[i]), HF_CLASS_NONE);
        for (size_t j = 0; j < i; j++)
            CU_ASSERT_STRING_NOT_EQUAL(error_name(codes[i]), error_name(codes[j]));
    }
}

static void known_codes_say_what_the_table_says(void)
{
    CU_ASSERT_STRING_EQUAL(error_name(HF_E_NOT_FOUND), "NOT_FOUND");
    CU_ASSERT_STRING_EQUAL(error_name(HF_OK), "OK");
    CU_ASSERT_STRING_EQUAL(error_text(HF_E_NO_SPACE), "no space left on device");
    CU_ASSERT_EQUAL(error_class(HF_E_NOT_LEADER), HF_CLASS_RETRY_ELSEWHERE);
    CU_ASSERT_EQUAL(error_class(HF_E_WRONG_SHARD), HF_CLASS_REFRESH_ROUTE);
    CU_ASSERT_EQUAL(error_class(HF_OK), HF_CLASS_NONE);
    CU_ASSERT_STRING_EQUAL(error_class_name(HF_CLASS_RETRY_SAME), "RETRY_SAME");
    CU_ASSERT_STRING_EQUAL(error_class_name(HF_CLASS_GIVE_UP), "GIVE_UP");
}

static void an_unknown_code_is_an_unknown_outcome(void)
{
    CU_ASSERT_EQUAL(error_class(-9999), HF_CLASS_OUTCOME_UNKNOWN);
    CU_ASSERT_EQUAL(error_class(1), HF_CLASS_OUTCOME_UNKNOWN);
    CU_ASSERT_STRING_EQUAL(error_text(-9999), "unknown error");
    CU_ASSERT_STRING_EQUAL(error_name(-9999), "UNKNOWN");
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"codes have distinct numbers, names and texts", codes_have_distinct_numbers_names_and_texts},
        {"known codes say what the table says", known_codes_say_what_the_table_says},
        {"an unknown code is an unknown outcome", an_unknown_code_is_an_unknown_outcome},
    };
    return UNIT_MAIN("error", cases);
}
