"""The contract between the core and its tasks: settings, metrics, records, rules and the task itself.

This package imports nothing else from `src`.
"""
