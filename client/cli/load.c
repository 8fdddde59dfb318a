/* load.c: load FILE|-: puts a file of "key TAB value" lines, many at a time, and says what became of each.
 *
 *     read a line → decode → put (at most --outstanding at a time, --rate a second) → collect answers → … → report
 *
 * Two lines with the same key are never out at the same time, so the later one wins as it stands in the file. The place
 * of --resume moves over the acknowledged lines at the front only; at a line that was not acknowledged it stays. A
 * signal ends the reading; what is out is waited for a little, reported, and the process ends by the signal. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/lines.h"
#include "client/cli/progress.h"
#include "client/cli/resume.h"
#include "client/cli/stop.h"
#include "client/cli/text.h"
#include "common/base/crc32c.h"
#include "common/base/hashmap.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/disk.h"

#define OUTSTANDING 256u
#define OUTSTANDING_MAX 32768u
#define DEADLINE_MS 30000u /* of one put: longer than an election and a restart */
#define TAKE 256
#define WAIT_MS 200u                     /* so soon a signal is seen */
#define STOP_NS (2000 * CLOCK_NS_PER_MS) /* after a signal, what is out gets this long */
#define ERRORS_SAID_MAX 10
#define RESUME_NS (20 * CLOCK_NS_PER_MS)
#define BUSY_BITS 18
#define LINE_BYTES_MAX (4 * ((size_t)LIMIT_KEY_BYTES + LIMIT_VALUE_BYTES) + 1) /* every byte escaped */

enum slot_state { SLOT_OUT, SLOT_DONE, SLOT_FAILED };

struct slot { /* one line that is out, in a ring in the order of the input */
    enum slot_state state;
    uint64_t line, offset_after, bytes, busy;
    uint32_t crc;
};

struct load {
    struct cli *c;
    struct lines *input;
    struct hf_queue *queue;
    struct progress progress;
    uint32_t outstanding, outstanding_max, deadline_ms;
    uint64_t rate, begin_ns, sent;
    uint64_t loaded, failed, unknown;
    uint64_t line;       /* number of the line read last, */
    uint64_t line_bytes; /* its bytes in the input */
    uint32_t line_crc;
    uint64_t fruitless; /* puts that failed since the last that did not */
    uint64_t said;
    int worst;           /* exit code of the first failure */
    struct resume place; /* everything before is acknowledged */
    bool stuck;          /* the line at `place` failed: it moves no more */
    uint64_t saved_ns, saved_records;
    struct slot *ring; /* of ring_size; head is the oldest line not passed by `place` */
    uint32_t ring_size, head, used;
    uint16_t *busy; /* lines out per hash of their key */
    uint8_t *decoded;
};

static void say(struct load *l, uint64_t line, int code, const char *what)
{
    if (l->said++ >= ERRORS_SAID_MAX)
        return;
    progress_clear(&l->progress);
    (void)cli_error(l->c, code, "load: line %" PRIu64 ": %s%s", line, what,
                    l->said == ERRORS_SAID_MAX ? " (further failures are counted, not shown)" : "");
}

static void save_place(struct load *l, uint64_t now_ns, bool force)
{
    if (!l->c->resume || (!force && (now_ns - l->saved_ns < RESUME_NS || l->saved_records == l->place.records)))
        return;
    l->saved_ns = now_ns;
    l->saved_records = l->place.records;
    int rc = resume_write(l->c->resume, &l->place);
    if (rc)
        say(l, l->place.lines, rc, "the place for --resume could not be written");
}

/* ---- answers ---- */

static void move_place(struct load *l)
{
    while (l->used > 0 && l->ring[l->head].state != SLOT_OUT) {
        const struct slot *s = &l->ring[l->head];
        l->stuck |= s->state == SLOT_FAILED;
        if (!l->stuck)
            l->place = (struct resume){l->place.records + 1, s->offset_after, s->line, s->bytes, s->crc};
        l->head = (l->head + 1) % l->ring_size;
        l->used--;
    }
}

static void not_loaded(struct load *l, struct slot *s, int code, const char *message)
{
    bool unknown = hf_error_class(code) == HF_CLASS_OUTCOME_UNKNOWN;
    s->state = SLOT_FAILED;
    l->unknown += unknown;
    l->failed += !unknown;
    l->fruitless++;
    if (!l->worst || unknown)
        l->worst = (int)cli_exit_of(code);
    say(l, s->line, code, message);
}

static void answered(struct load *l, struct hf_future *f)
{
    struct slot *s = hf_future_tag(f);
    int code = hf_future_poll(f);
    l->outstanding--;
    l->busy[s->busy]--;
    if (code == HF_OK) {
        s->state = SLOT_DONE;
        l->loaded++;
        l->fruitless = 0;
    } else {
        not_loaded(l, s, code, hf_future_message(f));
    }
    hf_future_free(f);
}

