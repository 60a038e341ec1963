"""The lock-free protocols, checked exhaustively by spin (tests/models): the sound ones hold, and every wrong one is rejected."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).parent / "models"
CHECKER = [pytest.mark.slow, pytest.mark.timeout(1800)]
missing = [tool for tool in ("spin", "cc") if shutil.which(tool) is None]
pytestmark = [*CHECKER, pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")]

SOUND = {
    "rounds": ["-DN=2", "-DN=3"],
    "tickets": [
        *(f"-DN=1 -DMODE={mode} -DP=2 -DVERSIONS=2 -DKILLS=2" for mode in range(4)),
        "-DN=2 -DMODE=0 -DVERSIONS=2 -DKILLS=2",
        "-DN=2 -DMODE=1 -DVERSIONS=1 -DKILLS=2",
        "-DN=2 -DMODE=2 -DVERSIONS=1 -DKILLS=1",
        "-DN=2 -DMODE=3 -DVERSIONS=1 -DKILLS=1",
        "-DN=3 -DMODE=0 -DVERSIONS=1 -DKILLS=1",
    ],
    "ring": ["-DN=2", "-DN=3", "-DN=2 -DSURVIVES=1 -DKILLS=2", "-DN=3 -DSURVIVES=1"],
    "gate": ["-DN=2", "-DN=3"],
    "table": [
        *(f"-DN=2 -DASKS=3 -DVERSIONS={versions}" for versions in (2, 3)),
        "-DN=2 -DASKS=2 -DSHARDS=2 -DKILLS=2",
        "-DN=2 -DASKS=2 -DINDEX=1",
        "-DN=2 -DASKS=3 -DINDEX=1 -DKILLS=0",
        *(f"-DN=3 -DASKS=3 -DEACH=1 -DKILLS=0 -DVERSIONS={versions}" for versions in (2, 3)),
        "-DN=3 -DASKS=2 -DEACH=1",
    ],
    "whole": ["-DN=2", "-DN=3 -DUPDATES=1 -DREADS=1"],
}
WRONG = {
    "rounds": [f"-DN=2 -DEPOCHS=1 -DBROKEN={n}" for n in range(1, 6)],
    "tickets": [
        *(f"-DN=2 -DMODE=0 -DVERSIONS=2 -DKILLS=2 -DBROKEN={n}" for n in (1, 2, 4, 5, 6)),
        "-DN=1 -DMODE=2 -DVERSIONS=1 -DKILLS=1 -DBROKEN=7",
        "-DN=2 -DMODE=2 -DVERSIONS=1 -DKILLS=1 -DBROKEN=3",
    ],
    "ring": [
        "-DN=2 -DBROKEN=1",
        "-DN=2 -DBROKEN=2",
        "-DN=2 -DBROKEN=3",
        "-DN=3 -DBROKEN=4",
        "-DN=3 -DUNITS=3 -DBROKEN=5",
        "-DN=2 -DSURVIVES=1 -DBROKEN=6",
    ],
    "gate": [f"-DN=2 -DBROKEN={n}" for n in range(1, 5)],
    "table": [
        *(f"-DN=2 -DASKS=4 -DBROKEN={n}" for n in (1, 3, 4, 5)),
        "-DN=3 -DASKS=4 -DKILLS=0 -DBROKEN=2",
        "-DN=2 -DASKS=5 -DVERSIONS=4 -DKILLS=0 -DBROKEN=6",
        "-DN=2 -DASKS=3 -DKILLS=0 -DBROKEN=7",
        "-DN=2 -DASKS=2 -DVERSIONS=2 -DBROKEN=8",
        *(f"-DN=2 -DASKS=2 -DVERSIONS=2 -DKILLS=0 -DBROKEN={n}" for n in (9, 11)),
        "-DN=2 -DASKS=4 -DINDEX=1 -DKILLS=0 -DBROKEN=10",
    ],
    "whole": [f"-DN=2 -DBROKEN={n}" for n in range(1, 6)],
}
LIVENESS = "-DCOLLAPSE", "-DNFAIR=4"
SAFETY = "-DCOLLAPSE", "-DSAFETY", "-DNOCLAIM"


def cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(model, options) for model, several in table.items() for options in several]


def check(folder: Path, model: str, options: str, how: tuple[str, ...], flags: tuple[str, ...] = ()) -> tuple[int, int]:
    """(errors found, states looked at). Fails where the search was not exhaustive."""
    source = MODELS / f"{model}.pml"
    subprocess.run(["spin", "-a", *options.split(), str(source)], cwd=folder, check=True, capture_output=True)
    subprocess.run(["cc", "-O2", "-w", "-DMEMLIM=2000", *how, "-o", "pan", "pan.c"], cwd=folder, check=True, capture_output=True)
    told = subprocess.run(["./pan", "-m500000", "-n", *flags], cwd=folder, check=True, capture_output=True, text=True).stdout
    errors, states = re.search(r"errors: (\d+)", told), re.search(r"(\d+) states, stored", told)
    assert errors and states, told
    assert int(errors[1]) or not re.search("max search depth|out of memory|Search not completed", told), told
    return int(errors[1]), int(states[1])


@pytest.mark.parametrize(("model", "options"), cases(SOUND))
def test_a_protocol_holds(tmp_path, model, options):
    """No assertion fails, nobody is stuck, and the end is always reached (in every schedule: none of the models has a cycle)."""
    errors, states = check(tmp_path, model, options, SAFETY)
    assert not errors, "an assertion fails, or somebody is stuck"
    assert states > 1000
    assert not check(tmp_path, model, options, LIVENESS, ("-a",))[0], "the end is not always reached"
    print(f"{model} {options}: {states:,} states")


@pytest.mark.parametrize(("model", "options"), cases(WRONG))
def test_a_wrong_protocol_is_rejected(tmp_path, model, options):
    assert check(tmp_path, model, options, SAFETY)[0] == 1


def test_every_model_has_sound_and_wrong_runs():
    assert {path.stem for path in MODELS.glob("*.pml")} == set(SOUND) == set(WRONG)
