"""The files of a run: whole at every moment, and read back by TensorBoard as they were meant."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.util import tensor_util

from asyncrl.monitor.events import CHARTS, EventFile, flat_settings, new_file_name
from asyncrl.monitor.recorder import Recorder, Report
from asyncrl.progress import LAG_BINS
from asyncrl.store.growing_files import GrowingFile, keep_lines_to
from asyncrl.store.json_files import write_json_atomically

SETTINGS = {"algo": "a3c", "mode": "async", "workers": 2, "options": {"learning_rate": 7e-4, "shared": True, "clip": None}}


class limited_file_size:
    """No file of this process may grow beyond so many bytes: a full disk that needs no disk. (Python ignores SIGXFSZ.)"""

    def __init__(self, most: int):
        self._most = most

    def __enter__(self):
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._most, self._before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "summary.json"
    write_json_atomically(path, {"value": np.float64("nan"), "count": np.int64(3), "list": np.arange(2)})
    assert json.loads(path.read_text()) == {"value": None, "count": 3, "list": [0, 1]}
    with limited_file_size(4096), pytest.raises(OSError, match="too large"):
        write_json_atomically(path, {"text": "x" * 100_000})
    assert json.loads(path.read_text())["count"] == 3
    assert os.listdir(tmp_path) == ["summary.json"]


def test_a_growing_file_never_keeps_half_a_piece(tmp_path):
    path = tmp_path / "file"
    file = GrowingFile(path)
    file.write(b"a" * 3000)
    with limited_file_size(4096), pytest.raises(OSError, match="too large"):
        file.write(b"b" * 3000)
    assert path.read_bytes() == b"a" * 3000
    file.write(b"c")
    assert path.read_bytes() == b"a" * 3000 + b"c"
    file.close()


@pytest.mark.parametrize(("before", "after"), [(b"one\ntwo\nthr", b"one\ntwo\n"), (b"one", b""), (b"", b""), (b"one\n", b"one\n")])
def test_a_torn_last_line_is_cut_off(tmp_path, before, after):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(before)
    GrowingFile(path, whole_lines=True).close()
    assert path.read_bytes() == after


def read_events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0}).Reload()


def test_tensorboard_reads_back_what_was_written(tmp_path):
    events, lags = EventFile(tmp_path / new_file_name(), SETTINGS), np.zeros(LAG_BINS)
    lags[[1, 4]] = 3, 1
    for step in (10, 20):
        events.add_report({"step": step, "return/mean": step / 8, "lag/mean": 1.0}, lags, 1e9 + step)
    events.add_end("completed")
    events.close()
    assert len(list(tmp_path.iterdir())) == 1  # also the settings: no folder of their own
    seen = read_events(tmp_path)
    scalars = [(event.step, event.value, event.wall_time) for event in seen.Scalars("return/mean")]
    assert scalars == [(10, 1.25, 1e9 + 10), (20, 2.5, 1e9 + 20)]
    assert "step" not in seen.Tags()["scalars"]
    histogram = seen.Histograms("lag/histogram")[1].histogram_value
    assert (histogram.num, histogram.sum) == (4, 7)
    assert (histogram.min, list(histogram.bucket_limit), list(histogram.bucket)) == (0.5, [1.5, 2.5, 3.5, 4.5], [3, 0, 0, 1])
    assert [category.title for category in layout_of(seen).category] == list(CHARTS)
    start = hparams.parse_session_start_info_plugin_data(plugin_content(seen, hparams.SESSION_START_INFO_TAG))
    assert start.hparams["options.learning_rate"].number_value == 7e-4
    assert start.hparams["options.shared"].bool_value is True
    assert hparams.parse_session_end_info_plugin_data(plugin_content(seen, hparams.SESSION_END_INFO_TAG)).status == 1


def layout_of(seen: EventAccumulator) -> layout_pb2.Layout:
    return layout_pb2.Layout.FromString(tensor_util.make_ndarray(seen.Tensors("custom_scalars__config__")[0].tensor_proto).item())


def plugin_content(seen: EventAccumulator, tag: str) -> bytes:
    return seen.SummaryMetadata(tag).plugin_data.content


def test_later_files_have_later_names():
    """TensorBoard would leave out a file whose name comes before that of one which it has read."""
    names = [new_file_name() for _ in range(120)]
    assert names == sorted(names)


def test_steps_that_a_resumed_run_repeats_are_not_shown_twice(tmp_path):
    for steps, after in (((10, 20, 30), None), ((26, 29), 20), ((28, 31), None)):  # the last purges nothing
        events = EventFile(tmp_path / new_file_name(), SETTINGS, after)
        for step in steps:
            events.add_report({"step": step, "return/mean": len(steps)}, None, time.time())
        events.close()
    shown = [(event.step, event.value) for event in read_events(tmp_path).Scalars("return/mean")]
    assert shown == [(10, 3), (20, 3), (26, 2), (29, 2), (28, 2), (31, 2)]


@pytest.mark.parametrize("torn", [b"", b'{"step": 2', b"\0\0\n"])
def test_lines_of_steps_that_a_resumed_run_repeats_are_left_out(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    lines = {step: json.dumps({"step": step, "return/mean": 1.0}).encode() + b"\n" for step in (10, 20, 30, 15, 31)}
    path.write_bytes(b"".join(lines.values()) + torn)  # 15: an evaluation that came in late
    recorder = Recorder(tmp_path, new_file_name(), SETTINGS, after=20)
    recorder.add(Report({"step": 22.0}, None, 0.0))
    recorder.close("completed")
    assert path.read_bytes() == lines[10] + lines[20] + lines[15] + b'{"step": 22}\n'
    assert sorted(one.name for one in tmp_path.iterdir())[1:] == ["metrics.jsonl"], "no temporary file is left"


def test_without_room_for_the_new_lines_the_old_ones_stand(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 5}\n')
    with limited_file_size(4), pytest.raises(OSError, match="File too large"):
        keep_lines_to(path, 3)
    assert path.read_bytes() == b'{"step": 1}\n{"step": 5}\n'
    assert list(tmp_path.iterdir()) == [path]
    keep_lines_to(path, 3)
    assert path.read_bytes() == b'{"step": 1}\n'


def test_settings_are_flat():
    flat = flat_settings({"seed": 3, "options": {"rate": 0.1, "clip": None, "sizes": (64, 64)}, "algo": "a3c", "on": True})
    assert flat == {"seed": 3, "options.rate": 0.1, "options.sizes": "(64, 64)", "algo": "a3c", "on": True}
