/* main.c: holdfast-coordinator: settings, refusals, signals; then the loop. Exit 0 after SIGTERM, 2 usage, 6 refused.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/endpoint.h"
#include "common/base/error.h"
#include "common/sys/connections.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "common/sys/http.h"
#include "common/sys/options.h"
#include "common/sys/signals.h"
#include "common/sys/unread.h"
#include "coordinator/coordinator.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"

#define EXIT_USAGE 2
#define EXIT_REFUSED 6
#define LISTEN_DEFAULT "tcp://127.0.0.1:7400"

#define FIELD(name) offsetof(struct coordinator_options, name)

static const struct option_spec specs[] = {
    {"id", OPTION_UINT, FIELD(id), "1", 1, UINT32_MAX, "number of this coordinator, one of its own for each"},
    {"listen", OPTION_TEXT, FIELD(listen), NULL, 0, 0, "where clients connect (default " LISTEN_DEFAULT ")"},
    {"endpoint", OPTION_TEXT, FIELD(endpoint), NULL, 0, 0, "the address told to others, when it is not --listen"},
    {"http-endpoint", OPTION_TEXT, FIELD(http_endpoint), "127.0.0.1:7480", 0, 0,
     "host:port of /metrics, /healthz, /readyz"},
    {"seeds", OPTION_TEXT, FIELD(seeds), NULL, 0, 0, "client endpoints of shard 1's replicas, with commas between"},
    {"request-timeout-ms", OPTION_UINT, FIELD(request_timeout_ms), "5000", 1, REQUEST_DEADLINE_MS_MAX,
     "deadline of a request that names none"},
    {"queue-max", OPTION_UINT, FIELD(queue_max), "4096", 1, LIMIT_PENDING_REQUESTS, "requests in flight for one shard"},
    {"txn-ttl-ms", OPTION_UINT, FIELD(txn_ttl_ms), TXNS_TTL_MS, 100, REQUEST_DEADLINE_MS_MAX,
     "a transaction undecided for so long may be rolled back by whoever meets it"},
    {"retain-lease-seconds", OPTION_UINT, FIELD(retain_lease_seconds), RETAIN_LEASE_SECONDS, 1, 3600,
     "how long at most a promise lasts that nothing a reader reads is collected; the same for all coordinators: a new "
     "active "
     "one lets collection stand still for so long"},
    {"insecure", OPTION_FLAG, FIELD(insecure), NULL, 0, 0, "serve in the clear beyond loopback"},
};

static int serve(const struct coordinator_options *options, int stop_fd)
{
    struct coordinator *coordinator = NULL;
    struct http *http = NULL;
    if (coordinator_open(options, &coordinator))
        return EXIT_REFUSED;
    int rc = http_start(options->http_endpoint, &coordinator->ready, NET_LISTEN_MS, &http);
    if (rc) {
        diag(DIAG_ERROR, "cannot listen: http-endpoint=%s: %s", options->http_endpoint, net_listen_text(rc));
        coordinator_close(&coordinator);
        return EXIT_REFUSED;
    }
    diag(DIAG_INFO, "serving: listen=%s http=%s seeds=%s", options->listen, options->http_endpoint, options->seeds);
    coordinator_run(coordinator, stop_fd);
    http_stop(&http);
    coordinator_close(&coordinator);
    diag(DIAG_INFO, "stopped");
    return 0;
}

int main(int argc, char **argv)
{
    struct coordinator_options options;
    int rest, stop_fd = signals_init();
    must(stop_fd >= 0);
    if (options_parse("holdfast-coordinator", specs, sizeof specs / sizeof specs[0], argc, argv, false, &options,
                      &rest))
        return EXIT_USAGE;
    if (options.seeds == NULL) {
        fprintf(stderr, "holdfast-coordinator: --seeds is required: the client endpoints of shard 1's replicas\n");
        return EXIT_USAGE;
    }
    if (options.listen == NULL)
        options.listen = options.endpoint ? options.endpoint : LISTEN_DEFAULT;
    if (!endpoint_http(slice_text(options.http_endpoint))) {
        fprintf(stderr,
                "holdfast-coordinator: --http-endpoint %s: this is no address: it takes " ENDPOINT_HTTP_FORM "\n",
                options.http_endpoint);
        return EXIT_USAGE;
    }
    if (!options.insecure && !endpoint_http_loopback(options.http_endpoint))
        refuse("coordinator --http-endpoint %s: whoever reaches it reads it; beyond loopback --insecure must say so",
               options.http_endpoint);
    if (!endpoint_loopback(options.listen) && !options.insecure)
        refuse("coordinator %s: listening beyond loopback without keys; use a loopback address or add --insecure",
               options.listen);
    char role[32];
    snprintf(role, sizeof role, "coordinator/%u", (unsigned)options.id);
    diag_init(role, DIAG_INFO);
    digest_init();
    metrics_register(counters, COUNTERS);
    unread_metrics();
    options.connections_max = connections_init();
    return serve(&options, stop_fd);
}
