/* simdisk.c: a tree of files and names in memory; operations go through one gate where a process can be gone, a fault
 * injected, or room be short. */
#include "tests/support/simdisk.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/random.h"
#include "tests/support/simtree.h"

#define SWEEP_EVERY 64 /* files made between two searches for those that no name leads to */

struct simdisk {
    struct disk disk; /* first: a struct disk * is a struct simdisk * */
    struct simtree tree;
    uint64_t generation;
    bool halted, ignore_sync, refuse_exchange;
    unsigned halt_ops;
    uint64_t halt_after;
    unsigned fault_ops;
    uint64_t fault_in, fault_times; /* fault_in 0: none planned */
    bool fault_for_ever;
    int fault_error;
    uint64_t limit, used;
    uint64_t counts[10];
    struct random random;
};

struct disk_file {
    struct node *node;   /* borrowed; dangling when generation differs */
    uint64_t generation; /* of the process that opened it */
    bool writable;
};

/* The gate of every operation. */

static unsigned op_slot(unsigned op)
{
    return (unsigned)__builtin_ctz(op);
}

static int gate(struct simdisk *sd, unsigned op)
{
    if (!sd->halted && (sd->halt_ops & op) != 0 && sd->halt_after-- == 0) {
        sd->halted = true;
        sd->halt_ops = 0;
    }
    if (sd->halted)
        return HF_E_IO;
    if (op != 0)
        sd->counts[op_slot(op)]++;
    if ((sd->fault_ops & op) == 0 || sd->fault_in == 0)
        return 0;
    if (sd->fault_in > 1) {
        sd->fault_in--;
        return 0;
    }
    if (!sd->fault_for_ever && --sd->fault_times == 0)
        sd->fault_in = 0;
    return sd->fault_error;
}

static struct simdisk *of(struct disk *d)
{
    return (struct simdisk *)(void *)d;
}

static bool alive(const struct simdisk *sd, const struct disk_file *file)
{
    return file->generation == sd->generation;
}

/* Bytes by which the file may grow to `bytes`, at most what is left. */
static uint64_t room(const struct simdisk *sd, const struct node *node, uint64_t bytes)
{
    uint64_t size = node->file.cache.size;
    if (bytes <= size)
        return 0;
    uint64_t more = bytes - size;
    uint64_t left = sd->limit == 0 ? UINT64_MAX : sd->limit > sd->used ? sd->limit - sd->used : 0;
    return more < left ? more : left;
}

/* Operations. */

static int sim_open(struct disk *d, const char *path, enum disk_open how, struct disk_file **out)
{
    struct simdisk *sd = of(d);
    int rc = gate(sd, how == DISK_CREATE ? SIMDISK_OPEN_CREATE : 0);
    struct node *dir = NULL;
    char name[SIMTREE_NAME_BYTES];
    if (rc == 0)
        rc = simtree_resolve(&sd->tree, path, &dir, name);
    if (rc != 0)
        return rc;
    struct node *node = simtree_lookup(dir, name);
    if (how == DISK_CREATE && node != NULL)
        return HF_E_EXISTS;
    if (how != DISK_CREATE && node == NULL)
        return HF_E_ABSENT;
    if (node != NULL && node->is_dir)
        return HF_E_IO;
    if (node == NULL) {
        if (sd->tree.made >= SWEEP_EVERY)
            simtree_sweep(&sd->tree);
        node = simtree_make(&sd->tree, false);
        struct name_change change = {.to_dir = dir, .node = node};
        memcpy(change.to, name, sizeof name);
        simtree_change(&sd->tree, &change);
    }
    struct disk_file *file = calloc(1, sizeof *file);
    must(file != NULL);
    *file = (struct disk_file){.node = node, .generation = sd->generation, .writable = how != DISK_READ};
    node->open++;
    *out = file;
    return 0;
}

static void sim_close(struct disk *d, struct disk_file **file)
{
    if (*file == NULL)
        return;
    if (alive(of(d), *file))
        (*file)->node->open--;
    free(*file);
    *file = NULL;
}

static int sim_size(struct disk *d, struct disk_file *file, uint64_t *out_bytes)
{
    int rc = gate(of(d), 0);
    if (rc == 0 && !alive(of(d), file))
        rc = HF_E_IO;
    if (rc == 0)
        *out_bytes = file->node->file.cache.size;
    return rc;
}

static int sim_read(struct disk *d, struct disk_file *file, uint64_t offset, void *out, size_t size)
{
    int rc = gate(of(d), SIMDISK_READ);
    if (rc != 0)
        return rc;
    if (!alive(of(d), file))
        return HF_E_IO;
    const struct buf *content = &file->node->file.cache;
    if (offset > content->size || size > content->size - offset)
        return HF_E_IO;
    if (size > 0)
        memcpy(out, content->data + offset, size);
    return 0;
}

