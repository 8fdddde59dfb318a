/* put_get.c: the synchronous calls: write, read, compare, list, delete. Also valid C++.
 *
 * put_get ENDPOINTS [PREFIX]     ENDPOINTS: of coordinators, "tcp://127.0.0.1:7400,tcp://127.0.0.1:7401" */
#include <holdfast/holdfast.h>
#include <stdio.h>
#include <string.h>

#define DEADLINE_MS 10000u

static struct hf_bytes text(const char *s)
{
    struct hf_bytes b;
    b.data = s;
    b.size = strlen(s);
    return b;
}

/* What a program should say, and how sure it may be. */
static int failed(const char *what, int code)
{
    const char *sure = hf_error_class(code) == HF_CLASS_OUTCOME_UNKNOWN ? "it may have happened" : "it did not happen";
    fprintf(stderr, "%s: %s (%s; %s)\n", what, hf_error_text(code), hf_error_name(code), sure);
    return 1;
}

static int list(struct hf *h, struct hf_bytes prefix, struct hf_bytes end)
{
    struct hf_range range = {prefix, end, 0, 0, 0, 0};
    struct hf_cursor *cursor = NULL;
    const struct hf_item *item = NULL;
    int rc = hf_cursor_open(h, &range, DEADLINE_MS, &cursor);
    if (rc)
        return failed("scan", rc);
    while ((rc = hf_cursor_next(cursor, &item)) == HF_OK && item) /* borrowed until the next call */
        printf("%.*s = %.*s\n", (int)item->key.size, (const char *)item->key.data, (int)item->value.size,
               (const char *)item->value.data);
    if (rc)
        fprintf(stderr, "scan: %s\n", hf_cursor_message(cursor));
    hf_cursor_close(cursor);
    return rc ? 1 : 0;
}

static int work(struct hf *h, const char *prefix)
{
    char key[128], other[128], end[128];
    snprintf(key, sizeof key, "%s/colour", prefix);
    snprintf(other, sizeof other, "%s/size", prefix);
    snprintf(end, sizeof end, "%s0", prefix); /* '0' follows '/' */
    struct hf_version version;
    int rc = hf_put(h, text(key), text("green"), 0, DEADLINE_MS, &version);
    if (rc == HF_OK)
        rc = hf_put(h, text(other), text("large"), 3600 * 1000, DEADLINE_MS, NULL); /* for an hour */
    if (rc)
        return failed("put", rc);

    struct hf_value value;
    rc = hf_get(h, text(key), 0, DEADLINE_MS, &value);
    if (rc)
        return failed("get", rc);
    printf("%s is %.*s\n", key, (int)value.size, (const char *)value.data);
    int same = value.version.timestamp == version.timestamp && value.version.sequence == version.sequence;
    hf_value_free(&value);
    if (!same)
        printf("somebody else wrote it since\n");

    struct hf_bytes green = text("green"), blue = text("blue");
    rc = hf_cas(h, text(key), &green, &blue, DEADLINE_MS, NULL);
    if (rc == HF_E_COMPARE_FAILED)
        printf("%s was not green any more\n", key);
    else if (rc)
        return failed("cas", rc);

    if (list(h, text(prefix), text(end)))
        return 1;
    rc = hf_del(h, text(key), DEADLINE_MS, NULL);
    if (rc == HF_OK)
        rc = hf_get(h, text(key), 0, DEADLINE_MS, &value);
    if (rc == HF_E_NOT_FOUND) {
        printf("%s is gone\n", key);
        return 0;
    }
    if (rc == HF_OK)
        hf_value_free(&value);
    return failed("del", rc);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: put_get ENDPOINTS [PREFIX]\n");
        return 2;
    }
    struct hf_options options;
    memset(&options, 0, sizeof options); /* 0 is every field's default */
    options.endpoints = argv[1];
    struct hf *h = NULL;
    int rc = hf_open(&options, HF_ABI, &h);
    if (rc)
        return failed("open", rc);
    rc = work(h, argc > 2 ? argv[2] : "example");
    hf_close(&h);
    return rc;
}
