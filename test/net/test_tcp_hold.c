/* SPDX-License-Identifier: MIT */
/* What on_data was given and is kept beyond its return: contents, memory, a pool that is dry. */
#include "net/tcp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/segbuf.h"
#include "net/tcp_internal.h"
#include "test/net/net_world.h"

/* Pieces that one keeper holds at most. */
#define PIECES 600u

struct piece {
    struct plx_bytes bytes;
    uint64_t place;
};

/* A stream's receiver that holds all it gets, in pieces, and releases them in any order. */
struct keeper {
    struct plx_tcp *stream;
    struct plx_reactor *reactor;
    struct piece pieces[PIECES];
    uint32_t count;
    uint32_t piece_max; /* bytes */
    uint64_t random;
    uint64_t came; /* bytes that were held so far */
    uint32_t shared;
    uint32_t refused;
    size_t given_max; /* the most that on_data was given */
    bool paused;
    bool closed;
    bool broken;
};

static uint32_t next_random(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33);
}

static void keeper_accept(struct plx_tcp *stream, void *ctx)
{
    struct keeper *keeper = ctx;
    keeper->stream = stream;
}

static void halt(struct keeper *keeper)
{
    keeper->paused = true;
    plx_tcp_pause(keeper->stream);
}

static void keeper_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct keeper *keeper = ctx;
    size_t done = 0;
    keeper->given_max = len > keeper->given_max ? len : keeper->given_max;
    keeper->broken |= keeper->paused || !net_matches(data, len, keeper->came);
    while (done < len) {
        size_t part = 1 + next_random(&keeper->random) % keeper->piece_max;
        part = part < len - done ? part : len - done;
        struct piece *piece = &keeper->pieces[keeper->count];
        const uint8_t *from = (const uint8_t *)data + done;
        int rc = plx_tcp_hold(stream, from, part, &piece->bytes);
        if (rc != 0) {
            keeper->broken |= rc != -ENOMEM || piece->bytes.len != 0;
            keeper->refused++;
            halt(keeper);
            return;
        }
        keeper->broken |= piece->bytes.len != part;
        keeper->shared += piece->bytes.ptr == from;
        piece->place = keeper->came;
        keeper->came += part;
        done += part;
        if (++keeper->count == PIECES) {
            /* No more room: what is left is done without. */
            keeper->came += len - done;
            halt(keeper);
            return;
        }
    }
}

static void keeper_close(struct plx_tcp *stream, int reason, void *ctx)
{
    (void)stream;
    (void)reason;
    struct keeper *keeper = ctx;
    keeper->closed = true;
}

static const struct plx_tcp_handler keeper_handler = {
    .on_accept = keeper_accept,
    .on_data = keeper_data,
    .on_close = keeper_close,
};

static void release_piece(struct keeper *keeper, uint32_t index)
{
    struct piece piece = keeper->pieces[index];
    keeper->pieces[index] = keeper->pieces[--keeper->count];
    if (!net_matches(piece.bytes.ptr, piece.bytes.len, piece.place))
        keeper->broken = true;
    plx_bytes_release(plx_reactor_bytes(keeper->reactor), &piece.bytes);
}

static void release_all(struct keeper *keeper)
{
    while (keeper->count > 0)
        release_piece(keeper, next_random(&keeper->random) % keeper->count);
}

static void resume(struct keeper *keeper)
{
    keeper->paused = false;
    plx_tcp_resume(keeper->stream);
}

static int open_keeper(struct net_world *world, struct keeper *keeper, uint32_t piece_max)
{
    memset(keeper, 0, sizeof(*keeper));
    keeper->reactor = world->reactor;
    keeper->piece_max = piece_max;
    keeper->random = piece_max;
    struct plx_addr addr = net_listen(world, &keeper_handler, keeper);
    int peer = net_dial(&addr);
    NET_UNTIL(world, keeper->stream != NULL);
    return peer;
}

