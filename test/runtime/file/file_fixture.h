/* SPDX-License-Identifier: MIT */
/* Files below a folder of the test's own, opened and used on a world of op_fixture.h. */
#ifndef POLLUX_TEST_FILE_FIXTURE_H
#define POLLUX_TEST_FILE_FIXTURE_H

#include "runtime/file/file.h"
#include "test/runtime/io/op_fixture.h"

/* How an opening, a closing or an I/O has ended. */
struct outcome {
    unsigned times;
    int64_t result;
};

/* A case of test_file_*.c: a world and a folder. */
struct bench {
    struct world *world;
    struct plx_reactor *reactor;
    char folder[64];
    char path[128]; /* of a file that is not there yet */
};

/* Set-up and teardown for cases of run_modes; *state becomes a struct bench. The folder is on the
 * disk that this runs on, so that direct I/O may be had. */
int bench_set_up(void **state);
int bench_tear_down(void **state);

#define BENCH_CASE(function)                                                                       \
    cmocka_unit_test_setup_teardown(function, bench_set_up, bench_tear_down)

/* Runs the cases in the modes that differ in what a file sees: epoll, and rings with and without a
 * thread that submits. For main. */
int run_main_modes(const struct CMUnitTest *cases, size_t count);

/* Skips, with the reason, where the backend has no ops on this machine's files. */
void need_files(const struct bench *bench);

/* Callbacks; `ctx` is a struct outcome. */
void note_file(struct plx_file *file, int result, void *ctx);
void note_io(struct plx_file_io *io, int64_t result, void *ctx);

/* Opens and waits; gives the result. `opts` NULL: for reading and writing, made if need be. */
int open_file(struct bench *bench, struct plx_file *file, const char *path,
              const struct plx_file_opts *opts);
void close_file(struct bench *bench, struct plx_file *file);
/* Asserts that it began (`rc` is 0), waits, and gives the result. */
int64_t await(struct bench *bench, struct outcome *outcome, int rc);

/* By plain calls: writes `bytes` of a pattern to `path`; compares what is there with it. */
void put_pattern(const char *path, size_t bytes);
uint8_t pattern_at(uint64_t offset);
void expect_pattern(const uint8_t *data, uint64_t offset, size_t bytes);
void fill_pattern(uint8_t *data, uint64_t offset, size_t bytes);

/* A folder is made on the disk; `out` has room for 64 bytes. Its removal takes all. */
void make_folder(char *out);
void remove_folder(const char *folder);

#endif
