/*
 * Whole updates: two buffers a worker, one word that says which is current, and readers that look again.
 *
 * What is modelled   asyncrl/shared/whole.py (_draft, swap, _copy) and of topologies/actor_learner/whole.py the loop of _apply. A
 *                    buffer is two cells, which are copied and changed one after the other; each holds the version that it is of. A
 *                    worker may be killed between any two statements, and its successor does not know what it has swapped in.
 * Bounds             N workers of UPDATES updates each, of which each counts its own in the ledger; one reader of READS copies;
 *                    KILLS kills, with a successor or none.
 * Safety             a copy that is taken is of one version, the one that the head has named; every version is made from the one
 *                    before; nobody writes to the buffer that is current; at most one update a kill is made and not counted.
 * Liveness           nobody is stuck, and everybody who lives comes to its end: who does it over was overtaken.
 * Left out           memory order; target, steps and statistics, which are more cells of the same buffer; the gate.
 * Twins (-DBROKEN=n) 1 the stamp is set after the buffer was written to
 *                    2 a successor takes its first buffer, also where that is current
 *                    3 a reader does not look at the stamp
 *                    4 the head is stored and not compared
 *                    5 of the head only the buffer is compared
 */
#ifndef N
#define N 2
#endif
#ifndef UPDATES
#define UPDATES 2
#endif
#ifndef READS
#define READS 2
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef BROKEN
#define BROKEN 0
#endif
#define BUFFERS (2 * N + 1)
#define UNKNOWN 255
#define FIRST(i) (1 + 2 * (i))
#define WORD(version, buffer) ((version) * 8 + (buffer))
#define VERSION(word) ((word) / 8)
#define BUFFER(word) ((word) % 8)

byte head;                                    /* WORD(version, buffer) */
byte stamp[BUFFERS], cell[2 * BUFFERS];
byte counted[N];                              /* the ledger */
bool killed[N], over[N], finished;
byte kills;

#if BROKEN == 1
#define BEFORE
#define AFTER stamp[own] = VERSION(word) + 1;
#else
#define BEFORE stamp[own] = VERSION(word) + 1;
#define AFTER
#endif
#if BROKEN == 4
#define UNCHANGED true
#elif BROKEN == 5
#define UNCHANGED (BUFFER(head) == BUFFER(word))
#else
#define UNCHANGED (head == word)
#endif

inline write(at, value) { d_step { assert(BUFFER(head) != own); cell[at] = value } }

proctype Worker(byte i) {
    byte last = UNKNOWN, word, own;
begin:
    {
        do
        :: counted[i] == UPDATES -> break
        :: else ->
draft:
            atomic {
                word = head;
                own = (last != FIRST(i) -> FIRST(i) : FIRST(i) + 1);
#if BROKEN != 2
                if
                :: own == BUFFER(word) -> own = (BUFFER(word) != FIRST(i) -> FIRST(i) : FIRST(i) + 1)
                :: else
                fi
#endif
            }
            BEFORE
            write(2 * own, cell[2 * BUFFER(word)]);
            write(2 * own + 1, cell[2 * BUFFER(word) + 1]);
            if
            :: stamp[BUFFER(word)] == VERSION(word)
            :: else -> goto draft
            fi;
            assert(cell[2 * own] == VERSION(word) && cell[2 * own + 1] == VERSION(word));
            write(2 * own, cell[2 * own] + 1);
            write(2 * own + 1, cell[2 * own + 1] + 1);
            AFTER
            atomic {
                if
                :: UNCHANGED ->
                    assert(VERSION(head) == VERSION(word));
                    head = WORD(VERSION(word) + 1, own);
                    last = own
                :: else -> goto draft
                fi
            }
            counted[i] = counted[i] + 1
        od
    } unless { killed[i] };
    if
    :: !killed[i] -> goto home
    :: else
    fi;
    atomic {
        last = UNKNOWN; word = 0; own = 0;
        if
        :: killed[i] = 0; goto begin  /* as the successor */
        :: goto home                  /* there is none */
        fi
    }
home:
    over[i] = 1
}

proctype Reader() {
    byte word, one, other, reads;
    do
    :: reads == READS -> break
    :: else ->
        word = head;
        one = cell[2 * BUFFER(word)];
        other = cell[2 * BUFFER(word) + 1];
        atomic {
            if
            :: BROKEN == 3 || stamp[BUFFER(word)] == VERSION(word) ->
                assert(one == VERSION(word) && other == VERSION(word));
                reads = reads + 1
            :: else
            fi;
            one = 0; other = 0
        }
    od;
    atomic {
        for (word : 0 .. N - 1) { over[word] };
        reads = 0;
        for (word : 0 .. N - 1) { reads = reads + counted[word] };
        assert(reads <= VERSION(head) && VERSION(head) <= reads + kills);
        finished = 1
    }
}

proctype Killer() {
    byte w;
end_of_killing:
    do
    :: d_step { kills < KILLS && !over[0] && !killed[0] -> killed[0] = 1; kills = kills + 1 }
    :: d_step { kills < KILLS && !over[1] && !killed[1] -> killed[1] = 1; kills = kills + 1 }
#if N == 3
    :: d_step { kills < KILLS && !over[2] && !killed[2] -> killed[2] = 1; kills = kills + 1 }
#endif
    od
}

init {
    byte w;
    atomic {
        for (w : 0 .. N - 1) { run Worker(w) }
        w = 0;
        run Reader(); run Killer()
    }
}

ltl ends { <> finished }
