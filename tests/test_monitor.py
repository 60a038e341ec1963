"""What the monitor makes of ledger records and episodes: against numbers computed by hand."""

from __future__ import annotations

import json
import math
import re
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.util import tensor_util

from asyncrl.learners.gradients import POLICY_FIGURES
from asyncrl.monitor.aggregate import Aggregate
from asyncrl.monitor.events import EventFile, new_file_name
from asyncrl.monitor.memory import MemoryMeter
from asyncrl.progress import COLUMNS, LAG_BINS, MOMENTS, NORMS, figure_columns
from asyncrl.shared.arrays import SharedArrays
from asyncrl.shared.ledger import Ledger
from asyncrl.store.json_files import write_json_atomically
from asyncrl.topologies.streams.learner import LearnerBooks
from asyncrl.topologies.streams.plan import ledger_columns

EXPLORATIONS = ["entropy:0.01", "entropy:0.1"]


LEDGER = {**COLUMNS, **figure_columns((*POLICY_FIGURES, *NORMS))}


def make_ledger(workers: int = 2) -> Ledger:
    return Ledger(LEDGER, SharedArrays.allocate(Ledger.layout(LEDGER, workers)))


def record(ledger: Ledger, worker: int, lags: tuple[int, ...] = (), **columns: float) -> None:
    """Add to the columns of a worker and publish."""
    draft = ledger.draft_of(worker)
    for name, value in columns.items():
        ledger.column(draft, name)[:] = value if name in ("started", "ended") else ledger.column(draft, name) + value
    for lag in lags:
        ledger.column(draft, "lag_histogram")[min(lag, LAG_BINS - 1)] += 1
        ledger.column(draft, "lag_sum")[:] += lag
        ledger.column(draft, "lag_count")[:] += 1
        ledger.column(draft, "lag_max")[:] = max(lag, ledger.column(draft, "lag_max")[0])
    ledger.publish(worker, draft)


def told(aggregate, worker, returns, lengths, steps, order=0):
    """Episodes that have ended, and count at once."""
    rows = len(returns)
    fields = {"episode_return": np.asarray(returns, float), "length": np.asarray(lengths), "setting": np.zeros(rows)}
    aggregate.returns.hold(worker, {**fields, "order": np.broadcast_to(order, rows), "steps": np.full(rows, steps)})
    aggregate.returns.release(None)


def test_report_describes_the_interval_and_not_the_whole_run():
    ledger = make_ledger()
    aggregate = Aggregate(ledger, EXPLORATIONS)
    record(ledger, 0, (0, 1, 1), started=100.0, ended=110.0, steps=50, rounds=10, updates=10, policy_loss_sum=20.0, act_seconds=3.0)
    record(ledger, 1, (5,), started=101.0, ended=110.0, steps=30, rounds=5, updates=6, policy_loss_sum=-4.0, wait_seconds=1.0, torn=3)
    first = aggregate.report(110.0, updates=16)
    assert first["step"] == 80
    assert first["seconds"] == 10
    assert first["rate/steps_per_second"] == 8
    assert first["rate/updates_per_second"] == 1.6
    assert first["worker/0/steps_per_second"] == 5
    assert first["learn/policy_loss"] == 1.0
    assert first["time/act"] == 0.75
    assert first["time/wait"] == 0.25
    assert first["lag/mean"] == 7 / 4
    assert (first["lag/p50"], first["lag/p95"], first["lag/max"]) == (1, 5, 5)
    assert first["lag/by_exploration/entropy:0.01"] == 2 / 3
    assert first["lag/during_copy"] == 3 / 15

    record(ledger, 0, (2, 2), steps=10, rounds=2, updates=2, policy_loss_sum=1.0, act_seconds=1.0, ended=112.0)
    second = aggregate.report(112.0, updates=18)
    assert second["step"] == 90
    assert second["rate/steps_per_second"] == 5
    assert second["worker/1/steps_per_second"] == 0
    assert second["rate/updates_per_second"] == 1
    assert second["learn/policy_loss"] == 0.5
    assert second["time/act"] == 1
    assert (second["lag/mean"], second["lag/max"]) == (2, 2)
    assert "lag/by_exploration/entropy:0.1" not in second
    assert aggregate.lag_histogram[2] == 2
    assert aggregate.lag_histogram.sum() == 2


