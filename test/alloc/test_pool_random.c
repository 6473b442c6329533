/* SPDX-License-Identifier: MIT */
/*
 * The pool beside a plain model of it, over random operations: which block an acquire gives, who is
 * served, what is refused, and every count. POLLUX_TEST_SEED replays a run.
 */
#include "test/alloc/pool_fixture.h"

#define BLOCKS_MAX 12 /* of a class */
#define WAITERS    24
#define ROUNDS     100
#define STEPS      3000

static uint64_t seed;

struct model_waiter {
    struct plx_pool_waiter waiter;
    bool armed;
    uint32_t index;
    void *kept; /* the block that its callback must bring */
    uint32_t calls;
};

/* The model: arrays that are searched. */
static struct {
    struct plx_pool_quota quota;
    bool fall_up;
    void *stack[PLX_POOL_CLASSES][BLOCKS_MAX];
    uint32_t stack_count[PLX_POOL_CLASSES];
    struct plx_pool_class_stats stats[PLX_POOL_CLASSES];
    uint64_t unfit;
    void *held[PLX_POOL_CLASSES * BLOCKS_MAX];
    uint32_t held_count;
    struct model_waiter waiters[WAITERS];
    uint32_t line[WAITERS]; /* in the order of arming, all classes */
    uint32_t line_count;
    uint32_t ready[WAITERS];
    uint32_t ready_count;
    void *last_released;
} model;

static struct fixture fixture;
static struct plx_pool *const pool = &fixture.pool;
static uint64_t random_state;

static uint32_t draw(uint32_t bound)
{
    return (uint32_t)(random_next(&random_state) % bound);
}

static size_t draw_bytes(void)
{
    uint32_t index = draw(PLX_POOL_CLASSES);
    return plx_pool_class_bytes(index) - draw((uint32_t)plx_pool_class_bytes(index)) + draw(2);
}

/* The class that a request is for; PLX_POOL_CLASSES: none. */
static uint32_t model_class(size_t bytes)
{
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        if (plx_pool_class_bytes(c) >= bytes && model.quota.blocks[c] > 0)
            return c;
    }
    return PLX_POOL_CLASSES;
}

static uint32_t model_class_of(const void *block)
{
    size_t bytes;
    assert_ptr_equal(plx_pool_block_of(pool, block, &bytes), block);
    return plx_pool_class_index(bytes);
}

static void *model_pop(uint32_t c)
{
    model.stats[c].acquires++;
    model.stats[c].in_use++;
    if (model.stats[c].in_use > model.stats[c].peak)
        model.stats[c].peak = model.stats[c].in_use;
    return model.stack[c][--model.stack_count[c]];
}

static void *model_acquire(size_t bytes)
{
    uint32_t c = model_class(bytes);
    if (c == PLX_POOL_CLASSES) {
        model.unfit++;
        return NULL;
    }
    if (model.stack_count[c] == 0) {
        model.stats[c].misses++;
        while (model.fall_up && ++c < PLX_POOL_CLASSES) {
            if (model.stack_count[c] > 0)
                return model_pop(c);
        }
        return NULL;
    }
    return model_pop(c);
}

static void model_make_ready(uint32_t w, void *block)
{
    model.waiters[w].kept = block;
    model.ready[model.ready_count++] = w;
}

static void take_out(uint32_t *list, uint32_t *count, uint32_t at)
{
    memmove(&list[at], &list[at + 1], (--*count - at) * sizeof(*list));
}

/* A block is nobody's: the first waiter of its class gets it, else the stack. */
static void model_give_back(void *block)
{
    uint32_t c = model_class_of(block);
    for (uint32_t i = 0; i < model.line_count; i++) {
        uint32_t w = model.line[i];
        if (model.waiters[w].index == c) {
            take_out(model.line, &model.line_count, i);
            model.stats[c].acquires++;
            model_make_ready(w, block);
            return;
        }
    }
    model.stats[c].in_use--;
    model.stack[c][model.stack_count[c]++] = block;
}

/* --- operations ------------------------------------------------------------------------------- */

static void hold(void *block)
{
    uint64_t tag = (uintptr_t)block ^ seed;
    memcpy(block, &tag, sizeof(tag));
    model.held[model.held_count++] = block;
}

static void do_acquire(void)
{
    size_t bytes = draw(50) == 0 ? PLX_POOL_BLOCK_MAX + 1 + draw(1000) : draw_bytes();
    void *expected = model_acquire(bytes);
    void *block = plx_pool_acquire(pool, bytes);
    assert_ptr_equal(block, expected);
    if (block != NULL)
        hold(block);
}

static void do_release(void)
{
    if (model.held_count == 0)
        return;
    uint32_t i = draw(model.held_count);
    void *block = model.held[i];
    uint64_t tag;
    memcpy(&tag, block, sizeof(tag));
    assert_true(tag == ((uintptr_t)block ^ seed)); /* nobody else wrote there */
    model.held[i] = model.held[--model.held_count];
    model_give_back(block);
    model.last_released = block;
    if (draw(2))
        plx_pool_release(pool, block);
    else
        assert_int_equal(plx_pool_try_release(pool, block), 0);
}

