/* versions.c: flags byte, expiry if any, payload; and finding the newest version of a key. */
#include "shard/fsm/versions.h"

#include "common/base/endian.h"
#include "common/base/error.h"

struct slice versions_encode(struct arena *arena, const struct version_value *value)
{
    size_t head = value->flags & VERSION_EXPIRES ? 9 : 1;
    uint8_t *bytes = arena_alloc(arena, head + value->payload.size);
    bytes[0] = value->flags;
    if (value->flags & VERSION_EXPIRES)
        put_le64(bytes + 1, value->expiry.t);
    if (value->payload.size > 0)
        memcpy(bytes + head, value->payload.data, value->payload.size);
    return slice_make(bytes, head + value->payload.size);
}

bool versions_decode(struct slice bytes, struct version_value *out)
{
    if (bytes.size < 1 || (bytes.data[0] & ~(VERSION_DELETE | VERSION_EXPIRES)) != 0)
        return false;
    struct version_value v = {.flags = bytes.data[0]};
    size_t head = 1;
    if (v.flags & VERSION_EXPIRES) {
        if (bytes.size < 9)
            return false;
        v.expiry.t = get_le64(bytes.data + 1);
        head = 9;
    }
    v.payload = slice_make(bytes.data + head, bytes.size - head);
    *out = v;
    return true;
}

int versions_newest(struct store_iterator *it, struct slice prefix, struct hlc at, struct version_found *out)
{
    store_iterator_seek(it, vkey_seek(prefix, at));
    if (!store_iterator_valid(it)) {
        int rc = store_iterator_status(it);
        return rc != HF_OK ? rc : HF_E_NOT_FOUND;
    }
    struct slice record = store_iterator_key(it);
    if (!slice_has_prefix(record, prefix))
        return HF_E_NOT_FOUND;
    struct vkey key;
    if (!vkey_decode(record, &key) || !versions_decode(store_iterator_value(it), &out->value))
        return HF_E_CORRUPT;
    out->version = key.version;
    return HF_OK;
}