def test_without_data_a_name_is_left_out_and_nothing_is_nan():
    ledger = make_ledger()
    aggregate = Aggregate(ledger, EXPLORATIONS)
    assert aggregate.report(5.0, updates=0) == {"step": 0, "seconds": 0, "updates": 0, "episodes": 0}
    record(ledger, 0, steps=4, rounds=1, started=9.0, ended=9.5, value_loss_sum=math.nan)
    told(aggregate, 1, [math.nan], [3], 4)
    report = aggregate.report(10.0, updates=1)
    assert report["rate/steps_per_second"] == 4  # since the first round began, not since the empty report
    assert all(math.isfinite(value) for value in report.values())
    assert not {"return/mean", "learn/value_loss", "lag/mean"} & set(report)


def test_losses_in_rounds_modes_are_means_over_gradients():
    ledger = make_ledger()
    aggregate = Aggregate(ledger, EXPLORATIONS)
    record(ledger, 0, started=1.0, rounds=4, skipped=1, entropy_sum=3.0)
    record(ledger, 1, started=1.0, rounds=4, entropy_sum=11.0)
    report = aggregate.report(2.0, updates=4)
    assert report["learn/entropy"] == 2.0
    assert report["learn/skipped_updates"] == 1


def moments_of(value, target):
    """MOMENTS of values and targets [N], by numpy."""
    return dict(zip(MOMENTS, (target.mean(), (target**2).mean(), (target - value).mean(), ((target - value) ** 2).mean())))


def test_explained_variance_is_that_of_the_whole_interval():
    """Rollouts of one or two steps have next to no variance of their own; told is that of all of them together."""
    generator, ledger = np.random.default_rng(0), make_ledger()
    aggregate = Aggregate(ledger, EXPLORATIONS)
    target = generator.normal(5.0, 2.0, (40, 2))
    value = target + generator.normal(1.0, 0.5, (40, 2))
    for turn, (v, y) in enumerate(zip(value, target)):
        sums = {f"{name}_sum": mean for name, mean in moments_of(v, y).items()}
        record(ledger, turn % 2, started=1.0, rounds=1, updates=1, **sums)
    report = aggregate.report(2.0, updates=40)
    assert report["learn/value_mean"] == pytest.approx(value.mean())
    assert report["learn/explained_variance"] == pytest.approx(1.0 - (target - value).var() / target.var())
    assert not {f"learn/{name}" for name in MOMENTS} & set(report)


def test_a_learners_explained_variance_is_that_of_its_updates():
    generator, columns = np.random.default_rng(0), ledger_columns(("policy_loss", *MOMENTS), 2)
    ledger = Ledger(columns, SharedArrays.allocate(Ledger.layout(columns, 3)))
    aggregate, books = Aggregate(ledger, EXPLORATIONS), LearnerBooks(ledger, 2)
    record(ledger, 0, started=1.0)
    value, target = generator.normal(0.0, 1.0, (2, 9, 5))
    for v, y in zip(value, target):
        books.update_done({"policy_loss": 1.0, **moments_of(v, y)})
    ledger.publish(2, books.draft)
    report = aggregate.report(2.0, updates=9)
    assert report["learn/explained_variance"] == pytest.approx(1.0 - (target - value).var() / target.var())
    assert report["learn/value_mean"] == pytest.approx(value.mean())


def test_targets_that_are_all_alike_have_no_explained_variance():
    ledger = make_ledger()
    aggregate = Aggregate(ledger, EXPLORATIONS)
    sums = {f"{name}_sum": mean for name, mean in moments_of(np.array([1.0, 2.0]), np.array([0.1, 0.1])).items()}
    record(ledger, 0, started=1.0, rounds=1, updates=1, **sums)
    report = aggregate.report(2.0, updates=1)
    assert report["learn/value_mean"] == pytest.approx(1.5)
    assert "learn/explained_variance" not in report


def test_figures_with_a_count_of_their_own_are_means_over_those_who_had_one():
    columns = ledger_columns(("value", "policy_loss", "ratio_max"), 2)
    ledger = Ledger(columns, SharedArrays.allocate(Ledger.layout(columns, 3)))
    aggregate, books = Aggregate(ledger, EXPLORATIONS), LearnerBooks(ledger, 2)
    record(ledger, 0, started=1.0)
    for update in range(4):
        own = {"policy_loss": -2.0} if update % 2 else {}
        books.update_done({"value": 3.0 if update else math.inf, "ratio_max": 8.0 - update, **own})
    for _ in range(20):  # more publications than updates
        books.add("rounds", 1)
        ledger.publish(2, books.draft)
    books.lag_of(0, 1)
    books.lag_of(1, 4)
    books.lag_of(1, 5)
    ledger.publish(2, books.draft)
    report = aggregate.report(2.0, updates=4)
    assert [report[f"learn/{name}"] for name in ("value", "policy_loss", "ratio_max")] == [3.0, -2.0, 8.0]
    assert [report[f"lag/by_exploration/{name}"] for name in EXPLORATIONS] == [1.0, 4.5]
    assert report["lag/mean"] == 10 / 3
    books.update_done({"value": 5.0, "ratio_max": 2.0})
    ledger.publish(2, books.draft)
    report = aggregate.report(3.0, updates=5)
    assert (report["learn/value"], report["learn/ratio_max"]) == (5.0, 8.0), "the largest of the run"
    assert "learn/policy_loss" not in report


