"""What a run has learned, as a file for other programs: raw observations -> greedy actions, in ONNX or as torch's own program."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError, nearest
from asyncrl.session.learned import LearnedPolicy, load

Runs = Callable[[NDArray[Any]], NDArray[Any]]
"""observation[N, *shape] -> actions [N, ...]."""

TOLERANCE = 1e-5
"""So much may an action differ, of numbers above 1 so large a part of it; and a score, where choices differ."""
OBSERVATIONS = 300
"""How many it is checked at."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it was checked."""

    file: Path
    steps: int
    """Environment steps of the checkpoint."""
    observation: str
    """Shape and type of what it takes, such as "[batch, 4] float32"."""
    action: str
    """Shape and type of what it gives."""
    difference: float
    """The largest difference to `asyncrl.load(RUN).act`; of choices 0."""


def export(run_folder: str | Path, file: str | Path, step: int | None = None, network_function: Any = None) -> Exported:
    """Write the policy of a run's folder to `file`: with the suffix .onnx, or .pt2 for what `torch.export.load` reads.

    The file takes observations [batch, ...] as the environment gives them, float32 or of images uint8, under the name `observation`,
    and gives the greedy actions of `asyncrl.load(run_folder).act`, of the action space's own type, as `action`. The normaliser and the
    actions' bounds are in it. Before it gets its name it is run at some hundred observations, and compared. `step`, `network_function`:
    as of `asyncrl.load`.

    Raises UserError for another suffix, a missing extra, a folder that can't be used, or a policy that cannot be exported; then nothing
    is left behind.
    """
    path = Path(file)
    kind = _kind(path)
    learned = load(run_folder, step, network_function=network_function)
    program, module = _traced(learned)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        with _quietly():
            kind.write(program, temporary)
            runs = kind.read(temporary)
        difference = _compared(learned, module, runs)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    shown = learned.act(_observations(learned)[:1])
    given = ", ".join(("batch", *map(str, learned.spec.observation_shape)))
    taken = ", ".join(("batch", *map(str, shown.shape[1:])))
    return Exported(path, learned.steps, f"[{given}] {learned.spec.observation_dtype}", f"[{taken}] {shown.dtype}", difference)


def _traced(learned: LearnedPolicy) -> tuple[Any, Any]:
    """(the policy as a program of torch's, the module that it was traced from)."""
    import torch

    from asyncrl.heads.networks.greedy_modules import GreedyModule

    policy, snapshot = learned.policy, learned.snapshot
    module = GreedyModule(policy, snapshot.vector, snapshot.normaliser)
    example = torch.from_numpy(_observations(learned)[:3])
    try:
        with _quietly(), torch.no_grad():
            return torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)), module
    except UserError:
        raise
    except Exception as error:
        if policy.plan is not None:
            raise
        said = " ".join(str(error).split())[:300]
        raise UserError(f"the network cannot be exported: torch.export says {type(error).__name__}: {said}") from error


def _observations(learned: LearnedPolicy) -> NDArray[Any]:
    """Observations [OBSERVATIONS, *shape] to compare at: small and large ones, and where there is a normaliser such as training had."""
    spec, generator = learned.spec, np.random.default_rng(0)
    shape = (OBSERVATIONS, *spec.observation_shape)
    if spec.is_image:
        return generator.integers(0, 256, shape, np.uint8)
    numbers = generator.standard_normal(shape) * np.resize([0.1, 1.0, 10.0], OBSERVATIONS)[:, None]
    shift, scale, on = learned.snapshot.normaliser
    if on[0]:
        usual = np.divide(1.0, scale, out=np.ones(len(scale)), where=scale > 0)
        numbers = shift + numbers * usual
    return numbers.astype(np.float32)


def _compared(learned: LearnedPolicy, module: Any, runs: Runs) -> float:
    """The largest difference of actions; one by one and all at once. Raises UserError where it is more than TOLERANCE."""
    observations = _observations(learned)
    learned.reset()
    wanted = learned.act(observations)
    given = runs(observations)
    single = runs(observations[:1])
    if given.shape != wanted.shape or given.dtype != wanted.dtype or single.shape != wanted[:1].shape:
        raise _differs(f"actions are {given.dtype} {list(given.shape)}, they should be {wanted.dtype} {list(wanted.shape)}")
    if learned.spec.action_kind != "box":
        rows = np.flatnonzero((given != wanted).reshape(len(wanted), -1).any(1))
        apart = [row for row in rows if not _close_call(module, observations[row])]
        if apart:
            raise _differs(f"another choice at {len(apart)} of {len(wanted)} observations")
        return 0.0
    differences = np.abs(given.astype(np.float64) - wanted)
    if not (differences <= TOLERANCE * np.maximum(1.0, np.abs(wanted))).all():
        raise _differs(f"actions differ by up to {differences.max():.2g} at {len(wanted)} observations (allowed: {TOLERANCE})")
    return float(differences.max())


def _close_call(module: Any, observation: NDArray[Any]) -> bool:
    """Whether another choice is as good but for TOLERANCE: one that is made when one of the network's outputs is that much more or less."""
    import torch

    with torch.no_grad():
        output = module.outputs(torch.from_numpy(observation[None]))
        moved = TOLERANCE * torch.eye(output.shape[1])
        choices = module.chosen(torch.cat([output, output + moved, output - moved]))
    return bool((choices != choices[0]).any())


def _differs(what: str) -> UserError:
    return UserError(f"the policy cannot be exported: what was written does not act as it does ({what})")


# The files.


class _Onnx:
    """Open Neural Network Exchange, run by onnxruntime."""

    @staticmethod
    def check() -> None:
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(f"writing .onnx needs {missing[0]}; install it with: pip install 'asyncrl[export]' (or write a .pt2)")

    @staticmethod
    def write(program: Any, path: Path) -> None:
        import torch

        written = torch.onnx.export(
            program, input_names=["observation"], output_names=["action"], dynamo=True, external_data=False, verbose=False
        )
        assert written is not None
        written.save(path, external_data=False)

    @staticmethod
    def read(path: Path) -> Runs:
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return lambda observation: session.run(["action"], {"observation": observation})[0]  # type: ignore[no-any-return]


class _Program:
    """What `torch.export.save` writes and `torch.export.load` reads."""

    @staticmethod
    def check() -> None:
        """Nothing is missing: torch is there."""

    @staticmethod
    def write(program: Any, path: Path) -> None:
        import torch

        torch.export.save(program, path)

    @staticmethod
    def read(path: Path) -> Runs:
        import torch

        module = torch.export.load(path).module()
        return lambda observation: module(torch.from_numpy(observation)).detach().numpy()  # type: ignore[no-any-return]


KINDS: dict[str, type[_Onnx] | type[_Program]] = {".onnx": _Onnx, ".pt2": _Program}
"""Kinds of files by their suffix."""


def _kind(path: Path) -> type[_Onnx] | type[_Program]:
    if path.suffix not in KINDS:
        raise UserError(f"{str(path)!r} cannot be written{nearest(path.suffix, KINDS)} (allowed: files that end in {' or '.join(KINDS)})")
    kind = KINDS[path.suffix]
    kind.check()
    return kind


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Torch tells of its own progress and of what it will do otherwise one day: nothing for whoever wants a file."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
