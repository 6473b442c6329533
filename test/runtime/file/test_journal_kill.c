/* SPDX-License-Identifier: MIT */
/*
 * A process that appends is killed at any moment, again and again: what it was told to be durable
 * is there, in order and unchanged, and nothing comes back that was not appended last under its
 * number. Segments are forgotten and used again all the while.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/runtime/file/file_fixture.h"
#include "test/runtime/file/journal_model.h"
#include "test/runtime/rt_fixture.h"

#define KILLS      50u
#define KILLS_SOAK 200u
#define KEPT       20u

/* What the process that is killed has said by then. */
enum said { SAID_DURABLE = 1, SAID_FORGETS };

struct message {
    uint64_t said;
    uint64_t sequence;
};

static struct {
    char folder[64];
    const char *words; /* of the runtime */
    unsigned life;
    uint64_t begins[KILLS_SOAK + 1]; /* the first sequence that each life appends */
    struct plx_journal journal;
    /* Of the process that is killed. */
    int pipe;
    /* Of the one that looks. */
    uint64_t first;
    uint64_t count;
    bool ended;
    int result;
    uint64_t unacknowledged; /* records that came back though nobody was told */
    uint64_t durable;        /* of all lives */
} all;

static void on_end(struct plx_journal *journal, int result, void *ctx)
{
    (void)journal;
    (void)ctx;
    all.ended = true;
    all.result = result;
}

static int open_journal(struct plx_reactor *reactor, plx_journal_record_fn on_record,
                        plx_journal_durable_fn on_durable)
{
    struct plx_journal_opts opts;
    plx_journal_opts_init(&opts);
    opts.segment_bytes = 64 << 10;
    opts.segments = 4;
    opts.buffer_bytes = 16 << 10;
    opts.on_record = on_record;
    opts.on_durable = on_durable;
    all.ended = false;
    return plx_journal_open(&all.journal, reactor, plx_reactor_pool(reactor), all.folder, &opts,
                            on_end, NULL);
}

/* --- the process that is killed --------------------------------------------------------------- */

static void say(enum said said, uint64_t sequence)
{
    struct message message = {said, sequence};
    if (write(all.pipe, &message, sizeof(message)) != sizeof(message))
        _exit(3);
}

static void say_durable(struct plx_journal *journal, uint64_t sequence, void *ctx)
{
    (void)ctx;
    say(SAID_DURABLE, sequence);
    if (sequence <= KEPT)
        return;
    say(SAID_FORGETS, sequence - KEPT);
    if (plx_journal_forget(journal, sequence - KEPT) != 0)
        _exit(4);
}

static void append_for_ever(void)
{
    struct plx_runtime *rt = rt_create(all.words, NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    if (open_journal(reactor, NULL, say_durable) != 0)
        _exit(5);
    while (!all.ended)
        (void)plx_reactor_poll(reactor);
    if (all.result != 0)
        _exit(6);
    for (uint64_t turn = 0;; turn++) {
        uint8_t data[LOG_RECORD_MAX];
        uint64_t next = plx_journal_last(&all.journal) + 1;
        uint32_t len = log_record(next, all.life, data);
        int rc = plx_journal_append(&all.journal, data, len, NULL);
        if (rc != 0 && rc != -EAGAIN && rc != -ENOSPC)
            _exit(7);
        /* Groups of one record and of many. */
        if (rc != 0 || next * 2654435761u % 7 < 2)
            (void)plx_reactor_poll(reactor);
    }
}

/* Lets it live until it has said so much, and a little longer. */
static void live_and_die(uint64_t messages, uint64_t linger, uint64_t *durable, uint64_t *forgotten)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pipes[0]);
        all.pipe = pipes[1];
        append_for_ever();
    }
    close(pipes[1]);
    struct message message;
    for (uint64_t i = 0;; i++) {
        if (i == messages) {
            for (uint64_t spin = 0; spin < linger; spin++)
                plx_cpu_relax();
            assert_int_equal(kill(child, SIGKILL), 0);
        }
        ssize_t got = read(pipes[0], &message, sizeof(message));
        if (got != sizeof(message))
            break;
        if (message.said == SAID_DURABLE)
            *durable = message.sequence;
        else
            *forgotten = message.sequence;
    }
    close(pipes[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("it ended by itself, with status %x", (unsigned)status);
}

/* --- the one that looks ----------------------------------------------------------------------- */

static int on_record(uint64_t sequence, const void *data, uint32_t len, void *ctx)
{
    (void)ctx;
    unsigned life = all.life;
    while (life > 0 && all.begins[life] > sequence)
        life--;
    uint8_t expected[LOG_RECORD_MAX];
    assert_int_equal(len, log_record(sequence, life, expected));
    assert_memory_equal(data, expected, len);
    if (all.count == 0)
        all.first = sequence;
    assert_int_equal(sequence, all.first + all.count);
    all.count++;
    return 0;
}

static void look(uint64_t durable, uint64_t forgotten)
{
    struct plx_runtime *rt = rt_create(all.words, NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    all.count = 0;
    all.first = 0;
    assert_int_equal(open_journal(reactor, on_record, NULL), 0);
    RT_TURN_UNTIL(reactor, all.ended);
    if (all.result != 0)
        fail_msg("life %u: %d, %s: %s", all.life, all.result, all.journal.diag.what,
                 all.journal.diag.text);
    uint64_t last = plx_journal_last(&all.journal);
    assert_true(last >= durable);
    if (all.count != 0) {
        assert_true(all.first <= forgotten + 1);
        assert_int_equal(all.first + all.count - 1, last);
    } else {
        assert_true(last <= forgotten);
    }
    uint64_t told = durable > all.begins[all.life] - 1 ? durable : all.begins[all.life] - 1;
    all.unacknowledged += last - told;
    all.durable = told;
    all.begins[all.life + 1] = last + 1;
    all.ended = false;
    assert_int_equal(plx_journal_close(&all.journal, on_end, NULL), 0);
    RT_TURN_UNTIL(reactor, all.ended);
    rt_abandon(reactor);
    plx_runtime_destroy(rt);
}

static void kill_again_and_again(const char *words)
{
    memset(&all, 0, sizeof(all));
    all.words = words;
    make_folder(all.folder);
    const char *given = getenv("POLLUX_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : 4711;
    unsigned kills = getenv("POLLUX_TEST_SOAK") != NULL ? KILLS_SOAK : KILLS;
    uint64_t durable = 0, forgotten = 0;
    all.begins[0] = 1;
    srand48((long)seed);
    for (all.life = 0; all.life < kills; all.life++) {
        uint64_t messages = (uint64_t)lrand48() % (all.life % 5 == 0 ? 2 : 60);
        live_and_die(messages, (uint64_t)lrand48() % 20000, &durable, &forgotten);
        look(durable, forgotten);
    }
    print_message("seed %llu: %u kills, %llu records acknowledged, %llu more came back\n",
                  (unsigned long long)seed, kills, (unsigned long long)all.durable,
                  (unsigned long long)all.unacknowledged);
    assert_true(all.durable > 2 * KEPT);
    remove_folder(all.folder);
}

static void killed_on_rings_keeps_what_was_acknowledged(void **state)
{
    (void)state;
    rt_need_uring();
    kill_again_and_again("backend=uring");
}

static void killed_on_epoll_keeps_what_was_acknowledged(void **state)
{
    (void)state;
    kill_again_and_again("backend=epoll");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_on_rings_keeps_what_was_acknowledged),
        cmocka_unit_test(killed_on_epoll_keeps_what_was_acknowledged),
    };
    return cmocka_run_group_tests_name("journal kill", tests, NULL, NULL);
}
