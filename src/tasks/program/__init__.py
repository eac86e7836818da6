"""Any command as a trial: it gets toggles and a seed, and reports metrics."""
