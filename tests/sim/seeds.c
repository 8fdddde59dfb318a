/* seeds.c: workers take seeds in strides; a result comes back through a pipe, a death by its absence. */
#include "tests/sim/seeds.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/world/world.h"

#define JOBS_MAX 64

struct report {
    uint64_t seed;
    struct sim_result result;
};

struct worker {
    pid_t pid; /* 0: done */
    int pipe;
    size_t next; /* position in the list of the seed it works on */
};

struct list_of_seeds {
    uint64_t *seeds; /* owned */
    size_t count;
};

static void add(struct list_of_seeds *list, uint64_t seed)
{
    list->seeds = realloc(list->seeds, (list->count + 1) * sizeof *list->seeds);
    must(list->seeds != NULL);
    list->seeds[list->count++] = seed;
}

static void read_kept(const char *path, struct list_of_seeds *list)
{
    FILE *f = fopen(path, "r");
    char line[512];
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        uint64_t seed;
        if (sscanf(line, "%" SCNu64, &seed) == 1)
            add(list, seed);
    }
    if (f != NULL)
        fclose(f);
}

bool seeds_is_world(const struct sim_options *options)
{
    if (options->only != NULL)
        return world_knows(options->only) && !checks_known(options->only);
    return options->seed % SEEDS_WORLD_EVERY == 0;
}

struct sim_result seeds_run_one(const struct sim_options *options)
{
    if (seeds_is_world(options))
        return world_run(options);
    struct sim *sim = sim_new(options);
    sim_run(sim);
    struct sim_result result = sim->result;
    sim_free(&sim);
    return result;
}

static struct sim_result run_one(const struct seeds_plan *plan, uint64_t seed)
{
    struct sim_options options = plan->options;
    options.seed = seed;
    return seeds_run_one(&options);
}

/* The signal ends the process. */
static void watch(time_t seconds)
{
    must(setitimer(ITIMER_VIRTUAL, &(struct itimerval){.it_value = {.tv_sec = seconds}}, NULL) == 0);
}

static void start(struct worker *w, const struct seeds_plan *plan, const struct list_of_seeds *list)
{
    int ends[2];
    must(pipe(ends) == 0);
    fflush(NULL);
    w->pid = fork();
    must(w->pid >= 0);
    if (w->pid == 0) {
        close(ends[0]);
        for (size_t i = w->next; i < list->count; i += plan->jobs) {
            watch(SEEDS_HANG_SECONDS);
            struct report report = {.seed = list->seeds[i], .result = run_one(plan, list->seeds[i])};
            watch(0);
            if (write(ends[1], &report, sizeof report) != (ssize_t)sizeof report)
                _exit(1);
        }
        _exit(0);
    }
    close(ends[1]);
    w->pipe = ends[0];
}

static void keep(const struct seeds_plan *plan, uint64_t seed, const struct sim_result *r)
{
    FILE *f = plan->kept_file != NULL ? fopen(plan->kept_file, "a") : NULL;
    if (f == NULL)
        return;
    fprintf(f, "%" PRIu64 "  # %s: %s\n", seed, r->checker, r->text);
    fclose(f);
}

static void add_counts(struct sim_result *to, const struct sim_result *r)
{
    to->virtual_ns += r->virtual_ns;
    to->turns += r->turns;
    to->steps += r->steps;
    to->writes_done += r->writes_done;
    to->reads_done += r->reads_done;
    to->lease_reads += r->lease_reads;
    to->elections += r->elections;
    to->deaths += r->deaths;
    to->changes += r->changes;
    to->published += r->published;
    to->trimmed += r->trimmed;
    to->timestamps += r->timestamps;
    to->txns_done += r->txns_done;
    to->txns_wide += r->txns_wide;
    to->txns_refused += r->txns_refused;
    to->txns_orphaned += r->txns_orphaned;
    to->passes += r->passes;
    to->versions_removed += r->versions_removed;
    to->markers_removed += r->markers_removed;
    to->retained += r->retained;
    to->txns_expiring += r->txns_expiring;
    to->looks += r->looks;
    to->cuts += r->cuts;
    to->restarts_above += r->restarts_above;
    to->seals += r->seals;
    to->aborts += r->aborts;
    to->crossed_running += r->crossed_running;
    to->crossed_starting += r->crossed_starting;
    to->crossed_installed += r->crossed_installed;
    to->installs += r->installs;
    to->restarts += r->restarts;
    to->rebuilt += r->rebuilt;
    to->recovered += r->recovered;
}

