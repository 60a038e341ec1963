"""Actor-learners: every worker acts, and updates the shared parameters itself (A3C and kin).

    topology          what the main process builds
    plan              the shared memory
    worker            a worker's process
    paces             the pace of a mode: rounds (sync, pipelined) or in_place (bounded:K, async)
    estate            recovery after a worker dies
"""
