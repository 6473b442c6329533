/* SPDX-License-Identifier: MIT */
/*
 * Many file ops on few workers: writes of numbered blocks, reads that check them, syncs, and
 * cancels at any moment, with pauses in which the workers fall asleep. Each op ends once; at the
 * end each block of the file is what the last write of it that did not fail has left. The seed is
 * printed; POLLUX_TEST_SEED sets it.
 */
#include "test/runtime/io/epoll_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCKS 48u
#define WORDS  64u
#define ROUNDS 100000u

/* A block of the file, with at most one op on it at a time. */
struct block {
    struct plx_op op;
    struct plx__io *io;
    uint64_t words[WORDS];
    uint64_t stamp; /* what the file holds */
    uint64_t next_stamp;
    bool in_flight;
    bool cancelled;
};

static struct block blocks[BLOCKS];
static uint64_t ended;
static uint64_t ended_cancelled;
static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static void note_end(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct block *block = ctx;
    const int32_t bytes = sizeof(block->words);
    assert_true(block->in_flight);
    assert_int_equal(event->flags, 0);
    block->in_flight = false;
    ended++;
    if (event->result == -ECANCELED) {
        assert_true(block->cancelled);
        ended_cancelled++;
        return;
    }
    if (op->code == PLX_OP_FSYNC) {
        assert_int_equal(event->result, 0);
        return;
    }
    assert_int_equal(event->result, bytes);
    if (op->code == PLX_OP_WRITE)
        block->stamp = block->next_stamp;
    for (unsigned i = 0; i < WORDS; i++)
        assert_int_equal(block->words[i], block->stamp + i);
}

static void submit(struct plx__io *io, struct block *block, int fd, uint64_t stamp)
{
    uint64_t offset = (uint64_t)(block - blocks) * sizeof(block->words);
    uint32_t bytes = sizeof(block->words);
    switch (draw(8)) {
    case 0:
        plx_op_fsync(&block->op, fd, 0, note_end, block);
        break;
    case 1:
    case 2:
    case 3:
        plx_op_read(&block->op, fd, block->words, bytes, offset, note_end, block);
        break;
    default:
        block->next_stamp = stamp;
        for (unsigned i = 0; i < WORDS; i++)
            block->words[i] = stamp + i;
        plx_op_write(&block->op, fd, block->words, bytes, offset, note_end, block);
    }
    int rc = plx__io_submit(io, &block->op);
    assert_true(rc == 0 || rc == -EAGAIN);
    block->in_flight = rc == 0;
    block->cancelled = false;
}

static void files_through_any_mix_of_ops_keep_every_block(void **state)
{
    const char *asked = getenv("POLLUX_TEST_SEED");
    uint64_t seed = asked != NULL ? strtoull(asked, NULL, 10) : 20240611;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_state = seed | 1;
    epoll_settings.file_workers = 3;
    epoll_settings.ring_entries = 32;
    struct plx__io *io = epoll_reopen(state);
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < BLOCKS; i++) {
        for (unsigned n = 0; n < WORDS; n++)
            blocks[i].words[n] = n;
        assert_int_equal(write(fd, blocks[i].words, sizeof(blocks[i].words)),
                         (ssize_t)sizeof(blocks[i].words));
    }
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        struct block *block = &blocks[draw(BLOCKS)];
        if (!block->in_flight) {
            submit(io, block, fd, round << 16);
        } else if (draw(4) == 0) {
            block->cancelled = true;
            plx__io_cancel(io, &block->op);
        }
        if (draw(4) == 0)
            plx__io_poll(io);
        /* All comes to rest, and the workers fall asleep. */
        if (draw(400) == 0) {
            IO_UNTIL(io, io->in_flight == 0);
            for (unsigned i = 0; i < 20; i++)
                sched_yield();
        }
    }
    IO_UNTIL(io, io->in_flight == 0);
    for (unsigned i = 0; i < BLOCKS; i++) {
        uint64_t words[WORDS];
        assert_int_equal(pread(fd, words, sizeof(words), (off_t)(i * sizeof(words))),
                         (ssize_t)sizeof(words));
        for (unsigned n = 0; n < WORDS; n++)
            assert_int_equal(words[n], blocks[i].stamp + n);
    }
    print_message("%llu ops ended, %llu of them cancelled, %llu refused at a full queue\n",
                  (unsigned long long)ended, (unsigned long long)ended_cancelled,
                  (unsigned long long)io->full);
    assert_true(ended_cancelled > 0 && io->full > 0);
    io_close(io, fd);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup_teardown(files_through_any_mix_of_ops_keep_every_block, epoll_set_up,
                                        epoll_tear_down),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
