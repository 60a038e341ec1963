"""The command line: argv -> Experiment -> Result. Each command imports the modules it needs when it is called, for a quick `--help`."""