static void count(struct seeds_summary *s, const struct seeds_plan *plan, const struct report *report, bool is_kept)
{
    const struct sim_result *r = &report->result;
    struct sim_options options = plan->options;
    options.seed = report->seed;
    s->runs++;
    add_counts(&s->total, r);
    if (seeds_is_world(&options)) {
        s->world_runs++;
        add_counts(&s->worlds, r);
    }
    if (!r->failed || (plan->only_if_by != NULL && strcmp(plan->only_if_by, r->checker) != 0))
        return;
    if (s->failures++ == 0) {
        s->first_failed = report->seed;
        s->first = *r;
    }
    if (plan->only_if_by != NULL)
        return;
    printf("FAILED seed %" PRIu64 " by %s: %s\n  replay: hf_sim --engine %s --seed %" PRIu64, report->seed, r->checker,
           r->text, sim_engine(&plan->options)->name, report->seed);
    if (plan->options.steps != 0)
        printf(" --steps %" PRIu64, plan->options.steps);
    if (plan->options.replicas != 0)
        printf(" --replicas %" PRIu32, plan->options.replicas);
    if (plan->options.migrate != SIM_MIGRATE_DRAWN)
        printf(" --migrate %s", plan->options.migrate == SIM_MIGRATE_ALWAYS ? "always" : "never");
    printf("\n");
    if (!is_kept && plan->options.steps == 0 && plan->options.replicas == 0)
        keep(plan, report->seed, r);
}

/* The worker died in its seed: that is the report. */
static struct report epitaph(const struct worker *w, const struct list_of_seeds *list)
{
    struct report report = {.seed = list->seeds[w->next], .result = {.failed = true}};
    int status = 0;
    must(waitpid(w->pid, &status, 0) == w->pid);
    bool hung = WIFSIGNALED(status) && WTERMSIG(status) == SIGVTALRM;
    snprintf(report.result.checker, sizeof report.result.checker, "%s", hung ? "hang" : "abort");
    snprintf(report.result.text, sizeof report.result.text, "the run ended by signal %d, exit status %d (see stderr)",
             WIFSIGNALED(status) ? WTERMSIG(status) : 0, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
    return report;
}

/* One report of a worker; a new worker in its place when it died. */
static void follow(struct worker *w, const struct seeds_plan *plan, const struct list_of_seeds *list, size_t kept,
                   struct seeds_summary *s)
{
    struct report report;
    ssize_t n = read(w->pipe, &report, sizeof report); /* written whole: smaller than PIPE_BUF */
    bool died = n != (ssize_t)sizeof report;
    if (died)
        report = epitaph(w, list);
    count(s, plan, &report, w->next < kept);
    w->next += plan->jobs;
    if (!died && w->next < list->count)
        return;
    if (!died)
        must(waitpid(w->pid, NULL, 0) == w->pid);
    close(w->pipe);
    w->pid = 0;
    if (w->next < list->count)
        start(w, plan, list);
}

static void follow_all(struct worker *workers, const struct seeds_plan *plan, const struct list_of_seeds *list,
                       size_t kept, struct seeds_summary *s)
{
    for (bool any = true; any && !(plan->stop_at_failure && s->failures > 0);) {
        struct pollfd ends[JOBS_MAX];
        any = false;
        for (unsigned i = 0; i < plan->jobs; i++) {
            ends[i] = (struct pollfd){.fd = workers[i].pid != 0 ? workers[i].pipe : -1, .events = POLLIN};
            any |= workers[i].pid != 0;
        }
        if (any && poll(ends, plan->jobs, -1) < 0)
            continue;
        for (unsigned i = 0; any && i < plan->jobs; i++)
            if (ends[i].revents != 0)
                follow(&workers[i], plan, list, kept, s);
    }
    for (unsigned i = 0; i < plan->jobs; i++) {
        if (workers[i].pid == 0)
            continue;
        kill(workers[i].pid, SIGKILL); /* a failure was enough */
        waitpid(workers[i].pid, NULL, 0);
        close(workers[i].pipe);
    }
}

void seeds_run(const struct seeds_plan *plan, struct seeds_summary *out)
{
    struct list_of_seeds list = {0};
    struct seeds_summary summary = {0};
    struct worker workers[JOBS_MAX] = {0};
    must(plan->jobs >= 1 && plan->jobs <= JOBS_MAX);
    if (plan->kept_file != NULL)
        read_kept(plan->kept_file, &list);
    size_t kept = list.count;
    uint64_t every = plan->worlds_only ? SEEDS_WORLD_EVERY : 1;
    for (uint64_t i = 0; i < plan->count; i++)
        add(&list, ((plan->first + every - 1) / every + i) * every);
    for (unsigned i = 0; i < plan->jobs && i < list.count; i++) {
        workers[i].next = i;
        start(&workers[i], plan, &list);
    }
    follow_all(workers, plan, &list, kept, &summary);
    free(list.seeds);
    *out = summary;
}
