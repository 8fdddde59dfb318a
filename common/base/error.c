/* error.c: the texts, names and classes of error.h, all from its one table. */
#include "common/base/error.h"

const char *error_text(int code)
{
    if (code == HF_OK)
        return "success";
    switch (code) {
#define HF_ERROR_TEXT(name, number, cls, text)                                                                         \
    case number:                                                                                                       \
        return text;
        HF_ERRORS(HF_ERROR_TEXT)
#undef HF_ERROR_TEXT
    default:
        return "unknown error";
    }
}

const char *error_name(int code)
{
    if (code == HF_OK)
        return "OK";
    switch (code) {
#define HF_ERROR_NAME(name, number, cls, text)                                                                         \
    case number:                                                                                                       \
        return &#name[sizeof "HF_E_" - 1];
        HF_ERRORS(HF_ERROR_NAME)
#undef HF_ERROR_NAME
    default:
        return "UNKNOWN";
    }
}

enum hf_class error_class(int code)
{
    if (code == HF_OK)
        return HF_CLASS_NONE;
    switch (code) {
#define HF_ERROR_CLASS(name, number, cls, text)                                                                        \
    case number:                                                                                                       \
        return cls;
        HF_ERRORS(HF_ERROR_CLASS)
#undef HF_ERROR_CLASS
    default:
        return HF_CLASS_OUTCOME_UNKNOWN;
    }
}

const char *error_class_name(enum hf_class cls)
{
    switch (cls) {
    case HF_CLASS_NONE:
        return "NONE";
    case HF_CLASS_RETRY_SAME:
        return "RETRY_SAME";
    case HF_CLASS_RETRY_ELSEWHERE:
        return "RETRY_ELSEWHERE";
    case HF_CLASS_REFRESH_ROUTE:
        return "REFRESH_ROUTE";
    case HF_CLASS_OUTCOME_UNKNOWN:
        return "OUTCOME_UNKNOWN";
    case HF_CLASS_GIVE_UP:
        return "GIVE_UP";
    }
    return "OUTCOME_UNKNOWN"; /* a number from a newer server */
}
