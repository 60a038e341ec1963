"""Studies: one experiment, varied along axes, over seeds; its runs on the machine's cores, and its report.

    study       what a study is, and the files that describe one; ready ones are in `ready/`
    trials      its runs: their settings, their folders, which of them are done
    lanes       the processes in which runs are made, so many at a time as there are cores
    far         the same on the nodes of a cluster
    running     a study from its first run to its report
    results     what the finished runs say
    statistics  means, intervals and comparisons over runs
    comparison  the figures of a study as tables
    figures     the same as pictures
    report      report.html, results.csv and curves for TensorBoard

A study reads the files of its runs, never live objects.
"""
