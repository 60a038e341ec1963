"""What a resumed run remembers of the sessions before it."""

from __future__ import annotations

from pathlib import Path

from asyncrl.api import resume, train
from asyncrl.checkpoint import folder_of, newest, read_part


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
