"""Turns the workers' ledger records and finished episodes into flat reports and the run's summary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.monitor.returns import Returns
from asyncrl.progress import AGES, DIAGNOSES, LAG_BINS, MOMENTS, SHARES, lag_quantile
from asyncrl.shared.ledger import Ledger

FloatArray = NDArray[np.float64]


SMALLEST_VARIANCE = 1e-12
"""As a share of the mean square: less than that is rounding."""


class Aggregate:
    """Computes reports from a ledger and from the episodes it is given. It uses no files, clocks or processes.

    Ledger columns are totals since the beginning, so a report is computed from the differences to the previous report:
    rates, shares of time, losses and lag describe the interval between them. Returns and lengths describe the last 100
    episodes, whenever they ended. Steps that were in the ledger at the construction (of a resumed run) count in `step`, but
    not in rates.
    """

    def __init__(self, ledger: Ledger, explorations: Sequence[str], updates: int = 0, settings: Sequence[str] | None = None):
        """`explorations[i]` names the setting of worker i, e.g. ``"entropy:0.01"``; `updates`: the number of updates so far.

        `settings`: all settings, if episodes name their own (black-box search). Rows of the ledger after those of the
        workers belong to learners.
        """
        if len(explorations) > ledger.workers:
            raise ValueError(f"{len(explorations)} explorations were given for {ledger.workers} workers")
        self._ledger = ledger
        self._explorations = list(explorations)
        self._settings = list(dict.fromkeys(explorations if settings is None else settings))
        named = {end: [name.removesuffix(end) for name in ledger.columns if name.endswith(end)] for end in ("_sum", "_total", "_peak")}
        self._loss_names = [name for name in named["_sum"] if name != "lag" and f"{name}_count" not in ledger.columns]
        self._counted_names = [name for name in named["_sum"] if name != "lag" and f"{name}_count" in ledger.columns]
        self._counters, self._peaks = named["_total"], named["_peak"]
        self._ages = [age for age in AGES if f"{age}_histogram" in ledger.columns]
        self._samples = [name for name in DIAGNOSES if f"{name}_count" in ledger.columns]
        self._first = self._previous = ledger.read_all()
        self._previous_updates = self._updates = updates
        self._previous_time: float | None = None
        self.returns = Returns(self._explorations, self._settings)
        """Statistics of finished episodes; the caller adds them here."""
        self.lag_histogram: FloatArray = np.zeros(LAG_BINS)
        """How often each lag occurred within the interval of the last report, shape [LAG_BINS]."""

    def report(self, now: float, updates: int) -> dict[str, float]:
        """A report of the interval since the previous one, under stable names; names without data are left out, so no value is NaN.

        `now`: time.monotonic(); `updates`: updates of the shared parameters so far (in rounds modes all workers make
        one together, so the workers' own counts do not add up to it). Names with a slash become scalars in TensorBoard; the
        others (step, seconds, updates, episodes) do not.
        """
        records = self._ledger.read_all()
        change = records - self._previous
        began = self._began(records)
        since = self._previous_time if self._previous_time is not None else began
        interval = now - since if since is not None else 0.0
        self._updates = updates
        self.lag_histogram = self._column(change, "lag_histogram").sum(axis=0)
        report = {
            "step": float(self._column(records, "steps").sum()),
            "seconds": now - began if began is not None else 0.0,
            "updates": float(updates),
            "episodes": float(self._column(records, "episodes").sum()),
            **self.returns.report(),
            **(self._rates(change, interval) if interval > 0 else {}),
            **self._lag(change, records),
            **self._shares(change),
            **self._losses(change),
            **self._figures(change, records),
            **self._counts(change),
        }
        if since is not None:  # before the first round begins there is no interval
            self._previous, self._previous_time, self._previous_updates = records, now, updates
        return _finite(report)

    def summary(self) -> dict[str, Any]:
        """The measured part of summary.json, over the whole run; None for values without data."""
        records = self._ledger.read_all()
        change = records - self._first
        began, ended = self._began(records), self._column(records, "ended").max()
        seconds = float(ended - began) if began is not None and ended > began else 0.0
        return {
            "steps": int(self._total(records, "steps")),
            "seconds": seconds,
            "steps_per_second": self._total(change, "steps") / seconds if seconds > 0 else None,
            "updates": self._updates,
            "episodes": int(self._total(records, "episodes")),
            **self.returns.summary(),
            "lag": self._distribution(records, "lag_histogram", "lag_sum", "lag_max"),
            "steps_by_worker": [int(steps) for steps in self._column(records, "steps")[: len(self._explorations), 0]],
            "time_share": {name.removeprefix("time/"): share for name, share in self._shares(records).items()},
            "skipped_updates": int(self._total(records, "skipped")),
            "versions_during_copies": int(self._total(records, "torn")),
            "lost_episode_records": int(self._total(records, "lost_episodes")),
            **({"counts": {name: int(self._total(records, f"{name}_total")) for name in self._counters}} if self._counters else {}),
            **({"diagnosis": self._diagnosis(records)} if self._samples else {}),
        }

    def _distribution(self, records: FloatArray, histogram: str, total: str, longest: str) -> dict[str, Any]:
        """Of lags over the whole run, by the columns that count them."""
        counts, maximum = self._column(records, histogram).sum(axis=0), float(self._column(records, longest).max())
        count = counts.sum()
        return {
            "mean": self._total(records, total) / count if count else None,
            "p50": lag_quantile(counts, 0.5, maximum) if count else None,
            "p95": lag_quantile(counts, 0.95, maximum) if count else None,
            "max": maximum if count else None,
            "histogram": {str(lag): int(counts[lag]) for lag in np.flatnonzero(counts)},
        }

    def _diagnosis(self, records: FloatArray) -> dict[str, Any]:
        """What `--diagnose` has told of the whole run."""
        counts = {name: self._total(records, f"{name}_count") for name in self._samples}
        means = {name: self._total(records, f"{name}_sum") / count if count else None for name, count in counts.items()}
        told = ("histogram", "versions", "longest")
        ages = {f"lag_{age}": self._distribution(records, *(f"{age}_{one}" for one in told)) for age in self._ages}
        return {**means, **ages, "worker_shares": self._worker_shares(records)}

    def _worker_shares(self, change: FloatArray) -> list[float]:
        """Of what was learned from, each worker's share; empty where that was nothing."""
        by_actor = "lag_counts" in self._ledger.columns
        uses = self._column(change, "lag_counts").sum(axis=0) if by_actor else self._column(change, "lag_count")[:, 0]
        return [float(one / uses.sum()) for one in uses] if uses.sum() else []

    def _rates(self, change: FloatArray, seconds: float) -> dict[str, float]:
        steps = self._column(change, "steps")[: len(self._explorations), 0] / seconds
        return {
            "rate/steps_per_second": float(steps.sum()),
            "rate/updates_per_second": (self._updates - self._previous_updates) / seconds,
            **{f"worker/{worker}/steps_per_second": float(rate) for worker, rate in enumerate(steps)},
        }

    def _lag(self, change: FloatArray, records: FloatArray) -> dict[str, float]:
        sums, counts = self._column(change, "lag_sum")[:, 0], self._column(change, "lag_count")[:, 0]
        if counts.sum() == 0:
            return {}
        occurred = np.flatnonzero(self.lag_histogram)
        maximum = float(occurred[-1]) if len(occurred) else 0.0
        if maximum >= LAG_BINS - 1:  # in the open last bin only the maximum of the whole run is known
            maximum = float(self._column(records, "lag_max").max())
        report = {
            "lag/mean": sums.sum() / counts.sum(),
            "lag/p50": lag_quantile(self.lag_histogram, 0.5, maximum),
            "lag/p95": lag_quantile(self.lag_histogram, 0.95, maximum),
            "lag/max": maximum,
        }
        for age in self._ages:
            report |= self._age(age, change, records)
        if self._samples:
            report |= {f"worker/{worker}/share": share for worker, share in enumerate(self._worker_shares(change))}
        rounds = self._total(change, "rounds")
        if rounds:
            report["lag/during_copy"] = self._total(change, "torn") / rounds
        if "lag_sums" in self._ledger.columns:  # the learner of the streams topology counts lag by the worker that acted
            sums, counts = (self._column(change, name).sum(axis=0) for name in ("lag_sums", "lag_counts"))
        for setting in self._settings:
            mine = [worker for worker, name in enumerate(self._explorations) if name == setting]
            if counts[mine].sum():
                report[f"lag/by_exploration/{setting}"] = sums[mine].sum() / counts[mine].sum()
        return report

    def _age(self, age: str, change: FloatArray, records: FloatArray) -> dict[str, float]:
        """The part of a stream's lag that is called so, within the interval."""
        counts = self._column(change, f"{age}_histogram").sum(axis=0)
        if not counts.sum():
            return {}
        longest = float(self._column(records, f"{age}_longest").max())
        mean = self._total(change, f"{age}_versions") / counts.sum()
        return {f"lag/{age}_mean": mean, f"lag/{age}_p95": lag_quantile(counts, 0.95, longest)}

    def _shares(self, change: FloatArray) -> dict[str, float]:
        seconds = {share: self._total(change, f"{share}_seconds") for share in SHARES}
        total = sum(seconds.values())
        return {f"time/{share}": spent / total for share, spent in seconds.items()} if total > 0 else {}

    def _losses(self, change: FloatArray) -> dict[str, float]:
        """Means of columns ``<name>_sum``, over the gradients or updates of the workers and learners that have any."""
        if not self._loss_names:
            return {}
        sums = np.stack([self._column(change, f"{loss}_sum")[:, 0] for loss in self._loss_names])
        # In rounds modes workers make no updates of their own: each round that was not skipped contributes one gradient.
        rounds = self._column(change, "rounds")[:, 0] - self._column(change, "skipped")[:, 0]
        gradients = np.maximum(self._column(change, "updates")[:, 0], rounds)[(sums != 0).any(axis=0)].sum()
        named = zip(self._loss_names, sums.sum(axis=1))
        return _told({loss: float(total) / gradients for loss, total in named}) if gradients else {}

    def _figures(self, change: FloatArray, records: FloatArray) -> dict[str, float]:
        """Means of columns that have their own ``<name>_count``; the run's largest values, ``<name>_peak``; skipped updates."""
        means = {}
        for name in self._counted_names:
            if count := self._total(change, f"{name}_count"):
                means[name] = self._total(change, f"{name}_sum") / count
        report = _told(means)
        if self._total(change, "updates"):
            report |= {f"learn/{name}": float(self._column(records, f"{name}_peak").max()) for name in self._peaks}
        skipped = self._total(records, "skipped")
        return {**report, "learn/skipped_updates": skipped} if skipped else report

    def _counts(self, change: FloatArray) -> dict[str, float]:
        """A learner's columns ``<name>_total`` per round of the learner, including rounds without an update."""
        rounds = float(self._column(change, "rounds")[len(self._explorations) :].sum())
        return {f"learn/{name}": self._total(change, f"{name}_total") / rounds for name in self._counters} if rounds else {}

    def _began(self, records: FloatArray) -> float | None:
        started = self._column(records, "started")
        return float(started[started > 0].min()) if (started > 0).any() else None

    def _column(self, records: FloatArray, name: str) -> FloatArray:
        return self._ledger.column(records, name)

    def _total(self, records: FloatArray, name: str) -> float:
        return float(self._ledger.column(records, name).sum())


def _finite(report: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in report.items() if math.isfinite(value)}


def _told(means: dict[str, float]) -> dict[str, float]:
    """Figures by their names in reports; `MOMENTS` make the mean of v(s), and 1 - Var(y - v) / Var(y) where its targets y differ at all."""
    report = {f"learn/{name}": mean for name, mean in means.items() if name not in MOMENTS}
    if not all(name in means for name in MOMENTS):
        return report
    target, target_square, residual, residual_square = (means[name] for name in MOMENTS)
    report["learn/value_mean"] = target - residual
    variance = target_square - target**2
    if variance > SMALLEST_VARIANCE * target_square:
        report["learn/explained_variance"] = 1.0 - (residual_square - residual**2) / variance
    return report
