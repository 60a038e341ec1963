"""Pictures with a run's evaluations (`--pictures`), drawn by the evaluator for TensorBoard's page of images."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import Replayed
from asyncrl.bench.more_wild.plot import check_plots
from asyncrl.envs import make_env, unship
from asyncrl.envs.clips import Clip
from asyncrl.envs.offscreen import drawing
from asyncrl.envs.video import Filmed, drawn_environment, fps_of
from asyncrl.landscapes.composing import draw
from asyncrl.landscapes.looking import Look, Watching
from asyncrl.monitor.images import add_image
from asyncrl.session.loading import load_learner, snapshot_of
from asyncrl.store.checkpoint import sealed, step_of
from asyncrl.topologies.players import player_of
from asyncrl.workers.evaluator import Artist
from asyncrl.workers.plan import Task
from asyncrl.workers.player import GreedyPlayer, Snapshot

FOLDER = "pictures"
"""Where TensorBoard's images lie in the run's folder: apart from the files of the process that writes reports."""
STATES = 3
"""Of an episode, in a picture of what the policy prefers."""


class Image(NamedTuple):
    """An image file, its width and height in pixels, and the steps after which it shows the run."""

    file: bytes
    size: tuple[int, int]
    steps: int


class Pictures(Artist):
    """Draws snapshots of a run: the beginning of a greedy episode as a short video, and what the policy prefers along one.

    The latter where the head has energies; of what learns by a replay, the values of actions, of each newest checkpoint, since
    the critics are in no snapshot. Each picture is an event file of its own in the run's folder `pictures`. A kind of picture
    that cannot be drawn is told once and left out from then on.
    """

    def __init__(self, folder: Path, task: Task, seed: int):
        """`folder`: the run's; `seed`: of the episodes."""
        self._folder, self._task, self._seed = folder, task, seed
        self._drawn_steps = -1
        os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa draws in this thread alone, and takes no core from several workers at once
        self._kinds: dict[str, Callable[[Snapshot], Image | None]] = {"video": self._video}
        if isinstance(ALGORITHMS[task.algo], Replayed):
            self._kinds["values of actions"] = self._values
        elif self._player.energy:
            self._kinds["landscape"] = self._landscape

    def draw(self, snapshot: Snapshot) -> list[str]:
        notes = []
        for name, picture in list(self._kinds.items()):
            try:
                image = picture(snapshot)
                if image is not None:
                    add_image(self._folder / FOLDER, name, image.file, image.size, image.steps)
            except Exception as error:  # noqa: BLE001 - a library that draws, or the user's code: the evaluations go on without
                del self._kinds[name]
                notes.append(f"no pictures of the kind {name!r} from now on: {error or type(error).__name__}")
        return notes

    # What plays, made where it is first needed, and open until the process ends.

    @cached_property
    def _filmed(self) -> Filmed:
        environment = drawn_environment(self._task.env)
        return Filmed(environment, Clip(fps_of(environment)))

    @cached_property
    def _actor(self) -> GreedyPlayer:
        return player_of(self._task, self._seed, environment=self._filmed)

    @cached_property
    def _watching(self) -> Watching:
        return Watching(make_env(unship(self._task.env)))

    @cached_property
    def _player(self) -> GreedyPlayer:
        return player_of(self._task, self._seed, environment=self._watching)

    # The pictures.

    def _video(self, snapshot: Snapshot) -> Image:
        with drawing():
            clip = Clip(fps_of(self._filmed))
            self._filmed.film(clip)
            self._actor.play(snapshot, 1)
        return Image(*clip.encoded(), snapshot.steps)

    def _landscape(self, snapshot: Snapshot) -> Image:
        return self._seen(Look(self._folder, self._task, snapshot, self._watching, self._player, None))

    def _values(self, snapshot: Snapshot) -> Image | None:
        """Of the newest checkpoint; None where there is no newer one than the last that was drawn."""
        checkpoint = next(reversed(sealed(self._folder)), None)
        if checkpoint is None or step_of(checkpoint) == self._drawn_steps:
            return None
        self._drawn_steps = step_of(checkpoint)
        kept = snapshot_of(checkpoint, self._task)
        learner = load_learner(self._folder, self._task, kept)
        return self._seen(Look(self._folder, self._task, kept, self._watching, self._player, learner))

    def _seen(self, look: Look) -> Image:
        check_plots()
        drawn = draw(look, STATES)
        return Image(drawn.picture, drawn.size, look.snapshot.steps)
