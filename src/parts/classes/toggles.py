"""The toggles of classification tasks, and their metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from src.spec.metric import Metric
from src.spec.rules import Change
from src.spec.section import Value
from src.spec.settings import Settings

_SHARE: dict[str, Any] = {"margin": 0.01, "least": 0.0, "most": 1.0}
ACCURACY = Metric("accuracy", "higher", target=0.8, **_SHARE)
MACRO_F1 = Metric("macro_f1", "higher", title="macro F1", of_corpus=True, **_SHARE)
BALANCED_ACCURACY = Metric("balanced_accuracy", "higher", of_corpus=True, **_SHARE)
ROC_AUC = Metric("roc_auc", "higher", title="ROC AUC", of_corpus=True, **_SHARE)
AVERAGE_PRECISION = Metric("average_precision", "higher", of_corpus=True, **_SHARE)
LOG_LOSS = Metric("log_loss", "lower", margin=0.01, least=0.0, of_corpus=True)
CALIBRATION_ERROR = Metric("calibration_error", "lower", of_corpus=True, **_SHARE)
OF_CLASSES = (MACRO_F1, BALANCED_ACCURACY, ROC_AUC, AVERAGE_PRECISION, LOG_LOSS, CALIBRATION_ERROR)
OF_TWO_CLASSES = (ROC_AUC.name, AVERAGE_PRECISION.name)  # metrics that need examples of two classes
OF_PROBABILITIES = (LOG_LOSS.name, CALIBRATION_ERROR.name)
FOR_UNEQUAL = (MACRO_F1.name, BALANCED_ACCURACY.name, *OF_TWO_CLASSES)  # metrics that suit classes of unequal sizes
UNEQUAL = 3  # examples of the largest class for one of the smallest, from which there is a warning


class Classes(Settings):
    """Settings that include the toggles of a classifier."""

    ADDED: ClassVar[Mapping[str, Value]] = {
        "class_weights": "none",
        "decision_threshold": "half",
        "select": ACCURACY.name,
    }
    ALIASES: ClassVar[Mapping[str, str]] = {
        "classweight": "class_weights",
        "weights": "class_weights",
        "cutoff": "decision_threshold",
        "monitor": "select",
    }

    head: Literal["sigmoid", "softmax"] = Field(
        "sigmoid", description="sigmoid = one output unit, softmax = one output unit per class"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="weight of an example in the loss; balanced = training examples / (classes x those of its class)",
    )
    decision_threshold: Literal["half", "validation"] = Field(
        "half",
        description="probability from which a test example is of the second of two classes: 1/2, or that of the "
        "highest balanced accuracy in validation",
    )
    select: Literal["accuracy", "loss", "macro_f1", "balanced_accuracy", "roc_auc", "average_precision", "log_loss"] = (
        Field("accuracy", description="metric whose validation value chooses the epoch, and which patience waits for")
    )


def head_of(settings: Classes, classes: int) -> list[Change]:
    """Returns `head=softmax` and `decision_threshold=half` if there are more than two classes; no change otherwise."""
    used = {"head": "softmax", "decision_threshold": "half"} if classes > 2 else {}
    reason = f"the data have {classes} classes"
    return [Change(key, got, to, reason) for key, to in used.items() if (got := getattr(settings, key)) != to]


def outputs_of(settings: Classes, classes: int) -> int:
    """Returns the number of units of the head."""
    return classes if settings.head == "softmax" else 1


def refusals(
    settings: Classes, *, counts: Callable[[str], Sequence[int]] | None, classes: Sequence[str], lacks: str = ""
) -> list[str]:
    """Returns why trials cannot be compared by `plan.metric` or epochs chosen by `select`, each reason with its fix.

    Args:
      settings: resolved settings.
      counts: split → number of examples of each class; None if both classes have some in every split.
      classes: name of each class.
      lacks: the setting that leaves outputs that are no probabilities; empty if they are.
    """
    metric, reasons = settings.plan.metric or "", []
    for key, asked, split, usual in (
        ("plan.metric", metric, "test", f"test/{ACCURACY.name}"),
        ("select", settings.select, "validation", ACCURACY.name),
    ):
        name = asked.rsplit("/", 1)[-1]
        if name in OF_PROBABILITIES and lacks:
            reasons.append(f"{key}={asked} needs probabilities, which {lacks} has not; set {key}={usual}")
        elif name in OF_TWO_CLASSES and counts:
            known = [label for label, count in zip(classes, counts(split), strict=True) if count]
            if len(known) == 1:
                only = f"{key}={asked} needs two classes in the {split} split, which has only {known[0]!r}"
                reasons.append(f"{only}; add {split} examples of another class, or set {key}={usual}")
    return reasons


def warnings(settings: Classes, *, counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> list[str]:
    """Returns a sentence if the classes have very unequal sizes, and one for each held-out split of one class.

    Args:
      settings: of a trial.
      counts: split → number of examples of each class.
      classes: name of each class.
    """
    found = []
    sizes = [sum(of_class) for of_class in zip(*counts.values(), strict=True)]
    largest, name = max(sizes), (settings.plan.metric or "accuracy").rsplit("/", 1)[-1]
    if largest >= UNEQUAL * min(sizes) and name == ACCURACY.name:
        share = f"{largest / sum(sizes):.0%} of the examples are {classes[sizes.index(largest)]!r}"
        fix = "set plan.metric=test/balanced_accuracy or test/macro_f1, and try class_weights=balanced"
        found.append(f"{share}, so the accuracy of always guessing that is as high; {fix}")
    for split, of_split in counts.items():
        known = [label for label, count in zip(classes, of_split, strict=True) if count]
        if len(known) == 1:
            found.append(f"the {split} split has only {known[0]!r}, so its ROC AUC and average precision are undefined")
    return found