/* Takes what is finished; waits up to wait_ms for the first. */
static void collect(struct load *l, uint32_t wait_ms)
{
    struct hf_future *finished[TAKE];
    size_t n = hf_queue_take(l->queue, wait_ms, finished, TAKE);
    for (size_t i = 0; i < n; i++)
        answered(l, finished[i]);
    move_place(l);
    uint64_t now_ns = clock_boot_ns();
    save_place(l, now_ns, false);
    progress_show(&l->progress, now_ns, l->loaded, lines_offset(l->input), lines_size(l->input));
}

/* ---- lines ---- */

static bool decode(const struct load *l, struct slice line, struct hf_bytes *key, struct hf_bytes *value)
{
    const uint8_t *tab = memchr(line.data, '\t', line.size);
    if (!tab)
        return false;
    struct slice parts[2] = {slice_make(line.data, (size_t)(tab - line.data)),
                             slice_make(tab + 1, line.size - (size_t)(tab - line.data) - 1)};
    if (memchr(parts[1].data, '\t', parts[1].size))
        return false;
    bool (*read)(struct slice, uint8_t *, size_t *) = l->c->hex ? text_unhex : text_unescape;
    size_t key_size, value_size;
    if (!read(parts[0], l->decoded, &key_size) || !read(parts[1], l->decoded + key_size, &value_size))
        return false;
    *key = (struct hf_bytes){l->decoded, key_size};
    *value = (struct hf_bytes){l->decoded + key_size, value_size};
    return true;
}

/* NULL: a signal came. */
static struct slot *slot_for_line(struct load *l)
{
    while (l->used == l->ring_size && !stop_asked())
        collect(l, WAIT_MS);
    if (stop_asked())
        return NULL;
    struct slot *s = &l->ring[(l->head + l->used++) % l->ring_size];
    *s = (struct slot){.state = SLOT_OUT,
                       .line = l->line,
                       .offset_after = lines_offset(l->input),
                       .bytes = l->line_bytes,
                       .crc = l->line_crc};
    return s;
}

/* With --rate: not before this line's turn. */
static void wait_for_turn(struct load *l)
{
    if (l->rate == 0)
        return;
    uint64_t due_ns = l->begin_ns + l->sent * UINT64_C(1000000000) / l->rate;
    for (uint64_t now; (now = clock_boot_ns()) < due_ns && !stop_asked();) {
        uint64_t ms = (due_ns - now) / CLOCK_NS_PER_MS + 1;
        collect(l, ms < WAIT_MS ? (uint32_t)ms : WAIT_MS);
    }
}

/* Room for one more, and no line with the same key out. False: a signal came first. */
static bool wait_for_room(struct load *l, const struct slot *s)
{
    while ((l->outstanding >= l->outstanding_max || l->busy[s->busy] > 0) && !stop_asked())
        collect(l, WAIT_MS);
    return !stop_asked();
}

static void put(struct load *l, struct slot *s, struct hf_bytes key, struct hf_bytes value)
{
    s->busy = hashmap_hash_bytes(key.data ? key.data : "", key.size) >> (64 - BUSY_BITS);
    wait_for_turn(l);
    if (!wait_for_room(l, s)) {
        l->used--; /* never sent, as the rest of the input */
        return;
    }
    struct hf_call call = {.deadline_ms = l->deadline_ms, .queue = l->queue, .tag = s};
    struct hf_future *f;
    int rc;
    while ((rc = hf_put_async(l->c->h, key, value, 0, &call, &f)) == HF_E_BUSY && l->outstanding > 0)
        collect(l, WAIT_MS); /* too many bytes out */
    l->sent++;
    if (rc) {
        char text[160];
        snprintf(text, sizeof text, "the key has %zu bytes, the limit is %u; the value %zu, the limit is %u", key.size,
                 (unsigned)LIMIT_KEY_BYTES, value.size, (unsigned)LIMIT_VALUE_BYTES);
        not_loaded(l, s, rc, rc == HF_E_LIMIT ? text : hf_error_text(rc));
        return;
    }
    l->outstanding++;
    l->busy[s->busy]++;
}

static enum lines_result next_line(struct load *l, struct slice *out_line)
{
    uint64_t begin = lines_offset(l->input);
    enum lines_result result = lines_next(l->input, out_line);
    l->line_bytes = lines_offset(l->input) - begin;
    l->line_crc = result == LINES_LINE ? crc32c(0, out_line->data, out_line->size) : 0;
    return result;
}

/* Every line of the input. HF_OK, or an exit code after saying why it stopped. */
static int feed(struct load *l)
{
    uint64_t fruitless_max = 2 * (uint64_t)l->outstanding_max;
    while (l->fruitless < fruitless_max) {
        struct slice line;
        struct hf_bytes key, value;
        enum lines_result result = next_line(l, &line);
        if (result == LINES_END || stop_asked())
            return HF_OK;
        if (result == LINES_ERROR)
            return cli_error(l->c, HF_E_IO, "load: cannot read the input after line %" PRIu64 ": %s", l->line,
                             strerror(errno));
        l->line++;
        struct slot *s = slot_for_line(l);
        if (!s)
            return HF_OK;
        if (result == LINES_TOO_LONG)
            not_loaded(l, s, HF_E_LIMIT, "longer than a key and a value may be");
        else if (!decode(l, line, &key, &value))
            not_loaded(l, s, HF_E_INVALID, "malformed: one key TAB value a line, with the escapes of dump");
        else
            put(l, s, key, value);
    }
    return cli_error(l->c, HF_E_UNAVAILABLE, "load: stopped at line %" PRIu64 ": the last %" PRIu64 " puts all failed",
                     l->line, l->fruitless);
}

