/* fuzz_entry.c: any payloads as entries of the log into a live state machine. What this program cannot read ends a
 * process (the harness leaves it out, by the rules of entry.proto); everything else is applied: the index moves on by
 * one, each command has one result, and nothing above a limit is kept. */
#include <stdlib.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/shard/fsm/machine.h"

#define INPUTS_OF_A_MACHINE 3000
#define OPCODE_COMMANDS 0x01
#define OPCODE_LEASE 0x02
#define OPCODE_SESSION 0x13

/* An entry that cannot be applied ends the process: here, so that the input is kept. */
HF_NORETURN void __wrap_fatal(const char *format, ...);
void __wrap_fatal(const char *format, ...)
{
    (void)format;
    abort();
}

static struct machine machine;
static unsigned inputs;

/* The proposer checks op and space, and stamps; so its stamps are above the last one. A commit lies above what was there when
 * its transaction was prepared, and below what is stamped now. */
static bool proposable(Hf__Entry__CommandBatch *batch)
{
    const struct fsm_info *info = fsm_info(machine.fsm);
    for (size_t i = 0; i < batch->n_commands; i++) {
        const Hf__Entry__Command *c = batch->commands[i];
        if ((unsigned)c->op > HF__ENTRY__OP__TXN_FORGET || (unsigned)c->space > HF__ENTRY__SPACE__CATALOG ||
            (c->op > HF__ENTRY__OP__DELETE_PREFIX && c->txn == NULL))
            return false;
        if (c->txn != NULL)
            c->txn->commit = info->newest.t.t;
    }
    batch->sequence = info->newest.seq + 1 + batch->sequence % 1000;
    batch->timestamp = info->newest.t.t + batch->timestamp % 100000;
    return true;
}

/* The watermark is not above what may still be stamped. */
static const ProtobufCMessage *collectable(struct slice in, struct arena *arena)
{
    Hf__Entry__CollectEntry *e = pack_unpack(&hf__entry__collect_entry__descriptor, in, arena);
    if (e == NULL)
        return NULL;
    e->below %= fsm_info(machine.fsm)->newest.t.t + 1;
    e->steps %= 100;
    return &e->base;
}

/* Of this epoch, and of these members, more often than chance would have it. */
static const ProtobufCMessage *migratable(struct slice in, struct arena *arena)
{
    const struct fsm_info *info = fsm_info(machine.fsm);
    Hf__Entry__MigrateEntry *e = pack_unpack(&hf__entry__migrate_entry__descriptor, in, arena);
    if (e == NULL)
        return NULL;
    if (e->epoch % 4 != 0)
        e->epoch = info->applied.epoch;
    if (e->configuration % 4 != 0)
        e->configuration = info->members->index;
    e->id %= 16;
    return &e->base;
}

/* The payload as a leader could have made it, in `out`; false: none would have. */
static bool as_proposed(struct slice in, struct arena *arena, struct buf *out, size_t *out_results)
{
    static const uint8_t opcodes[] = {OPCODE_COMMANDS, OPCODE_LEASE, OPCODE_SESSION, FSM_OPCODE_CHECK,
                                      FSM_OPCODE_COLLECT};
    uint8_t pick = fuzz_byte(&in), opcode = pick == 0xff ? FSM_OPCODE_MIGRATE : opcodes[pick % 5];
    const ProtobufCMessage *message;
    buf_append(out, &opcode, 1);
    *out_results = 1;
    if (opcode == OPCODE_COMMANDS) {
        Hf__Entry__CommandBatch *batch = pack_unpack(&hf__entry__command_batch__descriptor, in, arena);
        if (batch == NULL || !proposable(batch))
            return false;
        *out_results = batch->n_commands;
        message = &batch->base;
    } else if (opcode == FSM_OPCODE_COLLECT || opcode == FSM_OPCODE_MIGRATE) {
        message = opcode == FSM_OPCODE_COLLECT ? collectable(in, arena) : migratable(in, arena);
        if (message == NULL)
            return false;
    } else {
        message = pack_unpack(opcode == OPCODE_LEASE       ? &hf__entry__lease_entry__descriptor
                              : opcode == FSM_OPCODE_CHECK ? &hf__entry__check_entry__descriptor
                                                           : &hf__entry__session_entry__descriptor,
                              in, arena);
        if (message == NULL)
            return false;
    }
    pack_append(message, out);
    return !fuzz_has_field_zero(message);
}

/* What a put was answered with is what a get sees. */
static void look(struct slice payload, size_t results_before)
{
    static struct arena arena;
    arena_reset(&arena);
    if (payload.data[0] != OPCODE_COMMANDS)
        return;
    const Hf__Entry__CommandBatch *batch =
        pack_unpack(&hf__entry__command_batch__descriptor, slice_make(payload.data + 1, payload.size - 1), &arena);
    const struct machine_result *results = (const void *)machine.results.data;
    must(batch != NULL);
    for (size_t i = 0; i < batch->n_commands; i++) {
        const Hf__Entry__Command *c = batch->commands[i];
        int code = results[results_before + i].r.code;
        must(code <= 0 && results[results_before + i].position == i);
        if (code == HF_OK && c->op == HF__ENTRY__OP__PUT)
            must(c->key.len > 0 && c->key.len <= LIMIT_KEY_BYTES && c->value.len <= LIMIT_VALUE_BYTES);
    }
    if (batch->n_commands == 0)
        return;
    const Hf__Entry__Command *last = batch->commands[batch->n_commands - 1];
    if (last->op != HF__ENTRY__OP__PUT || last->session != 0 || results[results_before + batch->n_commands - 1].r.code)
        return;
    struct fsm_value value;
    must(fsm_get(machine.fsm, (enum fsm_space)last->space, pack_slice(last->key), (struct hlc){0}, (struct hlc){0},
                 &arena, &value) == HF_OK);
    must(slice_equal(value.value, pack_slice(last->value)));
}

static void end(void)
{
    if (machine.fsm != NULL)
        machine_stop(&machine);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    machine_start(&machine, "", "zz", true);
    atexit(end); /* before what RocksDB made for itself is gone */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena arena;
    struct buf payload = {0};
    struct slice in = slice_make(data, size);
    size_t results = 0;
    if (++inputs % INPUTS_OF_A_MACHINE == 0) {
        end();
        machine_start(&machine, "", "zz", true);
    }
    while (in.size > 2) {
        uint16_t length = fuzz_word(&in);
        arena_reset(&arena);
        buf_clear(&payload);
        buf_clear(&machine.results);
        if (!as_proposed(fuzz_bytes(&in, length), &arena, &payload, &results))
            continue;
        uint64_t before = fsm_info(machine.fsm)->applied.index;
        struct log_entry entry = {.index = before + 1, .term = 1, .kind = LOG_COMMAND, .data = buf_slice(&payload)};
        must(fsm_apply(machine.fsm, &entry, 1, machine_report, &machine) == HF_OK);
        must(fsm_info(machine.fsm)->applied.index == before + 1); /* I3 */
        must(machine_result_count(&machine) == results);
        must(fsm_info(machine.fsm)->sessions <= LIMIT_SESSIONS && fsm_info(machine.fsm)->markers <= LIMIT_MARKERS);
        look(buf_slice(&payload), 0);
        if (fsm_sealed(fsm_info(machine.fsm)))
            must(fsm_enter_next_epoch(machine.fsm) == HF_OK);
    }
    buf_deinit(&payload);
    return 0;
}
