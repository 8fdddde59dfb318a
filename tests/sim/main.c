/* main.c: hf_sim: runs the kept seeds and new ones, or one seed with its trace. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/sys/failpoint.h"
#include "tests/sim/seeds.h"
#include "tests/sim/world/world.h"

static const char usage[] =
    "usage: hf_sim [--seeds N] [--first S] [--jobs J] [--steps N] [--replicas N] [--no-keep] [--worlds]   "
    "kept seeds, then N new ones (--worlds: of world/)\n"
    "       hf_sim --seed S [--quiet] [--steps N] [--replicas N]                               "
    "one seed, with its trace\n"
    "       --checker NAME   only this checker        --plant NAME   with this planted bug\n"
    "       --engine NAME    native (default) or libraft\n"
    "       --migrate WHEN   worlds change engines always or never, instead of in one of three\n"
    "The first new seed is --first, or HF_SIM_FIRST of the environment, or 1.\n";

#define WORLDS_TELLING 50 /* that many have everything in them */

struct request {
    struct seeds_plan plan;
    bool one, quiet;
};

static uint64_t number(const char *text)
{
    char *end = NULL;
    uint64_t n = strtoull(text, &end, 10);
    if (end == text || *end != '\0') {
        fprintf(stderr, "hf_sim: not a number: %s\n%s", text, usage);
        exit(2);
    }
    return n;
}

/* Each engine has kept seeds of its own. */
static void use_engine(struct request *r, const char *name)
{
    r->plan.options.engine = engine_find(name);
    if (r->plan.kept_file != NULL)
        r->plan.kept_file = strcmp(name, "native") == 0 ? HF_SIM_SEEDS_FILE : HF_SIM_SEEDS_LIBRAFT_FILE;
}

