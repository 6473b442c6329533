/* SPDX-License-Identifier: MIT */
#include "runtime/sched/xchan.h"

#include <errno.h>
#include <string.h>

#include "runtime/mesh/mesh_internal.h"
#include "runtime/sched/wait_internal.h"

#define SLOTS_MAX (1u << 30)

struct item_post {
    struct plx_xchan *chan;
    unsigned char item[PLX_XCHAN_ITEM_BYTES];
};
PLX_STATIC_ASSERT(sizeof(struct item_post) == PLX_POST_BYTES, "an item fits a post");

struct credit_post {
    struct plx_xchan *chan;
    uint32_t credits;
};

/* --- ends ------------------------------------------------------------------------------------- */

/* From the first moment that something comes to an end, its reactor's stop closes it. */
static void attach(struct plx_xchan_end *end, struct plx_reactor *here)
{
    if (end->reactor != NULL || end->closed)
        return;
    struct plx__tasks *tasks = plx__reactor_tasks(here);
    end->reactor = here;
    end->prev = NULL;
    end->next = tasks->xchans;
    if (end->next != NULL)
        end->next->prev = end;
    tasks->xchans = end;
}

static void detach(struct plx_xchan_end *end)
{
    if (end->next != NULL)
        end->next->prev = end->prev;
    if (end->prev != NULL)
        end->prev->next = end->next;
    else
        plx__reactor_tasks(end->reactor)->xchans = end->next;
}

/* Tells the other end that it need not count on this one. */
static void answer(struct plx_xchan_end *end)
{
    if (!end->has_token)
        return;
    end->has_token = false;
    plx_call_reply(end->reactor, &end->token, 0, NULL, 0);
}

/* The other end is gone; whatever it sent has come before. */
static void be_alone(struct plx_xchan_end *end)
{
    end->alone = true;
    answer(end);
    plx__wait_wake_all(&end->waiting, -EPIPE);
}

static void take_bye(struct plx_reactor *here, const void *body)
{
    struct plx_xchan_end *end = *(struct plx_xchan_end *const *)body;
    attach(end, here);
    be_alone(end);
}

/* The other end has not opened, so there is no call of its to answer. */
static void say_bye(struct plx_timer *timer, void *ctx)
{
    struct plx_xchan_end *end = ctx;
    struct plx_xchan *chan = end->chan;
    bool sends = end == &chan->send;
    struct plx_xchan_end *other = sends ? &chan->recv : &chan->send;
    (void)timer;
    /* Also while the reactor stops. */
    int rc = plx__mesh_send(plx__reactor_mesh(end->reactor), sends ? chan->to : chan->from,
                            take_bye, &other, sizeof(other));
    /* A time in the past: the next turn. */
    if (rc == -EAGAIN)
        plx_timer_arm(end->reactor, &end->again, 0, say_bye, end);
}

static void close_end(struct plx_xchan_end *end)
{
    if (end->closed)
        return;
    end->closed = true;
    if (end->reactor != NULL) {
        detach(end);
        plx_timer_disarm(end->reactor, &end->again);
    }
    if (end->life.in_flight && !end->has_token)
        say_bye(&end->again, end);
    answer(end);
    plx__wait_wake_all(&end->waiting, -EPIPE);
}

/* The other end has opened: `body` names this one. */
static int32_t hold(struct plx_reactor *here, const struct plx_call_token *token, const void *body,
                    void *reply)
{
    struct plx_xchan_end *end = *(struct plx_xchan_end *const *)body;
    (void)reply;
    attach(end, here);
    if (end->closed || end->alone)
        return 0;
    end->token = *token;
    end->has_token = true;
    return PLX_CALL_LATER;
}

static void end_life(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    struct plx_xchan_end *end = ctx;
    (void)call;
    (void)event;
    be_alone(end);
}

static int open_end(struct plx_xchan_end *end, struct plx_xchan_end *other, uint32_t to,
                    struct plx_reactor *here)
{
    PLX_ASSERT(!end->open);
    if (end->closed)
        return -EPIPE;
    int rc = plx_mesh_call(here, &end->life, to, hold, &other, sizeof(other), end_life, end);
    if (rc != 0)
        return rc;
    attach(end, here);
    end->open = true;
    return 0;
}

