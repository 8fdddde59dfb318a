/* simtree.c: a change of names is seen at once and durable when its directory was synced. */
#include "tests/support/simtree.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"

/* Names. */

static struct entry *names_find(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->entries[i].name, name) == 0)
            return &names->entries[i];
    return NULL;
}

static void names_remove(struct names *names, const char *name)
{
    struct entry *e = names_find(names, name);
    if (e == NULL)
        return;
    size_t after = names->count - (size_t)(e - names->entries) - 1;
    memmove(e, e + 1, after * sizeof *e);
    names->count--;
}

static void names_set(struct names *names, const char *name, struct node *node)
{
    names_remove(names, name);
    if (names->count == names->cap) {
        names->cap = names->cap == 0 ? 8 : names->cap * 2;
        names->entries = realloc(names->entries, names->cap * sizeof *names->entries);
        must(names->entries != NULL);
    }
    struct entry *e = &names->entries[names->count++];
    memcpy(e->name, name, strlen(name) + 1);
    e->node = node;
}

static void names_copy(struct names *to, const struct names *from)
{
    to->count = 0;
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->entries[i].name, from->entries[i].node);
}

int simtree_resolve(const struct simtree *t, const char *path, struct node **out_dir, char out_name[SIMTREE_NAME_BYTES])
{
    struct node *dir = t->root;
    char name[SIMTREE_NAME_BYTES] = ".";
    while (*path != '\0') {
        size_t size = strcspn(path, "/");
        if (size >= SIMTREE_NAME_BYTES)
            return HF_E_LIMIT;
        if (size > 0 && !(size == 1 && path[0] == '.')) {
            if (strcmp(name, ".") != 0) {
                const struct entry *e = names_find(&dir->seen, name);
                if (e == NULL || !e->node->is_dir)
                    return HF_E_ABSENT;
                dir = e->node;
            }
            memcpy(name, path, size);
            name[size] = '\0';
        }
        path += size;
        path += *path == '/';
    }
    *out_dir = dir;
    memcpy(out_name, name, strlen(name) + 1);
    return 0;
}

struct node *simtree_find(const struct simtree *t, const char *path)
{
    struct node *dir = NULL;
    char name[SIMTREE_NAME_BYTES];
    if (simtree_resolve(t, path, &dir, name) != 0)
        return NULL;
    if (strcmp(name, ".") == 0)
        return t->root;
    return simtree_lookup(dir, name);
}

struct node *simtree_lookup(const struct node *dir, const char *name)
{
    const struct entry *e = names_find(&dir->seen, name);
    return e == NULL ? NULL : e->node;
}

void simtree_change(struct simtree *t, const struct name_change *change)
{
    if (t->change_count == t->change_cap) {
        t->change_cap = t->change_cap == 0 ? 8 : t->change_cap * 2;
        t->changes = realloc(t->changes, t->change_cap * sizeof *t->changes);
        must(t->changes != NULL);
    }
    t->changes[t->change_count++] = *change;
    if (change->other != NULL)
        names_set(&change->from_dir->seen, change->from, change->other);
    else if (change->from_dir != NULL)
        names_remove(&change->from_dir->seen, change->from);
    if (change->to_dir != NULL)
        names_set(&change->to_dir->seen, change->to, change->node);
}

static void make_durable(const struct name_change *change)
{
    /* A name that in the meantime means another file is another change's. */
    if (change->other != NULL) {
        names_set(&change->from_dir->durable, change->from, change->other);
    } else if (change->from_dir != NULL) {
        const struct entry *e = names_find(&change->from_dir->durable, change->from);
        if (e != NULL && e->node == change->node)
            names_remove(&change->from_dir->durable, change->from);
    }
    if (change->to_dir != NULL)
        names_set(&change->to_dir->durable, change->to, change->node);
}

/* Nodes. */

struct node *simtree_make(struct simtree *t, bool is_dir)
{
    struct node *node = calloc(1, sizeof *node);
    must(node != NULL);
    node->is_dir = is_dir;
    node->next = t->nodes;
    t->nodes = node;
    t->made++;
    return node;
}

