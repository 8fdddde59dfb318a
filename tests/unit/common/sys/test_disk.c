/* test_disk.c: the disk of the operating system in a directory of its own: codes, replace, sweep, lock, full disk. */
#include "common/sys/disk.h"

#include <signal.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "tests/unit/common/sys/child.h"
#include "tests/unit/unit.h"

static char dir[] = "/tmp/holdfast-test-disk-XXXXXX";
static struct disk *d;

static const char *in_dir(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void files_read_back_what_was_written(void)
{
    struct disk_file *f = NULL, *again = NULL;
    char read[8] = "";
    uint64_t bytes = 0;
    CU_ASSERT_EQUAL(d->ops->open(d, in_dir("f"), DISK_READ, &f), HF_E_ABSENT);
    CU_ASSERT_EQUAL(d->ops->open(d, in_dir("f"), DISK_WRITE, &f), HF_E_ABSENT);
    CU_ASSERT_EQUAL_FATAL(d->ops->open(d, in_dir("f"), DISK_CREATE, &f), 0);
    CU_ASSERT_EQUAL(d->ops->open(d, in_dir("f"), DISK_CREATE, &again), HF_E_EXISTS);
    CU_ASSERT_EQUAL(d->ops->write(d, f, 2, "hello", 5), 0);
    CU_ASSERT_EQUAL(d->ops->size(d, f, &bytes), 0);
    CU_ASSERT_EQUAL(bytes, 7);
    CU_ASSERT_EQUAL(d->ops->read(d, f, 1, read, 6), 0);
    CU_ASSERT_EQUAL(memcmp(read, "\0hello", 6), 0);
    CU_ASSERT_EQUAL(d->ops->read(d, f, 3, read, 5), HF_E_IO); /* one byte past the end */
    CU_ASSERT_EQUAL(d->ops->sync(d, f), 0);
    CU_ASSERT_EQUAL(d->ops->truncate(d, f, 3), 0);
    CU_ASSERT_EQUAL(d->ops->size(d, f, &bytes), 0);
    CU_ASSERT_EQUAL(bytes, 3);
    d->ops->close(d, &f);
    CU_ASSERT_PTR_NULL(f);
    CU_ASSERT_EQUAL_FATAL(d->ops->open(d, in_dir("f"), DISK_READ, &f), 0);
    CU_ASSERT_EQUAL(d->ops->write(d, f, 0, "x", 1), HF_E_IO); /* opened for reading */
    d->ops->close(d, &f);
    CU_ASSERT_EQUAL(d->ops->remove(d, in_dir("f")), 0);
    CU_ASSERT_EQUAL(d->ops->remove(d, in_dir("f")), HF_E_ABSENT);
}

static void zero_fill_extends_and_keeps(void)
{
    struct disk_file *f = NULL;
    uint64_t bytes = 0;
    const uint64_t size = 3 * 1024 * 1024 + 5;
    char last = 'x', first = 0;
    CU_ASSERT_EQUAL_FATAL(d->ops->open(d, in_dir("z"), DISK_CREATE, &f), 0);
    CU_ASSERT_EQUAL(d->ops->write(d, f, 0, "a", 1), 0);
    CU_ASSERT_EQUAL(d->ops->zero_fill(d, f, size), 0);
    CU_ASSERT_EQUAL(d->ops->size(d, f, &bytes), 0);
    CU_ASSERT_EQUAL(bytes, size);
    CU_ASSERT_EQUAL(d->ops->read(d, f, 0, &first, 1), 0);
    CU_ASSERT_EQUAL(d->ops->read(d, f, size - 1, &last, 1), 0);
    CU_ASSERT(first == 'a' && last == 0);
    CU_ASSERT_EQUAL(d->ops->zero_fill(d, f, 10), 0); /* never shortens */
    CU_ASSERT_EQUAL(d->ops->size(d, f, &bytes), 0);
    CU_ASSERT_EQUAL(bytes, size);
    d->ops->close(d, &f);
    CU_ASSERT_EQUAL(d->ops->remove(d, in_dir("z")), 0);
}

static void count_name(void *ctx, const char *name)
{
    (void)name;
    ++*(int *)ctx;
}

static void directories(void)
{
    bool there = true;
    int names = 0;
    CU_ASSERT_EQUAL(d->ops->exists(d, in_dir("sub"), &there), 0);
    CU_ASSERT_FALSE(there);
    CU_ASSERT_EQUAL(d->ops->list(d, in_dir("sub"), count_name, &names), HF_E_ABSENT);
    CU_ASSERT_EQUAL(d->ops->make_dir(d, in_dir("sub")), 0);
    CU_ASSERT_EQUAL(d->ops->make_dir(d, in_dir("sub")), HF_E_EXISTS);
    CU_ASSERT_EQUAL(d->ops->exists(d, in_dir("sub"), &there), 0);
    CU_ASSERT(there);
    CU_ASSERT_EQUAL(d->ops->list(d, dir, count_name, &names), 0);
    CU_ASSERT_EQUAL(names, 1);
    CU_ASSERT_EQUAL(d->ops->rename(d, in_dir("sub"), in_dir("moved")), 0);
    CU_ASSERT_EQUAL(d->ops->rename(d, in_dir("sub"), in_dir("moved")), HF_E_ABSENT);
    CU_ASSERT_EQUAL(d->ops->sync_dir(d, dir), 0);
    CU_ASSERT_EQUAL(d->ops->sync_dir(d, in_dir("sub")), HF_E_ABSENT);
    CU_ASSERT_EQUAL(d->ops->remove(d, in_dir("moved")), 0);
}

static bool holds(const char *name, const char *text)
{
    struct buf b = {0};
    int rc = disk_read_all(d, in_dir(name), 100, &b);
    bool equal = rc == 0 && slice_equal(buf_slice(&b), slice_text(text));
    buf_deinit(&b);
    return equal;
}

static void read_all_appends_within_its_limit(void)
{
    struct buf b = {0};
    buf_append(&b, "<", 1);
    CU_ASSERT_EQUAL(disk_read_all(d, in_dir("r"), 3, &b), HF_E_ABSENT);
    CU_ASSERT_EQUAL(disk_replace(d, in_dir("r"), slice_text("abc")), 0);
    CU_ASSERT_EQUAL(disk_read_all(d, in_dir("r"), 2, &b), HF_E_LIMIT);
    CU_ASSERT_EQUAL(b.size, 1);
    CU_ASSERT_EQUAL(disk_read_all(d, in_dir("r"), 3, &b), 0);
    CU_ASSERT(slice_equal(buf_slice(&b), slice_text("<abc")));
    buf_deinit(&b);
    CU_ASSERT_EQUAL(disk_replace(d, in_dir("r"), slice_make(NULL, 0)), 0);
    CU_ASSERT(holds("r", ""));
    CU_ASSERT_EQUAL(d->ops->remove(d, in_dir("r")), 0);
}

#ifdef HF_FAILPOINTS
static void replace_and_die(const void *point)
{
    setenv("HOLDFAST_CRASH_POINT", point, 1);
    if (disk_replace(d, in_dir("id"), slice_text("old")) != 0 || disk_replace(d, in_dir("id"), slice_text("new")) != 0)
        _exit(1);
}

/* Runs first: the environment is read at a process's first crash point, and a child inherits that it was. */
static void a_crash_in_replace_leaves_the_old_or_the_new(void)
{
    bool there = false;
    struct child c = child_run(replace_and_die, "disk.replace.before_rename:2");
    CU_ASSERT(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGKILL);
    CU_ASSERT(holds("id", "old"));
    CU_ASSERT_EQUAL(d->ops->exists(d, in_dir("id.tmp"), &there), 0);
    CU_ASSERT(there);
    c = child_run(replace_and_die, "disk.replace.after_rename:2"); /* over the leftover */
    CU_ASSERT(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGKILL);
    CU_ASSERT(holds("id", "new"));
    CU_ASSERT_EQUAL(d->ops->remove(d, in_dir("id")), 0);
}
#endif

static void sweep_removes_temporary_files_only(void)
{
    static const char *const names[] = {"a.tmp", "b.tmp", "tmp", "c.tmp.keep"};
    bool there = false;
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(disk_replace(d, in_dir(names[i]), slice_text("x")), 0);
    CU_ASSERT_EQUAL(disk_sweep_temp(d, dir), 0);
    for (size_t i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(d->ops->exists(d, in_dir(names[i]), &there), 0);
        CU_ASSERT_EQUAL(there, i >= 2);
        if (there)
            CU_ASSERT_EQUAL(d->ops->remove(d, in_dir(names[i])), 0);
    }
    CU_ASSERT_EQUAL(disk_sweep_temp(d, in_dir("absent")), HF_E_ABSENT);
}

static void exchanged(void)
{
    CU_ASSERT_EQUAL(d->ops->make_dir(d, in_dir("one")), 0);
    CU_ASSERT_EQUAL(disk_replace(d, in_dir("one/f"), slice_text("1")), 0);
    CU_ASSERT_EQUAL(d->ops->exchange(d, in_dir("one"), in_dir("two")), HF_E_ABSENT);
    CU_ASSERT(holds("one/f", "1"));
    CU_ASSERT_EQUAL(d->ops->make_dir(d, in_dir("two")), 0);
    CU_ASSERT_EQUAL(disk_replace(d, in_dir("two/f"), slice_text("2")), 0);
    CU_ASSERT_EQUAL(d->ops->exchange(d, in_dir("one"), in_dir("two")), 0);
    CU_ASSERT(holds("one/f", "2") && holds("two/f", "1"));
    CU_ASSERT_EQUAL(d->ops->remove(d, in_dir("one")), HF_E_EXISTS); /* not empty */
    CU_ASSERT_EQUAL(disk_remove_tree(d, in_dir("one")), 0);
    CU_ASSERT_EQUAL(disk_remove_tree(d, in_dir("two")), 0);
}

static void trees(void)
{
    bool there = true;
    CU_ASSERT_EQUAL(disk_remove_tree(d, in_dir("tree")), 0); /* nothing there */
    CU_ASSERT_EQUAL(disk_ensure_dir(d, dir, in_dir("tree")), 0);
    CU_ASSERT_EQUAL(disk_ensure_dir(d, dir, in_dir("tree")), 0);
    CU_ASSERT_EQUAL(disk_ensure_dir(d, in_dir("tree"), in_dir("tree/a")), 0);
    CU_ASSERT_EQUAL(disk_ensure_dir(d, in_dir("absent"), in_dir("absent/a")), HF_E_ABSENT);
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "tree/%s%d", i % 2 ? "a/" : "", i);
        CU_ASSERT_EQUAL(disk_replace(d, in_dir(name), slice_text("x")), 0);
    }
    CU_ASSERT_EQUAL(disk_remove_tree(d, in_dir("tree/4")), 0); /* one file */
    CU_ASSERT_EQUAL(disk_remove_tree(d, in_dir("tree")), 0);
    CU_ASSERT_EQUAL(d->ops->exists(d, in_dir("tree"), &there), 0);
    CU_ASSERT_FALSE(there);
    char deep[200] = "deep"; /* deeper than anything of ours: nothing is removed by mistake */
    for (int i = 0; i < 12; i++) {
        CU_ASSERT_EQUAL(d->ops->make_dir(d, in_dir(deep)), 0);
        strcat(deep, "/d");
    }
    CU_ASSERT_EQUAL(disk_remove_tree(d, in_dir("deep")), HF_E_LIMIT);
    CU_ASSERT_EQUAL(disk_remove_tree(d, in_dir("deep/d/d/d/d/d/d")), 0);
    CU_ASSERT_EQUAL(disk_remove_tree(d, in_dir("deep")), 0);
}

