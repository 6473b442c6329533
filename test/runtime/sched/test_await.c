/* SPDX-License-Identifier: MIT */
/* Every straight-line wrapper, on each backend; and what waiting for an op adds to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/file/await_file.h"
#include "runtime/io/group.h"
#include "runtime/remote.h"
#include "runtime/sched/await.h"
#include "runtime/sched/await_call.h"
#include "runtime/sched/sync.h"
#include "runtime/sched/timer.h"
#include "test/runtime/rt_fixture.h"
#include "test/runtime/sched/task_fixture.h"

/* A case runs inside one task; what it wants of the world is here. */
struct scene {
    struct task_world world;
    char folder[64];
};

static struct scene scene;

static int64_t run_in_task(void *ctx)
{
    void (*body)(void) = *(void (**)(void))ctx;
    body();
    return 0;
}

static void run_on(const char *words, void (*body)(void))
{
    scene.world = task_world_open(words);
    snprintf(scene.folder, sizeof(scene.folder), "/tmp/pollux-await-XXXXXX");
    assert_non_null(mkdtemp(scene.folder));
    assert_int_equal(task_do(&scene.world, run_in_task, &body), 0);
    rmdir(scene.folder);
    task_world_close(&scene.world);
}

static void run_everywhere(void (*body)(void))
{
    run_on("backend=epoll", body);
    rt_need_uring();
    run_on("backend=uring", body);
}

/* --- files ------------------------------------------------------------------------------------ */

