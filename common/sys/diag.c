/* diag.c: formats a line on the stack and hands it to stderr in one write, so that lines of threads do not mix. */
#include "common/sys/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/sys/clock.h"

#define DIAG_LINE_BYTES 2048 /* a longer line is cut */
#define DIAG_ROLE_BYTES 64
#define EXIT_FATAL 70
#define EXIT_REFUSED 6

static char role[DIAG_ROLE_BYTES] = "holdfast"; /* written by diag_init only, before threads */
static enum diag_level least = DIAG_INFO;

struct line {
    char text[DIAG_LINE_BYTES];
    size_t size; /* < DIAG_LINE_BYTES: room for the line's end */
};

HF_PRINTF(2, 0) static void line_addv(struct line *line, const char *format, va_list args)
{
    size_t room = sizeof line->text - line->size;
    int n = vsnprintf(line->text + line->size, room, format, args);
    if (n > 0)
        line->size += (size_t)n < room ? (size_t)n : room - 1;
}

HF_PRINTF(2, 3) static void line_add(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line_addv(line, format, args);
    va_end(args);
}

static void line_write(struct line *line)
{
    for (size_t i = 0; i < line->size; i++)
        if (line->text[i] == '\n' || line->text[i] == '\r')
            line->text[i] = ' ';
    line->text[line->size++] = '\n';
    ssize_t written = write(STDERR_FILENO, line->text, line->size);
    (void)written; /* nobody is left to tell */
}

static const char *level_name(enum diag_level level)
{
    switch (level) {
    case DIAG_DEBUG:
        return "DEBUG";
    case DIAG_INFO:
        return "INFO";
    case DIAG_WARN:
        return "WARN";
    case DIAG_ERROR:
        return "ERROR";
    }
    return "?";
}

static void line_begin(struct line *line, enum diag_level level)
{
    line->size = 0;
    uint64_t ms = clock_wall_ms();
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    line->size = strftime(line->text, sizeof line->text, "%Y-%m-%dT%H:%M:%S", &tm);
    line_add(line, ".%03uZ %s %s: ", (unsigned)(ms % 1000), level_name(level), role);
}

void diag_init(const char *new_role, enum diag_level new_least)
{
    snprintf(role, sizeof role, "%s", new_role);
    least = new_least;
}

void diag(enum diag_level level, const char *format, ...)
{
    if (level < least)
        return;
    struct line line;
    line_begin(&line, level);
    va_list args;
    va_start(args, format);
    line_addv(&line, format, args);
    va_end(args);
    line_write(&line);
}

void fatal(const char *format, ...)
{
    struct line line;
    line_begin(&line, DIAG_ERROR);
    va_list args;
    va_start(args, format);
    line_addv(&line, format, args);
    va_end(args);
    line_write(&line);
    _exit(EXIT_FATAL);
}

void refuse(const char *format, ...)
{
    struct line line = {.size = 0};
    line_add(&line, "holdfast: ");
    va_list args;
    va_start(args, format);
    line_addv(&line, format, args);
    va_end(args);
    line_write(&line);
    _exit(EXIT_REFUSED);
}
