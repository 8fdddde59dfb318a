/* test_check.c: a consistency check runs beside writes and tells of the state as of its entry; a verdict that agrees marks
 * nothing, another marks durably; a check can be stopped and begun anew at any moment. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/disk.h"
#include "shard/replica/check.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

static struct check_state await(struct check *c)
{
    struct check_state s;
    while ((s = check_state(c)).phase == CHECK_RUNNING)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return s;
}

static bool marked_on_disk(const struct machine *m)
{
    char path[256];
    bool there = false;
    snprintf(path, sizeof path, "%s/" CHECK_MARK_NAME, m->dir);
    CU_ASSERT_EQUAL(disk_posix()->ops->exists(disk_posix(), path, &there), HF_OK);
    return there;
}

static void put_many(struct machine *m, int count)
{
    char key[32];
    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof key, "k%05d", i);
        machine_run(m, machine_put(key, "value"));
    }
}

static void a_verdict(void)
{
    struct machine m;
    bool marked = true;
    machine_start(&m, "", "", true);
    put_many(&m, 500);
    machine_apply(&m, LOG_COMMAND, machine_check(&m.arena, m.t));
    struct check *c = check_new(disk_posix(), m.dir);
    CU_ASSERT(check_state(c).phase == CHECK_NONE && !check_state(c).marked);
    uint8_t none[DIGEST_BYTES] = {0};
    CU_ASSERT_EQUAL(check_verdict(c, 1, none, &marked), HF_E_ABSENT);
    check_begin(c, m.fsm);
    uint64_t index = fsm_info(m.fsm)->applied.index;
    put_many(&m, 500);
    struct check_state s = await(c);
    CU_ASSERT(s.phase == CHECK_DONE && s.index == index && s.records > 500);
    CU_ASSERT_EQUAL(check_verdict(c, index - 1, s.digest, &marked), HF_E_ABSENT);
    CU_ASSERT_EQUAL(check_verdict(c, index, s.digest, &marked), HF_OK);
    CU_ASSERT(!marked && !marked_on_disk(&m) && !check_state(c).marked);
    uint8_t other[DIGEST_BYTES];
    memcpy(other, s.digest, sizeof other);
    other[3] ^= 1;
    CU_ASSERT_EQUAL(check_verdict(c, index, other, &marked), HF_OK);
    CU_ASSERT(marked && marked_on_disk(&m) && check_state(c).marked);
    check_free(&c);
    c = check_new(disk_posix(), m.dir);
    CU_ASSERT(check_state(c).marked);
    char path[256];
    snprintf(path, sizeof path, "%s/" CHECK_MARK_NAME, m.dir);
    CU_ASSERT_EQUAL(unlink(path), 0);
    check_anew(c);
    CU_ASSERT(!check_state(c).marked && check_state(c).phase == CHECK_NONE);
    check_free(&c);
    machine_stop(&m);
}

static void stopped_and_begun_again(void)
{
    struct machine m;
    machine_start(&m, "", "", true);
    put_many(&m, 5000);
    struct check *c = check_new(disk_posix(), m.dir);
    for (int i = 0; i < 20; i++) {
        check_begin(c, m.fsm);
        if (i % 3 == 0)
            check_stop(c);
        machine_run(&m, machine_put("more", "x"));
    }
    CU_ASSERT(await(c).phase == CHECK_DONE && check_state(c).index == fsm_info(m.fsm)->applied.index - 1);
    check_begin(c, m.fsm);
    check_stop(c); /* nothing reads the machine any more: it may be closed */
    machine_close(&m);
    machine_open(&m);
    check_free(&c);
    check_free(&c);
    machine_stop(&m);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"what a verdict does", a_verdict},
        {"stopped and begun again", stopped_and_begun_again},
    };
    return UNIT_MAIN("check", cases);
}
