/* test_conformance.c: runs every engine through every case and prints the table.
 * usage: test_conformance [ENGINE …]   default: all */
#include "tests/conformance/conformance.h"

#define ENGINES(X) X(native) X(libraft) /* one line for another */

#define NAME(engine) #engine,
static const char *const engines[] = {ENGINES(NAME)};
#define COUNT (sizeof engines / sizeof engines[0])

/* CUnit tells a suite's setup nothing of the suite. */
#define SETUP(engine)                                                                                                  \
    static int use_##engine(void)                                                                                      \
    {                                                                                                                  \
        boxes_engine(#engine);                                                                                         \
        return 0;                                                                                                      \
    }
ENGINES(SETUP)
#define POINTER(engine) use_##engine,
static int (*const setups[])(void) = {ENGINES(POINTER)};

static const struct unit_case *const tables[] = {conformance_entries,  conformance_leaders, conformance_reads,
                                                 conformance_installs, conformance_disks,   conformance_refusals,
                                                 conformance_seals};
#define TABLES (sizeof tables / sizeof tables[0])

static bool asked_for(const char *engine, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], engine) == 0)
            return true;
    }
    return argc == 1;
}

static size_t add_all(int argc, char **argv)
{
    size_t added = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (!asked_for(engines[i], argc, argv))
            continue;
        CU_pSuite suite = CU_add_suite(engines[i], setups[i], NULL);
        must(suite != NULL);
        for (size_t t = 0; t < TABLES; t++) {
            for (const struct unit_case *c = tables[t]; c->name != NULL; c++, added++)
                must(CU_add_test(suite, c->name, c->run) != NULL);
        }
    }
    return added;
}

static const char *result(const char *engine, const char *name)
{
    if (CU_get_suite(engine) == NULL)
        return "-";
    for (const CU_FailureRecord *f = CU_get_failure_list(); f != NULL; f = f->pNext) {
        if (f->pSuite != NULL && f->pTest != NULL && strcmp(f->pSuite->pName, engine) == 0 &&
            strcmp(f->pTest->pName, name) == 0)
            return "FAILED";
    }
    return "ok";
}

static void print_table(void)
{
    printf("\n%-76s", "conformance");
    for (size_t i = 0; i < COUNT; i++)
        printf(" %-8s", engines[i]);
    printf("\n");
    for (size_t t = 0; t < TABLES; t++) {
        for (const struct unit_case *c = tables[t]; c->name != NULL; c++) {
            printf("%-76s", c->name);
            for (size_t i = 0; i < COUNT; i++)
                printf(" %-8s", result(engines[i], c->name));
            printf("\n");
        }
    }
}

int main(int argc, char **argv)
{
    must(CU_initialize_registry() == CUE_SUCCESS && engine_find("none") == NULL);
    size_t added = add_all(argc, argv);
    if (added == 0) {
        fprintf(stderr, "usage: test_conformance [ENGINE …]\n");
        return 2;
    }
    CU_basic_set_mode(CU_BRM_NORMAL);
    bool failed = CU_basic_run_tests() != CUE_SUCCESS || CU_get_number_of_failures() != 0 ||
                  CU_get_number_of_tests_run() != added;
    print_table();
    CU_cleanup_registry();
    return failed;
}
