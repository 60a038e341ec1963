"""The 53 test problems of Moré and Wild (2009) as a benchmark of the black-box searches. Needs no environment.

residuals    the 22 nonlinear least-squares functions, vectorised
problems     the 53 rows, their starting points, and the four types of objective made from the residuals
runner       one search on one problem, in this process
optimizers   the searches that are compared, and the step sizes that they share
profiles     data profiles: the share of problems solved after a number of evaluations
ranks        average ranks, Friedman's test, the Nemenyi critical difference
study        `bench_more_wild`: runs the whole study and returns one dictionary
tables       `print_more_wild`: its ranks, shares solved and pairwise comparisons as tables
plot         data profiles as an image (needs matplotlib)
"""
