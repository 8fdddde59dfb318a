/* native_members.c: configurations: hf.catalog.Members on the wire and in the log, ids and votes in the core. */
#include "common/base/error.h"
#include "proto/pack.h"
#include "shard/engine/native/native_state.h"

int native_members_core(const Hf__Catalog__Members *members, struct core_config *out)
{
    int rc = members_check(members);
    if (rc != HF_OK)
        return rc;
    out->index = members->index;
    out->count = (uint32_t)members->n_members;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        out->members[i] = (struct core_member){m->replica, m->role == HF__CATALOG__ROLE__VOTER};
    }
    return HF_OK;
}

void native_members_installed(struct engine *e, uint64_t index, const Hf__Catalog__Members *members, bool kept)
{
    if (!kept || e->members->index <= index) {
        members_free(&e->members);
        members_free(&e->previous);
        e->members = members_copy(members);
    } else if (e->previous == NULL || e->previous->index <= index) {
        members_free(&e->previous);
        e->previous = members_copy(members);
    }
}

void native_members_push(struct engine *e, Hf__Catalog__Members **members)
{
    members_free(&e->previous);
    e->previous = e->members;
    e->members = *members;
    *members = NULL;
}

void native_members_appended(struct engine *e, const struct log_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Hf__Catalog__Members *members = NULL;
        if (entries[i].kind != LOG_CONFIG)
            continue;
        must(members_decode(entries[i].data, entries[i].index, &members) == HF_OK); /* checked on receipt */
        native_members_push(e, &members);
    }
}

void native_members_truncated(struct engine *e, uint64_t from)
{
    if (e->members->index < from || e->previous == NULL)
        return;
    members_free(&e->members);
    e->members = e->previous;
    e->previous = NULL;
}

int native_members_change(struct engine *e, const Hf__Catalog__Members *members, uint64_t *out_index)
{
    struct core_config config;
    int rc = native_members_core(members, &config);
    if (rc != HF_OK)
        return rc;
    /* The entry names itself; `members` names the configuration it replaces. */
    Hf__Catalog__Members next = *members;
    next.index = core_last(e->core) + 1;
    struct buf packed = {0};
    pack_append(&next.base, &packed);
    Hf__Catalog__Members *copy = NULL;
    rc = members_decode(buf_slice(&packed), next.index, &copy);
    if (rc == HF_OK) {
        struct log_entry entry = {.kind = LOG_CONFIG, .data = buf_slice(&packed)};
        rc = native_feed(e, &(struct core_event){.kind = CORE_EVENT_CHANGE, .config = &config}, &entry);
    }
    if (rc == HF_OK) {
        *out_index = copy->index;
        native_members_push(e, &copy);
    }
    members_free(&copy);
    buf_deinit(&packed);
    return rc;
}
