"""Black-box search: workers evaluate candidates, one learner makes the next version (ES and kin).

    topology                   what the main process builds
    plan                       what its processes are handed, and the shared memory
    worker, learner            the two kinds of processes, and the state of the learner that outlives it
    evaluating                 what a worker does with a candidate: plays it, or calls the user's function
    limits                     how long its episodes may be
    waste                      a warning where many evaluations come too late
    generations, window        the rules of the modes: tickets of a generation
    worker_pace, learner_pace  the two sides
    estate                     recovery after one of them dies
    player                     greedy play of what was found
"""
