/* pack.c: see pack.h. */
#include "proto/pack.h"

static void *arena_take(void *data, size_t size)
{
    return arena_alloc(data, size);
}

static void arena_leave(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

ProtobufCAllocator pack_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){.alloc = arena_take, .free = arena_leave, .allocator_data = arena};
}

void *pack_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena)
{
    ProtobufCAllocator allocator = pack_allocator(arena);
    return protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
}

void pack_append(const ProtobufCMessage *message, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, buf_extend(out, size));
}
