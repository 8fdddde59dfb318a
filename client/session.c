/* session.c: see session.h. */
#include "client/session.h"

#include <stdlib.h>

#include "common/base/must.h"

#define WINDOW ((uint64_t)LIMIT_SESSION_WINDOW)

static void session_check(const struct session *s)
{
    must(s->done_below <= s->next_seq);
    must(s->next_seq <= s->done_below + WINDOW);
}

struct session *session_new(uint64_t id)
{
    struct session *s = calloc(1, sizeof *s);
    if (s)
        *s = (struct session){.id = id, .next_seq = 1, .done_below = 1, .refs = 1};
    return s;
}

void session_unref(struct session **s)
{
    if (*s && --(*s)->refs == 0)
        free(*s);
    *s = NULL;
}

bool session_room(const struct session *s)
{
    return s->next_seq < s->done_below + WINDOW;
}

uint64_t session_take(struct session *s)
{
    must(session_room(s));
    s->refs++;
    return s->next_seq++;
}

static uint64_t *word(struct session *s, uint64_t seq)
{
    return &s->done[seq % WINDOW / 64];
}

static uint64_t bit(uint64_t seq)
{
    return UINT64_C(1) << (seq % 64);
}

void session_done(struct session **owner, uint64_t seq)
{
    struct session *s = *owner;
    must(seq >= s->done_below && seq < s->next_seq);
    *word(s, seq) |= bit(seq);
    while (s->done_below < s->next_seq && (*word(s, s->done_below) & bit(s->done_below))) {
        *word(s, s->done_below) &= ~bit(s->done_below);
        s->done_below++;
    }
    session_check(s);
    session_unref(owner);
}
