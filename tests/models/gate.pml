/*
 * The gate with a change of mode, a checkpoint, and deaths on either side of it.
 *
 * What is modelled   asyncrl/scheduler/gate.py (Gate.pass_through), board.py (orders, base, live, station), launcher/gate.py
 *                    (open_gate, request_gate, all_at_gate, close_epoch, save_workers, stop), launcher/crew.py (bury, grant), and
 *                    of topologies/actor_learner/ in_place.py (start_round, finish_round) and estate.py (open, bury, grant).
 *                    Workers may be killed between any two statements; a successor comes at once, late, or at the next opening.
 * Bounds             N workers; EPOCHS epochs whose modes change from bounded:1 to async and back, MARK rounds each and more if
 *                    others are under way; a checkpoint at a gate or none; KILLS kills; a gate may be asked for at any time.
 * Safety             nobody works while the gate is closed, or by the orders of another epoch, or by half of them; nobody is more
 *                    than the bound ahead of the slowest live worker; nobody writes into a checkpoint that is sealed; what was
 *                    published counts in the epoch in which it was.
 * Liveness           nobody is stuck, and all epochs end (ltl `ends`, in every schedule), although the dead may have no successor
 *                    as long as one worker lives.
 * Left out           memory order, `parking` (see rounds.pml); rounds modes inside an epoch, which are rounds.pml: how all agree
 *                    there on the last round; heartbeats, and who is killed for having none.
 * Twins (-DBROKEN=n) 1 a successor keeps where its predecessor stood: the gate does not wait for it
 *                    2 a successor keeps what its predecessor had obeyed: it writes into a sealed checkpoint
 *                    3 the gate is opened before the orders are written
 *                    4 a dead worker stays live: `bounded` waits for it
 */
#ifndef N
#define N 2
#endif
#ifndef EPOCHS
#define EPOCHS 2
#endif
#ifndef MARK
#if N == 2
#define MARK 4
#else
#define MARK 1
#endif
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef BROKEN
#define BROKEN 0
#endif
#define BOUND 1
#define BEGIN_AT_GATE 1
#define BEGIN_IN_EPOCH 2
#if N == 2
#define ALL(Q) (Q(0) && Q(1))
#define ANY(Q) (Q(0) || Q(1))
#define STEPS (clk[0] + clk[1])
#else
#define ALL(Q) (Q(0) && Q(1) && Q(2))
#define ANY(Q) (Q(0) || Q(1) || Q(2))
#define STEPS (clk[0] + clk[1] + clk[2])
#endif

byte opened, request, command, delay, bound, mark;  /* orders; delay and bound by the epoch whose mode they are */
bool stop;
short base[N];
bool live[N];
byte arrived[N], obeyed[N], clk[N], go[N];
bool granted[N], late[N];                           /* of the launcher alone */
bool asks, closed, finished, killed[N], dead[N];    /* for the checks: the gate is closed */
byte sealed, wrote[N];

#define POSITION(w) (clk[w] - base[w])
/* in_place.py: start_round, with Board.slowest over those that are live */
#define NOT_TOO_FAR(w) (!live[w] || position - POSITION(w) <= BOUND)
#define IS_OVER (request > opened || STEPS >= mark)
#define BOUNDED (opened % 2 == 1) /* the mode of an epoch, by its number */

proctype Worker(byte i) {
    byte awaited;
    short position;
begin:
end_without_successor:
    go[i] > 0;
    {
        if
        :: go[i] == BEGIN_AT_GATE -> go[i] = 0; goto gate
        :: go[i] == BEGIN_IN_EPOCH -> go[i] = 0
        fi;
epoch:  /* pace_of, InPlacePace: the orders are read one by one */
        assert(delay == opened);
        assert(bound == opened);
round:
        atomic {  /* start_round */
            position = POSITION(i);
            if
            :: IS_OVER -> position = 0; goto gate
            :: !IS_OVER && (!BOUNDED || ALL(NOT_TOO_FAR))
            fi;
            position = 0;
            assert(!closed)
        }
        atomic {  /* finish_round: Ledger.publish */
            assert(!closed && delay == opened && bound == opened);
            clk[i] = clk[i] + 1
        }
        goto round;
gate:   /* Gate.pass_through */
        awaited = opened + 1;
        arrived[i] = awaited;
wait:
        opened >= awaited || command > obeyed[i];
        if
        :: command > obeyed[i] ->
            atomic { assert(closed && command > sealed); wrote[i] = command }
            obeyed[i] = command
        :: else
        fi;
        atomic {
            if
            :: opened < awaited -> goto wait
            :: opened >= awaited && !stop -> awaited = 0; goto epoch
            :: opened >= awaited && stop
            fi
        }
end_of_run:
        false
    } unless { killed[i] };
    atomic { awaited = 0; position = 0; killed[i] = 0; go[i] = 0; dead[i] = 1 }
    goto begin  /* as the successor */
}

