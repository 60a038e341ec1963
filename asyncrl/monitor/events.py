"""TensorBoard's event file: its scalars, its page layout and its records, written directly and without a thread."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from asyncrl.store.growing_files import GrowingFile

CHARTS: dict[str, dict[str, Sequence[str]]] = {
    "Learning": {
        "return, mean of the last 100 episodes": ["return/mean"],
        "return by exploration": ["return/by_exploration/.*"],
        "return of greedy evaluations": ["evaluation/.*"],
    },
    "Asynchrony": {
        "lag in versions: mean and 95 %": ["lag/mean", "lag/p95"],
        "lag in versions: largest": ["lag/max"],
        "mean lag by exploration": ["lag/by_exploration/.*"],
    },
    "Speed": {
        "steps per second": ["rate/steps_per_second"],
        "updates per second": ["rate/updates_per_second"],
        "shares of the workers' time": ["time/.*"],
    },
    "Losses": {
        "policy loss": ["learn/policy_loss"],
        "value loss": ["learn/value_loss"],
        "entropy": ["learn/entropy"],
        "explained variance": ["learn/explained_variance"],
        "values: mean of v, of Q, of its targets": ["learn/value_mean", "learn/q_mean", "learn/q_target_mean"],
        "deviation of the policy": ["learn/policy_std"],
    },
    "Details": {
        "steps per second, each worker": ["worker/[0-9]+/steps_per_second"],
        "return, each worker": ["worker/[0-9]+/return"],
        "episode length": ["episode/length"],
        "gradient norm, and clipped": ["learn/(critic_|policy_)?gradient_norm(_clipped)?"],
        "updates by others during a copy": ["lag/during_copy"],
        "memory in MB": ["memory/rss_mb"],
    },
}
"""The page CUSTOM SCALARS: group -> chart -> regular expressions for whole scalar names. A row has three charts."""

METRICS = {
    "return/mean": "return",
    "return/best": "best return",
    "rate/steps_per_second": "steps/s",
    "rate/updates_per_second": "updates/s",
    "lag/mean": "lag mean",
    "lag/p95": "lag p95",
    "time/environment": "time: environment",
    "time/wait": "time: wait",
}
"""Scalar -> title of its column on the page HPARAMS, which shows the scalar's last value."""

FOREMOST = ("algo", "env", "mode", "seed", "workers")
"""Settings listed first on the page HPARAMS, which initially shows five columns and hides the others behind checkboxes."""

_numbers = count()


def new_file_name() -> str:
    """A new name for the event file of a session; TensorBoard reads the files of a folder in the order of their names."""
    return f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers):06d}"