static void node_free(struct node *node)
{
    simfile_deinit(&node->file);
    free(node->seen.entries);
    free(node->durable.entries);
    free(node);
}

static void mark(struct node *node)
{
    if (node == NULL || node->marked)
        return;
    node->marked = true;
    for (size_t i = 0; i < node->seen.count; i++)
        mark(node->seen.entries[i].node);
    for (size_t i = 0; i < node->durable.count; i++)
        mark(node->durable.entries[i].node);
}

void simtree_sweep(struct simtree *t)
{
    t->made = 0;
    mark(t->root);
    for (size_t i = 0; i < t->change_count; i++) {
        mark(t->changes[i].from_dir);
        mark(t->changes[i].to_dir);
        mark(t->changes[i].node);
        mark(t->changes[i].other);
    }
    for (struct node **at = &t->nodes; *at != NULL;) {
        struct node *node = *at;
        bool keep = node->marked || node->open > 0;
        node->marked = false;
        if (keep) {
            at = &node->next;
        } else {
            *at = node->next;
            node_free(node);
        }
    }
}

static uint64_t used_below(const struct node *dir)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < dir->seen.count; i++) {
        const struct node *node = dir->seen.entries[i].node;
        bytes += node->is_dir ? used_below(node) : node->file.cache.size;
    }
    return bytes;
}

uint64_t simtree_used(const struct simtree *t)
{
    return used_below(t->root);
}

static bool same_name(const struct node *dir, const char *name, const struct node *other_dir, const char *other)
{
    return dir != NULL && dir == other_dir && strcmp(name, other) == 0;
}

/* Are they about the same file or the same name? Then one cannot be durable without those before it. */
static bool related(const struct name_change *a, const struct name_change *b)
{
    return a->node == b->node || (a->other != NULL && (a->other == b->node || a->other == b->other)) ||
           (b->other != NULL && a->node == b->other) || same_name(a->from_dir, a->from, b->from_dir, b->from) ||
           same_name(a->from_dir, a->from, b->to_dir, b->to) || same_name(a->to_dir, a->to, b->from_dir, b->from) ||
           same_name(a->to_dir, a->to, b->to_dir, b->to);
}

void simtree_sync(struct simtree *t, const struct node *dir)
{
    size_t kept = 0;
    for (size_t i = t->change_count; i-- > 0;) {
        struct name_change *change = &t->changes[i];
        change->due = change->from_dir == dir || change->to_dir == dir;
        for (size_t later = i + 1; !change->due && later < t->change_count; later++)
            change->due = t->changes[later].due && related(change, &t->changes[later]);
    }
    for (size_t i = 0; i < t->change_count; i++) {
        if (t->changes[i].due)
            make_durable(&t->changes[i]);
        else
            t->changes[kept++] = t->changes[i];
    }
    t->change_count = kept;
}

void simtree_crash(struct simtree *t, enum simfile_loss loss, struct random *random)
{
    for (size_t i = 0; i < t->change_count; i++) {
        bool coin = random_below(random, 2) == 0;
        if (loss == SIMFILE_ALL_KEPT || (loss != SIMFILE_NOTHING_KEPT && coin))
            make_durable(&t->changes[i]);
    }
    t->change_count = 0;
    for (struct node *node = t->nodes; node != NULL; node = node->next) {
        node->open = 0;
        if (node->is_dir)
            names_copy(&node->seen, &node->durable);
        else
            simfile_crash(&node->file, loss, random);
    }
}

void simtree_init(struct simtree *t)
{
    *t = (struct simtree){0};
    t->root = simtree_make(t, true);
}

void simtree_deinit(struct simtree *t)
{
    for (struct node *node = t->nodes, *next; node != NULL; node = next) {
        next = node->next;
        node_free(node);
    }
    free(t->changes);
    *t = (struct simtree){0};
}
