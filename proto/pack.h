/* pack.h: protobuf-c messages in and out of our memory: unpacked into a turn's arena, packed at the end of a buffer.
 *
 * Position: every door of a process: client and raft messages, log entries, catalog values, small files. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "common/base/arena.h"
#include "common/base/buf.h"

/* What an unpacked message may take: a few bytes of a hostile one can stand for a structure each (I12). The messages of
 * correct senders stay far below. */
#define PACK_GROWTH_MAX 8
#define PACK_GROWTH_FREE ((size_t)1024 * 1024)

/* Unpacks `bytes` as `type` into `arena`. NULL: malformed, with a field that can be read but not written again, or its structures would take more than PACK_GROWTH_MAX times
 * its size and PACK_GROWTH_FREE (I11, I12); with nothing to undo. */
void *pack_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes, struct arena *arena);

/* The same into memory of its own: protobuf_c_message_free_unpacked(message, NULL). NULL: also out of memory. */
void *pack_unpack_owned(const ProtobufCMessageDescriptor *type, struct slice bytes);

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
