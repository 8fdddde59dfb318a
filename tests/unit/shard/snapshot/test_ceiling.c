/* test_ceiling.c: a ceiling never falls, a cutover is not lost: whatever header a stream came with, the machine put in place,
 * and what the next start opens, has those its body was committed with. Real machines, real files. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/crc32c.h"
#include "common/base/endian.h"
#include "shard/snapshot/install.h"
#include "shard/snapshot/stream_format.h"
#include "shard/store/store.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

#define CUTOVER 77

struct world {
    struct machine source, old; /* `old` is the replica's own, at top/fsm; closed */
    char top[64], machine[96], checkpoint[96], file[96];
    struct arena arena;
    struct fsm_info info; /* of the checkpoint */
    struct buf stream;
};

static void take_lease(struct machine *m, uint64_t ceiling)
{
    must(machine_apply(m, LOG_COMMAND, machine_lease(&m->arena, ceiling, m->t))->code == HF_OK);
}

/* As a program leaves it that has cutovers: a record beside the ceiling's. */
static void give_cutover(struct machine *m)
{
    struct store_config config = {.dir = m->config.dir};
    struct store *store = NULL;
    struct store_batch *batch = store_batch_new();
    uint8_t bytes[8];
    char where[256];
    machine_close(m);
    must(store_open(&config, false, &store, where) == HF_OK);
    put_le64(bytes, CUTOVER);
    store_batch_put(batch, slice_text("mcutover"), slice_make(bytes, sizeof bytes));
    must(store_write(store, batch) == HF_OK && store_flush(store) == HF_OK);
    store_batch_free(&batch);
    store_close(&store);
    machine_open(m);
}

static void start(struct world *w)
{
    char where[256];
    *w = (struct world){.top = "/tmp/hf-ceiling-XXXXXX"};
    must(mkdtemp(w->top) != NULL);
    snprintf(w->machine, sizeof w->machine, "%s/fsm", w->top);
    snprintf(w->checkpoint, sizeof w->checkpoint, "%s/checkpoint", w->top);
    snprintf(w->file, sizeof w->file, "%s/a.stream", w->top);
    machine_start(&w->source, "", "", true);
    w->old = (struct machine){.config = {.dir = w->machine}, .t = w->source.t};
    machine_create(&w->old, "", "", true);
    machine_open(&w->old);
    take_lease(&w->old, w->source.t + 1000);
    must(fsm_flush(w->old.fsm) == HF_OK);
    machine_close(&w->old);
    take_lease(&w->source, w->source.t + 1000);
    (void)machine_run(&w->source, machine_put("a", "1"));
    take_lease(&w->source, w->source.t + 5000);
    w->source.t += 7000; /* a commit's stamp may be above the ceiling */
    (void)machine_run(&w->source, machine_put("b", "2"));
    give_cutover(&w->source);
    must(fsm_checkpoint(w->source.fsm, w->checkpoint, where) == HF_OK);
    must(fsm_peek(w->checkpoint, &w->arena, &w->info, where) == HF_OK);
    must(w->info.cutover == CUTOVER);
    must(w->info.newest.t.t > w->info.ceiling.t && w->info.ceiling.t > w->info.newest.t.t - 7000);
}

static void stop(struct world *w)
{
    machine_close(&w->old);
    machine_stop(&w->source);
    buf_deinit(&w->old.results);
    arena_deinit(&w->old.arena);
    arena_deinit(&w->arena);
    buf_deinit(&w->stream);
    must(disk_remove_tree(disk_posix(), w->top) == HF_OK);
}

static int append(void *ctx, struct slice bytes)
{
    buf_append(ctx, bytes.data, bytes.size);
    return HF_OK;
}

/* As programs before the header wrote it: the same without its first bytes, and a footer that knows. */
static void behead(struct buf *stream)
{
    struct stream_footer footer = {0};
    size_t end = stream->size - STREAM_FOOTER_BYTES;
    must(stream_format_read_footer(stream->data + end, &footer) == HF_OK);
    memmove(stream->data, stream->data + STREAM_V1_BYTES, end - STREAM_V1_BYTES);
    footer.bytes = end - STREAM_V1_BYTES;
    footer.crc = crc32c(0, stream->data, footer.bytes);
    stream_format_footer(&footer, stream->data + footer.bytes);
    stream->size = footer.bytes + STREAM_FOOTER_BYTES;
}

/* The checkpoint as a stream with this header: version 0 (none), 1, 2. */
static void compose(struct world *w, unsigned version, uint64_t ceiling, uint64_t cutover)
{
    struct stream_header header = {.ceiling = {ceiling}, .cutover = version == 2 ? cutover : 0};
    struct stream_writer *writer = NULL;
    header.token = token_from(&w->info);
    buf_clear(&w->stream);
    must(stream_writer_new(&header, append, &w->stream, &writer) == HF_OK);
    must(stream_write_directory(writer, w->checkpoint) == HF_OK && stream_finish(writer) == HF_OK);
    stream_writer_free(&writer);
    if (version == 0)
        behead(&w->stream);
}

static int stage(struct world *w, struct staging **out)
{
    must(staging_new(disk_posix(), w->top, out) == HF_OK);
    struct stream_sink sink = staging_sink(*out);
    struct stream_reader *r = stream_reader_new(&sink, 0);
    int rc = stream_reader_push(r, buf_slice(&w->stream));
    if (rc == HF_OK)
        rc = stream_reader_finish(r);
    if (rc == HF_OK)
        rc = staging_sync(*out);
    stream_reader_free(&r);
    return rc;
}