/* Waits for what is out; after a signal not for long, and what is not answered then may have been done. */
static void drain(struct load *l)
{
    uint64_t stopped_ns = 0;
    while (l->outstanding > 0) {
        collect(l, WAIT_MS);
        uint64_t now_ns = clock_boot_ns();
        stopped_ns = stop_asked() && stopped_ns == 0 ? now_ns : stopped_ns;
        if (stopped_ns != 0 && now_ns - stopped_ns > STOP_NS)
            break;
    }
    collect(l, 0);
    l->unknown += l->outstanding;
    if (l->outstanding > 0)
        l->worst = CLI_UNKNOWN;
}

/* ---- the run ---- */

/* To the place that --resume names: behind a line that is the one that was loaded last. */
static int go_on(struct load *l)
{
    const char *file = l->c->resume;
    int rc = resume_read(file, &l->place);
    if (rc != HF_OK && rc != HF_E_ABSENT)
        return cli_error(l->c, rc, "load: %s is no place to resume from: %s; remove it to load everything", file,
                         hf_error_text(rc));
    if (!lines_skip(l->input, l->place.offset - l->place.last_bytes))
        return cli_error(l->c, HF_E_REFUSED,
                         "load: %s says %" PRIu64 " bytes of the input are loaded, but it is shorter", file,
                         l->place.offset);
    struct slice line;
    if (l->place.last_bytes > 0 && (next_line(l, &line) != LINES_LINE || lines_offset(l->input) != l->place.offset ||
                                    l->line_crc != l->place.last_crc))
        return cli_error(l->c, HF_E_REFUSED,
                         "load: %s is the place of another input, or the input was changed: its line %" PRIu64
                         " is not the one that was loaded; remove the file to load everything",
                         file, l->place.lines);
    l->line = l->place.lines;
    rc = resume_write(file, &l->place); /* better now than after the first record */
    return rc ? cli_error(l->c, HF_E_REFUSED, "load: cannot write %s: %s", file, disk_error_text(rc)) : HF_OK;
}

static int open_input(struct load *l)
{
    const char *path = l->c->arguments[0].text;
    l->input = lines_open(path, LINE_BYTES_MAX);
    if (!l->input)
        return cli_error(l->c, HF_E_INVALID, "load: cannot open %s: %s", path, strerror(errno));
    return l->c->resume ? go_on(l) : HF_OK;
}

static int prepare(struct load *l)
{
    struct cli *c = l->c;
    l->outstanding_max = c->outstanding ? (uint32_t)c->outstanding : OUTSTANDING;
    l->deadline_ms = c->timeout_given ? c->timeout_ms : DEADLINE_MS;
    l->rate = c->rate;
    int rc = open_input(l);
    if (rc)
        return rc;
    rc = cli_open(c);
    if (rc)
        return rc;
    if (hf_queue_open(c->h, &l->queue) != HF_OK)
        return cli_error(c, HF_E_NO_MEMORY, NULL);
    l->ring_size = 4 * l->outstanding_max;
    l->ring = calloc(l->ring_size, sizeof *l->ring);
    l->busy = calloc((size_t)1 << BUSY_BITS, sizeof *l->busy);
    l->decoded = malloc(LINE_BYTES_MAX);
    must(l->ring && l->busy && l->decoded);
    l->begin_ns = clock_boot_ns();
    progress_start(&l->progress, l->begin_ns);
    return HF_OK;
}

int load_run(struct cli *c)
{
    struct load l = {.c = c};
    if (c->outstanding > OUTSTANDING_MAX)
        return cli_usage(c, "--outstanding is at most %u", OUTSTANDING_MAX);
    int rc = prepare(&l);
    if (rc == HF_OK) {
        stop_on_signals();
        rc = feed(&l);
        drain(&l);
        save_place(&l, clock_boot_ns(), true);
        progress_end(&l.progress);
        printf(c->json ? "{\"loaded\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"unknown\":%" PRIu64 "}\n"
                       : "loaded %" PRIu64 " failed %" PRIu64 " unknown %" PRIu64 "\n",
               l.loaded, l.failed, l.unknown);
        if (stop_asked())
            (void)cli_error(c, HF_E_CLOSED, "load: stopped by a signal at line %" PRIu64 "%s", l.line,
                            c->resume ? "; the same command goes on" : "");
        rc = cli_flush_done(c, l.worst ? l.worst : rc);
        stop_end(); /* does not return after a signal */
    }
    hf_queue_free(l.queue);
    lines_close(&l.input);
    free(l.ring);
    free(l.busy);
    free(l.decoded);
    return rc;
}
