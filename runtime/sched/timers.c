/* SPDX-License-Identifier: MIT */
/* The wheel; how it keeps its order is told in timers_internal.h. */
#include "runtime/sched/timers_internal.h"

/* `place` of a timer: 64 * level + slot, of the wheel of the past with this bit, or ... */
#define PLACE_PAST 0x8000u
/* ... on the list of those due in this turn. */
#define PLACE_DUE 0xffffu

/* Slots of up to so many are opened in one turn; they are looked through for their first time. */
#define LIGHT_MAX PLX__TURN_AHEAD_MAX

/* --- circles ---------------------------------------------------------------------------------- */

static inline void insert_before(struct plx_timer *next, struct plx_timer *timer)
{
    timer->next = next;
    timer->prev = next->prev;
    next->prev->next = timer;
    next->prev = timer;
}

/* Takes it out of the circle that begins with *first. */
static inline void take_out(struct plx_timer **first, struct plx_timer *timer)
{
    if (timer->next == timer) {
        *first = NULL;
        return;
    }
    timer->next->prev = timer->prev;
    timer->prev->next = timer->next;
    if (*first == timer)
        *first = timer->next;
}

static inline void put_alone(struct plx_timer **first, struct plx_timer *timer)
{
    timer->next = timer;
    timer->prev = timer;
    *first = timer;
}

/* --- slots ------------------------------------------------------------------------------------ */

/* The slot's number since time 0; in its ring it has the low bits of that. */
static inline uint64_t index_of(uint64_t at_ns, unsigned level)
{
    return at_ns >> (PLX__WHEEL_BITS * level);
}

static inline uint64_t start_of(uint64_t index, unsigned level)
{
    return index << (PLX__WHEEL_BITS * level);
}

static inline unsigned level_for(uint64_t ahead_ns)
{
    return (63u - (unsigned)__builtin_clzll(ahead_ns | 1)) / PLX__WHEEL_BITS;
}

static inline bool is_filled(const struct plx__wheel *wheel, unsigned level, uint64_t index)
{
    return (wheel->filled[level] >> (index % PLX__WHEEL_SLOTS) & 1) != 0;
}

/* Puts it at the end of a slot, or at the begin, and returns how many are there. `mark` is
 * PLACE_PAST in that wheel. */
static inline uint32_t put(struct plx__wheel *wheel, struct plx_timer *timer, unsigned level,
                           uint64_t index, unsigned mark, bool at_begin)
{
    unsigned number = (unsigned)(index % PLX__WHEEL_SLOTS);
    struct plx__timer_slot *slot = &wheel->slots[level][number];
    timer->place = (uint16_t)(mark | (level * PLX__WHEEL_SLOTS + number));
    slot->count++;
    if (slot->first == NULL) {
        put_alone(&slot->first, timer);
        wheel->filled[level] |= UINT64_C(1) << number;
        wheel->levels |= 1u << level;
        return 1;
    }
    insert_before(slot->first, timer);
    if (at_begin)
        slot->first = timer;
    return slot->count;
}

static inline void take(struct plx__wheel *wheel, struct plx_timer *timer)
{
    unsigned place = timer->place & ~PLACE_PAST;
    unsigned level = place / PLX__WHEEL_SLOTS;
    unsigned number = place % PLX__WHEEL_SLOTS;
    struct plx__timer_slot *slot = &wheel->slots[level][number];
    take_out(&slot->first, timer);
    if (--slot->count != 0)
        return;
    wheel->filled[level] &= ~(UINT64_C(1) << number);
    if (wheel->filled[level] == 0)
        wheel->levels &= ~(1u << level);
}

/* The first slot with timers of a level that has any. */
static inline uint64_t first_index(const struct plx__wheel *wheel, unsigned level)
{
    uint64_t cursor = index_of(wheel->base_ns, level);
    unsigned turn = (unsigned)(cursor % PLX__WHEEL_SLOTS);
    uint64_t filled = wheel->filled[level];
    /* From the cursor on; shifts by 64 are not to be had. */
    uint64_t ring = filled >> turn | filled << ((PLX__WHEEL_SLOTS - turn) % PLX__WHEEL_SLOTS);
    return cursor + (unsigned)__builtin_ctzll(ring);
}

