/* crc32c.h: CRC-32C (Castagnoli), as iSCSI (RFC 3720) defines it; hardware instruction where the processor has it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The CRC of `size` bytes continuing from `seed` (0 for a new one). crc32c(crc32c(0,a),b) == crc32c(0,a‖b). */
uint32_t crc32c(uint32_t seed, const void *data, size_t size);

/* The same without the instruction: what other processors run; tests hold the two against each other. */
uint32_t crc32c_portable(uint32_t seed, const void *data, size_t size);
