"""The table of latents and of indices: made once for each version, by any number of processes, which may be killed at any instant."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

from asyncrl.heads.implicit import table as module
from asyncrl.heads.implicit.form import PLACES, work_size
from asyncrl.heads.implicit.index import INDICES, TableIndex
from asyncrl.heads.implicit.options import ImplicitOptions
from asyncrl.heads.implicit.places import PROCESSES, is_alive
from asyncrl.heads.implicit.sizes import SetSizes, Towers
from asyncrl.heads.implicit.table import SHARD, SLOTS, LatentTable, table_layout
from asyncrl.heads.implicit.towers import embed
from asyncrl.shared.arrays import SharedArrays

FEATURES, LATENT, SHARDS = 2, 4, 5
COUNT = SHARD * (SHARDS - 1) + 100
CONTEXT = multiprocessing.get_context("forkserver")


class Actions:
    """Of an `ActionSet`, what a form needs."""

    count, features, kind, random = COUNT, FEATURES, "uniform", True


FORM = SetSizes(ImplicitOptions(latent=LATENT), "auto").form(Actions, Towers("dot", 2))


KINDS = list(INDICES)


def index_of(selection, count=COUNT):
    return TableIndex(ImplicitOptions(selection=selection, scanned=256), count, LATENT) if selection else None


def memory_of_a_run(count=COUNT, selection=None):
    index = index_of(selection, count).layout(SLOTS, PROCESSES) if selection else {}
    more = {"features": ((count, FEATURES), np.float32), "told": ((64,), np.int64)}
    memory = SharedArrays.allocate({**table_layout(count, LATENT), **index, **more})
    memory["features"][:] = np.random.default_rng(0).standard_normal((count, FEATURES))
    return memory


def table_over(memory, selection=None):
    form = FORM.copy()
    form[PLACES] = len(memory["features"])
    index = index_of(selection, len(memory["features"]))
    table = LatentTable(form, np.zeros(work_size(2, 0, LATENT, FEATURES), np.float32), index)
    table.attach({name: memory[name] for name in table.layout()}, {"features": memory["features"]})
    return table


def version(number):
    return np.random.default_rng(number).standard_normal(FEATURES * LATENT + LATENT * LATENT).astype(np.float32)


def expected(memory, own):
    out = np.zeros((COUNT, LATENT), np.float32)
    embed(FORM, own, memory["features"], np.zeros(work_size(2, 0, LATENT, FEATURES), np.float32), out)
    return out


QUERIES = np.random.default_rng(5).standard_normal((8, LATENT)).astype(np.float32)


def picks(selection):
    return [selection.best(query) for query in QUERIES]


def expected_picks(memory, own, selection):
    index = index_of(selection)
    return picks(index.of_ones_own(expected(memory, own)))


def announced(table, own):
    table.announce(own)
    return table.of(own)


def test_a_version_is_embedded_once_for_everybody():
    memory = memory_of_a_run()
    first, second = table_over(memory), table_over(memory)
    for number in range(4):
        own = version(number)
        for table in (first, second, first):
            np.testing.assert_array_equal(announced(table, own), expected(memory, own))
            assert table.stands() and table.embedded_alone == 0
            assert np.shares_memory(table.latents, memory["latents"])
        assert memory["embedded"].sum() == (number + 1) * SHARDS


def test_the_version_before_stays_while_the_next_is_embedded():
    memory = memory_of_a_run()
    first, second = table_over(memory), table_over(memory)
    latents = announced(first, version(0))
    announced(second, version(1))
    assert first.stands()
    np.testing.assert_array_equal(latents, expected(memory, version(0)))
    announced(second, version(2))
    assert not first.stands()
    np.testing.assert_array_equal(first.alone(version(0)), expected(memory, version(0)))
    assert SLOTS == 2 and first.embedded_alone == 1


def test_what_is_not_announced_is_embedded_apart():
    memory = memory_of_a_run()
    table = table_over(memory)
    table.announce(version(0))
    np.testing.assert_array_equal(table.of(version(1)), expected(memory, version(1)))
    assert table.embedded_alone == 1 and not memory["embedded"].any() and not memory["latents"].any()
    table.of(version(1))
    assert table.embedded_alone == 1


def embed_and_tell(memory, number):
    table = table_over(memory)
    np.testing.assert_array_equal(announced(table, version(number)), expected(memory, version(number)))
    memory["told"][0] += table.embedded_alone


def run(target, *arguments):
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def own_bytes():
    """Of this process's memory, what it shares with nobody."""
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def use_and_weigh(memory, place, selection):
    table = table_over(memory, selection)
    if selection:
        picks(index_of(selection, 100).of_ones_own(np.ones((100, LATENT), np.float32)))  # what is compiled is loaded
    table.announce(version(0))
    before = own_bytes()
    total = float(table.of(version(0)).sum())
    if selection:
        total += sum(picks(table.selection()))
    memory["told"][place] = own_bytes() - before
    assert table.embedded_alone == 0 and np.isfinite(total)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="measures by /proc")
