/* members.c: configurations: hf.catalog.Members checked, decoded, copied. */
#include "shard/engine/base/members.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "shard/log/identity.h"

int members_check(const Hf__Catalog__Members *members)
{
    int rc = peers_check(members);
    if (rc != HF_OK)
        return rc;
    for (size_t i = 0; i < members->n_members; i++) {
        if (members->members[i]->role == HF__CATALOG__ROLE__VOTER)
            return HF_OK;
    }
    return HF_E_INVALID;
}

int members_decode(struct slice data, uint64_t index, Hf__Catalog__Members **out)
{
    Hf__Catalog__Members *members = pack_unpack_owned(&hf__catalog__members__descriptor, data);
    if (members == NULL)
        return HF_E_INVALID;
    if (members_check(members) != HF_OK) {
        members_free(&members);
        return HF_E_INVALID;
    }
    members->index = index;
    *out = members;
    return HF_OK;
}

void members_free(Hf__Catalog__Members **members)
{
    if (*members != NULL)
        hf__catalog__members__free_unpacked(*members, NULL);
    *members = NULL;
}

Hf__Catalog__Members *members_copy(const Hf__Catalog__Members *members)
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
