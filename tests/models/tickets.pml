/*
 * Tickets with death of a worker and of the learner: black-box search.
 *
 * What is modelled   asyncrl/shared/tickets.py (_claim, _hand_in, _release, _use_up, newest_begun), shared/states.py, Snapshots
 *                    (shared/parameters.py), and of asyncrl/topologies/search/ worker_pace.py, learner_pace.py, window.py
 *                    (finish_using), the learner's ledger record (plan.learner_record), learner.py (_update), worker.py
 *                    (_write), and the launcher's part: bury, release, grant, gate (estate.TicketsEstate).
 *                    Workers and the learner may be killed between any two statements.
 * Bounds             N workers (1 to 3) and the learner; one epoch of VERSIONS updates in sync, pipelined, async or async by arrival, as
 *                    it happens (or MODE), P tickets a generation, two generations of slots, two buffers of published versions;
 *                    KILLS kills; a gate may be asked for at any time. In async the epoch is drained, as before a change of mode.
 * Safety             every ticket is used once, by one version, and (but for arrival) in its turn; its record is whole and nobody
 *                    writes it while it is the learner's; in sync and pipelined it acts on its version; what is copied is whole; a
 *                    successor finds its state whole; the learner's books count every version once; a drained window is empty.
 * Liveness           nobody is stuck, and the epoch ends (ltl `ends`, weak fairness), although dead workers may have no successor
 *                    until then as long as one worker lives.
 * Left out           memory order, `parking` (see rounds.pml); returns that are not finite and are tried again; take_over.
 * Twins (-DBROKEN=n) 1 the learner's successor does not free the tickets that the newest version is made of
 *                    2 tickets are freed before the version made of them is announced
 *                    3 a claimer does not look at the limit again
 *                    4 a ticket is handed in before its record is whole
 *                    5 the learner's successor takes the record before the newest one for that of the newest version, always (the
 *                      code did: two learners killed in a row between telling and announcing were counted twice)
 *                    7 a learner whose predecessor had ended the epoch looks for begun tickets once more (the code did: a claim that
 *                      was about to be given back made it wait for a ticket that nobody does any more)
 *                    6 a ticket is claimed by a load and a store instead of compare and swap
 */
#ifndef N
#define N 2
#endif
#ifndef P
#define P 1
#endif
#ifndef VERSIONS
#define VERSIONS 2
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef BROKEN
#define BROKEN 0
#endif
#define SLOTS (2 * P)
#define AHEAD 1
#define BUFFERS 2
#define DEPTH 4
#define TORN 255
#define LEARNER N

#define SYNC 0
#define PIPELINED 1
#define DISPATCH 2
#define ARRIVAL 3

/* A slot's word: number and holder. */
#define FREE 0
#define DONE 15
#define WORD(number, holder) ((number) * 16 + (holder))
#define NUMBER(word) ((word) / 16)
#define HOLDER(word) ((word) % 16)
#define BIT(n) (1 << (n))

byte mode;
byte states[SLOTS], first, limit;                 /* Tickets */
byte rec_number[SLOTS], rec_version[SLOTS];       /* the records, by what they hold */
byte newest, writing, buffer[BUFFERS];            /* Snapshots */
byte kept[2];                                     /* States: the version that is kept, and its `used`, a set of numbers */
short kept_used[2];
byte clk, told[DEPTH];                            /* the learner's ledger record: rounds */
bool over, request, opened, stop;
bool arrived[N + 1], go[N + 1], granted[N + 1], late[N + 1], killed[N + 1], dead[N + 1];
bool asks, finished;                               /* for the checks */
short counted;

#define IN_PLACE (mode >= DISPATCH)
#define IS_OVER (request || over)
#define FREE_IN(s) (HOLDER(states[s]) == FREE && NUMBER(states[s]) >= first && NUMBER(states[s]) < limit)
#if P == 1
#define ANY_FREE (FREE_IN(0) || FREE_IN(1))
#define ALL_DONE(n) (states[(n) % SLOTS] == WORD(n, DONE))
#else
#define ANY_FREE (FREE_IN(0) || FREE_IN(1) || FREE_IN(2) || FREE_IN(3))
#define ALL_DONE(n) (states[(n) % SLOTS] == WORD(n, DONE) && states[((n) + 1) % SLOTS] == WORD((n) + 1, DONE))
#endif

