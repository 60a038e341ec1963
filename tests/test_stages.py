"""The course of a run: modes, gates and checkpoints by steps."""

from __future__ import annotations

import pytest

from asyncrl.scheduler.modes import Stages, parse_mode, parse_modes


@pytest.mark.parametrize(
    ("steps", "mode", "mark", "change"),
    [
        (0, "sync", 400, 1000),
        (399, "sync", 400, 1000),
        (400, "sync", 800, 1000),
        (801, "sync", 1000, 1000),
        (1000, "async", 1200, 2500),
        (2405, "async", 2500, 2500),
        (2500, "bounded:2", 2800, 0),
        (2801, "bounded:2", 3000, 0),
    ],
)
def test_mode_and_gate_by_steps(steps, mode, mark, change):
    stages = Stages(parse_modes("sync@0,async@1000,bounded:2@2500"), 3000, 400)
    assert stages.at(steps) == (parse_mode(mode), mark)
    assert stages.next_change(steps) == change


def test_without_checkpoints_the_gate_is_at_changes_and_the_end():
    assert Stages(parse_modes("async"), 3000, 0).at(2999) == (parse_mode("async"), 3000)


@pytest.mark.parametrize(("steps", "saved", "due"), [(399, 0, False), (400, 0, True), (799, 410, False), (1300, 790, True)])
def test_a_checkpoint_is_due_when_a_multiple_has_been_passed(steps, saved, due):
    assert Stages(parse_modes("sync"), 3000, 400).checkpoint_due(steps, saved) is due
    assert not Stages(parse_modes("sync"), 3000, 0).checkpoint_due(steps, saved)