static void parse(int argc, char **argv, struct request *r)
{
    static const struct option options[] = {{"seeds", 1, NULL, 'n'},    {"first", 1, NULL, 'f'},
                                            {"seed", 1, NULL, 's'},     {"steps", 1, NULL, 't'},
                                            {"replicas", 1, NULL, 'r'}, {"jobs", 1, NULL, 'j'},
                                            {"quiet", 0, NULL, 'q'},    {"no-keep", 0, NULL, 'k'},
                                            {"worlds", 0, NULL, 'w'},   {"checker", 1, NULL, 'c'},
                                            {"plant", 1, NULL, 'p'},    {"engine", 1, NULL, 'e'},
                                            {"migrate", 1, NULL, 'm'},  {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'n')
            r->plan.count = number(optarg);
        else if (c == 'f')
            r->plan.first = number(optarg);
        else if (c == 's')
            r->plan.options.seed = number(optarg), r->one = true;
        else if (c == 't')
            r->plan.options.steps = number(optarg);
        else if (c == 'r')
            r->plan.options.replicas = (uint32_t)number(optarg);
        else if (c == 'j')
            r->plan.jobs = (unsigned)number(optarg);
        else if (c == 'q')
            r->quiet = true;
        else if (c == 'k')
            r->plan.kept_file = NULL;
        else if (c == 'w')
            r->plan.worlds_only = true;
        else if (c == 'c' && (checks_known(optarg) || world_knows(optarg)))
            r->plan.options.only = optarg;
        else if (c == 'e' && engine_find(optarg) != NULL)
            use_engine(r, optarg);
        else if (c == 'm' && (strcmp(optarg, "always") == 0 || strcmp(optarg, "never") == 0))
            r->plan.options.migrate = optarg[0] == 'a' ? SIM_MIGRATE_ALWAYS : SIM_MIGRATE_NEVER,
            r->plan.kept_file = NULL;
        else if (c == 'p')
            failpoint_plant(optarg), r->plan.kept_file = NULL;
        else {
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (optind != argc || r->plan.jobs < 1 || r->plan.jobs > 64 || r->plan.options.replicas > 7) {
        fputs(usage, stderr);
        exit(2);
    }
}

static void print_counts(const struct sim_result *r)
{
    printf("virtual seconds %.1f  steps %" PRIu64 "  turns %" PRIu64 "  writes %" PRIu64 "  reads %" PRIu64 " (%" PRIu64
           " by lease)  leaders %" PRIu64 "  deaths %" PRIu64 "  changes applied %" PRIu64 "  installed %" PRIu64
           " (%" PRIu64 " logs anew)  logs rebuilt %" PRIu64 " (%" PRIu64 " complete again)\n",
           (double)r->virtual_ns / 1e9, r->steps, r->turns, r->writes_done, r->reads_done, r->lease_reads, r->elections,
           r->deaths, r->changes, r->installs, r->restarts, r->rebuilt, r->recovered);
}

static void print_world_counts(const struct sim_result *r)
{
    printf("worlds: pointers published %" PRIu64 "  logs cut %" PRIu64 "  states installed %" PRIu64
           "  timestamps drawn %" PRIu64 "  keys read at one %" PRIu64 "  refused for a restart %" PRIu64
           "  cuts %" PRIu64 "  transactions %" PRIu64 " (%" PRIu64 " over shards), refused %" PRIu64
           ", orphaned %" PRIu64 "\n",
           r->published, r->trimmed, r->installs, r->timestamps, r->looks, r->restarts_above, r->cuts, r->txns_done,
           r->txns_wide, r->txns_refused, r->txns_orphaned);
    printf("worlds' collection: passes %" PRIu64 "  versions removed %" PRIu64 "  markers removed %" PRIu64
           "  reads at what was retained %" PRIu64 "  writes of transactions that expire %" PRIu64 "\n",
           r->passes, r->versions_removed, r->markers_removed, r->retained, r->txns_expiring);
    printf("worlds' changes of engine: sealed %" PRIu64 "  aborted %" PRIu64 "  replicas over while they ran %" PRIu64
           ", at a start %" PRIu64 ", behind a state %" PRIu64 "\n",
           r->seals, r->aborts, r->crossed_running, r->crossed_starting, r->crossed_installed);
}

/* So many worlds in which nothing is published, cut or installed prove less than they say. */
static bool worlds_idle(const struct seeds_summary *s, const struct sim_options *options)
{
    const struct sim_result *r = &s->worlds;
    if (options->only != NULL || s->world_runs < WORLDS_TELLING)
        return false;
    bool collected = r->passes != 0 && r->versions_removed != 0 && r->markers_removed != 0 && r->retained != 0;
    bool crossed = r->aborts != 0 && r->crossed_running != 0 && r->crossed_starting != 0 && r->crossed_installed != 0;
    crossed |= engine_find("libraft") == NULL || options->migrate == SIM_MIGRATE_NEVER;
    if (collected && crossed && r->txns_expiring != 0 && r->published != 0 && r->trimmed != 0 && r->installs != 0 &&
        r->looks != 0 && r->restarts_above != 0 && r->cuts != 0 && r->txns_wide != 0 && r->txns_refused != 0 &&
        r->txns_orphaned != 0)
        return false;
    printf("FAILED: in %" PRIu64 " worlds something never happened that is to be tried\n", s->world_runs);
    return true;
}

static int run_one(const struct request *r)
{
    struct sim_options options = r->plan.options;
    options.verbose = !r->quiet;
    struct sim_result result = seeds_run_one(&options);
    printf("seed %" PRIu64 ": trace hash %016" PRIx64 "\n", options.seed, result.trace_hash);
    print_counts(&result);
    if (seeds_is_world(&options))
        print_world_counts(&result);
    if (result.failed)
        printf("FAILED by %s: %s\n", result.checker, result.text);
    return result.failed;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    const char *first = getenv("HF_SIM_FIRST");
    struct request r = {.plan = {.kept_file = HF_SIM_SEEDS_FILE, .count = 500, .jobs = 1}};
    r.plan.first = first != NULL ? number(first) : 1;
    parse(argc, argv, &r);
    if (r.one)
        return run_one(&r);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* a failure is seen when it is found */
    double begin = seconds();
    struct seeds_summary summary;
    printf("hf_sim: kept seeds and %" PRIu64 " from %" PRIu64 "\n", r.plan.count, r.plan.first);
    seeds_run(&r.plan, &summary);
    double took = seconds() - begin;
    print_counts(&summary.total);
    if (summary.world_runs > 0)
        print_world_counts(&summary.worlds);
    printf("%" PRIu64 " seeds in %.1f s (%.1f seeds/s), %" PRIu64 " failed\n", summary.runs, took,
           (double)summary.runs / took, summary.failures);
    return summary.failures != 0 || worlds_idle(&summary, &r.plan.options);
}