def test_lag_beyond_the_bins_keeps_its_maximum():
    ledger = make_ledger()
    aggregate = Aggregate(ledger, EXPLORATIONS)
    record(ledger, 0, (1, 500), started=1.0)
    report = aggregate.report(2.0, updates=4)
    assert report["lag/max"] == report["lag/p95"] == 500


def test_returns_are_those_of_the_last_hundred_episodes():
    aggregate = Aggregate(make_ledger(), EXPLORATIONS)
    told(aggregate, 0, np.full(100, 7.0), np.full(100, 20), 2000)
    told(aggregate, 1, np.arange(30.0), np.arange(30) + 1, 2500)
    report = aggregate.report(1.0, updates=0)
    assert report["return/mean"] == pytest.approx((70 * 7.0 + sum(range(30))) / 100)
    assert report["return/by_exploration/entropy:0.01"] == 7
    assert report["return/by_exploration/entropy:0.1"] == 14.5
    assert report["episode/length"] == pytest.approx((70 * 20 + sum(range(1, 31))) / 100)
    assert report["episode/length_by_exploration/entropy:0.1"] == 15.5
    assert report["worker/1/return"] == 14.5


@pytest.mark.parametrize("most", [2, 40, 250])
def test_best_mean_is_the_best_window_of_a_plain_loop(most):
    aggregate, random = Aggregate(make_ledger(), EXPLORATIONS), np.random.default_rng(3)
    returns = 10 * np.sin(np.arange(700) / 60) + random.normal(size=700)
    position = 0
    while position < 700:
        size = int(random.integers(1, most))
        told(aggregate, 0, returns[position : position + size], np.ones(len(returns[position : position + size]), int), position)
        position += size
    best = max(returns[end - 100 : end].mean() for end in range(100, 701))
    assert aggregate.summary()["return_best_mean_100"] == pytest.approx(best, rel=1e-12)


def test_held_episodes_count_in_their_own_order_however_they_are_collected():
    """The same episodes of three workers, collected in two ways: one figure, to the bit; what is not complete goes into the checkpoint."""
    random = np.random.default_rng(5)
    episodes = [[(order, random.normal(), 3 * order + worker) for order in np.sort(random.integers(0, 90, 200))] for worker in range(3)]
    found = []
    for way in range(2):
        aggregate = Aggregate(make_ledger(3), ["a", "b", "a"])
        lots, taken, told_to = np.random.default_rng(way), [0, 0, 0], 0
        while told_to < 80:
            told_to = min(told_to + int(lots.integers(1, 30)), 80)
            for worker in lots.permutation(3):
                mine = episodes[worker]
                most = int(lots.integers(0, 20))  # some of what is not complete
                end = min(sum(order < told_to for order, _, _ in mine) + most, 200)
                rows = mine[taken[worker] : max(end, taken[worker])]
                taken[worker] = max(end, taken[worker])
                order, value, steps = (np.array([row[i] for row in rows]) for i in range(3))
                fields = {"order": order, "episode_return": value, "length": np.ones(len(rows)), "setting": np.zeros(len(rows))}
                aggregate.returns.hold(worker, {**fields, "steps": steps})
            aggregate.returns.release(told_to)
            restored = Aggregate(make_ledger(3), ["a", "b", "a"])
            restored.returns.restore(json.loads(json.dumps(aggregate.returns.state())))
            aggregate = restored
        found.append(aggregate.returns.summary())
    assert found[0] == found[1]
    rows = sorted((order, worker, place) for worker in range(3) for place, (order, _, _) in enumerate(episodes[worker]) if order < 80)
    last = [episodes[worker][place][1] for _, worker, place in rows][-100:]
    assert found[0]["return_mean_last_100"] == pytest.approx(np.mean(last))


