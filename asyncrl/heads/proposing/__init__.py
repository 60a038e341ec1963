"""What heads share that propose several actions of which the critic picks one: SAVO, and what it is compared with.

    head         their base class
    options      the base of their options
    items        features of a Discrete space's choices, among which proposals find the nearest
    picking      proposals with noise, the nearest items, the critic's pick: compiled, for one step
"""