static int sim_write(struct disk *d, struct disk_file *file, uint64_t offset, const void *data, size_t size)
{
    struct simdisk *sd = of(d);
    int rc = gate(sd, SIMDISK_WRITE);
    if (sd->halted || !alive(sd, file) || !file->writable)
        return HF_E_IO;
    struct node *node = file->node;
    uint64_t end = offset + size, before = node->file.cache.size;
    if (rc == 0 && end > before && room(sd, node, end) < end - before)
        rc = HF_E_NO_SPACE;
    if (rc != 0 && (end > before || size == 0))
        return rc; /* nothing of it is there: the size did not change */
    simfile_write(&node->file, offset, data, rc == 0 ? size : (size_t)random_below(&sd->random, size + 1));
    sd->used += node->file.cache.size - before;
    return rc;
}

static int sim_zero_fill(struct disk *d, struct disk_file *file, uint64_t bytes)
{
    struct simdisk *sd = of(d);
    int rc = gate(sd, SIMDISK_ZERO_FILL);
    if (sd->halted || !alive(sd, file) || !file->writable)
        return HF_E_IO;
    struct node *node = file->node;
    uint64_t before = node->file.cache.size;
    uint64_t more = room(sd, node, bytes);
    if (rc != 0)
        more = more == 0 ? 0 : random_below(&sd->random, more);
    else if (bytes > before && more < bytes - before)
        rc = HF_E_NO_SPACE; /* as far as it went */
    simfile_resize(&node->file, before + more);
    sd->used += more;
    return rc;
}

static int sim_truncate(struct disk *d, struct disk_file *file, uint64_t bytes)
{
    struct simdisk *sd = of(d);
    int rc = gate(sd, SIMDISK_TRUNCATE);
    if (rc != 0 || !alive(sd, file) || !file->writable)
        return rc != 0 ? rc : HF_E_IO;
    uint64_t before = file->node->file.cache.size;
    if (bytes > before && room(sd, file->node, bytes) < bytes - before)
        return HF_E_NO_SPACE;
    simfile_resize(&file->node->file, bytes);
    sd->used = sd->used - before + bytes;
    return 0;
}

static int sim_sync(struct disk *d, struct disk_file *file)
{
    struct simdisk *sd = of(d);
    int rc = gate(sd, SIMDISK_SYNC);
    if (sd->halted || !alive(sd, file))
        return HF_E_IO;
    if (rc == 0 && !sd->ignore_sync)
        simfile_sync(&file->node->file);
    else if (rc != 0)
        simfile_forget(&file->node->file, &sd->random);
    return rc;
}

static int sim_sync_dir(struct disk *d, const char *path)
{
    struct simdisk *sd = of(d);
    int rc = gate(sd, SIMDISK_SYNC_DIR);
    if (rc != 0)
        return rc;
    const struct node *dir = simtree_find(&sd->tree, path);
    if (dir == NULL || !dir->is_dir)
        return HF_E_ABSENT;
    simtree_sync(&sd->tree, dir);
    return 0;
}

static int sim_rename(struct disk *d, const char *from, const char *to)
{
    struct simdisk *sd = of(d);
    struct name_change change = {0};
    int rc = gate(sd, SIMDISK_RENAME);
    if (rc == 0)
        rc = simtree_resolve(&sd->tree, from, &change.from_dir, change.from);
    if (rc == 0)
        rc = simtree_resolve(&sd->tree, to, &change.to_dir, change.to);
    if (rc != 0)
        return rc;
    struct node *source = simtree_lookup(change.from_dir, change.from);
    const struct node *target = simtree_lookup(change.to_dir, change.to);
    if (source == NULL)
        return HF_E_ABSENT;
    if (target != NULL && target == source)
        return 0;
    if (target != NULL && target->is_dir && target->seen.count > 0)
        return HF_E_EXISTS;
    if (target != NULL && target->is_dir != source->is_dir)
        return HF_E_IO;
    change.node = source;
    simtree_change(&sd->tree, &change);
    sd->used = simtree_used(&sd->tree);
    return 0;
}

static int sim_exchange(struct disk *d, const char *one, const char *other)
{
    struct simdisk *sd = of(d);
    struct name_change change = {0};
    if (sd->refuse_exchange)
        return HF_E_INVALID;
    int rc = gate(sd, SIMDISK_RENAME);
    if (rc == 0)
        rc = simtree_resolve(&sd->tree, one, &change.from_dir, change.from);
    if (rc == 0)
        rc = simtree_resolve(&sd->tree, other, &change.to_dir, change.to);
    if (rc != 0)
        return rc;
    change.node = simtree_lookup(change.from_dir, change.from);
    change.other = simtree_lookup(change.to_dir, change.to);
    if (change.node == NULL || change.other == NULL)
        return HF_E_ABSENT;
    if (change.node != change.other)
        simtree_change(&sd->tree, &change);
    return 0;
}

static int sim_remove(struct disk *d, const char *path)
{
    struct simdisk *sd = of(d);
    struct name_change change = {0};
    int rc = gate(sd, SIMDISK_REMOVE);
    if (rc == 0)
        rc = simtree_resolve(&sd->tree, path, &change.from_dir, change.from);
    if (rc != 0)
        return rc;
    change.node = simtree_lookup(change.from_dir, change.from);
    if (change.node == NULL)
        return HF_E_ABSENT;
    if (change.node->is_dir && change.node->seen.count > 0)
        return HF_E_EXISTS;
    simtree_change(&sd->tree, &change);
    sd->used = simtree_used(&sd->tree);
    return 0;
}

