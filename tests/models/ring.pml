/*
 * The ring of one producer and one consumer, when it is full and after a death, with the announcements of streams in `bounded:K`.
 *
 * What is modelled   asyncrl/shared/rings.py (_reserve, _publish, _front, _release; "wait"), and of asyncrl/topologies/streams/
 *                    board.py (permission, announce, due), actor_pace.py (start_unit, finish_unit), learner_pace.py (_choose,
 *                    _close_round, _due, publish), streams.py (settle). An actor may be killed between any two statements.
 *                    With -DSURVIVES=1 the learner may be killed too: its state lies twice in shared memory, and the consumed
 *                    indices move only after the version made of the units is announced, so that its successor takes them again.
 * Bounds             N processes: N - 1 actors, each with a ring of SLOTS slots and UNITS units to make, and the learner; bound K;
 *                    KILLS kills.
 * Safety             every unit is used once, in order, and is whole; no slot is written that may still be read; no unit's lag is
 *                    above K; what was published is not lost by any death.
 * Liveness           nobody is stuck, and all units are used (ltl `ends`, weak fairness), whether or not a successor comes at once.
 * Left out           memory order, `parking` (see rounds.pml); "refuse" and "drop_oldest"; sync and pipelined (their turns are
 *                    those of rounds); a learner that is killed while it takes (without SURVIVES the run ends then); the gate.
 * Twins (-DBROKEN=n) 1 the consumer releases a slot before it has read it
 *                    2 the producer publishes before the payload is whole
 *                    3 a full ring is taken for one with room
 *                    4 the learner does not wait for what is due
 *                    5 what a dead actor had announced is not taken back
 *                    6 (SURVIVES) the consumed indices move before the version is announced
 */
#ifndef N
#define N 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef UNITS
#if N == 2
#define UNITS 3
#else
#define UNITS 2
#endif
#endif
#ifndef K
#define K 1
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef SURVIVES
#define SURVIVES 0
#endif
#ifndef BROKEN
#define BROKEN 0
#endif
#define ACTORS (N - 1)
#define LEARNER ACTORS
#define TORN 255
#define NOBODY 255
#define AT(i, n) ((i) * SLOTS + (n) % SLOTS)

byte head[ACTORS], consumed[ACTORS], begun[ACTORS];           /* words of the rings; BEGUN */
byte slot[ACTORS * SLOTS], rounds[ACTORS * SLOTS], acted[ACTORS * SLOTS];
byte newest, closed;                                          /* Snapshots; CLOSED */
byte kept[2 * ACTORS];                                        /* SURVIVES: how many of each ring's units a version is made of */
bool go[N], granted[N], late[N], killed[N], dead[N], finished;
byte reading = NOBODY;                                        /* for the checks: the slot that the learner reads */
byte counted[ACTORS];

#if N == 2
#define ANY(Q) Q(0)
#define ALL(Q) Q(0)
#else
#define ANY(Q) (Q(0) || Q(1))
#define ALL(Q) (Q(0) && Q(1))
#endif
#if BROKEN == 3
#define FULL(i) (head[i] - consumed[i] > SLOTS)
#else
#define FULL(i) (head[i] - consumed[i] >= SLOTS)
#endif
/* _standing, by what the learner has taken so far */
#define PUBLISHED(i) (head[i] > taken[i])
#define STANDS(i) (head[i] > taken[i] || begun[i] > taken[i])
#define IS_DUE(i) (STANDS(i) && rounds[AT(i, taken[i])] + K <= newest)
#define ROUND(i) rounds[AT(i, taken[i])]

proctype Actor(byte i) {
    byte round;
begin:
end_without_successor:
    go[i];
    {
        go[i] = 0;
end_without_units:
start:  /* start_unit, permission */
        atomic { head[i] < UNITS && !FULL(i) && newest + K >= closed -> round = newest }
        rounds[AT(i, head[i])] = round;  /* announce */
        begun[i] = head[i] + 1;
        if  /* _confirmed */
        :: round + K >= closed
        :: else -> atomic { round = 0; begun[i] = head[i]; goto start }  /* _withdraw */
        fi;
        /* _copy: the newest version */
        d_step { acted[AT(i, head[i])] = newest; round = newest }
        rounds[AT(i, head[i])] = round;
#if BROKEN == 2
        head[i] = head[i] + 1;
        d_step { assert(reading != AT(i, head[i] - 1)); slot[AT(i, head[i] - 1)] = TORN }
        slot[AT(i, head[i] - 1)] = head[i];
#else
        d_step { assert(reading != AT(i, head[i])); slot[AT(i, head[i])] = TORN }  /* reserve; the payload */
        slot[AT(i, head[i])] = head[i] + 1;
        head[i] = head[i] + 1;  /* _publish */
#endif
        atomic { round = 0; goto start }
    } unless { killed[i] };
    d_step { round = 0; killed[i] = 0; go[i] = 0; dead[i] = 1 }
    goto begin  /* as the successor */
}