/* --- arming ----------------------------------------------------------------------------------- */

void plx__timers_init(struct plx__timers *timers, uint64_t now_ns, uint64_t late_ns)
{
    timers->next_ns = UINT64_MAX;
    timers->late_ns = late_ns;
    timers->ahead.base_ns = now_ns;
}

bool plx__timers_arm(struct plx__timers *timers, struct plx_timer *timer, uint64_t at_ns,
                     uint64_t period_ns)
{
    plx__timers_disarm(timers, timer);
    timer->at_ns = at_ns;
    timer->period_ns = period_ns;
    timer->missed = 0;
    timer->armed = true;
    bool is_first = at_ns < timers->next_ns;
    if (is_first)
        timers->next_ns = at_ns;

    struct plx__wheel *wheel = &timers->ahead;
    timer->past = at_ns < wheel->base_ns;
    if (PLX_UNLIKELY(timer->past)) {
        wheel = &timers->past;
        if (wheel->levels == 0)
            wheel->base_ns = 0;
        if (at_ns < wheel->base_ns) {
            (void)put(wheel, timer, 0, wheel->base_ns, PLACE_PAST, false);
            return is_first;
        }
    }
    unsigned level = level_for(at_ns - wheel->base_ns);
    while (level != 0 && index_of(at_ns, level) < wheel->opened[level])
        level--;
    uint32_t count =
        put(wheel, timer, level, index_of(at_ns, level), timer->past ? PLACE_PAST : 0, false);
    if (PLX_UNLIKELY(count == LIGHT_MAX + 1 && level != 0 && !timer->past)) {
        /* It is heavy from now on: perhaps the time to open it has come. */
        is_first = is_first || timers->next_ns != 0;
        timers->next_ns = 0;
    }
    return is_first;
}

void plx__timers_disarm(struct plx__timers *timers, struct plx_timer *timer)
{
    if (!timer->armed)
        return;
    timer->armed = false;
    if (timer->place == PLACE_DUE)
        take_out(&timers->due, timer);
    else
        take((timer->place & PLACE_PAST) != 0 ? &timers->past : &timers->ahead, timer);
}

/* --- moving down ------------------------------------------------------------------------------ */

/* Where to look first in a wheel that has timers. */
struct look {
    unsigned level;
    uint64_t index;
    uint64_t start_ns;
    uint64_t second_ns; /* no other slot begins before */
};

static struct look look_for(const struct plx__wheel *wheel)
{
    struct look look = {.start_ns = UINT64_MAX, .second_ns = UINT64_MAX};
    for (uint32_t left = wheel->levels; left != 0; left &= left - 1) {
        unsigned level = (unsigned)__builtin_ctz(left);
        uint64_t index = first_index(wheel, level);
        uint64_t start_ns = start_of(index, level);
        /* Of two that begin together the coarser: it may hold what comes first. */
        if (start_ns <= look.start_ns) {
            look.second_ns = look.start_ns;
            look.start_ns = start_ns;
            look.level = level;
            look.index = index;
        } else if (start_ns < look.second_ns) {
            look.second_ns = start_ns;
        }
    }
    return look;
}

/* To the level that suits it now, but not past others of its time. */
static void move_down(struct plx__wheel *wheel, struct plx_timer *timer, unsigned level)
{
    unsigned goal = level_for(timer->at_ns - wheel->base_ns);
    unsigned mark = timer->place & PLACE_PAST;
    unsigned to = level - 1;
    take(wheel, timer);
    while (to > goal && !is_filled(wheel, to, index_of(timer->at_ns, to)))
        to--;
    (void)put(wheel, timer, to, index_of(timer->at_ns, to), mark, true);
}

