/*
 * The table of latents with deaths: several processes embed, read and give away the slots of an implicit head's set.
 *
 * What is modelled   asyncrl/heads/implicit/table.py (_shared, _slot_for, _busy_in, _embed), standing.py, places.py (claim, is_busy) and, with
 *                    INDEX, the part of table.py and index.py that writes an index beside the latents (selection, holds, fill).
 *                    Processes may be killed between any two statements; a successor has another number and begins anew.
 * Bounds             N processes and, once they have ended, one more, which asks for a further version; two slots, as in the code; SHARDS
 *                    shards of two cells each, which are written and read one by one; as many places as processes; ASKS times
 *                    somebody asks for one of VERSIONS versions, reads it, and looks whether it stands; KILLS kills.
 * Safety             latents, and an index, that stand are whole and those of the version that was asked for; nobody writes to a slot
 *                    that is another version's; two living processes never have one place; where no more versions are asked for than
 *                    there are slots, none is given up, and nobody embeds apart; at last a slot can be had, whoever was killed where.
 * Liveness           nobody is stuck, and all come to their end (ltl `ends`, in every schedule): there is no statement that waits.
 * Left out           memory order; that a key of 44 bits may be two versions'; that numbers in words begin again after 2^19; a number of a
 *                    process that is given to another while the table names it; handlers of signals, after which a process lives on.
 * Twins (-DBROKEN=n) 1 `done` says that a shard is there, not under which word
 *                    2 a free word has no number
 *                    3 the slot's word is read before the process is busy there
 *                    4 nobody looks who is busy
 *                    5 a reader does not look at the word again
 *                    6 a version's word has no number
 *                    7 a place is claimed by a load and a store instead of compare and swap
 *                    8 who has ended counts as busy
 *                    9 the slots are given away in turn, whatever lies in them (the code did: of two versions that were asked for at
 *                      once, one lost its slot to the other, beside a free one)
 *                   10 an index is written without a look at the slot's word
 *                   11 who finds a slot busy embeds apart, whether or not the slot was given away meanwhile (the code did: of those that
 *                      asked for a new version at once, most embedded apart)
 */
#ifndef N
#define N 2
#endif
#ifndef VERSIONS
#define VERSIONS 3
#endif
#ifndef ASKS
#define ASKS 4
#endif
#ifndef EACH
#define EACH ASKS
#endif
#ifndef SHARDS
#define SHARDS 1
#endif
#ifndef PARTS
#if N == 2
#define PARTS 2
#else
#define PARTS 1
#endif
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef INDEX
#define INDEX 0
#endif
#ifndef BROKEN
#define BROKEN 0
#endif
#define SLOTS 2
#define PLACES N
#define TRIES 4
#define NONE 255
#define CELLS (PARTS * (SHARDS + INDEX)) /* of a slot; the last PARTS are the index */
#define LATE N

/* A slot's word: version and number, or a free one, which is 0 or negative. */
#define NUMBERS 32
#if BROKEN == 6
#define WORD(version, number) ((version) * NUMBERS)
#else
#define WORD(version, number) ((version) * NUMBERS + (number))
#endif
#if BROKEN == 2
#define FREE(number) 0
#else
#define FREE(number) (-1 - (number))
#endif
#define VERSION(word) ((word) > 0 -> (word) / NUMBERS : 0)

short words[SLOTS], done[SLOTS * SHARDS], indexed[SLOTS];
byte cell[SLOTS * CELLS];                     /* the version whose bytes are there */
byte number, process[PLACES], busy[PLACES];
byte asks = ASKS, pids = N + 1, over;                 /* for the model alone, with those below */
byte given, known;
bool alive[N + KILLS + 2], killed[N], ended[N + 1];

#if BROKEN == 1
#define IS_DONE(s) (done[slot * SHARDS + (s)] != 0)
#else
#define IS_DONE(s) (done[slot * SHARDS + (s)] == word)
#endif
#if BROKEN == 8
#define IS_ALIVE(p) true
#else
#define IS_ALIVE(p) alive[p]
#endif