@pytest.mark.parametrize("selection", [None, *KINDS])
def test_many_processes_have_one_table_and_one_index(selection):
    count = 1_000_000
    memory = memory_of_a_run(count, selection)
    for place in range(3):
        assert run(use_and_weigh, memory, place, selection) == 0
    assert memory["told"][:3].max() < 4 * count * LATENT / 4  # it alone is four times as large, the index larger than that
    assert selection is None or memory["filled"].sum() == 1


def embed_apart_and_share(memory, place, selection):
    """What was used of its own memory while it embedded for itself, and afterwards."""
    table = table_over(memory, selection)
    index_of(selection, 100).of_ones_own(np.ones((100, LATENT), np.float32))
    table.announce(version(0))
    before = own_bytes()
    for number in range(1, 4):
        table.of(version(number))
        picks(table.selection())
    memory["told"][place] = own_bytes() - before
    table.of(version(0))
    picks(table.selection())
    memory["told"][place + 1] = own_bytes() - before
    np.testing.assert_array_equal(table.of(version(5)), table_over(memory, selection).alone(version(5)))
    assert picks(table.selection()) == picks(index_of(selection, len(table.latents)).of_ones_own(table.latents.copy()))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="measures by /proc")
def test_memory_of_its_own_is_given_back_where_the_shared_table_serves():
    count = 3_000_000  # latents of more than 32 MiB, which malloc always gives back to the system
    memory = memory_of_a_run(count, "brute")
    assert run(embed_apart_and_share, memory, 0, "brute") == 0
    assert memory["told"][0] > 4 * count * LATENT > 4 * memory["told"][1]


def test_another_process_finds_it():
    memory = memory_of_a_run()
    announced(table_over(memory), version(0))
    assert run(embed_and_tell, memory, 0) == 0
    assert memory["embedded"].sum() == SHARDS and memory["told"][0] == 0


