/* clock.c: clock accept: an operator says that the active coordinator's wall clock is right, though it is too far ahead of
 * the cluster's time to be believed by itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/admin.h"
#include "client/cli/cli.h"
#include "client/cli/text.h"
#include "common/sys/clock.h"

#define CONNECT_MS 300u /* a coordinator that is down takes no message; another one forwards */

static int accepted(struct cli *c, const Hf__Client__ClockAccepted *a)
{
    char from[TEXT_TIME_BYTES], to[TEXT_TIME_BYTES];
    if (!a)
        return cli_error(c, HF_E_PROTOCOL, "the coordinator's answer does not say what it accepted");
    text_time(a->from_ms, from);
    text_time(a->to_ms, to);
    if (c->json)
        printf("{\"accepted\":true,\"coordinator\":%" PRIu32 ",\"from_ms\":%" PRIu64 ",\"to_ms\":%" PRIu64 "}\n",
               a->coordinator, a->from_ms, a->to_ms);
    else
        printf("accepted: the cluster's time was %s, coordinator %" PRIu32 " goes on from %s\n", from, a->coordinator,
               to);
    return cli_flush_done(c, CLI_OK);
}

static int nothing(struct cli *c)
{
    puts(c->json ? "{\"accepted\":false}" : "nothing to accept: the active coordinator's wall clock is believed");
    return cli_flush_done(c, CLI_OK);
}

/* One coordinator; the answer's code, or why there was none. */
static int ask(struct admin *a, const char *endpoint, struct admin_patience patience, Hf__Client__Reply **out)
{
    Hf__Client__ClockAccept body = HF__CLIENT__CLOCK_ACCEPT__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT;
    request.clock_accept = &body;
    struct admin_question q = {.endpoint = endpoint, .request = &request};
    admin_ask(a, &q, 1, patience);
    *out = q.reply;
    return q.code == HF_OK ? q.reply->code : q.code;
}

/* Another coordinator may do better: nobody has accepted anything. */
static bool surely_not_done(int code)
{
    enum hf_class cls = hf_error_class(code);
    return code == HF_E_TIMEOUT || cls == HF_CLASS_RETRY_SAME || cls == HF_CLASS_RETRY_ELSEWHERE;
}

static int ask_each(struct cli *c, struct admin *a, char *endpoints)
{
    uint64_t until_ns = clock_boot_ns() + c->timeout_ms * CLOCK_NS_PER_MS;
    int code = HF_E_TIMEOUT;
    char *rest = NULL, message[1024] = "no coordinator could be reached";
    for (char *one = strtok_r(endpoints, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        uint64_t now_ns = clock_boot_ns();
        if (now_ns >= until_ns)
            break;
        struct admin_patience patience = {.deadline_ms = (uint32_t)((until_ns - now_ns) / CLOCK_NS_PER_MS),
                                          .connect_ms = *rest ? CONNECT_MS : 0};
        Hf__Client__Reply *reply;
        int rc = ask(a, one, patience, &reply);
        bool last = rc != HF_E_TIMEOUT || code == HF_E_TIMEOUT; /* what somebody said is worth more than silence */
        if (last)
            code = rc;
        if (reply)
            snprintf(message, sizeof message, "%s: %s", one, reply->message);
        else if (rc == HF_E_OUTCOME_UNKNOWN)
            snprintf(message, sizeof message, "%s did not answer in time; ask again", one);
        if (rc == HF_OK || rc == HF_E_NOT_FOUND)
            rc = rc == HF_OK ? accepted(c, reply->clock_accepted) : nothing(c);
        else if (surely_not_done(rc))
            rc = -1;
        else
            rc = cli_error(c, rc, "%s", message);
        if (reply)
            hf__client__reply__free_unpacked(reply, NULL);
        if (rc >= 0)
            return rc;
    }
    return cli_failed(c, code, message);
}

int clock_accept_run(struct cli *c)
{
    int rc = cli_check_endpoints(c);
    if (rc)
        return rc;
    struct admin *a = admin_open();
    char *endpoints = strdup(c->endpoints);
    rc = a && endpoints ? ask_each(c, a, endpoints) : cli_error(c, HF_E_NO_MEMORY, NULL);
    free(endpoints);
    admin_close(&a);
    return rc;
}
