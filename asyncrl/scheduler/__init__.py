"""Who may start a round, and whose update is applied when: the update modes.

    modes      the modes by name, and the steps of a run at which they change
    board      the shared words of agreement
    pace       what every mode's side of a worker shares
    gate       epochs: changing the mode, saving, stopping
    durations  distributions of durations by name
    delays     delays that are injected into workers' rounds
    staleness  a worker's own copies of older parameters, on which it acts instead of the newest

How a topology keeps them is in its own folder: `topologies.actor_learner` (rounds, in_place), `topologies.streams`,
`topologies.search`.
"""

from asyncrl.scheduler.modes import MODES as MODES
