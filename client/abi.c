/* abi.c: proves that the public header says what the library does, and hands the one error table out. */
#include "common/base/error.h"

#include "client/include/holdfast/holdfast.h"

#define PUBLIC_COUNT(name, number, cls) +1
#define OWN_COUNT(name, number, cls, text) +1
enum { PUBLIC_CODES = HF_PUBLIC_ERRORS(PUBLIC_COUNT), OWN_CODES = HF_ERRORS(OWN_COUNT) };
_Static_assert((int)PUBLIC_CODES == (int)OWN_CODES, "holdfast.h lists another number of codes");

#define OWN_CLASS(name, number, cls, text) OWN_CLASS_##name = (int)(cls),
enum { HF_ERRORS(OWN_CLASS) OWN_CLASS_END };

#define SAME_CODE(name, number, cls)                                                                                   \
    _Static_assert((int)name == (number), "holdfast.h: number of " #name);                                             \
    _Static_assert((int)OWN_CLASS_##name == (int)(cls), "holdfast.h: class of " #name);
HF_PUBLIC_ERRORS(SAME_CODE)

_Static_assert(HF_CLASS_NONE == 0 && HF_CLASS_RETRY_SAME == 1 && HF_CLASS_RETRY_ELSEWHERE == 2 &&
                   HF_CLASS_REFRESH_ROUTE == 3 && HF_CLASS_OUTCOME_UNKNOWN == 4 && HF_CLASS_GIVE_UP == 5 && HF_OK == 0,
               "holdfast.h: numbers of the classes");

/* ABI 1: what a compiled program relies on. */
_Static_assert(offsetof(struct hf_options, routed) == sizeof(void *), "struct hf_options");
_Static_assert(sizeof(struct hf_bytes) == sizeof(void *) + sizeof(size_t), "struct hf_bytes");
_Static_assert(sizeof(struct hf_version) == 16, "struct hf_version");
_Static_assert(sizeof(struct hf_item) == 2 * sizeof(struct hf_bytes) + sizeof(struct hf_version), "struct hf_item");

const char *hf_error_text(int code)
{
    return error_text(code);
}

const char *hf_error_name(int code)
{
    return error_name(code);
}

enum hf_class hf_error_class(int code)
{
    return error_class(code);
}

const char *hf_class_name(enum hf_class cls)
{
    return error_class_name(cls);
}
