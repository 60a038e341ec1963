"""Observation -> action -> trajectory (step by step), or -> whole episodes (search).

    rollout       the actor: T steps in E environments, into a trajectory
    choosing      how an action is computed: by one compiled call, or by torch
    exploration   exploration settings: one class each
    spelling      how they are written on the command line
    commitment    Sarsa's next action, chosen before the update
    rewards       scale and clipping of rewards
    episodes      whole episodes of one environment, for searches
"""
