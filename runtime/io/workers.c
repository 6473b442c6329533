/* SPDX-License-Identifier: MIT */
#include "runtime/io/workers_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/io/box_internal.h"
#include "runtime/io/users_internal.h"

/* Looks for a job before a worker sleeps: some microseconds, less than waking it takes. */
#define LOOKS       256u
#define STACK_BYTES (256u << 10)

struct worker {
    struct plx__box box;
    /* The reactor's until it is posted, then the worker's until it is finished. */
    struct plx_op job; /* a copy: the op is its caller's, who may not wait for a lost worker */
    int32_t result;
    /* The reactor's alone. */
    struct plx_op *op; /* NULL: not busy */
    uint16_t buffer_id;
    pthread_t thread;
    /* Read-mostly. */
    struct plx__workers *workers;
    unsigned looks;
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

PLX_STATIC_ASSERT(PLX__WORKERS_MAX == 64, "a bit per worker");

struct plx__workers {
    struct plx__io *io;
    uint64_t idle; /* a bit per worker */
    uint64_t busy;
    struct plx_op *first; /* queued, by link */
    struct plx_op *last;
    uint32_t queued;
    uint32_t queued_max;
    uint32_t count;
    int event_fd;               /* written after each finish, for a reactor that sleeps */
    PLX_ATOMIC(uint32_t) users; /* threads that may touch this, the reactor's among them */
    struct worker worker[];
};

/* --- what a worker does ----------------------------------------------------------------------- */

static ssize_t transfer(const struct plx_op *op)
{
    struct iovec part = {.iov_base = op->mem.buf, .iov_len = op->len};
    bool vectored = op->code == PLX_OP_READV || op->code == PLX_OP_WRITEV;
    const struct iovec *parts = vectored ? op->mem.iov : &part;
    int count = vectored ? (int)op->len : 1;
    off_t offset = (off_t)op->aux.offset;
    if (op->code == PLX_OP_WRITE || op->code == PLX_OP_WRITEV)
        return pwritev2(op->fd, parts, count, offset, 0);
    return preadv2(op->fd, parts, count, offset, 0);
}

static int sync_file(const struct plx_op *op)
{
    if ((op->arg & ~PLX_FSYNC_DATA) != 0) {
        errno = EINVAL;
        return -1;
    }
    return (op->arg & PLX_FSYNC_DATA) != 0 ? fdatasync(op->fd) : fsync(op->fd);
}

static ssize_t call(const struct plx_op *op)
{
    switch ((enum plx_op_code)op->code) {
    case PLX_OP_READ:
    case PLX_OP_WRITE:
    case PLX_OP_READV:
    case PLX_OP_WRITEV:
    case PLX_OP_READ_GROUP:
        return transfer(op);
    case PLX_OP_FSYNC:
        return sync_file(op);
    case PLX_OP_FALLOCATE:
        return fallocate(op->fd, (int)op->arg, (off_t)op->aux.offset, (off_t)op->mem.bytes);
    case PLX_OP_OPENAT:
        return openat(op->fd, op->mem.path, (int)(op->arg | O_CLOEXEC), (mode_t)op->len);
    case PLX_OP_STATX:
        return statx(op->fd, op->mem.path, (int)op->arg, op->len, op->aux.ptr);
    case PLX_OP_CLOSE:
        return close(op->fd);
    default:
        errno = EOPNOTSUPP;
        return -1;
    }
}

int32_t plx__workers_do(const struct plx_op *op)
{
    ssize_t rc;
    /* Linux gives the number back although close says EINTR. */
    do
        rc = call(op);
    while (rc < 0 && errno == EINTR && op->code != PLX_OP_CLOSE);
    return rc >= 0 ? (int32_t)rc : -errno;
}

/* --- a worker's thread ------------------------------------------------------------------------ */

/* Takes part no more; the last one takes the memory down, and the descriptor, whose number must not
 * become another's while a lost worker may write to it. */
static void leave(struct plx__workers *workers)
{
    if (!plx__users_leave(&workers->users))
        return;
    (void)close(workers->event_fd);
    free(workers);
}

/* Waits for a job; false: there will be none. */
static bool await_job(struct worker *worker)
{
    struct plx__box *box = &worker->box;
    for (unsigned looks = 0; !plx__box_take(box); looks++) {
        /* Relaxed: nothing is read on the strength of it. */
        if (plx_load_relaxed(&box->ask) == PLX__BOX_LEAVE)
            return false;
        if (looks < worker->looks)
            plx_cpu_relax();
        else if (plx__box_doze(box))
            (void)syscall(SYS_futex, &box->ask, FUTEX_WAIT_PRIVATE, PLX__BOX_ASLEEP, NULL, NULL, 0);
    }
    return true;
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    while (await_job(worker)) {
        worker->result = plx__workers_do(&worker->job);
        /* Relaxed: left to itself, it has nobody to give a descriptor to; close sees to one that
         * was finished before. */
        if (worker->job.code == PLX_OP_OPENAT && worker->result >= 0 &&
            plx_load_relaxed(&worker->box.ask) == PLX__BOX_LEAVE) {
            (void)close(worker->result);
            worker->result = -ECANCELED; /* for a close that finds it finished after all */
        }
        plx__box_finish(&worker->box);
        const uint64_t one = 1;
        (void)!write(worker->workers->event_fd, &one, sizeof(one));
    }
    leave(worker->workers);
    return NULL;
}

static void wake(struct worker *worker)
{
    (void)syscall(SYS_futex, &worker->box.ask, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* --- handing over ----------------------------------------------------------------------------- */

/* Gives the op of a read a buffer of its group; false: it has none, which has ended the op. */
static bool take_buffer(struct plx__workers *workers, struct worker *worker, struct plx_op *op)
{
    struct plx__group *group = &workers->io->groups[op->index];
    if (group->free_count == 0) {
        plx__io_end(workers->io, op, -ENOBUFS);
        return false;
    }
    worker->buffer_id = group->free_ids[--group->free_count];
    worker->job.mem.buf = group->blocks[worker->buffer_id];
    return true;
}

static void return_buffer(struct plx__workers *workers, const struct worker *worker)
{
    if (worker->job.code == PLX_OP_READ_GROUP)
        workers->io->ops->group_release(workers->io, worker->job.index, worker->buffer_id);
}

static void become_idle(struct plx__workers *workers, unsigned index)
{
    workers->worker[index].op = NULL;
    workers->busy &= ~((uint64_t)1 << index);
    workers->idle |= (uint64_t)1 << index;
}

/* Gives what queues to whom is idle. */
static void hand_over(struct plx__workers *workers)
{
    while (workers->idle != 0 && workers->first != NULL) {
        struct plx_op *op = workers->first;
        workers->first = op->link;
        workers->queued--;
        /* The lowest: it has worked last, and may still be awake. */
        unsigned index = (unsigned)__builtin_ctzll(workers->idle);
        struct worker *worker = &workers->worker[index];
        worker->job = *op;
        if (op->code == PLX_OP_READ_GROUP && !take_buffer(workers, worker, op))
            continue;
        worker->op = op;
        workers->idle &= ~((uint64_t)1 << index);
        workers->busy |= (uint64_t)1 << index;
        if (plx__box_post(&worker->box))
            wake(worker);
    }
}

int plx__workers_submit(struct plx__workers *workers, struct plx_op *op)
{
    if (workers->queued == workers->queued_max)
        return -EAGAIN;
    op->link = NULL;
    if (workers->first != NULL)
        workers->last->link = op;
    else
        workers->first = op;
    workers->last = op;
    workers->queued++;
    plx__op_set_state(op, PLX_OP_SUBMITTED);
    hand_over(workers);
    return 0;
}

/* --- taking back ------------------------------------------------------------------------------ */

/* Whether the worker had not begun; its op has ended then. */
static bool take_back(struct plx__workers *workers, unsigned index)
{
    struct worker *worker = &workers->worker[index];
    struct plx_op *op = worker->op;
    if (!plx__box_take_back(&worker->box))
        return false;
    return_buffer(workers, worker);
    become_idle(workers, index);
    plx__io_end(workers->io, op, -ECANCELED);
    return true;
}

void plx__workers_cancel(struct plx__workers *workers, struct plx_op *op)
{
    for (uint64_t busy = workers->busy; busy != 0; busy &= busy - 1) {
        unsigned index = (unsigned)__builtin_ctzll(busy);
        if (workers->worker[index].op != op)
            continue;
        if (take_back(workers, index))
            hand_over(workers);
        return;
    }

    struct plx_op *before = NULL;
    for (struct plx_op *at = workers->first; at != op; at = at->link) {
        if (at == NULL)
            return; /* it has not been submitted yet */
        before = at;
    }
    if (before != NULL)
        before->link = op->link;
    else
        workers->first = op->link;
    if (workers->last == op)
        workers->last = before;
    workers->queued--;
    plx__io_end(workers->io, op, -ECANCELED);
}

void plx__workers_cancel_all(struct plx__workers *workers)
{
    while (workers->first != NULL) {
        struct plx_op *op = workers->first;
        workers->first = op->link;
        plx__io_end(workers->io, op, -ECANCELED);
    }
    workers->queued = 0;
    for (uint64_t busy = workers->busy; busy != 0; busy &= busy - 1)
        (void)take_back(workers, (unsigned)__builtin_ctzll(busy));
}

/* --- collecting ------------------------------------------------------------------------------- */

static void collect_one(struct plx__workers *workers, unsigned index, struct plx__completion *out)
{
    struct worker *worker = &workers->worker[index];
    *out = (struct plx__completion){.op = worker->op, .event = {.result = worker->result}};
    if (worker->job.code == PLX_OP_READ_GROUP && worker->result > 0) {
        struct plx__group *group = &workers->io->groups[worker->job.index];
        out->event.data = plx__group_lend(group, worker->buffer_id);
        out->event.buffer_id = worker->buffer_id;
        out->event.flags = PLX_EV_BUFFER;
    } else {
        return_buffer(workers, worker);
    }
    plx__op_set_state(worker->op, PLX_OP_ENDING);
    become_idle(workers, index);
}

uint32_t plx__workers_collect(struct plx__workers *workers, struct plx__completion *out,
                              uint32_t max)
{
    uint32_t count = 0;
    for (uint64_t busy = workers->busy; busy != 0 && count < max; busy &= busy - 1) {
        unsigned index = (unsigned)__builtin_ctzll(busy);
        if (plx__box_finished(&workers->worker[index].box))
            collect_one(workers, index, &out[count++]);
    }
    if (PLX_UNLIKELY(workers->first != NULL))
        hand_over(workers);
    return count;
}

/* --- where they run --------------------------------------------------------------------------- */

/* How near a CPU is to what spins; workers go to the least near one that there is. */
enum nearness { NEAR_NOTHING, NEAR_SIBLING, NEAR_SQ, NEAR_REACTOR, NEAR_COUNT };

static enum nearness nearness_of(const struct plx_machine *machine, const struct plx_plan *plan,
                                 const struct plx_machine_cpu *cpu)
{
    enum nearness found = NEAR_NOTHING;
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        const struct plx_plan_reactor *reactor = &plan->reactors[i];
        if (reactor->cpu == cpu->cpu)
            return NEAR_REACTOR;
        if (reactor->sq_cpu == (int32_t)cpu->cpu)
            found = NEAR_SQ;
        const struct plx_machine_cpu *its = plx_machine_cpu(machine, reactor->cpu);
        if (found == NEAR_NOTHING && its != NULL && its->core == cpu->core)
            found = NEAR_SIBLING;
    }
    return found;
}

/*
 * The CPUs to run on, and how near they are. None where nothing is planned or pinned: then threads
 * run where their maker may.
 */
static enum nearness choose_cpus(const struct plx__io_config *config, cpu_set_t *cpus)
{
    const struct plx_machine *machine = config->machine;
    cpu_set_t sets[NEAR_COUNT];
    memset(sets, 0, sizeof(sets));
    CPU_ZERO(cpus);
    if (config->plan == NULL || machine == NULL || config->settings->pin == PLX_WANT_NO)
        return NEAR_NOTHING;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        const struct plx_machine_cpu *cpu = &machine->cpus[i];
        if (cpu->allowed && cpu->cpu < CPU_SETSIZE)
            CPU_SET(cpu->cpu, &sets[nearness_of(machine, config->plan, cpu)]);
    }
    unsigned nearness = NEAR_NOTHING;
    while (nearness < NEAR_REACTOR && CPU_COUNT(&sets[nearness]) == 0)
        nearness++;
    *cpus = sets[nearness];
    return (enum nearness)nearness;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static int make_thread(struct plx__workers *workers, uint32_t index, const cpu_set_t *cpus)
{
    struct worker *worker = &workers->worker[index];
    worker->workers = workers;
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc != 0)
        return -rc;
    if (CPU_COUNT(cpus) != 0)
        rc = pthread_attr_setaffinity_np(&attr, sizeof(*cpus), cpus);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    /* It begins with its maker's mask. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* Little is on it, and a process may lock all its memory. */
    if (rc == 0)
        rc = pthread_attr_setstacksize(&attr, STACK_BYTES);
    if (rc == 0)
        rc = pthread_create(&worker->thread, &attr, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        return -rc;
    char name[16];
    snprintf(name, sizeof(name), "plx-file/%u.%u", workers->io->home & 255u,
             index % PLX__WORKERS_MAX);
    pthread_setname_np(worker->thread, name);
    return 0;
}

/* Makes all threads. On an error those that were made are there. */
static int make_threads(struct plx__workers *workers, const struct plx__io_config *config)
{
    cpu_set_t cpus;
    enum nearness nearness = choose_cpus(config, &cpus);
    for (uint32_t i = 0; i < config->settings->file_workers; i++) {
        workers->worker[i].looks = nearness < NEAR_REACTOR ? LOOKS : 0;
        plx__users_enter(&workers->users);
        int rc = make_thread(workers, i, &cpus);
        if (rc == -EINVAL && CPU_COUNT(&cpus) != 0) {
            /* The system has taken these CPUs away since it was looked at. */
            plx__io_note(workers->io, "file workers: not on the CPUs that carry no reactor: %s",
                         strerror(-rc));
            CPU_ZERO(&cpus);
            rc = make_thread(workers, i, &cpus);
        }
        if (rc != 0) {
            plx__users_take_back(&workers->users);
            return rc;
        }
        workers->idle |= (uint64_t)1 << i;
        workers->count++;
    }
    if (nearness == NEAR_REACTOR)
        plx__io_note(workers->io, "file workers: every allowed CPU carries a reactor; they share "
                                  "these");
    return 0;
}

int plx__workers_open(struct plx__io *io, const struct plx__io_config *config,
                      struct plx__workers **out, struct plx_diag *diag)
{
    *out = NULL;
    uint32_t count = config->settings->file_workers;
    PLX_ASSERT(count >= 1 && count <= PLX__WORKERS_MAX);
    size_t bytes = sizeof(struct plx__workers) + count * sizeof(struct worker);
    struct plx__workers *workers = aligned_alloc(_Alignof(struct plx__workers), bytes);
    if (workers == NULL)
        return plx_diag_set(diag, -ENOMEM, "POLLUX_FILE_WORKERS", "no memory for %u file workers",
                            count);
    memset(workers, 0, bytes);
    workers->io = io;
    workers->queued_max = config->settings->ring_entries;
    plx_store_relaxed(&workers->users, 1);
    workers->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (workers->event_fd < 0) {
        int rc =
            plx_diag_set(diag, -errno, "epoll", "the file workers' eventfd: %s", strerror(errno));
        free(workers);
        return rc;
    }
    int rc = make_threads(workers, config);
    if (rc != 0) {
        plx_diag_set(diag, rc, "POLLUX_FILE_WORKERS", "file worker %u of %u: pthread_create: %s",
                     workers->count + 1, count, strerror(-rc));
        plx__workers_close(workers);
        return rc;
    }
    *out = workers;
    return 0;
}

int plx__workers_fd(const struct plx__workers *workers)
{
    return workers->event_fd;
}

void plx__workers_close(struct plx__workers *workers)
{
    for (uint32_t i = 0; i < workers->count; i++) {
        struct worker *worker = &workers->worker[i];
        enum plx__box_ask was = plx__box_leave(&worker->box);
        if (was == PLX__BOX_ASLEEP)
            wake(worker);
        bool begun = worker->op != NULL && was != PLX__BOX_FULL;
        if (begun && !plx__box_finished(&worker->box)) {
            (void)pthread_detach(worker->thread);
            continue;
        }
        if (begun && worker->job.code == PLX_OP_OPENAT && worker->result >= 0)
            (void)close(worker->result);
        (void)pthread_join(worker->thread, NULL);
    }
    leave(workers);
}