/* front, read, release (_unit, _consume): unit `taken[i]` of ring i */
inline take(i) {
    atomic {
#if BROKEN == 1
        consumed[i] = taken[i] + 1;
    }
    atomic {
#endif
        assert(slot[AT(i, taken[i])] == taken[i] + 1);
        assert(newest - acted[AT(i, taken[i])] <= K);
        reading = AT(i, taken[i])
    }
    atomic { assert(slot[AT(i, taken[i])] == taken[i] + 1); reading = NOBODY; taken[i] = taken[i] + 1 }
#if !SURVIVES
#if BROKEN != 1
    consumed[i] = taken[i];
#endif
    d_step { assert(counted[i] == taken[i] - 1); counted[i] = taken[i] }
#endif
}

inline move_consumed() {
    for (o : 0 .. ACTORS - 1) { consumed[o] = kept[(newest % 2) * ACTORS + o] }
    o = 0
}

#define NOTHING_LEFT(i) (taken[i] == UNITS)

proctype Learner() {
    byte taken[ACTORS], o;
begin:
    go[LEARNER];
    {
        atomic {
            go[LEARNER] = 0;
            for (o : 0 .. ACTORS - 1) { taken[o] = kept[(newest % 2) * ACTORS + o] }
            o = 0
        }
#if SURVIVES
        move_consumed();
#endif
        do
        :: ALL(NOTHING_LEFT) -> break
        :: else ->
            /* _choose: the oldest that is published, one an update */
            if
#if N == 2
            :: PUBLISHED(0) -> take(0)
#else
            :: PUBLISHED(0) && (!PUBLISHED(1) || ROUND(0) <= ROUND(1)) -> take(0)
            :: PUBLISHED(1) && (!PUBLISHED(0) || ROUND(1) <= ROUND(0)) -> take(1)
#endif
            fi;
            closed = newest + 1;  /* _close_round */
            do  /* _due: what has to be used by this version is waited for, and used */
            :: IS_DUE(0) && PUBLISHED(0) -> take(0)
#if N == 3
            :: IS_DUE(1) && PUBLISHED(1) -> take(1)
#endif
            :: !ANY(IS_DUE) || BROKEN == 4 -> break
            od;
#if SURVIVES
            atomic {  /* States.save; saved twice, so that a part of it does no harm */
                for (o : 0 .. ACTORS - 1) { kept[((newest + 1) % 2) * ACTORS + o] = taken[o] }
                o = 0
            }
#if BROKEN == 6
            for (o : 0 .. ACTORS - 1) { consumed[o] = taken[o] }
            o = 0;
#endif
#endif
            atomic {  /* publish */
                newest = newest + 1;
#if SURVIVES
                for (o : 0 .. ACTORS - 1) { counted[o] = taken[o] }
                o = 0
#endif
            }
#if SURVIVES
            move_consumed()
#endif
        od;
        finished = 1
    } unless { killed[LEARNER] };
    if
    :: finished -> goto home
    :: else
    fi;
    d_step { for (o : 0 .. ACTORS - 1) { taken[o] = 0 } o = 0; reading = NOBODY; killed[LEARNER] = 0; go[LEARNER] = 0; dead[LEARNER] = 1 }
    goto begin;
home:
    atomic { for (o : 0 .. ACTORS - 1) { assert(counted[o] == UNITS && consumed[o] == UNITS && head[o] == UNITS) } }
}

#define MAY_BE_KILLED(w) (kills < KILLS && !finished && granted[w] && !killed[w] && !dead[w])

proctype Killer() {
    byte kills;
end_of_killing:
    do
    :: d_step { MAY_BE_KILLED(0) && head[0] < UNITS -> killed[0] = 1; kills = kills + 1 }
#if N == 3
    :: d_step { MAY_BE_KILLED(1) && head[1] < UNITS -> killed[1] = 1; kills = kills + 1 }
#endif
#if SURVIVES
    :: d_step { MAY_BE_KILLED(LEARNER) -> killed[LEARNER] = 1; kills = kills + 1 }
#endif
    od
}

#define TO_BURY(w) (dead[w] && granted[w])
/* A dead actor may have no successor as long as another one lives that has units to make. */
#define LIVES(i) (granted[i] && !dead[i] && !killed[i] && head[i] < UNITS)
#define TO_GRANT(w) (!granted[w] && (!late[w] || !ANY(LIVES)))

inline bury(w) {  /* Streams.settle */
    atomic {
        granted[w] = 0; dead[w] = 0;
#if BROKEN != 5
        if
        :: w < ACTORS -> begun[w] = head[w]
        :: else
        fi;
#endif
        if
        :: late[w] = 0
        :: w != LEARNER -> late[w] = 1
        fi
    }
}

inline grant(w) { d_step { granted[w] = 1; late[w] = 0; go[w] = 1 } }

proctype Launcher() {
end_of_launching:
    do
    :: TO_BURY(0) -> bury(0)
    :: TO_GRANT(0) -> grant(0)
    :: TO_BURY(1) -> bury(1)
    :: TO_GRANT(1) -> grant(1)
#if N == 3
    :: TO_BURY(2) -> bury(2)
    :: TO_GRANT(2) -> grant(2)
#endif
    od
}

init {
    byte w;
    atomic {
        for (w : 0 .. N - 1) { granted[w] = 1; go[w] = 1 }
        w = 0;
        run Launcher(); run Learner(); run Actor(0);
#if N == 3
        run Actor(1);
#endif
        run Killer()
    }
}

ltl ends { <> finished }
