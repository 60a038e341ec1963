"""Exploration settings: their spelling, what each worker gets, what they do, and a contract over the registry."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from asyncrl.actors.exploration import (
    EXPLORATIONS,
    EntropyWeight,
    Epsilon,
    GaussianNoise,
    OrnsteinUhlenbeck,
    Subset,
    Temperature,
    check_fit,
    check_head,
    entropy_weight,
    label,
)
from asyncrl.actors.spelling import PAPER_EPSILONS, parse_exploration
from asyncrl.envs.spec import EnvSpec, _action
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import EPSILON, PART, TEMPERATURE

SPACES = {
    "discrete": spaces.Discrete(3),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "box": spaces.Box(np.array([-2.0, 0.1], np.float32), np.array([2.0, 0.3], np.float32)),
    "infinite": spaces.Box(-np.inf, np.inf, (2,), np.float32),
}
SPECS = {name: EnvSpec((4,), "float32", *_action(space)) for name, space in SPACES.items()}


def values(text, workers, seed=0):
    return [[setting.value for setting in worker] for worker in parse_exploration(text, workers, seed)]


# Spelling.


def test_nothing_is_nothing():
    assert parse_exploration("", 3, 0) == [[], [], []]
    assert label([]) == "default"


def test_one_number_is_for_all():
    assert parse_exploration("entropy:0.02", 2, 0) == [[EntropyWeight(0.02)], [EntropyWeight(0.02)]]


def test_a_list_goes_round_and_round():
    assert values("temperature:1,2,3", 5) == [[1], [2], [3], [1], [2]]
    assert values("temperature:1,2,3", 2) == [[1], [2]]


def test_a_ladder_is_geometric_from_the_first_to_the_last():
    ladder = [worker[0] for worker in values("entropy:0.001..0.1", 5)]
    np.testing.assert_allclose(ladder, 0.001 * 100 ** (np.arange(5) / 4))
    assert values("entropy:0.001..0.1", 1) == [[0.001]]
    np.testing.assert_allclose([worker[0] for worker in values("ou:4..1", 3)], [4, 2, 1])  # downwards too


def test_several_are_joined():
    first, second = parse_exploration(" epsilon:0.1@5000 + entropy:0.01,0.02+temperature:2 ", 2, 0)
    assert first == [Epsilon(0.1, 5000), EntropyWeight(0.01), Temperature(2.0)]
    assert second == [Epsilon(0.1, 5000), EntropyWeight(0.02), Temperature(2.0)]
    assert label(second) == "epsilon:0.1+entropy:0.02+temperature:2"


def test_annealing_goes_with_every_form():
    assert [setting.anneal_steps for worker in parse_exploration("epsilon:paper@1e6", 2, 0) for setting in worker] == [10**6] * 2
    assert parse_exploration("ou:0.2@500+epsilon:0.1", 1, 0) == [[OrnsteinUhlenbeck(0.2, 500), Epsilon(0.1)]]
    assert parse_exploration("epsilon:0.1..0.2@10", 2, 0) == [[Epsilon(0.1, 10)], [Epsilon(0.2, 10)]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epsilonn:0.1", "unknown exploration 'epsilonn'; did you mean 'epsilon'"),
        ("0.1", "unknown exploration '0.1'"),
        ("epsilon", "can't be read"),
        ("epsilon:", "can't be read"),
        ("epsilon:@100", "can't be read"),
        ("epsilon:x", "can't be read"),
        ("epsilon:nan", "can't be read"),
        ("epsilon:inf", "can't be read"),
        ("epsilon:0.1,,0.2", "can't be read"),
        ("epsilon:0.1..", "can't be read"),
        ("epsilon:..0.1", "can't be read"),
        ("epsilon:0.1@", "can't be read"),
        ("epsilon:0.1@soon", "can't be read"),
        ("epsilon:0.1@-5", "at least 1 step"),
        ("epsilon:0.1@0", "at least 1 step"),
        ("entropy:0.1@100", "can't be read"),
        ("entropy:0.1@", "can't be read"),
        ("entropy:paper", "can't be read"),
        ("entropy:0..0.1", "ladder a..b needs numbers > 0"),
        ("entropy:-1..0.1", "ladder a..b needs numbers > 0"),
        ("epsilon:0.1+epsilon:0.2", "epsilon is given twice"),
        ("gaussian:0.1+ou:0.2", "action noise is given twice"),
    ],
)
def test_what_cannot_be_read_is_said(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_exploration(text, 2, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "space", "message"),
    [
        ("epsilon:1.5", "discrete", "between 0 and 1"),
        ("epsilon:-0.1", "box", "between 0 and 1"),
        ("epsilon:0.1", "infinite", "finite bounds"),
        ("entropy:-1", "discrete", "entropy:-1 must be >= 0"),
        ("temperature:0", "discrete", "must be > 0"),
        ("ou:-0.1", "box", "must be >= 0"),
        ("entropy:1,1,-1", "discrete", "must be >= 0"),
        ("subset:0", "box", "subset:0 needs whole numbers from 1"),
        ("subset:2.5", "discrete", "subset:2.5 needs whole numbers from 1"),
    ],
)
def test_what_does_not_fit_is_said(text, space, message):
    with pytest.raises(UserError, match=message):
        check_fit(parse_exploration(text, 3, 0), SPECS[space])


def test_what_fits_is_taken():
    for text in ("epsilon:0", "epsilon:1", "entropy:0", "temperature:0.1", "gaussian:0", "ou:0.3"):
        settings = parse_exploration(text, 3, 0)
        check_fit(settings, SPECS["box"])


def policy_of(space, head="auto", **options):
    given = {"head_options": HEADS[head].options_type(**options)} if options else {}
    policy = Policy(SPECS[space], head, NetworkOptions(hidden=(8,), **given))
    policy.fill_tables(0)
    return policy


@pytest.mark.parametrize(
    ("text", "head", "options", "message"),
    [
        ("subset:3", "auto", {}, r"subset:3 needs .* resample = subset or rollout, or itt as action values \(head '\w+' as it is here"),
        ("subset:3", "itt", {}, r"needs .* resample = subset or rollout, or itt as action values \(head 'itt' as it is here"),
        ("subset:3,50", "iot", {"resample": "subset", "set_size": 40, "subset": 5}, r"subset:50 needs a set of .* \(allowed: up to 40\)"),
    ],
)
def test_a_head_without_parts_of_a_set_is_said(text, head, options, message):
    with pytest.raises(UserError, match=message):
        check_head(parse_exploration(text, 2, 0), policy_of("box", head, **options).head)


@pytest.mark.parametrize(("text", "space"), [("gaussian:0.1", "discrete"), ("ou:0.1", "multidiscrete")])
def test_noise_on_choices_is_refused(text, space):
    with pytest.raises(UserError, match="needs Box actions, or a head that proposes features of Discrete ones"):
        check_head(parse_exploration(text, 2, 0), policy_of(space).head)


# The paper's draw.


def test_the_papers_epsilons_are_drawn_with_its_frequencies():
    drawn = np.array(values("epsilon:paper", 30_000, seed=1))[:, 0]
    shares = [(drawn == epsilon).mean() for epsilon in PAPER_EPSILONS]
    np.testing.assert_allclose(shares, [0.4, 0.3, 0.3], atol=0.015)


def test_the_draw_is_by_the_seed():
    assert values("epsilon:paper", 16, 3) == values("epsilon:paper", 16, 3)
    assert values("epsilon:paper", 16, 3) != values("epsilon:paper", 16, 4)


# What they do.


def turned(setting, space="box", steps=3, envs=2, total=0.0, seed=0, memory=None):
    policy = Policy(SPECS[space], "auto", NetworkOptions(hidden=(8,)))
    rounds = policy.round_arrays(steps, envs)
    memory = np.zeros((envs, policy.head.components)) if memory is None else memory
    setting.turn(rounds, total, np.random.default_rng(seed), memory)
    return rounds


def test_every_knob_is_its_own():
    before = turned(Temperature(1.0)).knobs
    for setting, knob in ((Epsilon(0.2), EPSILON), (Temperature(3.0), TEMPERATURE), (Subset(4.0), PART)):
        knobs = turned(setting).knobs
        assert knobs[knob] == setting.value
        np.testing.assert_array_equal(np.delete(knobs, knob), np.delete(before, knob))


def test_the_weight_of_the_entropy_is_read_by_the_loss_and_changes_nothing_else():
    assert entropy_weight([Epsilon(0.2), EntropyWeight(0.3)], 0.1) == 0.3
    assert entropy_weight([EntropyWeight(0.0)], 0.1) == 0.0
    assert entropy_weight([Epsilon(0.2)], 0.1) == entropy_weight([], 0.1) == 0.1
    before, after = turned(Temperature(1.0)), turned(EntropyWeight(0.3))
    for name, array in vars(before).items():
        np.testing.assert_array_equal(getattr(after, name), array, err_msg=name)


@pytest.mark.parametrize(("total", "epsilon"), [(0, 1.0), (250, 0.775), (500, 0.55), (1000, 0.1), (5000, 0.1)])
def test_epsilon_falls_linearly_from_one_and_stays(total, epsilon):
    assert turned(Epsilon(0.1, 1000), total=total).knobs[EPSILON] == pytest.approx(epsilon)
    assert turned(Epsilon(0.1), total=total).knobs[EPSILON] == 0.1


def test_white_noise_has_its_deviation_and_no_correlation():
    noise = turned(GaussianNoise(0.3), steps=20_000, envs=1).extra_noise[:, 0]
    np.testing.assert_allclose(noise.std(0), 0.3, rtol=0.03)
    assert np.abs(noise.mean(0)).max() < 0.01
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.03 and abs(np.corrcoef(noise.T)[0, 1]) < 0.03


def test_ornstein_uhlenbeck_has_its_stationary_deviation_and_correlation():
    setting = OrnsteinUhlenbeck(0.2)
    keep = 1 - setting.theta
    noise = turned(setting, steps=60_000, envs=2).extra_noise[200:].reshape(-1, 4)
    np.testing.assert_allclose(noise.std(0), 0.2 / np.sqrt(1 - keep**2), rtol=0.05)
    for lag in (1, 5):
        for series in noise.T:
            assert np.corrcoef(series[lag:], series[:-lag])[0, 1] == pytest.approx(keep**lag, abs=0.04)
    assert np.abs(np.corrcoef(noise.T) - np.eye(4)).max() < 0.08


@pytest.mark.parametrize("kind", [GaussianNoise, OrnsteinUhlenbeck])
@pytest.mark.parametrize(("total", "share"), [(0, 1.0), (500, 0.505), (1000, 0.01), (5000, 0.01)])
def test_action_noise_falls_to_a_hundredth_and_stays(kind, total, share):
    annealed, constant = (turned(kind(0.3, steps), steps=8, total=total).extra_noise for steps in (1000, 0))
    np.testing.assert_allclose(annealed, share * constant, rtol=1e-9)


def test_ornstein_uhlenbeck_goes_on_in_the_next_round():
    memory = np.zeros((2, 2))
    generator = np.random.default_rng(0)
    policy = Policy(SPECS["box"], "auto", NetworkOptions(hidden=(8,)))
    parts = []
    for _ in range(3):
        rounds = policy.round_arrays(4, 2)
        OrnsteinUhlenbeck(0.2).turn(rounds, 0, generator, memory)
        parts.append(rounds.extra_noise)
    np.testing.assert_array_equal(np.concatenate(parts), turned(OrnsteinUhlenbeck(0.2), steps=12).extra_noise)
    np.testing.assert_array_equal(memory, parts[-1][-1])


# The contract.


@pytest.mark.parametrize("kind", EXPLORATIONS)
def test_every_kind_is_described_and_read_back(kind):
    entry = EXPLORATIONS[kind]
    assert entry.kind == kind and len(entry.description) > 20 and entry.turns
    (setting,) = parse_exploration(f"{kind}:0.25", 1, 0)[0]
    assert isinstance(setting, entry) and setting.value == 0.25 and label([setting]) == f"{kind}:0.25"


@pytest.mark.parametrize("head", ["auto", "itt"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", EXPLORATIONS)
def test_every_kind_is_refused_or_keeps_actions_within_the_space(kind, space, head):
    parts = {"resample": "subset", "subset": 2, "set_size": 30} if head == "itt" else {}
    if head == "itt" and space == "infinite":
        pytest.skip("its set has no bounds to lie within")
    for value in (0.25, 1.0):
        setting, policy = EXPLORATIONS[kind](value), policy_of(space, head, **parts)
        try:
            check_fit([[setting]], SPECS[space])
            check_head([[setting]], policy.head)
        except UserError as error:
            assert "needs" in str(error)
            continue
        vector, rounds, generator = policy.initial(0), policy.round_arrays(50, 2), np.random.default_rng(0)
        setting.turn(rounds, 100.0, generator, np.zeros((2, policy.head.components)))
        policy.head.draw(generator, rounds)
        for t in range(50):
            policy.head.choose(rounds, vector, t)
            for e in range(2):
                assert SPACES[space].contains(policy.head.environment_action(rounds, t, e))


@pytest.mark.parametrize("kind", EXPLORATIONS)
def test_every_kind_is_the_same_for_the_same_seed(kind):
    first, again = (turned(EXPLORATIONS[kind](0.5), seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.knobs, again.knobs)
    np.testing.assert_array_equal(first.extra_noise, again.extra_noise)
