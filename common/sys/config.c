/* config.c: see config.h: a thin face of czmq's zconfig, which is given the text: its own way to read a file forgets the
 * file when the text is wrong, and takes a NUL for the end. */
#include "common/sys/config.h"

#include <czmq.h>
#include <errno.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/sys/disk.h"

#define CONFIG_FILE_BYTES_MAX ((size_t)64 * 1024 * 1024) /* the largest cluster has a few */

static zconfig_t *raw(const struct config *node) /* czmq takes no const */
{
    return (zconfig_t *)(uintptr_t)node;
}

struct config *config_load(const char *path)
{
    struct buf text = {0};
    zconfig_t *root = NULL;
    errno = 0;
    int rc = disk_read_all(disk_posix(), path, CONFIG_FILE_BYTES_MAX, &text);
    if (rc == HF_OK && (text.size == 0 || memchr(text.data, 0, text.size) == NULL)) {
        buf_append(&text, "\n", 2); /* a last line without its end; the text's NUL */
        zsys_handler_set(NULL);     /* signals are ours (signals.h) */
        root = zconfig_str_load((const char *)text.data);
        errno = 0; /* what was read and is not in this format */
    }
    buf_deinit(&text);
    return (struct config *)(void *)root;
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
