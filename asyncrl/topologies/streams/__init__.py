"""Streams: actors hand experience to one learner through rings (IMPALA, TD3, SAC and kin).

    topology                  what the main process builds
    plan                      what its processes are handed, and the shared memory
    actor, learner            the two kinds of processes
    learner_state             what of the learner outlives its process
    streams, board            the rules of the modes, and their shared words
    actor_pace, learner_pace  the two sides
    estate                    recovery after one of them dies
"""