static void try_lock(const void *path)
{
    _exit(disk_lock(path) == HF_E_LOCKED ? 42 : 0);
}

static void a_lock_excludes_other_processes(void)
{
    struct child c = child_run(try_lock, in_dir("LOCK"));
    CU_ASSERT_EQUAL(child_exit(&c), 0); /* released by that process's end */
    CU_ASSERT_EQUAL(disk_lock(in_dir("LOCK")), 0);
    c = child_run(try_lock, in_dir("LOCK"));
    CU_ASSERT_EQUAL(child_exit(&c), 42);
    CU_ASSERT_EQUAL(disk_lock(in_dir("absent/LOCK")), HF_E_ABSENT);
    CU_ASSERT_EQUAL(d->ops->remove(d, in_dir("LOCK")), 0);
}

static void a_full_disk_is_told_apart(void)
{
    struct disk_file *f = NULL;
    CU_ASSERT_EQUAL_FATAL(d->ops->open(d, "/dev/full", DISK_WRITE, &f), 0);
    CU_ASSERT_EQUAL(d->ops->write(d, f, 0, "x", 1), HF_E_NO_SPACE);
    d->ops->close(d, &f);
    char path[5000];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    CU_ASSERT_EQUAL(disk_replace(d, path, slice_text("x")), HF_E_LIMIT);
}

