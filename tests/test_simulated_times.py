"""How long the stages of a simulated run take: what can be written, and what is drawn for it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from asyncrl.errors import UserError
from asyncrl.experiment.simulated_times import BLOCK, Durations
from asyncrl.shared.stages import STAGES

ACT, COMPUTE, APPLY = range(len(STAGES))


def drawn(text: str, place: int = 0, stage: int = ACT, count: int = 1, workers: int = 10, seed: int = 0, first: int = 0) -> np.ndarray:
    return np.array(list(itertools.islice(Durations.parse(text).draws(seed, workers, place, stage, first), count)))


@pytest.mark.parametrize(
    ("text", "mean", "deviation"),
    [
        ("constant:2.5", 2.5, 0.0),
        ("exponential:2", 2.0, 2.0),
        ("lognormal:2:0.5", 2.0, 2.0 * np.sqrt(np.exp(0.25) - 1)),
        ("pareto:2:5", 2.0, 2.0 / np.sqrt(15)),
    ],
)
def test_a_distribution_has_the_mean_that_is_written(text, mean, deviation):
    numbers = drawn(text, count=100_000)
    assert numbers.mean() == pytest.approx(mean, rel=0.02)
    assert numbers.std() == pytest.approx(deviation, rel=0.1)


def test_without_a_stage_acting_is_meant():
    assert drawn("constant:2") == [2]
    assert drawn("constant:2", stage=COMPUTE) == drawn("constant:2", stage=APPLY) == [0]
    stages = "apply=constant:3,act=constant:1,compute=constant:2"
    assert [drawn(stages, stage=stage)[0] for stage in range(3)] == [1, 2, 3]


def test_a_duration_is_a_function_of_seed_place_stage_and_round():
    text = "act=exponential:1,compute=exponential:1"
    numbers = drawn(text, count=3 * BLOCK)
    for first in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK - 7):
        assert (drawn(text, first=first, count=BLOCK) == numbers[first : first + BLOCK]).all()
    others = [drawn(text, count=5, **{name: 1}) for name in ("seed", "place", "stage")]
    assert len({tuple(one) for one in [numbers[:5], *others]}) == 4


def test_the_last_workers_are_slow_and_the_learner_is_not():
    text = "act=constant:1,compute=constant:1,slow:0.2:10"
    assert [drawn(text, place)[0] for place in range(10)] == [1] * 8 + [10, 10]
    assert drawn(text, 10, COMPUTE) == [1]
    assert drawn("constant:1,slow:0.01:10", 9) == [10]  # at least one


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exponentail:1.0", "did you mean 'exponential'"),
        ("exponential", "exponential:MEAN"),
        ("exponential:0", "above 0"),
        ("exponential:nan", "above 0"),
        ("exponential:1:2", "exponential:MEAN"),
        ("lognormal:1", "lognormal:MEAN:SIGMA"),
        ("pareto:1:1", "above 1"),
        ("act=exponential:1,act=constant:1", "twice"),
        ("atc=exponential:1", "did you mean 'act'"),
        ("compute=exponential:1", "acting must take time"),
        ("constant:0", "must take time"),
        ("constant:1,slow:2:10", "slow:SHARE:FACTOR"),
        ("slow:0.1:10", "acting takes"),
        ("recorded:nowhere", "durations.safetensors"),
        ("recorded:nowhere,constant:1", "said once"),
        ("", "unknown distribution"),
    ],
)
def test_what_cannot_be_used_gets_one_line(text, said):
    with pytest.raises(UserError) as error:
        Durations.parse(text).read()
    assert said in str(error.value)
    assert "\n" not in str(error.value)
