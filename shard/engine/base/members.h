/* members.h: configurations between the log and an engine: checked, decoded, copied. */
#pragma once

#include "common/base/must.h"
#include "common/base/slice.h"
#include "proto/catalog.pb-c.h"

/* HF_E_INVALID, HF_E_LIMIT: not a configuration (peers_check); without a voter. */
HF_CHECKED int members_check(const Hf__Catalog__Members *members);
/* Decodes the payload of the configuration entry at `index`; *out owned by the caller. HF_E_INVALID. */
HF_CHECKED int members_decode(struct slice data, uint64_t index, Hf__Catalog__Members **out);
void members_free(Hf__Catalog__Members **members);                       /* NULL inside: nothing */
Hf__Catalog__Members *members_copy(const Hf__Catalog__Members *members); /* owned by the caller */
