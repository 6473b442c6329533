/* SPDX-License-Identifier: MIT */
/*
 * Capabilities: the features of the kernel's I/O, and of the machine's clock, that a reactor asked
 * for, got, or had to do without. One bit each. `plx_reactor_caps` tells which are in use;
 * `plx_runtime_opts.deny` treats some as missing, so that a test can make any probe fail.
 *
 * Threads: constants and one pure function.
 */
#ifndef POLLUX_CAPS_H
#define POLLUX_CAPS_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

enum plx_cap {
    PLX_CAP_URING = 1 << 0,              /* io_uring at all; without it: epoll */
    PLX_CAP_SQPOLL = 1 << 1,             /* a kernel thread takes submissions */
    PLX_CAP_SINGLE_ISSUER = 1 << 2,      /* the kernel may rely on one submitting thread */
    PLX_CAP_DEFER_TASKRUN = 1 << 3,      /* completions are made when this thread asks for them */
    PLX_CAP_COOP_TASKRUN = 1 << 4,       /* no interrupts of this thread by completions */
    PLX_CAP_TASKRUN_FLAG = 1 << 5,       /* a flag in memory tells that asking is worth it */
    PLX_CAP_BUFFER_RING = 1 << 6,        /* the kernel takes buffers from a shared ring */
    PLX_CAP_MULTISHOT_ACCEPT = 1 << 7,   /* one op accepts many connections */
    PLX_CAP_MULTISHOT_RECV = 1 << 8,     /* one op receives many times */
    PLX_CAP_REGISTERED_RING = 1 << 9,    /* the ring's own descriptor is registered */
    PLX_CAP_CANCEL_ANY = 1 << 10,        /* one entry cancels all that is in flight */
    PLX_CAP_ATTACH_WQ = 1 << 11,         /* several rings share one SQ thread */
    PLX_CAP_FIXED_BUFFERS = 1 << 12,     /* the arena's pages are pinned once, not by each op */
    PLX_CAP_MULTISHOT_RECVMSG = 1 << 13, /* one op receives many messages */
    PLX_CAP_SEND_ZC = 1 << 14,           /* sends from the caller's memory */
    PLX_CAP_SENDMSG_ZC = 1 << 15,        /* the same for messages */
    PLX_CAP_REGISTERED_FILES = 1 << 16,  /* descriptors can be looked up once */
    PLX_CAP_MSG_RING = 1 << 17,          /* one ring can wake another */
    PLX_CAP_TICK_CLOCK = 1 << 18         /* time is told from the processor's cycle counter */
};

#define PLX_CAP_COUNT 19

/* The name of one capability bit, such as "SQPOLL"; "?" for anything else. Static. */
PLX_API const char *plx_cap_name(uint32_t cap);

PLX_EXTERN_C_END

#endif
