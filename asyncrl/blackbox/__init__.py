"""Parts of black-box searches over a flat vector. Nothing in here knows of environments.

    search       the interface of an algorithm (`Search`), and the evaluations that it gets (`Evaluations`)
    options      options that all algorithms share
    settings     exploration settings: standard deviation and kind of directions
    directions, kinds   perturbations from counter-based random numbers
    shaping      turns returns into utilities; the baseline of late ones
    estimators   turns directions and returns into gradients; which ticket evaluates which direction
    perturbed    base class of searches that perturb one mean vector
    gaussians    shared by searches that adapt a Gaussian distribution
    history      late evaluations, of earlier parameters
    ratios       density ratios: corrections of late evaluations, the clipped surrogate of TRES and its divergence
    lazy         parameters that rest in some generations
    space        the dtype of the points, and the box of a function's arguments
"""