static void close_keeper(struct net_world *world, struct keeper *keeper, int peer)
{
    release_all(keeper);
    close(peer);
    if (keeper->paused)
        resume(keeper);
    NET_UNTIL(world, keeper->closed);
    release_all(keeper);
    assert_int_equal(net_blocks_out(world->reactor), 0);
    assert_false(keeper->broken);
}

static const uint32_t receive_bytes[] = {4096, 65536};

/* --- contents --------------------------------------------------------------------------------- */

static struct keeper the_keeper;

static void held_bytes_stay_whatever_is_released_when(void **state)
{
    static uint8_t data[30000];
    struct keeper *keeper = &the_keeper;
    for (int i = 0; i < 2; i++) {
        struct net_world world;
        uint64_t sent = 0;
        const uint64_t total = 6000000;
        net_world_open(&world, *state, 1, "2M");
        world.opts.receive_bytes = receive_bytes[i];
        int peer = open_keeper(&world, keeper, i == 0 ? 3000 : 20000);
        uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
        while (sent < total || keeper->came < sent) {
            size_t len = 1 + next_random(&keeper->random) % sizeof(data);
            if (next_random(&keeper->random) % 4 == 0)
                len = 1 + len % 100;
            len = len < total - sent ? len : total - sent;
            net_fill(data, len, sent);
            int64_t took = len != 0 ? net_peer_send(peer, data, len) : 0;
            assert_true(took >= 0);
            sent += (uint64_t)took;
            net_turn(&world);
            bool much = keeper->count > PIECES / 2 || keeper->paused;
            while (keeper->count > 0 && (much || next_random(&keeper->random) % 2 == 0)) {
                release_piece(keeper, next_random(&keeper->random) % keeper->count);
                much &= keeper->count > PIECES / 4;
            }
            if (keeper->paused && keeper->count < PIECES / 2)
                resume(keeper);
            assert_true(net_now_ns() < until_ns);
        }
        assert_int_equal(keeper->came, total);
        assert_true(keeper->shared > 0);
        close_keeper(&world, keeper, peer);
        net_world_close(&world);
    }
}

/* Sends `len` bytes at once and turns until they have been held. */
static void feed(struct net_world *world, struct keeper *keeper, int peer, size_t len)
{
    static uint8_t data[65536];
    uint64_t place = keeper->came;
    assert_true(len <= sizeof(data));
    net_fill(data, len, place);
    assert_int_equal(net_peer_send(peer, data, len), len);
    NET_UNTIL(world, keeper->came == place + len);
}

static void little_is_packed_and_much_shares_its_buffer(void **state)
{
    struct keeper *keeper = &the_keeper;
    for (int i = 0; i < 2; i++) {
        struct net_world world;
        net_world_open(&world, *state, 1, "8M");
        world.opts.receive_bytes = receive_bytes[i];
        bool hot = world.opts.receive == PLX_RECV_SPIN;
        int peer = open_keeper(&world, keeper, 1);
        keeper->piece_max = 65536; /* and the seed is such that */
        /* A hundred messages of 64 bytes: two blocks, of which one is the home's. */
        for (unsigned n = 0; n < 100; n++)
            feed(&world, keeper, peer, 64);
        assert_int_equal(keeper->shared, 0);
        assert_in_range(net_blocks_out(world.reactor), 1, 110 * 64 / 4096 + 1);
        release_all(keeper);
        assert_int_equal(net_blocks_out(world.reactor), 0);

        /* Half a KiB fills an eighth of a small buffer, and little of a large one. */
        uint32_t before = keeper->shared;
        keeper->random = 0;
        feed(&world, keeper, peer, 600);
        if (receive_bytes[i] == 4096 && !hot)
            assert_true(keeper->shared > before || keeper->pieces[0].bytes.len < 512);
        else
            assert_int_equal(keeper->shared, before);
        release_all(keeper);
        close_keeper(&world, keeper, peer);
        net_world_close(&world);
    }
}