static bool as_committed(const struct world *w, const struct machine *m)
{
    const struct fsm_info *now = fsm_info(m->fsm);
    return now->ceiling.t == w->info.ceiling.t && now->newest.t.t == w->info.newest.t.t && now->cutover == CUTOVER;
}

static void put_in_place(struct world *w, const struct staging *s)
{
    struct token token = staging_header(s)->token, found = {0};
    struct install_record record = {token.cluster, token.group, token.log_epoch, token.index, token.term};
    char where[256];
    CU_ASSERT_EQUAL(install_check(w->top, &token, where), HF_OK);
    must(install_exchange(disk_posix(), w->top, &record) == HF_OK);
    machine_open(&w->old);
    CU_ASSERT(as_committed(w, &w->old));
    token = token_from(fsm_info(w->old.fsm));
    must(token_write(disk_posix(), w->top, &token) == HF_OK && install_done(disk_posix(), w->top) == HF_OK);
    machine_close(&w->old);
    must(token_read(disk_posix(), w->top, &w->arena, &found) == HF_OK);
    CU_ASSERT(found.ceiling.t == w->info.ceiling.t && found.cutover == CUTOVER);
}

/* A restart that skips; then leases that come late or say nothing, and another one. */
static void restart(struct world *w)
{
    machine_open(&w->old);
    CU_ASSERT(as_committed(w, &w->old));
    take_lease(&w->old, w->info.ceiling.t - 1000);
    take_lease(&w->old, 0);
    CU_ASSERT(as_committed(w, &w->old));
    must(fsm_flush(w->old.fsm) == HF_OK);
    machine_close(&w->old);
    machine_open(&w->old);
    CU_ASSERT(as_committed(w, &w->old));
    machine_close(&w->old);
}

static void no_header_lowers_it(void)
{
    static const struct {
        unsigned version;
        uint64_t below; /* the header's ceiling is so far below the body's; UINT64_MAX: it is 0 */
    } rows[] = {{1, 0}, {1, 4000}, {1, UINT64_MAX}, {2, 0}, {2, 4000}, {2, UINT64_MAX}, {0, UINT64_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world w;
        struct staging *s = NULL;
        start(&w);
        uint64_t ceiling = rows[i].below == UINT64_MAX ? 0 : w.info.ceiling.t - rows[i].below;
        compose(&w, rows[i].version, ceiling, CUTOVER);
        CU_ASSERT_EQUAL(stage(&w, &s), HF_OK);
        const struct stream_header *h = staging_header(s);
        CU_ASSERT(h != NULL && h->version == rows[i].version && h->ceiling.t == ceiling);
        CU_ASSERT(h != NULL && h->cutover == (rows[i].version == 2 ? CUTOVER : 0) && h->token.cutover == CUTOVER);
        if (h != NULL) {
            put_in_place(&w, s);
            restart(&w);
        }
        staging_free(&s);
        stop(&w);
    }
}

static void note_name(void *ctx, const char *name)
{
    (void)name;
    ++*(unsigned *)ctx;
}

/* What holds less than its header promises is refused before anything was written: in its place the ceiling would fall. */
static void a_body_below_its_header_is_refused(void)
{
    for (unsigned version = 1; version <= 2; version++) {
        struct world w;
        struct staging *s = NULL;
        struct stream_header header;
        uint64_t bytes;
        unsigned files = 0;
        char incoming[96];
        start(&w);
        compose(&w, version, w.info.ceiling.t + 1, CUTOVER);
        CU_ASSERT_EQUAL(stage(&w, &s), HF_E_SNAPSHOT_TOKEN);
        CU_ASSERT_PTR_NULL(staging_header(s));
        snprintf(incoming, sizeof incoming, "%s/" INSTALL_INCOMING, w.top);
        CU_ASSERT(disk_posix()->ops->list(disk_posix(), incoming, note_name, &files) == HF_OK && files == 0);
        must(disk_replace(disk_posix(), w.file, buf_slice(&w.stream)) == HF_OK);
        CU_ASSERT_EQUAL(stream_file_peek(disk_posix(), w.file, &w.arena, &header, &bytes), HF_E_SNAPSHOT_TOKEN);
        CU_ASSERT_EQUAL(stream_file_read(disk_posix(), w.file, NULL, 0), HF_E_SNAPSHOT_TOKEN);
        machine_open(&w.old);
        CU_ASSERT_EQUAL(fsm_info(w.old.fsm)->applied.index, 2);
        staging_free(&s);
        stop(&w);
    }
}

/* The same of a cutover; that is found when the machine received is looked at, and the one in use stays. */
static void a_body_without_its_headers_cutover_is_refused(void)
{
    struct world w;
    struct staging *s = NULL;
    char where[256];
    start(&w);
    compose(&w, 2, w.info.ceiling.t, CUTOVER + 1);
    CU_ASSERT_EQUAL_FATAL(stage(&w, &s), HF_OK);
    CU_ASSERT_EQUAL(staging_header(s)->token.cutover, CUTOVER + 1);
    CU_ASSERT_EQUAL(install_check(w.top, &staging_header(s)->token, where), HF_E_SNAPSHOT_TOKEN);
    machine_open(&w.old);
    CU_ASSERT(fsm_info(w.old.fsm)->applied.index == 2 && fsm_info(w.old.fsm)->cutover == 0);
    staging_free(&s);
    stop(&w);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"no header lowers it", no_header_lowers_it},
        {"a body below its header is refused", a_body_below_its_header_is_refused},
        {"a body without its header's cutover is refused", a_body_without_its_headers_cutover_is_refused},
    };
    digest_init();
    return UNIT_MAIN("ceiling", cases);
}
