"""How processes of a run are started, what surrounds them, and how they are interrupted.

    starting       a process of ours, by the fork server
    fork_server    the fork server, and its death
    parcels        the user's functions on their way to the processes, with the tensors that they share
    refusals       which part of a function cannot travel
    surroundings   what holds in the caller, in every process of its run
    interrupts     signals that end a run, heard where they break nothing
    scratch        folders for temporary files and for what Numba has compiled
"""
