/* main.c: holdfast-shard: one process, one replica. Options, life and death; the work is in replica and front. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/endpoint.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/connections.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "common/sys/http.h"
#include "common/sys/metrics.h"
#include "common/sys/net.h"
#include "common/sys/options.h"
#include "common/sys/signals.h"
#include "shard/server/backup_file.h"
#include "shard/server/fresh.h"
#include "shard/server/front.h"
#include "shard/server/inspect.h"
#include "shard/server/request.h"

#define CLIENT_HWM 16384 /* replies a client may leave unread */
#define SNAPSHOT_RATE_MIN (128u * 1024)
#define EXIT_USAGE 2
#define EXIT_REFUSED 6

struct options {
    const char *dir, *raft_endpoint, *raft_listen, *client_endpoint, *client_listen, *http_endpoint, *engine, *cluster,
        *fsm_sync_mode, *log_level, *inspect, *backup_head, *backup_read, *snapshot_endpoint, *snapshot_listen,
        *cold_start;
    uint64_t shard, replica, segment_bytes, fsm_cache_bytes, fsm_buffer_bytes, snapshot_entries, snapshot_log_bytes,
        snapshot_trailing, replay_budget, snapshot_rate, snapshot_keep, retention_seconds;
    bool insecure, json;
};

static struct metric build[] = {{"holdfast_build_info", "program=\"holdfast-shard\",version=\"" HF_VERSION "\"",
                                 "1; the program and its version are labels", METRIC_GAUGE, 1}};

#define O(field) offsetof(struct options, field)
static const struct option_spec specs[] = {
    {"dir", OPTION_TEXT, O(dir), NULL, 0, 0, "the replica's directory; made when absent"},
    {"shard", OPTION_UINT, O(shard), NULL, 1, UINT32_MAX, "number of the group, from 1"},
    {"replica", OPTION_UINT, O(replica), NULL, 1, UINT32_MAX, "number of the replica in its group, from 1"},
    {"raft-endpoint", OPTION_TEXT, O(raft_endpoint), NULL, 0, 0,
     "where other replicas reach this one (tcp://host:port)"},
    {"raft-listen", OPTION_TEXT, O(raft_listen), NULL, 0, 0,
     "address to listen on for replicas, where it is not --raft-endpoint (a name, a port forwarded)"},
    {"client-endpoint", OPTION_TEXT, O(client_endpoint), NULL, 0, 0, "where clients and the coordinator reach it"},
    {"client-listen", OPTION_TEXT, O(client_listen), NULL, 0, 0, "address to listen on for clients, likewise"},
    {"http-endpoint", OPTION_TEXT, O(http_endpoint), NULL, 0, 0,
     "host:port of /metrics, /healthz, /readyz; unset: none"},
    {"engine", OPTION_TEXT, O(engine), NULL, 0, 0, "consensus engine of a fresh directory (native)"},
    {"cluster", OPTION_TEXT, O(cluster), NULL, 0, 0, "expected cluster id (16 hex digits); another is refused"},
    {"fsm-sync-mode", OPTION_TEXT, O(fsm_sync_mode), "nosync", 0, 0,
     "nosync: the raft log is the log; sync: RocksDB's too"},
    {"log-segment-bytes", OPTION_BYTES, O(segment_bytes), "64MiB", 4096, 1ull << 32, "size of a raft log segment"},
    {"fsm-cache-bytes", OPTION_BYTES, O(fsm_cache_bytes), "64MiB", 0, 0, "block cache of the state machine"},
    {"fsm-buffer-bytes", OPTION_BYTES, O(fsm_buffer_bytes), "16MiB", 65536, 1ull << 32,
     "write buffer of the state machine"},
    {"snapshot-entries", OPTION_UINT, O(snapshot_entries), "100000", 0, 0,
     "move the snapshot pointer after so many entries; 0: never for this reason"},
    {"snapshot-log-bytes", OPTION_BYTES, O(snapshot_log_bytes), "64MiB", 0, 0,
     "likewise after so many bytes of log; what is kept for followers is no more than this"},
    {"snapshot-trailing-entries", OPTION_UINT, O(snapshot_trailing), "10000", 0, 0,
     "entries kept in the log behind the pointer for followers that are a little late"},
    {"replay-budget", OPTION_BYTES, O(replay_budget), "16MiB", 0, 0,
     "log a restart may have to replay: at half of it a flush begins, at all of it writes wait; 0: no limit"},
    {"snapshot-endpoint", OPTION_TEXT, O(snapshot_endpoint), NULL, 0, 0,
     "where other replicas fetch this one's state; unset: the host of --raft-endpoint, the port that is listened on"},
    {"snapshot-listen", OPTION_TEXT, O(snapshot_listen), NULL, 0, 0,
     "address to listen on for that; unset: the host of --raft-listen, any free port"},
    {"snapshot-rate", OPTION_BYTES, O(snapshot_rate), "0", 0, 0,
     "bytes a second at which states are sent to others; 0: no limit"},
    {"snapshot-keep", OPTION_UINT, O(snapshot_keep), "0", 0, 100,
     "so many whole states are kept in snapshots/, for a restore without other replicas"},
    {"retention-seconds", OPTION_UINT, O(retention_seconds), "600", 1, 1000000000,
     "how far back in time can be read; older timestamps are refused"},
    {"cold-start", OPTION_TEXT, O(cold_start), "skip", 0, 0,
     "skip: go on from the state machine that is there; restore: always fetch or read a whole state first"},
    {"log-level", OPTION_TEXT, O(log_level), "info", 0, 0, "debug, info, warn or error"},
    {"insecure", OPTION_FLAG, O(insecure), NULL, 0, 0, "allow endpoints beyond loopback without keys"},
    {"inspect", OPTION_TEXT, O(inspect), NULL, 0, 0, "print what a directory nobody runs holds, and exit"},
    {"backup-head", OPTION_TEXT, O(backup_head), NULL, 0, 0, "check a backup and tell what it is, packed, and exit"},
    {"backup-read", OPTION_TEXT, O(backup_read), NULL, 0, 0, "likewise, and all its records"},
    {"json", OPTION_FLAG, O(json), NULL, 0, 0, "with --inspect: as JSON; with --backup-head, --backup-read: errors"},
};
#undef O

