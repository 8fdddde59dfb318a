/* detect.h: whose directory is it, and which engine's? Decided in one place from what was found in it (I10).
 *
 * Position: directory_open looks, decides, and does what was decided; nothing in the directory was changed before, but that
 *           temporary files were swept. What is wrong inside a part that belongs there is not looked at here (cold_start.h). */
#pragma once

#include "common/sys/disk.h"
#include "shard/log/identity.h"

#define DETECT_LOGS_MAX 8
#define DETECT_MESSAGE_BYTES 4608 /* a path and what is wrong with it */

/* A name of the form <engine>-<epoch>, whose engine was ever part of the program, built into this one or not. */
struct detect_log {
    char engine[IDENTITY_ENGINE_BYTES];
    uint32_t epoch;
};

struct detect_facts {
    /* Asked for. */
    const char *dir;         /* borrowed */
    uint32_t group, replica; /* as the process was started */
    const char *engine;      /* NULL: what the directory has, or native; borrowed */
    uint64_t cluster;        /* 0: any */

    /* Found: detect_look. */
    int identity_code;  /* of identity_read */
    struct identity id; /* with HF_OK */
    bool peers;
    struct detect_log logs[DETECT_LOGS_MAX]; /* further ones are not needed to tell */
    size_t logs_count;
    char foreign[256]; /* a name that a directory of nobody may not hold; "": none */
};

enum detect_verdict {
    DETECT_NEW,   /* nothing is there: draw an identity */
    DETECT_FRESH, /* an identity that was told no cluster yet; what a killed bootstrap left is overwritten by the next */
    DETECT_MEMBER, /* identity, log and peers are there and are of one engine and epoch */
    DETECT_REFUSED
};

/* Lists the directory and reads identity. HF_E_IO: it cannot be listed. */
HF_CHECKED int detect_look(struct disk *disk, struct detect_facts *facts);

/* With DETECT_REFUSED message[] says what, where, which value and what to do. */
enum detect_verdict detect_decide(const struct detect_facts *facts, char message[DETECT_MESSAGE_BYTES]);
