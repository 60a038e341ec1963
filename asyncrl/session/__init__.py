"""One run, from an experiment to the files in its folder.

    session       builds all parts, drives the run epoch by epoch, and ends all processes
    state         the part of a checkpoint that belongs to the whole run
    reports       reports to TensorBoard, metrics.jsonl, the terminal and the summary
    evaluations   evaluations in a process of their own
    folder        a run's folder and its experiment.json
    loading       its checkpoint, ready to be played, and what learned in it
    learned       the policy of a checkpoint as an object, for one's own program
    exporting     the same as a file, for other programs
"""
