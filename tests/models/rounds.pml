/*
 * Rounds with death and stand-in: `sync` and `pipelined` of actor-learners.
 *
 * What is modelled   asyncrl/topologies/actor_learner/rounds.py (RoundsPace: start_round, finish_round, _hand, _apply, at_gate, stand_in),
 *                    the ledger's entries (shared/ledger.py, DEPTH), gradient slots and the two buffers (shared/parameters.py),
 *                    and the launcher's part: bury, stand in, grant, close, open (estate.RoundsEstate, launcher/crew.py, gate.py).
 *                    A worker may be killed between any two statements; whether its successor comes while the epoch runs is open.
 * Bounds             N workers; EPOCHS epochs, each sync or pipelined as it happens, of MARK steps, a step a round and worker;
 *                    KILLS kills in all; a gate may be asked for at any time.
 * Safety             every version is made of exactly what was handed over for its round, by every worker alike; nobody writes a
 *                    buffer, a gradient slot or a ledger entry that another may still read; all leave after the same round.
 * Liveness           nobody is stuck, and every epoch ends (ltl `ends`, in every schedule: there is no cycle), although the dead
 *                    may have no successor until then.
 * Left out           memory order: this is sequential consistency (x86 and ARM need the acquire, release and fences of
 *                    shared/atomics.py); `parking`: whoever waits notices; gradients that are not finite; target networks.
 * Twins (-DBROKEN=n) 1 stand_in hands over what the dead worker had in its slot, instead of nothing
 *                    2 one gradient slot instead of two
 *                    3 a worker goes by the request alone, not by the records, to find out that the round was the last
 *                    4 one buffer: a shard is updated in place
 *                    5 a successor is granted its slot while the launcher goes on standing in for it
 */
#ifndef N
#define N 2
#endif
#ifndef MARK
#define MARK 2
#endif
#ifndef EPOCHS
#if N == 2
#define EPOCHS 2
#else
#define EPOCHS 1
#endif
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef BROKEN
#define BROKEN 0
#endif
#define DEPTH 4  /* shared/ledger.py */
#define TORN 255 /* is being written */
#define MOST 16  /* versions that are kept in the checks' tables */

#if BROKEN == 2
#define SLOT(w, k) (w)
#else
#define SLOT(w, k) ((w) * 2 + ((k) & 1))
#endif
#if BROKEN == 4
#define BUFFER(v) 0
#else
#define BUFFER(v) ((v) & 1)
#endif
#define SHARD(v, w) (BUFFER(v) * N + (w))
#if N == 2
#define ALL(P, x) (P(0, x) && P(1, x))
#define ANY(P, x) (P(0, x) || P(1, x))
#define SUM(P, x) (P(0, x) + P(1, x))
#else
#define ALL(P, x) (P(0, x) && P(1, x) && P(2, x))
#define ANY(P, x) (P(0, x) || P(1, x) || P(2, x))
#define SUM(P, x) (P(0, x) + P(1, x) + P(2, x))
#endif

/* Words of `orders`, `base` and `station`; `go` stands for the launcher's message that grants the slot. */
byte opened, request, delay, mark, first;
byte base[N], arrived[N], clk[N], applied[N];
bool stop, go[N], asks, finished;
/* The ledger's entries, gradient slots and shards of the buffers, by what they hold: clock, version. */
byte tag[N * DEPTH], weight[N * DEPTH], gate[N * DEPTH], steps[N * DEPTH];
byte grad[N * 2], vec[2 * N];
/* Of the launcher's process alone. `late`: there will be no successor while others live and the epoch runs. */
bool granted[N], stood[N], late[N];
/* For the checks: who reads what, what was handed over and what was used for a version, and who is to die. */
byte reads_buffer[N], reads_slot[N], handed_mask[MOST], used_mask[MOST];
bool killed[N], dead[N];

#define ENTRY(w, c) ((w) * DEPTH + (base[w] + (c)) % DEPTH) /* RoundsPace._entries(c)[w] */
#define HANDED(w) (clk[w] - base[w])
#define APPLIED(w) (applied[w] - first)
/* Clocks and `applied` only grow, so a scan that finds all of them large enough is as good as one look at all. */
#define HANDED_IT(w, c) (HANDED(w) >= (c))
#define APPLIED_IT(w, c) (APPLIED(w) >= (c))
#define ALL_HANDED(c) ALL(HANDED_IT, c)
#define ALL_APPLIED(c) ALL(APPLIED_IT, c)
/* RoundsPace._last_round(k), for c = k + 1. The records of a round are the same for whoever looks, whenever it looks. */
#define GATE_SEEN(w, c) (gate[ENTRY(w, c)] > opened)
#define STEPS(w, c) steps[ENTRY(w, c)]
#if BROKEN == 3
#define WAS_LAST(c) (request > opened || SUM(STEPS, c) >= mark)
#else
#define WAS_LAST(c) (ANY(GATE_SEEN, c) || SUM(STEPS, c) >= mark)
#endif
#define AT_GATE(w) (HANDED(w) == APPLIED(w) && APPLIED(w) > delay && WAS_LAST(APPLIED(w) - delay))
#define DRAINS(w) (HANDED(w) > delay && WAS_LAST(HANDED(w) - delay))
#define TO_ACT_ON(w) (HANDED(w) > delay -> HANDED(w) - delay : 0)

