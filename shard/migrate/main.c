/* main.c: holdfast-migrate: gives the stopped members of one group another engine. Options, comparing, telling. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "common/sys/json.h"
#include "common/sys/options.h"
#include "shard/migrate/group.h"
#include "shard/migrate/member.h"

#define EXIT_USAGE 2

struct options {
    const char *to, *log;
    bool check, json;
    struct cut cut; /* of --log */
};

#define O(field) offsetof(struct options, field)
static const struct option_spec specs[] = {
    {"to", OPTION_TEXT, O(to), NULL, 0, 0, "the engine that takes over"},
    {"log", OPTION_TEXT, O(log), NULL, 0, 0,
     "INDEX:TERM, where the logs of a majority end, as --check says: for members whose directories are not here"},
    {"check", OPTION_FLAG, O(check), NULL, 0, 0, "only looks, and says whether it could be done; changes nothing"},
    {"json", OPTION_FLAG, O(json), NULL, 0, 0, "a JSON array, one object a directory"},
};

/* ---- telling ---- */

static void tell(const struct position *p, size_t i, const char *what, const char *target, bool json)
{
    char digest[2 * DIGEST_BYTES + 1];
    digest_hex(p->info->digest, DIGEST_BYTES, digest);
    if (!json) {
        printf("%" PRIu32 "/%" PRIu32 " %s: %s to %s: engine %s, log epoch %" PRIu32 ", log ends at %" PRIu64
               ":%" PRIu64 ", state at %" PRIu64 ", digest %.16s\n",
               p->id->group, p->id->replica, p->dir, what, target, p->id->engine, p->id->log_epoch, p->index, p->term,
               p->info->applied.index, digest);
        return;
    }
    printf("%s{\"shard\":%" PRIu32 ",\"replica\":%" PRIu32 ",\"dir\":\"", i ? "," : "[", p->id->group, p->id->replica);
    json_text(stdout, p->dir);
    printf("\",\"result\":\"%s\",\"engine\":\"%s\",\"log_epoch\":%" PRIu32 ",\"index\":%" PRIu64 ",\"term\":%" PRIu64
           ",\"applied\":%" PRIu64 ",\"digest\":\"%s\"}",
           what, p->id->engine, p->id->log_epoch, p->index, p->term, p->info->applied.index, digest);
}

/* ---- doing ---- */

/* What the directories say of themselves; false: one of them could not be read. */
static bool look(char **dirs, size_t count, const struct options *o, struct arena *arena, struct position *out)
{
    static struct member_look looks[LIMIT_PEERS];
    bool whole = true;
    for (size_t i = 0; i < count; i++) {
        struct member_look *l = &looks[i];
        member_look(dirs[i], arena, l);
        if (l->used)
            refuse("directory %s is in use by another process (LOCK is held); stop that process first", dirs[i]);
        if (l->trouble[0] && o->check)
            refuse("%s", l->trouble);
        whole &= l->trouble[0] == '\0';
        group_position(dirs[i], &l->id, &l->info, &l->seal, l->last, l->last_term, o->to, &out[i]);
    }
    return whole;
}

/* Can they be changed together, and where? `known`: that is known. */
static struct cut survey(const struct position *at, size_t count, const struct options *o, bool *known)
{
    group_compare(at, count, o->to);
    bool all = !group_missing(at, count);
    *known = o->log || all;
    struct cut cut = o->log ? o->cut : all ? group_cut(at, count) : (struct cut){0};
    for (size_t i = 0; o->log && i < count; i++)
        if (at[i].seal.epoch && (at[i].index != cut.index || at[i].term != cut.term))
            refuse("%s is sealed at %" PRIu64 ":%" PRIu64 ", not at %" PRIu64 ":%" PRIu64
                   " as --log says; start the replicas of shard %" PRIu32 ", they finish the change",
                   at[i].dir, at[i].index, at[i].term, cut.index, cut.term, at[i].id->group);
    if (all)
        group_stayed(at, count, cut);
    return cut;
}

