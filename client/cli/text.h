/* text.h: bytes as people and scripts see them: the escapes of dump, load and scan; hexadecimal; JSON.
 *
 * Position: every command's last step, and the first of those that read keys and values. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "common/base/must.h"
#include "common/base/slice.h"

/* \t \n \\ escaped, other bytes below 0x20 and 0x7f as \xHH, everything else as it is. */
void text_escape(FILE *to, struct slice s);
/* Undoes text_escape into `out` (room for s.size bytes). False: a lone backslash or an unknown escape. */
HF_CHECKED bool text_unescape(struct slice s, uint8_t *out, size_t *out_size);

void text_hex(FILE *to, struct slice s);
/* Room for s.size / 2 bytes. False: odd length or another character. */
HF_CHECKED bool text_unhex(struct slice s, uint8_t *out, size_t *out_size);

#define TEXT_TIME_BYTES 32
/* Milliseconds since 1970 as 2026-01-31T23:59:59.000Z. */
void text_time(uint64_t ms, char out[TEXT_TIME_BYTES]);

bool text_is_utf8(struct slice s);
/* A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void text_json(FILE *to, struct slice s);
/* The same, or a string of hexadecimal digits. */
void text_json_or_hex(FILE *to, struct slice s, bool hex);
