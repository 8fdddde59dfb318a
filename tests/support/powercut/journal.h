/* journal.h: what changed below POWERCUT_ROOT, written down before it changes, so that powercut.py can take it back.
 *
 * Position: powercut.c's functions call it around each system call. Both live in the process under test.
 * Thread:   any; journal_lock() around everything but journal_active() and places.
 * A record is in the file (page cache) when journal_record returns: SIGKILL does not take it away.
 * Nothing here allocates or calls a function that powercut.c replaces. What cannot be followed ends the process. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum journal_kind {                  /* what a, b, c, d are; powercut.py reads the same numbers */
                    JOURNAL_PRE = 1, /* inode, offset; payload: the bytes there before the WRITE or SIZE that follows */
                    JOURNAL_WRITE = 2,     /* inode, offset, bytes, size before; what no PRE covers was zero */
                    JOURNAL_SIZE = 3,      /* inode, new size, size before */
                    JOURNAL_SYNC = 4,      /* inode (file or directory), sequence: its records below that are durable */
                    JOURNAL_SYNC_ALL = 5,  /* sequence */
                    JOURNAL_CLOSE = 6,     /* sequence: that one record is durable (O_DSYNC) */
                    JOURNAL_DONE = 7,      /* sequence, 1 it was done 0 it was refused, inode */
                    JOURNAL_CREATE = 8,    /* directory; payload: name. The inode is in its DONE, as for MKDIR */
                    JOURNAL_UNLINK = 9,    /* directory, 0, inode; payload: name */
                    JOURNAL_RENAME = 10,   /* directory, directory, inode, inode replaced or 0; payload: name, name */
                    JOURNAL_EXCHANGE = 11, /* directory, directory, inode, inode; payload: name, name */
                    JOURNAL_LINK = 12,     /* directory, 0, inode; payload: name */
                    JOURNAL_MKDIR = 13,    /* directory; payload: name */
                    JOURNAL_RMDIR = 14,    /* directory, 0, inode; payload: name */
};

struct journal_values {
    uint64_t a, b, c, d;
};

/* A name in a directory. inside: below the root, and dir_fd is open until journal_place_free. */
struct journal_place {
    bool inside;
    int dir_fd;
    uint64_t dir;
    char name[NAME_MAX + 1];
    bool there; /* as of journal_place */
    struct stat st;
};

bool journal_active(void); /* is there a root? Opens the journal at the first call */
void journal_lock(void);
void journal_unlock(void); /* keeps errno */

void journal_place(int dir_fd, const char *path, struct journal_place *out);
void journal_place_free(struct journal_place *place); /* keeps errno */

/* Follows what `fd` has open from now on if it is below the root; its inode, or 0. */
uint64_t journal_follow(int fd);

/* Is `fd` a file or directory that is followed? */
bool journal_followed(int fd, struct stat *out_st);

/* Returns the record's sequence number. first, second: names, or NULL. */
uint64_t journal_record(enum journal_kind kind, struct journal_values v, const char *first, const char *second);
uint64_t journal_next(void); /* the number that the next record gets */

/* Records the bytes [from, to) of an open file, as far as they are not zero. */
void journal_before(int fd, uint64_t inode, uint64_t from, uint64_t to);

/* Keeps the inode alive under another name, so that it can come back. */
void journal_keep(const struct journal_place *place);

_Noreturn void journal_die(const char *what);
