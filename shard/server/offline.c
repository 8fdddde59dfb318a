/* offline.c: see offline.h. */
#include "shard/server/offline.h"

#include "common/base/error.h"

void offline_text(FILE *to, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at < 0x20 || *at == 0x7f)
            fprintf(to, "\\u%04x", (unsigned)*at);
        else
            fprintf(to, *at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
    }
}

static int exit_of(int rc)
{
    if (rc == HF_E_ABSENT)
        return OFFLINE_NOT_FOUND;
    return rc == HF_E_IO || rc == HF_E_NO_SPACE ? OFFLINE_NOT_DONE : OFFLINE_REFUSED;
}

int offline_error(const char *path, int rc, const char *what, bool json)
{
    if (json) {
        fprintf(stderr, "{\"error\":{\"code\":\"%s\",\"class\":\"%s\",\"message\":\"", error_name(rc),
                error_class_name(error_class(rc)));
        offline_text(stderr, path);
        fputs(": ", stderr);
        offline_text(stderr, what);
        fputs("\"}}\n", stderr);
    } else {
        fprintf(stderr, "holdfast-shard: %s: %s\n", path, what);
    }
    return exit_of(rc);
}
