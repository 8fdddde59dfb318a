/* test_messages.c: encoded messages of every protocol as the first program of each version wrote them (tests/golden/
 * messages) are read for ever: decoded by the product's own decoder and compared field by field with the text beside.
 * test_golden_messages --generate DIR   writes the files of a new version with this program into a folder that exists;
 * a file that is there is never written again. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/disk.h"
#include "proto/client.pb-c.h"
#include "proto/entry.pb-c.h"
#include "proto/pack.h"
#include "proto/raft.pb-c.h"
#include "proto/snapshot.pb-c.h"
#include "tests/unit/golden/reflect.h"
#include "tests/unit/unit.h"

#define FILE_BYTES_MAX (1u << 20)

/* What stands alone on a wire or on a disk; all other messages are in these. */
static const struct root {
    const ProtobufCMessageDescriptor *type;
    unsigned variants; /* files for each choice of its oneof */
} roots[] = {
    {&hf__client__request__descriptor, 1},         {&hf__client__reply__descriptor, 1},
    {&hf__raft__envelope__descriptor, 9},          {&hf__entry__command_batch__descriptor, 1},
    {&hf__entry__lease_entry__descriptor, 1},      {&hf__entry__session_entry__descriptor, 1},
    {&hf__catalog__members__descriptor, 1},        {&hf__catalog__range__descriptor, 1},
    {&hf__catalog__routes__descriptor, 1},         {&hf__catalog__oracle__descriptor, 1},
    {&hf__catalog__bootstrap__descriptor, 1},      {&hf__entry__check_entry__descriptor, 1},
    {&hf__client__backup_record__descriptor, 1},   {&hf__client__backup_head__descriptor, 1},
    {&hf__snapshot__request__descriptor, 1},       {&hf__snapshot__reply__descriptor, 1},
    {&hf__entry__txn_record__descriptor, 4},       {&hf__entry__collect_entry__descriptor, 1},
    {&hf__entry__collect_record__descriptor, 1},   {&hf__entry__migrate_entry__descriptor, 4},
    {&hf__entry__migration_record__descriptor, 3}, {&hf__catalog__job__descriptor, 8},
    {&hf__client__migrate_job__descriptor, 7}, /* in a Request only, but with more choices than that has */
};
#define ROOTS (sizeof roots / sizeof roots[0])

static const ProtobufCMessageDescriptor *type_of(const char *file)
{
    for (size_t i = 0; i < ROOTS; i++) {
        size_t size = strlen(roots[i].type->name);
        if (strncmp(file, roots[i].type->name, size) == 0 && file[size] == '-')
            return roots[i].type;
    }
    return NULL;
}

static bool ends(const char *text, const char *end)
{
    size_t size = strlen(text), tail = strlen(end);
    return size > tail && strcmp(text + size - tail, end) == 0;
}

/* DIR/<name less its ending><ending> */
static void read_beside(const char *dir, const char *name, const char *ending, struct buf *out)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%.*s%s", dir, (int)(strlen(name) - 4), name, ending);
    int rc = disk_read_all(disk_posix(), path, FILE_BYTES_MAX, out);
    if (rc)
        fprintf(stderr, "%s: %s\n", path, error_text(rc));
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void check_file(const char *dir, const char *name, struct reflect_names *seen, struct arena *names)
{
    struct arena arena = {0};
    struct buf bytes = {0}, text = {0}, said = {0}, again = {0};
    const ProtobufCMessageDescriptor *type = type_of(name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(type);
    read_beside(dir, name, ".bin", &bytes);
    read_beside(dir, name, ".txt", &text);
    const ProtobufCMessage *m = pack_unpack(type, buf_slice(&bytes), &arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_EQUAL(reflect_unknown(m), 0);
    reflect_print(m, &said);
    bool same = slice_equal(buf_slice(&said), buf_slice(&text));
    if (!same)
        fprintf(stderr, "%s/%s reads as\n%.*s", dir, name, (int)said.size, (const char *)said.data);
    CU_ASSERT(same);
    pack_append(m, &again); /* and is written as it was */
    CU_ASSERT(slice_equal(buf_slice(&again), buf_slice(&bytes)));
    reflect_seen(m, seen, names);
    buf_deinit(&bytes);
    buf_deinit(&text);
    buf_deinit(&said);
    buf_deinit(&again);
    arena_deinit(&arena);
}

static size_t check_version(const char *dir, struct reflect_names *seen, struct arena *names)
{
    DIR *d = opendir(dir);
    size_t count = 0;
    for (const struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (!ends(e->d_name, ".bin"))
            continue;
        check_file(dir, e->d_name, seen, names);
        count++;
    }
    if (d)
        closedir(d);
    return count;
}

static struct reflect_names seen, all; /* large */

static void test_every_version(void)
{
    struct arena names = {0};
    unsigned version = 1;
    for (;; version++) {
        char dir[512];
        snprintf(dir, sizeof dir, "%s/%u", HF_GOLDEN_DIR, version);
        if (check_version(dir, &seen, &names) == 0)
            break;
    }
    CU_ASSERT(version > 1);
    for (size_t i = 0; i < ROOTS; i++)
        reflect_all(roots[i].type, &all, &names);
    for (size_t i = 0; i < all.count; i++) {
        bool there = reflect_has(&seen, all.at[i]);
        if (!there)
            fprintf(stderr, "no golden message sets %s: generate a new version\n", all.at[i]);
        CU_ASSERT(there);
    }
    CU_ASSERT(all.count > 150);
    arena_deinit(&names);
}

/* ---- the generator ---- */

static const char *generate_dir;

static void write_new(const char *name, const char *ending, const struct buf *content)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s%s", generate_dir, name, ending);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        perror(path);
    must(fd >= 0); /* a golden file is never written again */
    must(write(fd, content->data, content->size) == (ssize_t)content->size);
    must(close(fd) == 0);
}

static void generate_one(const struct root *root, const char *choice, unsigned variant)
{
    struct arena arena = {0};
    struct buf bytes = {0}, text = {0};
    char name[512];
    const ProtobufCMessage *m = reflect_fill(root->type, choice, variant, &arena);
    snprintf(name, sizeof name, "%s-%s-%u", root->type->name, choice ? choice : "all", variant);
    pack_append(m, &bytes);
    reflect_print(m, &text);
    write_new(name, ".bin", &bytes);
    write_new(name, ".txt", &text);
    buf_deinit(&bytes);
    buf_deinit(&text);
    arena_deinit(&arena);
}

static void generate(void)
{
    for (size_t i = 0; i < ROOTS; i++)
        for (unsigned variant = 1; variant <= roots[i].variants; variant++) {
            bool choices = false;
            for (unsigned f = 0; f < roots[i].type->n_fields; f++)
                if (roots[i].type->fields[f].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
                    choices = true;
                    if (variant == 1 || strcmp(roots[i].type->fields[f].name, "foreign") != 0)
                        generate_one(&roots[i], roots[i].type->fields[f].name, variant);
                }
            if (!choices)
                generate_one(&roots[i], NULL, variant);
        }
}

int main(int argc, char **argv)
{
    static const struct unit_case cases[] = {{"every version of every message", test_every_version}};
    static const struct unit_case generator[] = {{"generate", generate}};
    if (argc == 3 && strcmp(argv[1], "--generate") == 0)
        generate_dir = argv[2];
    if (generate_dir)
        return UNIT_MAIN("golden messages", generator);
    return UNIT_MAIN("golden messages", cases);
}
