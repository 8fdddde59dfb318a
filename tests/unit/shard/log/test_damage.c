/* test_damage.c: what is on the disk is not what was written: torn, flipped, foreign, missing, newer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "common/base/random.h"
#include "shard/log/frame.h"
#include "shard/log/hardstate.h"
#include "tests/unit/shard/log/rig.h"
#include "tests/unit/unit.h"

#define KIB 1024u
#define HARDSTATE (RIG_DIR "/" HARDSTATE_NAME)

static void segment_path(uint64_t id, char out[128])
{
    snprintf(out, 128, "%s/seg-%016llx.log", RIG_DIR, (unsigned long long)id);
}

static void get(struct rig *rig, const char *path, uint64_t offset, void *out, size_t size)
{
    struct disk *d = rig->config.disk;
    struct disk_file *file;
    must(d->ops->open(d, path, DISK_READ, &file) == 0);
    must(d->ops->read(d, file, offset, out, size) == 0);
    d->ops->close(d, &file);
}

static void put(struct rig *rig, const char *path, uint64_t offset, const void *data, size_t size)
{
    struct disk *d = rig->config.disk;
    struct disk_file *file;
    must(d->ops->open(d, path, DISK_WRITE, &file) == 0);
    must(d->ops->write(d, file, offset, data, size) == 0);
    must(d->ops->sync(d, file) == 0);
    d->ops->close(d, &file);
}

static void flip(struct rig *rig, const char *path, uint64_t offset, unsigned bit)
{
    must(simdisk_flip(rig->sim, path, offset, bit) == 0);
}

static void remove_file(struct rig *rig, const char *path)
{
    struct disk *d = rig->config.disk;
    must(d->ops->remove(d, path) == 0);
}

/* The open fails as damage, names `file`, and changes nothing: a second open says the same. */
static bool is_damage(struct rig *rig, const char *file)
{
    char where[256];
    bool good = rig_open(rig) == HF_E_CORRUPT && strstr(rig->where, file) != NULL;
    memcpy(where, rig->where, sizeof where);
    good = good && rig_open(rig) == HF_E_CORRUPT && strcmp(where, rig->where) == 0;
    if (!good) {
        rig_close(rig);
        fprintf(stderr, "expected damage in %s, got \"%s\"\n", file, rig->where);
    }
    return good;
}

/* Offsets of the frames of a segment, the last one is the end. Returns how many frames. */
static size_t frames_of(struct rig *rig, uint64_t id, uint64_t *offsets, size_t max)
{
    char path[128];
    uint64_t at = FRAME_SEGMENT_HEADER_BYTES;
    size_t count = 0;
    segment_path(id, path);
    for (; count < max; count++) {
        uint8_t bytes[FRAME_HEADER_BYTES];
        struct frame_header h;
        offsets[count] = at;
        get(rig, path, at, bytes, sizeof bytes);
        if (!frame_header_read(bytes, id, at, UINT32_MAX, &h))
            break;
        at += h.length;
    }
    return count;
}

static bool has_segment(struct rig *rig, uint64_t id)
{
    char path[128];
    bool there = false;
    segment_path(id, path);
    must(rig->config.disk->ops->exists(rig->config.disk, path, &there) == 0);
    return there;
}

/* Turns until segment `id` has begun. */
static void reach(struct rig *rig, uint64_t id, bool trim)
{
    while (!has_segment(rig, id)) {
        if (trim)
            must(log_trim(rig->log, log_synced(rig->log)) == 0);
        rig_turn(rig, 20);
    }
}

