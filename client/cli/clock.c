/* clock.c: clock accept: an operator says that the active coordinator's wall clock is right, though it is too far ahead of
 * the cluster's time to be believed by itself. */
#include <inttypes.h>
#include <stdio.h>

#include "client/cli/active.h"
#include "client/cli/cli.h"
#include "client/cli/text.h"

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

static int ask(struct cli *c, struct admin *a)
{
    char message[ACTIVE_TEXT_BYTES];
    Hf__Client__ClockAccept body = HF__CLIENT__CLOCK_ACCEPT__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT;
    request.clock_accept = &body;
    Hf__Client__Reply *reply;
    int rc = active_ask(c, a, &request, "ask again", &reply, message);
    if (rc == HF_OK)
        rc = accepted(c, reply->clock_accepted);
    else
        rc = rc == HF_E_NOT_FOUND ? nothing(c) : cli_failed(c, rc, message);
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
    return rc;
}

int clock_accept_run(struct cli *c)
{
    int rc = cli_check_endpoints(c);
    if (rc)
        return rc;
    struct admin *a = admin_open();
    rc = a ? ask(c, a) : cli_error(c, HF_E_NO_MEMORY, NULL);
    admin_close(&a);
    return rc;
}
