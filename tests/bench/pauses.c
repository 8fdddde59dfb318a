/* pauses.c: the longest time that a put took, for each of some keys, while something happens to the cluster.
 *
 * pauses ENDPOINTS KEY...    one thread a key: puts it again and again, a millisecond after each answer; with SIGTERM it prints
 *                            JSON, a key: how many, how many failed, the longest in milliseconds; and each SIGUSR1 a line of it, from where
 *                            the last one ended. Exit 0, 1 a cluster that cannot be reached, 2 usage. */
#include <holdfast/holdfast.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEYS_MAX 64
#define DEADLINE_MS 10000u

struct prober {
    pthread_t thread;
    struct hf *h;
    const char *key;
    pthread_mutex_t mutex; /* of what follows */
    unsigned long puts, failed;
    double begun_ms, longest_ms; /* of the one that is out, 0: none; of all since the last line */
};

static struct prober probers[KEYS_MAX];
static volatile bool ended;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
}

static void *probe(void *ctx)
{
    struct prober *p = ctx;
    struct hf_bytes key = {p->key, strlen(p->key)};
    while (!ended) {
        double begun = now_ms();
        pthread_mutex_lock(&p->mutex);
        p->begun_ms = begun;
        pthread_mutex_unlock(&p->mutex);
        int rc = hf_put(p->h, key, key, 0, DEADLINE_MS, NULL);
        double took = now_ms() - begun;
        pthread_mutex_lock(&p->mutex);
        p->begun_ms = 0;
        p->puts++;
        p->failed += rc != HF_OK;
        p->longest_ms = took > p->longest_ms ? took : p->longest_ms;
        pthread_mutex_unlock(&p->mutex);
        usleep(1000);
    }
    return NULL;
}

static void print_line(int count)
{
    printf("[");
    for (int i = 0; i < count; i++) {
        struct prober *p = &probers[i];
        pthread_mutex_lock(&p->mutex);
        double out = p->begun_ms != 0 ? now_ms() - p->begun_ms : 0;
        printf("%s{\"key\":\"%s\",\"puts\":%lu,\"failed\":%lu,\"longest_ms\":%.1f}", i ? "," : "", p->key, p->puts,
               p->failed, out > p->longest_ms ? out : p->longest_ms);
        p->puts = p->failed = 0;
        p->longest_ms = 0;
        pthread_mutex_unlock(&p->mutex);
    }
    printf("]\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int count = argc - 2, number = 0;
    sigset_t signals;
    struct hf_options options = {.endpoints = argc > 1 ? argv[1] : NULL};
    if (count < 1 || count > KEYS_MAX) {
        fprintf(stderr, "usage: pauses ENDPOINTS KEY...\n");
        return 2;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    for (int i = 0; i < count; i++) {
        struct prober *p = &probers[i];
        p->key = argv[2 + i];
        pthread_mutex_init(&p->mutex, NULL);
        if (hf_open(&options, HF_ABI, &p->h) != HF_OK || pthread_create(&p->thread, NULL, probe, p) != 0)
            return 1;
    }
    while (sigwait(&signals, &number) == 0) {
        print_line(count);
        if (number == SIGTERM)
            break;
    }
    ended = true;
    for (int i = 0; i < count; i++) {
        pthread_join(probers[i].thread, NULL);
        hf_close(&probers[i].h);
    }
    return 0;
}
