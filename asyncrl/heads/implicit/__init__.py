"""Implicit policies (seed 000): what the heads itt and iot are made of.

    options       what the user may choose
    presets       sizes of the source's policies
    sizes         what both come to
    action_sets   the set of actions: its features and values
    form          what describes a head to the compiled functions
    towers        towers and scores
    backward      their derivatives
    choosing      the best action of a set, or one drawn from its softmax
    energies      of any actions at one state
    probabilities of actions, their entropies and values, with gradients
    latents       where the latents of the set are found
    table         those of a fixed set, in shared memory
    standing      whether latents are still those of some parameters
    acting        whole steps, one compiled call each
    stepping      what binds those calls to latents and indices
    tensors       the same scores by torch
    head          the base of the two heads
    selection     the fast ways to find the best action among many
"""