#define MAY_BE_KILLED(w) (kills < KILLS && opened > 0 && !stop && granted[w] && !killed[w] && !dead[w])

proctype Killer() {
    byte kills;
end_of_killing:
    do
    :: d_step { MAY_BE_KILLED(0) -> killed[0] = 1; kills = kills + 1 }
    :: d_step { MAY_BE_KILLED(1) -> killed[1] = 1; kills = kills + 1 }
#if N == 3
    :: d_step { MAY_BE_KILLED(2) -> killed[2] = 1; kills = kills + 1 }
#endif
    od
}

#define LIVES(w) granted[w]
#define TO_BURY(w) (dead[w] && granted[w])
#define TO_GRANT(w) (!granted[w] && (!late[w] || !ANY(LIVES)))
#define AT_GATE(w) (!granted[w] || arrived[w] > opened)   /* Launcher.all_at_gate; in place the dead owe nothing */
#define OBEYED(w) (!granted[w] || obeyed[w] >= command)   /* Launcher.save_workers */

inline bury(w) {  /* Crew._bury, RoundsEstate.bury */
    atomic {
        granted[w] = 0; dead[w] = 0;
#if BROKEN != 4
        live[w] = 0;
#endif
        if
        :: late[w] = 0
        :: late[w] = 1
        fi
    }
}

inline grant(w, how) {  /* Crew.grant, RoundsEstate.grant; `live` is the first of its words that others go by */
    atomic {
        granted[w] = 1; late[w] = 0;
#if BROKEN != 1
        arrived[w] = opened;
#endif
#if BROKEN != 2
        obeyed[w] = command;
#endif
        n = 0; found = 0; level = 0
    }
    do  /* the slowest of the live: a scan, word by word */
    :: n < N ->
        atomic {
            if
            :: live[n] && (!found || POSITION(n) < level) -> level = POSITION(n); found = 1
            :: else
            fi;
            n = n + 1
        }
    :: else -> break
    od;
    atomic {
        if
        :: found -> base[w] = clk[w] - (level > POSITION(w) -> level : POSITION(w))
        :: else
        fi;
        n = 0; found = 0; level = 0
    }
    live[w] = 1;
    go[w] = how
}


proctype Launcher() {
    byte n;
    bool found, asked;
    short level;
open:   /* open_gate: orders, RoundsEstate.open, then REQUEST and OPENED */
#if BROKEN == 3
    atomic { request = opened + 1; opened = opened + 1; closed = 0 }
    delay = opened;
    bound = opened;
    mark = STEPS + MARK;
#else
    delay = opened + 1;
    bound = opened + 1;
    mark = STEPS + MARK;
#endif
    atomic {
        for (n : 0 .. N - 1) { base[n] = clk[n]; live[n] = granted[n] }
        n = 0; asked = 0
    }
#if BROKEN != 3
    request = opened + 1;
    d_step { opened = opened + 1; closed = 0 }
#endif
    if
    :: opened == 1 -> d_step { for (n : 0 .. N - 1) { go[n] = (dead[n] -> 0 : BEGIN_IN_EPOCH) } n = 0 }
    :: else
    fi;
    do  /* Session._await_gate, Crew.turn */
    :: d_step { asks && !asked -> asked = 1; request = opened + 1 }
    :: TO_BURY(0) -> bury(0)
    :: TO_BURY(1) -> bury(1)
    :: TO_GRANT(0) -> grant(0, BEGIN_IN_EPOCH)
    :: TO_GRANT(1) -> grant(1, BEGIN_IN_EPOCH)
#if N == 3
    :: TO_BURY(2) -> bury(2)
    :: TO_GRANT(2) -> grant(2, BEGIN_IN_EPOCH)
#endif
    :: ANY(LIVES) && ALL(AT_GATE) -> break
    od;
    atomic { closed = 1; assert(STEPS >= mark || request > opened) }  /* close_epoch */
    if
    :: opened < EPOCHS -> goto next
    :: command = command + 1  /* save_workers */
    fi;
    do
    :: TO_BURY(0) -> bury(0)
    :: TO_BURY(1) -> bury(1)
#if N == 3
    :: TO_BURY(2) -> bury(2)
#endif
    :: ALL(OBEYED) -> break
    od;
    atomic {
        for (n : 0 .. N - 1) { assert(!granted[n] || wrote[n] == command) }
        n = 0;
        sealed = command
    }
next:
    if
    :: opened < EPOCHS -> goto open
    :: else
    fi;
    stop = 1;
    opened = opened + 1;
    finished = 1
}

init {
    byte n;
    atomic {
        if  /* whether a gate is asked for before the mark */
        :: asks = 0
        :: asks = 1
        fi;
        for (n : 0 .. N - 1) { granted[n] = 1 }
        n = 0;
        closed = 1;
        run Launcher();
        run Worker(0); run Worker(1);
#if N == 3
        run Worker(2);
#endif
        run Killer()
    }
}

ltl ends { <> finished }
