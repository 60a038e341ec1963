"""What a run is to be: a frozen dataclass, its checks, and the defaults that depend on its length.

    experiment   Experiment, RunOptions, Result
    checks       what is wrong with one, as far as can be said without its environment
    defaults     those that depend on the run's length
"""
