/* SPDX-License-Identifier: MIT */
#include "runtime/io/wake_internal.h"

#include <errno.h>
#include <unistd.h>

void plx__wake_quiet(const struct plx__wake *wake)
{
    uint64_t count;
    /* Nobody else reads it, and it does not block: with nothing there it says so. */
    while (read(wake->fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
}

void plx__wake_write(struct plx__wake *wake)
{
    const uint64_t one = 1;
    if (plx_exchange_relaxed(&wake->asleep, 0) == 0)
        return;
    /* It cannot be full: it is read, or, where its edges are what counts, has room for 2^64. */
    while (write(wake->fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}
