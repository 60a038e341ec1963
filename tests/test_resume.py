"""What a resumed run remembers of the sessions before it, and whether there is room for what it will leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import command, wait_for
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from asyncrl.api import resume, train
from asyncrl.errors import UserError
from asyncrl.session import folder as record
from asyncrl.store.checkpoint import folder_of, newest, read_part, step_of


def test_a_resumed_run_remembers_its_target_and_its_best_checkpoint(tmp_path: Path):
    settings = {"mode": "sync", "workers": 2, "quiet": True, "evaluation_episodes": 0, "keep_checkpoints": 1}
    first = train("a3c", "CartPole-v1", steps=4_000, checkpoint_every=2_000, runs=str(tmp_path), **settings)
    best = read_part(newest(first.folder), "run")[0]["best"]
    assert best is not None

    second = resume(first.folder, steps=5_000, quiet=True)
    saved = read_part(newest(first.folder), "run")[0]
    assert second.summary["steps"] == saved["target_steps"] == 5_000
    assert saved["best"][0] >= best[0], "a later checkpoint is best only if it is better than those of all sessions"
    assert folder_of(first.folder, saved["best"][1]).is_dir(), "the best checkpoint is kept besides the newest"


def test_after_a_kill_of_the_main_process_and_a_resume_there_is_one_line_of_time(tmp_path: Path):
    options = "--steps 10_000_000 --checkpoint-every 4_000 --workers 1 --report-seconds 0.05 --name killed --quiet"
    process = subprocess.Popen(command(tmp_path, "train", "a2c", "CartPole-v1", *options.split()))
    folder = tmp_path / "killed"

    def steps() -> list[int]:
        path = folder / "metrics.jsonl"
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line)["step"] for line in whole.splitlines()]

    try:
        # Beyond a checkpoint, so that there is something that is done again.
        wait_for(lambda: list(folder.glob("checkpoints/*/done")) and steps()[-1:] > [step_of(newest(folder)) + 500], 60.0)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    abandoned, resumed_at = steps(), step_of(newest(folder))
    assert abandoned[-1] > resumed_at
    result = resume(folder, steps=resumed_at + 4_000, quiet=True)
    told = steps()
    assert told == sorted(told)
    assert told[: len([step for step in abandoned if step <= resumed_at])] == [step for step in abandoned if step <= resumed_at]
    assert told[-1] == result.summary["steps"]
    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload().Scalars("rate/steps_per_second")
    assert [event.step for event in shown] == sorted(event.step for event in shown)


@pytest.mark.parametrize(
    ("every", "keep", "there", "needed"),
    [
        (0, 3, 0, 1000),  # the last one alone
        (300, 1, 0, 1000 + 900 + 600),  # it is written beside the newest and the best
        (300, 9, 0, 1000 + 900 + 600 + 300),
        (300, 1, 2, 1000),  # those that a resumed run has make room
        (1, 1, 0, 1000 + 999 + 998),
    ],
)
def test_a_disk_without_room_for_the_checkpoints_is_told_at_the_start(tmp_path, monkeypatch, every, keep, there, needed):
    run = SimpleNamespace(checkpoint_every=every, keep_checkpoints=keep)
    experiment = SimpleNamespace(run=run, steps=1000)
    folders = [folder_of(tmp_path, step) for step in (100, 200)[:there]]
    for folder in folders:
        folder.mkdir(parents=True)
    arguments = (tmp_path / "runs" / "new", experiment, lambda steps: steps, folders[-1] if folders else None)
    monkeypatch.setattr(record, "free_bytes", lambda place: needed)
    record.check_room(*arguments)
    monkeypatch.setattr(record, "free_bytes", lambda place: needed - 1)
    with pytest.raises(UserError, match=f"need {needed:,} bytes on the disk of '{tmp_path}', {needed - 1:,} are free"):
        record.check_room(*arguments)


def test_a_replay_counts_as_far_as_it_can_be_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "free_bytes", lambda place: 50_000)
    settings = {"quiet": True, "workers": 1, "warm_up": 20, "batch": 16, "hidden": (8,), "evaluation_episodes": 0, "runs": str(tmp_path)}
    with pytest.raises(UserError, match=r"the run's checkpoints need .* a smaller --replay"):
        train("td3", "Pendulum-v1", steps=100_000, replay=10_000, **settings)
    assert list(tmp_path.iterdir()) == []
    assert train("td3", "Pendulum-v1", steps=60, replay=10_000, **settings).status == "completed"