static void held_bytes_outlive_their_stream(void **state)
{
    struct keeper *keeper = &the_keeper;
    struct net_world world;
    net_world_open(&world, *state, 1, "4M");
    int peer = open_keeper(&world, keeper, 2000);
    feed(&world, keeper, peer, 20000);
    assert_true(keeper->count > 0);
    close(peer);
    NET_UNTIL(&world, keeper->closed);
    assert_true(net_blocks_out(world.reactor) > 0);
    release_all(keeper);
    assert_int_equal(net_blocks_out(world.reactor), 0);
    net_world_close(&world);
    assert_false(keeper->broken);
}

static void keep_whole(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct keeper *keeper = ctx;
    struct piece *piece = &keeper->pieces[keeper->count];
    assert_true(keeper->count < PIECES);
    assert_int_equal(plx_tcp_hold(stream, data, len, &piece->bytes), 0);
    /* Once more, and parts of it, and nothing of it. */
    struct plx_bytes again;
    assert_int_equal(plx_tcp_hold(stream, data, len, &again), 0);
    assert_memory_equal(again.ptr, data, len);
    plx_bytes_release(plx_reactor_bytes(keeper->reactor), &again);
    assert_int_equal(plx_tcp_hold(stream, (const uint8_t *)data + len, 0, &again), 0);
    assert_null(again.ptr);
    keeper->shared += piece->bytes.ptr == data;
    piece->place = keeper->came;
    keeper->came += len;
    keeper->count++;
}

static void release_there(struct plx_reactor *here, const void *body)
{
    struct plx_bytes *bytes = *(struct plx_bytes *const *)body;
    plx_bytes_release(plx_reactor_bytes(here), bytes);
}

static void held_bytes_may_be_released_by_another_reactor(void **state)
{
    static const struct plx_tcp_handler whole = {
        .on_accept = keeper_accept,
        .on_data = keep_whole,
        .on_close = keeper_close,
    };
    struct keeper *keeper = &the_keeper;
    struct net_world world;
    net_world_open(&world, *state, 2, "4M");
    memset(keeper, 0, sizeof(*keeper));
    keeper->reactor = world.reactor;
    struct plx_addr addr = net_listen(&world, &whole, keeper);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, keeper->stream != NULL);
    for (unsigned n = 0; n < 50; n++) {
        feed(&world, keeper, peer, 1 + n * 80);
        while (keeper->count > 0) {
            struct piece *piece = &keeper->pieces[--keeper->count];
            struct plx_bytes *bytes = &piece->bytes;
            assert_true(net_matches(bytes->ptr, bytes->len, piece->place));
            assert_int_equal(plx_bytes_make_sole(plx_reactor_bytes(world.reactor), bytes), 0);
            assert_int_equal(
                plx_mesh_post(world.reactor, 1, release_there, &bytes, sizeof(bytes)), 0);
            NET_UNTIL(&world, bytes->len == 0);
        }
    }
    NET_UNTIL(&world, net_blocks_out(world.reactor) == 0);
    close(peer);
    NET_UNTIL(&world, keeper->closed);
    net_world_close(&world);
}

/* --- bounds of a read ------------------------------------------------------------------------- */

