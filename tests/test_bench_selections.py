"""`asyncrl bench heads`: the rows of selections."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from asyncrl.bench.implicit_heads import ROWS, bench_implicit_heads, lines_of_ratios, ratios_of
from asyncrl.bench.selections import TEMPERATURES, bench_selections, tower_latents, unit_latents
from asyncrl.cli.bench import heads
from asyncrl.errors import UserError
from asyncrl.heads.implicit.selection import CONTROLS, DRAWING_CONTROLS, SELECTIONS

KEYS = {"head", "selection", "scanned", "actions", "latent", "latents", "microseconds", "score", "temperature", "variation", "bytes"}


@pytest.fixture(scope="module")
def rows():
    return bench_selections((500, 2000), (6,), scanned=(64, 200), hnsw_up_to=0)


@pytest.mark.slow
def test_every_selection_has_rows(rows):
    assert all(row.keys() == KEYS for row in rows)
    named = {row["selection"].split()[0].rstrip(",") for row in rows}
    assert named >= {*SELECTIONS, *CONTROLS, *DRAWING_CONTROLS}
    assert ("faiss" in named) == (importlib.util.find_spec("faiss") is not None)
    assert {(row["actions"], row["latent"], row["latents"]) for row in rows} == {
        (count, 6, kind) for count in (500, 2000) for kind in ("unit", "tower")
    }
    assert {row["scanned"] for row in rows if row["selection"] == "projections" and row["actions"] == 500} == {63}
    assert json.loads(json.dumps(rows)) == rows


def test_figures_are_in_their_ranges(rows):
    for row in rows:
        assert row["microseconds"] > 0
        if row["selection"].endswith("draw"):
            assert row["score"] is None and 0.0 <= row["variation"] < 0.6
            assert row["temperature"] in TEMPERATURES
        else:
            assert row["score"] <= 1.0 + 1e-5 and row["variation"] is None
        if row["selection"] in {"brute", "coded", "faiss IndexFlatIP"}:
            assert row["score"] == pytest.approx(1.0, abs=1e-5)


def test_latents():
    generator = np.random.default_rng(0)
    assert np.linalg.norm(unit_latents(generator, 50, 6), axis=1) == pytest.approx(1.0, abs=1e-6)
    tower = tower_latents(generator, 50, 6)
    assert (tower.shape, tower.dtype, tower.flags.c_contiguous) == ((50, 6), np.float32, True)


@pytest.mark.parametrize("option", ["actions", "latent", "scanned"])
def test_numbers_that_cannot_be_used(option):
    with pytest.raises(UserError, match=f"{option} = 0"):
        heads([f"--{option}", "100", "0"])


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = {"seconds": "0.001", "actions": "300", "latent": "4", "scanned": "64", "hnsw-up-to": "0", "json": "out.json"}
    assert heads([text for name, value in given.items() for text in (f"--{name}", value)]) == 0
    written = json.loads((tmp_path / "out.json").read_text())
    assert written.keys() == {"heads", "structures", "rows", "ratios"}
    assert {row["actions"] for row in written["rows"]} == {300} and all(row.keys() == KEYS for row in written["rows"])
    assert {row["head"] for row in written["rows"]} == {"none", "itt", "iot", "explicit"}
    shown = capsys.readouterr().out
    assert "principal-tree" in shown and "itt with a cached table against iot, 300 actions, d = 4, times faster: brute " in shown


def test_rows_of_heads():
    rows = bench_implicit_heads((2000,), (6,), scanned=10_000)
    assert all(row.keys() == KEYS for row in rows) and json.loads(json.dumps(rows)) == rows
    found = {(row["head"], row["selection"]): row for row in rows}
    assert len(found) == len(ROWS) and all(row["microseconds"] > 0 for row in rows)
    assert found["itt", "brute"]["score"] == pytest.approx(1.0, abs=1e-4) == found["iot", "brute"]["score"]
    assert 0.8 < found["itt", "principal-tree"]["score"] < 1.0001 and found["itt", "principal-tree"]["scanned"] == 26
    assert found["itt", "brute, fresh set"]["score"] > 0.5 and found["explicit", "none"]["score"] is None
    assert found["iot", "refine"]["score"] > found["iot", "brute"]["score"]
    ratios = ratios_of(rows)
    assert {row["selection"] for row in ratios} == {"brute", "principal-tree", "projections"}
    by_hand = found["iot", "brute"]["microseconds"] / found["itt", "brute"]["microseconds"]
    assert ratios[0] == {"actions": 2000, "latent": 6, "selection": "brute", "times_faster": by_hand}
    assert lines_of_ratios(ratios)[0].startswith("itt with a cached table against iot, 2,000 actions, d = 6, times faster: brute ")