static void check(char **dirs, size_t count, const struct options *o)
{
    static struct position at[LIMIT_PEERS];
    struct arena arena = {0};
    uint64_t reach = 0;
    bool known;
    (void)look(dirs, count, o, &arena, at);
    struct cut cut = survey(at, count, o, &known);
    for (size_t i = 0; i < count; i++)
        reach = at[i].index > reach ? at[i].index : reach;
    for (size_t i = 0; i < count; i++)
        if (known && !at[i].done && (reach < cut.index || at[i].info->applied.index > cut.index))
            refuse("the log of %s ends at %" PRIu64 ":%" PRIu64 ", its state at %" PRIu64
                   ": not where a majority ends, at %" PRIu64 ":%" PRIu64
                   "; start the group, let it catch up, and stop it again",
                   at[i].dir, at[i].index, at[i].term, at[i].info->applied.index, cut.index, cut.term);
    for (size_t i = 0; i < count; i++)
        tell(&at[i], i,
             at[i].done ? "changed before"
             : known    ? "can be changed"
                        : "others are missing",
             o->to, o->json);
    arena_deinit(&arena);
}

/* Opening finishes what a killed run left, and a change that was sealed: not before it is known to be the one that is asked for. */
static void refuse_untouched(char **dirs, size_t count, const struct options *o)
{
    static struct position at[LIMIT_PEERS];
    struct arena arena = {0};
    bool known;
    if (look(dirs, count, o, &arena, at)) /* else opening says more */
        (void)survey(at, count, o, &known);
    arena_deinit(&arena);
}

static void migrate(char **dirs, size_t count, const struct options *o)
{
    static struct member members[LIMIT_PEERS];
    static struct position at[LIMIT_PEERS];
    bool known;
    refuse_untouched(dirs, count, o);
    for (size_t i = 0; i < count; i++) {
        struct member *m = &members[i];
        member_open(m, dirs[i]);
        group_position(dirs[i], &m->d.id, fsm_info(m->d.fsm), &m->seal, m->last, m->last_term, o->to, &at[i]);
        m->done = at[i].done;
    }
    struct cut cut = survey(at, count, o, &known);
    if (!known)
        refuse("the directory of replica %" PRIu32 "/%" PRIu32
               " is missing; give those of all members, or --log with where the "
               "logs of a majority end, which --check says of each",
               at[0].id->group, group_missing(at, count));
    uint64_t configuration = at[0].info->members->index;
    group_same_members(at, count, configuration);
    for (size_t i = 0; i < count; i++)
        member_follow(&members[i], members, count, cut.index, cut.term);
    group_compare(at, count, o->to); /* now their states are at one index */
    group_same_members(at, count, configuration);
    for (size_t i = 0; i < count; i++) {
        member_change(&members[i], o->to);
        if (!o->json)
            tell(&at[i], i, at[i].done ? "changed before" : "changed", o->to, false);
        fflush(stdout);
    }
    for (size_t i = 0; i < count; i++) {
        if (o->json) /* an array that is whole, or nothing */
            tell(&at[i], i, at[i].done ? "changed before" : "changed", o->to, true);
        member_close(&members[i]);
    }
}

static int usage(const char *what)
{
    fprintf(stderr, "holdfast-migrate: %s (--help)\n", what);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    int rest = argc;
    if (options_parse("holdfast-migrate", specs, sizeof specs / sizeof specs[0], argc, argv, true, &o, &rest))
        return EXIT_USAGE;
    size_t count = (size_t)(argc - rest);
    if (!o.to)
        return usage("--to is needed");
    if (!engine_find(o.to)) {
        fprintf(stderr, "holdfast-migrate: --to %s: this program does not have it; it has %s\n", o.to, engine_names());
        return EXIT_USAGE;
    }
    if (count == 0 || count > LIMIT_PEERS)
        return usage("give the directories of the stopped members of one shard");
    char more;
    if (o.log && sscanf(o.log, "%" SCNu64 ":%" SCNu64 "%c", &o.cut.index, &o.cut.term, &more) != 2)
        return usage("--log takes INDEX:TERM");
    diag_init("holdfast-migrate", DIAG_WARN);
    digest_init();
    (o.check ? check : migrate)(argv + rest, count, &o);
    if (o.json)
        puts("]");
    return 0;
}
