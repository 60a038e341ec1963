"""What all process bodies share; the bodies themselves are in `asyncrl.topologies`.

    probing     the environment is made and reset once before anything is started
    plan          what is learned (`Task`), what a process is handed, what every topology has in shared memory
    body          a worker's life from its start to its end
    leaving       its end: environments are closed, `atexit` is honoured
    messages      what workers and launcher send each other
    acting        base class of processes that step environments; actor_state: their part of a checkpoint
    standardiser  shift and scale of observations, from the records of all workers
    player        greedy play of what was learned; evaluator: the process that does it during a run
"""
