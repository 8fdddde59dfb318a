/* reflect.h: any protobuf-c message by its descriptor: filled so that every field is set, printed, and which fields of
 * which messages were ever set.
 *
 * Position: test_messages.c and its generator. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "common/base/arena.h"
#include "common/base/buf.h"

/* A message with every field set, of a oneof the field named `choice` (NULL: the first). Numbers, texts and the elements
 * of enums depend on the field and on `variant`. */
ProtobufCMessage *reflect_fill(const ProtobufCMessageDescriptor *type, const char *choice, unsigned variant,
                               struct arena *arena);

/* One line a field that is set, in order of the descriptor; messages in braces, enums by name, bytes escaped. */
void reflect_print(const ProtobufCMessage *message, struct buf *out);

/* Names of messages' fields and of enums' values, each once. */
struct reflect_names {
    const char *at[1024];
    size_t count;
};

/* Adds what is set in `message`, at any depth. */
void reflect_seen(const ProtobufCMessage *message, struct reflect_names *seen, struct arena *arena);
/* Adds all that `type` and the messages in it can have. */
void reflect_all(const ProtobufCMessageDescriptor *type, struct reflect_names *all, struct arena *arena);
bool reflect_has(const struct reflect_names *names, const char *name);

/* Fields that this program does not know, at any depth. */
size_t reflect_unknown(const ProtobufCMessage *message);