static bool is_over(const struct plx_xchan_end *end)
{
    return end->closed && !end->life.in_flight && !plx_timer_is_armed(&end->again);
}

int plx_xchan_init(struct plx_xchan *chan, uint32_t from, uint32_t to, void *memory, uint32_t slots,
                   uint32_t item_bytes)
{
    if (slots == 0 || slots > SLOTS_MAX || item_bytes == 0 || item_bytes > PLX_XCHAN_ITEM_BYTES)
        return -EINVAL;
    memset(chan, 0, sizeof(*chan));
    chan->from = from;
    chan->to = to;
    chan->slots = slots;
    chan->item_bytes = item_bytes;
    chan->memory = memory;
    chan->credits = slots;
    chan->send.chan = chan;
    chan->recv.chan = chan;
    return 0;
}

int plx_xchan_open_send(struct plx_xchan *chan, struct plx_reactor *here)
{
    return open_end(&chan->send, &chan->recv, chan->to, here);
}

int plx_xchan_open_recv(struct plx_xchan *chan, struct plx_reactor *here)
{
    return open_end(&chan->recv, &chan->send, chan->from, here);
}

void plx_xchan_close_send(struct plx_xchan *chan)
{
    close_end(&chan->send);
}

void plx_xchan_close_recv(struct plx_xchan *chan)
{
    close_end(&chan->recv);
    chan->count = 0;
}

void plx__xchan_close_all(struct plx__tasks *tasks)
{
    while (tasks->xchans != NULL) {
        struct plx_xchan_end *end = tasks->xchans;
        if (end == &end->chan->send)
            plx_xchan_close_send(end->chan);
        else
            plx_xchan_close_recv(end->chan);
    }
}

bool plx_xchan_send_is_over(const struct plx_xchan *chan)
{
    return is_over(&chan->send);
}

bool plx_xchan_recv_is_over(const struct plx_xchan *chan)
{
    return is_over(&chan->recv);
}

/* --- receiving -------------------------------------------------------------------------------- */

static void *slot(const struct plx_xchan *chan, uint32_t index)
{
    uint32_t at = (chan->head + index) % chan->slots;
    return chan->memory + (size_t)at * chan->item_bytes;
}

static void take_credits(struct plx_reactor *here, const void *body);

static void give_credits(struct plx_timer *timer, void *ctx)
{
    struct plx_xchan *chan = ctx;
    (void)timer;
    if (chan->recv.alone)
        return;
    const struct credit_post post = {.chan = chan, .credits = chan->owed};
    int rc = plx_mesh_post(chan->recv.reactor, chan->from, take_credits, &post, sizeof(post));
    if (rc == 0)
        chan->owed = 0;
    else if (rc == -EAGAIN)
        plx_timer_arm(chan->recv.reactor, &chan->recv.again, 0, give_credits, chan);
}

/* An item has left the queue, or never came into it. */
static void owe_credit(struct plx_xchan *chan)
{
    chan->owed++;
    if (chan->owed >= chan->slots - chan->slots / 2 && !plx_timer_is_armed(&chan->recv.again))
        give_credits(&chan->recv.again, chan);
}

static void take_item(struct plx_reactor *here, const void *body)
{
    const struct item_post *post = body;
    struct plx_xchan *chan = post->chan;
    attach(&chan->recv, here);
    if (chan->recv.closed)
        return;
    if (chan->recv.waiting.first != NULL) {
        memcpy(chan->recv.waiting.first->item, post->item, chan->item_bytes);
        plx__wait_wake_first(&chan->recv.waiting, 0);
        owe_credit(chan);
        return;
    }
    PLX_ASSERT(chan->count < chan->slots);
    memcpy(slot(chan, chan->count), post->item, chan->item_bytes);
    chan->count++;
}