/* The last frame is written up to each of its bytes; what follows is zeros, or an old frame of the recycled file. */
static void torn(bool recycled)
{
    struct rig rig;
    char path[128];
    uint64_t offsets[64] = {0}, id = recycled ? 8 : 1;
    uint8_t rest[4 * KIB], whole[4 * KIB], mix[4 * KIB], zeros[64] = {0};
    rig_create(&rig, 16 * KIB, 0, 0, 1);
    reach(&rig, id, true);
    rig_turn(&rig, 5);
    uint64_t last = log_last(rig.log);
    segment_path(id, path);
    size_t frames = frames_of(&rig, id, offsets, 64);
    uint64_t offset = offsets[frames];
    get(&rig, path, offset, rest, sizeof rest);
    CU_ASSERT_EQUAL(recycled, memcmp(rest + 512, zeros, sizeof zeros) != 0);
    rig_turn(&rig, 6);
    CU_ASSERT_EQUAL_FATAL(frames_of(&rig, id, offsets, 64), frames + 1);
    size_t size = (size_t)(offsets[frames + 1] - offset);
    CU_ASSERT_FATAL(size > 100 && size < sizeof whole);
    get(&rig, path, offset, whole, sizeof whole);
    for (size_t cut = 0; cut <= size; cut++) {
        rig_close(&rig);
        memcpy(mix, rest, sizeof mix);
        memcpy(mix, whole, cut);
        bool complete = memcmp(mix, whole, size) == 0;
        bool header = memcmp(mix, whole, FRAME_HEADER_BYTES) == 0; /* also when the last byte was the same before */
        put(&rig, path, offset, mix, sizeof mix);
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
        CU_ASSERT_EQUAL(log_last(rig.log), complete ? last + 6 : last);
        CU_ASSERT_EQUAL(rig.report.torn_bytes, header && !complete ? size : 0);
        get(&rig, path, complete ? offset + size : offset, mix, size); /* what may be torn is gone */
        CU_ASSERT(mix[0] == 0 && memcmp(mix, mix + 1, size - 1) == 0);
        if (cut % 16 == 0) {
            rig_turn(&rig, 2);
            rig_reopen(&rig);
            CU_ASSERT_EQUAL(log_last(rig.log), complete ? last + 8 : last + 2);
            rig_check(&rig);
        }
    }
    rig_end(&rig);
}

static void test_torn_at_every_byte(void)
{
    torn(false);
    torn(true);
}

static void test_flips_in_two_segments(void)
{
    struct rig rig;
    char first[128], second[128];
    uint64_t a[64] = {0}, b[64] = {0};
    rig_create(&rig, 12 * KIB, 0, 0, 1);
    segment_path(1, first);
    segment_path(2, second);
    reach(&rig, 2, false);
    rig_turn(&rig, 5);
    rig_turn(&rig, 5);
    uint64_t last = log_last(rig.log);
    rig_close(&rig);
    size_t in_first = frames_of(&rig, 1, a, 64), in_second = frames_of(&rig, 2, b, 64);
    CU_ASSERT(in_first >= 5 && in_second == 3);
    for (uint64_t at = 0; at < a[in_first]; at += at < 4000 ? 7 : 1) {
        flip(&rig, first, at, at % 8);
        CU_ASSERT(is_damage(&rig, at < 4096 ? "seg-0000000000000001.log at offset 0" : "seg-0000000000000001.log"));
        flip(&rig, first, at, at % 8);
    }
    flip(&rig, first, a[2] + 11, 3); /* the offset is that of the frame */
    char text[64];
    snprintf(text, sizeof text, "offset %llu", (unsigned long long)a[2]);
    CU_ASSERT(is_damage(&rig, text));
    flip(&rig, first, a[2] + 11, 3);
    flip(&rig, first, a[in_first] + 40, 0); /* behind the last frame nothing counts */
    CU_ASSERT_EQUAL(rig_open(&rig), 0);
    CU_ASSERT_EQUAL(log_last(rig.log), last);
    rig_check(&rig);
    rig_close(&rig);
    for (uint64_t at = 0; at < b[2]; at += at < 4000 ? 7 : 1) {
        flip(&rig, second, at, at % 8);
        CU_ASSERT(is_damage(&rig, "seg-0000000000000002.log"));
        flip(&rig, second, at, at % 8);
    }
    uint8_t whole[4 * KIB];
    get(&rig, second, b[2], whole, (size_t)(b[3] - b[2]));
    for (uint64_t at = b[2]; at < b[3]; at++) { /* the very last frame: a torn tail */
        flip(&rig, second, at, at % 8);
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
        CU_ASSERT_EQUAL(log_last(rig.log), last - 5);
        rig_close(&rig);
        put(&rig, second, b[2], whole, (size_t)(b[3] - b[2]));
    }
    rig_end(&rig);
}

/* Two bad frames in a row at the end: only the last may be torn, for it was written after the other was durable. */
static void test_two_bad_frames_are_damage(void)
{
    struct rig rig;
    char path[128];
    uint64_t offsets[64] = {0};
    rig_create(&rig, 64 * KIB, 0, 0, 1);
    for (int i = 0; i < 4; i++)
        rig_turn(&rig, 5);
    rig_close(&rig);
    segment_path(1, path);
    CU_ASSERT_EQUAL(frames_of(&rig, 1, offsets, 64), 4);
    flip(&rig, path, offsets[2] + 50, 1);
    flip(&rig, path, offsets[3] + 50, 1);
    CU_ASSERT(is_damage(&rig, "seg-0000000000000001.log"));
    rig_end(&rig);
}

