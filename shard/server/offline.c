/* offline.c: see offline.h. */
#include "shard/server/offline.h"

#include "common/base/error.h"
#include "common/sys/json.h"

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
        json_text(stderr, path);
        fputs(": ", stderr);
        json_text(stderr, what);
        fputs("\"}}\n", stderr);
    } else {
        fprintf(stderr, "holdfast-shard: %s: %s\n", path, what);
    }
    return exit_of(rc);
}
