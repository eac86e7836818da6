"""One trial: what decides that it can run, what it is called by, and what it leaves behind."""
