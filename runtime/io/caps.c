/* SPDX-License-Identifier: MIT */
#include "runtime/io/caps.h"

const char *plx_cap_name(uint32_t cap)
{
    static const char *const names[PLX_CAP_COUNT] = {
        "URING",
        "SQPOLL",
        "SINGLE_ISSUER",
        "DEFER_TASKRUN",
        "COOP_TASKRUN",
        "TASKRUN_FLAG",
        "BUFFER_RING",
        "MULTISHOT_ACCEPT",
        "MULTISHOT_RECV",
        "REGISTERED_RING",
        "CANCEL_ANY",
        "ATTACH_WQ",
        "FIXED_BUFFERS",
        "MULTISHOT_RECVMSG",
        "SEND_ZC",
        "SENDMSG_ZC",
        "REGISTERED_FILES",
        "MSG_RING",
        "TICK_CLOCK",
    };

    if (!plx_is_pow2(cap))
        return "?";
    unsigned bit = (unsigned)__builtin_ctz(cap);
    return bit < PLX_CAP_COUNT ? names[bit] : "?";
}
