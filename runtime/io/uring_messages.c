/* SPDX-License-Identifier: MIT */
/*
 * PLX_OP_RECVMSG_GROUP where the kernel does not choose the buffer: a single recvmsg into one that
 * was chosen for it, which leaves behind what a multishot one would have.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/io/uring_internal.h"

int plx__uring_messages_open(struct uring *u, uint16_t group)
{
    u->messages[group] = calloc(u->io.groups[group].count, sizeof(struct uring_message));
    return u->messages[group] != NULL ? 0 : -ENOMEM;
}

void plx__uring_messages_close(struct uring *u)
{
    for (uint32_t i = 0; i < PLX_GROUPS_MAX; i++) {
        free(u->messages[i]);
        u->messages[i] = NULL;
    }
}

struct msghdr *plx__uring_message_ask(struct uring *u, const struct plx_op *op, uint16_t id)
{
    const struct plx__group *group = &u->io.groups[op->index];
    const struct msghdr *asked = op->mem.msg;
    struct uring_message *message = &u->messages[op->index][id];
    size_t rooms = plx__message_rooms(asked);
    char *at = group->blocks[id];

    memset(&message->msg, 0, sizeof(message->msg));
    at += sizeof(struct plx_datagram_head);
    message->msg.msg_name = asked->msg_namelen != 0 ? at : NULL;
    message->msg.msg_namelen = asked->msg_namelen;
    at += asked->msg_namelen;
    message->msg.msg_control = asked->msg_controllen != 0 ? at : NULL;
    message->msg.msg_controllen = asked->msg_controllen;
    at += asked->msg_controllen;
    message->part.iov_base = at;
    message->part.iov_len = group->bytes - rooms;
    message->msg.msg_iov = &message->part;
    message->msg.msg_iovlen = 1;
    return &message->msg;
}

int32_t plx__uring_message_tell(struct uring *u, const struct plx_op *op, uint16_t id,
                                int32_t bytes)
{
    const struct plx__group *group = &u->io.groups[op->index];
    const struct uring_message *message = &u->messages[op->index][id];
    struct plx_datagram_head head = {
        .addr_bytes = message->msg.msg_namelen,
        .control_bytes = (uint32_t)message->msg.msg_controllen,
        .bytes = (uint32_t)bytes,
        .flags = (uint32_t)message->msg.msg_flags,
    };
    memcpy(group->blocks[id], &head, sizeof(head));
    size_t there = (size_t)bytes;
    if (there > message->part.iov_len)
        there = message->part.iov_len;
    return (int32_t)(group->bytes - message->part.iov_len + there);
}
