/* SPDX-License-Identifier: MIT */
#include "runtime/place/pin_internal.h"

#include <errno.h>
#include <hwloc.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

/* CPUs that the kernel's affinity masks may span; it refuses a mask shorter than its own. */
#define AFFINITY_CPUS 8192

int plx__affinity_read(struct plx_cpu_set *set, struct plx_diag *diag)
{
    union {
        cpu_set_t set;
        unsigned char room[AFFINITY_CPUS / 8];
    } mask;
    memset(&mask, 0, sizeof(mask));
    memset(set, 0, sizeof(*set));
    if (sched_getaffinity(0, sizeof(mask), &mask.set) != 0)
        return plx_diag_set(diag, -EIO, "affinity", "the thread's affinity cannot be read: %s",
                            strerror(errno));
    for (unsigned cpu = 0; cpu < PLX_CPU_SET_SIZE; cpu++) {
        if (CPU_ISSET_S(cpu, sizeof(mask), &mask.set))
            plx_cpu_set_add(set, cpu);
    }
    return CPU_COUNT_S(sizeof(mask), &mask.set);
}

int plx__pin_check(uint32_t cpu, struct plx_diag *diag)
{
    struct plx_cpu_set set;
    int count = plx__affinity_read(&set, diag);
    if (count < 0)
        return count;
    if (count == 1 && plx_cpu_set_has(&set, cpu))
        return 0;

    char list[256];
    if (plx_cpu_set_format(&set, list, sizeof(list)) < 0)
        list[0] = '\0';
    char what[32];
    snprintf(what, sizeof(what), "cpu %" PRIu32, cpu);
    return plx_diag_set(diag, -EPERM, what,
                        "the thread should run on CPU %" PRIu32 " alone; its affinity is %s", cpu,
                        list[0] != '\0' ? list : "another one");
}

int plx__pin_thread(const struct plx_machine *machine, uint32_t cpu, struct plx_diag *diag)
{
    char what[32];
    snprintf(what, sizeof(what), "cpu %" PRIu32, cpu);
    if (!machine->is_this_system || machine->handle == NULL)
        return plx_diag_set(diag, -EXDEV, what,
                            "the machine (%s) is not this system: threads cannot be pinned on it",
                            machine->source);
    if (plx_machine_cpu(machine, cpu) == NULL)
        return plx_diag_set(diag, -EINVAL, what, "the machine has no CPU %" PRIu32, cpu);

    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (set == NULL || hwloc_bitmap_only(set, cpu) != 0) {
        hwloc_bitmap_free(set);
        return plx_diag_set(diag, -ENOMEM, what, "no memory for the set of one CPU");
    }
    int rc = hwloc_set_cpubind(machine->handle, set, HWLOC_CPUBIND_THREAD);
    int code = errno;
    hwloc_bitmap_free(set);
    if (rc != 0)
        return plx_diag_set(diag, -EPERM, what, "the thread cannot be bound to CPU %" PRIu32 ": %s",
                            cpu, strerror(code));
    return plx__pin_check(cpu, diag);
}
