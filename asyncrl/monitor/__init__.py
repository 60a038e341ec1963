"""From the workers' records to what the user sees.

    aggregate, returns   records of all workers -> the figures of a report
    recorder             the process that writes reports
    writer               the main process's side of it, and its successor when it dies
    events, images       TensorBoard's event files
    console, tables      the terminal
    memory               resident memory of the run's processes
"""
