"""Many trials for one question: design → plan → sweep → table."""


class TrialsFailed(Exception):
    """At least one trial of a study did not finish; the table has said which."""
