/* fuzz.h: what the targets share: taking an input apart, and messages that must survive being packed again. */
#pragma once

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/base/must.h"
#include "common/base/slice.h"
#include "proto/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* The first byte of what is left; 0 at the end. */
static inline uint8_t fuzz_byte(struct slice *in)
{
    if (in->size == 0)
        return 0;
    uint8_t byte = *in->data++;
    in->size--;
    return byte;
}

static inline uint16_t fuzz_word(struct slice *in)
{
    uint16_t low = fuzz_byte(in);
    return (uint16_t)(low | fuzz_byte(in) << 8);
}

/* The next `size` bytes, or what is left. */
static inline struct slice fuzz_bytes(struct slice *in, size_t size)
{
    if (size > in->size)
        size = in->size;
    struct slice out = slice_make(in->data, size);
    in->data += size;
    in->size -= size;
    return out;
}

/* protobuf-c reads a field 0 that is written in two bytes and writes it in one, which it does not read. */
static inline bool fuzz_has_field_zero(const ProtobufCMessage *m) // NOLINT(misc-no-recursion)
{
    for (unsigned i = 0; i < m->n_unknown_fields; i++)
        if (m->unknown_fields[i].tag == 0)
            return true;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const uint8_t *at = (const uint8_t *)m + f->offset;
        const uint8_t *how_many = (const uint8_t *)m + f->quantifier_offset;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        size_t count = 1;
        uint32_t which = f->id;
        const ProtobufCMessage *const *children = (const void *)at;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            memcpy(&count, how_many, sizeof count);
            memcpy(&children, at, sizeof children);
        } else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
            memcpy(&which, how_many, sizeof which);
        }
        for (size_t k = 0; which == f->id && k < count; k++)
            if (children[k] != NULL && fuzz_has_field_zero(children[k]))
                return true;
    }
    return false;
}

/* Packed, unpacked and packed again, a message that was read is the same bytes: what is forwarded or stored means what
 * was checked. */
static inline void fuzz_stable(const ProtobufCMessage *message)
{
    struct buf once = {0}, twice = {0};
    struct arena arena = {0};
    pack_append(message, &once);
    if (once.size <= 8192 &&
        !fuzz_has_field_zero(message)) { /* structures of a larger one may pass the unpacker's budget */
        const ProtobufCMessage *again = pack_unpack(message->descriptor, buf_slice(&once), &arena);
        must(again != NULL);
        pack_append(again, &twice);
        must(slice_equal(buf_slice(&once), buf_slice(&twice)));
    }
    buf_deinit(&once);
    buf_deinit(&twice);
    arena_deinit(&arena);
}
