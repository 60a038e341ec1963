"""The launcher: starts workers, watches them, recovers from their deaths, replaces them, and opens and closes the gate.

    gate     `Launcher`: epochs, checkpoints and the end of a run; the only writer of the board's orders
    crew     the workers' processes: starting, messages, deaths, replacement; writes the words of slots without a process
    host_crew  the same where the workers are virtual, in one process
    slots    a worker's slot and the process in it
    contract `Estate`: what a topology has to do when a worker dies; what each does is in its own folder, in `estate`
    patience how long the end of an epoch waits for a worker whose rounds may be long; writes no shared word
    watch    which failures end a run, and which workers hang; writes no shared word

It runs in the main process. All its work is done in `Launcher.turn`, which sleeps until a process ends, a worker sends a
message, or the progress of a worker wakes it.
"""

from asyncrl.launcher.crew import Crew as Crew
from asyncrl.launcher.gate import Launcher as Launcher
from asyncrl.launcher.host_crew import HostCrew as HostCrew
from asyncrl.launcher.watch import Watch as Watch
