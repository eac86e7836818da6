"""The words of verdicts, which the sweep and the analysis share."""

HELPS, HURTS, HIGHER, LOWER = SHOWN = ("helps", "hurts", "higher", "lower")  # verdicts of a significant change
NO_DIFFERENCE, CHANGED_NOTHING, CANNOT_TELL, INTERACT = (
    "no difference",
    "changed nothing",
    "cannot tell",
    "they interact",
)


def direction(change: float, sign: int) -> str:
    """Returns the word for a significant change: `helps` or `hurts`.

    It is `higher` or `lower` if the metric has no direction.
    """
    if sign == 0:
        return HIGHER if change > 0 else LOWER
    return HELPS if change * sign > 0 else HURTS