inline entries_are_there(count) {  /* nobody has overwritten what may still be read */
    for (o : 0 .. N - 1) { assert(tag[ENTRY(o, count)] == base[o] + count) }
    o = 0
}

inline hand(w, usable) {  /* RoundsPace._hand: the request is looked at; Ledger.publish: the record, then the clock */
    d_step { tag[ENTRY(w, HANDED(w) + 1)] = TORN; gate[ENTRY(w, HANDED(w) + 1)] = request }
    d_step {  /* a record that is whole and not published is like one that is not whole: one step */
        weight[ENTRY(w, HANDED(w) + 1)] = usable;
        steps[ENTRY(w, HANDED(w) + 1)] = steps[ENTRY(w, HANDED(w))] + usable;
        tag[ENTRY(w, HANDED(w) + 1)] = clk[w] + 1;
        handed_mask[first + HANDED(w)] = handed_mask[first + HANDED(w)] | (usable << w);
        clk[w] = clk[w] + 1
    }
}

inline apply(w) {  /* RoundsPace._apply, once all have handed the round over */
    atomic {
        ALL_HANDED(APPLIED(w) + 1);
        d_step {  /* the weights are read, and `weighted_mean` begins to read the slots */
            entries_are_there(APPLIED(w) + 1);
            entries_are_there(APPLIED(w));
            for (o : 0 .. N - 1) {
                if
                :: weight[ENTRY(o, APPLIED(w) + 1)] ->
                    assert(grad[SLOT(o, APPLIED(w))] == applied[w] + 1);
                    sum = sum | (1 << o)
                :: else
                fi
            }
            assert(sum == handed_mask[applied[w]]);                                  /* nothing is lost or invented */
            assert(used_mask[applied[w]] == 0 || used_mask[applied[w]] == sum + 1);  /* everybody uses the same */
            used_mask[applied[w]] = sum + 1;
            sum = 0; o = 0;
            reads_slot[w] = 1 + (APPLIED(w) & 1)
        }
    }
    d_step {  /* the mean is made; the shard is begun */
        reads_slot[w] = 0;
        assert(vec[SHARD(applied[w], w)] == applied[w]);
        for (o : 0 .. N - 1) { assert(reads_buffer[o] != 1 + BUFFER(applied[w] + 1)) }
        o = 0;
        vec[SHARD(applied[w] + 1, w)] = TORN
    }
    d_step {  /* a shard that is whole and not announced is made again like one that is not whole: one step */
        vec[SHARD(applied[w] + 1, w)] = applied[w] + 1;
        applied[w] = applied[w] + 1
    }
}

inline write_slot(w) {  /* RoundsPace.finish_round: the gradient goes into the slot */
    d_step {
        for (o : 0 .. N - 1) { assert(reads_slot[o] == 0 || SLOT(w, reads_slot[o] - 1) != SLOT(w, HANDED(w))) }
        o = 0;
        grad[SLOT(w, HANDED(w))] = TORN
    }
    grad[SLOT(w, HANDED(w))] = first + HANDED(w) + 1
}

proctype Worker(byte i) {
    byte o, sum, awaited, acts_on;
begin:
end_without_successor:
    go[i];
    {
        go[i] = 0;
        goto start;
drain:
        apply(i);
start:  /* RoundsPace.start_round. What is decided here rests on words of its own and on records that stay: one step */
        atomic {
            if
            :: HANDED(i) > APPLIED(i) && (delay == 0 || DRAINS(i)) -> goto drain
            :: AT_GATE(i) -> goto leave
            :: else
            fi;
            ALL_APPLIED(TO_ACT_ON(i));
            d_step {  /* the copy begins: the version is whole */
                acts_on = TO_ACT_ON(i);
                for (o : 0 .. N - 1) { assert(vec[SHARD(first + acts_on, o)] == first + acts_on) }
                entries_are_there(acts_on);
                reads_buffer[i] = 1 + BUFFER(first + acts_on);
                o = 0
            }
        }
        d_step {  /* the copy and acting end; the records that acting has read are still there */
            reads_buffer[i] = 0;
            entries_are_there(acts_on);
            acts_on = 0
        }
        if  /* finish_round */
        :: HANDED(i) > APPLIED(i) -> apply(i)
        :: else
        fi;
        write_slot(i);
        hand(i, 1);
        if
        :: delay == 0 -> apply(i)
        :: else
        fi;
        goto start;
leave:  /* Gate.pass_through */
        atomic { awaited = opened + 1; arrived[i] = awaited }
        atomic {
            opened >= awaited -> awaited = 0;
            if
            :: stop -> goto home
            :: else -> goto start
            fi
        }
    } unless { killed[i] };
    d_step { reads_buffer[i] = 0; reads_slot[i] = 0; o = 0; sum = 0; awaited = 0; acts_on = 0; killed[i] = 0; go[i] = 0; dead[i] = 1 }
    goto begin;  /* as the successor, once it is granted the slot */
home:
    skip
}

