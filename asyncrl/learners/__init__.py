"""Learning: from trajectories to gradients and updates. Knows no algorithm by name: what is one algorithm's own is passed in.

    hyperparameters          options that algorithms which learn from steps have in common
    estimators, vtrace       returns, targets and advantages, arrays to arrays
    rules, return_scale      the optimizer and the step size that options name; the running scale of returns
    gradients, fused         rollout -> gradient of an actor-critic's loss; the same as one compiled call
    value_gradients          rollout -> gradient of action values, with a target network
    value_targets            what action values are drawn to
    traces                   trajectories of older policies -> gradient corrected by V-trace
    natural                  natural gradient by conjugate gradient
    updater                  the contract of a stream's learner, and the base of those without a replay
    replays, off_policy      the updater with a replay, and the base of the networks that learn from it
"""
