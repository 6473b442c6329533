/* SPDX-License-Identifier: MIT */
/* Listening sockets: exclusive, shared among siblings only, and every way in which that fails. */
#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/tcp_internal.h"
#include "test/net/net_world.h"

static void close_all(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

static struct plx_addr parse(const char *text)
{
    struct plx_addr addr;
    assert_int_equal(plx_addr_parse(&addr, text, NULL), 0);
    return addr;
}

static void bind_several_on_port_0_share_the_first_ones_port(void **state)
{
    (void)state;
    int fds[4];
    struct plx_addr any = net_loopback(0);
    struct plx_addr bound;
    assert_int_equal(plx_tcp_bind(NULL, &any, 4, NULL, fds, &bound, NULL), 0);
    assert_int_not_equal(plx_addr_port(&bound), 0);
    for (int i = 0; i < 4; i++) {
        struct plx_addr own;
        own.bytes = sizeof(own.sock);
        assert_int_equal(getsockname(fds[i], &own.sock.any, &own.bytes), 0);
        assert_int_equal(plx_addr_port(&own), plx_addr_port(&bound));
        int listens = 0;
        socklen_t bytes = sizeof(listens);
        assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes), 0);
        assert_int_equal(listens, 1);
        assert_true((fcntl(fds[i], F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(fds[i], F_GETFD) & FD_CLOEXEC) != 0);
    }
    close_all(fds, 4);
}

static void bind_siblings_each_get_connections(void **state)
{
    (void)state;
    int fds[2];
    int peers[64];
    int accepted[2] = {0, 0};
    struct plx_addr any = net_loopback(0);
    struct plx_addr bound;
    assert_int_equal(plx_tcp_bind(NULL, &any, 2, NULL, fds, &bound, NULL), 0);
    for (int i = 0; i < 64; i++)
        peers[i] = net_dial(&bound);
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (accepted[0] + accepted[1] < 64) {
        for (int i = 0; i < 2; i++) {
            int fd = accept(fds[i], NULL, NULL);
            if (fd >= 0) {
                accepted[i]++;
                close(fd);
            }
        }
        assert_true(net_now_ns() < until_ns);
    }
    /* By hash of the peers' ports: one of them getting none has a chance of 2 to the -63. */
    assert_true(accepted[0] > 0 && accepted[1] > 0);
    close_all(peers, 64);
    close_all(fds, 2);
}

static void bind_port_in_use_names_the_address(void **state)
{
    (void)state;
    int fds[2];
    int more[2] = {-7, -7};
    char text[PLX_ADDR_TEXT_BYTES];
    struct plx_addr any = net_loopback(0);
    struct plx_addr bound;
    struct plx_addr unchanged;
    struct plx_diag diag = {0};
    memset(&unchanged, 0, sizeof(unchanged));
    /* By a lone socket, then by two that share: neither lets another server in. */
    for (uint32_t count = 1; count <= 2; count++) {
        assert_int_equal(plx_tcp_bind(NULL, &any, count, NULL, fds, &bound, NULL), 0);
        assert_true(plx_addr_format(&bound, text, sizeof(text)) > 0);
        for (uint32_t again = 1; again <= 2; again++) {
            assert_int_equal(plx_tcp_bind(NULL, &bound, again, NULL, more, &unchanged, &diag),
                             -EADDRINUSE);
            assert_string_equal(diag.what, text);
            assert_non_null(strstr(diag.text, text));
            assert_non_null(strstr(diag.text, "in use"));
            assert_int_equal(unchanged.bytes, 0);
        }
        close_all(fds, count);
    }
    /* Free again at once. */
    assert_int_equal(plx_tcp_bind(NULL, &bound, 1, NULL, fds, NULL, NULL), 0);
    close_all(fds, 1);
}

static void bind_any_ipv6_takes_ipv4_too_and_excludes_it(void **state)
{
    (void)state;
    int fd;
    int other;
    struct plx_addr any = parse("[::]:0");
    struct plx_addr bound;
    struct plx_diag diag = {0};
    int rc = plx_tcp_bind(NULL, &any, 1, NULL, &fd, &bound, &diag);
    if (rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL) {
        print_message("skipped: no IPv6 here: %s\n", diag.text);
        skip();
    }
    assert_int_equal(rc, 0);
    struct plx_addr four = net_loopback(plx_addr_port(&bound));
    int peer = net_dial(&four);
    int got = -1;
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (got < 0 && net_now_ns() < until_ns)
        got = accept(fd, NULL, NULL);
    assert_true(got >= 0);
    close(got);
    close(peer);
    assert_int_equal(plx_tcp_bind(NULL, &four, 1, NULL, &other, NULL, &diag), -EADDRINUSE);
    close(fd);
}

