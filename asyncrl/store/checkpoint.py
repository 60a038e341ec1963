"""Checkpoints: folders that are complete or ignored. Reading one never executes code.

    RUN/checkpoints/step-N/<part>.safetensors   arrays of a part
                           <part>.json          its other values; written after the arrays, so it marks the part as complete
                           done                 the manifest: format, size and checksum of every file; written last

Writers: each worker writes its own part, the launcher the part "run"; then the launcher writes `done` (it seals the folder).
Readers: resume, evaluate and play read sealed folders only.
After a crash: a folder without `done` is ignored, and removed by `prune` once a newer one is sealed. Every file is written under
another name, synced to disk and renamed, and the folder is synced before and after `done` appears. So neither a killed process nor a
power failure leaves a sealed folder that is incomplete.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from asyncrl.errors import UserError, nearest
from asyncrl.store.array_files import mapped, pieces
from asyncrl.store.durable_files import digest, fingerprint, sync_folder, write_file

FORMAT = 1
"""Version of this layout; checkpoints with a larger number are refused."""

DONE = "done"
PREFIX = "step-"


def folder_of(run: Path, step: int) -> Path:
    """Path of the checkpoint of a step."""
    return Path(run) / "checkpoints" / f"{PREFIX}{step}"


def begin(run: Path, step: int) -> Path:
    """Make an empty folder for the checkpoint of a step; leftovers of an interrupted write are removed.

    Raises:
        FileExistsError: the step has a sealed checkpoint already, which is never overwritten.
    """
    folder = folder_of(run, step)
    if is_sealed(folder):
        raise FileExistsError(f"step {step} has a whole checkpoint already: {folder}")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    sync_folder(folder.parent)
    return folder


def part_path(folder: Path, name: str, suffix: str) -> Path:
    """File of a part, such as ``part_path(folder, "worker-3", "json")``."""
    if not name or name in (DONE, ".", "..") or Path(name).name != name or name.startswith("."):
        raise ValueError(f"a part cannot be named {name!r}")
    return Path(folder) / f"{name}.{suffix}"


def write_part(
    folder: Path, name: str, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], beat: Callable[[], None] = lambda: None
) -> None:
    """Write one part and sync it to disk. May be called by many processes at a time, each for its own part.

    Args:
        folder: what `begin` returned.
        name: e.g. ``"worker-3"`` or ``"run"``.
        state: JSON values with string keys; integers of any size; tuples are read back as lists.
        arrays: name -> numeric or boolean array of any shape. They are not copied, so they must not change meanwhile.
        beat: called after every piece that was synced, so that the caller can update its heartbeat.

    Raises:
        OSError: the disk is full or unwritable. Other checkpoints are not touched.
    """
    text = json.dumps(state)
    write_file(part_path(folder, name, "safetensors"), pieces(arrays), beat)
    write_file(part_path(folder, name, "json"), [text.encode()], beat)


def parts(folder: Path) -> list[str]:
    """Names of the parts that are complete, sorted."""
    return sorted(path.name.removesuffix(".json") for path in Path(folder).glob("*.json"))


def seal(folder: Path, manifest_extra: Mapping[str, Any]) -> None:
    """Write the manifest `done`, with the size and checksum of every complete part, and sync the folder to disk.

    Files of incomplete parts (their writer was killed) are removed; the caller checks by `parts` whether one is missing.

    Args:
        manifest_extra: further JSON values for the manifest, such as the environment's id and the algorithm.
    """
    folder = Path(folder)
    names = [file for name in parts(folder) for file in (f"{name}.json", f"{name}.safetensors")]
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
    manifest = {**manifest_extra, "files": {name: fingerprint(folder / name) for name in names}}
    sync_folder(folder)
    document = {"format": FORMAT, "blake2b": digest(_canonical(manifest)), "manifest": manifest}
    write_file(folder / DONE, [json.dumps(document, indent=1).encode()])
    sync_folder(folder)
    sync_folder(folder.parent)


def is_sealed(folder: Path) -> bool:
    """Whether a folder has the file `done`; `check` verifies its content."""
    return (Path(folder) / DONE).is_file()


def read_part(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """State and arrays of a part, as they were given to `write_part`. The caller may write to the arrays.

    They are mapped into memory: the file is read when they are, and only written pages take memory of their own.

    Raises:
        UserError: the part is missing or cannot be decoded.
    """
    state_path, arrays_path = part_path(folder, name, "json"), part_path(folder, name, "safetensors")
    state = _decode_json(state_path)
    try:
        arrays = mapped(arrays_path)
    except OSError as error:
        raise _unreadable(arrays_path, error) from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"damaged checkpoint: {arrays_path} is not a safetensors file ({_one_line(error)})") from error
    return state, arrays


def check(folder: Path) -> dict[str, Any]:
    """Check every file of a sealed checkpoint against its manifest, and return the manifest.

    Raises:
        UserError: it is incomplete, damaged (the text names the file), or written by a newer version.
    """
    folder = Path(folder)
    if not is_sealed(folder):
        raise UserError(f"not a whole checkpoint: {folder} has no file {DONE!r} (the write was interrupted)")
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        if Path(name).name != name:
            raise UserError(f"damaged checkpoint: {folder / DONE} names a file outside its folder: {name!r}")
        path = folder / name
        try:
            found = fingerprint(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        if found["bytes"] != expected["bytes"]:
            raise UserError(f"damaged checkpoint: {path} has {found['bytes']} bytes instead of {expected['bytes']}")
        if found != expected:
            raise UserError(f"damaged checkpoint: the content of {path} does not match its checksum")
    return manifest


def newest(run: Path, part: str | None = None) -> Path:
    """Folder of a run's newest sealed checkpoint, checked. Folders without `done` (interrupted writes) are ignored.

    Args:
        part: checkpoints that were sealed without this part are ignored too.

    Raises:
        UserError: no such run, no checkpoint, or the newest sealed one is damaged: the user decides whether to use an older one.
    """
    run = Path(run)
    if not run.is_dir():
        siblings = [path.name for path in run.parent.iterdir() if path.is_dir()] if run.parent.is_dir() else []
        raise UserError(f"no run in {str(run)!r}: there is no such folder{nearest(run.name, siblings)}")
    found = sealed(run)
    if not found:
        raise UserError(f"no whole checkpoint in {str(run / 'checkpoints')!r}")
    if part is not None:
        found = [folder for folder in found if f"{part}.json" in read_manifest(folder)["files"]]
        if not found:
            raise UserError(f"no checkpoint in {str(run / 'checkpoints')!r} has the part {part!r}: they can be evaluated, not gone on from")
    check(found[-1])
    return found[-1]


def sealed(run: Path) -> list[Path]:
    """Folders of a run's sealed checkpoints in the order of their steps. What is in them is not looked at; `check` does that."""
    return [folder for folder in _folders(Path(run)) if is_sealed(folder)]


