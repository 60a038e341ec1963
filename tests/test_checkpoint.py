"""Checkpoints are whole or do not count; damage is found and named; reading executes nothing."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from asyncrl.errors import UserError
from asyncrl.store import array_files, checkpoint

ARRAYS = {
    "parameters": np.linspace(-1, 1, 50, dtype=np.float32),
    "counts": np.arange(6, dtype=np.int64).reshape(2, 3),
    "key": np.arange(4, dtype=np.uint8),
    "mean": np.array(0.1),
    "empty": np.zeros((0, 3)),
    "strided": np.arange(12.0).reshape(3, 4).T,
    "flags": np.array([True, False]),
}
STATE = {"random": np.random.PCG64(7).state, "steps": 10, "name": "ä", "none": None, "infinite": float("inf"), "ratio": 0.1}


def make(run: Path, step: int, workers: int = 2) -> Path:
    folder = checkpoint.begin(run, step)
    for name in ["run", *(f"worker-{i}" for i in range(workers))]:
        checkpoint.write_part(folder, name, STATE, ARRAYS)
    checkpoint.seal(folder, {"env": "CartPole-v1", "algo": "a3c", "step": step})
    return folder


def refused(action, *parts: object) -> str:
    """The one line of the UserError that an action raises, which must contain every part."""
    with pytest.raises(UserError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert str(part) in text
    return text


def test_what_is_written_comes_back(tmp_path):
    folder = make(tmp_path, 10)
    state, arrays = checkpoint.read_part(checkpoint.newest(tmp_path), "worker-1")
    assert state == STATE
    assert state["random"]["state"]["state"] > 2**64
    assert arrays.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        assert arrays[key].dtype == array.dtype
        assert arrays[key].shape == array.shape
        np.testing.assert_array_equal(arrays[key], array)
        arrays[key][...] = 0  # the caller's own
    manifest = checkpoint.check(folder)
    assert manifest["env"] == "CartPole-v1"
    assert checkpoint.parts(folder) == ["run", "worker-0", "worker-1"]
    assert not list(folder.glob("*.unfinished"))


def test_a_generator_goes_on_where_it_was(tmp_path):
    generator = np.random.default_rng(3)
    generator.random(5)
    folder = checkpoint.begin(tmp_path, 0)
    checkpoint.write_part(folder, "run", {"random": generator.bit_generator.state}, {})
    other = np.random.default_rng()
    other.bit_generator.state = checkpoint.read_part(folder, "run")[0]["random"]
    assert generator.random() == other.random()


def test_newest_is_by_number_and_whole(tmp_path):
    refused(lambda: checkpoint.newest(tmp_path), tmp_path)
    make(tmp_path, 9)
    ten = make(tmp_path, 10)
    interrupted = checkpoint.begin(tmp_path, 11)
    checkpoint.write_part(interrupted, "run", STATE, ARRAYS)
    (tmp_path / "checkpoints" / "step-notes").mkdir()
    assert checkpoint.newest(tmp_path) == ten
    refused(lambda: checkpoint.check(interrupted), "whole", interrupted)


def test_a_missing_run_names_its_neighbour(tmp_path):
    (tmp_path / "cartpole-1").mkdir()
    refused(lambda: checkpoint.newest(tmp_path / "cartpole-2"), "cartpole-2", "did you mean 'cartpole-1'")


def test_a_whole_checkpoint_is_never_overwritten(tmp_path):
    folder = make(tmp_path, 5)
    with pytest.raises(FileExistsError):
        checkpoint.begin(tmp_path, 5)
    checkpoint.check(folder)


def test_an_interrupted_write_is_begun_afresh(tmp_path):
    folder = checkpoint.begin(tmp_path, 5)
    checkpoint.write_part(folder, "worker-7", STATE, ARRAYS)
    assert checkpoint.parts(checkpoint.begin(tmp_path, 5)) == []


def test_a_half_written_part_is_not_sealed(tmp_path):
    folder = checkpoint.begin(tmp_path, 5)
    for name in ("run", "worker-0"):
        checkpoint.write_part(folder, name, STATE, ARRAYS)
    (folder / "worker-0.json").rename(folder / "worker-0.json.unfinished")
    checkpoint.seal(folder, {})
    assert checkpoint.parts(folder) == ["run"]
    assert sorted(checkpoint.check(folder)["files"]) == ["run.json", "run.safetensors"]


@pytest.mark.parametrize("name", ["", "done", "..", "a/b", ".hidden"])
def test_part_names(tmp_path, name):
    with pytest.raises(ValueError, match="named"):
        checkpoint.write_part(tmp_path, name, {}, {})


def test_every_truncation_and_bit_flip_is_found(tmp_path):
    """Every file of a checkpoint, at sampled places: one line that names the file, or (blanks in the manifest) nothing changed."""
    folder = make(tmp_path, 10, workers=1)
    manifest = checkpoint.check(folder)
    draw = random.Random(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for _ in range(25):
            path.write_bytes(whole[: draw.randrange(len(whole))])
            refused(lambda: checkpoint.newest(tmp_path), folder.name)
            flipped = bytearray(whole)
            flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(flipped)
            if path.name == "done" and _same_manifest(folder, manifest):
                continue
            refused(lambda: checkpoint.newest(tmp_path), folder.name)
        path.write_bytes(whole)
    assert checkpoint.check(folder) == manifest


def _same_manifest(folder: Path, manifest: dict) -> bool:
    try:
        return checkpoint.check(folder) == manifest
    except UserError:
        return False


def test_a_missing_file_is_damage_even_with_an_older_whole_checkpoint(tmp_path):
    make(tmp_path, 1)
    folder = make(tmp_path, 2)
    (folder / "worker-0.safetensors").unlink()
    refused(lambda: checkpoint.newest(tmp_path), "damaged", folder / "worker-0.safetensors")


def test_a_newer_format_is_refused_as_such(tmp_path):
    folder = make(tmp_path, 3)
    document = json.loads((folder / "done").read_text())
    (folder / "done").write_text(json.dumps({**document, "format": checkpoint.FORMAT + 1}))
    refused(lambda: checkpoint.newest(tmp_path), "newer version", folder)


def test_the_safetensors_library_reads_what_we_write_and_we_what_it_writes(tmp_path):
    kinds = {name: np.array([0, 1, 2]).astype(kind) for name, kind in array_files.KINDS.items()}
    given = {**ARRAYS, **kinds, "big-endian": np.arange(5, dtype=">i8"), "long": np.arange(array_files.PIECE // 8 * 2 + 3)}
    folder = checkpoint.begin(tmp_path, 1)
    checkpoint.write_part(folder, "run", STATE, given)
    path, other = folder / "run.safetensors", tmp_path / "other.safetensors"
    little = {name: np.asarray(array, array.dtype.newbyteorder("<"), order="C") for name, array in given.items()}
    save_file(little, other, {"a": "note"})
    for arrays in (load_file(path), array_files.mapped(path), array_files.mapped(other)):
        assert arrays.keys() == given.keys()
        for name, array in little.items():
            assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(arrays[name], array)
    assert all(array.flags.aligned for array in array_files.mapped(path).values())


GLUTTON = """
import resource, sys, numpy as np
from pathlib import Path
from asyncrl.store import checkpoint

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder = checkpoint.begin(Path(sys.argv[1]), 1)
arrays = {"rows": np.ones((200_000, 1024), np.uint8), "small": np.ones(3)}
before = peak()
beats = []
checkpoint.write_part(folder, "run", {}, arrays, *([lambda: beats.append(1)] if sys.argv[2] == "beat" else []))
written = peak()
checkpoint.seal(folder, {})
checkpoint.check(folder)
checked = peak()
read = checkpoint.read_part(folder, "run")[1]
print(written - before, checked - written, peak() - checked, len(beats), read["rows"].shape[0])
"""


def test_saving_and_loading_take_little_memory_beside_the_arrays(tmp_path):
    """195 MiB are written, checked and read; what the peak rose by each time, in MiB; signs of life on the way."""
    done = subprocess.run([sys.executable, "-c", GLUTTON, str(tmp_path), "beat"], capture_output=True, text=True, check=True)
    write, check, read, beats, rows = map(float, done.stdout.split())
    assert max(write, check, read) < 40, done.stdout
    assert beats >= 10
    assert rows == 200_000


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_is_refused_and_not_executed(tmp_path):
    sprung = tmp_path / "sprung"
    folder = checkpoint.begin(tmp_path, 1)
    checkpoint.write_part(folder, "run", STATE, ARRAYS)
    for suffix in ("safetensors", "json"):
        (folder / f"run.{suffix}").write_bytes(pickle.dumps(Trap(sprung)))
        checkpoint.seal(folder, {})  # the checksums are right: the content alone gives it away
        checkpoint.check(folder)
        refused(lambda: checkpoint.read_part(folder, "run"), folder / "run.")
    assert not sprung.exists()
    pickle.loads((folder / "run.json").read_bytes())
    assert sprung.exists(), "the trap itself must work"


def test_prune_keeps_the_newest_and_the_best(tmp_path):
    folders = {step: make(tmp_path, step, workers=0) for step in (1, 2, 3, 4, 20)}
    leftover = checkpoint.begin(tmp_path, 15)
    being_written = checkpoint.begin(tmp_path, 30)
    checkpoint.prune(tmp_path, keep=2, best=folders[2])
    left = {checkpoint.step_of(path) for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {2, 4, 20, 30}
    assert not leftover.exists()
    assert being_written.exists()
    checkpoint.prune(tmp_path, keep=0, best=None)
    assert checkpoint.newest(tmp_path) == folders[20]


def test_prune_without_a_whole_checkpoint_removes_nothing(tmp_path):
    folder = checkpoint.begin(tmp_path, 1)
    checkpoint.prune(tmp_path, keep=1)
    assert folder.exists()


class Death(BaseException):
    """Stands for the end of the process."""


def test_a_removal_that_is_cut_short_leaves_no_damage(tmp_path, monkeypatch):
    """Prune dies at its first, second, third ... removal of a file or folder: what claims to be whole is whole."""
    make(tmp_path, 9)
    unlink, rmdir, deaths = os.unlink, os.rmdir, 0
    for last_call in range(1, 50):
        for step in (1, 2):
            if not checkpoint.is_sealed(checkpoint.folder_of(tmp_path, step)):
                make(tmp_path, step)
        calls = 0

        def mortal(function):
            def call(*args, **options):
                nonlocal calls
                calls += 1
                if calls == last_call:  # noqa: B023
                    raise Death
                return function(*args, **options)

            return call

        try:
            with monkeypatch.context() as patch:
                patch.setattr(os, "unlink", mortal(unlink))
                patch.setattr(os, "rmdir", mortal(rmdir))
                checkpoint.prune(tmp_path, keep=1)
        except Death:
            deaths += 1
        for folder in (tmp_path / "checkpoints").iterdir():
            if checkpoint.is_sealed(folder):
                checkpoint.check(folder)
        if calls < last_call:
            break
    assert deaths > 10


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of descriptors are read from /proc")
def test_names_appear_after_their_content_and_done_last(tmp_path, monkeypatch):
    """Order of events on disk: sync a file, give it its name; sync the folder; the same for `done`; sync the folder."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def name_of(descriptor: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append(f"sync {name_of(descriptor)}"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda old, new: (events.append(f"name {Path(new).name}"), replace(old, new)))
    make(tmp_path, 5, workers=0)
    files = ["run.safetensors", "run.json", "done"]
    of_files = [[f"sync {name}.unfinished", f"name {name}"] for name in files]
    assert events == ["sync checkpoints", *of_files[0], *of_files[1], "sync step-5", *of_files[2], "sync step-5", "sync checkpoints"]