static void bind_foreign_address_is_named(void **state)
{
    (void)state;
    int fd;
    struct plx_diag diag = {0};
    struct plx_addr foreign = parse("192.0.2.1:80");
    assert_int_equal(plx_tcp_bind(NULL, &foreign, 1, NULL, &fd, NULL, &diag), -EADDRNOTAVAIL);
    assert_string_equal(diag.what, "192.0.2.1:80");
}

static void bind_bad_arguments_are_refused(void **state)
{
    (void)state;
    int fd;
    struct plx_diag diag = {0};
    struct plx_addr none;
    struct plx_addr good = net_loopback(0);
    struct plx_tcp_opts opts;
    memset(&none, 0, sizeof(none));
    plx_tcp_opts_init(&opts);
    assert_int_equal(plx_tcp_bind(NULL, &none, 1, NULL, &fd, NULL, &diag), -EINVAL);
    assert_string_equal(diag.what, "address");
    assert_int_equal(plx_tcp_bind(NULL, &good, 0, NULL, &fd, NULL, &diag), -EINVAL);
    assert_string_equal(diag.what, "count");
    opts.backlog = 0;
    assert_int_equal(plx_tcp_bind(NULL, &good, 1, &opts, &fd, NULL, &diag), -EINVAL);
    assert_string_equal(diag.what, "backlog");
    opts.backlog = UINT32_MAX;
    assert_int_equal(plx_tcp_bind(NULL, &good, 1, &opts, &fd, NULL, NULL), -EINVAL);
}

/* --- calls that fail -------------------------------------------------------------------------- */

static uint32_t calls_made;
static uint32_t fails_at; /* which call, from 1 on; 0: none */
static int fails_with;

static bool fails(void)
{
    return ++calls_made == fails_at;
}

static int faulty_socket(int domain, int type, int protocol)
{
    return fails() ? fails_with : plx__plain_kernel.socket(domain, type, protocol);
}

static int faulty_bind(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    return fails() ? fails_with : plx__plain_kernel.bind(fd, addr, bytes);
}

static int faulty_listen(int fd, int backlog)
{
    return fails() ? fails_with : plx__plain_kernel.listen(fd, backlog);
}

static int faulty_getsockname(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    return fails() ? fails_with : plx__plain_kernel.getsockname(fd, addr, bytes);
}

static int faulty_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
    return fails() ? fails_with : plx__plain_kernel.setsockopt(fd, level, name, value, bytes);
}

static void bind_any_call_failing_leaves_nothing_open(void **state)
{
    (void)state;
    struct plx__plain_calls faulty = plx__plain_kernel;
    faulty.socket = faulty_socket;
    faulty.bind = faulty_bind;
    faulty.listen = faulty_listen;
    faulty.getsockname = faulty_getsockname;
    faulty.setsockopt = faulty_setsockopt;
    static const int errors[] = {-EADDRINUSE, -EACCES, -EMFILE, -ENOBUFS};
    static const char *const texts[] = {"127.0.0.1:0", "[::1]:0"};
    for (size_t a = 0; a < 2; a++) {
        struct plx_addr addr = parse(texts[a]);
        int fds[3];
        int before = net_count_fds();
        calls_made = 0;
        fails_at = 0;
        if (plx__tcp_bind(&faulty, &addr, 3, 16, fds, NULL, NULL) != 0) {
            print_message("no %s here\n", texts[a]);
            continue;
        }
        close_all(fds, 3);
        uint32_t total = calls_made;
        assert_true(total >= 15);
        for (uint32_t at = 1; at <= total; at++) {
            struct plx_diag diag = {0};
            calls_made = 0;
            fails_at = at;
            fails_with = errors[at % 4];
            assert_int_equal(plx__tcp_bind(&faulty, &addr, 3, 16, fds, NULL, &diag), fails_with);
            assert_int_equal(net_count_fds(), before);
            assert_int_equal(diag.code, fails_with);
            assert_non_null(strstr(diag.text, a == 0 ? "127.0.0.1:" : "[::1]:"));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bind_several_on_port_0_share_the_first_ones_port),
        cmocka_unit_test(bind_siblings_each_get_connections),
        cmocka_unit_test(bind_port_in_use_names_the_address),
        cmocka_unit_test(bind_any_ipv6_takes_ipv4_too_and_excludes_it),
        cmocka_unit_test(bind_foreign_address_is_named),
        cmocka_unit_test(bind_bad_arguments_are_refused),
        cmocka_unit_test(bind_any_call_failing_leaves_nothing_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
