/* SPDX-License-Identifier: MIT */
/*
 * The arena as fixed buffers: which of them an address lies in, that reads and writes use them by
 * themselves, frame by frame with O_DIRECT, and what happens where they are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/io/uring_internal.h"
#include "runtime/reactor_internal.h"
#include "test/runtime/rt_fixture.h"

#define KIB    ((uint64_t)1 << 10)
#define GIB    ((uint64_t)1 << 30)
#define NOBODY 65534
#define BATCH  64u

static const char *program;

/* --- the arithmetic --------------------------------------------------------------------------- */

static void chunk_of_a_range_is_the_one_that_holds_all_of_it(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        uint64_t offset;
        uint64_t len;
        int32_t chunk;
    } cases[] = {
        {2 * GIB, 0, 1, 0},
        {2 * GIB, 0, GIB, 0},
        {2 * GIB, 0, GIB + 1, -1},
        {2 * GIB, GIB - 1, 1, 0},
        {2 * GIB, GIB - 1, 2, -1},
        {2 * GIB, GIB, GIB, 1},
        {2 * GIB, 2 * GIB - 1, 1, 1},
        {2 * GIB, 2 * GIB - 1, 2, -1},
        {2 * GIB, 2 * GIB, 1, -1},
        {3 * GIB + 4096, 3 * GIB, 4096, 3},
        {3 * GIB + 4096, 3 * GIB, 4097, -1},
        {1024 * GIB, 1024 * GIB - 4096, 4096, 1023},
        /* Before the base, and nothing registered. */
        {2 * GIB, UINT64_MAX - 4095, 4096, -1},
        {2 * GIB, UINT64_MAX, UINT64_MAX, -1},
        {0, 0, 1, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(plx__uring_chunk(cases[i].bytes, cases[i].offset, cases[i].len),
                         cases[i].chunk);
}

static void chunks_cover_the_arena_without_a_gap(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {4096,    GIB - 4096,     GIB,       GIB + 4096,
                                     3 * GIB, 5 * GIB + 4096, 1024 * GIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        uint64_t covered = 0;
        for (uint32_t chunk = 0; covered < sizes[i]; chunk++) {
            uint64_t bytes = plx__uring_chunk_bytes(sizes[i], chunk);
            assert_true(bytes > 0 && bytes <= GIB);
            assert_int_equal(covered, chunk * GIB);
            assert_int_equal(plx__uring_chunk(sizes[i], covered, bytes), chunk);
            covered += bytes;
        }
        assert_int_equal(covered, sizes[i]);
    }
}

/* --- a reactor of this thread ----------------------------------------------------------------- */

struct here {
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
};

static void open_here(struct here *here, const char *words)
{
    here->runtime = rt_create(words, NULL);
    here->reactor = rt_adopt(here->runtime, 0);
}

static void close_here(struct here *here)
{
    rt_abandon(here->reactor);
    plx_runtime_destroy(here->runtime);
}

/* The opcode and the buffer index of the entry that was filled last. */
static uint8_t last_opcode(const struct here *here, int *index)
{
    const struct uring *u = PLX_CONTAINER(here->reactor->io, struct uring, io);
    const struct io_uring_sqe *sqe = &u->ring.sq.sqes[(u->sq_tail - 1) & u->sq_mask];
    *index = sqe->buf_index;
    return sqe->opcode;
}

struct transfer {
    struct plx_op op;
    int32_t result;
    bool ended;
};

static void note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct transfer *transfer = ctx;
    assert_ptr_equal(op, &transfer->op);
    transfer->result = event->result;
    transfer->ended = true;
}

/* Transfers and gives the result; `chunk` -1: asserts that it was a plain one. */
static int32_t run(const struct here *here, struct transfer *transfer, int chunk)
{
    bool reads = transfer->op.code == PLX_OP_READ;
    int index = 0;
    assert_int_equal(plx_op_submit(here->reactor, &transfer->op), 0);
    uint8_t opcode = last_opcode(here, &index);
    if (chunk >= 0) {
        assert_int_equal(opcode, reads ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED);
        assert_int_equal(index, chunk);
    } else {
        assert_int_equal(opcode, reads ? IORING_OP_READ : IORING_OP_WRITE);
    }
    RT_TURN_UNTIL(here->reactor, transfer->ended);
    return transfer->result;
}

