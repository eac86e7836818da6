"""The contract between the core and its tasks: settings, metrics, records, rules and the task itself. It imports nothing else of `src`."""
