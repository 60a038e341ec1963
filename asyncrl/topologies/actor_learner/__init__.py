"""Actor-learners: every worker acts, and updates the shared parameters itself (A3C and kin).

    topology          what the main process builds
    plan              the shared memory
    worker            a worker's process
    rounds, in_place  the paces: sync and pipelined; bounded:K and async
    whole             the same as in_place with updates that are made on a copy
    record            what rounds in place are recorded with; story, replaying: how a record is read, and repeated
    estate            recovery after a worker dies
"""
