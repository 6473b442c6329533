/* SPDX-License-Identifier: MIT */
/* The keeper's thread: stuck reactors, and the signals that end a program. */
#include "runtime/keeper_internal.h"

#include <errno.h>
#include <execinfo.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "runtime/errand_internal.h"
#include "runtime/io/clock_internal.h"
#include "runtime/runtime_internal.h"
#include "runtime/symbol_internal.h"

#define FRAMES_MAX 48
/* Reports of different turns of one reactor are this far apart. */
#define REPORT_EVERY_NS 1000000000u
/* How long a thread is given to answer, */
#define ANSWER_NS 50000000u
/* and one that has begun to, which is nearly there, or waits for a lock of what unwinds it. */
#define FRAMES_NS 1000000000u
/* How often it looks: so many times in the threshold, within these bounds. */
#define LOOKS_PER_REPORT 4u
#define LOOK_NS_MIN      1000000u
#define LOOK_NS_MAX      1000000000u

static const int ending_signals[] = {SIGINT, SIGTERM};

/* --- a thread's own backtrace ----------------------------------------------------------------- */

/* A stuck thread's errand, one at a time: the frames are its paper. */
static struct {
    pthread_mutex_t lock;
    struct plx__errand errand;
    PLX_ATOMIC(int) signal;
    uint32_t last_ticket;
    uint32_t lost; /* the ticket of one that began, and was not waited for; 0: none */
    int count;
    void *stuck_at;
    void *frames[FRAMES_MAX];
} capture = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *program_counter(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (void *)(uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (void *)(uintptr_t)context->uc_mcontext.pc;
#else
    (void)context;
    return NULL;
#endif
}

static void take_backtrace(int number, siginfo_t *info, void *context)
{
    (void)number;
    uint32_t ticket = (uint32_t)info->si_value.sival_int;
    if (info->si_code != SI_QUEUE || info->si_pid != getpid() || ticket == 0)
        return;
    if (!plx__errand_claim(&capture.errand, ticket))
        return;
    int error = errno;
    capture.stuck_at = program_counter(context);
    capture.count = backtrace(capture.frames, FRAMES_MAX);
    errno = error;
    plx__errand_finish(&capture.errand, ticket);
}

/* A real-time signal that nobody uses; 0 when all are in use. */
static int install_handler(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    action.sa_sigaction = take_backtrace;
    sigemptyset(&action.sa_mask);
    for (int number = SIGRTMAX - 1; number >= SIGRTMIN; number--) {
        struct sigaction there;
        if (sigaction(number, NULL, &there) == 0 && there.sa_handler == SIG_DFL &&
            sigaction(number, &action, NULL) == 0)
            return number;
    }
    return 0;
}

static void prepare_capture(void)
{
    /* Who has the lock may wait for an answer, for long. Acquire: pairs with the release below. */
    if (plx_load_acquire(&capture.signal) != 0)
        return;
    pthread_mutex_lock(&capture.lock);
    if (plx_load_relaxed(&capture.signal) == 0) {
        /* The first call loads a library, which a handler must not. */
        void *frame;
        (void)backtrace(&frame, 1);
        plx_store_release(&capture.signal, install_handler());
    }
    pthread_mutex_unlock(&capture.lock);
}

int plx__keeper_signal(void)
{
    return plx_load_relaxed(&capture.signal);
}

static bool await_answer(uint32_t ticket)
{
    uint64_t until = plx__monotonic_ns() + ANSWER_NS;
    bool begun = false;
    while (!plx__errand_finished(&capture.errand, ticket)) {
        if (plx__monotonic_ns() >= until) {
            if (begun) {
                capture.lost = ticket;
                return false;
            }
            /* Taken back, unless the handler has just begun. */
            if (plx__errand_claim(&capture.errand, ticket))
                return false;
            begun = true;
            until += FRAMES_NS;
        }
        struct timespec some = {.tv_nsec = 100000};
        nanosleep(&some, NULL);
    }
    return true;
}

/* Asks thread `tid` where it is. Whether it answered; under the lock. */
static bool ask(pid_t tid)
{
    if (capture.lost != 0 && !plx__errand_finished(&capture.errand, capture.lost))
        return false;
    capture.lost = 0;
    uint32_t ticket = ++capture.last_ticket;
    if (ticket == 0)
        ticket = ++capture.last_ticket;
    siginfo_t info = {.si_signo = plx_load_relaxed(&capture.signal), .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = (int)ticket;
    plx__errand_post(&capture.errand, ticket);
    /* By thread id, as a thread that has ended must not be named by its pthread_t. */
    if (info.si_signo == 0 ||
        syscall(SYS_rt_tgsigqueueinfo, info.si_pid, tid, info.si_signo, &info) != 0) {
        (void)!plx__errand_claim(&capture.errand, ticket);
        return false;
    }
    return await_answer(ticket);
}

/* --- reports ---------------------------------------------------------------------------------- */

PLX_PRINTF(2, 3) static void say(const struct plx_runtime *rt, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    rt->opts.log(PLX_LOG_WARN, text, rt->opts.ctx);
}

/* Where thread `tid` is: up to FRAMES_MAX frames. Gives how many; 0 when it did not answer. */
static int find_frames(pid_t tid, void *frames[FRAMES_MAX])
{
    int count = 0;
    pthread_mutex_lock(&capture.lock);
    if (ask(tid)) {
        /* Above the place where it was stuck are the handler's own. */
        int first = 0;
        while (first < capture.count && capture.frames[first] != capture.stuck_at)
            first++;
        if (first == capture.count)
            first = 0;
        count = capture.count - first;
        memcpy(frames, capture.frames + first, (size_t)count * sizeof(*frames));
    }
    pthread_mutex_unlock(&capture.lock);
    return count;
}

static void say_frames(const struct plx_runtime *rt, void *const *frames, int count)
{
    for (int i = 0; i < count; i++) {
        /* What is on the stack is where a call returns to, which may be another function. */
        const char *at = frames[i];
        char text[256];
        (void)plx__symbol_format(i == 0 ? at : at - 1, text, sizeof(text));
        say(rt, "  #%d %s", i, text);
    }
}

/* Time of thread `tid` on a CPU; 0 when it is gone. */
static uint64_t cpu_ns(pid_t tid)
{
    /* The kernel's name for the clock of a thread's scheduled time. */
    clockid_t clock = (clockid_t)((~(unsigned)tid << 3) | 6u);
    struct timespec spent;
    if (clock_gettime(clock, &spent) != 0)
        return 0;
    return (uint64_t)spent.tv_sec * 1000000000u + (uint64_t)spent.tv_nsec;
}

static void report(const struct plx_runtime *rt, struct plx__slot *slot, struct plx__look *look,
                   uint64_t stuck_ns)
{
    pid_t tid = plx_load_relaxed(&slot->tid);
    uint64_t spent = cpu_ns(tid);
    char more[64] = "";
    if (look->left_out != 0)
        snprintf(more, sizeof(more), " (%llu stalls before it were not told)",
                 (unsigned long long)look->left_out);
    look->left_out = 0;
    void *frames[FRAMES_MAX];
    int count = find_frames(tid, frames);
    const struct plx_reactor *r = plx_load_acquire(&slot->reactor);
    const char *task = plx_load_relaxed(&r->tasks.running);
    say(rt,
        "reactor %u (cpu %u) is stuck: in one turn for %llu ms, %llu of them on its CPU%s%s%s%s",
        slot->index, rt->plan->reactors[slot->index].cpu, (unsigned long long)(stuck_ns / 1000000u),
        (unsigned long long)((spent > look->cpu_ns ? spent - look->cpu_ns : 0) / 1000000u),
        task != NULL ? ", running task " : "", task != NULL ? task : "", more,
        count != 0 ? "; at" : "; its thread does not say where (signal blocked, or not running)");
    say_frames(rt, frames, count);
    (void)plx_fetch_add_relaxed(&slot->stall_reports, 1);
}

static void look_at(const struct plx_runtime *rt, struct plx__slot *slot, struct plx__look *look)
{
    if (plx__life_of(&slot->life) != PLX__SLOT_RUNNING)
        return;
    const struct plx_reactor *r = plx_load_acquire(&slot->reactor);
    uint64_t turns = plx_load_relaxed(&r->counters.turns);
    uint64_t now = plx__monotonic_ns();
    uint64_t threshold = rt->settings.stall_report;
    if (turns != look->turns || plx_load_relaxed(&r->in_turn) == 0 || look->since_ns == 0) {
        look->turns = turns;
        look->since_ns = now;
        look->cpu_ns = cpu_ns(plx_load_relaxed(&slot->tid));
        look->next_ns = threshold;
        return;
    }
    uint64_t stuck = now - look->since_ns;
    if (stuck < look->next_ns)
        return;
    bool first = look->next_ns == threshold;
    look->next_ns = 2 * stuck;
    if (first && look->told_ns != 0 && now - look->told_ns < REPORT_EVERY_NS) {
        look->left_out++;
        return;
    }
    look->told_ns = now;
    report(rt, slot, look, stuck);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* The first asks for the end; the second means it, as when a reactor hangs. */
static void take_signal(const struct plx__keeper *keeper)
{
    struct plx_runtime *rt = keeper->runtime;
    struct signalfd_siginfo info;
    if (read(keeper->signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (!plx_runtime_is_stopping(rt)) {
        plx_runtime_request_stop(rt);
        return;
    }
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, (int)info.ssi_signo);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    raise((int)info.ssi_signo);
}

static void *keep(void *argument)
{
    struct plx__keeper *keeper = argument;
    const struct plx_runtime *rt = keeper->runtime;
    uint64_t between = rt->settings.stall_report / LOOKS_PER_REPORT;
    between = between < LOOK_NS_MIN ? LOOK_NS_MIN : between;
    between = between > LOOK_NS_MAX ? LOOK_NS_MAX : between;
    struct timespec pause = {.tv_sec = (time_t)(between / 1000000000u),
                             .tv_nsec = (long)(between % 1000000000u)};
    struct pollfd fds[] = {{.fd = keeper->wake_fd, .events = POLLIN},
                           {.fd = keeper->signal_fd, .events = POLLIN}};
    for (;;) {
        int rc = ppoll(fds, 2, keeper->watches ? &pause : NULL, NULL);
        if (rc > 0 && fds[0].revents != 0)
            return NULL;
        if (rc > 0 && fds[1].revents != 0)
            take_signal(keeper);
        for (uint32_t i = 0; keeper->watches && i < rt->count; i++)
            look_at(rt, &rt->slots[i], &keeper->looks[i]);
    }
}

/* Off the reactors' cores where the process has others, so that looking disturbs nobody. */
static void place(const struct plx_runtime *rt, pthread_t thread)
{
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
        return;
    for (uint32_t i = 0; i < rt->count; i++) {
        const struct plx_plan_reactor *planned = &rt->plan->reactors[i];
        CPU_CLR(planned->cpu, &cpus);
        if (planned->sq_cpu >= 0)
            CPU_CLR((size_t)planned->sq_cpu, &cpus);
    }
    if (CPU_COUNT(&cpus) != 0)
        (void)pthread_setaffinity_np(thread, sizeof(cpus), &cpus);
}

static int open_fds(struct plx__keeper *keeper, struct plx_diag *diag)
{
    sigset_t none;
    sigemptyset(&none);
    keeper->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (keeper->wake_fd < 0) {
        int error = errno;
        return plx_diag_set(diag, -error, "keeper", "eventfd: %s", strerror(error));
    }
    keeper->signal_fd = signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
    if (keeper->signal_fd < 0) {
        int error = errno;
        close(keeper->wake_fd);
        return plx_diag_set(diag, -error, "keeper", "signalfd: %s", strerror(error));
    }
    return 0;
}

static void free_keeper(struct plx__keeper *keeper)
{
    close(keeper->wake_fd);
    close(keeper->signal_fd);
    free(keeper);
}

static int start_thread(struct plx_runtime *rt, bool watches, struct plx_diag *diag)
{
    struct plx__keeper *keeper = calloc(1, sizeof(*keeper) + rt->count * sizeof(*keeper->looks));
    if (keeper == NULL)
        return plx_diag_set(diag, -ENOMEM, "keeper", "no memory");
    keeper->runtime = rt;
    keeper->watches = watches;
    int rc = open_fds(keeper, diag);
    if (rc != 0) {
        free(keeper);
        return rc;
    }
    if (keeper->watches)
        prepare_capture();
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = -pthread_create(&keeper->thread, NULL, keep, keeper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        free_keeper(keeper);
        return plx_diag_set(diag, rc, "keeper", "pthread_create: %s", strerror(-rc));
    }
    pthread_setname_np(keeper->thread, "plx/keeper");
    place(rt, keeper->thread);
    rt->keeper = keeper;
    return 0;
}

/* Those that the application has not given a meaning of its own. */
static bool find_signals(sigset_t *taken)
{
    bool any = false;
    sigemptyset(taken);
    for (size_t i = 0; i < sizeof(ending_signals) / sizeof(*ending_signals); i++) {
        struct sigaction there;
        if (sigaction(ending_signals[i], NULL, &there) != 0 || there.sa_handler != SIG_DFL)
            continue;
        sigaddset(taken, ending_signals[i]);
        any = true;
    }
    return any;
}

int plx__keeper_start(struct plx_runtime *rt, bool signals, struct plx_diag *diag)
{
    sigset_t wanted;
    bool takes = find_signals(&wanted) && signals;
    bool watches = rt->settings.stall_report != PLX_INFINITE && rt->opts.log != NULL &&
                   rt->settings.log >= PLX_LOG_WARN;
    if (rt->keeper == NULL && (takes || watches)) {
        int rc = start_thread(rt, watches, diag);
        if (rc != 0)
            return rc;
    }
    struct plx__keeper *keeper = rt->keeper;
    if (!takes || keeper->takes)
        return 0;
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, &wanted, &before);
    /* What was blocked before is not ours to unblock. */
    sigemptyset(&keeper->taken);
    for (size_t i = 0; i < sizeof(ending_signals) / sizeof(*ending_signals); i++) {
        int number = ending_signals[i];
        if (sigismember(&wanted, number) == 1 && sigismember(&before, number) == 0)
            sigaddset(&keeper->taken, number);
    }
    if (signalfd(keeper->signal_fd, &wanted, 0) < 0) {
        int error = errno;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return plx_diag_set(diag, -error, "keeper", "signalfd: %s", strerror(error));
    }
    keeper->taker = pthread_self();
    keeper->takes = true;
    return 0;
}

static void give_back(struct plx__keeper *keeper)
{
    if (!keeper->takes)
        return;
    sigset_t none;
    sigemptyset(&none);
    (void)signalfd(keeper->signal_fd, &none, 0);
    if (pthread_equal(keeper->taker, pthread_self()))
        pthread_sigmask(SIG_UNBLOCK, &keeper->taken, NULL);
    keeper->takes = false;
}

void plx__keeper_give_back(struct plx_runtime *rt)
{
    if (rt->keeper != NULL)
        give_back(rt->keeper);
}

struct plx__keeper *plx__keeper_take(struct plx_runtime *rt)
{
    struct plx__keeper *keeper = rt->keeper;
    rt->keeper = NULL;
    return keeper;
}

void plx__keeper_end(struct plx__keeper *keeper)
{
    if (keeper == NULL)
        return;
    uint64_t one = 1;
    while (write(keeper->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    pthread_join(keeper->thread, NULL);
    give_back(keeper);
    free_keeper(keeper);
}

void plx__keeper_stop(struct plx_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    struct plx__keeper *keeper = plx__keeper_take(rt);
    pthread_mutex_unlock(&rt->lock);
    plx__keeper_end(keeper);
}