proctype Worker(byte i) {
    byte n, last, version, wanted, copied;
begin:
end_without_successor:
    go[i];
    {
        go[i] = 0;
look:
        atomic {
            if
            :: IS_OVER -> goto leave
            :: !IS_OVER && ANY_FREE -> n = first  /* _claim: its range begins */
            fi
        }
        last = limit;
        do  /* a word that is not (or no longer) that of the free ticket is passed over: load and swap are one step */
        :: atomic { n >= last -> n = 0; last = 0; goto look }
        :: n < last && states[n % SLOTS] != WORD(n, FREE) -> n = n + 1
#if BROKEN == 6
        :: n < last && states[n % SLOTS] == WORD(n, FREE) -> skip; states[n % SLOTS] = WORD(n, i + 1); break
#else
        :: atomic { n < last && states[n % SLOTS] == WORD(n, FREE) -> states[n % SLOTS] = WORD(n, i + 1); last = 0; break }
#endif
        od;
#if BROKEN != 3
        if
        :: n < limit
        :: else -> atomic { states[n % SLOTS] = WORD(n, FREE); n = 0; goto look }
        fi;
#endif
        do  /* WorkerPace._copy, Snapshots.copy */
        :: d_step {
                version = newest; wanted = newest;
                if
                :: !IN_PLACE ->
                    wanted = (n / P > mode -> n / P - mode : 0);
                    assert(wanted <= version && wanted + BUFFERS > version)
                :: else
                fi
            }
            copied = buffer[wanted % BUFFERS];
            if
            :: writing < wanted + BUFFERS -> break
            :: else -> assert(IN_PLACE)
            fi
        od;
        atomic { assert(copied == wanted); copied = 0; version = 0 }
#if BROKEN == 4
        states[n % SLOTS] = WORD(n, DONE);
#endif
        d_step {  /* SearchWorker._write begins */
            assert(BROKEN == 4 || states[n % SLOTS] == WORD(n, i + 1));
            rec_number[n % SLOTS] = TORN
        }
        d_step { rec_number[n % SLOTS] = n; rec_version[n % SLOTS] = (IN_PLACE -> 0 : wanted); wanted = 0 }
#if BROKEN != 4
        states[n % SLOTS] = WORD(n, DONE);  /* _hand_in */
#endif
        atomic { n = 0; last = 0; goto look }
leave:
        atomic { arrived[i] = 1; n = 0; last = 0 }
        stop
    } unless { killed[i] };
    if
    :: stop -> goto home
    :: else
    fi;
    d_step { n = 0; last = 0; version = 0; wanted = 0; copied = 0; killed[i] = 0; go[i] = 0; dead[i] = 1 }
    goto begin;  /* as the successor */
home:
    skip
}

inline use_up(numbers) {  /* window.use_up, Tickets.use_up: slot by slot, FIRST last */
    s = 0;
    do
    :: atomic {
            s < SLOTS ->
            if
            :: numbers & BIT(NUMBER(states[s])) ->
                assert(BROKEN == 1 || HOLDER(states[s]) == DONE);
                states[s] = WORD(NUMBER(states[s]) + SLOTS, FREE)
            :: else
            fi;
            s = s + 1;
            do
            :: s < SLOTS && !(numbers & BIT(NUMBER(states[s]))) -> s = s + 1
            :: else -> break
            od
        }
    :: s == SLOTS -> break
    od;
    atomic {
        s = first;
        do
        :: NUMBER(states[s % SLOTS]) > s -> s = s + 1
        :: else -> break
        od;
        first = s;
        s = 0
    }
}

inline newest_begun(answer) {  /* in generations, plus one */
    s = 0; answer = 0;
    do
    :: s < SLOTS ->
        atomic {
            m = (HOLDER(states[s]) == FREE -> (NUMBER(states[s]) >= SLOTS -> NUMBER(states[s]) - SLOTS + 1 : 0) : NUMBER(states[s]) + 1);
            answer = (m > answer -> m : answer);
            s = s + 1
        }
    :: else -> break
    od;
    atomic { answer = (answer + P - 1) / P; m = 0; s = 0 }
}

#define IS_DONE (v >= VERSIONS)
#define IS_CLOSING (IS_DONE && IN_PLACE)
#define NUMBERS_READY ((mode != ARRIVAL && ALL_DONE(v * P)) || (mode == ARRIVAL && DONE_COUNT >= P))
#define ONE(s) (HOLDER(states[s]) == DONE -> 1 : 0)
#if P == 1
#define DONE_COUNT (ONE(0) + ONE(1))
#else
#define DONE_COUNT (ONE(0) + ONE(1) + ONE(2) + ONE(3))
#endif

