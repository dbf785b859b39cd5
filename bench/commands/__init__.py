"""The command line: a module per command, its options, and `main`."""
