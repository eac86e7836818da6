"""One trial: whether it can run, its identity, its training, and the files that it leaves."""
