"""How an error is said in one line."""


def first_line(error: BaseException, *, limit: int = 200) -> str:
    """Returns the first line of an error's text that says something, or its kind if it has no text."""
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("(raised as a result of")]  # SQLAlchemy's preface
    return (lines or [type(error).__name__])[0][:limit]
