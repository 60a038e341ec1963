"""How processes of a run are started, what surrounds them, and how they are interrupted.

    starting       starts a worker, evaluator or writer process by the fork server, and stops it
    fork_server    the context and the process class: what happens when the fork server is killed
    parcels        pickles the user's functions for other processes, with the shared tensors that they capture
    refusals       names the part of a function that cannot be pickled
    surroundings   copies the caller's environment variables, folder, limits and settings into each process
    interrupts     handles the signals that end a run, without breaking what is half-done
    scratch        chooses folders for sockets and for the code that Numba has compiled
"""
