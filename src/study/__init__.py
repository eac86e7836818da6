"""Many trials for one question: design → plan → sweep → table."""


class TrialsFailed(Exception):
    """At least one trial of a study did not finish; the table has said which."""


class LaunchFailed(Exception):
    """A launcher could not train, and launching again did not help."""
