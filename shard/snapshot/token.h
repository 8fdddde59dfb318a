/* token.h: the snapshot pointer: a small file that says as of which entry the state machine surely is on disk.
 *
 * Position: written by snapshot_publish and by an install only; read at start and by `holdfast inspect`. A stream begins
 *           with the same text: it says what the stream holds.
 * Thread:   any, one at a time.
 * Files:    <dir>/snapshots/token: text with a crc, replaced atomically.
 * Invariants: never ahead of the durable applied index (I4): the caller's to keep. */
#pragma once

#include "common/base/arena.h"
#include "common/base/hlc.h"
#include "common/base/must.h"
#include "common/sys/digest.h"
#include "common/sys/disk.h"
#include "proto/catalog.pb-c.h"
#include "shard/fsm/fsm.h"

#define TOKEN_FORMAT 1u
#define TOKEN_DIR "snapshots"
#define TOKEN_NAME "token"
#define TOKEN_BYTES_MAX ((size_t)2 << 20) /* LIMIT_PEERS members, in hex */

struct token {
    uint64_t cluster;
    uint32_t group, log_epoch;
    uint64_t index, term;
    struct hlc ceiling;
    uint64_t cutover; /* reserved for sealed values; 0: none */
    uint8_t digest[DIGEST_BYTES];
    const Hf__Catalog__Members *members; /* configuration as of `index` */
};

/* What a state machine says of itself; members are borrowed of `info`. */
struct token token_from(const struct fsm_info *info);

/* HF_E_ABSENT, HF_E_CORRUPT (checksum, syntax, bounds), HF_E_FORMAT, HF_E_IO. Members live in the arena. */
HF_CHECKED int token_read(struct disk *disk, const char *dir, struct arena *arena, struct token *out);
/* Durable on return; makes <dir>/snapshots if it is not there. HF_E_INVALID: members that cannot be. HF_E_IO,
 * HF_E_NO_SPACE: the old one stands, unless the sync of a directory failed (HF_E_IO): then either does. */
HF_CHECKED int token_write(struct disk *disk, const char *dir, const struct token *token);

/* The text of a token, as in the file; appended. HF_E_INVALID: members that cannot be. */
HF_CHECKED int token_encode(const struct token *token, struct buf *out);
/* HF_E_CORRUPT, HF_E_FORMAT. Members live in the arena. */
HF_CHECKED int token_decode(struct slice text, struct arena *arena, struct token *out);
/* The same state of the same log: everything but the members' addresses is compared. */
bool token_equal(const struct token *a, const struct token *b);
