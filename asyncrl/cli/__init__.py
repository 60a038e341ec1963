"""The command line: argv -> Experiment -> Result. Each command imports what it needs when it is called."""
