/* test_keep.c: a whole state on its way into a local file is given up at once when the machine is to be closed; nothing of it
 * stays, and the next one is written as if it had not been. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/error.h"
#include "common/sys/disk.h"
#include "shard/replica/keep.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

#define VALUE_BYTES 20000
#define VALUES 100 /* several writes of a stream */

/* ---- a disk whose first write of a stream waits until somebody waits for the thread that writes ---- */

static struct {
    struct disk_ops ops;
    bool hold;
    sem_t reached, released;
    _Atomic unsigned writes;
} slow;

static int slow_write(struct disk *d, struct disk_file *file, uint64_t offset, const void *data, size_t size)
{
    (void)d;
    if (atomic_fetch_add(&slow.writes, 1) == 0 && slow.hold) {
        (void)sem_post(&slow.reached);
        while (sem_wait(&slow.released) != 0)
            ; /* a signal */
    }
    return disk_posix()->ops->write(disk_posix(), file, offset, data, size);
}

int __real_pthread_join(pthread_t thread, void **out);
int __wrap_pthread_join(pthread_t thread, void **out);

int __wrap_pthread_join(pthread_t thread, void **out)
{
    if (slow.hold)
        (void)sem_post(&slow.released);
    return __real_pthread_join(thread, out);
}

static struct disk *slow_disk(bool hold)
{
    static struct disk disk = {.ops = &slow.ops};
    slow.ops = *disk_posix()->ops;
    slow.ops.write = slow_write;
    slow.hold = hold;
    atomic_store(&slow.writes, 0);
    return &disk;
}

/* ---- cases ---- */

static void fill(struct machine *m)
{
    static char value[VALUE_BYTES + 1];
    struct random random = {7};
    char key[32];
    machine_start(m, "", "", false);
    for (int i = 0; i < VALUES; i++) {
        snprintf(key, sizeof key, "k%05d", i);
        for (size_t k = 0; k < VALUE_BYTES; k++)
            value[k] = (char)(' ' + random_below(&random, 95));
        machine_run(m, machine_put(key, value));
    }
}

static void count(void *ctx, const char *name)
{
    (void)name;
    ++*(size_t *)ctx;
}

/* How many names there are in snapshots/. */
static size_t names(const char *dir)
{
    char path[128];
    size_t found = 0;
    snprintf(path, sizeof path, "%s/snapshots", dir);
    CU_ASSERT_EQUAL(disk_posix()->ops->list(disk_posix(), path, count, &found), HF_OK);
    return found;
}

/* Who closes the machine waits for the write that is under way, not for the whole state. */
static void given_up_at_once(void)
{
    struct machine m;
    char dir[] = "/tmp/hf-keep-XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    fill(&m);
    (void)sem_init(&slow.reached, 0, 0);
    (void)sem_init(&slow.released, 0, 0);
    struct disk *disk = slow_disk(true);
    struct keep *k = keep_new(disk, dir, 2);
    keep_begin(k, m.fsm);
    while (sem_wait(&slow.reached) != 0)
        ; /* a signal */
    keep_stop(k);
    CU_ASSERT_EQUAL(atomic_load(&slow.writes), 1);
    CU_ASSERT_EQUAL(keep_newest(k), 0);
    CU_ASSERT(names(dir) <= 1); /* what was begun, under a name that is no stream's */
    machine_close(&m);          /* nobody reads it any more */
    machine_open(&m);
    (void)slow_disk(false);
    keep_begin(k, m.fsm);
    while (keep_newest(k) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    CU_ASSERT(atomic_load(&slow.writes) > 3);
    uint64_t index = fsm_info(m.fsm)->applied.index, term = 0;
    const struct identity id = {.cluster = fsm_info(m.fsm)->cluster,
                                .group = fsm_info(m.fsm)->group,
                                .log_epoch = fsm_info(m.fsm)->applied.epoch};
    CU_ASSERT_EQUAL(keep_newest(k), index);
    keep_free(&k);
    CU_ASSERT_EQUAL(keep_find(disk, dir, &id, 1, UINT64_MAX, &term), index);
    CU_ASSERT_EQUAL(term, fsm_info(m.fsm)->applied.term);
    CU_ASSERT_EQUAL(names(dir), 1);
    machine_stop(&m);
    CU_ASSERT_EQUAL(disk_remove_tree(disk_posix(), dir), HF_OK);
    (void)sem_destroy(&slow.reached);
    (void)sem_destroy(&slow.released);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"given up at once", given_up_at_once},
    };
    return UNIT_MAIN("keep", cases);
}
