/* reflect.c: see reflect.h. */
#include "tests/unit/golden/reflect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/must.h"

typedef const ProtobufCFieldDescriptor field_type;

static char *format(struct arena *arena, const char *a, const char *b, unsigned number)
{
    char text[256];
    int size = snprintf(text, sizeof text, number ? "%s%s%u" : "%s%s", a, b, number);
    must(size > 0 && (size_t)size < sizeof text);
    char *kept = arena_alloc(arena, (size_t)size + 1);
    memcpy(kept, text, (size_t)size + 1);
    return kept;
}

static bool in_oneof(field_type *f)
{
    return (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

static size_t element_bytes(field_type *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    }
    must(false);
    return 0;
}

/* ---- filling ---- */

static size_t elements(field_type *f) /* so many that each value of the element's enum comes up */
{
    return strcmp(f->name, "commands") == 0 ? 9 : strcmp(f->name, "entries") == 0 ? 3 : 2;
}

static void fill_one(field_type *f, void *at, unsigned variant, struct arena *arena)
{
    static const uint8_t odd[] = {0x00, 0xff, '\n'};
    uint64_t number = UINT64_C(0x0102030405060000) + f->id * 256 + variant;
    ProtobufCBinaryData bytes;
    switch (f->type) {
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        *(int32_t *)at = -(int32_t)(f->id * 100 + variant);
        return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(uint32_t *)at = (uint32_t)number;
        return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(uint64_t *)at = number;
        return;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = 1;
        return;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *e = f->descriptor;
        *(int32_t *)at = e->values[variant % e->n_values].value;
        return;
    }
    case PROTOBUF_C_TYPE_STRING:
        *(char **)at = format(arena, f->name, " ", variant);
        return;
    case PROTOBUF_C_TYPE_BYTES:
        bytes.len = sizeof odd + strlen(f->name);
        bytes.data = arena_alloc(arena, bytes.len);
        memcpy(bytes.data, f->name, strlen(f->name));
        memcpy(bytes.data + strlen(f->name), odd, sizeof odd);
        memcpy(at, &bytes, sizeof bytes);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)at = reflect_fill(f->descriptor, NULL, variant, arena);
        return;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        break;
    }
    must(false); /* no protocol of ours has these */
}

static bool chosen(const ProtobufCMessageDescriptor *type, field_type *f, const char *choice)
{
    if (choice)
        return strcmp(f->name, choice) == 0;
    for (unsigned i = 0; i < type->n_fields; i++)
        if (in_oneof(&type->fields[i]))
            return &type->fields[i] == f;
    return false;
}

ProtobufCMessage *reflect_fill(const ProtobufCMessageDescriptor *type, const char *choice, unsigned variant,
                               struct arena *arena)
{
    uint8_t *m = arena_zalloc(arena, type->sizeof_message);
    type->message_init((ProtobufCMessage *)(void *)m);
    for (unsigned i = 0; i < type->n_fields; i++) {
        field_type *f = &type->fields[i];
        if (in_oneof(f) && !chosen(type, f, choice))
            continue;
        if (in_oneof(f))
            *(uint32_t *)(void *)(m + f->quantifier_offset) = f->id;
        if (f->label != PROTOBUF_C_LABEL_REPEATED) {
            fill_one(f, m + f->offset, variant, arena);
            continue;
        }
        size_t n = elements(f), size = element_bytes(f);
        uint8_t *list = arena_zalloc(arena, n * size);
        for (size_t e = 0; e < n; e++)
            fill_one(f, list + e * size, variant + (unsigned)e, arena);
        *(size_t *)(void *)(m + f->quantifier_offset) = n;
        *(void **)(void *)(m + f->offset) = list;
    }
    return (ProtobufCMessage *)(void *)m;
}

/* ---- reading ---- */

/* How many elements of the field are set: 0 or 1 but for repeated ones. *out_first: the first. */
static size_t present(const ProtobufCMessage *message, field_type *f, const void **out_first)
{
    static const uint8_t zeros[sizeof(ProtobufCBinaryData)];
    const uint8_t *m = (const uint8_t *)message, *at = m + f->offset;
    *out_first = at;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        *out_first = *(void *const *)(const void *)at;
        return *(const size_t *)(const void *)(m + f->quantifier_offset);
    }
    if (in_oneof(f))
        return *(const uint32_t *)(const void *)(m + f->quantifier_offset) == f->id;
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return (*(char *const *)(const void *)at)[0] != 0;
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)(const void *)at)->len > 0;
    return memcmp(at, zeros, element_bytes(f)) != 0;
}

