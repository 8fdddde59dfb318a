/* cli.h: what the commands of `holdfast` share: the settings of a run, its arguments, how it says what went wrong.
 *
 * Position: main.c fills it and calls one command; a command returns the exit code. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/arena.h"
#include "common/base/error.h"
#include "common/base/must.h"
#include "common/base/slice.h"

#include "client/include/holdfast/holdfast.h"

#define CLI_ARGUMENTS_MAX 8
#define CLI_WITHOUT_MAX 256
#define CLI_TIMEOUT_MS 5000u
#define CLI_AT_NONE HF_AT_FRESH
#define CLI_COORDINATOR "tcp://127.0.0.1:7400"

enum cli_exit {
    CLI_OK = 0,
    CLI_NOT_FOUND = 1, /* or compare failed */
    CLI_USAGE = 2,
    CLI_NOT_DONE = 3, /* surely not done */
    CLI_CONFLICT = 4,
    CLI_UNKNOWN = 5,
    CLI_REFUSED = 6,
    CLI_DEGRADED = 7,
};

struct cli_argument {
    const char *text; /* NULL: --absent stood here */
};

struct cli {
    const char *program; /* argv[0] */
    const char *endpoints;
    uint32_t timeout_ms;
    bool timeout_given, json, hex, routed;
    /* Of single commands. */
    const char *prefix, *resume;
    uint64_t ttl_ms, limit, rate, outstanding, shard, retry;
    uint64_t at, above; /* timestamps; at: CLI_AT_NONE when --at was not given */
    bool reverse, keys_only, watch, yes, detach;
    const char *to; /* migrate, as the next three */
    uint64_t soak, max_parallel;
    const char *without[CLI_WITHOUT_MAX];
    size_t without_count;
    struct cli_argument arguments[CLI_ARGUMENTS_MAX];
    int count;
    struct hf *h;       /* opened by cli_open */
    struct arena arena; /* of the run */
};

/* HF_OK, or CLI_USAGE after saying which of -c is no endpoint to connect to. */
HF_CHECKED int cli_check_endpoints(const struct cli *c);
/* HF_OK or an exit code: the handle is open, or the error was said. */
HF_CHECKED int cli_open(struct cli *c);
/* Says `code` (on stderr; with --json as {"error":{…}}) and returns its exit code. message NULL: the code's text. */
int cli_error(const struct cli *c, int code, const char *format, ...) HF_PRINTF(3, 4);
int cli_usage(const struct cli *c, const char *format, ...) HF_PRINTF(2, 3);
enum cli_exit cli_exit_of(int code);

/* Argument i as bytes (with --hex: decoded into c->arena). False: said, exit 2. */
HF_CHECKED bool cli_bytes(struct cli *c, const char *text, struct hf_bytes *out);
struct cli_range {
    uint64_t min, max;
};

/* A decimal or 0x number in `range`. False: said, exit 2. */
HF_CHECKED bool cli_number(const struct cli *c, const char *what, const char *text, struct cli_range range,
                           uint64_t *out);
/* A request failed: its message, and, when nobody was reached, who was asked. */
int cli_failed(const struct cli *c, int code, const char *message);
/* Opens the handle if need be. A timestamp of one moment in all shards; HF_OK with 0: the groups' feature level has none, which
 * was said. Else an exit code after saying why there is none, and `hint`. */
int cli_cut(struct cli *c, const char *hint, uint64_t *out_timestamp);

/* A read at timestamp `at` failed (0: of the latest). `above`: what HF_E_RESTART_ABOVE said. */
int cli_failed_at(const struct cli *c, int code, const char *message, uint64_t at, uint64_t above);
/* One line on stderr: not an error, the command goes on. */
void cli_warn(const struct cli *c, const char *format, ...) HF_PRINTF(2, 3);
/* Nobody told the routes. */
int cli_no_routes(const struct cli *c);
/* The routes know of no such shard. */
int cli_no_shard(const struct cli *c, uint64_t shard);

/* The output of a command that only reads: stdout could not take everything: said, exit 3. When its reader went away
 * (| head) the process ends by SIGPIPE without a word. */
HF_CHECKED int cli_flush(const struct cli *c, int exit_code);
/* Of one that changed something: its exit code tells what became of that, whatever became of its output. */
HF_CHECKED int cli_flush_done(const struct cli *c, int exit_code);

static inline struct slice cli_slice(struct hf_bytes b)
{
    return slice_make(b.data, b.size);
}

/* keys.c */
int keys_put(struct cli *c);
int keys_get(struct cli *c);
int keys_del(struct cli *c);
int keys_cas(struct cli *c);
int keys_delprefix(struct cli *c);
int keys_timestamp(struct cli *c);
/* pages.c */
int pages_scan(struct cli *c);
int pages_dump(struct cli *c);
void pages_print_item(FILE *to, const struct cli *c, const struct hf_item *item);
/* The first key after all that begin with `prefix`; empty when there is none. In c->arena. */
struct hf_bytes pages_prefix_end(struct cli *c, struct hf_bytes prefix);
/* txn.c */
int txn_run(struct cli *c);
/* load.c */
int load_run(struct cli *c);
/* cluster.c */
int cluster_status(struct cli *c);
int cluster_members(struct cli *c);
int cluster_routes(struct cli *c);
/* For a command that does something to the cluster: calls `act` with its status, which has routes and is there until `act`
 * returns. The exit code is what `act` returned, or of why it was not called, which was said. */
struct admin;
struct hf_cluster_status;
typedef int cluster_act_fn(struct cli *c, struct admin *a, const struct hf_cluster_status *s, const void *ctx);
int cluster_act(struct cli *c, cluster_act_fn *act, const void *ctx);
/* transfer.c */
int transfer_leader(struct cli *c);
/* clock.c */
int clock_accept_run(struct cli *c);
/* migrate.c */
int migrate_plan(struct cli *c);
int migrate_start(struct cli *c);
int migrate_status(struct cli *c);
int migrate_pause(struct cli *c);
int migrate_resume(struct cli *c);
int migrate_abort(struct cli *c);
int migrate_finalize(struct cli *c);
/* snapshot.c */
int snapshot_run(struct cli *c);
/* verify.c */
int verify_run(struct cli *c);
/* backup.c */
int backup_create(struct cli *c);
int backup_verify(struct cli *c);
/* restore.c */
int restore_run(struct cli *c);
/* bootstrap.c */
int bootstrap_run(struct cli *c);
/* inspect.c */
int inspect_run(struct cli *c);
