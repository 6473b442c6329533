/* SPDX-License-Identifier: MIT */
#include "runtime/sched/overflow_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/sched/task_internal.h"

/* For the handlers behind ours, which may print a backtrace; beside what the kernel writes. */
#define ALTSTACK_BYTES ((size_t)64 << 10)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned armed;         /* how many ask for it; under the lock */
static bool installed;         /* it is in place, or below a handler that came later */
static struct sigaction found; /* what was in place; written before ours is */

/* --- the handler: async-signal-safe calls alone ----------------------------------------------- */

struct line {
    char text[256];
    size_t length;
};

static void add(struct line *line, const char *text)
{
    for (; *text != '\0' && line->length < sizeof(line->text) - 1; text++)
        line->text[line->length++] = *text;
}

static void add_number(struct line *line, uint64_t number)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    add(line, digits + at);
}

/* Whose stack ends above `address`, of all that this thread's running task has beside it. */
static const struct plx_task *find_overflowed(const void *address)
{
    const struct plx_task *running = plx__task_running;
    if (running == NULL)
        return NULL;
    const struct plx__stacks *stacks = &running->tasks->stacks;
    for (struct plx__stack_chunk *chunk = stacks->chunks; chunk != NULL; chunk = chunk->next) {
        int index = plx__stack_overflowed(chunk, address);
        if (index >= 0)
            return plx__stack_object(stacks, chunk, (uint32_t)index);
    }
    return NULL;
}

static void tell(const struct plx_task *task)
{
    struct line line = {.length = 0};
    add(&line, "pollux: task ");
    add(&line, plx_load_relaxed(&task->name));
    add(&line, " has overflowed its stack of ");
    add_number(&line, task->tasks->stacks.stack_bytes);
    add(&line, " bytes (POLLUX_TASK_STACK)\n");
    ssize_t written = write(STDERR_FILENO, line.text, line.length);
    (void)written;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    int kept = errno;
    /* One that a process has sent says who, rather than where. */
    bool is_sent = info->si_code <= 0;
    const struct plx_task *task = is_sent ? NULL : find_overflowed(info->si_addr);
    if (task != NULL)
        tell(task);
    errno = kept;
    if ((found.sa_flags & SA_SIGINFO) != 0) {
        found.sa_sigaction(number, info, context);
    } else if (found.sa_handler != SIG_DFL && found.sa_handler != SIG_IGN) {
        found.sa_handler(number);
    } else if (!is_sent || found.sa_handler == SIG_DFL) {
        /* The instruction is begun again, and ends the process as it would have: core and all. A
         * fault cannot be ignored, so the two are the same. One that was sent comes once more. */
        struct sigaction plain = {.sa_handler = SIG_DFL};
        sigaction(number, &plain, NULL);
        if (is_sent)
            raise(number);
    }
}

/* --- installing ------------------------------------------------------------------------------- */

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_fault;
}

int plx__overflow_arm(void)
{
    int rc = 0;
    pthread_mutex_lock(&lock);
    if (!installed) {
        struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigemptyset(&ours.sa_mask);
        /* First what is behind, as the signal may come as soon as ours is in place. */
        if (sigaction(SIGSEGV, NULL, &found) != 0 || sigaction(SIGSEGV, &ours, NULL) != 0)
            rc = -errno;
        installed = rc == 0;
    }
    armed += rc == 0;
    pthread_mutex_unlock(&lock);
    return rc;
}

void plx__overflow_disarm(void)
{
    struct sigaction now;
    pthread_mutex_lock(&lock);
    PLX_ASSERT(armed > 0);
    armed--;
    /* A handler that came later may call ours: that one then stays, and is not installed again. */
    if (armed == 0 && sigaction(SIGSEGV, NULL, &now) == 0 && is_ours(&now) &&
        sigaction(SIGSEGV, &found, NULL) == 0)
        installed = false;
    pthread_mutex_unlock(&lock);
}

/* --- alternate stacks ------------------------------------------------------------------------- */

int plx__altstack_init(struct plx__altstack *altstack)
{
    stack_t has;
    if (sigaltstack(NULL, &has) != 0)
        return -errno;
    if ((has.ss_flags & SS_DISABLE) == 0)
        return 0;
    /* What the kernel writes depends on the processor's registers. */
    long frame = sysconf(_SC_MINSIGSTKSZ);
    size_t bytes = ALTSTACK_BYTES + plx_round_up(frame > 0 ? (uint64_t)frame : 0, PLX_PAGE);
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    stack_t ours = {.ss_sp = memory, .ss_size = bytes};
    if (sigaltstack(&ours, NULL) != 0) {
        int rc = -errno;
        munmap(memory, bytes);
        return rc;
    }
    altstack->memory = memory;
    altstack->bytes = bytes;
    return 0;
}

void plx__altstack_fini(struct plx__altstack *altstack)
{
    stack_t has;
    if (altstack->memory == NULL)
        return;
    if (sigaltstack(NULL, &has) == 0 && has.ss_sp == altstack->memory) {
        stack_t none = {.ss_flags = SS_DISABLE};
        (void)sigaltstack(&none, NULL);
    }
    munmap(altstack->memory, altstack->bytes);
    memset(altstack, 0, sizeof(*altstack));
}