static void do_wrong_release(void)
{
    unsigned char *block = model.last_released;
    if (draw(2) && model.held_count > 0) {
        block = model.held[draw(model.held_count)];
        size_t bytes = plx_pool_class_bytes(model_class_of(block));
        assert_int_equal(plx_pool_try_release(pool, block + 1 + draw((uint32_t)bytes - 1)),
                         -EINVAL);
        return;
    }
    for (uint32_t i = 0; i < model.held_count; i++) {
        if (model.held[i] == block)
            return;
    }
    assert_int_equal(plx_pool_try_release(pool, block), block != NULL ? -EALREADY : -EINVAL);
}

static void on_block(struct plx_pool_waiter *waiter, void *block, void *ctx)
{
    struct model_waiter *w = ctx;
    assert_ptr_equal(waiter, &w->waiter);
    assert_ptr_equal(block, w->kept);
    w->calls++;
    w->armed = false;
    hold(block);
}

static void do_arm(void)
{
    uint32_t w = draw(WAITERS);
    struct model_waiter *m = &model.waiters[w];
    if (m->armed)
        return;
    size_t bytes = draw_bytes();
    m->index = model_class(bytes);
    int code = plx_pool_waiter_arm(pool, &m->waiter, bytes, on_block, m);
    assert_int_equal(code, m->index == PLX_POOL_CLASSES ? -EINVAL : 0);
    if (code < 0)
        return;
    m->armed = true;
    if (model.stack_count[m->index] > 0)
        model_make_ready(w, model_pop(m->index));
    else
        model.line[model.line_count++] = w;
}

static void do_disarm(void)
{
    uint32_t w = draw(WAITERS);
    struct model_waiter *m = &model.waiters[w];
    assert_int_equal(plx_pool_waiter_is_armed(&m->waiter), m->armed);
    assert_int_equal(plx_pool_waiter_disarm(pool, &m->waiter), m->armed);
    m->armed = false;
    for (uint32_t i = 0; i < model.line_count; i++) {
        if (model.line[i] == w) {
            take_out(model.line, &model.line_count, i);
            return;
        }
    }
    for (uint32_t i = 0; i < model.ready_count; i++) {
        if (model.ready[i] == w) {
            take_out(model.ready, &model.ready_count, i);
            model_give_back(m->kept);
            return;
        }
    }
}

static void do_serve(void)
{
    uint32_t calls[WAITERS];
    for (uint32_t i = 0; i < model.ready_count; i++)
        calls[i] = model.waiters[model.ready[i]].calls;
    assert_int_equal(plx_pool_serve(pool), model.ready_count);
    for (uint32_t i = 0; i < model.ready_count; i++)
        assert_int_equal(model.waiters[model.ready[i]].calls, calls[i] + 1);
    model.ready_count = 0;
}

static void compare(void)
{
    struct plx_pool_stats stats;
    plx_pool_read_stats(pool, &stats);
    assert_int_equal(stats.unfit, model.unfit);
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        assert_int_equal(stats.classes[c].in_use, model.stats[c].in_use);
        assert_int_equal(stats.classes[c].peak, model.stats[c].peak);
        assert_int_equal(stats.classes[c].acquires, model.stats[c].acquires);
        assert_int_equal(stats.classes[c].misses, model.stats[c].misses);
    }
    assert_sound(pool);
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void begin_round(void)
{
    struct plx_pool_opts opts;
    memset(&model, 0, sizeof(model));
    model.quota.blocks[draw(PLX_POOL_CLASSES)] = 1 + draw(BLOCKS_MAX);
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        if (draw(3) > 0)
            model.quota.blocks[c] = draw(BLOCKS_MAX + 1);
    }
    plx_pool_opts_init(&opts);
    opts.fall_up = model.fall_up = draw(2) == 0;
    if (plx_pool_measure(&model.quota, NULL).bytes == 0)
        model.quota.blocks[0] = 1;
    assert_int_equal(make_pool(&fixture, &model.quota, &opts), 0);
    /* The model learns the order of the first blocks from the pool, by emptying it once. */
    uint64_t acquires = 0;
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        uint32_t blocks = model.quota.blocks[c];
        for (uint32_t i = blocks; i-- > 0;)
            model.stack[c][i] = plx_pool_acquire(pool, plx_pool_class_bytes(c));
        for (uint32_t i = 0; i < blocks; i++)
            plx_pool_release(pool, model.stack[c][i]);
        model.stack_count[c] = blocks;
        model.stats[c].acquires = model.stats[c].peak = blocks;
        acquires += blocks;
    }
    assert_true(acquires > 0);
}

static void pool_behaves_as_its_model(void **state)
{
    (void)state;
    static void (*const operations[])(void) = {do_acquire, do_acquire, do_acquire,
                                               do_release, do_release, do_wrong_release,
                                               do_arm,     do_disarm,  do_serve};
    random_state = seed;
    for (int round = 0; round < ROUNDS; round++) {
        begin_round();
        for (int step = 0; step < STEPS; step++) {
            operations[draw(sizeof(operations) / sizeof(operations[0]))]();
            if (step % 64 == 0)
                compare();
        }
        do_serve();
        for (uint32_t w = 0; w < WAITERS; w++)
            (void)plx_pool_waiter_disarm(pool, &model.waiters[w].waiter);
        while (model.held_count > 0)
            plx_pool_release(pool, model.held[--model.held_count]);
        end_pool(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pool_behaves_as_its_model)};
    seed = take_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
