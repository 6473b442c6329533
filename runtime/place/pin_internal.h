/* SPDX-License-Identifier: MIT */
/*
 * Binding threads to CPUs, and looking whether they are bound.
 *
 * Threads: each function concerns the thread that calls it. Any thread may call them.
 */
#ifndef POLLUX_PIN_INTERNAL_H
#define POLLUX_PIN_INTERNAL_H

#include "alloc/base.h"
#include "runtime/place/machine.h"
#include "runtime/settings/cpu_set.h"

/*
 * Fills `set` with the CPUs that the calling thread may run on, and returns how many there are,
 * those included whose numbers no set can hold. Errors: -EIO, the system gave no answer.
 */
PLX_COLD int plx__affinity_read(struct plx_cpu_set *set, struct plx_diag *diag) PLX_MUST_CHECK;

/*
 * Binds the calling thread to one CPU of `machine`, a machine made by plx_machine_create, and reads
 * the affinity back. Cost: set-up only; enters the kernel.
 * Errors: -EXDEV, the machine is not this system, where binding would succeed and do nothing;
 * -EINVAL, there is no such CPU; -EPERM, the system refused the CPU, or the affinity read back is
 * another one. On an error the thread's affinity may have changed.
 */
PLX_COLD int plx__pin_thread(const struct plx_machine *machine, uint32_t cpu,
                             struct plx_diag *diag) PLX_MUST_CHECK;

/*
 * Whether the calling thread may run on `cpu` and nowhere else: 0 if so. Changes nothing.
 * Errors: -EPERM, its affinity is another one (the diag says which); -EIO, it could not be read.
 */
PLX_COLD int plx__pin_check(uint32_t cpu, struct plx_diag *diag) PLX_MUST_CHECK;

#endif
