/* readiness.c: see readiness.h. */
#include "shard/replica/readiness.h"

void readiness_init(struct readiness *r)
{
    *r = (struct readiness){.why = READINESS_STARTS, .at = UINT64_MAX};
}

/* What counts is what a leader says from now on. */
static void withdraw(struct readiness *r, enum readiness_why why)
{
    r->ready = false;
    r->why = why;
    r->at = UINT64_MAX;
}

void readiness_heard(struct readiness *r, uint64_t commit)
{
    r->heard = true;
    if (r->at == UINT64_MAX)
        r->at = commit;
}

void readiness_needs(struct readiness *r, uint64_t index)
{
    r->needed = index;
    withdraw(r, READINESS_NEEDS);
}

void readiness_damaged(struct readiness *r)
{
    r->needed = UINT64_MAX;
    withdraw(r, READINESS_DAMAGED);
}

void readiness_installed(struct readiness *r)
{
    r->needed = 0;
    withdraw(r, READINESS_CATCHES_UP);
}

void readiness_look(struct readiness *r, uint64_t applied, bool serving, bool led)
{
    bool caught_up = led && applied >= r->at && applied >= r->needed;
    if (r->ready || !(serving || caught_up))
        return;
    r->ready = true;
    r->needed = 0;
}

void readiness_look_at_time(struct readiness *r, bool leads, uint64_t now_ns, uint64_t limit_ns)
{
    if (r->heard || leads || !r->ready) {
        r->heard = false;
        r->led_ns = now_ns;
    } else if (now_ns - r->led_ns >= limit_ns) {
        withdraw(r, READINESS_UNLED);
    }
}

bool readiness_healing(const struct readiness *r)
{
    if (r->ready)
        return false;
    return r->why == READINESS_NEEDS || r->why == READINESS_DAMAGED || r->why == READINESS_CATCHES_UP;
}

const char *readiness_text(const struct readiness *r)
{
    if (r->ready)
        return "";
    switch (r->why) {
    case READINESS_STARTS:
        return "it starts";
    case READINESS_UNLED:
        return "no leader is heard";
    case READINESS_NEEDS:
        return "the leader's log begins too late for it, a whole state is fetched";
    case READINESS_DAMAGED:
        return "state machine damaged, it is fetched from another replica";
    case READINESS_CATCHES_UP:
        return "a state was put in place, what was committed since is applied";
    }
    return "";
}

const char *readiness_trouble(const struct readiness *r)
{
    return readiness_healing(r) ? readiness_text(r) : "";
}