static int32_t run_write(const struct here *here, int fd, const void *data, uint32_t len,
                         uint64_t offset, int chunk)
{
    struct transfer transfer = {0};
    plx_op_write(&transfer.op, fd, data, len, offset, note, &transfer);
    return run(here, &transfer, chunk);
}

static int32_t run_read(const struct here *here, int fd, void *data, uint32_t len, uint64_t offset,
                        int chunk)
{
    struct transfer transfer = {0};
    plx_op_read(&transfer.op, fd, data, len, offset, note, &transfer);
    return run(here, &transfer, chunk);
}

/* A file without a name beside the program; with O_DIRECT in `flags` it skips where that is not to
 * be had. */
static int make_file(int flags)
{
    char path[512];
    assert_true((size_t)snprintf(path, sizeof(path), "%s-XXXXXX", program) < sizeof(path));
    int made = mkstemp(path);
    assert_true(made >= 0);
    close(made);
    int file = open(path, O_RDWR | O_CLOEXEC | flags);
    int reason = errno;
    unlink(path);
    if (file < 0) {
        print_message("skipped: no O_DIRECT on the file system of the build folder: %s\n",
                      strerror(reason));
        skip();
    }
    return file;
}

static void fill(uint8_t *data, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 251 + seed * 31);
}

/* --- every frame ------------------------------------------------------------------------------ */

struct frames {
    const struct here *here;
    uint8_t **at;
    struct transfer *transfers;
    unsigned count;
    int file;
};

static void transfer_all(struct frames *frames, bool reads)
{
    for (unsigned from = 0; from < frames->count; from += BATCH) {
        unsigned end = from + BATCH < frames->count ? from + BATCH : frames->count;
        for (unsigned i = from; i < end; i++) {
            struct transfer *t = &frames->transfers[i];
            int index;
            t->ended = false;
            if (reads)
                plx_op_read(&t->op, frames->file, frames->at[i], PLX_PAGE, i * 4096ull, note, t);
            else
                plx_op_write(&t->op, frames->file, frames->at[i], PLX_PAGE, i * 4096ull, note, t);
            assert_int_equal(plx_op_submit(frames->here->reactor, &t->op), 0);
            assert_int_equal(last_opcode(frames->here, &index),
                             reads ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED);
        }
        for (unsigned i = from; i < end; i++) {
            RT_TURN_UNTIL(frames->here->reactor, frames->transfers[i].ended);
            assert_int_equal(frames->transfers[i].result, PLX_PAGE);
        }
    }
}

/* All blocks of the pool, and all that nobody had carved. */
static void gather_frames(struct frames *frames)
{
    struct plx_reactor *r = frames->here->reactor;
    struct plx_pool *pool = plx_reactor_pool(r);
    struct plx_arena *arena = plx_reactor_arena(r);
    for (size_t bytes = PLX_POOL_BLOCK_MIN; bytes <= PLX_POOL_BLOCK_MAX; bytes *= 2) {
        uint8_t *block;
        while ((block = plx_pool_acquire(pool, bytes)) != NULL) {
            size_t got = 0;
            (void)plx_pool_block_of(pool, block, &got);
            for (size_t i = 0; i < got; i += PLX_PAGE)
                frames->at[frames->count++] = block + i;
        }
    }
    uint8_t *frame;
    while ((frame = plx_arena_carve(arena, PLX_PAGE, PLX_PAGE)) != NULL)
        frames->at[frames->count++] = frame;
}

static void direct_round_trip_of_every_frame(void **state)
{
    (void)state;
    rt_need_uring();
    int file = make_file(O_DIRECT);
    struct here here;
    open_here(&here, "backend=uring prefault=yes arena_size=4M");
    assert_true((plx_reactor_caps(here.reactor) & PLX_CAP_FIXED_BUFFERS) != 0);
    size_t most = plx_reactor_arena(here.reactor)->bytes / PLX_PAGE;
    struct frames frames = {.here = &here, .file = file};
    frames.at = calloc(most, sizeof(*frames.at));
    frames.transfers = calloc(most, sizeof(*frames.transfers));
    assert_true(frames.at != NULL && frames.transfers != NULL);
    gather_frames(&frames);
    /* The rest is the reactor's own. */
    assert_true(frames.count > most / 4 * 3);

    for (unsigned i = 0; i < frames.count; i++)
        fill(frames.at[i], PLX_PAGE, i);
    transfer_all(&frames, false);
    for (unsigned i = 0; i < frames.count; i++)
        memset(frames.at[i], 0, PLX_PAGE);
    transfer_all(&frames, true);
    for (unsigned i = 0; i < frames.count; i++) {
        static uint8_t expected[PLX_PAGE];
        fill(expected, PLX_PAGE, i);
        assert_memory_equal(frames.at[i], expected, PLX_PAGE);
    }
    print_message("%u frames of %zu\n", frames.count, most);
    close_here(&here);
    free(frames.at);
    free(frames.transfers);
    close(file);
}

