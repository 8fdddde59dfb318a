/* sorted.c: a skip list; a node of level n is on the n lowest of its chains. */
#include "shard/fsm/sorted.h"

#include <stdlib.h>

#include "common/base/must.h"

enum { LEVELS = 20 };

struct sorted_node {
    struct slice key;
    void *value;
    unsigned levels;
    struct sorted_node *next[];
};

static struct sorted_node *node_new(unsigned levels)
{
    struct sorted_node *node = calloc(1, sizeof *node + levels * sizeof(struct sorted_node *));
    must(node != NULL); /* out of memory */
    node->levels = levels;
    return node;
}

void sorted_deinit(struct sorted *s)
{
    struct sorted_node *next;
    for (struct sorted_node *node = s->head; node != NULL; node = next) {
        next = node->next[0];
        free(node);
    }
    *s = (struct sorted){0};
}

/* The last node before `key` on each chain; s->head is there. */
static struct sorted_node *before(const struct sorted *s, struct slice key, struct sorted_node *path[LEVELS])
{
    struct sorted_node *node = s->head;
    for (unsigned level = LEVELS; level-- > 0;) {
        while (node->next[level] != NULL && slice_compare(node->next[level]->key, key) < 0)
            node = node->next[level];
        if (path != NULL)
            path[level] = node;
    }
    return node;
}

static unsigned random_levels(struct sorted *s)
{
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    uint64_t bits = s->random >> 33;
    unsigned levels = 1;
    while (levels < LEVELS && (bits & 3) == 0) {
        levels++;
        bits >>= 2;
    }
    return levels;
}

bool sorted_put(struct sorted *s, struct slice key, void *value)
{
    struct sorted_node *path[LEVELS];
    must(value != NULL);
    if (s->head == NULL)
        s->head = node_new(LEVELS);
    before(s, key, path);
    if (path[0]->next[0] != NULL && slice_equal(path[0]->next[0]->key, key))
        return false;
    struct sorted_node *node = node_new(random_levels(s));
    node->key = key;
    node->value = value;
    for (unsigned i = 0; i < node->levels; i++) {
        node->next[i] = path[i]->next[i];
        path[i]->next[i] = node;
    }
    s->count++;
    return true;
}

void sorted_remove(struct sorted *s, struct slice key)
{
    struct sorted_node *path[LEVELS];
    must(s->head != NULL);
    before(s, key, path);
    struct sorted_node *node = path[0]->next[0];
    must(node != NULL && slice_equal(node->key, key));
    for (unsigned i = 0; i < node->levels; i++)
        path[i]->next[i] = node->next[i];
    s->count--;
    free(node);
}

static bool at_node(const struct sorted_node *node, struct sorted_at *out)
{
    if (node == NULL)
        return false;
    *out = (struct sorted_at){.key = node->key, .value = node->value, .node = node};
    return true;
}

bool sorted_seek(const struct sorted *s, struct slice key, struct sorted_at *out)
{
    return s->count > 0 && at_node(before(s, key, NULL)->next[0], out);
}

void *sorted_find(const struct sorted *s, struct slice key)
{
    struct sorted_at at;
    return sorted_seek(s, key, &at) && slice_equal(at.key, key) ? at.value : NULL;
}

bool sorted_floor(const struct sorted *s, struct slice key, struct sorted_at *out)
{
    if (s->count == 0)
        return false;
    const struct sorted_node *node = before(s, key, NULL);
    if (node->next[0] != NULL && slice_equal(node->next[0]->key, key))
        node = node->next[0];
    return node != s->head && at_node(node, out);
}

bool sorted_next(struct sorted_at *at)
{
    return at_node(at->node->next[0], at);
}