static int sim_make_dir(struct disk *d, const char *path)
{
    struct simdisk *sd = of(d);
    struct name_change change = {0};
    int rc = gate(sd, SIMDISK_MAKE_DIR);
    if (rc == 0)
        rc = simtree_resolve(&sd->tree, path, &change.to_dir, change.to);
    if (rc != 0)
        return rc;
    if (strcmp(change.to, ".") == 0 || simtree_lookup(change.to_dir, change.to) != NULL)
        return HF_E_EXISTS;
    change.node = simtree_make(&sd->tree, true);
    simtree_change(&sd->tree, &change);
    return 0;
}

static int sim_list(struct disk *d, const char *path, disk_list_fn *fn, void *ctx)
{
    int rc = gate(of(d), 0);
    if (rc != 0)
        return rc;
    const struct node *dir = simtree_find(&of(d)->tree, path);
    if (dir == NULL || !dir->is_dir)
        return HF_E_ABSENT;
    for (size_t i = 0; i < dir->seen.count; i++)
        fn(ctx, dir->seen.entries[i].name);
    return 0;
}

static int sim_exists(struct disk *d, const char *path, bool *out)
{
    int rc = gate(of(d), 0);
    if (rc == 0)
        *out = simtree_find(&of(d)->tree, path) != NULL;
    return rc;
}

/* The disk as a whole. */

struct simdisk *simdisk_new(void)
{
    static const struct disk_ops ops = {.open = sim_open,
                                        .close = sim_close,
                                        .size = sim_size,
                                        .read = sim_read,
                                        .write = sim_write,
                                        .zero_fill = sim_zero_fill,
                                        .truncate = sim_truncate,
                                        .sync = sim_sync,
                                        .sync_dir = sim_sync_dir,
                                        .rename = sim_rename,
                                        .exchange = sim_exchange,
                                        .remove = sim_remove,
                                        .make_dir = sim_make_dir,
                                        .list = sim_list,
                                        .exists = sim_exists};
    struct simdisk *sd = calloc(1, sizeof *sd);
    must(sd != NULL);
    sd->disk.ops = &ops;
    simtree_init(&sd->tree);
    return sd;
}

void simdisk_free(struct simdisk **sd)
{
    if (*sd == NULL)
        return;
    simtree_deinit(&(*sd)->tree);
    free(*sd);
    *sd = NULL;
}

struct disk *simdisk_disk(struct simdisk *sd)
{
    return &sd->disk;
}

void simdisk_halt(struct simdisk *sd)
{
    sd->halted = true;
    sd->halt_ops = 0;
}

void simdisk_halt_after(struct simdisk *sd, unsigned ops, uint64_t after)
{
    sd->halt_ops = ops;
    sd->halt_after = after;
}

bool simdisk_halted(const struct simdisk *sd)
{
    return sd->halted;
}

void simdisk_restart(struct simdisk *sd)
{
    sd->halted = false;
    sd->halt_ops = 0;
    sd->generation++;
    for (struct node *node = sd->tree.nodes; node != NULL; node = node->next)
        node->open = 0;
    simtree_sweep(&sd->tree);
    sd->used = simtree_used(&sd->tree);
}

void simdisk_crash(struct simdisk *sd, uint64_t seed)
{
    struct random random = {.state = seed};
    sd->random = random;
    enum simfile_loss loss = (enum simfile_loss)random_below(&random, SIMFILE_LOSSES);
    simtree_crash(&sd->tree, loss, &random);
    simdisk_restart(sd);
}

void simdisk_fail(struct simdisk *sd, unsigned ops, uint64_t n, int error, uint64_t times)
{
    sd->fault_ops = ops;
    sd->fault_in = n;
    sd->fault_error = error;
    sd->fault_times = times;
    sd->fault_for_ever = times == 0;
}

void simdisk_refuse_exchange(struct simdisk *sd)
{
    sd->refuse_exchange = true;
}

void simdisk_ignore_sync(struct simdisk *sd, bool ignore)
{
    sd->ignore_sync = ignore;
}

void simdisk_limit(struct simdisk *sd, uint64_t bytes)
{
    sd->limit = bytes;
}

uint64_t simdisk_count(const struct simdisk *sd, enum simdisk_op op)
{
    return sd->counts[op_slot((unsigned)op)];
}

uint64_t simdisk_used(const struct simdisk *sd)
{
    return sd->used;
}

int simdisk_flip(struct simdisk *sd, const char *path, uint64_t offset, unsigned bit)
{
    struct node *node = simtree_find(&sd->tree, path);
    if (node == NULL || node->is_dir)
        return HF_E_ABSENT;
    if (offset >= node->file.image.size || offset >= node->file.cache.size)
        return HF_E_INVALID;
    simfile_flip(&node->file, offset, bit);
    return 0;
}
