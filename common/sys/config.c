/* config.c: see config.h: a thin face of czmq's zconfig. */
#include "common/sys/config.h"

#include <czmq.h>

static zconfig_t *raw(const struct config *node) /* czmq takes no const */
{
    return (zconfig_t *)(uintptr_t)node;
}

struct config *config_load(const char *path)
{
    return (struct config *)(void *)zconfig_load(path);
}

void config_free(struct config **root)
{
    zconfig_t *tree = raw(*root);
    zconfig_destroy(&tree);
    *root = NULL;
}

const struct config *config_child(const struct config *node)
{
    return (const struct config *)(const void *)zconfig_child(raw(node));
}

const struct config *config_next(const struct config *node)
{
    return (const struct config *)(const void *)zconfig_next(raw(node));
}

const char *config_name(const struct config *node)
{
    return zconfig_name(raw(node));
}

const char *config_value(const struct config *node)
{
    return zconfig_value(raw(node));
}

const char *config_get(const struct config *node, const char *name, const char *otherwise)
{
    for (const struct config *child = config_child(node); child; child = config_next(child))
        if (strcmp(config_name(child), name) == 0)
            return config_value(child);
    return otherwise;
}
