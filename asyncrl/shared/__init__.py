"""The ground: memory that processes share without locks. Knows no reinforcement learning, imports no gymnasium.

    atomics      loads, stores, fetch-add, compare-and-swap with memory order, on shared numpy arrays
    arrays       named arrays in one anonymous segment
    parking      spin, yield, then sleep until woken
    ledger       one record per worker, published whole
    parameters   flat vectors: Hogwild, double buffer by rounds, versioned snapshots
    optimizers   in-place passes on flat vectors
    statistics   running mean and variance that merge exactly
    rings        one producer, one consumer, slots of a declared layout
    grid         many producers, many consumers: a ring for each pair
    tickets      numbered jobs that are claimed, done, handed in and used once each
    states       one process's state in two copies, so that it survives that process
    sum_tree     draws in proportion to weights
    compiled     Numba's `njit`, compiled without an interruption in the middle
"""
