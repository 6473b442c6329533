/* SPDX-License-Identifier: MIT */
#include "tools/bench/bench.h"
int plx_bench_uring(struct plx_bench *bench)
{
    (void)bench;
    return 0;
}
