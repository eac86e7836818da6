"""The toggles of classifiers that may get the labels of only some training examples. N examples, K classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from src.spec.rules import Change, Inert
from src.spec.section import Count, Seed
from src.spec.settings import Settings

if TYPE_CHECKING:
    import numpy as np

LABELS = "data/labels"  # metric: number of training examples with a label


class Labelled(Settings):
    """Settings that include how many training examples have labels."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        "numlabels": "labels",
        "nlabels": "labels",
        "labelled": "labels",
        "labeled": "labels",
        "shots": "labels",
    }

    labels: Count | None = Field(
        None, description="training examples of each class whose labels the classifier gets; null = all"
    )
    label_seed: Seed | None = Field(None, description="seed that draws the labelled examples; null = that of the trial")


INERT: tuple[Inert[Any], ...] = (
    Inert("label_seed", None, lambda s: s.labels is None, "with labels=null nothing is drawn"),
)


def rows(settings: Labelled, labels: np.ndarray) -> np.ndarray:
    """Returns the rows of the training examples whose labels the classifier gets, int64, in order.

    The draw is stratified, and nested: the examples of few labels are among those of more labels.

    Args:
      settings: `labels` of each class, and the seed that draws them.
      labels: int[N], the classes of all training examples.
    """
    import numpy as np

    from src.streams import generator

    if settings.labels is None:
        return np.arange(len(labels))
    seed = settings.seed if settings.label_seed is None else settings.label_seed
    drawn = []
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        drawn.append(generator(seed, "labels", label).permutation(own)[: settings.labels])
    return np.sort(np.concatenate(drawn))


def count(settings: Labelled, counts: Sequence[int]) -> float:
    """Returns the number of labelled training examples, from the number of all of each class."""
    return float(sum(counts) if settings.labels is None else settings.labels * len(counts))


def changes(settings: Labelled, counts: Sequence[int], *, what: str) -> list[Change]:
    """Returns `labels=null` if that is as many as there are.

    Args:
      settings: of a trial.
      counts: number of training examples of each class.
      what: what an example is, in the plural.
    """
    if settings.labels is None or not min(counts) == max(counts) == settings.labels:
        return []
    found = [Change("labels", settings.labels, None, f"these are all training {what}")]
    if settings.label_seed is not None:
        found.append(Change("label_seed", settings.label_seed, None, "with labels=null nothing is drawn"))
    return found


def refusals(settings: Labelled, counts: Mapping[str, int], *, what: str) -> list[str]:
    """Returns a refusal if a class has fewer training examples; `what` is as in `changes`."""
    if settings.labels is None:
        return []
    rarest = min(counts, key=lambda name: counts[name])
    if settings.labels <= counts[rarest]:
        return []
    found = f"labels={settings.labels}: class {rarest!r} has {counts[rarest]:,} training {what}"
    return [f"{found}; set labels={counts[rarest]} or less, or labels=null for all"]