/* Frames of another segment at the same place, of this segment at another place, and behind the end: never read. */
static void test_foreign_frames_are_not_read(void)
{
    struct rig rig;
    char first[128], second[128];
    uint64_t a[64] = {0}, b[64] = {0};
    uint8_t frame[4 * KIB];
    rig_create(&rig, 12 * KIB, 0, 0, 1);
    segment_path(1, first);
    segment_path(2, second);
    reach(&rig, 2, false);
    uint64_t last = log_last(rig.log);
    rig_close(&rig);
    size_t n = frames_of(&rig, 1, a, 64);
    CU_ASSERT(n >= 3 && frames_of(&rig, 2, b, 64) == 1);
    for (size_t i = 0; i < n; i++) {
        size_t size = (size_t)(a[i + 1] - a[i]);
        get(&rig, first, a[i], frame, size);
        put(&rig, second, b[1], frame, size);
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
        CU_ASSERT_EQUAL(log_last(rig.log), last);
        rig_close(&rig);
    }
    size_t size = (size_t)(b[1] - b[0]);
    get(&rig, second, b[0], frame, size);
    struct frame_header h = {.length = (uint32_t)size, .sequence = get_le64(frame + 8) + 1, .records = 1};
    frame_seal(frame, &h, 2, b[1] + 64); /* this segment, the next sequence number: but for another place */
    put(&rig, second, b[1] + 512, frame, size);
    CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
    CU_ASSERT_EQUAL(log_last(rig.log), last);
    rig_close(&rig);
    frame_seal(frame, &h, 2, b[1] + 512); /* the same for its own place: evidence of what was lost */
    put(&rig, second, b[1] + 512, frame, size);
    CU_ASSERT(is_damage(&rig, "seg-0000000000000002.log"));
    rig_end(&rig);
}

