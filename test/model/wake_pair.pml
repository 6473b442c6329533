/* SPDX-License-Identifier: MIT */
/*
 * Two reactors that send each other a ball, and both sleep: with wake.pml's steps, of which the one
 * to rouse is put off to the end of the turn, or, for what was posted between turns, to before the
 * sleep. While the ball is on its way nobody may sleep on it: spin would find an invalid end state.
 *
 * Mutations, each of which spin must reject: -DNO_LATE_ROUSE (none before a sleep), with -DNO_ROUSE
 * too (none at all), -DNO_FENCE (none before looking whether the other sleeps). -DNO_ROUSE alone is
 * late rather than wrong where the sender sleeps, too.
 */
#define HOPS 5

byte ring[2];      /* balls that are in memory, by receiver */
byte on_way[2];    /* those in their sender's store buffer */
bit asleep[2];     /* in memory */
bit announced[2];  /* the store of 1 is in its buffer */
bit event[2];
byte hops;

/* The store buffers, at any moment. */
active proctype buffers()
{
end:
    do
    :: atomic { on_way[0] > 0 -> on_way[0]--; ring[0]++ }
    :: atomic { on_way[1] > 0 -> on_way[1]--; ring[1]++ }
    :: atomic { announced[0] -> announced[0] = 0; asleep[0] = 1 }
    :: atomic { announced[1] -> announced[1] = 0; asleep[1] = 1 }
    od
}

#ifdef NO_FENCE
#define FENCE(other) skip
#else
#define FENCE(other) on_way[other] == 0
#endif

inline post()
{
    atomic { holds = 0; on_way[1 - me]++ };
    due = 1
}

inline rouse()
{
    if
    :: due ->
        FENCE(1 - me);
        due = 0;
        if
        :: asleep[1 - me] ->
            atomic { on_way[1 - me] == 0 -> mine = asleep[1 - me]; asleep[1 - me] = 0 };
            if
            :: mine -> event[1 - me] = 1
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

proctype reactor(bit me)
{
    bit holds = (me == 0);
    bit due;
    bit mine;
    bit worked;

    do
    :: hops == HOPS -> break
    :: else ->
        /* A turn. */
        worked = 0;
        if
        :: ring[me] > 0 -> atomic { ring[me]--; holds = 1; hops++ }; worked = 1
        :: else
        fi;
        if
        :: holds && hops < HOPS -> post()
        :: true
        fi;
#ifndef NO_ROUSE
        rouse();
#endif
        /* Between turns. */
        if
        :: holds && hops < HOPS -> post()
        :: else
        fi;
        if
        :: worked
        :: else ->
#ifndef NO_LATE_ROUSE
            rouse();
#endif
            announced[me] = 1;
            announced[me] == 0;
            if
            :: ring[me] > 0
            :: else ->
                if
                :: event[me] -> event[me] = 0
                :: hops == HOPS
                fi
            fi;
            asleep[me] = 0
        fi
    od
}

init
{
    atomic { run reactor(0); run reactor(1) }
}
