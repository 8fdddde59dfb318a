/* simtree.h: the names of simdisk: directories as they are seen, as they are durable, and the changes in between. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/must.h"
#include "common/base/random.h"
#include "tests/support/simfile.h"

#define SIMTREE_NAME_BYTES 256

struct entry {
    char name[SIMTREE_NAME_BYTES];
    struct node *node; /* borrowed from simdisk.nodes */
};

struct names {
    struct entry *entries; /* owned, in order of creation */
    size_t count, cap;
};

struct node {          /* a file or a directory */
    struct node *next; /* in simdisk.nodes */
    bool is_dir, marked;
    unsigned open; /* handles of the present process */
    struct simfile file;
    struct names seen, durable; /* of a directory */
};

/* A change of names that no sync_dir has made durable. */
struct name_change {
    struct node *from_dir, *to_dir; /* NULL: no name goes; no name comes */
    char from[SIMTREE_NAME_BYTES], to[SIMTREE_NAME_BYTES];
    struct node *node;
    struct node *other; /* not NULL: an exchange: it gets the name `from` */
    bool due;           /* within simtree_sync */
};

struct simtree {
    struct node *root, *nodes;
    struct name_change *changes; /* owned, oldest first */
    size_t change_count, change_cap;
    unsigned made; /* nodes since the last simtree_sweep */
};

void simtree_init(struct simtree *t);
void simtree_deinit(struct simtree *t);
/* The directory that holds the last part of `path`, and that part ("." for the root). HF_E_ABSENT, HF_E_LIMIT. */
HF_CHECKED int simtree_resolve(const struct simtree *t, const char *path, struct node **out_dir,
                               char out_name[SIMTREE_NAME_BYTES]);
struct node *simtree_find(const struct simtree *t, const char *path);  /* NULL: absent */
struct node *simtree_lookup(const struct node *dir, const char *name); /* NULL: absent */
struct node *simtree_make(struct simtree *t, bool is_dir);             /* without a name yet */
void simtree_change(struct simtree *t, const struct name_change *change);
/* Makes its changes durable, and those before them of the same files and names. */
void simtree_sync(struct simtree *t, const struct node *dir);
/* Makes each change durable or not, in order; names are seen as they are durable afterwards. */
void simtree_crash(struct simtree *t, enum simfile_loss loss, struct random *random);
void simtree_sweep(struct simtree *t);          /* frees what no name and no handle leads to */
uint64_t simtree_used(const struct simtree *t); /* bytes of all files, as they are seen */
