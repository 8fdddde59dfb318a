/* engine.c: which engines this program has. */
#include "shard/engine/engine.h"

#include <string.h>

const struct engine_ops *engine_find(const char *name)
{
    static const struct engine_ops *const engines[] = {&engine_native};
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    }
    return NULL;
}
