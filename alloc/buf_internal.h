/* SPDX-License-Identifier: MIT */
/* How a buffer from the system is mapped, for tests of what the system may refuse. */
#ifndef POLLUX_BUF_INTERNAL_H
#define POLLUX_BUF_INTERNAL_H

#include "alloc/buf.h"
#include "alloc/pages_internal.h"

/* plx_buf_with_cap from the system, by this table of calls; plx_buf_fini unmaps it by Linux's. */
PLX_MUST_CHECK int plx__buf_map(struct plx_buf *buf, size_t cap,
                                const struct plx__pages_calls *calls);

#endif
