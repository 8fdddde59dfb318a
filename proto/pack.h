/* pack.h: protobuf-c messages in and out of our memory: unpacked into a turn's arena, packed at the end of a buffer.
 *
 * Position: every door of a process: client and raft messages, log entries, catalog values, small files. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "common/base/arena.h"
#include "common/base/buf.h"

/* A protobuf-c allocator over `arena`: free does nothing; the memory goes with arena_reset. One per arena, by value. */
ProtobufCAllocator pack_allocator(struct arena *arena);

/* Unpacks `bytes` as `type` into `arena`. NULL: malformed (I11), with nothing to undo. */
void *pack_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena);

/* Appends the packed message to `out`. */
void pack_append(const ProtobufCMessage *message, struct buf *out);

static inline ProtobufCBinaryData pack_bytes(struct slice s) /* borrowed, never written through */
{
    return (ProtobufCBinaryData){.len = s.size, .data = (uint8_t *)(uintptr_t)s.data};
}

static inline struct slice pack_slice(ProtobufCBinaryData b)
{
    return slice_make(b.data, b.len);
}
