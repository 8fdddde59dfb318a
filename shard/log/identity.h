/* identity.h: who a replica's directory belongs to: the files LOCK, identity and peers.
 *
 * Position: the first thing a shard process reads; nothing else in the directory is touched before it agrees (I10,
 * I11). identity is small text, one "key value" a line, last line "crc <hex of crc32c of all before>"; peers is
 * hf.catalog.Members behind a header with length and crc. Both are replaced atomically. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/must.h"
#include "common/sys/disk.h"
#include "proto/catalog.pb-c.h"

#define IDENTITY_FORMAT 1
#define IDENTITY_ENGINE_BYTES 16

/* The log that was left by the last change of engine: who still is in it is told where it ended. */
struct identity_left {
    uint32_t epoch; /* 0: there never was one */
    char engine[IDENTITY_ENGINE_BYTES];
    uint64_t migration;   /* its id */
    uint64_t index, term; /* of the seal */
};

struct identity {
    uint64_t cluster;     /* 0: a fresh directory, not a member of anything yet */
    uint32_t group;       /* shard number, from 1 */
    uint32_t replica;     /* from 1 */
    uint64_t incarnation; /* random, drawn when the directory was made */
    char engine[IDENTITY_ENGINE_BYTES];
    uint32_t format;
    uint32_t log_epoch;                 /* generation of the engine's log; from 1; 0 while fresh */
    uint32_t heartbeat_ms, election_ms; /* the group's constants, for a start without a state machine; 0: not noted */
    /* Random; the log was damaged and is being rebuilt: no vote may be given (I13); 0: whole. Odd: term and vote are lost as
     * well, or an earlier build drew it, which did not tell. */
    uint64_t recovering;
    struct identity_left left;
};

/* HF_E_ABSENT: no identity. HF_E_CORRUPT: checksum or syntax. HF_E_FORMAT: a format this program does not know. */
HF_CHECKED int identity_read(struct disk *disk, const char *dir, struct identity *out);
HF_CHECKED int identity_write(struct disk *disk, const char *dir, const struct identity *id);

/* A mirror of the group's configuration; the log is the truth. Counts and lengths are bounded before anything is
 * allocated; a member without an address stays a member. Free with hf__catalog__members__free_unpacked(p, NULL). */
HF_CHECKED int peers_read(struct disk *disk, const char *dir, Hf__Catalog__Members **out);
/* Writes if `members->index` differs from what is there. Never an empty address over a known one (HF_E_INVALID). */
HF_CHECKED int peers_write(struct disk *disk, const char *dir, const Hf__Catalog__Members *members);
/* Checks a configuration from anywhere: 1..LIMIT_PEERS members, distinct ids ≥ 1, bounded texts. HF_E_INVALID,
 * HF_E_LIMIT. */
HF_CHECKED int peers_check(const Hf__Catalog__Members *members);
