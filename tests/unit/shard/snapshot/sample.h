/* sample.h: tokens and streams to test with: as this program writes them, and as others might. */
#pragma once

#include "common/base/error.h"
#include "common/base/random.h"
#include "shard/snapshot/install.h"
#include "shard/snapshot/stream_format.h"

/* Everything but members is drawn from `index`; three members, borrowed for ever. */
struct token sample_token(uint64_t index);

/* A stream made by hand: NULL and 0 are as they should be. */
struct sample {
    uint64_t index;          /* of the token */
    unsigned version;        /* 0: no header, 1, 2 */
    struct slice room;       /* of version 2 */
    struct slice token_text; /* instead of the token's */
    const char *token_name;  /* of the first section */
    uint32_t kind;           /* of the second section */
    const char *name;        /* of the second section */
    uint64_t announced;      /* length of the second section, in its head */
    bool no_token;           /* the first section is a file */
    bool token_twice;
    struct stream_footer add; /* to what the footer should say */
    uint32_t section_crc_add;
};

#define SAMPLE_FILES 3
extern const char *const sample_names[SAMPLE_FILES];
/* The files a machine as of `index` has: content is a function of index and name, one is empty, one of 3000 bytes. */
struct slice sample_file(struct arena *arena, uint64_t index, unsigned file);

void sample_stream(const struct sample *s, struct buf *out);            /* composed by hand */
void sample_written(uint64_t index, uint64_t cutover, struct buf *out); /* by stream_writer */
