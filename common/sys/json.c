/* json.c: see json.h. */
#include "common/sys/json.h"

void json_text(FILE *to, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at < 0x20 || *at == 0x7f)
            fprintf(to, "\\u%04x", (unsigned)*at);
        else
            fprintf(to, *at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
    }
}