static void use_file(void)
{
    char path[96];
    char back[32] = "";
    snprintf(path, sizeof(path), "%s/file", scene.folder);
    int fd = (int)plx_await_openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(plx_await_fallocate(fd, 0, 0, 8192), 0);
    assert_int_equal(plx_await_write(fd, "0123456789", 10, 0), 10);
    const struct iovec out[2] = {{.iov_base = (char[]){"ab"}, .iov_len = 2},
                                 {.iov_base = (char[]){"cd"}, .iov_len = 2}};
    assert_int_equal(plx_await_writev(fd, out, 2, 10), 4);
    assert_int_equal(plx_await_fsync(fd, PLX_FSYNC_DATA), 0);
    assert_int_equal(plx_await_read(fd, back, 10, 4), 10);
    assert_memory_equal(back, "456789abcd", 10);
    const struct iovec in[2] = {{.iov_base = back, .iov_len = 3},
                                {.iov_base = back + 3, .iov_len = 4}};
    assert_int_equal(plx_await_readv(fd, in, 2, 0), 7);
    assert_memory_equal(back, "0123456", 7);
    struct statx seen;
    assert_int_equal(plx_await_statx(AT_FDCWD, path, 0, STATX_SIZE, &seen), 0);
    assert_int_equal(seen.stx_size, 8192);

    struct plx_pool *pool = plx_reactor_pool(scene.world.reactor);
    char *block = plx_pool_acquire(pool, 4096);
    assert_non_null(block);
    memset(block, 'x', 4096);
    assert_int_equal(plx_await_write_fixed(fd, block, 4096, 0), 4096);
    memset(block, 'y', 4096);
    assert_int_equal(plx_await_read_fixed(fd, block, 4096, 0), 4096);
    assert_int_equal(block[4095], 'x');
    plx_pool_release(pool, block);
    assert_int_equal(plx_await_read_fixed(fd, back, 1, 0), -EFAULT);

    uint16_t group = 0;
    struct plx_event event;
    assert_int_equal(plx_group_create(scene.world.reactor, 2, 4096, &group), 0);
    assert_int_equal(plx_await_read_group(fd, group, 100, 0, &event), 100);
    assert_true((event.flags & PLX_EV_BUFFER) != 0);
    assert_int_equal(((const char *)event.data)[99], 'x');
    plx_group_release(scene.world.reactor, group, event.buffer_id);
    assert_int_equal(plx_await_read_group(-1, group, 100, 0, &event), -EBADF);
    assert_int_equal(event.result, -EBADF);

    assert_int_equal(plx_await_close(fd), 0);
    assert_int_equal(plx_await_read(fd, back, 1, 0), -EBADF);
    assert_int_equal(plx_await_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(plx_await_nop(), 0);
}

static void wrappers_of_files_give_results(void **state)
{
    (void)state;
    run_everywhere(use_file);
}

static void use_plx_file(void)
{
    char path[96];
    char back[32] = "";
    struct plx_file file = {.fd = 0};
    struct plx_file_opts opts;
    plx_file_opts_init(&opts);
    opts.access = PLX_FILE_READ | PLX_FILE_WRITE | PLX_FILE_CREATE;
    snprintf(path, sizeof(path), "%s/none/file", scene.folder);
    assert_int_equal(plx_await_file_open(&file, path, &opts), -ENOENT);
    snprintf(path, sizeof(path), "%s/file", scene.folder);
    assert_int_equal(plx_await_file_open(&file, path, &opts), 0);
    assert_int_equal(plx_await_file_allocate(&file, 0, 0, 4096), 0);
    assert_int_equal(plx_await_file_write(&file, "0123456789", 10, 0), 10);
    assert_int_equal(plx_await_file_read(&file, back, 4, 6), 4);
    assert_memory_equal(back, "6789", 4);
    const struct iovec part = {.iov_base = back, .iov_len = 4};
    assert_int_equal(plx_await_file_writev(&file, &part, 1, 10), 4);
    assert_int_equal(plx_await_file_readv(&file, &part, 1, 0), 4);
    assert_memory_equal(back, "0123", 4);
    assert_int_equal(plx_await_file_write_all(&file, "abcdef", 6, 14), 6);
    assert_int_equal(plx_await_file_read_all(&file, back, 10, 10), 10);
    assert_memory_equal(back, "6789abcdef", 10);
    assert_int_equal(plx_await_file_read_fixed(&file, back, 1, 0), -EFAULT);
    assert_int_equal(plx_await_file_write_fixed(&file, back, 1, 0), -EFAULT);
    struct plx_buf buf;
    assert_int_equal(plx_buf_zeroed(&buf, 4096, NULL), 0);
    assert_int_equal(plx_await_file_write_buf(&file, &buf, 4096), 4096);
    assert_int_equal(plx_await_file_read_buf(&file, &buf, 0), 4096);
    assert_memory_equal(buf.ptr, "0123456789", 10);
    plx_buf_fini(&buf);
    assert_int_equal(plx_await_file_sync(&file, 0), 0);
    assert_int_equal(plx_await_file_look(&file), 0);
    assert_int_equal(plx_file_size(&file), 8192);
    plx_task_cancel(plx_task_self());
    assert_int_equal(plx_await_file_read(&file, back, 4, 6), -ECANCELED);
    assert_int_equal(plx_await_file_open(&file, path, &opts), -ECANCELED);
    assert_int_equal(plx_await_file_close(&file), 0);
    assert_int_equal(plx_await_file_close(&file), -EBADF);
    assert_int_equal(unlink(path), 0);
}

static void wrappers_of_plx_file_give_results(void **state)
{
    (void)state;
    struct plx_file file = {.fd = 0};
    assert_int_equal(plx_await_file_close(&file), -EDEADLK);
    assert_int_equal(plx_await_file_open(&file, "/", NULL), -EDEADLK);
    run_everywhere(use_plx_file);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static int64_t serve_one(void *ctx)
{
    char bytes[64];
    int64_t got;
    int fd = (int)plx_await_accept(*(const int *)ctx, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    while ((got = plx_await_recv(fd, bytes, sizeof(bytes), 0)) > 0)
        assert_int_equal(plx_await_send_all(fd, bytes, (uint32_t)got, 0, PLX_QUEUED), got);
    return plx_await_close(fd);
}

static void expect_back(int fd, const char *text)
{
    char back[64];
    size_t got = 0;
    while (got < strlen(text)) {
        int64_t rc = plx_await_recv(fd, back + got, (uint32_t)(sizeof(back) - got), 0);
        assert_true(rc > 0);
        got += (size_t)rc;
    }
    assert_int_equal(got, strlen(text));
    assert_memory_equal(back, text, got);
}

static void use_stream(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(addr);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&addr, size), 0);
    assert_int_equal(listen(listening, 4), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&addr, &size), 0);
    struct plx_task *server = task_start(&scene.world, serve_one, &listening);

    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(plx_await_connect(fd, (struct sockaddr *)&addr, (uint16_t)size), 0);
    assert_int_equal(plx_await_send(fd, "one", 3, 0, PLX_INLINE), 3);
    expect_back(fd, "one");
    assert_int_equal(plx_await_send_zc(fd, "two", 3, 0), 3);
    expect_back(fd, "two");
    struct plx_op_msg msg;
    plx_op_msg_init(&msg);
    plx_op_msg_add(&msg, "th", 2);
    plx_op_msg_add(&msg, "ree", 3);
    assert_int_equal(plx_await_sendmsg(fd, &msg.msg, 0, PLX_QUEUED), 5);
    int64_t bits = plx_await_poll(fd, POLLIN);
    assert_true(bits > 0 && (bits & POLLIN) != 0);
    char back[8];
    plx_op_msg_init(&msg);
    plx_op_msg_add(&msg, back, sizeof(back));
    assert_true(plx_await_recvmsg(fd, &msg.msg, MSG_PEEK) > 0);
    assert_int_equal(back[0], 't');
    expect_back(fd, "three");
    assert_int_equal(plx_await_shutdown(fd, SHUT_WR), 0);
    assert_int_equal(plx_await_recv(fd, back, sizeof(back), 0), 0);
    assert_int_equal(plx_await_close(fd), 0);
    int64_t result = -1;
    assert_int_equal(plx_task_join(server, &result), 0);
    assert_int_equal(result, 0);
    assert_int_equal(plx_await_close(listening), 0);
    assert_true(plx_await_send_all(fd, "x", 1, 0, PLX_QUEUED) < 0);
}