WRITER = """
import sys, numpy as np
from pathlib import Path
from asyncrl.store import checkpoint
run, step = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while True:
    step += 1
    folder = checkpoint.begin(run, step)
    for name in ("run", "worker-0", "worker-1"):
        checkpoint.write_part(folder, name, {"step": step}, {"a": np.full(20_000, step, dtype=np.float64)})
    checkpoint.seal(folder, {"step": step})
    checkpoint.prune(run, keep=2)
    print(step, flush=True)
"""


@pytest.mark.stress
def test_kill_at_any_instant_leaves_a_whole_checkpoint(tmp_path):
    """SIGKILL while a process writes and prunes: the newest checkpoint is always whole, and never older than the last one announced."""
    draw = random.Random(1)
    last, unfinished = 0, 0
    for _ in range(15):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(last)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(3):  # "ready" and at least two whole checkpoints
            announced = writer.stdout.readline()
        time.sleep(draw.random() * 0.02)
        writer.kill()
        announced = ([announced, *writer.stdout.read().split()])[-1]
        writer.wait()
        folder = checkpoint.newest(tmp_path)
        last = checkpoint.step_of(folder)
        assert last >= int(announced)
        for part in ("run", "worker-0", "worker-1"):
            state, arrays = checkpoint.read_part(folder, part)
            assert state == {"step": last}
            assert (arrays["a"] == last).all()
        unfinished += sum(not checkpoint.is_sealed(path) for path in (tmp_path / "checkpoints").iterdir())
    assert unfinished > 0, "no kill fell into a write: the test tests nothing"


def test_a_write_that_fails_leaves_older_checkpoints_untouched(tmp_path):
    """A limit on file sizes stands for the full disk where no file system can be mounted."""
    older = make(tmp_path, 1)
    folder = checkpoint.begin(tmp_path, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError):
            checkpoint.write_part(folder, "run", {}, {"a": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folder.iterdir()) == []
    assert checkpoint.newest(tmp_path) == older


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting needs root")
def test_a_full_disk_leaves_older_checkpoints_untouched(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        older = make(disk, 1)
        folder = checkpoint.begin(disk, 2)
        with pytest.raises(OSError):
            for i in range(10):
                checkpoint.write_part(folder, f"worker-{i}", {}, {"a": np.zeros(50_000)})
        assert checkpoint.newest(disk) == older
        checkpoint.check(older)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