class EventFile:
    """One events.out.tfevents.* file. Every method writes complete records, or raises OSError and writes nothing."""

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any], after: int | None = None, keep: int = 0):
        """Open the file. The layout of charts and the experiment's settings are written before the first report.

        `after`: the step at which a resumed run continues; TensorBoard then hides later steps in earlier files of the folder.
        `keep`: how many bytes of an existing file, of a writer that was killed, are kept; the rest is cut off.
        """
        self._file = GrowingFile(path, keep=keep)
        self._settings = flat_settings(settings)
        self._after = after
        self._head_written = keep > 0

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._file.size

    def add_report(self, report: Mapping[str, float], lag_histogram: NDArray[np.float64] | None, wall_time: float) -> None:
        """Write one event at ``report["step"]``: every name with a slash as a scalar, and the histogram of lag.

        `lag_histogram` [LAG_BINS]: how often each lag occurred; `wall_time`: of the report, by time.time().
        """
        step = int(report["step"])
        values = [Summary.Value(tag=name, simple_value=value) for name, value in report.items() if "/" in name]
        if lag_histogram is not None and lag_histogram.any():
            values.append(Summary.Value(tag="lag/histogram", histo=_histogram(lag_histogram)))
        event = Event(wall_time=wall_time, step=step, summary=Summary(value=values))
        if self._head_written:
            self._write(event)
        else:
            self._write(*self._head(wall_time), event)
            self._head_written = True

    def add_end(self, status: str) -> None:
        """Write for the page HPARAMS how the run ended: "completed" is a success, anything else a failure."""
        code = api_pb2.STATUS_SUCCESS if status == "completed" else api_pb2.STATUS_FAILURE
        end = HParamsPluginData(session_end_info=SessionEndInfo(status=code, end_time_secs=time.time()))
        self._write(Event(wall_time=time.time(), summary=_hparams_summary(hparams.SESSION_END_INFO_TAG, end)))

    def close(self) -> None:
        """Close the file, in which all records are already."""
        self._file.close()

    def _head(self, wall_time: float) -> list[Event]:
        # A START record hides the later steps in earlier files of the folder, which a resumed run repeats.
        start = SessionLog(status=SessionLog.START)
        return [
            Event(wall_time=wall_time, file_version="brain.Event:2"),
            *([] if self._after is None else [Event(wall_time=wall_time, step=self._after + 1, session_log=start)]),
            Event(wall_time=wall_time, summary=_layout_summary()),
            *(Event(wall_time=wall_time, summary=summary) for summary in _hparams_summaries(self._settings, wall_time)),
        ]

    def _write(self, *events: Event) -> None:
        records = io.BytesIO()
        writer = RecordWriter(records)
        for event in events:
            writer.write(event.SerializeToString())
        self._file.write(records.getvalue())


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | float | str]:
    """Nested settings as ``{"options.learning_rate": 0.001}``; None is left out, and values of other types become text."""
    flat: dict[str, bool | float | str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(flat_settings(value, f"{prefix}{name}."))
        elif isinstance(value, bool | int | float | str):
            flat[prefix + name] = value
        elif value is not None:
            flat[prefix + name] = str(value)
    return flat


def _histogram(counts: NDArray[np.float64]) -> HistogramProto:
    """A histogram with a bucket of width one around each lag; counts[lags], at least one of them not zero."""
    lags = np.arange(len(counts), dtype=np.float64)
    present = np.flatnonzero(counts)
    first, last = int(present[0]), int(present[-1])  # without empty bins at both ends, which would stretch the axis
    return HistogramProto(
        min=first - 0.5,  # TensorBoard uses this as the left edge of the first bucket
        max=last + 0.5,
        num=float(counts.sum()),
        sum=float(counts @ lags),
        sum_squares=float(counts @ lags**2),
        bucket_limit=(lags[first : last + 1] + 0.5).tolist(),
        bucket=counts[first : last + 1].tolist(),
    )


def _layout_summary() -> Summary:
    layout = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=title,
                chart=[layout_pb2.Chart(title=name, multiline=_lines(tags)) for name, tags in charts.items()],
            )
            for title, charts in CHARTS.items()
        ]
    )
    tensor = TensorProto(dtype="DT_STRING", string_val=[layout.SerializeToString()], tensor_shape=TensorShapeProto())
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=custom_scalar.PLUGIN_NAME))
    return Summary(value=[Summary.Value(tag=custom_scalar.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=metadata)])


def _lines(patterns: Sequence[str]) -> layout_pb2.MultilineChartContent:
    # TensorBoard matches only the beginning of a name: without "$", episode/length would also match longer names.
    return layout_pb2.MultilineChartContent(tag=[f"{pattern}$" for pattern in patterns])


def _hparams_summaries(settings: Mapping[str, bool | float | str], wall_time: float) -> list[Summary]:
    start = SessionStartInfo(start_time_secs=wall_time)
    for name, value in settings.items():
        kind = "bool_value" if isinstance(value, bool) else "string_value" if isinstance(value, str) else "number_value"
        setattr(start.hparams[name], kind, value)
    experiment = api_pb2.Experiment(
        time_created_secs=wall_time,
        # The page lists settings marked as `differs` first.
        hparam_infos=[
            api_pb2.HParamInfo(name=name, type=_hparam_type(value), differs=name in FOREMOST) for name, value in settings.items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=title) for tag, title in METRICS.items()],
    )
    return [
        _hparams_summary(hparams.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
        _hparams_summary(hparams.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
    ]


def _hparam_type(value: bool | float | str) -> Any:
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64


def _hparams_summary(tag: str, data: HParamsPluginData) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, metadata=hparams.create_summary_metadata(data), tensor=hparams.NULL_TENSOR)])