proctype Process(byte i) {
    byte me, left, place, slot, key, n, holder, tries, mine, pick, mask;
    short word, free, seen[SLOTS];
    bool sound, succeeds;
begin:
    if
    :: i == LATE -> over == N  /* everybody else has ended */
    :: else
    fi;
    {
        atomic {
            me = (succeeds -> pids : i) + 1; pids = pids + succeeds; alive[me] = 1; place = NONE; slot = NONE; left = EACH;
#if N == 3
            if  /* the first three have their places */
            :: i != LATE && process[i] == 0 -> process[i] = me; place = i
            :: else
            fi
#endif
        }
ask:    atomic {
            n = 0; tries = 0; mine = 0; pick = 0; mask = 0; free = 0; seen[0] = 0; seen[1] = 0;
            if
            :: i == LATE && key != 0 -> goto end
            :: i == LATE && key == 0 -> key = known + 1
            :: i != LATE && (asks == 0 || left == 0) -> goto end
            :: i != LATE && asks > 0 && left > 0 ->
                asks = asks - 1; left = left - 1;
                select(pick : 1 .. (known < VERSIONS -> known + 1 : VERSIONS));  /* which is called what does not matter */
                known = (pick > known -> pick : known);
                if  /* of: those that it has may stand */
                :: slot != NONE && pick == key && words[slot] == word -> pick = 0; goto read
                :: else -> key = pick
                fi
            fi;
            slot = NONE; word = 0; pick = 0;
            if
            :: place != NONE -> goto try
            :: place == NONE
            fi
        }
        do  /* claim: a free place */
#if BROKEN == 7
        :: n < PLACES && process[n] == 0 -> skip; atomic { process[n] = me; place = n; n = 0; goto try }
#else
        :: atomic { n < PLACES && process[n] == 0 -> process[n] = me; place = n; n = 0; goto try }
#endif
        :: atomic { n < PLACES && process[n] != 0 -> n = n + 1 }
        :: atomic { n == PLACES -> n = 0; break }
        od;
        do  /* or that of a process that has ended */
        :: atomic { n < PLACES && alive[process[n]] -> n = n + 1 }
        :: atomic { n < PLACES && !alive[process[n]] -> holder = process[n] }
            if
            :: atomic { process[n] == holder -> process[n] = me; place = n; holder = 0 }
                atomic { busy[n] = 0; n = 0; goto try }
            :: atomic { process[n] != holder -> n = n + 1; holder = 0 }
            fi
        :: atomic { n == PLACES -> goto apart }  /* all are taken */
        od;
try:    /* _slot_for */
        atomic { mine = 0; pick = (BROKEN == 9 -> given % SLOTS : 0); seen[0] = words[0] }
        atomic {
            seen[1] = words[1];
            if
            :: VERSION(seen[0]) == key -> slot = 0; goto have
            :: VERSION(seen[0]) != key && VERSION(seen[1]) == key -> slot = 1; goto have
            :: else
            fi;
            mine = number; number = number + 1;
            assert(number < NUMBERS);
            if
            :: BROKEN == 9
            :: BROKEN != 9 && seen[0] <= 0 -> pick = 0
            :: BROKEN != 9 && seen[0] > 0 && seen[1] <= 0 -> pick = 1
            :: BROKEN != 9 && seen[0] > 0 && seen[1] > 0 -> pick = (seen[1] % NUMBERS < seen[0] % NUMBERS -> 1 : 0)
            fi
        }
#if BROKEN == 9
        atomic {
            seen[pick] = words[pick];
            if
            :: VERSION(seen[pick]) == key -> slot = pick; goto have
            :: else
            fi
        }
#endif
        if
        :: atomic { seen[pick] <= 0 -> free = seen[pick]; goto freed }
        :: atomic { seen[pick] > 0 && words[pick] == seen[pick] -> free = FREE(mine); words[pick] = free }
        :: atomic { seen[pick] > 0 && words[pick] != seen[pick] -> goto again }
        fi;
        assert(i == LATE || VERSIONS > SLOTS);
freed:  atomic { seen[0] = 0; seen[1] = 0; n = 0; mask = 0 }
#if BROKEN != 4
        do  /* is_busy: first all words `busy`, of three processes at once, then whether those whose they are live */
        :: atomic {
                n < PLACES ->
again_busy:     mask = mask | (busy[n] == pick + 1 -> 1 << n : 0);
                n = n + 1;
                if
                :: N == 3 && n < PLACES -> goto again_busy
                :: else
                fi
            }
        :: atomic { n == PLACES && mask == 0 -> n = 0; break }
        :: atomic { n == PLACES && mask != 0 ->
                holder = (mask & 1 -> 0 : (mask & 2 -> 1 : 2));
                mask = mask & (~(1 << holder));
                if
                :: IS_ALIVE(process[holder]) -> holder = 0; goto refused
                :: else -> holder = 0
                fi
            }
        od;
#endif
        if
        :: atomic { words[pick] == free -> words[pick] = WORD(key, mine); given = given + 1; slot = pick; goto have }
        :: atomic { words[pick] != free -> goto again }
        fi;
again:  atomic {
            n = 0; free = 0; tries = tries + 1;
            if
            :: tries < TRIES -> goto try
            :: else -> assert(i != LATE && VERSIONS > SLOTS); goto apart
            fi
        }
refused:
#if BROKEN != 11
        if
        :: atomic { words[pick] != free -> goto again }
        :: words[pick] == free
        fi;
#endif
        atomic { assert(i != LATE && VERSIONS > SLOTS); goto apart }
have:   /* _shared, _busy_in */
#if BROKEN == 3
        word = words[slot];
#endif
        atomic { busy[place] = slot + 1; n = 0; mine = 0; pick = 0; free = 0; tries = 0; seen[0] = 0; seen[1] = 0 }
#if BROKEN != 3
        word = words[slot];
#endif
        do  /* _embed */
        :: atomic { n < SHARDS && VERSION(word) == key && IS_DONE(n) -> n = n + 1 }
        :: n < SHARDS && VERSION(word) == key && !IS_DONE(n) ->
            atomic { assert(words[slot] == word || words[slot] <= 0); cell[slot * CELLS + PARTS * n] = key }
#if PARTS == 2
            atomic { assert(words[slot] == word || words[slot] <= 0); cell[slot * CELLS + PARTS * n + 1] = key }
#endif
            atomic { done[slot * SHARDS + n] = word; n = n + 1 }
        :: atomic { n == SHARDS || VERSION(word) != key ->
                busy[place] = 0;
                n = 0;
                if
                :: VERSION(word) != key -> goto apart
                :: else -> break
                fi
            }
        od;
read:
#if INDEX
        if  /* selection */
        :: indexed[slot] == word -> goto look
        :: indexed[slot] != word
        fi;
        busy[place] = slot + 1;
#if BROKEN != 10
        if
        :: words[slot] != word -> goto written
        :: words[slot] == word
        fi;
#endif
        holder = cell[slot * CELLS];
        cell[slot * CELLS + CELLS - PARTS] = holder;
#if PARTS == 2
        holder = cell[slot * CELLS + 1];
        cell[slot * CELLS + CELLS - 1] = holder;
#endif
        atomic { holder = 0; indexed[slot] = word }
written:
        busy[place] = 0;
        if
        :: indexed[slot] == word
        :: atomic { indexed[slot] != word -> goto apart }
        fi;
look:
#endif
        atomic { n = 1; sound = (cell[slot * CELLS] == key) }
        do
        :: atomic { n < CELLS -> sound = sound && cell[slot * CELLS + n] == key; n = n + 1 }
        :: atomic {
                n == CELLS && (words[slot] == word || BROKEN == 5) -> assert(sound);  /* stands */
                sound = 0;
                goto ask
            }
        :: atomic { n == CELLS && words[slot] != word && BROKEN != 5 -> sound = 0; break }
        od;
apart:  atomic { slot = NONE; word = 0; goto ask }
end:    atomic { alive[me] = 0; ended[i] = 1; over = over + 1; word = 0; slot = 0; place = 0; key = 0; left = 0 }
end_of_run:
        false
    } unless { i != LATE && killed[i] };
    atomic {
        killed[i] = 0; succeeds = 1; alive[me] = 0; me = 0; left = 0; word = 0; key = 0; n = 0; holder = 0; tries = 0; mine = 0; pick = 0; mask = 0; free = 0;
        seen[0] = 0; seen[1] = 0; sound = 0; slot = 0; place = 0
    }
    goto begin  /* as the successor */
}

#define MAY_BE_KILLED(w) (kills < KILLS && !killed[w] && !ended[w])

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

init {
    atomic {
        run Process(0); run Process(1);
#if N == 3
        run Process(2);
#endif
        run Process(LATE);
        run Killer()
    }
}

ltl ends { <> (over == N + 1) }
