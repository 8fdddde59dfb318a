/* unit.h: the main of a CUnit executable: a table of cases, one suite; exits 1 when an assertion failed. */
#pragma once

#include <CUnit/Basic.h>
#include <stddef.h>

struct unit_case {
    const char *name;
    void (*run)(void);
};

static inline int unit_main(const char *suite_name, const struct unit_case *cases, size_t count)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    int failed = suite == NULL;
    for (size_t i = 0; suite != NULL && i < count; i++)
        failed |= CU_add_test(suite, cases[i].name, cases[i].run) == NULL;
    if (!failed) {
        CU_basic_set_mode(CU_BRM_NORMAL);
        failed = CU_basic_run_tests() != CUE_SUCCESS || CU_get_number_of_failures() != 0 ||
                 CU_get_number_of_tests_run() != count;
    }
    CU_cleanup_registry();
    return failed;
}

#define UNIT_MAIN(suite, cases) unit_main(suite, cases, sizeof(cases) / sizeof((cases)[0]))
