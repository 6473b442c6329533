/* SPDX-License-Identifier: MIT */
#include "test/sim/faults.h"

#include <stdio.h>
#include <string.h>

#define MILLION 1000000u

/* --- numbers ---------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators). */
uint64_t sim_random_next(struct sim_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_random_below(struct sim_random *random, uint64_t bound)
{
    return sim_random_next(random) % bound;
}

bool sim_random_once(struct sim_random *random, uint32_t of)
{
    return sim_random_below(random, of) == 0;
}

uint64_t sim_random_size(struct sim_random *random, uint64_t max)
{
    uint32_t bits = 1;
    while (bits < 63 && (uint64_t)1 << bits < max)
        bits++;
    uint64_t size = sim_random_below(random, (uint64_t)1 << (1 + sim_random_below(random, bits)));
    return 1 + size % max;
}

/* --- what there is ---------------------------------------------------------------------------- */

/* How an answer that is not 0 is drawn. */
enum draw {
    DRAW_ONE,  /* it happens */
    DRAW_SIZE, /* small ones as likely as large ones */
    DRAW_LESS, /* any part, or all but little */
    DRAW_ANY   /* evenly; in a world without faults too */
};

struct spec {
    uint32_t rate; /* of a million, at the most */
    enum draw draw;
    bool harmful; /* may end a connection, or give an error that is to be reported */
};

static const struct spec specs[PLX__SIM_CHOICE_COUNT] = {
    [PLX__SIM_SUBMIT_FULL] = {400000, DRAW_ONE, false},
    [PLX__SIM_CANCEL_FULL] = {600000, DRAW_ONE, false},
    [PLX__SIM_TAKE_NS] = {300000, DRAW_SIZE, false},
    [PLX__SIM_BEGIN_NS] = {400000, DRAW_SIZE, false},
    [PLX__SIM_COMPLETE_NS] = {400000, DRAW_SIZE, false},
    [PLX__SIM_COMPLETE_LOST] = {4000, DRAW_ONE, true},
    [PLX__SIM_REORDER] = {600000, DRAW_LESS, false},
    [PLX__SIM_BATCH_LESS] = {500000, DRAW_LESS, false},
    [PLX__SIM_MULTISHOT_END] = {400000, DRAW_ONE, false},
    [PLX__SIM_GROUP_DRY] = {200000, DRAW_ONE, false},
    [PLX__SIM_CANCEL_LOSES] = {600000, DRAW_ONE, false},
    [PLX__SIM_INTERRUPT] = {200000, DRAW_ONE, false},
    [PLX__SIM_RELEASE_NS] = {600000, DRAW_SIZE, false},
    [PLX__SIM_RELEASE_COPIED] = {500000, DRAW_ONE, false},
    [PLX__SIM_RECV_LESS] = {500000, DRAW_LESS, false},
    [PLX__SIM_SEND_LESS] = {500000, DRAW_LESS, false},
    [PLX__SIM_SEND_NOBUFS] = {200000, DRAW_ONE, false},
    [PLX__SIM_NOW_AGAIN] = {500000, DRAW_ONE, false},
    [PLX__SIM_LATENCY_NS] = {500000, DRAW_SIZE, false},
    [PLX__SIM_STALL_NS] = {20000, DRAW_SIZE, false},
    [PLX__SIM_RESET_AT] = {200000, DRAW_SIZE, true},
    [PLX__SIM_RESET_DROPS] = {500000, DRAW_ONE, true},
    [PLX__SIM_VANISH_AT] = {100000, DRAW_SIZE, true},
    [PLX__SIM_TIMEOUT_AT] = {100000, DRAW_SIZE, true},
    [PLX__SIM_WINDOW_LESS] = {500000, DRAW_LESS, false},
    [PLX__SIM_ACCEPT_FILES] = {300000, DRAW_ONE, false},
    [PLX__SIM_ACCEPT_FILES_ALL] = {200000, DRAW_ONE, false},
    [PLX__SIM_ACCEPT_ABORTED] = {200000, DRAW_ONE, true},
    [PLX__SIM_SOCKET_FILES] = {300000, DRAW_ONE, false},
    [PLX__SIM_CONNECT_INTERRUPT] = {200000, DRAW_ONE, true},
    [PLX__SIM_CONNECT_REFUSED] = {200000, DRAW_ONE, true},
    [PLX__SIM_CONNECT_RESET] = {200000, DRAW_ONE, true},
    [PLX__SIM_CONNECT_LOST] = {100000, DRAW_ONE, true},
    [PLX__SIM_SPREAD] = {MILLION, DRAW_ANY, false},
    [PLX__SIM_CLOSE_ERROR] = {300000, DRAW_ONE, false},
    [PLX__SIM_READ_LESS] = {500000, DRAW_LESS, false},
    [PLX__SIM_WRITE_LESS] = {500000, DRAW_LESS, false},
    [PLX__SIM_READ_ERROR] = {100000, DRAW_ONE, true},
    [PLX__SIM_WRITE_ERROR] = {100000, DRAW_ONE, true},
    [PLX__SIM_WRITE_SPACE] = {100000, DRAW_ONE, true},
    [PLX__SIM_ALLOCATE_SPACE] = {200000, DRAW_ONE, true},
    [PLX__SIM_SYNC_ERROR] = {300000, DRAW_ONE, true},
    [PLX__SIM_OPEN_FILES] = {100000, DRAW_ONE, true},
    [PLX__SIM_CRASH_PAGE] = {600000, DRAW_ONE, true},
    [PLX__SIM_CRASH_TORN] = {500000, DRAW_ONE, true},
    [PLX__SIM_CRASH_SIZE] = {500000, DRAW_ONE, true},
    [PLX__SIM_CRASH_NAME] = {500000, DRAW_ONE, true},
};

static const struct {
    uint32_t rate;
    bool harmful;
    const char *name;
    const char *text;
} faults_known[SIM_FAULT_COUNT] = {
#define RATE_CLOCK_JUMP        500u
#define RATE_CLOCK_STILL       1000u
#define RATE_CORE_SLOW         1000u
#define RATE_MESH_FULL         0u /* nobody decides that: it comes */
#define RATE_POOL_DRY          2000u
#define RATE_PEER_PAUSES       600000u
#define RATE_PEER_ENDS         20000u
#define RATE_PEER_ABORTS       20000u
#define RATE_STOP_EARLY        3000u
#define RATE_CRASH             700000u
#define X(name, harmful, text) {RATE_##name, harmful, #name, text},
    SIM_FAULTS(X)
#undef X
};

static const struct {
    const char *name;
    const char *text;
} choices_known[PLX__SIM_CHOICE_COUNT] = {
#define X(name, text) {#name, text},
    PLX__SIM_CHOICES(X)
#undef X
};

static uint64_t choice_counts[PLX__SIM_CHOICE_COUNT];
static uint64_t fault_counts[SIM_FAULT_COUNT];

/* --- deciding --------------------------------------------------------------------------------- */

/* Half of the faults are not there at all, others seldom, others at nearly every occasion. */
static uint32_t draw_rate(struct sim_random *random, uint32_t most)
{
    if (sim_random_once(random, 2))
        return 0;
    return most >> sim_random_below(random, 7);
}

void sim_faults_init(struct sim_faults *faults, uint64_t seed)
{
    *faults = (struct sim_faults){.random = {.state = seed * 0xd1342543de82ef95u + 1}};
    uint64_t temper = sim_random_below(&faults->random, 16);
    faults->temper = temper == 0 ? SIM_CALM : temper < 6 ? SIM_HARMLESS : SIM_ROUGH;
    for (uint32_t i = 0; i < PLX__SIM_CHOICE_COUNT; i++) {
        uint32_t rate = draw_rate(&faults->random, specs[i].rate);
        bool allowed =
            faults->temper == SIM_ROUGH || (faults->temper == SIM_HARMLESS && !specs[i].harmful);
        faults->choice_rates[i] = specs[i].draw == DRAW_ANY ? MILLION : allowed ? rate : 0;
    }
    /* There is one crash a seed at the most, so what it does is not to be rare. */
    for (uint32_t i = PLX__SIM_CRASH_PAGE; i <= PLX__SIM_CRASH_NAME; i++) {
        if (faults->temper == SIM_ROUGH)
            faults->choice_rates[i] = (uint32_t)(seed * (2 * i + 1) * 7919 % MILLION);
    }
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        uint32_t rate = draw_rate(&faults->random, faults_known[i].rate);
        bool allowed = faults->temper == SIM_ROUGH ||
                       (faults->temper == SIM_HARMLESS && !faults_known[i].harmful);
        faults->fault_rates[i] = allowed ? rate : 0;
    }
}

