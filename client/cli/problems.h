/* problems.h: what is wrong with a cluster, in sentences: under the first line of `holdfast status`, and in its JSON.
 *
 * Position: cluster.c prints each. */
#pragma once

#include "client/status.h"

typedef void problems_fn(void *ctx, const char *text);

/* Calls fn for each; the text is valid during the call. */
void problems_each(const struct hf_cluster_status *s, problems_fn *fn, void *ctx);
