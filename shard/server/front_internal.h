/* front_internal.h: the client's door, for front.c (requests come in), build.c and build_txn.c (answers of reads) and parked.c. */
#pragma once

#include "shard/server/backup.h"
#include "shard/server/front.h"
#include "shard/server/parked.h"
#include "shard/server/publishing.h"
#include "shard/server/request.h"

enum front_metric {
    FRONT_WRITES,
    FRONT_READS,
    FRONT_REFUSED,
    FRONT_MALFORMED,
    FRONT_BUSY,
    FRONT_FUTURE,
    FRONT_HOLDS,
    FRONT_PARKED,
    FRONT_METRICS
};

struct front {
    struct answer answer;
    struct directory *directory; /* borrowed */
    struct replica *replica;     /* borrowed */
    struct list spare;           /* requests for reuse, by write.link */
    size_t spare_count;
    struct backup *backup; /* owned */
    struct publishing publishing;
    struct parked parked;        /* writes that came while stamps are held */
    struct buf built;            /* replies of reads kept aside until the lease is checked again */
    struct arena scratch;        /* of one reply */
    Hf__Catalog__Routes *routes; /* owned; the newest a beat brought, or NULL */
    bool read_failed;            /* and this was said */
};

void front_count(enum front_metric metric);

/* Where to go instead: the leader on NOT_LEADER, the newer routes on WRONG_SHARD. */
void front_hints(const struct front *f, Hf__Client__Reply *reply);
/* `message` NULL or empty: what the code means. */
void front_refuse(struct front *f, const struct net_peer *peer, uint64_t id, int code, const char *message);
void front_request_free(struct front *f, struct request *r);

/* ---- build.c, build_txn.c ---- */

void build_keep(struct front *f, struct request *r, const Hf__Client__Reply *reply);
/* A read that met damage or a disk in trouble says so. */
void build_explain(struct front *f, Hf__Client__Reply *reply);
void build_validate(struct front *f, struct request *r);
void build_txns(struct front *f, struct request *r);

/* What the replica calls when a read may be looked up, and after. */
struct reads_calls build_calls(struct front *f);