#define MAY_BE_KILLED(w, x) (granted[w] && !killed[w] && !dead[w] && opened > 0 && !stop)

proctype Killer() {
    byte kills;
end_of_killing:
    do
    :: d_step { kills < KILLS && MAY_BE_KILLED(0, 0) -> killed[0] = 1; kills = kills + 1 }
    :: d_step { kills < KILLS && MAY_BE_KILLED(1, 0) -> killed[1] = 1; kills = kills + 1 }
#if N == 3
    :: d_step { kills < KILLS && MAY_BE_KILLED(2, 0) -> killed[2] = 1; kills = kills + 1 }
#endif
    od
}

#define LIVES(w, x) granted[w]
#define TO_BURY(w) (dead[w] && granted[w])
#define TO_GRANT(w) (!granted[w] && (!late[w] || !ANY(LIVES, 0)))
#if BROKEN == 1
#define STAND_INS_WEIGHT 1
#else
#define STAND_INS_WEIGHT 0
#endif
/* RoundsPace.stand_in */
#define CAN_HAND(w) (stood[w] && ANY(LIVES, 0) && HANDED(w) == APPLIED(w) && !AT_GATE(w) && ALL_APPLIED(TO_ACT_ON(w)))
#define CAN_APPLY(w) (stood[w] && ANY(LIVES, 0) && HANDED(w) > APPLIED(w) && ALL_HANDED(APPLIED(w) + 1))
#define MAY_CLOSE(w, x) (granted[w] && arrived[w] > opened || !granted[w] && AT_GATE(w)) /* Launcher.all_at_gate */

inline bury(w) {  /* Crew._bury, RoundsEstate.bury */
    atomic {
        granted[w] = 0; dead[w] = 0; stood[w] = 1;
        if
        :: late[w] = 0
        :: late[w] = 1
        fi
    }
}

inline grant(w) {  /* Crew.grant, RoundsEstate.grant */
    d_step {
#if BROKEN != 5
        stood[w] = 0;
#endif
        granted[w] = 1; arrived[w] = opened; late[w] = 0; go[w] = 1
    }
}

proctype Launcher() {
    byte o, sum, w, epochs;
    bool asked;
open:  /* Launcher.open_gate: the orders, RoundsEstate.open; REQUEST, OPENED; RoundsEstate.opened */
    atomic {
        if
        :: delay = 0
        :: delay = 1
        fi;
        first = applied[0];
        for (w : 0 .. N - 1) {
            base[w] = clk[w];
            sum = sum + steps[ENTRY(w, 0)];
            stood[w] = !granted[w]
        }
        mark = sum + MARK;
        sum = 0; w = 0; asked = 0
    }
    request = opened + 1;
    d_step {
        opened = opened + 1;
        for (w : 0 .. N - 1) { go[w] = go[w] || (epochs == 0) }
        w = 0;
        epochs = epochs + 1
    }
    do  /* Session._await_gate, Crew.turn: in whatever order */
    :: d_step { asks && !asked -> asked = 1; request = opened + 1 }  /* an interruption, or the end of the time */
    :: TO_BURY(0) -> bury(0)
    :: TO_BURY(1) -> bury(1)
    :: TO_GRANT(0) -> grant(0)
    :: TO_GRANT(1) -> grant(1)
    :: CAN_HAND(0) -> hand(0, STAND_INS_WEIGHT)
    :: CAN_HAND(1) -> hand(1, STAND_INS_WEIGHT)
    :: CAN_APPLY(0) -> apply(0)
    :: CAN_APPLY(1) -> apply(1)
#if N == 3
    :: TO_BURY(2) -> bury(2)
    :: TO_GRANT(2) -> grant(2)
    :: CAN_HAND(2) -> hand(2, STAND_INS_WEIGHT)
    :: CAN_APPLY(2) -> apply(2)
#endif
    :: ANY(LIVES, 0) && ALL(MAY_CLOSE, 0) -> break
    od;
    atomic {  /* close_epoch: everything that was handed over has been applied, by everybody, and all made the same rounds */
        for (w : 0 .. N - 1) {
            assert(applied[w] == applied[0] && HANDED(w) == APPLIED(w));
            assert(vec[SHARD(applied[0], w)] == applied[0]);
            assert(reads_buffer[w] == 0 && reads_slot[w] == 0)
        }
        w = 0;
        if
        :: epochs < EPOCHS -> goto open
        :: else -> stop = 1; finished = 1; opened = opened + 1
        fi
    }
}

init {
    byte w;
    atomic {
        if  /* whether a gate is asked for before the mark */
        :: asks = 0
        :: asks = 1
        fi;
        for (w : 0 .. N - 1) {  /* clocks need not be equal: an epoch in place may have come before */
            clk[w] = w; base[w] = w; tag[ENTRY(w, 0)] = w; granted[w] = 1
        }
        w = 0;
        run Launcher();
        run Worker(0); run Worker(1);
#if N == 3
        run Worker(2);
#endif
        run Killer()
    }
}

ltl ends { <> finished }
