/* SPDX-License-Identifier: MIT */
/*
 * A stop, and a reactor that has just begun, for spin(1): can it go to sleep and sleep through the
 * stop? It can not: then it would stay asleep, which spin finds as an invalid end state.
 *
 * Stores reach memory at any later moment, in any order; a fence waits until they have.
 *
 *   stop       store the phase; FENCE; if the reactor runs, and is asleep: take that off it, and
 *              write to its eventfd
 *   reactor    store that it runs; announce sleep; FENCE; look at the phase; only if it is the old
 *              one, wait for the eventfd
 *
 * Before it runs, nobody looks at whether it sleeps.
 *
 * Mutations, each of which spin must reject: -DNO_STOP_FENCE, -DNO_SLEEPER_FENCE,
 * -DNO_SECOND_LOOK, -DNO_ANNOUNCE, -DNO_LIFE.
 */
bit phase;          /* in memory */
bit stopping;       /* the store of it is on its way */
bit runs;           /* in memory */
bit begun;          /* the store of it is on its way */
bit asleep;         /* in memory */
bit announced;      /* the store of it is on its way */
bit event;          /* the eventfd has been written to */

active proctype buffers()
{
end:
    do
    :: atomic { stopping -> stopping = 0; phase = 1 }
    :: atomic { begun -> begun = 0; runs = 1 }
    :: atomic { announced -> announced = 0; asleep = 1 }
    od
}

active proctype stop()
{
    bit mine;

    stopping = 1;
#ifndef NO_STOP_FENCE
    stopping == 0;
#endif
    if
    :: runs ->
        if
        :: asleep ->
            atomic { stopping == 0 -> mine = asleep; asleep = 0 }
            if
            :: mine -> event = 1
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

active proctype reactor()
{
    bit seen;

#ifndef NO_LIFE
    begun = 1;
#endif
    do
    :: phase -> break
    :: else ->
        /* A turn that found nothing. */
#ifndef NO_ANNOUNCE
        announced = 1;
#endif
#ifndef NO_SLEEPER_FENCE
        begun == 0 && announced == 0;
#endif
        seen = 0;
#ifndef NO_SECOND_LOOK
        seen = phase;
#endif
        if
        :: seen
        :: else -> atomic { event -> event = 0 }
        fi;
        /* A store of 0 comes behind the 1. */
        atomic { announced == 0 -> asleep = 0 }
    od
}