def step_of(folder: Path) -> int:
    """The step in a checkpoint folder's name."""
    return int(folder.name.removeprefix(PREFIX))


def prune(run: Path, keep: int, best: Path | None = None) -> None:
    """Remove all checkpoints but the newest `keep` (at least one) and `best`, and incomplete folders older than the newest sealed one."""
    whole = sealed(run)
    if not whole:
        return
    kept = {folder.resolve() for folder in whole[-max(keep, 1) :]} | ({Path(best).resolve()} if best else set())
    for folder in _folders(Path(run)):
        if folder.resolve() not in kept and step_of(folder) < step_of(whole[-1]):
            # `done` is removed first, so that an interrupted removal leaves an ignored folder and not a damaged checkpoint.
            (folder / DONE).unlink(missing_ok=True)
            shutil.rmtree(folder)


def drop_after(run: Path, steps: int) -> None:
    """Remove the checkpoints of steps after `steps`, which belong to an earlier session when a run continues from an older one."""
    for folder in _folders(Path(run)):
        if step_of(folder) > steps:
            (folder / DONE).unlink(missing_ok=True)
            shutil.rmtree(folder)


def _folders(run: Path) -> list[Path]:
    """Checkpoint folders of a run, sealed or not, in the order of their steps."""
    found = [path for path in (run / "checkpoints").glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal()]
    return sorted(found, key=step_of)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"damaged checkpoint: {path} cannot be read ({error.strerror or _one_line(error)})")


def _decode_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read_file(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"damaged checkpoint: {path} is not JSON ({_one_line(error)})") from error
    if not isinstance(value, dict):
        raise UserError(f"damaged checkpoint: {path} holds no JSON object")
    return value


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a sealed checkpoint, without a check of the other files. Raises UserError if the manifest is damaged."""
    path = folder / DONE
    document = _decode_json(path)
    version, manifest = document.get("format"), document.get("manifest")
    if isinstance(version, int) and version > FORMAT:
        raise UserError(f"{path.parent} was written by a newer version of asyncrl (format {version}; this version reads {FORMAT})")
    if version != FORMAT or not isinstance(manifest, dict) or document.get("blake2b") != digest(_canonical(manifest)):
        raise UserError(f"damaged checkpoint: the content of {path} does not match its checksum")
    return manifest


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