static uint64_t draw_less(struct sim_random *random, uint64_t bound)
{
    if (sim_random_once(random, 3))
        return bound - sim_random_size(random, bound - 1);
    return sim_random_below(random, bound);
}

uint64_t sim_faults_choose(void *ctx, enum plx__sim_choice choice, uint64_t bound)
{
    struct sim_faults *faults = ctx;
    struct sim_random *random = &faults->random;
    if (faults->choice_rates[choice] == 0 ||
        sim_random_below(random, MILLION) >= faults->choice_rates[choice])
        return 0;
    uint64_t answer = 1;
    switch (specs[choice].draw) {
    case DRAW_ONE:
        break;
    case DRAW_SIZE:
        answer = sim_random_size(random, bound - 1);
        break;
    case DRAW_LESS:
        answer = draw_less(random, bound);
        break;
    case DRAW_ANY:
        answer = sim_random_below(random, bound);
        break;
    }
    choice_counts[choice] += answer != 0;
    return answer;
}

bool sim_fault_strikes(struct sim_faults *faults, enum sim_fault fault)
{
    if (faults->fault_rates[fault] == 0 ||
        sim_random_below(&faults->random, MILLION) >= faults->fault_rates[fault])
        return false;
    fault_counts[fault]++;
    return true;
}

void sim_fault_count(enum sim_fault fault)
{
    fault_counts[fault]++;
}

/* --- the table -------------------------------------------------------------------------------- */

static uint32_t print_row(const char *name, const char *text, uint64_t count)
{
    printf("  %-18s %10llu  %s\n", name, (unsigned long long)count, text);
    return count == 0;
}

uint32_t sim_faults_print(void)
{
    uint32_t never = 0;
    printf("faults that fired:\n");
    for (uint32_t i = 0; i < PLX__SIM_CHOICE_COUNT; i++) {
        if (specs[i].draw != DRAW_ANY)
            never += print_row(choices_known[i].name, choices_known[i].text, choice_counts[i]);
    }
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++)
        never += print_row(faults_known[i].name, faults_known[i].text, fault_counts[i]);
    printf("%u kinds of fault, %u of them never fired\n", sim_faults_kinds(), never);
    return never;
}

uint32_t sim_faults_kinds(void)
{
    uint32_t kinds = SIM_FAULT_COUNT;
    for (uint32_t i = 0; i < PLX__SIM_CHOICE_COUNT; i++)
        kinds += specs[i].draw != DRAW_ANY;
    return kinds;
}

void sim_faults_forget(void)
{
    memset(choice_counts, 0, sizeof(choice_counts));
    memset(fault_counts, 0, sizeof(fault_counts));
}
