/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C, the checksum of the journal: it finds every error of up to 32 bits in a row, and x86-64
 * has an instruction for it.
 *
 * Threads: pure functions.
 */
#ifndef POLLUX_CRC32C_INTERNAL_H
#define POLLUX_CRC32C_INTERNAL_H

#include "alloc/base.h"

/*
 * The checksum of `len` bytes that follow those whose checksum is `crc` (0: none). Cost: with the
 * instruction about 8 bytes in 3 cycles, by the table a byte in about 7.
 */
uint32_t plx__crc32c(uint32_t crc, const void *data, size_t len);

/* The same by the table, for tests and for processors without the instruction. */
uint32_t plx__crc32c_by_table(uint32_t crc, const void *data, size_t len);

#endif