/* --- which ops -------------------------------------------------------------------------------- */

static void buffers_outside_of_the_arena_go_as_plain_ones(void **state)
{
    (void)state;
    rt_need_uring();
    struct here here;
    open_here(&here, "backend=uring prefault=yes");
    const struct plx_arena *arena = plx_reactor_arena(here.reactor);
    int file = make_file(0);
    static uint8_t other[256];
    uint8_t *block = plx_pool_acquire(plx_reactor_pool(here.reactor), PLX_PAGE);
    fill(block, PLX_PAGE, 1);
    assert_int_equal(run_write(&here, file, block, PLX_PAGE, 0, 0), PLX_PAGE);
    assert_int_equal(run_write(&here, file, block + 1, 100, 0, 0), 100);
    assert_int_equal(run_read(&here, file, other, sizeof(other), 0, -1), sizeof(other));
    assert_memory_equal(other, block + 1, 100);
    assert_int_equal(run_write(&here, file, block, 0, 0, -1), 0);
    /* The last bytes, and those and one more, which is on the guard behind. */
    const uint8_t *end = arena->base + arena->bytes;
    assert_int_equal(run_write(&here, file, end - 16, 16, 0, 0), 16);
    int32_t past = run_write(&here, file, end - 16, 17, 0, -1);
    assert_true(past == 16 || past == -EFAULT);
    close(file);
    close_here(&here);
}

static void pipes_take_fixed_buffers(void **state)
{
    (void)state;
    rt_need_uring();
    struct here here;
    open_here(&here, "backend=uring prefault=yes");
    struct plx_pool *pool = plx_reactor_pool(here.reactor);
    uint8_t *out = plx_pool_acquire(pool, PLX_PAGE);
    uint8_t *in = plx_pool_acquire(pool, PLX_PAGE);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fill(out, 1000, 2);
    /* The read waits for what the write brings. */
    struct transfer waits = {0};
    plx_op_read(&waits.op, ends[0], in, PLX_PAGE, PLX_OFFSET_CURRENT, note, &waits);
    assert_int_equal(plx_op_submit(here.reactor, &waits.op), 0);
    for (unsigned i = 0; i < 10; i++)
        (void)plx_reactor_poll(here.reactor);
    assert_false(waits.ended);
    assert_int_equal(run_write(&here, ends[1], out, 1000, PLX_OFFSET_CURRENT, 0), 1000);
    RT_TURN_UNTIL(here.reactor, waits.ended);
    assert_int_equal(waits.result, 1000);
    assert_memory_equal(in, out, 1000);
    close(ends[0]);
    close(ends[1]);
    close_here(&here);
}

/* --- several chunks --------------------------------------------------------------------------- */

static uint64_t available_bytes(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *info = fopen("/proc/meminfo", "re");
    assert_non_null(info);
    while (kib == 0 && fgets(line, sizeof(line), info) != NULL)
        (void)sscanf(line, "MemAvailable: %llu kB", &kib);
    fclose(info);
    return kib * KIB;
}