static int usage(const char *what)
{
    fprintf(stderr, "holdfast-shard: %s; see --help\n", what);
    return EXIT_USAGE;
}

static int wrong(const char *option, const char *value, const char *accepted)
{
    fprintf(stderr, "holdfast-shard: --%s %s: %s; see --help\n", option, value, accepted);
    return EXIT_USAGE;
}

struct door { /* where others come in: what they are told, and where this process listens */
    const char *name, *endpoint, *listen_name, *listen;
};
enum { RAFT, CLIENT, SNAPSHOT, DOORS };

static bool same_address(const char *a, const char *b)
{
    size_t size = strlen(a);
    return strcmp(a, b) == 0 && !(size > 2 && strcmp(a + size - 2, ":*") == 0);
}

static int check_forms(const struct options *o, const struct door doors[DOORS])
{
    for (size_t i = 0; i < DOORS; i++) {
        const struct door *d = &doors[i];
        struct slice endpoint = slice_text(d->endpoint);
        if (i == SNAPSHOT ? !endpoint_to_listen(endpoint) : !endpoint_to_connect(endpoint))
            return wrong(d->name, d->endpoint, "this is no endpoint: it takes " ENDPOINT_FORM);
        if (!endpoint_to_listen(slice_text(d->listen)))
            return wrong(d->listen_name, d->listen, "this is no endpoint: it takes " ENDPOINT_FORM);
    }
    if (o->http_endpoint && !endpoint_http(slice_text(o->http_endpoint)))
        return wrong("http-endpoint", o->http_endpoint, "this is no address: it takes " ENDPOINT_HTTP_FORM);
    return 0;
}