/* Whole frames that contradict what came before: a bug or a mix-up, never believed. */
static void test_contradicting_frames_are_damage(void)
{
    static const struct {
        enum frame_type type;
        uint64_t index, term, sequence;
        const char *why;
    } cases[] = {
        {FRAME_ENTRIES, 7, 1, 2, "gap in the indexes"},
        {FRAME_ENTRIES, 6, 0, 2, "term falls"},
        {FRAME_ENTRIES, 5, 1, 2, "index again"},
        {FRAME_TRUNCATE, 0, 0, 2, "truncates the base"},
        {FRAME_TRUNCATE, 9, 0, 2, "truncates what is not there"},
        {FRAME_BASE, 9, 1, 2, "base beyond the end"},
        {FRAME_BASE, 3, 2, 2, "base of another term"},
        {FRAME_ENTRIES, 6, 1, 3, "gap in the sequence"},
        {FRAME_ENTRIES, 6, 1, 1, "sequence again"},
        {(enum frame_type)77, 6, 1, 2, "unknown record"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig rig;
        char path[128];
        uint64_t offsets[8] = {0};
        uint8_t frame[FRAME_HEADER_BYTES + FRAME_RECORD_BYTES + FRAME_ENTRY_BYTES] = {0};
        rig_create(&rig, 64 * KIB, 0, 0, 1);
        rig_turn(&rig, 5);
        rig_close(&rig);
        segment_path(1, path);
        CU_ASSERT_EQUAL(frames_of(&rig, 1, offsets, 8), 1);
        bool entry = cases[i].type == FRAME_ENTRIES;
        struct frame_header h = {.length = (uint32_t)(sizeof frame - (entry ? 0 : FRAME_ENTRY_BYTES)),
                                 .sequence = cases[i].sequence,
                                 .records = 1};
        frame_record_write(frame + FRAME_HEADER_BYTES, cases[i].type, entry, cases[i].index, cases[i].term);
        frame_seal(frame, &h, 1, offsets[1]);
        put(&rig, path, offsets[1], frame, sizeof frame);
        CU_ASSERT(is_damage(&rig, "seg-0000000000000001.log"));
        rig_end(&rig);
    }
}

static void test_missing_files(void)
{
    for (uint64_t missing = 0; missing <= 4; missing++) {
        struct rig rig;
        char path[128];
        rig_create(&rig, 12 * KIB, 0, 0, 1);
        reach(&rig, 5, false);
        rig_close(&rig);
        segment_path(missing, path);
        remove_file(&rig, missing == 0 ? HARDSTATE : path);
        CU_ASSERT(is_damage(&rig, missing == 0 ? "hardstate" : "seg-"));
        rig_end(&rig);
    }
    struct rig rig;
    char path[128];
    rig_create(&rig, 12 * KIB, 0, 0, 1);
    rig_close(&rig);
    segment_path(1, path);
    remove_file(&rig, path);
    CU_ASSERT(is_damage(&rig, "no segment"));
    rig_end(&rig);
}

static void test_reading_checks_again(void)
{
    struct rig rig;
    char path[128];
    struct log_entry *out;
    size_t count;
    rig_create(&rig, 64 * KIB, 0, 0, 1);
    for (int i = 0; i < 10; i++)
        rig_turn(&rig, 20);
    rig_reopen(&rig);
    segment_path(1, path);
    flip(&rig, path, FRAME_SEGMENT_HEADER_BYTES + 300, 2);
    CU_ASSERT_EQUAL(log_read(rig.log, 5, 10, 1000, &rig.arena, &out, &count), HF_E_CORRUPT);
    CU_ASSERT(strstr(log_where(rig.log), "seg-0000000000000001.log at offset 4096") != NULL);
    flip(&rig, path, FRAME_SEGMENT_HEADER_BYTES + 300, 2);
    CU_ASSERT_EQUAL(log_read(rig.log, 5, 10, 1000, &rig.arena, &out, &count), 0);
    rig_end(&rig);
}

/* A segment keeps the length it was made with. */
static void test_cut_segments_are_damage(void)
{
    struct rig rig;
    char path[128];
    uint64_t bytes = 0;
    rig_create(&rig, 64 * KIB, 0, 0, 1);
    reach(&rig, 3, false);
    rig_close(&rig);
    for (uint64_t id = 1; id <= 3; id += 2) {
        struct disk *d = rig.config.disk;
        struct disk_file *file;
        struct buf whole = {0};
        segment_path(id, path);
        must(disk_read_all(d, path, 1u << 20, &whole) == 0);
        must(d->ops->open(d, path, DISK_WRITE, &file) == 0 && d->ops->size(d, file, &bytes) == 0);
        must(d->ops->truncate(d, file, bytes - 8) == 0 && d->ops->sync(d, file) == 0);
        CU_ASSERT(is_damage(&rig, "the file has been cut short here"));
        must(d->ops->write(d, file, 0, whole.data, whole.size) == 0 && d->ops->sync(d, file) == 0);
        d->ops->close(d, &file);
        buf_deinit(&whole);
    }
    CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
    rig_check(&rig);
    rig_end(&rig);
}

/* A damaged end is no torn tail when the hard state knows that what lay there was committed. */
static void test_end_below_the_commit_bound(void)
{
    struct rig rig;
    char path[128];
    uint64_t offsets[64] = {0};
    segment_path(1, path);
    rig_create(&rig, 64 * KIB, 0, 0, 1);
    for (int i = 0; i < 5; i++)
        rig_turn(&rig, 4);
    struct log_hard_state hs = log_hard_state(rig.log);
    hs.term++;
    hs.vote = 0;
    hs.commit = log_synced(rig.log); /* all of it; a vote writes it down without a frame */
    log_set_hard_state(rig.log, hs);
    must(log_sync(rig.log) == 0);
    rig_close(&rig);
    size_t count = frames_of(&rig, 1, offsets, 64);
    must(count == 5);
    flip(&rig, path, offsets[count - 1] + 60, 1);
    CU_ASSERT(is_damage(&rig, "hardstate says that 20 was committed"));
    flip(&rig, path, offsets[count - 1] + 60, 1);
    CU_ASSERT_EQUAL(rig_open(&rig), 0);
    CU_ASSERT_EQUAL(log_last(rig.log), 20);
    rig_end(&rig);
}

static void test_hard_state_copies(void)
{
    for (uint64_t at = 0; at < 2 * HARDSTATE_SLOT_BYTES; at += at % 4096 < 64 ? 5 : 997) {
        struct rig rig;
        rig_create(&rig, 16 * KIB, 0, 0, 1);
        log_set_hard_state(rig.log, (struct log_hard_state){.term = 5, .vote = 3});
        CU_ASSERT(log_dirty(rig.log));
        CU_ASSERT_EQUAL(log_sync(rig.log), 0);
        rig_close(&rig);
        flip(&rig, HARDSTATE, at, at % 8); /* one copy, whichever: neither term nor vote goes back */
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
        CU_ASSERT(log_hard_state(rig.log).term == 5 && log_hard_state(rig.log).vote == 3);
        rig_close(&rig);
        flip(&rig, HARDSTATE, 30, 1);
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0); /* opening has made both whole again */
        rig_close(&rig);
        flip(&rig, HARDSTATE, 30, 1);
        flip(&rig, HARDSTATE, HARDSTATE_SLOT_BYTES + 30, 1);
        CU_ASSERT(is_damage(&rig, "hardstate"));
        rig_end(&rig);
    }
}

