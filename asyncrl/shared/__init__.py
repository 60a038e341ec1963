"""Memory that processes share without locks. Nothing in here knows of reinforcement learning or imports gymnasium.

    atomics      loads, stores, fetch-add, compare-and-swap with memory order, on shared numpy arrays
    arrays       named arrays in one anonymous segment
    parking      waiting: spin, yield, then sleep until woken
    ledger       one record of counts per worker, published atomically
    parameters   flat parameter vectors: Hogwild, double buffering by rounds, versioned snapshots
    optimizers   SGD, RMSProp, Adam and ClipUp as in-place passes over flat vectors
    statistics   running mean and variance, merged exactly over several writers
    rings        queues for one producer and one consumer, with slots of a declared layout
    grid         queues for many producers and consumers: one ring for each pair
    tickets      numbered jobs that workers claim and finish, and that one consumer uses once each
    states       two copies of a process's state, so that a replacement can continue from the newest whole one
    journal      records that a consumer has taken since its state was last saved
    bundles      many arrays as one argument of a compiled function; of one process alone
    sum_tree     sampling in proportion to weights
    compiled     Numba's `njit` and `intrinsic`, made when they are first called, with signals held back while a function is compiled
"""
