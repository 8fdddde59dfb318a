/* native_members.c: configurations: hf.catalog.Members on the wire and in the log, ids and votes in the core. */
#include <stdlib.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "shard/engine/native/native_state.h"
#include "shard/log/identity.h"

int native_members_core(const Hf__Catalog__Members *members, struct core_config *out)
{
    int rc = peers_check(members);
    if (rc != HF_OK)
        return rc;
    bool voter = false;
    for (size_t i = 0; i < members->n_members; i++)
        voter = voter || members->members[i]->role == HF__CATALOG__ROLE__VOTER;
    if (!voter)
        return HF_E_INVALID;
    out->index = members->index;
    out->count = (uint32_t)members->n_members;
    for (size_t i = 0; i < members->n_members; i++) {
        const Hf__Catalog__Member *m = members->members[i];
        out->members[i] = (struct core_member){m->replica, m->role == HF__CATALOG__ROLE__VOTER};
    }
    return HF_OK;
}

int native_members_decode(struct slice data, uint64_t index, Hf__Catalog__Members **out)
{
    Hf__Catalog__Members *members = pack_unpack_owned(&hf__catalog__members__descriptor, data);
    if (members == NULL)
        return HF_E_INVALID;
    struct core_config config;
    if (native_members_core(members, &config) != HF_OK) {
        native_members_free(&members);
        return HF_E_INVALID;
    }
    members->index = index;
    *out = members;
    return HF_OK;
}

void native_members_free(Hf__Catalog__Members **members)
{
    if (*members != NULL)
        hf__catalog__members__free_unpacked(*members, NULL);
    *members = NULL;
}

Hf__Catalog__Members *native_members_copy(const Hf__Catalog__Members *members)
{
    size_t size = hf__catalog__members__get_packed_size(members);
    uint8_t *bytes = malloc(size + 1);
    must(bytes != NULL);
    (void)hf__catalog__members__pack(members, bytes);
    Hf__Catalog__Members *copy = hf__catalog__members__unpack(NULL, size, bytes);
    free(bytes);
    must(copy != NULL);
    return copy;
}

void native_members_installed(struct engine *e, uint64_t index, const Hf__Catalog__Members *members, bool kept)
{
    if (!kept || e->members->index <= index) {
        native_members_free(&e->members);
        native_members_free(&e->previous);
        e->members = native_members_copy(members);
    } else if (e->previous == NULL || e->previous->index <= index) {
        native_members_free(&e->previous);
        e->previous = native_members_copy(members);
    }
}

void native_members_push(struct engine *e, Hf__Catalog__Members **members)
{
    native_members_free(&e->previous);
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
        must(native_members_decode(entries[i].data, entries[i].index, &members) == HF_OK); /* checked on receipt */
        native_members_push(e, &members);
    }
}

void native_members_truncated(struct engine *e, uint64_t from)
{
    if (e->members->index < from || e->previous == NULL)
        return;
    native_members_free(&e->members);
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
    rc = native_members_decode(buf_slice(&packed), next.index, &copy);
    if (rc == HF_OK) {
        struct log_entry entry = {.kind = LOG_CONFIG, .data = buf_slice(&packed)};
        rc = native_feed(e, &(struct core_event){.kind = CORE_EVENT_CHANGE, .config = &config}, &entry);
    }
    if (rc == HF_OK) {
        *out_index = copy->index;
        native_members_push(e, &copy);
    }
    native_members_free(&copy);
    buf_deinit(&packed);
    return rc;
}
