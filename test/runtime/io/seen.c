/* SPDX-License-Identifier: MIT */
#include "test/runtime/io/seen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/runtime/io/calls.h"

static unsigned terminals_so_far;
static bool forbidden;

void seen_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct seen *seen = ctx;
    assert_false(forbidden);
    assert_ptr_equal(op, &seen->op);
    assert_in_range(seen->events, 0, SEEN_MAX - 1);
    assert_int_equal(seen->terminals, 0);
    seen->event[seen->events++] = *event;
    if ((event->flags & PLX_EV_MORE) == 0) {
        assert_int_equal(plx_op_state(op), PLX_OP_DONE);
        seen->terminals++;
        seen->order = ++terminals_so_far;
    }
}

void seen_forbid(void)
{
    forbidden = true;
}

void seen_allow(void)
{
    forbidden = false;
}

void seen_assert_allowed(void)
{
    assert_false(forbidden);
}

void seen_reset(void)
{
    terminals_so_far = 0;
    forbidden = false;
}

void seen_expect(const struct seen *seen, int32_t result)
{
    assert_int_equal(seen->events, 1);
    assert_int_equal(seen->terminals, 1);
    assert_int_equal(seen->event[0].result, result);
}

void seen_expect_waiting(const struct seen *seen)
{
    assert_int_equal(seen->events, 0);
    assert_int_equal(plx_op_state(&seen->op), PLX_OP_SUBMITTED);
}

void make_pair(int type, int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
}

int make_listener(struct sockaddr_in *addr, int backlog)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    socklen_t bytes = sizeof(*addr);
    *addr = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    assert_int_equal(bind(listener, (struct sockaddr *)addr, bytes), 0);
    assert_int_equal(listen(listener, backlog), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)addr, &bytes), 0);
    return listener;
}

int make_client(const struct sockaddr_in *addr)
{
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client >= 0);
    assert_int_equal(connect(client, (const struct sockaddr *)addr, sizeof(*addr)), 0);
    return client;
}

int make_full_listener(struct sockaddr_in *addr, int *filler)
{
    int listener = make_listener(addr, 0);
    *filler = make_client(addr);
    return listener;
}

void make_tcp_pair(int pair[2])
{
    struct sockaddr_in addr;
    int listener = make_listener(&addr, 1);
    pair[0] = make_client(&addr);
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(pair[1] >= 0);
    close(listener);
}

size_t fill_socket(int fd)
{
    static char block[4096];
    size_t total = 0;
    ssize_t taken = 0;
    while (taken >= 0) {
        total += (size_t)taken;
        taken = send(fd, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    assert_int_equal(errno, EAGAIN);
    return total;
}

void put_text(int fd, const char *text)
{
    size_t len = strlen(text);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
}

bool is_open(int fd)
{
    return calls_is_open(fd);
}

unsigned count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    unsigned count = 0;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}