static int check_endpoints(const struct options *o)
{
    const struct door doors[DOORS] = {
        [RAFT] = {"raft-endpoint", o->raft_endpoint, "raft-listen", o->raft_listen},
        [CLIENT] = {"client-endpoint", o->client_endpoint, "client-listen", o->client_listen},
        [SNAPSHOT] = {"snapshot-endpoint", o->snapshot_endpoint, "snapshot-listen", o->snapshot_listen}};
    int rc = check_forms(o, doors);
    if (rc)
        return rc;
    for (size_t i = 1; i < DOORS; i++)
        for (size_t j = 0; j < i; j++)
            if (same_address(doors[i].listen, doors[j].listen) || same_address(doors[i].endpoint, doors[j].endpoint)) {
                char text[128];
                snprintf(text, sizeof text,
                         "with --%s this is one address; replicas, clients and states that are fetched need one each",
                         doors[j].name);
                return wrong(doors[i].name, doors[i].endpoint, text);
            }
    for (size_t i = 0; i < DOORS && !o->insecure; i++)
        if (!endpoint_loopback(doors[i].listen))
            refuse("--%s %s: endpoints beyond loopback need keys; without them --insecure must say so",
                   doors[i].listen == doors[i].endpoint ? doors[i].name : doors[i].listen_name, doors[i].listen);
    if (o->http_endpoint && !o->insecure && !endpoint_http_loopback(o->http_endpoint))
        refuse("--http-endpoint %s: whoever reaches it reads it; beyond loopback --insecure must say so",
               o->http_endpoint);
    return 0;
}

static bool is_cluster(const char *text)
{
    return strlen(text) == 16 && strspn(text, "0123456789abcdefABCDEF") == 16 && strspn(text, "0") < 16;
}

/* Its number, or -1. */
static int level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

static int check_options(const struct options *o)
{
    if (!o->dir || !o->dir[0])
        return usage("--dir is missing");
    if (strlen(o->dir) > LIMIT_TEXT_BYTES - 256)
        return usage("--dir is too long");
    if (!o->shard || !o->replica)
        return usage("--shard and --replica are needed");
    if (!o->raft_endpoint || !o->client_endpoint)
        return usage("--raft-endpoint and --client-endpoint are needed");
    if (o->snapshot_rate && o->snapshot_rate < SNAPSHOT_RATE_MIN)
        return usage("--snapshot-rate takes 0 (no limit) or 128KiB at least: what is slower counts as silent");
    if (strcmp(o->fsm_sync_mode, "nosync") != 0 && strcmp(o->fsm_sync_mode, "sync") != 0)
        return usage("--fsm-sync-mode takes nosync or sync");
    if (strcmp(o->cold_start, "skip") != 0 && strcmp(o->cold_start, "restore") != 0)
        return usage("--cold-start takes skip or restore");
    if (o->engine && !engine_find(o->engine)) {
        fprintf(stderr, "holdfast-shard: --engine %s: this program does not have it; it has %s\n", o->engine,
                engine_names());
        return EXIT_USAGE;
    }
    if (o->cluster && !is_cluster(o->cluster))
        return wrong("cluster", o->cluster, "it takes 16 hexadecimal digits, not all 0");
    if (level_of(o->log_level) < 0)
        return wrong("log-level", o->log_level, "it takes debug, info, warn or error");
    return check_endpoints(o);
}

static void open_directory(struct directory *d, const struct options *o)
{
    struct directory_config config = {.disk = disk_posix(),
                                      .dir = o->dir,
                                      .group = (uint32_t)o->shard,
                                      .replica = (uint32_t)o->replica,
                                      .engine = o->engine,
                                      .cluster = o->cluster ? strtoull(o->cluster, NULL, 16) : 0,
                                      .raft_endpoint = o->raft_endpoint,
                                      .client_endpoint = o->client_endpoint,
                                      .raft_listen = o->raft_listen,
                                      .segment_bytes = o->segment_bytes};
    config.force_restore = strcmp(o->cold_start, "restore") == 0;
    config.keep_streams = (uint32_t)o->snapshot_keep;
    config.fsm.sync_writes = strcmp(o->fsm_sync_mode, "sync") == 0;
    config.fsm.cache_bytes = o->fsm_cache_bytes;
    config.fsm.buffer_bytes = o->fsm_buffer_bytes;
    directory_open(d, &config);
}

/* The same host at any free port; of ipc, a socket beside. */
static const char *beside(const char *endpoint, char out[LIMIT_TEXT_BYTES])
{
    const char *port = strrchr(endpoint, ':');
    bool tcp = strncmp(endpoint, "tcp://", 6) == 0 && port > endpoint + 5;
    int host = (int)(tcp ? (size_t)(port - endpoint) : strlen(endpoint));
    int n = snprintf(out, LIMIT_TEXT_BYTES, "%.*s%s", host, endpoint, tcp ? ":*" : ".snapshots");
    return n > 0 && n < LIMIT_TEXT_BYTES ? out : endpoint;
}