static void reads_never_pass_the_end_of_their_buffer(void **state)
{
    static uint8_t data[65536];
    static void *canaries[4096];
    struct keeper *keeper = &the_keeper;
    for (int i = 0; i < 2; i++) {
        struct net_world world;
        net_world_open(&world, *state, 1, "4M");
        world.opts.receive_bytes = receive_bytes[i];
        int peer = open_keeper(&world, keeper, 65536);
        struct plx_pool *pool = plx_reactor_pool(world.reactor);
        /* All that is free but a few; every neighbour of a buffer is another one, or here. */
        uint32_t count = 0;
        for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
            size_t bytes = plx_pool_class_bytes(c);
            while (plx_pool_available(pool, bytes) > 2 && plx_pool_class_index(bytes) == c) {
                void *block = plx_pool_acquire(pool, bytes);
                size_t got = 0;
                (void)plx_pool_block_of(pool, block, &got);
                memset(block, 0xc5, got);
                canaries[count++] = block;
            }
        }
        uint64_t sent = 0;
        while (keeper->came < 1000000) {
            net_fill(data, sizeof(data), sent);
            int64_t took = net_peer_send(peer, data, sizeof(data));
            assert_true(took >= 0);
            sent += (uint64_t)took;
            net_turn(&world);
            release_all(keeper);
            if (keeper->paused)
                resume(keeper);
        }
        NET_UNTIL(&world, (release_all(keeper), keeper->paused ? resume(keeper) : (void)0,
                           keeper->came == sent));
        size_t most = world.opts.receive == PLX_RECV_SPIN ? 65536 : receive_bytes[i];
        assert_in_range(keeper->given_max, 1, most);
        while (count > 0) {
            const uint8_t *block = canaries[--count];
            size_t got = 0;
            (void)plx_pool_block_of(pool, block, &got);
            for (size_t k = 0; k < got; k++)
                assert_int_equal(block[k], 0xc5);
            plx_pool_release(pool, canaries[count]);
        }
        close_keeper(&world, keeper, peer);
        net_world_close(&world);
    }
}

/* --- a pool that is dry ----------------------------------------------------------------------- */

static uint32_t drain(struct plx_pool *pool, void **blocks, uint32_t max)
{
    uint32_t count = 0;
    for (size_t bytes = 4096; bytes <= PLX_POOL_BLOCK_MAX; bytes *= 2) {
        void *block;
        while ((block = plx_pool_acquire(pool, bytes)) != NULL) {
            assert_true(count < max);
            blocks[count++] = block;
        }
    }
    return count;
}

static void refused_bytes_are_given_again_after_the_resume(void **state)
{
    static uint8_t data[50000];
    static void *blocks[4096];
    struct keeper *keeper = &the_keeper;
    for (int i = 0; i < 2; i++) {
        struct net_world world;
        struct plx_tcp_stats stats;
        net_world_open(&world, *state, 1, "4M");
        world.opts.receive_bytes = receive_bytes[i];
        int peer = open_keeper(&world, keeper, 5000);
        uint32_t count = drain(plx_reactor_pool(world.reactor), blocks, 4096);
        net_fill(data, sizeof(data), 0);
        assert_int_equal(net_peer_send(peer, data, sizeof(data)), sizeof(data));
        NET_UNTIL(&world, keeper->refused == 1);
        /* As often as it is tried: the bytes stay where they are, and in their order. The block of
         * a hot stream is its own by now, so that nothing has to take its place. */
        bool hot = world.opts.receive == PLX_RECV_SPIN;
        for (uint32_t n = 2; n < 6 && !hot; n++) {
            resume(keeper);
            NET_UNTIL(&world, keeper->refused == n);
            assert_true(keeper->paused);
        }
        plx_tcp_read_stats(world.reactor, &stats);
        assert_int_equal(stats.holds_refused, keeper->refused);
        assert_int_equal(stats.bytes_in, keeper->came);
        /* Block by block it comes through. */
        while (keeper->came < sizeof(data)) {
            if (count > 0)
                plx_pool_release(plx_reactor_pool(world.reactor), blocks[--count]);
            net_turn(&world);
            if (keeper->paused)
                resume(keeper);
        }
        while (count > 0)
            plx_pool_release(plx_reactor_pool(world.reactor), blocks[--count]);
        assert_int_equal(keeper->came, sizeof(data));
        close_keeper(&world, keeper, peer);
        plx_tcp_read_stats(world.reactor, &stats);
        assert_int_equal(stats.bytes_in, sizeof(data));
        net_world_close(&world);
    }
}

