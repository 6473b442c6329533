/* SPDX-License-Identifier: MIT */
/*
 * Sleep and wake between reactors, for spin(1): can a reactor go to sleep on a message, or stay
 * asleep on one? It can not: then everything would stand still with messages left, which spin finds
 * as an invalid end state.
 *
 * The machine is one with store buffers (x86; what is weaker has more to hold back, and the fences
 * are full ones there too): a store waits in its thread's buffer and reaches memory at any later
 * moment, in order; a fence waits until it has.
 *
 *   sender     write the message; FENCE; if the other is asleep: take that off it, and if it was us
 *              who did, write to its eventfd
 *   sleeper    announce sleep; FENCE; look at every ring again; only if all are empty, wait for the
 *              eventfd
 *
 * Mutations, each of which spin must reject: -DNO_SENDER_FENCE, -DNO_SLEEPER_FENCE,
 * -DNO_SECOND_LOOK, -DNO_ANNOUNCE.
 */
#define SENDERS  2
#define MESSAGES 3

byte ring[SENDERS];    /* messages that are in memory */
byte on_way[SENDERS];  /* those in their sender's store buffer */
bit asleep;            /* in memory */
bit announced;         /* the sleeper's store of 1 is in its buffer */
bit event;             /* the eventfd has been written to */
byte received;

/* The store buffers, at any moment. */
active proctype buffers()
{
end:
    do
    :: atomic { on_way[0] > 0 -> on_way[0]--; ring[0]++ }
    :: atomic { on_way[1] > 0 -> on_way[1]--; ring[1]++ }
    :: atomic { announced -> announced = 0; asleep = 1 }
    od
}

proctype sender(byte me)
{
    byte sent = 0;
    bit mine;

    do
    :: sent < MESSAGES ->
        on_way[me]++;
        sent++;
#ifndef NO_SENDER_FENCE
        on_way[me] == 0;
#endif
        if
        :: asleep ->
            /* An exchange: it drains the buffer, and only one of several gets the 1. */
            atomic { on_way[me] == 0 -> mine = asleep; asleep = 0 }
            if
            :: mine -> event = 1
            :: else
            fi
        :: else
        fi
    :: else -> break
    od
}

active proctype sleeper()
{
    byte i;
    bit found;

    run sender(0);
    run sender(1);
    do
    :: received == SENDERS * MESSAGES -> break
    :: else ->
        /* A turn: what is there is taken. */
        found = 0;
        i = 0;
        do
        :: i < SENDERS ->
            if
            :: ring[i] > 0 -> atomic { ring[i]--; received++; found = 1 }
            :: else
            fi;
            i++
        :: else -> break
        od;
        if
        :: found
        :: else ->
#ifndef NO_ANNOUNCE
            announced = 1;
#endif
#ifndef NO_SLEEPER_FENCE
            announced == 0;
#endif
            found = 0;
#ifndef NO_SECOND_LOOK
            i = 0;
            do
            :: i < SENDERS -> found = found || ring[i] > 0; i++
            :: else -> break
            od;
#endif
            if
            :: found
            :: else -> atomic { event -> event = 0 }
            fi;
            /* A store of 0 leaves the buffer behind the 1. */
            atomic { announced == 0 -> asleep = 0 }
        fi
    od
}