static void move_some(struct plx__wheel *wheel, struct plx__timer_slot *slot, unsigned level,
                      uint32_t *moves)
{
    while (slot->first != NULL && *moves != 0) {
        struct plx_timer *last = slot->first->prev;
        __builtin_prefetch(last->prev->prev, 1);
        move_down(wheel, last, level);
        --*moves;
    }
}

/* The base reaches the slot, and what is in it moves on. */
static void open_slot(struct plx__wheel *wheel, const struct look *look, uint64_t now_ns,
                      uint32_t *moves)
{
    struct plx__timer_slot *slot = &wheel->slots[look->level][look->index % PLX__WHEEL_SLOTS];
    uint64_t base_ns = look->start_ns;
    if (slot->count <= LIGHT_MAX) {
        /* As far as can be, so that they need not move again and again. */
        base_ns = now_ns < look->second_ns ? now_ns : look->second_ns;
        const struct plx_timer *timer = slot->first;
        do {
            if (timer->at_ns < base_ns)
                base_ns = timer->at_ns;
            timer = timer->next;
        } while (timer != slot->first);
    }
    if (base_ns > wheel->base_ns)
        wheel->base_ns = base_ns;
    move_some(wheel, slot, look->level, moves);
}

/*
 * Heavy slots that the base is about to reach. Their timers fit below: the slot after the cursor is
 * the last that the level below can hold as a whole.
 */
static void open_ahead(struct plx__wheel *wheel)
{
    uint32_t moves = PLX__TURN_AHEAD_MAX;
    for (uint32_t left = wheel->levels & ~1u; left != 0 && moves != 0; left &= left - 1) {
        unsigned level = (unsigned)__builtin_ctz(left);
        uint64_t index = index_of(wheel->base_ns, level) + 1;
        struct plx__timer_slot *slot = &wheel->slots[level][index % PLX__WHEEL_SLOTS];
        if (slot->count <= LIGHT_MAX && wheel->opened[level] <= index)
            continue;
        wheel->opened[level] = index + 1;
        move_some(wheel, slot, level, &moves);
    }
}

/* When a turn has to look again. */
static uint64_t next_look(const struct plx__wheel *wheel)
{
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t left = wheel->levels; left != 0; left &= left - 1) {
        unsigned level = (unsigned)__builtin_ctz(left);
        uint64_t index = first_index(wheel, level);
        const struct plx__timer_slot *slot = &wheel->slots[level][index % PLX__WHEEL_SLOTS];
        if (level != 0 && index != 0 && (slot->count > LIGHT_MAX || wheel->opened[level] > index))
            index--;
        if (start_of(index, level) < next_ns)
            next_ns = start_of(index, level);
    }
    return next_ns;
}

/* --- firing ----------------------------------------------------------------------------------- */

/* Behind those due before it and at the same time: the end, unless its time was taken for later. */
static void put_due(struct plx__timers *timers, struct plx_timer *timer)
{
    timer->place = PLACE_DUE;
    if (timers->due == NULL) {
        put_alone(&timers->due, timer);
        return;
    }
    struct plx_timer *before = timers->due->prev;
    while (before->at_ns > timer->at_ns && before != timers->due)
        before = before->prev;
    bool is_first = before->at_ns > timer->at_ns;
    insert_before(is_first ? before : before->next, timer);
    if (is_first)
        timers->due = timer;
}

/* Moves what is due, as far as this turn has room. Returns whether the wheel has no more of it. */
static bool take_due(struct plx__timers *timers, struct plx__wheel *wheel, uint64_t now_ns,
                     uint32_t *room, uint32_t *moves)
{
    while (wheel->levels != 0) {
        struct look look = look_for(wheel);
        if (look.start_ns > now_ns)
            break;
        if (look.level != 0) {
            if (*moves == 0)
                return false;
            open_slot(wheel, &look, now_ns, moves);
            continue;
        }
        if (look.start_ns > wheel->base_ns)
            wheel->base_ns = look.start_ns;
        struct plx__timer_slot *slot = &wheel->slots[0][look.index % PLX__WHEEL_SLOTS];
        for (; slot->first != NULL; --*room) {
            struct plx_timer *timer = slot->first;
            if (*room == 0)
                return false;
            take(wheel, timer);
            put_due(timers, timer);
        }
    }
    return true;
}

