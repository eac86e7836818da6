"""The toggle of classification tasks, and their first metric."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from src.spec.metric import Metric
from src.spec.rules import Change
from src.spec.settings import Settings

ACCURACY = Metric("accuracy", "higher", margin=0.01, target=0.8, least=0.0, most=1.0)


class Classes(Settings):
    """Settings that include the toggle of a classifier's head."""

    head: Literal["sigmoid", "softmax"] = Field(
        "sigmoid", description="sigmoid = one output unit, softmax = one output unit per class"
    )


def head_of(settings: Classes, classes: int) -> list[Change]:
    """Returns `head=softmax` if there are more than two classes; no change otherwise."""
    if classes <= 2 or settings.head == "softmax":
        return []
    return [Change("head", "sigmoid", "softmax", f"the data have {classes} classes")]


def outputs_of(settings: Classes, classes: int) -> int:
    """Returns the number of units of the head."""
    return classes if settings.head == "softmax" else 1
