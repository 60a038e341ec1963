"""The replay: n-step windows against brute force, draws against their probabilities, crashes, checkpoints, sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asyncrl.errors import UserError
from asyncrl.replays.records import fields_of
from asyncrl.replays.sizes import bytes_needed, check_size, largest_that_fits
from asyncrl.replays.store import Replay
from asyncrl.replays.windows import BEGUN, PLACES, WRITTEN, _emit
from asyncrl.shared.arrays import SharedArrays, offsets_of
from asyncrl.trajectory import GOES_ON, TERMINATED, TRUNCATED, Trajectory

GAMMA = 0.9
FIELDS = fields_of(((2,), np.float32), 1)


class Stream:
    """One environment whose observations are numbered, so that every mix-up shows: observation = (number, stream)."""

    def __init__(self, stream, generator):
        self.stream, self.generator = stream, generator
        self.number, self.steps = 0, []  # steps: (observation, action, reward, ended, successor, version)

    def step(self, ended, version):
        before, self.number = self.number, self.number + 1
        successor = self.number
        if ended != GOES_ON:
            self.number += 1
        reward = float(np.float32(self.generator.standard_normal()))
        self.steps.append((before, before / 1000, reward, ended, successor, version))
        return before, self.number, reward, successor


def trajectory_of(streams, ended, version):
    """A trajectory [T, E] from streams; `ended` [T, E]."""
    steps, envs = ended.shape
    trajectory = Trajectory.empty(Trajectory.layout(steps, envs, ((2,), np.float32), (1, np.float32), 0))
    trajectory.version = version
    trajectory.ended[:] = ended
    trajectory.final_observation[:] = np.nan  # must not be looked at but where truncated
    for t in range(steps):
        for e, stream in enumerate(streams):
            before, following, reward, successor = stream.step(ended[t, e], version)
            trajectory.observation[t, e] = before, stream.stream
            trajectory.action[t, e] = before / 1000
            trajectory.observation[t + 1, e] = following, stream.stream
            trajectory.reward[t, e] = reward
            if ended[t, e] == TRUNCATED:
                trajectory.final_observation[t, e] = successor, stream.stream
    return trajectory


def brute_force(steps, n):
    """Every whole window of a stream: observation -> (action, return, discount, next observation or None, version)."""
    windows = {}
    for i, (observation, action, *_, version) in enumerate(steps):
        total, m = 0.0, 0
        for _, _, reward, ended, *_ in steps[i : i + n]:
            total += GAMMA**m * reward
            m += 1
            if ended != GOES_ON:
                break
        if m == n or ended != GOES_ON:
            discount, following = 0.0 if ended == TERMINATED else GAMMA**m, steps[i + m - 1][4]
            windows[observation] = (action, total, discount, None if ended == TERMINATED else following, version)
    return windows


class InTurn:
    """Stands in for a generator: every transition once."""

    def integers(self, low, high, size):
        return np.arange(low, high)


def content(replay):
    """All transitions of a replay by position."""
    alpha, replay.alpha = replay.alpha, 0.0
    b = replay.draw(InTurn(), len(replay))
    replay.alpha = alpha
    columns = (b.observation, b.action, b.reward[:, None], b.discount[:, None], b.next_observation, b.version[:, None], b.step[:, None])
    rows = np.concatenate(columns, axis=1)
    return {int(position): tuple(row) for position, row in zip(b.position, rows)}


def check_against(replay, streams, n):
    expected = [brute_force(stream.steps, n) for stream in streams]
    stored = content(replay)
    assert len(stored) == len(replay)
    for number, stream, action, total, discount, following, whose, version, _ in stored.values():
        wanted = expected[int(stream)][int(number)]
        assert (action, total, discount) == pytest.approx(wanted[:3], abs=1e-5)
        assert whose == stream
        assert wanted[3] is None or following == wanted[3]
        assert version == wanted[4]
    return stored, expected


def filled(steps=40, envs=2, n=1, capacity=1000, alpha=0.0, seed=0, arrays=None, ends=(0, 0, 0, 0, 1, 2)):
    generator = np.random.default_rng(seed)
    make = Replay.private(capacity, FIELDS, GAMMA, envs, n, alpha) if arrays is None else Replay(arrays, FIELDS, GAMMA, n, alpha)
    streams = [Stream(e, generator) for e in range(envs)]
    make.add(trajectory_of(streams, generator.choice(ends, size=(steps, envs)).astype(np.uint8), 1))
    return make, streams


@st.composite
def histories(draw):
    envs, n, capacity = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 60))
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    pieces = [draw(st.lists(st.sampled_from([0, 0, 0, 0, 1, 2]), min_size=t * envs, max_size=t * envs)) for t in lengths]
    return envs, n, capacity, [np.array(piece, np.uint8).reshape(-1, envs) for piece in pieces]


@given(histories())
@settings(max_examples=60, deadline=None)
def test_windows_are_those_of_brute_force_whatever_the_pieces_and_the_wrap(history):
    envs, n, capacity, pieces = history
    replay = Replay.private(capacity, FIELDS, GAMMA, envs, n)
    generator = np.random.default_rng(0)
    streams = [Stream(e, generator) for e in range(envs)]
    for version, ended in enumerate(pieces):
        replay.add(trajectory_of(streams, ended, version))
    expected = sum(len(brute_force(stream.steps, n)) for stream in streams)
    assert replay.written == expected
    assert len(replay) == min(expected, capacity)
    assert replay.steps == sum(ended.size for ended in pieces)
    if expected:
        check_against(replay, streams, n)


def test_terminated_and_truncated_within_a_window():
    for end, discount in ((TERMINATED, 0.0), (TRUNCATED, GAMMA**2)):
        replay = Replay.private(10, FIELDS, GAMMA, 1, 3)
        stream = Stream(0, np.random.default_rng(0))
        replay.add(trajectory_of([stream], np.array([[0], [end], [0]], np.uint8), 0))
        first = content(replay)[0]
        rewards = [step[2] for step in stream.steps]
        assert first[3:5] == pytest.approx((rewards[0] + GAMMA * rewards[1], discount))
        assert replay.written == 2  # the step of the next episode waits for its window


def test_a_stream_that_is_cut_bootstraps_from_its_last_step():
    replay = Replay.private(10, FIELDS, GAMMA, 2, 3)
    streams = [Stream(e, np.random.default_rng(0)) for e in range(2)]
    replay.add(trajectory_of(streams, np.zeros((2, 2), np.uint8), 0))
    assert len(replay) == 0
    replay.cut(1)
    found = content(replay)
    assert [(one[0], one[1], one[4], one[5]) for _, one in sorted(found.items())] == [
        (0, 1, pytest.approx(GAMMA**2), 2),
        (1, 1, pytest.approx(GAMMA), 2),
    ]
    replay.add(trajectory_of(streams, np.zeros((2, 2), np.uint8), 0))
    assert replay.written == 2 + 2  # only stream 0 has full windows
    replay.cut(0, 2)
    assert replay.written == 8


def test_draws_are_uniform_and_depend_on_the_generator_alone():
    replay, _ = filled(capacity=50)
    drawn = np.concatenate([replay.draw(np.random.default_rng(seed), 100).position.copy() for seed in range(200)])
    assert drawn.min() == replay.written - 50
    assert stats.chisquare(np.bincount(drawn - drawn.min(), minlength=50)).pvalue > 1e-4
    first = replay.draw(np.random.default_rng(5), 16)
    kept = first.observation.copy()
    replay.draw(np.random.default_rng(6), 16)
    assert (first.observation != kept).any()  # overwritten, as promised
    np.testing.assert_array_equal(replay.draw(np.random.default_rng(5), 16).observation, kept)
    np.testing.assert_array_equal(first.weight, 1)


def test_prioritised_draws_follow_the_priorities_and_the_weights_undo_them():
    alpha, beta = 0.7, 0.4
    replay, _ = filled(steps=30, capacity=40, alpha=alpha)
    assert replay.written > 40
    positions = np.arange(replay.written - 40, replay.written)
    errors = np.random.default_rng(0).standard_normal(40) * 3
    replay.reprioritise(positions, errors)
    probability = (np.abs(errors) + replay.epsilon) ** alpha
    probability /= probability.sum()
    drawn = []
    for seed in range(400):
        batch = replay.draw(np.random.default_rng(seed), 32, beta)
        expected = (40 * probability[batch.position - positions[0]]) ** -beta
        np.testing.assert_allclose(batch.weight, expected / expected.max(), rtol=1e-5)
        drawn.append(batch.position.copy())
    counts = np.bincount(np.concatenate(drawn) - positions[0], minlength=40)
    assert stats.chisquare(counts, probability * counts.sum()).pvalue > 1e-4


def test_a_new_transition_has_the_largest_priority_so_far():
    replay, streams = filled(steps=5, envs=1, capacity=100, alpha=1.0)
    before = replay.written
    replay.reprioritise(np.arange(before), np.full(before, 1e-3))
    replay.reprioritise(np.array([0]), np.array([8.0]))
    replay.add(trajectory_of(streams, np.zeros((1, 1), np.uint8), 2))
    drawn = np.concatenate([replay.draw(np.random.default_rng(seed), 8).position.copy() for seed in range(100)])
    assert np.isin([0, before], drawn).all()
    assert 0.4 < (drawn == before).mean() < 0.6


def test_priorities_that_are_not_finite_are_left_out():
    replay, _ = filled(steps=10, envs=1, capacity=10, alpha=1.0)
    before = replay._tree.weights.copy()
    replay.reprioritise(np.arange(replay.written - 3, replay.written), np.array([np.nan, 7.0, np.inf], np.float32))
    changed = replay._tree.weights != before
    assert changed.sum() == 1 and replay._tree.weights[changed] == pytest.approx(7.0, rel=1e-5)


def test_priorities_of_what_was_overwritten_are_left_out():
    replay, streams = filled(steps=10, envs=1, capacity=10, alpha=1.0)
    old = np.arange(replay.written - 10, replay.written)
    replay.add(trajectory_of(streams, np.zeros((5, 1), np.uint8), 2))
    weights = replay._tree.weights.copy()
    replay.reprioritise(old[:5], np.full(5, 77.0))
    np.testing.assert_array_equal(replay._tree.weights, weights)


def test_ages_in_versions_and_steps():
    replay, streams = filled(steps=10, envs=2)
    replay.add(trajectory_of(streams, np.zeros((1, 2), np.uint8), 4))
    batch = replay.draw(np.random.default_rng(0), 500)
    ages = replay.ages(batch, version=6)
    assert ages["age_versions_max"] == 5
    assert 2 <= ages["age_versions"] < 5
    assert ages["age_steps_max"] == 22
    newest = batch.position == replay.written - 1
    assert set(replay.steps - batch.step[newest]) == {1}


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("steps", [15, 60])
def test_a_restored_replay_goes_on_alike(alpha, n, steps):
    replay, streams = filled(steps=steps, n=n, capacity=50, alpha=alpha)
    replay.reprioritise(np.arange(replay.written - 10, replay.written), np.arange(10.0))
    saved = {name: array.copy() for name, array in replay.saved().items()}
    assert len(saved["rows"]) == min(replay.written, 50)
    other = Replay.private(50, FIELDS, GAMMA, 2, n, alpha)
    other.restore(saved)
    more = trajectory_of(streams, np.zeros((7, 2), np.uint8), 3)
    for one in (replay, other):
        one.add(more)
    for seed in range(5):
        ours, theirs = (one.draw(np.random.default_rng(seed), 32) for one in (replay, other))
        for name in ("observation", "action", "reward", "discount", "next_observation", "version", "step", "weight", "position"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    check_against(other, streams, n)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("capacities", [(50, 20), (50, 90), (200, 60), (200, 400)])
def test_a_replay_of_another_size_keeps_the_newest(capacities, alpha):
    replay, streams = filled(steps=60, capacity=capacities[0], alpha=alpha)
    other = Replay.private(capacities[1], FIELDS, GAMMA, 2, 1, alpha)
    other.restore(replay.saved())
    assert len(other) == min(len(replay), capacities[1])
    stored, _ = check_against(other, streams, 1)
    assert max(stored) == replay.written - 1
    again = Replay.private(capacities[0], FIELDS, GAMMA, 2, 1, alpha)
    again.restore(other.saved())
    both = content(again)
    assert len(both) == min(len(other), capacities[0])
    assert both.items() <= stored.items()
    again.add(trajectory_of(streams, np.zeros((70, 2), np.uint8), 3))
    check_against(again, streams, 1)


@pytest.mark.parametrize(
    ("fields", "gamma", "streams", "n", "text"),
    [
        (fields_of(((3,), np.float32), 1), GAMMA, 2, 1, "other observations"),
        (FIELDS, 0.99, 2, 1, "gamma 0.9; this experiment needs returns of 1 steps and gamma 0.99"),
        (FIELDS, GAMMA, 2, 3, "returns of 1 steps"),
        (FIELDS, GAMMA, 3, 1, "fed by 2 environments, not 3"),
    ],
)
def test_what_does_not_fit_is_not_restored(fields, gamma, streams, n, text):
    replay, _ = filled()
    with pytest.raises(UserError, match=text.replace("returns of 1 steps and gamma 0.99", "1 steps and gamma 0.99")):
        Replay.private(1000, fields, gamma, streams, n).restore(replay.saved())


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_half_written_transition_is_never_drawn(alpha):
    """As a learner leaves it that dies in the midst of writing: the slot of the oldest transition is spoilt."""
    arrays = SharedArrays.allocate(Replay.layout(20, FIELDS, 2, 1, alpha > 0))
    _, streams = filled(capacity=20, alpha=alpha, arrays=arrays)
    before = arrays["words"][WRITTEN]
    short = np.full(10, 255, np.uint8)  # writing it raises in the midst of the record
    places, floats = np.zeros(PLACES, np.int64), arrays["rows"].view(np.float32)
    with pytest.raises(IndexError):
        store = (arrays["rows"], floats, arrays["words"], arrays["numbers"], arrays["tree"])
        _emit.py_func(*store, places, arrays["undo"], np.zeros(2, np.int64), short, short, 0.0, 0.0)
    assert (arrays["words"][WRITTEN], arrays["words"][BEGUN]) == (before, before + 1)
    if alpha:
        arrays["tree"][1] = 1e9
    successor = Replay(arrays, FIELDS, GAMMA, 1, alpha)
    assert len(successor) == 19
    check_against(successor, streams, 1)
    drawn = successor.draw(np.random.default_rng(0), 1000).position
    assert set(drawn) == set(range(before - 19, before))
    half_saved = Replay.private(30, FIELDS, GAMMA, 2, 1, alpha)
    half_saved.restore(successor.saved())
    assert len(half_saved) == 19
    check_against(half_saved, streams, 1)
    successor.cut(0, 2)
    successor.add(trajectory_of(streams, np.zeros((3, 2), np.uint8), 2))
    assert len(successor) == 20
    check_against(successor, streams, 1)


@pytest.mark.parametrize("when", ["between", "in a row", "keeping"])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("n", [1, 3])
def test_a_successor_finds_it_as_it_was_kept(alpha, n, when):
    """Its learner is killed after it has fed and drawn since, in the midst of a row, or between the copy of its words and the rest."""
    arrays = SharedArrays.allocate(Replay.layout(20, FIELDS, 2, n, alpha > 0, ahead=60), reserve=False)
    replay, streams = filled(steps=25, capacity=20, n=n, alpha=alpha, arrays=arrays)
    replay.reprioritise(np.arange(replay.written - 10, replay.written), np.arange(10.0))
    kept = {name: array.copy() for name, array in replay.state().items()}
    if when != "keeping":
        replay.keep(1)
    before = {name: array.tobytes() for name, array in replay.saved().items()}
    if when != "keeping":
        replay.add(trajectory_of(streams, np.zeros((30, 2), np.uint8), 3))  # three times round
        replay.reprioritise(np.arange(replay.written - 5, replay.written), np.full(5, 9.0))
    if when == "in a row":
        arrays["words"][BEGUN] += 1
        arrays["undo"][replay.written - kept["words"][WRITTEN]] = arrays["rows"][replay.written % 20]
        arrays["rows"][replay.written % 20, ::2] = 255
        if alpha:
            arrays["tree"][1:9] = 1e9  # of the sums, some are those of other leaves
    for _ in range(2):  # its successor may be killed too, and followed by another
        successor = Replay(arrays, FIELDS, GAMMA, n, alpha)
        successor.recover(kept, 1)
    assert {name: array.tobytes() for name, array in successor.saved().items()} == before
    check_against(successor, streams, n)
    with pytest.raises(RuntimeError, match="`keep` comes too late"):
        for _ in range(4):
            successor.add(trajectory_of(streams, np.zeros((10, 2), np.uint8), 4))


def test_images_and_fields_of_the_algorithms_own():
    fields = fields_of(((1, 3, 3), np.uint8), 2, {"items": ((5,), np.int16), "proposals": ((2, 2), np.float32)})
    replay = Replay.private(30, fields, GAMMA, 1, 2)
    generator = np.random.default_rng(0)
    trajectory = Trajectory.empty(Trajectory.layout(12, 1, ((1, 3, 3), np.uint8), (2, np.float32), 0))
    trajectory.observation[:] = generator.integers(0, 256, size=(13, 1, 1, 3, 3))
    items, proposals = generator.integers(0, 99, size=(12, 1, 5)), generator.standard_normal((12, 1, 2, 2)).astype(np.float32)
    replay.add(trajectory, extras={"items": items, "proposals": proposals})
    batch = replay.draw(generator, 40)
    for i, at in enumerate(batch.position):
        np.testing.assert_array_equal(batch.observation[i], trajectory.observation[at, 0])
        np.testing.assert_array_equal(batch.next_observation[i], trajectory.observation[at + 2, 0])
        np.testing.assert_array_equal(batch.extras["items"][i], items[at, 0])
        np.testing.assert_array_equal(batch.extras["proposals"][i], proposals[at, 0])
    for column in (batch.observation, batch.action, batch.extras["proposals"]):
        assert column.flags.c_contiguous
    with pytest.raises(ValueError, match="reward"):
        fields_of(((1,), np.float32), 1, {"reward": ((), np.float32)})


def test_an_empty_replay():
    replay = Replay.private(10, FIELDS, GAMMA)
    with pytest.raises(UserError, match="empty"):
        replay.draw(np.random.default_rng(0), 1)
    other = Replay.private(10, FIELDS, GAMMA)
    other.restore(replay.saved())
    assert len(other) == 0
    with pytest.raises(UserError, match="at least 1"):
        Replay.layout(0, FIELDS)


def test_bytes_are_computed_as_they_are_allocated():
    cheetah = fields_of(((17,), np.float32), 6)
    for prioritised in (False, True):
        layout = Replay.layout(5000, cheetah, 4, 3, prioritised)
        assert bytes_needed(5000, cheetah, 4, 3, prioritised) == offsets_of(layout)[1] == SharedArrays.allocate(layout).size
    assert bytes_needed(1_000_000, cheetah) == pytest.approx(184e6, rel=0.001)


def test_a_size_that_cannot_be_is_refused_with_one_that_can():
    cheetah = fields_of(((17,), np.float32), 6)
    assert check_size(1000, 256, 10**9, cheetah) == bytes_needed(1000, cheetah)
    with pytest.raises(UserError, match="--replay 100 is smaller than a batch of 256; allowed: 256 or more"):
        check_size(100, 256, 10**9, cheetah, option="--replay")
    with pytest.raises(
        UserError, match=r"replay 1,000,000 needs 184,000,\d+ bytes of memory, 100,000,000 are free; replay 430,000 would fit"
    ):
        check_size(1_000_000, 256, 100_000_000, cheetah)
    with pytest.raises(UserError, match="not even a batch of 256 fits"):
        check_size(1_000_000, 256, 10_000, cheetah)
    most = largest_that_fits(10**8, cheetah, prioritised=True)
    check_size(most, 256, 10**8, cheetah, prioritised=True)
