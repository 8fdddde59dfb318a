/* inspect.c: inspect DIR: hands over to `holdfast-shard --inspect DIR`, which knows the files of a replica. */
#include "client/cli/child.h"

int inspect_run(struct cli *c)
{
    return child_become(c, "--inspect", c->arguments[0].text);
}