static void stream_that_ends_with_refused_bytes_gives_them_back(void **state)
{
    static uint8_t data[20000];
    static void *blocks[4096];
    struct keeper *keeper = &the_keeper;
    for (int way = 0; way < 3; way++) {
        struct net_world world;
        net_world_open(&world, *state, 1, "4M");
        int peer = open_keeper(&world, keeper, 5000);
        uint32_t count = drain(plx_reactor_pool(world.reactor), blocks, 4096);
        net_fill(data, sizeof(data), 0);
        assert_int_equal(net_peer_send(peer, data, sizeof(data)), sizeof(data));
        NET_UNTIL(&world, keeper->refused == 1);
        if (way == 0)
            plx_tcp_abort(keeper->stream);
        else if (way == 1)
            plx_tcp_close(keeper->stream);
        else /* from spinning to the ring, and then the end */
            assert_int_equal(plx_tcp_set_receive(keeper->stream, PLX_RECV_RING), 0);
        close(peer);
        while (count > 0)
            plx_pool_release(plx_reactor_pool(world.reactor), blocks[--count]);
        if (way == 2) {
            resume(keeper);
            NET_UNTIL(&world, keeper->came == sizeof(data) || keeper->closed);
        }
        NET_UNTIL(&world, keeper->closed);
        release_all(keeper);
        assert_int_equal(net_blocks_out(world.reactor), 0);
        net_world_close(&world);
        assert_false(keeper->broken);
    }
}

/* What hot streams read into is gone, and the pool has no other: they wait for one. */
static void hot_stream_without_a_block_waits_for_one(void **state)
{
    static uint8_t data[60000];
    static void *blocks[4096];
    struct keeper *keeper = &the_keeper;
    struct net_world world;
    struct plx_tcp_stats stats;
    const struct net_mode *mode = *state;
    if (mode->receive != PLX_RECV_SPIN) {
        print_message("skipped: for streams that spin\n");
        skip();
    }
    net_world_open(&world, *state, 1, "4M");
    int peer = open_keeper(&world, keeper, 60000);
    uint32_t count = drain(plx_reactor_pool(world.reactor), blocks, 4096);
    struct plx__net *net = *plx__reactor_net(world.reactor);
    /* As if it had been held. */
    blocks[count++] = net->hot_block;
    net->hot_block = NULL;
    net_fill(data, sizeof(data), 0);
    assert_int_equal(net_peer_send(peer, data, sizeof(data)), sizeof(data));
    for (int turn = 0; turn < 100; turn++)
        net_turn(&world);
    assert_int_equal(keeper->came, 0);
    plx_tcp_read_stats(world.reactor, &stats);
    assert_int_equal(stats.recv_starved, 1);
    while (count > 0)
        plx_pool_release(plx_reactor_pool(world.reactor), blocks[--count]);
    NET_UNTIL(&world, keeper->came == sizeof(data));
    close_keeper(&world, keeper, peer);
    net_world_close(&world);
}

/* --- tiny messages ---------------------------------------------------------------------------- */

#define CONNECTIONS   32
#define MESSAGE_BYTES 64u
#define SEGMENTS      256u
#define QUEUE_MANY    (48u * 1024) /* a queue so long pauses its stream */
#define QUEUE_FEW     (8u * 1024)

/* One of many that send messages faster than they are taken. */
struct sender {
    struct plx_tcp *stream;
    struct plx_segbuf queue;
    struct plx_bytes segments[SEGMENTS];
    int peer;
    uint64_t sent; /* bytes */
    uint64_t taken;
    bool paused;
    bool broken;
};

struct crowd {
    struct sender senders[CONNECTIONS];
    uint32_t accepted;
    uint64_t held_max;
};

static struct crowd crowd;

static void crowd_accept(struct plx_tcp *stream, void *ctx)
{
    struct crowd *all = ctx;
    struct sender *sender = &all->senders[all->accepted++];
    sender->stream = stream;
    plx_tcp_set_ctx(stream, sender);
}

static void crowd_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct sender *sender = ctx;
    struct plx_bytes bytes;
    int rc = plx_tcp_hold(stream, data, len, &bytes);
    if (rc == 0) {
        rc = plx_segbuf_extend(&sender->queue, &bytes);
        sender->broken |= rc != 0;
    }
    if (rc != 0 || plx_segbuf_len(&sender->queue) > QUEUE_MANY) {
        sender->paused = true;
        plx_tcp_pause(stream);
    }
}