def test_summary_covers_the_run_and_is_standard_json(tmp_path):
    ledger = make_ledger()
    aggregate = Aggregate(ledger, EXPLORATIONS)
    write_json_atomically(tmp_path / "summary.json", aggregate.summary())
    record(ledger, 0, (0, 3), started=10.0, ended=19.0, steps=60, episodes=2, act_seconds=1.0, skipped=2)
    record(ledger, 1, (4, 4), started=11.0, ended=20.0, steps=40, act_seconds=1.0, learn_seconds=2.0)
    told(aggregate, 0, [1.0, 2.0], [30, 30], 90)
    aggregate.report(20.0, updates=7)
    write_json_atomically(tmp_path / "summary.json", aggregate.summary())
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert (summary["steps"], summary["seconds"], summary["steps_per_second"]) == (100, 10, 10)
    assert (summary["updates"], summary["episodes"], summary["skipped_updates"]) == (7, 2, 2)
    assert summary["return_mean_last_100"] == summary["return_best_mean_100"] == 1.5
    assert summary["lag"] == {"mean": 11 / 4, "p50": 3, "p95": 4, "max": 4, "histogram": {"0": 1, "3": 1, "4": 2}}
    assert summary["time_share"] == {"environment": 0, "act": 0.5, "learn": 0.5, "apply": 0, "wait": 0}


def test_a_resumed_aggregate_goes_on_where_the_other_stopped():
    ledger = make_ledger()
    whole, first = Aggregate(ledger, EXPLORATIONS), Aggregate(ledger, EXPLORATIONS)
    for aggregate in (whole, first):
        told(aggregate, 0, np.arange(120.0), np.ones(120, int), 500)
    record(ledger, 0, steps=500)
    second = Aggregate(ledger, EXPLORATIONS)
    second.returns.restore(json.loads(json.dumps(first.returns.state())))
    for aggregate in (whole, second):
        told(aggregate, 1, np.arange(50.0, 0.0, -1), np.ones(50, int), 900)
    record(ledger, 0, steps=400, started=1.0, ended=5.0)
    names = ("return/mean", "return/best", "return/by_exploration/entropy:0.01", "worker/1/return")
    one, two = whole.report(5.0, updates=0), second.report(5.0, updates=0)
    assert [one[name] for name in names] == [two[name] for name in names]
    assert two["step"] == 900
    assert two["rate/steps_per_second"] == 100  # the first 500 steps were another session's


def test_charts_show_names_that_reports_have_and_no_others(tmp_path):
    ledger = make_ledger()
    aggregate = Aggregate(ledger, EXPLORATIONS)
    losses = {"policy_loss_sum": 1.0, "value_loss_sum": 1.0, "entropy_sum": 1.0, "gradient_norm_sum": 1.0}
    losses |= {"target_sum": 0.0, "target_square_sum": 1.0}
    others = dict.fromkeys(("learn/q_mean", "learn/q_target_mean", "learn/policy_std", "evaluation/return", "memory/rss_mb"), 1.0)
    for worker in range(2):
        record(ledger, worker, (0, 1), started=1.0, ended=2.0, steps=5, rounds=1, updates=1, act_seconds=1.0, **losses)
        told(aggregate, worker, [1.0], [5], 5)
    events = EventFile(tmp_path / new_file_name(), {"algo": "a3c"})
    events.add_report(aggregate.report(2.0, updates=2) | others, None, time.time())
    events.close()
    seen = EventAccumulator(str(tmp_path)).Reload()
    tensor = seen.Tensors("custom_scalars__config__")[0].tensor_proto
    layout = layout_pb2.Layout.FromString(tensor_util.make_ndarray(tensor).item())
    shown = {}
    for category in layout.category:
        for chart in category.chart:
            # re.match is what TensorBoard's page does with a pattern.
            found = [[name for name in seen.Tags()["scalars"] if re.match(pattern, name)] for pattern in chart.multiline.tag]
            assert all(found), f"{chart.title}: a pattern that fits no name"
            shown[chart.title] = [name for names in found for name in names]
    assert shown["episode length"] == ["episode/length"]
    assert shown["lag in versions: mean and 95 %"] == ["lag/mean", "lag/p95"]
    assert shown["steps per second, each worker"] == ["worker/0/steps_per_second", "worker/1/steps_per_second"]
    assert len(shown["shares of the workers' time"]) == 5


def test_memory_counts_this_process_and_spaces_its_measurements():
    meter = MemoryMeter()
    begin = time.perf_counter()
    first = meter.read(0.0)
    cost = time.perf_counter() - begin
    assert 20 < first < 20_000
    ballast = np.ones(20_000_000)
    assert meter.read(cost * 100) == first == meter.peak_mb
    assert meter.read(cost * 100, force=True) > first + ballast.nbytes / 2e6