def die_within(memory, shards):
    """Is killed within a shard: half of it is written, and by then the word of it is 0."""
    table, count = table_over(memory), 0

    def dying(form, own, features, work, latents):
        nonlocal count
        count += 1
        if count > shards:
            embed(form, own, features[: len(features) // 2], work, latents[: len(features) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        embed(form, own, features, work, latents)

    module.embed = dying
    announced(table, version(0))


@pytest.mark.parametrize("shards", range(SHARDS))
def test_a_killed_embedder_blocks_nobody(shards):
    memory = memory_of_a_run()
    assert run(die_within, memory, shards) == -signal.SIGKILL
    assert memory["embedded"].sum() == shards and memory["busy"].any()
    table = table_over(memory)
    np.testing.assert_array_equal(announced(table, version(0)), expected(memory, version(0)))
    assert table.embedded_alone == 0 and memory["embedded"].sum() == SHARDS
    for number in (1, 2, 3):  # the slot that it was busy in is given away as well
        np.testing.assert_array_equal(announced(table, version(number)), expected(memory, version(number)))
    assert table.embedded_alone == 0


def die_while_indexing(memory, selection):
    """Is killed when half of every array of the index is written, and nothing says yet that it is there."""
    table, index = table_over(memory, selection), index_of(selection)
    wanted = index.of_ones_own(expected(memory, version(0))).arrays

    def dying(latents, shared):
        for name, array in shared.arrays.items():
            flat = array.reshape(-1)
            flat[: flat.size // 2] = wanted[name].reshape(-1)[: flat.size // 2]
        os.kill(os.getpid(), signal.SIGKILL)

    table._index._write = dying
    announced(table, version(0))
    table.selection()


@pytest.mark.parametrize("selection", KINDS)
def test_a_killed_writer_of_an_index_blocks_nobody(selection):
    memory = memory_of_a_run(selection=selection)
    assert run(die_while_indexing, memory, selection) == -signal.SIGKILL
    assert memory["busy"].any() and not memory["indexed"].any() and not memory["filled"].any()
    first, second = table_over(memory, selection), table_over(memory, selection)
    for table in (first, second):
        announced(table, version(0))
        assert picks(table.selection()) == expected_picks(memory, version(0), selection) and table.stands()
    assert memory["filled"].sum() == 1
    for number in (1, 2, 3):  # the slot that it was busy in is given away as well
        announced(first, version(number))
        assert picks(first.selection()) == expected_picks(memory, version(number), selection)
    assert first.embedded_alone == 0 and first._index.filled_alone == 0
    assert not second.stands()


def test_an_index_whose_slot_is_given_away_is_written_apart():
    memory = memory_of_a_run(selection="principal-tree")
    first, second = table_over(memory, "principal-tree"), table_over(memory, "principal-tree")
    announced(first, version(0))
    for number in (1, 2, 3):
        announced(second, version(number))
    assert picks(first.selection()) == expected_picks(memory, version(0), "principal-tree")
    assert first.stands() and first.embedded_alone == first._index.filled_alone == 1 and not memory["filled"].any()


def test_a_living_embedder_keeps_its_slot():
    memory = memory_of_a_run()
    table = table_over(memory)
    sleeper = CONTEXT.Process(target=time.sleep, args=(60,))
    sleeper.start()
    announced(table, version(0))
    slot = table._slot
    memory["process"][9], memory["busy"][9] = sleeper.pid, slot + 1
    announced(table, version(1))
    assert table.embedded_alone == 0
    np.testing.assert_array_equal(announced(table, version(2)), expected(memory, version(2)))
    assert table.embedded_alone == 1  # nobody waits for the one that holds the slot
    sleeper.kill()
    sleeper.join()
    assert not is_alive(sleeper.pid)
    announced(table, version(3))
    assert table.embedded_alone == 1


def test_a_slot_that_was_given_away_and_back_does_not_stand():
    memory = memory_of_a_run()
    reader, other = table_over(memory), table_over(memory)
    announced(reader, version(0))
    for number in (1, 2, 3, 0):
        announced(other, version(number))
    assert other._slot == reader._slot and not reader.stands()


def test_a_slot_is_given_away_only_if_it_is_still_the_free_one_that_was_looked_at():
    """Between a look at who is busy and the swap the slot is given to another, freed, and somebody still writes to it."""
    memory = memory_of_a_run()
    slow, quick, sleeper = table_over(memory), table_over(memory), CONTEXT.Process(target=time.sleep, args=(60,))
    sleeper.start()
    for number in (4, 5, 0):
        announced(quick, version(number))
    look = slow._is_busy

    def look_and_be_overtaken(slot):
        found = look(slot)
        slow._is_busy = look
        announced(quick, version(1))
        assert quick._slot == slot
        announced(quick, version(6))  # in the other slot, so that this one is the next to be given away
        memory["process"][9], memory["busy"][9] = sleeper.pid, slot + 1
        announced(quick, version(2))  # frees the slot, and cannot have it
        assert memory["words"][slot] < 0 and quick.embedded_alone == 1
        return found

    slow._is_busy = look_and_be_overtaken
    announced(slow, version(3))
    assert slow.embedded_alone == 1
    sleeper.kill()
    sleeper.join()


def test_two_versions_at_once_have_a_slot_each(monkeypatch):
    """Who has seen that both are free is overtaken by another, which takes the one that it was about to have."""
    memory = memory_of_a_run()
    slow, quick, add = table_over(memory), table_over(memory), module.fetch_add

    def add_and_be_overtaken(words, place, count):
        monkeypatch.setattr(module, "fetch_add", add)
        announced(quick, version(1))
        return add(words, place, count)

    monkeypatch.setattr(module, "fetch_add", add_and_be_overtaken)
    announced(slow, version(0))
    assert quick.stands() and slow.stands() and slow.embedded_alone == 0
    assert slow.figures()["latents_versions"] == 2


def test_who_finds_its_version_embedded_by_another_shares_the_slot():
    """The slot was free when it was looked at; whoever is busy there by now embeds the same version."""
    memory = memory_of_a_run()
    slow, quick = table_over(memory), table_over(memory)

    def overtaken(slot):
        announced(quick, version(0))
        assert quick._slot == slot
        return True

    slow._is_busy = overtaken
    announced(slow, version(0))
    assert slow._slot == quick._slot and slow.embedded_alone == 0 and memory["embedded"].sum() == SHARDS


def test_a_dead_processs_place_is_claimed_again():
    memory = memory_of_a_run()
    memory["process"][:] = 2**22 + 1  # above the largest number that a process can have
    assert announced(table_over(memory), version(0)) is not None and memory["process"][0] == os.getpid()
    memory["process"][:] = os.getppid()
    table = table_over(memory)
    announced(table, version(1))
    assert table.embedded_alone == 1  # all places are taken


TARGET, WRONG, ROUNDS, OVER = 1, 2, 3, 4
"""Words of `told`: the version that most ask for; reads that stood and were wrong; reads; whether to stop."""


def contend(memory, seed):
    """Ask for versions as they come, now and then an old one; what stands after it was read must be right."""
    kind = "principal-tree"
    table, generator, told = table_over(memory, kind), random.Random(seed), memory["told"]
    right = {number: expected(memory, version(number)) for number in range(6)}
    right_picks = {number: expected_picks(memory, version(number), kind) for number in range(6)}
    while not told[OVER]:
        number = int(told[TARGET]) % 6 if generator.random() < 0.7 else generator.randrange(6)
        latents = announced(table, version(number))
        for _ in range(generator.randrange(1, 5)):
            found = latents.copy()
            if not table.stands():
                break
            if not np.array_equal(found, right[number]):
                told[WRONG] += 1
        found = picks(table.selection())
        if table.stands() and found != right_picks[number]:
            told[WRONG] += 1
        if generator.random() < 0.3:
            told[TARGET] += 1
        told[ROUNDS] += 1


@pytest.mark.stress
def test_latents_that_stand_are_right_whoever_is_killed():
    memory, generator = memory_of_a_run(selection="principal-tree"), random.Random(0)
    told = memory["told"]

    def started(number):
        process = CONTEXT.Process(target=contend, args=(memory, number))
        process.start()
        return process

    def wait_for(rounds):
        until = time.monotonic() + 100.0
        while told[ROUNDS] < rounds and time.monotonic() < until:
            time.sleep(generator.uniform(0.0, 0.01))

    processes = [started(number) for number in range(3)]
    for kill in range(5):
        wait_for(told[ROUNDS] + 100)
        victim = kill % len(processes)
        processes[victim].kill()
        processes[victim].join()
        processes[victim] = started(100 + kill)
    wait_for(told[ROUNDS] + 500)
    told[OVER] = 1
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 3
    assert told[WRONG] == 0 and told[ROUNDS] > 900
    table = table_over(memory)
    for number in range(3):
        np.testing.assert_array_equal(announced(table, version(number)), expected(memory, version(number)))
        assert table.stands()
