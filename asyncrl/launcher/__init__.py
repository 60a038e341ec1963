"""The launcher: starts workers, watches them, settles the estate of the dead, replaces them, opens and closes the gate.

    gate     `Launcher`: epochs, checkpoints, the end; the one writer of the board's orders
    crew     the workers' processes: started, heard, buried, replaced; the writer of words that no process owns
    slots    a worker's place, and who has it
    patience how long an end waits for one whose rounds may be long; writes no shared word
    watch    which failures end a run, and who is hung; writes no shared word

It runs in the main process. Everything happens in `Launcher.turn`, which sleeps until a process ends, a worker says
something, or somebody's progress concerns it.
"""

from asyncrl.launcher.gate import Launcher as Launcher
from asyncrl.launcher.watch import Watch as Watch
