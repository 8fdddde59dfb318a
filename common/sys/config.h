/* config.h: a settings file in czmq's format (zconfig: `name = "value"`, children indented) as a tree that is only
 * read.
 *
 * Position: cluster files of `holdfast bootstrap`. */
#pragma once

struct config; /* a node; owned as a whole through the root */

/* The root of the file's tree (owned: config_free). NULL: unreadable (errno), or not in this format (errno 0). */
struct config *config_load(const char *path);
void config_free(struct config **root);

/* The rest borrows from the tree. NULL: none. */
const struct config *config_child(const struct config *node); /* the first */
const struct config *config_next(const struct config *node);  /* of the same parent */
const char *config_name(const struct config *node);
const char *config_value(const struct config *node); /* "" when it has none */
/* The value of the child `name` of `node`, or `otherwise`. */
const char *config_get(const struct config *node, const char *name, const char *otherwise);
