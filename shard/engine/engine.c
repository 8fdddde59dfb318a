/* engine.c: which engines there are, and which of them this program has. */
#include "shard/engine/engine.h"

#include <string.h>

static const struct shipped {
    const char *name;
    const struct engine_ops *ops; /* NULL: it was not built in */
} engines[] = {
    {"native", &engine_native},
#ifdef HF_LIBRAFT
    {"libraft", &engine_libraft},
#else
    {"libraft", NULL},
#endif
};

static const struct shipped *shipped(const char *name)
{
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++)
        if (strcmp(engines[i].name, name) == 0)
            return &engines[i];
    return NULL;
}

const struct engine_ops *engine_find(const char *name)
{
    const struct shipped *s = shipped(name);
    must(!s || !s->ops || strcmp(s->ops->name, name) == 0); /* I10: what identity says is what runs */
    return s ? s->ops : NULL;
}

bool engine_shipped(const char *name)
{
    return shipped(name) != NULL;
}

const struct engine_ops *engine_at(size_t i)
{
    for (size_t k = 0; k < sizeof engines / sizeof engines[0]; k++)
        if (engines[k].ops && i-- == 0)
            return engines[k].ops;
    return NULL;
}

const char *engine_names(void)
{
#ifdef HF_LIBRAFT
    return "native, libraft";
#else
    return "native";
#endif
}