static void wrappers_of_sockets_give_results(void **state)
{
    (void)state;
    run_everywhere(use_stream);
}

/* --- other reactors --------------------------------------------------------------------------- */

static int32_t add_there(struct plx_reactor *here, const struct plx_call_token *token,
                         const void *body, void *answer)
{
    const uint64_t *numbers = body;
    (void)token;
    *(uint64_t *)answer = numbers[0] + numbers[1];
    return (int32_t)plx_reactor_index(here);
}

static int64_t ask_there(void *ctx)
{
    (void)ctx;
    const uint64_t body[2] = {40, 2};
    uint64_t answer[PLX_CALL_BYTES / 8];
    assert_int_equal(plx_await_call(1, add_there, body, sizeof(body), answer), 1);
    assert_int_equal(answer[0], 42);
    assert_int_equal(plx_await_call(1, add_there, body, sizeof(body), NULL), 1);
    assert_int_equal(plx_await_call(9, add_there, body, sizeof(body), NULL), -EINVAL);

    int pipes[2];
    char byte = 0;
    struct plx_op op;
    struct plx_remote remote;
    memset(&remote, 0, sizeof(remote));
    assert_int_equal(pipe(pipes), 0);
    plx_op_write(&op, pipes[1], "r", 1, PLX_OFFSET_CURRENT, NULL, NULL);
    assert_int_equal(plx_await_on(&remote, 1, &op), 1);
    plx_op_read(&op, pipes[0], &byte, 1, PLX_OFFSET_CURRENT, NULL, NULL);
    assert_int_equal(plx_await_on(&remote, 1, &op), 1);
    assert_int_equal(byte, 'r');
    plx_op_read(&op, pipes[0], &byte, 1, PLX_OFFSET_CURRENT, NULL, NULL);
    int64_t rc = plx_await_on(&remote, 1, &op); /* until it is cancelled */
    assert_int_equal(plx_await_on(&remote, 1, &op), -ECANCELED);
    assert_int_equal(plx_await_call(1, add_there, body, sizeof(body), NULL), -ECANCELED);
    close(pipes[0]);
    close(pipes[1]);
    return rc;
}

