"""The writer process with real files: killed, stopped, interrupted, out of room; the main process never waits for it."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from asyncrl.monitor import recorder
from asyncrl.monitor import writer as writer_module
from asyncrl.monitor.events import new_file_name
from asyncrl.monitor.recorder import Recorder, Report
from asyncrl.monitor.writer import MOST_DEATHS, Writer
from asyncrl.progress import LAG_BINS
from asyncrl.topologies import run_context

SETTINGS = {"algo": "a3c", "mode": "async", "workers": 2, "options": {"learning_rate": 7e-4, "shared": True, "clip": None}}


@pytest.fixture
def context():
    return run_context()


def read_events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0}).Reload()


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line, parse_constant=pytest.fail) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def wait_for(writer: Writer, written: int, seconds: float = 30.0) -> list[str]:
    warnings, deadline = [], time.monotonic() + seconds
    while writer.written + writer.dropped < written:
        assert time.monotonic() < deadline, f"{writer.written} written, {writer.dropped} dropped"
        warnings += writer.poll()
        time.sleep(0.005)
    return warnings + writer.poll()


def test_the_writer_process_writes_both_files(tmp_path, context):
    writer = Writer(context, tmp_path, SETTINGS)
    for step in range(30):
        writer.send({"step": step, "seconds": step / 2, "return/mean": step**0.5, "learn/entropy": math.nan}, np.ones(LAG_BINS))
    assert writer.close(30) == []
    assert writer.written == 30
    assert [line["return/mean"] for line in lines_of(tmp_path)] == [step**0.5 for step in range(30)]
    assert "learn/entropy" not in lines_of(tmp_path)[0]
    seen = read_events(tmp_path)
    assert [event.step for event in seen.Scalars("return/mean")] == list(range(30))
    assert [event.value for event in seen.Scalars("return/mean")] == pytest.approx([step**0.5 for step in range(30)], rel=1e-6)
    assert writer.process_id is None


def test_ctrl_c_does_not_reach_the_writer(tmp_path, context):
    writer = Writer(context, tmp_path, SETTINGS)
    writer.send({"step": 1, "return/mean": 1.0})
    wait_for(writer, 1)
    os.kill(writer.process_id, signal.SIGINT)
    writer.send({"step": 2, "return/mean": 2.0})
    assert writer.close(30, "interrupted") == []
    assert len(lines_of(tmp_path)) == 2


def test_a_stopped_writer_delays_nobody_and_drops_the_oldest(tmp_path, context):
    writer = Writer(context, tmp_path, SETTINGS, most_queued=50)
    writer.send({"step": -1, "return/mean": 0.0})
    wait_for(writer, 1)
    report = {f"worker/{index}/steps_per_second": float(index) for index in range(100)}
    os.kill(writer.process_id, signal.SIGSTOP)
    lasted = []
    for step in range(1000):
        begin = time.perf_counter()
        writer.send({"step": step, **report}, np.ones(LAG_BINS))
        assert writer.poll() == []
        lasted.append(time.perf_counter() - begin)
    assert np.quantile(lasted, 0.9) < 1e-3
    assert writer.dropped == 1000 - 1 - 50  # one is on its way, fifty wait
    os.kill(writer.process_id, signal.SIGCONT)
    warnings = writer.close(30)
    assert warnings == [f"949 reports are missing in the event file and metrics.jsonl of {tmp_path}"]
    assert [line["step"] for line in lines_of(tmp_path)] == [-1, 0, *range(950, 1000)]


def slow_main(*arguments):
    """The writer process where every report takes a while, as on a machine or disk that many share."""
    write = Recorder.add

    def add(self, report):
        time.sleep(0.4)
        write(self, report)

    Recorder.add = add
    recorder.writer_main(*arguments)


def late_main(*arguments):
    """The writer process where it takes a while to begin, as on a machine that many share."""
    time.sleep(3.0)
    recorder.writer_main(*arguments)


@pytest.mark.parametrize(("status", "all_of_them"), [("completed", True), ("interrupted", False)])
@pytest.mark.parametrize(("main", "reports", "begun", "seconds"), [(slow_main, 8, 1, 2.0), (late_main, 3, 0, 1.0)])
def test_closing_waits_for_a_writer_that_gets_on(tmp_path, context, monkeypatch, main, reports, begun, seconds, status, all_of_them):
    """Slowly, or as late as one that takes the place of one that was killed; but not where somebody has pressed Ctrl-C."""
    monkeypatch.setattr(writer_module, "writer_main", main)
    writer = Writer(context, tmp_path, SETTINGS)
    for step in range(reports):
        writer.send({"step": step, "return/mean": 0.0})
    wait_for(writer, begun)
    writer.close(seconds, status)
    assert (writer.dropped == 0) == all_of_them
    if all_of_them:
        assert len(lines_of(tmp_path)) == reports


def test_closing_a_stopped_writer_keeps_its_deadline(tmp_path, context):
    writer = Writer(context, tmp_path, SETTINGS)
    writer.send({"step": 1, "return/mean": 1.0})
    wait_for(writer, 1)
    os.kill(writer.process_id, signal.SIGSTOP)
    for step in range(3):
        writer.send({"step": step})
    begin = time.monotonic()
    warnings = writer.close(0.5)
    assert time.monotonic() - begin < 20
    assert "killed" in warnings[0]
    assert writer.dropped == 3


@pytest.mark.stress
def test_whoever_follows_a_killed_writer_goes_on_with_its_files(tmp_path, context):
    """Killed with reports in hand, or between two: every report is there once, in order, in both files."""
    writer = Writer(context, tmp_path, SETTINGS)
    warnings: list[str] = []
    kills = 6
    for step in range(40 * kills):
        writer.send({"step": step, "return/mean": float(step), **{f"learn/{n}": 0.0 for n in range(200)}}, np.ones(LAG_BINS))
        if step % 40 == 20:
            if step % 80 == 20:
                wait_for(writer, step + 1)
            os.kill(writer.process_id, signal.SIGKILL)
        if step % 40 == 39:
            warnings += wait_for(writer, step + 1)
    assert [warning for warning in warnings if "killed by signal 9) and is started again" not in warning] == []
    assert len(warnings) == kills
    assert writer.close(30) == []
    assert (writer.written, writer.dropped) == (40 * kills, 0)
    assert [line["step"] for line in lines_of(tmp_path)] == list(range(40 * kills))
    assert [event.step for event in read_events(tmp_path).Scalars("return/mean")] == list(range(40 * kills))
    assert len(list(tmp_path.glob("events.*"))) == 1


def test_a_writer_that_is_killed_at_the_end_writes_the_end_all_the_same(tmp_path, context):
    writer = Writer(context, tmp_path, SETTINGS)
    os.kill(writer.process_id, signal.SIGSTOP)
    for step in range(5):
        writer.send({"step": step, "return/mean": 0.0})
    os.kill(writer.process_id, signal.SIGKILL)
    warnings = writer.close(30)
    assert len(warnings) == 1 and "started again" in warnings[0]
    assert [line["step"] for line in lines_of(tmp_path)] == [0, 1, 2, 3, 4]
    end = HParamsPluginData.FromString(read_events(tmp_path).SummaryMetadata(SESSION_END_INFO_TAG).plugin_data.content)
    assert end.session_end_info.status == api_pb2.STATUS_SUCCESS


def test_a_writer_that_dies_without_writing_is_given_up(tmp_path, context):
    writer = Writer(context, tmp_path, SETTINGS)
    warnings: list[str] = []
    for _ in range(MOST_DEATHS):
        os.kill(writer.process_id, signal.SIGKILL)
        writer._process.join(30)
        writer.send({"step": 1})
        warnings += writer.poll()
    assert [("is started again" in warning, "without reports" in warning) for warning in warnings] == [(True, False)] * 2 + [(False, True)]
    assert writer.process_id is None
    assert len(writer.close(5)) == 1
    assert writer.written + writer.dropped == MOST_DEATHS


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.99, 1.0])
def test_what_a_killed_writer_has_left_half_written_is_made_whole(tmp_path, share):
    """The files are cut at every sort of place, as a kill within a write does; the report that was under way comes again."""
    name = new_file_name()
    report = {"step": 1.0, "return/mean": 0.5}
    reports = [Report(report, np.ones(LAG_BINS), 1000.0 + number) for number in range(3)]  # equal but for the time: nothing is mixed up
    recorder = Recorder(tmp_path, name, SETTINGS)
    recorder.open(None)
    sizes = [recorder.sizes]
    for report in reports:
        recorder.add(report)
        sizes.append(recorder.sizes)
    files = [tmp_path / name, tmp_path / "metrics.jsonl"]
    whole = [path.read_bytes() for path in files]
    for done in (0, 2):
        for torn in (0, 1):
            for number, path in enumerate(files):
                after = sizes[done + 1][number]
                kept = sizes[done][number] + share * (after - sizes[done][number]) if number == torn else after
                path.write_bytes(whole[number][: int(kept)])
            successor = Recorder(tmp_path, name, SETTINGS)
            successor.open(sizes[done])
            for report in reports[done:]:
                successor.add(report)
            assert [path.read_bytes() for path in files] == whole
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 1, 1]
    assert [event.step for event in read_events(tmp_path).Scalars("return/mean")] == [1, 1, 1]


def test_a_full_disk_is_one_warning_and_ends_when_there_is_room(tmp_path, context):
    writer = Writer(context, tmp_path, SETTINGS)
    report = {f"worker/{index}/steps_per_second": float(index) for index in range(50)}
    writer.send({"step": 0, **report})
    assert wait_for(writer, 1) == []
    before = resource.prlimit(writer.process_id, resource.RLIMIT_FSIZE)
    room = max(path.stat().st_size for path in tmp_path.iterdir()) + 5000
    resource.prlimit(writer.process_id, resource.RLIMIT_FSIZE, (room, before[1]))
    for step in range(1, 31):
        writer.send({"step": step, **report})
    warnings = wait_for(writer, 31)
    assert len(warnings) == 1
    assert "cannot write reports" in warnings[0]
    assert writer.dropped > 20
    resource.prlimit(writer.process_id, resource.RLIMIT_FSIZE, before)
    writer.send({"step": 31, **report})
    assert len(writer.close(30)) == 1  # how many are missing
    steps = [line["step"] for line in lines_of(tmp_path)]
    assert steps[-1] == 31
    assert len(steps) == writer.written
    assert [event.step for event in read_events(tmp_path).Scalars("worker/0/steps_per_second")][-1] == 31


def test_a_folder_that_is_gone_is_one_warning(tmp_path, context):
    writer = Writer(context, tmp_path / "missing", SETTINGS)
    for step in range(5):
        writer.send({"step": step})
    warnings = wait_for(writer, 5)
    assert len(warnings) == 1
    assert "No such file" in warnings[0]
    assert writer.dropped == 5
    assert len(writer.close(5)) == 1


def be_a_main_process_and_die(folder: str, connection) -> None:
    writer = Writer(run_context(), folder, SETTINGS)
    writer.send({"step": 1, "return/mean": 1.0})
    wait_for(writer, 1)
    connection.send(writer.process_id)
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_writer_ends_when_the_main_process_is_killed(tmp_path):
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=be_a_main_process_and_die, args=(str(tmp_path), theirs))
    process.start()
    assert ours.poll(60)
    writer_id = ours.recv()
    process.join(30)
    deadline = time.monotonic() + 20
    while is_running(writer_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(lines_of(tmp_path)) == 1


def is_running(process_id: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process_id}/status").read_text()
    except FileNotFoundError:
        return False
