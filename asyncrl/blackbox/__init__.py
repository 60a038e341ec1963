"""Black-box search over a flat vector: what its algorithms are made of. Knows no environment.

    search       what an algorithm offers (`Search`), and what it is given (`Evaluations`)
    options      options that all of them share
    settings     exploration settings: deviation and kind of directions
    directions, kinds   perturbations from counter-based random numbers
    shaping      returns to utilities
    estimators   directions and returns to gradients; which ticket evaluates what
"""
