/* test_config.c: settings files: read as a tree, or refused and nothing kept. */
#include "common/sys/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static struct config *load(const char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/hf-test-config-%d", (int)getpid());
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(text, 1, size, f), size);
    fclose(f);
    struct config *root = config_load(path);
    unlink(path);
    return root;
}

static void a_tree_is_read(void)
{
    const char text[] = "shard\n    id = \"1\"\n    end = \"m\"\nlast = \"without its end\"";
    struct config *root = load(text, sizeof text - 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    const struct config *shard = config_child(root);
    CU_ASSERT_STRING_EQUAL(config_name(shard), "shard");
    CU_ASSERT_STRING_EQUAL(config_get(shard, "end", "-"), "m");
    CU_ASSERT_STRING_EQUAL(config_get(shard, "start", "-"), "-");
    CU_ASSERT_STRING_EQUAL(config_get(root, "last", "-"), "without its end");
    config_free(&root);
    CU_ASSERT_PTR_NULL(root);
}

static void what_is_none_is_refused(void)
{
    static const char *const wrong[] = {"\xff\xfe", "  two = \"blanks\"", "a = \"no end"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct config *root = load(wrong[i], strlen(wrong[i])); /* with sanitizers: nothing is left of it */
        CU_ASSERT_PTR_NULL(root);
        CU_ASSERT_EQUAL(errno, 0);
    }
    static const char nul[] = "a = \"1\"\n\0b = \"2\"\n";
    CU_ASSERT_PTR_NULL(load(nul, sizeof nul - 1)); /* what stands behind a NUL is not passed over */
    CU_ASSERT_PTR_NULL(config_load("/nowhere/at/all"));
    CU_ASSERT_EQUAL(errno, ENOENT);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a tree is read", a_tree_is_read},
        {"what is none is refused", what_is_none_is_refused},
    };
    return UNIT_MAIN("sys/config", cases);
}
