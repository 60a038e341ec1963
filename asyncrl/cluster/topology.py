"""A search some of whose workers are sites on other machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from asyncrl.cluster.asking import Cluster, ask, where
from asyncrl.cluster.engine import SitePlan
from asyncrl.cluster.on_ray import RayEngine
from asyncrl.cluster.place import run_site_place
from asyncrl.cluster.words import FIGURES, SiteWords
from asyncrl.experiment.checks import check_processes
from asyncrl.experiment.experiment import Experiment
from asyncrl.processes.fork_server import Context
from asyncrl.shared.arrays import Layout, prefixed
from asyncrl.topologies import topology_of
from asyncrl.topologies.search.topology import Searched, SearchTopology
from asyncrl.topologies.topology import Seat, Topology


def topology_on(experiment: Experiment, context: Context) -> Topology:
    """The topology of an experiment, on the machines that its engine reaches. Raises UserError."""
    return topology_of(experiment) if experiment.run.engine == "local" else search_on(experiment, context)


def search_on(experiment: Experiment, context: Context, function: Searched | None = None) -> SearchTopology:
    """The same of a search, of an environment's policies or of a function. Raises UserError."""
    if experiment.run.engine == "local":
        return SearchTopology(experiment, function)
    cluster = ask(context, experiment.run.address)
    try:
        return SitesTopology(experiment, cluster, function)
    except BaseException:
        cluster.close()
        raise


class SitesTopology(SearchTopology):
    """A search with as many places more as there are sites: workers first, then sites, then the learner."""

    def __init__(self, experiment: Experiment, cluster: Cluster, function: Searched | None = None):
        run, found = experiment.run, cluster.found
        self._sites = run.sites or max(len(found.nodes), 1)
        self._local = experiment.workers
        check_processes(self._local + self._sites)
        self._cluster = cluster
        super().__init__(experiment, function, self._sites)
        self.labels[self._local :] = [f"site {site}" for site in range(self._sites)]
        exact = any(mode.delay is not None for _, mode in experiment.modes)
        engine = partial(RayEngine, where(found, not run.address, self._sites))
        self._plan = partial(SitePlan, engine, workers=run.site_workers, exact=exact, max_failures=run.max_failures)
        self._words = SiteWords(self.memory.part("sites"))
        self._before = (time.monotonic(), self._words.figures.copy())

    def more_memory(self) -> Layout:
        return prefixed("sites", SiteWords.layout(self._sites))

    def name_of(self, worker: int) -> str:
        site = worker - self._local
        return f"site {site}" if 0 <= site < self._sites else super().name_of(worker)

    def body_of(self, seat: Seat) -> tuple[Callable[..., None], Any]:
        body, plan = super().body_of(seat)
        site = seat.worker - self._local
        return (run_site_place, (plan, self._plan(site=site))) if 0 <= site < self._sites else (body, plan)

    def site_figures(self) -> dict[str, float]:
        """Figures of each site since the last call, for a report."""
        now, figures = time.monotonic(), self._words.figures.copy()
        (then, before), self._before = self._before, (now, figures)
        report = dict[str, float]()
        for site, (row, old) in enumerate(zip(figures, before)):
            one, change = dict(zip(FIGURES, row)), dict(zip(FIGURES, row - old))
            report |= {
                f"site/{site}/evaluations_per_second": change["evaluations"] / max(now - then, 1e-9),
                f"site/{site}/latency_ms": 1000 * one["latency"],
                f"site/{site}/in_flight": one["in_flight"],
                f"site/{site}/deaths": one["deaths"],
                f"site/{site}/up": one["up"],
                **({f"site/{site}/lag": change["lag_sum"] / change["evaluations"]} if change["evaluations"] else {}),
            }
        return report

    def site_summary(self) -> list[dict[str, float | None]]:
        """What each site has done in this session, for summary.json."""
        rows = [dict(zip(FIGURES, map(float, row))) for row in self._words.figures]
        whole = ("evaluations", "deaths", "late", "silences", "workers", "bytes")
        return [
            {
                **{name: int(row[name]) for name in whole},
                "latency_ms": 1000 * row["latency"],
                "waiting_seconds": row["waiting"],
                "lag": row["lag_sum"] / row["evaluations"] if row["evaluations"] else None,
            }
            for row in rows
        ]

    def close(self) -> None:
        super().close()
        self._cluster.close()
