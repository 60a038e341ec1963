"""One run, from an experiment to its folder.

    session       builds everything, drives the run epoch by epoch, tidies up
    stages        when the mode changes and checkpoints are due
    state         what a checkpoint holds of a run
    reports       the writer's process: what is told of a run
    evaluations   the evaluator's process
    folder        a run's folder, experiment.json
"""
