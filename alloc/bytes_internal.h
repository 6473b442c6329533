/* SPDX-License-Identifier: MIT */
/*
 * Counted bytes that are written by other parts of the library: room for them first, the content
 * after. Words and threads: as in bytes.h.
 */
#ifndef POLLUX_BYTES_INTERNAL_H
#define POLLUX_BYTES_INTERNAL_H

#include "alloc/bytes.h"

/*
 * A slice of `len` bytes, 1 or more, which the caller writes through plx__bytes_fill before
 * anything else is made with the home. Packed if small. Errors: as plx_bytes_copy; *out is empty.
 */
PLX_MUST_CHECK int plx__bytes_room(struct plx_bytes_home *home, size_t len, struct plx_bytes *out);

/*
 * A slice of the first bytes of a fresh block, up to `len` of them, and how many bytes of the block
 * are behind it: nobody else's, and the caller's to write and to lengthen the slice by. Errors: as
 * plx__bytes_room.
 */
PLX_MUST_CHECK int plx__bytes_room_block(struct plx_bytes_home *home, size_t len,
                                         struct plx_bytes *out, size_t *behind);

/* The bytes from `offset` within or right behind a slice on, which are to be written. */
static inline uint8_t *plx__bytes_fill(const struct plx_bytes *bytes, size_t offset)
{
    return (uint8_t *)(uintptr_t)bytes->ptr + offset;
}

/* Whether the slice pins more than it should if it is kept by a thread whose home this is. */
static inline bool plx__bytes_pins(const struct plx_bytes_home *home, const struct plx_bytes *bytes)
{
    uint32_t *count;

    if (bytes->len >= PLX_BYTES_PACK_MAX || bytes->home == NULL)
        return false;
    (void)plx__bytes_block(bytes, &count);
    return bytes->home != home || (*count & PLX__BYTES_PACKED) == 0;
}

#endif
