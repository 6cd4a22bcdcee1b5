"""What qcore runs on: the CPU, its threads, packages that may be missing, Ctrl-C."""
