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

void *pack_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena)
{
    struct budget budget = {.arena = arena, .left = bytes.size * PACK_GROWTH_MAX + PACK_GROWTH_FREE};
    ProtobufCAllocator allocator = {.alloc = budget_take, .free = budget_leave, .allocator_data = &budget};
    return protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
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
    return protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
}

void pack_append(const ProtobufCMessage *message, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, buf_extend(out, size));
}