int plx_xchan_try_recv(struct plx_xchan *chan, void *item)
{
    const struct plx_xchan_end *end = &chan->recv;
    if (end->closed)
        return -EPIPE;
    if (!end->open)
        return -ENOTCONN;
    if (chan->count == 0)
        return end->alone ? -EPIPE : -EAGAIN;
    memcpy(item, slot(chan, 0), chan->item_bytes);
    chan->head = (chan->head + 1) % chan->slots;
    chan->count--;
    owe_credit(chan);
    return 0;
}

int plx_xchan_recv_until(struct plx_xchan *chan, void *item, uint64_t at_ns)
{
    int why = 0;
    struct plx_task *task = plx__task_enter(&why);
    if (why == -ECANCELED)
        return why;
    int rc = plx_xchan_try_recv(chan, item);
    if (rc != -EAGAIN)
        return rc;
    if (task == NULL)
        return why;
    struct plx__waiter waiter = {.task = task, .item = item};
    return plx__wait_in(&chan->recv.waiting, &waiter, at_ns);
}

int plx_xchan_recv(struct plx_xchan *chan, void *item)
{
    return plx_xchan_recv_until(chan, item, UINT64_MAX);
}

/* --- sending ---------------------------------------------------------------------------------- */

static int check_send(const struct plx_xchan *chan)
{
    if (chan->send.closed || chan->send.alone)
        return -EPIPE;
    return chan->send.open ? 0 : -ENOTCONN;
}

/* Whoever is woken has taken its credit. */
static void grant(struct plx_xchan *chan)
{
    while (chan->credits != 0 && chan->send.waiting.first != NULL) {
        chan->credits--;
        plx__wait_wake_first(&chan->send.waiting, 0);
    }
}

static void take_credits(struct plx_reactor *here, const void *body)
{
    const struct credit_post *post = body;
    (void)here;
    post->chan->credits += post->credits;
    grant(post->chan);
}

/* With a credit taken. */
static int post_item(struct plx_xchan *chan, const void *item)
{
    struct item_post post = {.chan = chan};
    memcpy(post.item, item, chan->item_bytes);
    int rc = plx_mesh_post(chan->send.reactor, chan->to, take_item, &post,
                           offsetof(struct item_post, item) + chan->item_bytes);
    return rc == -ESHUTDOWN ? -EPIPE : rc;
}

int plx_xchan_try_send(struct plx_xchan *chan, const void *item)
{
    int rc = check_send(chan);
    if (rc != 0)
        return rc;
    if (chan->credits == 0 || chan->send.waiting.first != NULL)
        return -EAGAIN;
    rc = post_item(chan, item);
    chan->credits -= rc == 0;
    return rc;
}

/* With a credit only the ring can be full, and the other reactor empties it. */
static int post_until(struct plx_xchan *chan, const void *item, uint64_t at_ns)
{
    int rc = check_send(chan);
    if (rc == 0)
        rc = post_item(chan, item);
    while (rc == -EAGAIN) {
        if (at_ns != UINT64_MAX && plx__reactor_clock_ns(chan->send.reactor) >= at_ns)
            return -ETIMEDOUT;
        rc = plx_task_yield();
        if (rc == 0)
            rc = check_send(chan);
        if (rc == 0)
            rc = post_item(chan, item);
    }
    return rc;
}

int plx_xchan_send_until(struct plx_xchan *chan, const void *item, uint64_t at_ns)
{
    int why = 0;
    struct plx_task *task = plx__task_enter(&why);
    if (why == -ECANCELED)
        return why;
    int rc = plx_xchan_try_send(chan, item);
    if (rc != -EAGAIN)
        return rc;
    if (task == NULL)
        return why;

    if (chan->credits != 0 && chan->send.waiting.first == NULL) {
        chan->credits--;
    } else {
        struct plx__waiter waiter = {.task = task};
        rc = plx__wait_in(&chan->send.waiting, &waiter, at_ns);
        if (rc != 0)
            return rc;
    }
    rc = post_until(chan, item, at_ns);
    if (rc != 0) {
        chan->credits++;
        grant(chan);
    }
    return rc;
}

int plx_xchan_send(struct plx_xchan *chan, const void *item)
{
    return plx_xchan_send_until(chan, item, UINT64_MAX);
}