static void append(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

static void print_bytes(struct buf *out, const uint8_t *bytes, size_t size)
{
    char one[8];
    append(out, "\"");
    for (size_t i = 0; i < size; i++) {
        bool plain = bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '"' && bytes[i] != '\\';
        snprintf(one, sizeof one, plain ? "%c" : "\\x%02x", bytes[i]);
        append(out, one);
    }
    append(out, "\"");
}

static void print(const ProtobufCMessage *message, unsigned depth, struct buf *out);

static void print_one(field_type *f, const void *at, unsigned depth, struct buf *out)
{
    char text[64] = "";
    uint64_t number = 0;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        append(out, "{\n");
        print(*(ProtobufCMessage *const *)at, depth + 1, out);
        for (unsigned i = 0; i < depth; i++)
            append(out, "  ");
        append(out, "}");
    } else if (f->type == PROTOBUF_C_TYPE_STRING) {
        const char *s = *(char *const *)at;
        print_bytes(out, (const uint8_t *)s, strlen(s));
    } else if (f->type == PROTOBUF_C_TYPE_BYTES) {
        const ProtobufCBinaryData *b = at;
        print_bytes(out, b->data, b->len);
    } else if (f->type == PROTOBUF_C_TYPE_ENUM) {
        const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int32_t *)at);
        append(out, v ? v->name : "a value this program does not know");
    } else if (f->type == PROTOBUF_C_TYPE_SINT32 || f->type == PROTOBUF_C_TYPE_INT32) {
        snprintf(text, sizeof text, "%" PRId32, *(const int32_t *)at);
    } else {
        memcpy(&number, at, element_bytes(f)); /* little endian, as the machines we build for */
        snprintf(text, sizeof text, "%" PRIu64, number);
    }
    append(out, text);
}

static void print(const ProtobufCMessage *message, unsigned depth, struct buf *out)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        field_type *f = &message->descriptor->fields[i];
        const void *first;
        size_t n = present(message, f, &first);
        for (size_t e = 0; e < n; e++) {
            for (unsigned d = 0; d < depth; d++)
                append(out, "  ");
            append(out, f->name);
            append(out, f->type == PROTOBUF_C_TYPE_MESSAGE ? " " : ": ");
            print_one(f, (const uint8_t *)first + e * element_bytes(f), depth, out);
            append(out, "\n");
        }
    }
}

void reflect_print(const ProtobufCMessage *message, struct buf *out)
{
    print(message, 0, out);
}

/* ---- names ---- */

bool reflect_has(const struct reflect_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->at[i], name) == 0)
            return true;
    return false;
}

static bool add(struct reflect_names *names, const char *name)
{
    if (reflect_has(names, name))
        return false;
    must(names->count < sizeof names->at / sizeof names->at[0]);
    names->at[names->count++] = name;
    return true;
}

static const char *field_name(const ProtobufCMessageDescriptor *type, field_type *f, struct arena *arena)
{
    return format(arena, format(arena, type->name, ".", 0), f->name, 0);
}

static const char *value_name(const ProtobufCEnumDescriptor *e, const ProtobufCEnumValue *v, struct arena *arena)
{
    return format(arena, format(arena, e->name, ".", 0), v->name, 0);
}

void reflect_seen(const ProtobufCMessage *message, struct reflect_names *seen, struct arena *arena)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        field_type *f = &message->descriptor->fields[i];
        const void *first;
        size_t n = present(message, f, &first);
        if (n > 0)
            add(seen, field_name(message->descriptor, f, arena));
        for (size_t e = 0; e < n; e++) {
            const void *at = (const uint8_t *)first + e * element_bytes(f);
            if (f->type == PROTOBUF_C_TYPE_MESSAGE)
                reflect_seen(*(ProtobufCMessage *const *)at, seen, arena);
            if (f->type != PROTOBUF_C_TYPE_ENUM)
                continue;
            const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int32_t *)at);
            if (v)
                add(seen, value_name(f->descriptor, v, arena));
        }
    }
}

void reflect_all(const ProtobufCMessageDescriptor *type, struct reflect_names *all, struct arena *arena)
{
    for (unsigned i = 0; i < type->n_fields; i++) {
        field_type *f = &type->fields[i];
        bool fresh = add(all, field_name(type, f, arena));
        if (f->type == PROTOBUF_C_TYPE_MESSAGE && fresh)
            reflect_all(f->descriptor, all, arena);
        const ProtobufCEnumDescriptor *e = f->type == PROTOBUF_C_TYPE_ENUM ? f->descriptor : NULL;
        for (unsigned v = 0; e && v < e->n_values; v++)
            if (e->values[v].value != 0) /* 0 is what an absent field reads as */
                add(all, value_name(e, &e->values[v], arena));
    }
}

size_t reflect_unknown(const ProtobufCMessage *message)
{
    size_t count = message->n_unknown_fields;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        field_type *f = &message->descriptor->fields[i];
        const void *first;
        size_t n = present(message, f, &first);
        for (size_t e = 0; e < n && f->type == PROTOBUF_C_TYPE_MESSAGE; e++)
            count += reflect_unknown(((ProtobufCMessage *const *)first)[e]);
    }
    return count;
}
