/* SPDX-License-Identifier: MIT */
/*
 * What kernels know and the headers of liburing 2.3 don't; and those of 2.3 are enough for us.
 * Numbers are the kernel's, from its include/uapi/linux/io_uring.h.
 *
 * Threads: constants.
 */
#ifndef POLLUX_URING_CONSTS_INTERNAL_H
#define POLLUX_URING_CONSTS_INTERNAL_H

#include <stdint.h>

/* io_uring_setup(2). */
#define URING_SETUP_NO_MMAP    (1u << 14)
#define URING_SETUP_NO_SQARRAY (1u << 16)

/* What it tells in `features`. */
#define URING_FEAT_RECVSEND_BUNDLE (1u << 14)
#define URING_FEAT_MIN_TIMEOUT     (1u << 15)

/* Opcodes. */
#define URING_OP_READV_FIXED  60u
#define URING_OP_WRITEV_FIXED 61u

/* io_uring_register(2). */
#define URING_REGISTER_NAPI          27u
#define URING_UNREGISTER_NAPI        28u
#define URING_REGISTER_CLONE_BUFFERS 30u
#define URING_REGISTER_RESIZE_RINGS  33u
#define URING_REGISTER_MEM_REGION    34u

/* Commands of IORING_OP_URING_CMD for sockets. */
#define URING_SOCKET_TX_TIMESTAMP 4u

/* Of URING_REGISTER_NAPI. */
struct uring_napi {
    uint32_t busy_poll_us;
    uint8_t prefer_busy_poll;
    uint8_t pad[3];
    uint64_t reserved;
};

#endif
