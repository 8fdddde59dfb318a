/* active.c: see active.h. */
#include "client/cli/active.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sys/clock.h"

#define CONNECT_MS 300u /* a coordinator that is down takes no message; another one forwards */

/* Another coordinator may do better: nobody has done anything. */
static bool surely_not_done(int code)
{
    enum hf_class cls = hf_error_class(code);
    return code == HF_E_TIMEOUT || cls == HF_CLASS_RETRY_SAME || cls == HF_CLASS_RETRY_ELSEWHERE;
}

static int ask_one(struct admin *a, const char *endpoint, Hf__Client__Request *request, struct admin_patience patience,
                   Hf__Client__Reply **out)
{
    struct admin_question q = {.endpoint = endpoint, .request = request};
    admin_ask(a, &q, 1, patience);
    *out = q.reply;
    return q.code == HF_OK ? q.reply->code : q.code;
}

static int ask_each(struct cli *c, struct admin *a, char *endpoints, Hf__Client__Request *request, const char *unknown,
                    Hf__Client__Reply **out, char message[ACTIVE_TEXT_BYTES])
{
    uint64_t until_ns = clock_boot_ns() + c->timeout_ms * CLOCK_NS_PER_MS;
    int code = HF_E_TIMEOUT;
    char *rest = NULL;
    snprintf(message, ACTIVE_TEXT_BYTES, "no coordinator could be reached");
    for (char *one = strtok_r(endpoints, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        uint64_t now_ns = clock_boot_ns();
        if (now_ns >= until_ns)
            break;
        struct admin_patience patience = {.deadline_ms = (uint32_t)((until_ns - now_ns) / CLOCK_NS_PER_MS),
                                          .connect_ms = *rest ? CONNECT_MS : 0};
        int rc = ask_one(a, one, request, patience, out);
        if (rc != HF_E_TIMEOUT || code == HF_E_TIMEOUT) /* what somebody said is worth more than silence */
            code = rc;
        if (*out)
            snprintf(message, ACTIVE_TEXT_BYTES, "%s: %s", one, (*out)->message);
        else if (rc == HF_E_OUTCOME_UNKNOWN)
            snprintf(message, ACTIVE_TEXT_BYTES, "%s did not answer in time; %s", one, unknown);
        if (rc == HF_OK || !surely_not_done(rc))
            return rc;
        if (*out)
            hf__client__reply__free_unpacked(*out, NULL);
        *out = NULL;
    }
    return code;
}

int active_ask(struct cli *c, struct admin *a, Hf__Client__Request *request, const char *unknown,
               Hf__Client__Reply **out, char message[ACTIVE_TEXT_BYTES])
{
    *out = NULL;
    snprintf(message, ACTIVE_TEXT_BYTES, "%s", hf_error_text(HF_E_NO_MEMORY));
    char *endpoints = strdup(c->endpoints);
    int rc = endpoints ? ask_each(c, a, endpoints, request, unknown, out, message) : HF_E_NO_MEMORY;
    free(endpoints);
    return rc;
}
