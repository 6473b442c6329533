/* SPDX-License-Identifier: MIT */
/*
 * fio as a peer: its io_uring engine with registered buffers and files, on the same file and core,
 * a process for each slice. What counts is what it reports of its own running, so that its start
 * does not. It is spared what the subject beside it does not do either: a clock for each read
 * (gtod_reduce), and a map of the places read so far (norandommap).
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "tools/bench/file.h"
#include "tools/bench/frame.h"

static double number_at(const json_t *object, const char *key)
{
    const json_t *number = json_object_get(object, key);
    return json_is_number(number) ? json_number_value(number) : 0;
}

static int take_figures(struct plx_bench_slice *slice, const char *text, struct plx_diag *diag)
{
    json_t *root = json_loads(text, 0, NULL);
    const json_t *job = json_array_get(json_object_get(root, "jobs"), 0);
    const json_t *read = json_object_get(job, "read");
    double reads = number_at(read, "total_ios");
    double rate = number_at(read, "iops");
    double busy = (number_at(job, "usr_cpu") + number_at(job, "sys_cpu")) / 100;
    double errors = number_at(job, "error");
    json_decref(root);
    if (reads <= 0 || rate <= 0 || errors > 0)
        return plx_diag_set(diag, -EPROTO, "fio", "its report has no reads");
    double elapsed_ns = reads / rate * 1e9;
    slice->done = (uint64_t)reads;
    slice->elapsed_ticks = (uint64_t)(elapsed_ns / plx_bench_ns_per_tick(slice->bench));
    slice->cpu_ns = (uint64_t)(busy * elapsed_ns);
    return 0;
}

int plx_bench_fio_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    const struct plx_bench_fio *fio = ctx;
    char file[PATH_MAX + 16];
    char depth[32];
    char runtime[32];
    char size[40];
    double left_ns = (double)(slice->end_ticks - plx_ticks()) * plx_bench_ns_per_tick(slice->bench);
    snprintf(file, sizeof(file), "--filename=%s", fio->files->source);
    snprintf(depth, sizeof(depth), "--iodepth=%u", fio->depth);
    snprintf(runtime, sizeof(runtime), "--runtime=%.0fms", left_ns / 1e6);
    snprintf(size, sizeof(size), "--size=%llu", (unsigned long long)fio->files->bytes);
    const char *const words[] = {"fio",
                                 "--name=reads",
                                 file,
                                 size,
                                 depth,
                                 runtime,
                                 "--time_based",
                                 "--rw=randread",
                                 "--bs=4k",
                                 "--direct=1",
                                 "--ioengine=io_uring",
                                 "--fixedbufs=1",
                                 "--registerfiles=1",
                                 "--norandommap",
                                 "--gtod_reduce=1",
                                 "--output-format=json",
                                 NULL};
    int rc = plx_bench_child_run(slice->bench, fio->child, words, false, diag);
    return rc == 0 ? take_figures(slice, fio->child->out, diag) : rc;
}