static void wrappers_of_other_reactors_give_results(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("reactors=2", NULL);
    struct plx_reactor *here = rt_adopt(rt, 0);
    struct plx_reactor *there = rt_adopt(rt, 1);
    struct plx_task *task = NULL;
    int64_t result = 0;
    assert_int_equal(plx_await_call(1, add_there, NULL, 0, NULL), -EDEADLK);
    assert_int_equal(plx_task_spawn(here, NULL, ask_there, NULL, &task), 0);
    for (unsigned i = 0; i < 200; i++) {
        (void)plx_reactor_poll(here);
        (void)plx_reactor_poll(there);
    }
    plx_task_cancel(task);
    int rc = -EAGAIN;
    RT__UNTIL((rc = plx_task_try_join(task, &result)) != -EAGAIN,
              (plx_reactor_poll(here), plx_reactor_poll(there)));
    assert_int_equal(rc, 0);
    assert_int_equal(result, -ECANCELED);
    rt_abandon(here);
    rt_abandon(there);
    plx_runtime_destroy(rt);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void read_pipe(struct plx_op *op, char *byte, const int *pipes)
{
    plx_op_read(op, pipes[0], byte, 1, PLX_OFFSET_CURRENT, NULL, NULL);
}

static void cut_off_some(void)
{
    int pipes[2];
    char byte = 0;
    struct plx_op op;
    assert_int_equal(pipe(pipes), 0);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t now = plx_reactor_now_ns(scene.world.reactor);
        read_pipe(&op, &byte, pipes);
        assert_int_equal(plx_await_until(&op, i == 0 ? 1 : now + 1000000), -ETIMEDOUT);
    }
    assert_int_equal(write(pipes[1], "z", 1), 1);
    uint64_t late = plx_reactor_now_ns(scene.world.reactor) + 3600000000000u;
    read_pipe(&op, &byte, pipes);
    assert_int_equal(plx_await_until(&op, late), 1);
    assert_int_equal(byte, 'z');
    assert_int_equal(plx_await_close(pipes[0]), 0);
    assert_int_equal(plx_await_close(pipes[1]), 0);
}

static void wait_beyond_its_deadline_is_cut_off(void **state)
{
    (void)state;
    run_everywhere(cut_off_some);
}

static void cancel_waiter(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    plx_task_cancel(ctx);
}

/* Both are due in one turn, the cancelling first: the op's event comes in the next one. */
static void cancel_before_the_deadline(void)
{
    int pipes[2];
    char byte = 0;
    struct plx_op op;
    struct plx_timer timer = {0};
    assert_int_equal(pipe(pipes), 0);
    uint64_t at_ns = plx_reactor_now_ns(scene.world.reactor) + 1000000;
    plx_timer_arm(scene.world.reactor, &timer, at_ns, cancel_waiter, plx_task_self());
    read_pipe(&op, &byte, pipes);
    assert_int_equal(plx_await_until(&op, at_ns), -ECANCELED);
    assert_true(plx_task_is_cancelled(plx_task_self()));
    assert_int_equal(plx_await_close(pipes[0]), 0);
    assert_int_equal(plx_await_close(pipes[1]), 0);
}

static void wait_cancelled_ahead_of_its_deadline_is_cancelled(void **state)
{
    (void)state;
    run_everywhere(cancel_before_the_deadline);
}

static void wait_for_many_events(void)
{
    struct plx_op op;
    plx_op_accept(&op, 0, 0, PLX_MULTISHOT, NULL, NULL);
    assert_int_equal(plx_await(&op), -EINVAL);
}

static void wait_for_a_multishot_op_is_refused(void **state)
{
    (void)state;
    run_on("", wait_for_many_events);
}

static int64_t wait_often(void *ctx)
{
    unsigned *done = ctx;
    for (unsigned i = 0; i < 20; i++)
        *done += plx_await_nop() == 0;
    return 0;
}

/* More ops in a turn than the ring has entries: those that found it full come in later turns. */
static void wait_with_a_full_ring_comes_later(void **state)
{
    (void)state;
    rt_need_uring();
    struct task_world world = task_world_open("backend=uring ring_entries=16");
    struct plx_task *tasks[100];
    unsigned done = 0;
    for (unsigned i = 0; i < 100; i++)
        tasks[i] = task_start(&world, wait_often, &done);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(task_finish(&world, tasks[i]), 0);
    assert_int_equal(done, 2000);
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(world.reactor, &stats);
    assert_true(stats.ops_refused > 0);
    task_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrappers_of_files_give_results),
        cmocka_unit_test(wrappers_of_plx_file_give_results),
        cmocka_unit_test(wrappers_of_sockets_give_results),
        cmocka_unit_test(wrappers_of_other_reactors_give_results),
        cmocka_unit_test(wait_beyond_its_deadline_is_cut_off),
        cmocka_unit_test(wait_cancelled_ahead_of_its_deadline_is_cancelled),
        cmocka_unit_test(wait_for_a_multishot_op_is_refused),
        cmocka_unit_test(wait_with_a_full_ring_comes_later),
    };
    return cmocka_run_group_tests_name("await", tests, NULL, NULL);
}