static void crowd_close(struct plx_tcp *stream, int reason, void *ctx)
{
    (void)stream;
    (void)reason;
    struct sender *sender = ctx;
    sender->stream = NULL;
}

static const struct plx_tcp_handler crowd_handler = {
    .on_accept = crowd_accept,
    .on_data = crowd_data,
    .on_close = crowd_close,
};

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %llu", &pages), 1);
    fclose(file);
    return pages * 4096;
}

/* A message tells its number among those of its connection. */
static void send_messages(struct sender *sender, uint64_t total, unsigned count)
{
    uint64_t message[MESSAGE_BYTES / 8];
    while (count-- > 0 && sender->sent < total) {
        for (unsigned i = 0; i < MESSAGE_BYTES / 8; i++)
            message[i] = sender->sent / MESSAGE_BYTES * 31 + i;
        size_t from = sender->sent % MESSAGE_BYTES;
        int64_t took =
            net_peer_send(sender->peer, (const uint8_t *)message + from, MESSAGE_BYTES - from);
        if (took <= 0)
            return;
        sender->sent += (uint64_t)took;
    }
}

static void take_messages(struct net_world *world, struct sender *sender, unsigned count)
{
    struct plx_bytes taken;
    while (count-- > 0 && plx_segbuf_take(&sender->queue, MESSAGE_BYTES, &taken) == 0) {
        uint64_t message[MESSAGE_BYTES / 8];
        memcpy(message, taken.ptr, sizeof(message));
        for (unsigned i = 0; i < MESSAGE_BYTES / 8; i++)
            sender->broken |= message[i] != sender->taken / MESSAGE_BYTES * 31 + i;
        sender->taken += MESSAGE_BYTES;
        plx_bytes_release(plx_reactor_bytes(world->reactor), &taken);
    }
    if (sender->paused && plx_segbuf_len(&sender->queue) < QUEUE_FEW) {
        sender->paused = false;
        plx_tcp_resume(sender->stream);
    }
}

static void open_crowd(struct net_world *world)
{
    memset(&crowd, 0, sizeof(crowd));
    struct plx_addr addr = net_listen(world, &crowd_handler, &crowd);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct sender *sender = &crowd.senders[i];
        assert_int_equal(plx_segbuf_init(&sender->queue, plx_reactor_bytes(world->reactor),
                                         sender->segments, SEGMENTS),
                         0);
        memset(sender->segments, 0, sizeof(sender->segments));
        int peer = net_dial(&addr);
        NET_UNTIL(world, crowd.accepted == i + 1);
        sender->peer = peer;
    }
}

/* A million in all, by one mode of each backend and way; fewer by the others. */
static void tiny_messages_held_back_pin_no_blocks(void **state)
{
    const struct net_mode *mode = *state;
    struct net_world world;
    uint64_t messages = mode == &net_modes[0] ? 1000000 : 100000;
    uint64_t total = messages / CONNECTIONS * MESSAGE_BYTES;
    net_world_open(&world, *state, 1, "8M");
    open_crowd(&world);
    uint64_t before = resident_bytes();
    uint64_t most = before;
    uint64_t done = 0;
    for (unsigned round = 0; done < CONNECTIONS * total; round++) {
        uint64_t held = 0;
        done = 0;
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            struct sender *sender = &crowd.senders[i];
            send_messages(sender, total, 20);
            /* The consumer comes by every now and then. */
            if ((round + i) % 64 == 0)
                take_messages(&world, sender, 600);
            held += plx_segbuf_len(&sender->queue);
            done += sender->taken;
        }
        net_turn(&world);
        crowd.held_max = held > crowd.held_max ? held : crowd.held_max;
        if (round % 64 == 0) {
            uint64_t now = resident_bytes();
            most = now > most ? now : most;
        }
    }
    print_message("%s: %llu messages of %u bytes, at most %llu KiB held back, %llu KiB of memory "
                  "beyond the arena\n",
                  mode->name, (unsigned long long)messages, MESSAGE_BYTES,
                  (unsigned long long)(crowd.held_max / 1024),
                  (unsigned long long)((most - before) / 1024));
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(most - before < 15u << 20);
#endif
    assert_true(crowd.held_max > 256 * 1024);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        assert_int_equal(crowd.senders[i].taken, total);
        assert_false(crowd.senders[i].broken);
        plx_segbuf_fini(&crowd.senders[i].queue);
        close(crowd.senders[i].peer);
        NET_UNTIL(&world, crowd.senders[i].stream == NULL);
    }
    assert_int_equal(net_blocks_out(world.reactor), 0);
    net_world_close(&world);
}

