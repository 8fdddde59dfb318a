/* child.h: runs a function in a forked child with stdout and stderr caught: for code that ends the process. */
#pragma once

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    int status; /* as waitpid gives it */
    char output[4096];
};

static inline struct child child_run(void (*run)(const void *), const void *arg)
{
    struct child c = {.status = -1};
    int ends[2];
    if (pipe(ends) != 0)
        return c;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        run(arg);
        fflush(NULL);
        _exit(0);
    }
    close(ends[1]);
    size_t size = 0;
    ssize_t n;
    while (size + 1 < sizeof c.output && (n = read(ends[0], c.output + size, sizeof c.output - 1 - size)) > 0)
        size += (size_t)n;
    c.output[size] = '\0';
    close(ends[0]);
    if (pid < 0 || waitpid(pid, &c.status, 0) != pid)
        c.status = -1;
    return c;
}

static inline int child_exit(const struct child *c)
{
    return WIFEXITED(c->status) ? WEXITSTATUS(c->status) : -1;
}
