"""Evolution strategies: the gradient against plain loops, what is left out, and late evaluations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from searches import assert_same_state, batch, candidates, put_back, snapshot, synchronous

from asyncrl.algos.ars import Ars, ArsOptions
from asyncrl.algos.es import Es, EsOptions
from asyncrl.algos.tres import Tres, TresOptions
from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.history import CURRENT, LOST, History
from asyncrl.blackbox.search import COUNTS, Setting
from asyncrl.blackbox.shaping import less_baseline, shape
from asyncrl.errors import UserError

N, SEED = 7, 3
PLAIN = EsOptions(population=12, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=1.0)  # theta moves by g
SEARCHES = {
    "es adam": lambda size: Es(EsOptions(), size, SEED),
    "es sgd": lambda size: Es(EsOptions(optimizer="sgd", learning_rate=0.1), size, SEED),
    "es clipup": lambda size: Es(EsOptions(optimizer="clipup", learning_rate=0.1), size, SEED),
    "es vanilla": lambda size: Es(EsOptions(estimator="vanilla"), size, SEED),
    "es forward": lambda size: Es(EsOptions(estimator="forward"), size, SEED),
    "tres": lambda size: Tres(TresOptions(), size, SEED),
    "ars": lambda size: Ars(ArsOptions(top=8, learning_rate=0.01), size, SEED),
}


def begun(options=PLAIN, size=N, start=0.0, settings=(), kind=Es):
    search = kind(options, size, SEED, settings)
    search.begin(np.full(size, start, np.float32))
    return search


def moved(search, evaluations, version=0):
    """How far an update moves theta, [N], and its figures."""
    before = search.theta.astype(np.float64)
    figures = search.update(version, evaluations)
    return search.theta - before, figures


def block(search, generation=0, settings=()):
    return Directions(SEED, N, search._plan.directions, settings or [Setting(0.05)]).block(generation).astype(np.float64)


@pytest.mark.parametrize("estimator", ["antithetic", "vanilla", "forward"])
@pytest.mark.parametrize("shaping", ["centered-ranks", "standardized", "none"])
def test_the_gradient_is_that_of_a_plain_loop(estimator, shaping):
    search = begun(replace(PLAIN, estimator=estimator, shaping=shaping))
    returns = np.random.default_rng(0).standard_normal(12)
    value, eps, g = shape(returns, shaping), block(search), np.zeros(N)
    for i in range(N):
        if estimator == "antithetic":
            for j in range(6):
                g[i] += (value[2 * j] - value[2 * j + 1]) * eps[j, i] / 12
        elif estimator == "vanilla":
            for j in range(12):
                g[i] += value[j] * eps[j, i] / 12
        else:
            for j in range(11):
                g[i] += (value[j + 1] - value[0]) * eps[j, i] / 11
    move, figures = moved(search, batch(returns))
    np.testing.assert_allclose(move, g, rtol=1e-6, atol=1e-7)
    assert figures["gradient_norm"] == pytest.approx(np.linalg.norm(g))
    assert figures["update_norm"] == pytest.approx(np.linalg.norm(g), rel=1e-6)


def test_directions_of_several_settings_estimate_the_same_thing():
    settings = (Setting(0.02), Setting(0.08))
    search = begun(replace(PLAIN, shaping="none"), settings=settings)
    returns, eps = np.random.default_rng(0).standard_normal(12), block(search, settings=settings)
    g = sum((returns[2 * j] - returns[2 * j + 1]) * eps[j] * (0.25 if j % 2 else 1.0) / 12 for j in range(6))
    np.testing.assert_allclose(moved(search, batch(returns))[0], g, rtol=1e-6, atol=1e-7)
    assert [search.setting(ticket) for ticket in range(6)] == [0, 0, 1, 1, 0, 0]


def test_candidates_are_perturbed_in_float32_and_mirrored():
    search = begun(start=0.3)
    found, eps = candidates(search, 5).astype(np.float64), block(search, 5).astype(np.float32)
    np.testing.assert_array_equal(found[0::2], np.float32(0.3) + np.float32(0.05) * eps)
    np.testing.assert_array_equal(found[1::2], np.float32(0.3) - np.float32(0.05) * eps)
    assert [search.pair(ticket) for ticket in range(4)] == [0, 0, 1, 1]


def test_the_forward_estimator_evaluates_the_centre_first():
    search = begun(replace(PLAIN, estimator="forward"), start=0.3)
    found = candidates(search).astype(np.float64)
    assert (found[0] == np.float32(0.3)).all()
    np.testing.assert_array_equal(found[1:], np.float32(0.3) + np.float32(0.05) * block(search).astype(np.float32))


def test_candidates_come_from_the_arguments_alone():
    search, other = begun(), begun(start=9.0)
    published, here, there = np.full(N, 0.5, np.float32), np.empty(N, np.float32), np.empty(N, np.float32)
    search.candidate(published, 4, 3, here)
    other.candidate(published, 4, 3, there)
    np.testing.assert_array_equal(here, there)


def test_weight_decay_goes_through_the_optimizer():
    search = begun(replace(PLAIN, weight_decay=0.1, momentum=0.5), start=2.0)
    other = begun(replace(PLAIN, momentum=0.5), start=2.0)
    returns = np.random.default_rng(0).standard_normal(12)
    np.testing.assert_allclose(moved(search, batch(returns))[0], moved(other, batch(returns))[0] - 0.2, rtol=1e-5, atol=1e-6)
    assert np.abs(search.state["statistics"]).min() > 0


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("returns", ["equal", "nan", "one"])
def test_returns_that_tell_nothing_change_nothing(name, returns):
    search = SEARCHES[name](N)
    search.begin(np.ones(N, np.float32))
    synchronous(search, lambda x: -np.square(x).sum(axis=1), range(3))
    kept = snapshot(search)
    given = {"equal": np.full(search.tickets, 0.1), "nan": np.full(search.tickets, np.nan), "one": np.full(search.tickets, np.nan)}[returns]
    given[5] = 0.1
    assert search.update(3, batch(given, 3, version=3)) == {"flat": 1.0, "late_dropped": 0.0, "late_used": 0.0}
    assert_same_state(search, kept)


@pytest.mark.parametrize("kind", ["es sgd", "tres", "ars"])
def test_what_could_not_be_evaluated_is_left_out_with_its_mirror_image(kind):
    """Both members of the pair give the same bits, and the others are ranked as if the pair had never been."""
    results = []
    for ticket in (6, 7):
        search = SEARCHES[kind](N)
        search.begin(np.zeros(N, np.float32))
        returns = np.random.default_rng(0).standard_normal(search.tickets)
        returns[ticket] = np.nan
        search.update(0, batch(returns))
        results.append(search.theta.copy())
    others = np.flatnonzero((np.arange(search.tickets) != 6) & (np.arange(search.tickets) != 7))
    alone = SEARCHES[kind](N)
    alone.begin(np.zeros(N, np.float32))
    alone.update(0, batch(returns[others], ticket=others))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], alone.theta)
    assert np.abs(alone.theta).min() > 0


def test_half_a_pair_counts_by_itself_where_the_other_half_is_in_another_batch():
    search = begun(replace(PLAIN, shaping="none"))
    returns, tickets = np.array([3.0, 1.0, 8.0]), [0, 1, 2]
    eps, value = block(search), returns - 4.0
    expected = (value[0] * eps[0] - value[1] * eps[0] + value[2] * eps[1]) / 3
    np.testing.assert_allclose(moved(search, batch(returns, ticket=tickets))[0], expected, rtol=1e-6, atol=1e-7)


def test_forward_differences_without_their_centre_are_taken_from_the_mean():
    search = begun(replace(PLAIN, estimator="forward", shaping="none"))
    eps = block(search)
    move, _ = moved(search, batch([3.0, 1.0, 8.0], ticket=[1, 2, 4]))
    np.testing.assert_allclose(move, (-1 * eps[0] - 3 * eps[1] + 4 * eps[3]) / 3, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_maximises(name):
    target = np.linspace(-1, 1, 10)
    search = SEARCHES[name](10)
    search.begin(np.zeros(10, np.float32))
    figures = synchronous(search, lambda x: -np.square(x - target).sum(axis=1), range(60))
    assert np.square(search.theta - target).sum() < 0.05  # 4.07 at the start
    assert all(np.isfinite(list(figure.values())).all() for figure in figures)
    assert set(search.figures) <= {*figures[0]} <= {*search.figures, *COUNTS}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_state_copied_out_and_in_goes_on_bit_for_bit(name):
    def objective(x):
        return -np.square(x - 1.0).sum(axis=1)

    search, resumed = SEARCHES[name](N), SEARCHES[name](N)
    search.begin(np.zeros(N, np.float32))
    arrays = {key: id(array) for key, array in search.state.items()}
    synchronous(search, objective, range(4))
    put_back(resumed, snapshot(search))
    old = {version: snapshot(search) for version in (4,)}
    for which in (search, resumed):
        synchronous(which, objective, range(4, 6))
        late = batch(objective(candidates(which, 6).astype(np.float64)), 6, version=[5, 4] * (which.tickets // 2))
        which.update(6, late)
    assert_same_state(resumed, snapshot(search))
    assert {key: id(array) for key, array in search.state.items()} == arrays
    assert not np.array_equal(old[4]["theta"], search.state["theta"])


def test_beginning_again_forgets_all():
    search, fresh = begun(EsOptions()), begun(EsOptions())
    synchronous(search, lambda x: x.sum(axis=1), range(3))
    search.begin(np.zeros(N, np.float32))
    assert_same_state(search, snapshot(fresh))
    assert_same_state(fresh, snapshot(Es(EsOptions(), N, SEED)))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (EsOptions(population=13), Es),
        (EsOptions(sigma=0.0), Es),
        (EsOptions(population=1, estimator="vanilla"), Es),
        (TresOptions(population=5), Tres),
        (ArsOptions(population=8, top=5), Ars),
        (ArsOptions(population=7), Ars),
    ],
    ids=repr,
)
def test_impossible_options_are_refused(options, kind):
    with pytest.raises(UserError, match="allowed"):
        kind(options, N, SEED)


# Late evaluations


def test_the_history_knows_which_parameters_acted():
    state = {}
    history = History(state, 2, 3)
    for version in (0, 1, 4, 5):  # updates 2 and 3 were flat: versions 2, 3 and 4 are the same parameters
        history.record(version, np.full(2, version, np.float32))
    rows = history.rows(6, np.array([6, 5, 4, 3, 2]))
    acted = [None if row < 0 else state["history"][row, 0] for row in rows]
    assert acted == [None, 5, 4, 4, None]
    assert (rows[0], rows[4]) == (CURRENT, LOST)
    assert history.rows(7, np.array([6]))[0] == CURRENT  # the update of version 6 was flat too


@pytest.mark.parametrize(
    ("delta", "near"),
    [([0.49] * 8, True), ([0.51] * 8, False), ([0.99] + [0] * 7, True), ([0] * 7 + [-1.01], False)],
)
def test_ratios_are_for_parameters_that_are_near(delta, near):
    state, sigma = {}, 0.5
    history = History(state, 8, 4)
    history.record(0, np.zeros(8, np.float32))
    theta = np.array(delta, np.float32) * np.float32(sigma)
    rows = history.rows(1, np.array([0, 1]))
    assert history.admitted(rows, theta, sigma, "ratio").tolist() == [near, True]
    assert history.admitted(rows, theta, sigma, "as-is").tolist() == [True, True]
    assert history.admitted(rows, theta, sigma, "drop").tolist() == [False, True]


def late_batch(search, versions, seed=1):
    """Update once, so that version 0 is late; then a generation of which so many are of version 0 and the rest of 1."""
    search.update(0, batch(np.random.default_rng(0).standard_normal(search.tickets)))
    return batch(np.random.default_rng(seed).standard_normal(search.tickets), 1, version=np.repeat([0, 1], versions))


@pytest.mark.parametrize("late", ["ratio", "as-is", "drop"])
def test_late_evaluations_are_counted(late):
    search = begun(replace(PLAIN, late=late, learning_rate=0.05))
    figures = search.update(1, late_batch(search, [4, 8]))
    dropped = 4.0 if late == "drop" else 0.0
    assert (figures["late_dropped"], figures["late_used"], "flat" in figures) == (dropped, 4.0 - dropped, False)


def test_dropped_means_never_looked_at():
    search, alone = begun(replace(PLAIN, late="drop")), begun(replace(PLAIN, late="drop"))
    mixed = late_batch(search, [4, 8])
    late_batch(alone, [4, 8])
    mixed.value[:4] = 1e6
    search.update(1, mixed)
    alone.update(1, batch(mixed.value[4:], 1, np.arange(4, 12), 1))
    assert_same_state(search, snapshot(alone))


def test_a_few_fresh_evaluations_are_no_update_and_the_next_generation_is_fresh():
    search = begun(replace(PLAIN, late="drop"))
    evaluations = late_batch(search, [7, 5])
    kept = snapshot(search)
    assert search.update(1, evaluations) == {"skipped_late": 1.0, "late_dropped": 12.0, "late_used": 0.0}
    assert_same_state(search, kept)
    figures = search.update(2, batch(evaluations.value, 2, version=1))  # acted on 1, which is 2
    assert (figures["late_dropped"], "flat" in figures) == (0.0, False)


@pytest.mark.parametrize("late", ["ratio", "as-is"])
def test_a_batch_of_several_generations_has_the_directions_of_each(late):
    search = begun(replace(PLAIN, late=late, shaping="none"))
    returns = np.array([1.0, 2.0, 5.0, 3.0, -4.0, -1.0])
    generation, ticket = np.array([3, 3, 4, 4, 6, 6]), np.array([2, 3, 0, 1, 2, 3])
    g = sum((returns[2 * k] - returns[2 * k + 1]) * block(search, generation[2 * k])[ticket[2 * k] // 2] for k in range(3)) / 6
    np.testing.assert_allclose(moved(search, batch(returns, generation, ticket, 0))[0], g, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("late", ["ratio", "as-is"])
def test_how_good_a_version_was_is_no_reason_to_go_anywhere(late):
    """Returns that differ between versions only in their level give nearly the same step as with equal levels."""
    ends = []
    for level in (0.0, 10.0):
        search = begun(replace(PLAIN, population=2000, estimator="vanilla", late=late, shaping="none", learning_rate=0.1))
        evaluations = late_batch(search, [1000, 1000])
        evaluations.value[1000:] += level
        search.update(1, evaluations)
        ends.append(search.theta.copy())
    np.testing.assert_allclose(ends[0], ends[1], atol=0.001)


@pytest.mark.parametrize("late", ["ratio", "as-is"])
def test_what_is_too_old_is_dropped(late):
    search = begun(replace(PLAIN, late=late, max_lag=1, learning_rate=0.01))
    returns = np.random.default_rng(0).standard_normal((3, 12))
    search.update(0, batch(returns[0]))
    search.update(1, batch(returns[1], 1, version=1))
    figures = search.update(2, batch(returns[2], 2, version=np.repeat([0, 1, 2], [3, 4, 5])))
    assert (figures["late_dropped"], figures["late_used"]) == (3.0, 4.0)


def test_the_baseline_of_each_version_is_its_own_mean():
    returns, cohort = np.array([1.0, 3.0, 11.0, 13.0] * 1000), np.array([0, 0, 1, 1] * 1000)
    np.testing.assert_allclose(less_baseline(returns, cohort), [-1.0, 1.0, -1.0, 1.0] * 1000, atol=0.02)
    few = less_baseline(np.array([0.0, 0.0, 0.0, 10.0]), np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(few, [-10 / 7, -10 / 7, -10 / 7, 10 - 4.0])  # (10 + 4 x 2.5) / 5 for the one of its version
    np.testing.assert_array_equal(less_baseline(returns, np.zeros(4000)), returns)


def test_ratios_turn_a_late_gradient_into_todays_where_axes_do_not_interact():
    """F = -|x|^2 / 2 at theta = 0.4 sigma from theta_v: the true g is -sigma theta, the late one 0."""
    sigma, size, error = 0.5, 4, {}
    for late in ("ratio", "as-is"):
        options = replace(PLAIN, population=20000, sigma=sigma, shaping="none", late=late)
        search = begun(options, size, settings=(Setting(sigma),))
        search.begin(np.zeros(size, np.float32))
        returns = -np.square(candidates(search, 1).astype(np.float64)).sum(axis=1) / 2
        search._replaced(0, np.full(size, 0.4 * sigma, np.float32))
        move, figures = moved(search, batch(returns, 1, version=0), 1)
        assert figures["late_used"] == 20000
        error[late] = np.abs(move / sigma - -0.4 * sigma).max()
    assert error["ratio"] < 0.02
    assert error["as-is"] == pytest.approx(0.2, abs=0.02)


def delayed(late, rate, seed, lag=3, size=20, updates=60):
    """The final value of a weakly coupled quadratic, every evaluation being so many updates late."""
    generator = np.random.default_rng(seed)
    coupling = generator.standard_normal((size, size)) / size
    hessian = np.eye(size) + 0.1 * (coupling + coupling.T)
    options = replace(PLAIN, population=32, sigma=0.3, shaping="standardized", late=late, learning_rate=rate)
    search = Es(options, size, seed)
    search.begin(np.full(size, 0.5, np.float32))
    waiting = []
    for version in range(updates + lag):
        x = candidates(search, version).astype(np.float64)
        waiting.append((version, -np.einsum("ni,ij,nj->n", x, hessian, x) / 2 + 0.01 * generator.standard_normal(len(x))))
        if len(waiting) > lag:
            acted, returns = waiting.pop(0)
            search.update(version, batch(returns, acted, version=acted))
    theta = search.theta.astype(np.float64)
    return -theta @ hessian @ theta / 2


def test_ratios_allow_longer_steps_with_late_evaluations():
    final = {late: np.median([delayed(late, 0.25, seed) for seed in range(4)]) for late in ("ratio", "as-is")}
    assert 0 > final["ratio"] > final["as-is"] / 5
