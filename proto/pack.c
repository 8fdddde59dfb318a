/* pack.c: see pack.h. */
#include "proto/pack.h"

#include <stdlib.h>

struct budget { /* of one unpacking */
    struct arena *arena;
    size_t left; /* bytes */
};

static void *budget_take(void *data, size_t size)
{
    struct budget *b = data;
    if (size > b->left)
        return NULL; /* protobuf-c gives up */
    b->left -= size;
    return arena_alloc(b->arena, size);
}

static void budget_leave(void *data, void *pointer) /* the memory goes with the arena */
{
    (void)data;
    (void)pointer;
}

/* A field that nobody knows is kept and written again. With number 0, or one above those of the format, it is read but what is
 * written of it cannot be read: whoever stored that message would lose all of it. No correct sender has one. */
#define FIELD_NUMBER_MAX 536870911u

static bool writable(const ProtobufCMessage *message);

static bool writable_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *base = (const uint8_t *)message;
    const void *at = base + field->offset, *quantifier = base + field->quantifier_offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        const ProtobufCMessage *const *items = *(const ProtobufCMessage *const *const *)at;
        size_t count = *(const size_t *)quantifier;
        for (size_t i = 0; i < count; i++)
            if (!writable(items[i]))
                return false;
        return true;
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && *(const uint32_t *)quantifier != field->id)
        return true; /* another member of the union is set */
    const ProtobufCMessage *one = *(const ProtobufCMessage *const *)at;
    return one == NULL || writable(one);
}

static bool writable(const ProtobufCMessage *message)
{
    for (size_t i = 0; i < message->n_unknown_fields; i++)
        if (message->unknown_fields[i].tag == 0 || message->unknown_fields[i].tag > FIELD_NUMBER_MAX)
            return false;
    for (size_t i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && !writable_field(message, field))
            return false;
    }
    return true;
}

void *pack_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena)
{
    struct budget budget = {.arena = arena, .left = bytes.size * PACK_GROWTH_MAX + PACK_GROWTH_FREE};
    ProtobufCAllocator allocator = {.alloc = budget_take, .free = budget_leave, .allocator_data = &budget};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
    return message != NULL && writable(message) ? message : NULL;
}

static void *heap_take(void *data, size_t size)
{
    struct budget *b = data;
    if (size > b->left)
        return NULL;
    b->left -= size;
    return malloc(size > 0 ? size : 1);
}

static void heap_leave(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

void *pack_unpack_owned(const ProtobufCMessageDescriptor *type, struct slice bytes)
{
    struct budget budget = {.left = bytes.size * PACK_GROWTH_MAX + PACK_GROWTH_FREE};
    ProtobufCAllocator allocator = {.alloc = heap_take, .free = heap_leave, .allocator_data = &budget};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
    if (message == NULL || writable(message))
        return message;
    protobuf_c_message_free_unpacked(message, &allocator);
    return NULL;
}

void pack_append(const ProtobufCMessage *message, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, buf_extend(out, size));
}