static void close_under_it(const void *unused)
{
    (void)unused;
    struct disk_file *f = NULL;
    int next = dup(STDIN_FILENO); /* the number that the file gets */
    close(next);
    if (d->ops->open(d, "/dev/null", DISK_WRITE, &f) != 0 || close(next) != 0)
        _exit(1);
    d->ops->close(d, &f);
}

static void a_close_that_fails_is_said(void)
{
    struct child c = child_run(close_under_it, NULL);
    CU_ASSERT_EQUAL(child_exit(&c), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(c.output, "cannot close a file: Bad file descriptor"));
}

int main(void)
{
    if (mkdtemp(dir) == NULL)
        return 1;
    d = disk_posix();
    static const struct unit_case cases[] = {
#ifdef HF_FAILPOINTS
        {"a crash in replace leaves the old or the new", a_crash_in_replace_leaves_the_old_or_the_new},
#endif
        {"files read back what was written", files_read_back_what_was_written},
        {"zero_fill extends and keeps", zero_fill_extends_and_keeps},
        {"directories", directories},
        {"read_all appends within its limit", read_all_appends_within_its_limit},
        {"sweep removes temporary files only", sweep_removes_temporary_files_only},
        {"two names are exchanged", exchanged},
        {"trees", trees},
        {"a lock excludes other processes", a_lock_excludes_other_processes},
        {"a full disk is told apart", a_full_disk_is_told_apart},
        {"a close that fails is said", a_close_that_fails_is_said},
    };
    int rc = UNIT_MAIN("disk", cases);
    return rmdir(dir) == 0 ? rc : 1; /* nothing may be left behind */
}
