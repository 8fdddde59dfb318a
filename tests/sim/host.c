/* host.c: what a process finds where the machine is, led here by the linker's --wrap. */
#include "tests/sim/node.h"

struct disk *__wrap_disk_posix(void);

struct disk *__wrap_disk_posix(void)
{
    struct node *n = logtap_node();
    must(n != NULL);
    return simdisk_disk(n->disk);
}