/* Where an endpoint is an address, it is also where to listen. */
static void set_listen(struct options *o)
{
    static char announce[LIMIT_TEXT_BYTES], listen[LIMIT_TEXT_BYTES];
    if (!o->snapshot_listen && o->snapshot_endpoint)
        o->snapshot_listen = o->snapshot_endpoint;
    if (!o->snapshot_endpoint && o->raft_endpoint)
        o->snapshot_endpoint = beside(o->raft_endpoint, announce);
    if (!o->snapshot_listen && (o->raft_listen || o->raft_endpoint))
        o->snapshot_listen = beside(o->raft_listen ? o->raft_listen : o->raft_endpoint, listen);

    if (!o->raft_listen)
        o->raft_listen = o->raft_endpoint;
    if (!o->client_listen)
        o->client_listen = o->client_endpoint;
}

static struct net_socket *listen_clients(struct net *net, const char *endpoint)
{
    struct net_options options = {
        .hwm = CLIENT_HWM, .message_bytes = REQUEST_BYTES_MAX, .connections_max = connections_init()};
    struct net_socket *socket = NULL;
    int rc = net_serve(net, endpoint, &options, &socket);
    if (rc)
        refuse("cannot listen for clients on %s (--client-listen, else --client-endpoint): %s", endpoint,
               net_listen_text(rc));
    return socket;
}

static void serve(const struct options *o, struct directory *d, struct net *net, struct net_socket *clients,
                  int signal_fd, _Atomic bool *ready, _Atomic(const char *) *unready)
{
    struct front *front = front_new(clients, d);
    struct replica_config config = {.net = net,
                                    .directory = d,
                                    .client_socket = clients,
                                    .signal_fd = signal_fd,
                                    .front = front_calls(front),
                                    .publish = {.every_entries = o->snapshot_entries,
                                                .every_bytes = o->snapshot_log_bytes,
                                                .trailing = o->snapshot_trailing,
                                                .replay_budget = o->replay_budget,
                                                .threaded = true},
                                    .snapshot_listen = o->snapshot_listen,
                                    .snapshot_endpoint = o->snapshot_endpoint,
                                    .snapshot_rate = o->snapshot_rate,
                                    .retention_ms = o->retention_seconds * 1000,
                                    .ready = ready,
                                    .unready = unready};
    struct replica *replica = replica_open(&config);
    front_attach(front, replica);
    replica_run(replica);
    replica_close(&replica);
    front_free(&front);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    if (options_parse("holdfast-shard", specs, sizeof specs / sizeof specs[0], argc, argv, false, &o, NULL))
        return EXIT_USAGE;
    if (o.inspect)
        return inspect_print(o.inspect, o.json);
    if (o.backup_head || o.backup_read)
        return backup_file_print(o.backup_head ? o.backup_head : o.backup_read, o.backup_read != NULL, o.json);
    set_listen(&o);
    int rc = check_options(&o);
    if (rc)
        return rc;
    char role[64];
    snprintf(role, sizeof role, "shard %" PRIu64 "/%" PRIu64, o.shard, o.replica);
    diag_init(role, (enum diag_level)level_of(o.log_level));
    digest_init();
    int signal_fd = signals_init();
    must(signal_fd >= 0);
    struct directory directory;
    open_directory(&directory, &o);
    struct net *net = net_new(1, 256);
    must(net);
    struct net_socket *clients = listen_clients(net, o.client_listen);
    static _Atomic bool ready;
    static _Atomic(const char *) unready;
    metrics_register(build, 1);
    struct http *http = NULL;
    if (o.http_endpoint && (rc = http_start(o.http_endpoint, &ready, NET_LISTEN_MS, &http)))
        refuse("cannot listen on --http-endpoint %s: %s", o.http_endpoint, net_listen_text(rc));
    if (http)
        http_explain(http, &unready);
    if (!directory_fresh(&directory) || fresh_wait(&directory, clients, signal_fd)) {
        directory_open_fsm(&directory);
        serve(&o, &directory, net, clients, signal_fd, &ready, &unready);
    }
    atomic_store(&ready, false);
    http_stop(&http);
    net_close(&clients);
    net_free(&net);
    directory_close(&directory);
    return 0;
}