/* Whole copies of an older term than the log's own entries: term and vote were lost, which must not pass. */
static void test_hard_state_gone_back(void)
{
    struct rig rig;
    uint8_t old[2 * HARDSTATE_SLOT_BYTES];
    rig_create(&rig, 64 * KIB, 0, 0, 1);
    get(&rig, HARDSTATE, 0, old, sizeof old);
    rig.term = 2;
    rig_turn(&rig, 3);
    rig_close(&rig);
    put(&rig, HARDSTATE, 0, old, sizeof old);
    CU_ASSERT(is_damage(&rig, "hardstate"));
    rig_end(&rig);
}

static void test_unknown_formats(void)
{
    struct rig rig;
    char path[128];
    uint8_t block[4096], kept[4096];
    rig_create(&rig, 64 * KIB, 0, 0, 1);
    rig_close(&rig);
    segment_path(1, path);
    for (int i = 0; i < 2; i++) {
        const char *file = i == 0 ? path : HARDSTATE;
        get(&rig, file, 0, block, sizeof block);
        memcpy(kept, block, sizeof kept);
        put_le32(block + 8, 2);
        put_le32(block + 12, crc32c(crc32c(0, block, 12), block + 16, sizeof block - 16));
        put(&rig, file, 0, block, sizeof block);
        CU_ASSERT_EQUAL(rig_open(&rig), HF_E_FORMAT);
        CU_ASSERT(strlen(rig.where) > 0);
        put(&rig, file, 0, kept, sizeof kept);
    }
    CU_ASSERT_EQUAL(rig_open(&rig), 0);
    rig_end(&rig);
}

/* Random bytes in whole frames' bodies: the walk ends in an answer, within the frame. */
static void test_hostile_frames(void)
{
    struct random random = {.state = 20};
    for (int i = 0; i < 200000; i++) {
        uint8_t frame[256];
        struct frame_header h = {.length = FRAME_HEADER_BYTES + 8 * (uint32_t)random_below(&random, 28),
                                 .records = (uint32_t)random_below(&random, 4)};
        for (size_t k = 0; k < sizeof frame; k += 4)
            put_le32(frame + k,
                     (uint32_t)(random_below(&random, 3) == 0 ? random_next(&random) : random_below(&random, 5)));
        struct frame_cursor cursor;
        struct frame_item item;
        int rc;
        frame_open(&cursor, frame, &h);
        while ((rc = frame_next(&cursor, &item)) > 0)
            must(item.entry.data.size == 0 || (item.entry.data.data >= frame + FRAME_HEADER_BYTES &&
                                               item.entry.data.data + item.entry.data.size <= frame + h.length));
        must(rc == 0 || rc == HF_E_CORRUPT);
    }
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"torn at every byte", test_torn_at_every_byte},
        {"flips in two segments", test_flips_in_two_segments},
        {"two bad frames", test_two_bad_frames_are_damage},
        {"foreign frames", test_foreign_frames_are_not_read},
        {"contradicting frames", test_contradicting_frames_are_damage},
        {"missing files", test_missing_files},
        {"reading checks again", test_reading_checks_again},
        {"cut segments", test_cut_segments_are_damage},
        {"end below the commit bound", test_end_below_the_commit_bound},
        {"hard state copies", test_hard_state_copies},
        {"hard state gone back", test_hard_state_gone_back},
        {"unknown formats", test_unknown_formats},
        {"hostile frames", test_hostile_frames},
    };
    return UNIT_MAIN("shard/log damage", cases);
}
