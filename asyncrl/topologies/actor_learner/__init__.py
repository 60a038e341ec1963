"""Actor-learners: every worker acts, and updates the shared parameters itself (A3C and kin).

    topology          what the main process builds
    plan              the shared memory
    worker            a worker's process
    rounds, in_place  the paces: sync and pipelined; bounded:K and async
    estate            recovery after a worker dies
"""