/* --- held back by the library ----------------------------------------------------------------- */

/* Lends a buffer of a stream's group with `len` bytes in it, and has it come as from the ring. */
static void come(struct plx_tcp *stream, const uint8_t *data, size_t len)
{
    struct plx__io *io = plx__reactor_io(plx_tcp_reactor(stream));
    struct plx__group *group = &io->groups[stream->buffers->group];
    uint16_t id = group->free_ids[--group->free_count];
    struct plx_event event = {.result = (int32_t)len,
                              .flags = PLX_EV_MORE | PLX_EV_BUFFER,
                              .buffer_id = id,
                              .data = plx__group_lend(group, id)};
    memcpy(event.data, data, len);
    stream->recv_op.fn(&stream->recv_op, &event, stream->recv_op.ctx);
}

static void little_that_comes_while_paused_shares_buffers(void **state)
{
    const struct net_mode *mode = *state;
    if (mode->backend != PLX_BACKEND_EPOLL || mode->receive != PLX_RECV_RING) {
        print_message("skipped: the kernel chooses the buffers\n");
        skip();
    }
    struct keeper *keeper = &the_keeper;
    struct net_world world;
    static uint8_t data[4096];
    net_world_open(&world, *state, 1, "4M");
    int peer = open_keeper(&world, keeper, 5000);
    struct plx__net *net = *plx__reactor_net(world.reactor);
    halt(keeper);
    uint64_t place = 0;
    for (unsigned i = 0; i < 200; i++, place += 64) {
        net_fill(data, 64, place);
        come(keeper->stream, data, 64);
    }
    assert_int_equal(net->small.held_count, (200 * 64 + 4095) / 4096);
    /* Much has a buffer of its own, and what fits goes behind it. */
    net_fill(data, 3000, place);
    come(keeper->stream, data, 3000);
    place += 3000;
    assert_int_equal(net->small.held_count, (200 * 64 + 4095) / 4096 + 1);
    net_fill(data, 500, place);
    come(keeper->stream, data, 500);
    place += 500;
    assert_int_equal(net->small.held_count, (200 * 64 + 4095) / 4096 + 1);
    resume(keeper);
    NET_UNTIL(&world, keeper->came == place);
    assert_int_equal(net->small.held_count, 0);
    close_keeper(&world, keeper, peer);
    net_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_bytes_stay_whatever_is_released_when),
        cmocka_unit_test(little_is_packed_and_much_shares_its_buffer),
        cmocka_unit_test(held_bytes_outlive_their_stream),
        cmocka_unit_test(held_bytes_may_be_released_by_another_reactor),
        cmocka_unit_test(reads_never_pass_the_end_of_their_buffer),
        cmocka_unit_test(refused_bytes_are_given_again_after_the_resume),
        cmocka_unit_test(stream_that_ends_with_refused_bytes_gives_them_back),
        cmocka_unit_test(hot_stream_without_a_block_waits_for_one),
        cmocka_unit_test(tiny_messages_held_back_pin_no_blocks),
        cmocka_unit_test(little_that_comes_while_paused_shares_buffers),
    };
    return net_run("tcp_hold", tests, sizeof(tests) / sizeof(tests[0]));
}
