/* names.c: the other half of powercut.c: the calls that change directories. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/powercut/journal.h"

static void done(uint64_t sequence, int rc, uint64_t inode)
{
    journal_record(JOURNAL_DONE, (struct journal_values){.a = sequence, .b = rc >= 0, .c = inode}, NULL, NULL);
}

int unlinkat(int dir_fd, const char *path, int flags)
{
    if (!journal_active())
        return (int)syscall(SYS_unlinkat, dir_fd, path, flags);
    struct journal_place place;
    uint64_t sequence = 0;
    bool directory = (flags & AT_REMOVEDIR) != 0;
    journal_lock();
    journal_place(dir_fd, path, &place);
    if (place.inside && place.there && S_ISDIR(place.st.st_mode) == directory) {
        if (!directory)
            journal_keep(&place);
        sequence = journal_record(directory ? JOURNAL_RMDIR : JOURNAL_UNLINK,
                                  (struct journal_values){.a = place.dir, .c = place.st.st_ino}, place.name, NULL);
    }
    int rc = (int)syscall(SYS_unlinkat, dir_fd, path, flags);
    if (sequence != 0)
        done(sequence, rc, place.st.st_ino);
    journal_place_free(&place);
    journal_unlock();
    return rc;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    int rc = unlinkat(AT_FDCWD, path, 0);
    return rc != 0 && errno == EISDIR ? unlinkat(AT_FDCWD, path, AT_REMOVEDIR) : rc;
}

int mkdirat(int dir_fd, const char *path, mode_t mode)
{
    if (!journal_active())
        return (int)syscall(SYS_mkdirat, dir_fd, path, mode);
    struct journal_place place;
    uint64_t sequence = 0;
    journal_lock();
    journal_place(dir_fd, path, &place);
    if (place.inside && !place.there)
        sequence = journal_record(JOURNAL_MKDIR, (struct journal_values){.a = place.dir}, place.name, NULL);
    int rc = (int)syscall(SYS_mkdirat, dir_fd, path, mode);
    if (sequence != 0) {
        struct stat st = {0};
        if (rc == 0 && fstatat(place.dir_fd, place.name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            journal_die("a new directory is gone");
        done(sequence, rc, st.st_ino);
    }
    journal_place_free(&place);
    journal_unlock();
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

/* Both names are below the root; the record of the rename, 0 when it will be refused. */
static uint64_t record_rename(const struct journal_place *from, const struct journal_place *to, unsigned flags)
{
    struct journal_values v = {.a = from->dir, .b = to->dir, .c = from->st.st_ino};
    if (!from->there || ((flags & RENAME_NOREPLACE) != 0 && to->there))
        return 0;
    if ((flags & RENAME_EXCHANGE) != 0) {
        v.d = to->st.st_ino;
        return to->there ? journal_record(JOURNAL_EXCHANGE, v, from->name, to->name) : 0;
    }
    if (to->there && to->st.st_ino == from->st.st_ino)
        return 0; /* does nothing */
    if (to->there && S_ISDIR(to->st.st_mode))
        journal_die("a rename onto a directory is not followed");
    if (to->there) {
        journal_keep(to);
        v.d = to->st.st_ino;
    }
    return journal_record(JOURNAL_RENAME, v, from->name, to->name);
}

int renameat2(int from_fd, const char *from_path, int to_fd, const char *to_path, unsigned flags)
{
    if (!journal_active())
        return (int)syscall(SYS_renameat2, from_fd, from_path, to_fd, to_path, flags);
    struct journal_place from, to;
    uint64_t sequence = 0;
    journal_lock();
    journal_place(from_fd, from_path, &from);
    journal_place(to_fd, to_path, &to);
    if (from.inside != to.inside)
        journal_die("a rename into or out of the root is not followed");
    if (from.inside)
        sequence = record_rename(&from, &to, flags);
    int rc = (int)syscall(SYS_renameat2, from_fd, from_path, to_fd, to_path, flags);
    if (sequence != 0)
        done(sequence, rc, from.st.st_ino);
    journal_place_free(&from);
    journal_place_free(&to);
    journal_unlock();
    return rc;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return renameat2(from_fd, from, to_fd, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_fd, const char *from_path, int to_fd, const char *to_path, int flags)
{
    if (!journal_active())
        return (int)syscall(SYS_linkat, from_fd, from_path, to_fd, to_path, flags);
    struct journal_place from, to;
    uint64_t sequence = 0;
    journal_lock();
    journal_place(from_fd, from_path, &from);
    journal_place(to_fd, to_path, &to);
    if (to.inside && !to.there && from.there)
        sequence =
            journal_record(JOURNAL_LINK, (struct journal_values){.a = to.dir, .c = from.st.st_ino}, to.name, NULL);
    else if (to.inside && !to.there)
        journal_die("a link from outside the root is not followed");
    int rc = (int)syscall(SYS_linkat, from_fd, from_path, to_fd, to_path, flags);
    if (sequence != 0)
        done(sequence, rc, from.st.st_ino);
    journal_place_free(&from);
    journal_place_free(&to);
    journal_unlock();
    return rc;
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int no_symlink(const char *target, int dir_fd, const char *path)
{
    if (journal_active()) {
        struct journal_place place;
        journal_place(dir_fd, path, &place);
        if (place.inside)
            journal_die("symbolic links are not followed");
    }
    return (int)syscall(SYS_symlinkat, target, dir_fd, path);
}

int symlinkat(const char *target, int dir_fd, const char *path)
{
    return no_symlink(target, dir_fd, path);
}

int symlink(const char *target, const char *path)
{
    return no_symlink(target, AT_FDCWD, path);
}
