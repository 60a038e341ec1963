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

from asyncrl.monitor.writer import Writer
from asyncrl.progress import LAG_BINS

SETTINGS = {"algo": "a3c", "mode": "async", "workers": 2, "options": {"learning_rate": 7e-4, "shared": True, "clip": None}}


@pytest.fixture
def context():
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(["asyncrl.monitor.recorder"])
    return chosen


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
def test_a_killed_writer_is_started_again_once(tmp_path, context):
    writer = Writer(context, tmp_path, SETTINGS)
    warnings: list[str] = []
    sent = 0
    for kill in (True, True, False):
        for _ in range(20):
            writer.send({"step": sent, "return/mean": float(sent)})
            sent += 1
        warnings += wait_for(writer, sent)
        if kill:
            os.kill(writer.process_id, signal.SIGKILL)
            writer._process.join(30)  # the fork server has told how it ended
    assert len(warnings) == 2
    assert "started again" in warnings[0]
    assert "signal 9" in warnings[0]
    assert "without reports" in warnings[1]
    assert writer.process_id is None
    warnings = writer.close(5)
    assert len(warnings) == 1
    assert writer.written + writer.dropped == 60
    steps = [line["step"] for line in lines_of(tmp_path)]
    assert len(steps) == len(set(steps)) == writer.written >= 39
    assert [event.step for event in read_events(tmp_path).Scalars("return/mean")] == steps


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
    writer = Writer(multiprocessing.get_context("forkserver"), folder, SETTINGS)
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