static void arena_of_three_chunks_is_registered_whole(void **state)
{
    (void)state;
    rt_need_uring();
    if (rt_is_sanitized() || available_bytes() < 6 * GIB) {
        print_message("skipped: it takes 2 GiB, of 6 GiB available, without a sanitizer\n");
        skip();
    }
    struct here here;
    open_here(&here, "backend=uring prefault=yes thp=try arena_size=2052M");
    assert_true((plx_reactor_caps(here.reactor) & PLX_CAP_FIXED_BUFFERS) != 0);
    struct plx_arena *arena = plx_reactor_arena(here.reactor);
    struct plx_pool *pool = plx_reactor_pool(here.reactor);
    int file = make_file(0);
    uint8_t *block = plx_pool_acquire(pool, PLX_PAGE);
    fill(block, PLX_PAGE, 3);
    int chunk = (int)plx_pool_chunk_of(pool, block);
    assert_int_equal(chunk, (block - arena->base) / (int64_t)GIB);
    assert_int_equal(run_write(&here, file, block, PLX_PAGE, 0, chunk), PLX_PAGE);

    /* What the pool has left goes over the second boundary. */
    size_t left = plx_arena_left(arena) - PLX_PAGE;
    uint8_t *rest = plx_arena_carve(arena, left, 1);
    uint8_t *second = arena->base + 2 * GIB;
    assert_true(rest != NULL && rest + PLX_PAGE < second && second + PLX_PAGE < rest + left);
    assert_int_equal(run_read(&here, file, second, PLX_PAGE, 0, 2), PLX_PAGE);
    assert_memory_equal(second, block, PLX_PAGE);
    assert_int_equal(run_read(&here, file, second - 2048, PLX_PAGE, 0, -1), PLX_PAGE);
    assert_memory_equal(second - 2048, block, PLX_PAGE);
    assert_int_equal(run_read(&here, file, second - PLX_PAGE, PLX_PAGE, 0, 1), PLX_PAGE);
    assert_memory_equal(second - PLX_PAGE, block, PLX_PAGE);
    close(file);
    close_here(&here);
}

/* --- refused ---------------------------------------------------------------------------------- */

static void expect_plain(const struct here *here)
{
    int file = make_file(0);
    uint8_t *block = plx_pool_acquire(plx_reactor_pool(here->reactor), PLX_PAGE);
    assert_int_equal(plx_reactor_caps(here->reactor) & PLX_CAP_FIXED_BUFFERS, 0);
    assert_int_equal(run_write(here, file, block, PLX_PAGE, 0, -1), PLX_PAGE);
    assert_int_equal(run_read(here, file, block, PLX_PAGE, 0, -1), PLX_PAGE);
    close(file);
}

static void arena_without_prefault_is_left_alone(void **state)
{
    (void)state;
    rt_need_uring();
    struct here here;
    struct plx_reactor_stats stats;
    open_here(&here, "backend=uring prefault=no");
    expect_plain(&here);
    static struct rt_lines lines;
    plx_reactor_explain(here.reactor, rt_keep_line, &lines);
    assert_int_equal(rt_lines_with(&lines, "FIXED_BUFFERS"), 0);
    plx_reactor_read_stats(here.reactor, &stats);
    close_here(&here);
}

/* In a child that may lock little: 0, or the number of what was not as expected. */
static int run_with_little_to_lock(int file)
{
    static struct rt_lines lines;
    const struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (getuid() == 0 && setuid(NOBODY) != 0))
        return 1;
    struct here here;
    open_here(&here, "backend=uring prefault=yes arena_size=8M");
    if ((plx_reactor_caps(here.reactor) & PLX_CAP_FIXED_BUFFERS) != 0)
        return 2;
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(here.reactor, &stats);
    plx_reactor_explain(here.reactor, rt_keep_line, &lines);
    if (stats.downgrades == 0 || rt_lines_with(&lines, "not got: FIXED_BUFFERS") != 1 ||
        rt_lines_with(&lines, "RLIMIT_MEMLOCK") != 1)
        return 3;
    uint8_t *block = plx_pool_acquire(plx_reactor_pool(here.reactor), PLX_PAGE);
    fill(block, PLX_PAGE, 4);
    if (run_write(&here, file, block, PLX_PAGE, 0, -1) != PLX_PAGE)
        return 4;
    close_here(&here);
    return 0;
}

static void memlock_too_small_is_told_and_done_without(void **state)
{
    (void)state;
    rt_need_uring();
    int file = make_file(0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(30);
        _exit(run_with_little_to_lock(file));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(file);
}

int main(int count, char **arguments)
{
    program = count > 0 ? arguments[0] : "test_fixed";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunk_of_a_range_is_the_one_that_holds_all_of_it),
        cmocka_unit_test(chunks_cover_the_arena_without_a_gap),
        cmocka_unit_test(direct_round_trip_of_every_frame),
        cmocka_unit_test(buffers_outside_of_the_arena_go_as_plain_ones),
        cmocka_unit_test(pipes_take_fixed_buffers),
        cmocka_unit_test(arena_of_three_chunks_is_registered_whole),
        cmocka_unit_test(arena_without_prefault_is_left_alone),
        cmocka_unit_test(memlock_too_small_is_told_and_done_without),
    };
    return cmocka_run_group_tests_name("fixed buffers", tests, NULL, NULL);
}