proctype Learner() {
    byte v, s, m, n, begun, rounds;
    short batch;
begin:
end_without_successor:
    go[LEARNER];
    {
        go[LEARNER] = 0;
        d_step {  /* SearchLearner.work: the books, and the state of the newest version */
            v = newest;
            assert(kept[v % 2] == v);
            rounds = told[clk % DEPTH];
            if  /* learner_record */
            :: rounds > v -> rounds = told[(clk + DEPTH - 1) % DEPTH]
            :: else
            fi;
            batch = kept_used[v % 2]
        }
#if BROKEN != 5
        d_step { told[(clk + 1) % DEPTH] = rounds; clk = clk + 1 }  /* plan.go_on_from: the next one to die must find it there */
#endif
        d_step {  /* window.finish_using: of these, those that are still done */
            for (s : 0 .. SLOTS - 1) { begun = begun | (HOLDER(states[s]) == DONE && batch & BIT(NUMBER(states[s])) -> BIT(s) : 0) }
            batch = 0;
            for (s : 0 .. SLOTS - 1) { batch = batch | (begun & BIT(s) -> BIT(NUMBER(states[s])) : 0) }
            s = 0; begun = 0
        }
#if BROKEN != 1
        use_up(batch);
#endif
        batch = 0;
next:   /* LearnerPace.batch: _set_limit */
        if
#if BROKEN != 7
        :: over -> goto leave  /* its predecessor had ended the epoch */
        :: !over && !IS_DONE -> d_step {
#else
        :: !IS_DONE -> d_step {
#endif
                m = first / P * P + SLOTS;
                n = (v + 1 + (IN_PLACE -> AHEAD : mode)) * P;
                limit = (n < m -> n : m);
                n = 0; m = 0
            }
#if BROKEN != 7
        :: !over && IS_CLOSING ->  /* _end_claims */
#else
        :: IS_CLOSING ->
#endif
            do
            :: newest_begun(begun);
                limit = begun * P;
                newest_begun(n);
                if
                :: n <= begun -> break
                :: else
                fi
            od;
            atomic { n = 0; begun = 0 }
        :: else
        fi;
        atomic {  /* _look */
            if
            :: request || (IS_DONE && !IS_CLOSING) -> goto leave
            :: IS_CLOSING && limit <= first -> goto leave
            :: NUMBERS_READY
            fi;
            d_step {  /* the oldest P that are done, or the generation */
                s = first; n = 0;
                if
                :: mode != ARRIVAL -> s = v * P
                :: else
                fi;
                do
                :: n == P -> break
                :: n < P && states[s % SLOTS] == WORD(s, DONE) -> batch = batch | BIT(s); n = n + 1; s = s + 1
                :: else -> s = s + 1
                od;
                s = 0; n = 0;
                for (s : 0 .. SLOTS - 1) {
                    if
                    :: HOLDER(states[s]) == DONE && batch & BIT(NUMBER(states[s])) ->
                        assert(rec_number[s] == NUMBER(states[s]));
                        assert(IN_PLACE || rec_version[s] == (rec_number[s] / P > mode -> rec_number[s] / P - mode : 0))
                    :: else
                    fi
                }
                s = 0
            }
        }
        kept[(v + 1) % 2] = TORN;  /* States.save */
        d_step {  /* the records have been read until here */
            for (s : 0 .. SLOTS - 1) {
                assert(!(HOLDER(states[s]) == DONE && batch & BIT(NUMBER(states[s]))) || rec_number[s] == NUMBER(states[s]))
            }
            s = 0;
            kept[(v + 1) % 2] = v + 1; kept_used[(v + 1) % 2] = batch
        }
        d_step { rounds = rounds + 1; told[(clk + 1) % DEPTH] = rounds; clk = clk + 1 }  /* _tell: Ledger.publish */
#if BROKEN == 2
        use_up(batch);
#endif
        writing = v + 1;  /* Snapshots.publish */
        buffer[(v + 1) % BUFFERS] = TORN;
        buffer[(v + 1) % BUFFERS] = v + 1;
        d_step {
            newest = v + 1; v = v + 1;
            assert(!(counted & batch));  /* nothing is counted twice */
            counted = counted | batch
        }
#if BROKEN != 2
        use_up(batch);
#endif
        batch = 0;
        goto next;
leave:
        over = 1;
        arrived[LEARNER] = 1;
        stop
    } unless { killed[LEARNER] };
    if
    :: stop -> goto home
    :: else
    fi;
    d_step { v = 0; s = 0; m = 0; n = 0; begun = 0; rounds = 0; batch = 0; killed[LEARNER] = 0; go[LEARNER] = 0; dead[LEARNER] = 1 }
    goto begin;  /* as the successor */
home:
    skip
}

#define MAY_BE_KILLED(w) (kills < KILLS && opened && !stop && granted[w] && !killed[w] && !dead[w])

proctype Killer() {
    byte kills;
end_of_killing:
    do
    :: d_step { MAY_BE_KILLED(0) -> killed[0] = 1; kills = kills + 1 }
    :: d_step { MAY_BE_KILLED(1) -> killed[1] = 1; kills = kills + 1 }
#if N >= 2
    :: d_step { MAY_BE_KILLED(2) -> killed[2] = 1; kills = kills + 1 }
#endif
#if N == 3
    :: d_step { MAY_BE_KILLED(3) -> killed[3] = 1; kills = kills + 1 }
#endif
    od
}

#if N == 1
#define WORKER_LIVES granted[0]
#elif N == 2
#define WORKER_LIVES (granted[0] || granted[1])
#else
#define WORKER_LIVES (granted[0] || granted[1] || granted[2])
#endif
#define HERE(w) (granted[w] && arrived[w])
#define HERE_OR_DEAD(w) (!granted[w] || arrived[w]) /* TicketsEstate.owes_nothing: but for the learner */
#if N == 1
#define ALL_AT_GATE (HERE_OR_DEAD(0) && HERE(LEARNER))
#elif N == 2
#define ALL_AT_GATE (HERE_OR_DEAD(0) && HERE_OR_DEAD(1) && HERE(LEARNER))
#else
#define ALL_AT_GATE (HERE_OR_DEAD(0) && HERE_OR_DEAD(1) && HERE_OR_DEAD(2) && HERE(LEARNER))
#endif
#define TO_BURY(w) (dead[w] && granted[w])
#define TO_GRANT(w) (!granted[w] && (!late[w] || !WORKER_LIVES))

inline bury(w) {  /* Crew._bury, Tickets.release: what a dead worker held is nobody's but the launcher's: one step */
    atomic {
        granted[w] = 0; dead[w] = 0;
        for (s : 0 .. SLOTS - 1) {
            if
            :: HOLDER(states[s]) == w + 1 -> states[s] = WORD(NUMBER(states[s]), FREE)
            :: else
            fi
        }
        s = 0;
        if
        :: late[w] = 0
        :: w != LEARNER -> late[w] = 1
        fi
    }
}

inline grant(w) { d_step { granted[w] = 1; arrived[w] = 0; late[w] = 0; go[w] = 1 } }

proctype Launcher() {
    byte s, n;
    d_step {
        opened = 1;
        for (s : 0 .. N) { go[s] = 1 }
        s = 0
    }
    do
    :: d_step { asks && !request -> request = 1 }
    :: TO_BURY(0) -> bury(0)
    :: TO_BURY(1) -> bury(1)
#if N >= 2
    :: TO_BURY(2) -> bury(2)
    :: TO_GRANT(2) -> grant(2)
#endif
    :: TO_GRANT(0) -> grant(0)
    :: TO_GRANT(1) -> grant(1)
#if N == 3
    :: TO_BURY(3) -> bury(3)
    :: TO_GRANT(3) -> grant(3)
#endif
    :: ALL_AT_GATE -> break
    od;
    atomic {
        n = 0;
        for (s : 0 .. 15) { n = n + (counted & BIT(s) -> 1 : 0) }
        assert(n == newest * P);                                                    /* nothing is lost */
        assert(mode == ARRIVAL || counted == BIT(newest * P) - 1);                  /* and each in its turn */
        assert(told[clk % DEPTH] == newest);                                        /* the books are exact */
        for (s : 0 .. SLOTS - 1) {
            assert(!(HOLDER(states[s]) == DONE && counted & BIT(NUMBER(states[s]))));
            assert(!IN_PLACE || request || HOLDER(states[s]) == FREE)                /* drained */
        }
        finished = 1; stop = 1
    }
}

init {
    byte s;
    atomic {
#ifdef MODE
        mode = MODE;
#else
        if
        :: mode = SYNC
        :: mode = PIPELINED
        :: mode = DISPATCH
        :: mode = ARRIVAL
        fi;
#endif
        if  /* whether a gate is asked for */
        :: asks = 0
        :: asks = 1
        fi;
        for (s : 0 .. SLOTS - 1) { states[s] = WORD(s, FREE); rec_number[s] = TORN }
        for (s : 0 .. N) { granted[s] = 1 }
        s = 0;
        run Launcher(); run Learner();
        run Worker(0);
#if N >= 2
        run Worker(1);
#endif
#if N == 3
        run Worker(2);
#endif
        run Killer()
    }
}

ltl ends { <> finished }
