/* txnmake.c: see txnmake.h. */
#include "tests/unit/coordinator/txnmake.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/pack.h"

#define SHARDS 3

static char *next_word(char **rest)
{
    char *word = strsep(rest, " ");
    return word != NULL && *word != '\0' ? word : NULL;
}

static void make_writes(struct txnmake *m, char *rest)
{
    for (char *word; (word = next_word(&rest)) != NULL;) {
        Hf__Entry__TxnWrite *w = &m->writes[m->txn.n_writes];
        hf__entry__txn_write__init(w);
        bool prefix = word[strlen(word) - 1] == '*';
        w->op = prefix ? HF__ENTRY__OP__DELETE_PREFIX : HF__ENTRY__OP__PUT;
        w->key = pack_bytes(slice_make(word, strlen(word) - prefix));
        m->write_list[m->txn.n_writes++] = w;
    }
}

static void make_reads(struct txnmake *m, char *rest)
{
    for (char *word; (word = next_word(&rest)) != NULL;) {
        Hf__Entry__TxnRead *r = &m->reads[m->txn.n_reads];
        hf__entry__txn_read__init(r);
        char *dash = strchr(word, '-');
        r->range = dash != NULL;
        r->key = pack_bytes(slice_make(word, dash ? (size_t)(dash - word) : strlen(word)));
        if (dash)
            r->end = pack_bytes(slice_text(dash + 1));
        m->read_list[m->txn.n_reads++] = r;
    }
}

void txnmake(struct txnmake *m, const char *writes, const char *reads, uint32_t home, uint64_t session, uint64_t start)
{
    memset(m, 0, sizeof *m);
    hf__client__request__init(&m->request);
    hf__client__txn__init(&m->txn);
    m->request.op_case = HF__CLIENT__REQUEST__OP_TXN;
    m->request.txn = &m->txn;
    m->request.shard = home;
    m->request.session = session;
    m->request.seq = session ? 1 : 0;
    m->request.done_below = session ? 1 : 0;
    m->txn.start = start;
    m->txn.writes = m->write_list;
    m->txn.reads = m->read_list;
    snprintf(m->text, sizeof m->text, "%s", writes);
    size_t used = strlen(m->text) + 1;
    snprintf(m->text + used, sizeof m->text - used, "%s", reads);
    make_writes(m, m->text);
    make_reads(m, m->text + used);
}

static Hf__Catalog__Range ranges[SHARDS];
static Hf__Catalog__Route route_rows[SHARDS], *route_list[SHARDS];
void txnmake_routes(Hf__Catalog__Routes *out)
{
    static const char *const starts[SHARDS + 1] = {"", "b", "c", ""};
    hf__catalog__routes__init(out);
    for (uint32_t i = 0; i < SHARDS; i++) {
        hf__catalog__range__init(&ranges[i]);
        hf__catalog__route__init(&route_rows[i]);
        ranges[i].start = pack_bytes(slice_text(starts[i]));
        ranges[i].end = pack_bytes(slice_text(starts[i + 1]));
        route_rows[i].range = &ranges[i];
        route_rows[i].shard = i + 1;
        route_list[i] = &route_rows[i];
    }
    out->n_routes = SHARDS;
    out->routes = route_list;
}
