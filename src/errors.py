"""How an error is said in one line."""


def first_line(error: BaseException, *, limit: int = 200) -> str:
    """Returns the first line of an error's text, or its kind if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:limit]