static void collect(struct plx__timers *timers, uint64_t now_ns)
{
    uint32_t room = PLX__TURN_TIMERS_MAX;
    uint32_t moves = PLX__TURN_MOVES_MAX;
    if (!take_due(timers, &timers->past, now_ns, &room, &moves)) {
        timers->next_ns = 0;
        return;
    }
    if (take_due(timers, &timers->ahead, now_ns, &room, &moves) && timers->ahead.base_ns < now_ns)
        timers->ahead.base_ns = now_ns;
    open_ahead(&timers->ahead);
    timers->next_ns = next_look(&timers->ahead);
}

/* For the first of its times after now. */
static void arm_again(struct plx__timers *timers, struct plx_timer *timer, uint64_t now_ns)
{
    uint64_t period_ns = timer->period_ns;
    uint64_t missed = (now_ns - timer->at_ns) / period_ns;
    uint64_t at_ns;
    if (__builtin_mul_overflow(missed + 1, period_ns, &at_ns) ||
        __builtin_add_overflow(timer->at_ns, at_ns, &at_ns))
        at_ns = UINT64_MAX;
    (void)plx__timers_arm(timers, timer, at_ns, period_ns);
    timer->missed = missed < UINT32_MAX ? (uint32_t)missed : UINT32_MAX;
    timers->missed += timer->missed;
}

uint32_t plx__timers_run(struct plx__timers *timers, uint64_t now_ns)
{
    collect(timers, now_ns);
    /* Those armed meanwhile with a time in the past wait for the next turn. */
    uint32_t fired = 0;
    for (struct plx_timer *timer = timers->due; timer != NULL; timer = timers->due) {
        if (!timer->past && now_ns - timer->at_ns > timers->late_ns)
            timers->late++;
        if (timer->period_ns != 0)
            arm_again(timers, timer, now_ns);
        else
            plx__timers_disarm(timers, timer);
        timer->fn(timer, timer->ctx);
        fired++;
    }
    timers->fired += fired;
    return fired;
}

/* --- checking --------------------------------------------------------------------------------- */

static uint64_t check_slot(const struct plx__wheel *wheel, unsigned level, unsigned number,
                           unsigned mark)
{
    const struct plx__timer_slot *slot = &wheel->slots[level][number];
    uint64_t cursor = index_of(wheel->base_ns, level);
    uint64_t index = cursor + (number - cursor) % PLX__WHEEL_SLOTS;
    uint64_t count = 0;
    PLX_ASSERT(is_filled(wheel, level, number) == (slot->first != NULL));
    for (const struct plx_timer *timer = slot->first; timer != NULL; count++) {
        PLX_ASSERT(timer->armed && timer->next->prev == timer);
        PLX_ASSERT(timer->place == (mark | (level * PLX__WHEEL_SLOTS + number)));
        PLX_ASSERT(timer->past == (mark != 0));
        /* Of the past there may be some that count as of the base. */
        PLX_ASSERT(index_of(timer->at_ns, level) == index ||
                   (timer->past && level == 0 && timer->at_ns < wheel->base_ns));
        timer = timer->next != slot->first ? timer->next : NULL;
    }
    PLX_ASSERT(count == slot->count);
    return count;
}

static uint64_t check_wheel(const struct plx__wheel *wheel, unsigned mark)
{
    uint64_t count = 0;
    for (unsigned level = 0; level < PLX__WHEEL_LEVELS; level++) {
        PLX_ASSERT((wheel->levels >> level & 1) == (wheel->filled[level] != 0));
        for (unsigned number = 0; number < PLX__WHEEL_SLOTS; number++)
            count += check_slot(wheel, level, number, mark);
    }
    return count;
}

uint64_t plx__timers_check(const struct plx__timers *timers)
{
    return check_wheel(&timers->ahead, 0) + check_wheel(&timers->past, PLACE_PAST);
}
