"""How processes of a run are started, what surrounds them, and how they are interrupted.

    starting       a process of ours, by the fork server
    fork_server    the fork server, and its death
    surroundings   what holds in the caller, in every process of its run
    interrupts     signals that end a run, heard where they break nothing
    scratch        folders for temporary files and for what Numba has compiled
"""
