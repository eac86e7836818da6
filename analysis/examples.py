"""Do two trained models differ on these test examples? Tests over examples, one pair of trials at a time.

The tests over seeds (`effects`) ask whether a change to the training would help again with another seed, on this test
set. These ask whether two trained models, as they are, do well on different examples: what another test set of the same
kind would show.

What a test said of every example is a value and a weight of each quantity that a metric is made from: over all
examples, the quantity is the sum of the values divided by the sum of the weights. An example that is right or wrong has
the value 1 or 0, and the weight 1.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from statsmodels.stats.contingency_tables import mcnemar

from analysis import effects
from analysis.findings import default_margin
from analysis.inference import RESOLUTION, scale_of
from analysis.load import Study
from analysis.rows import DROPPED, FINISHED
from analysis.store import Store, StoreError, nearest
from src.artifacts import EXAMPLES, PROBABILITIES
from src.spec.metric import Metric

WEIGHT = "_weight"  # what the name of a column ends with that has the weights of the quantity before it


@dataclass(frozen=True, eq=False)
class Tested:
    """What the test of one trial said of every example.

    Attributes:
      examples: int64[N], which ones, by what tells them apart.
      sums: float64[N], of the quantity; it is their sum divided by that of the weights.
      weights: float64[N].
    """

    examples: np.ndarray
    sums: np.ndarray
    weights: np.ndarray

    @property
    def mean(self) -> float:
        """The quantity over all examples; nan where nothing counts."""
        total = float(self.weights.sum())
        return float(self.sums.sum()) / total if total else math.nan

    @property
    def each(self) -> np.ndarray:
        """float64[N], the quantity of every example; nan where it does not count."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.weights > 0, self.sums / self.weights, np.nan)

    @property
    def are_counted(self) -> bool:
        """Whether every example is right or wrong, and counts alike."""
        return bool((self.weights == 1).all() and np.isin(self.sums, (0, 1)).all())


def variants(study: Study, one: str, other: str, *, metric: Metric) -> tuple[pd.Series, pd.DataFrame]:
    """Returns how one variant differs from another, over seeds and over examples.

    Args:
      study: as loaded.
      one: label of the variant that is compared with; `reference` is the study's.
      other: label of the variant in question.
      metric: for the comparison over seeds. Over examples it is the study's first one.

    Returns:
      The row of `effects.paired`, and one row a seed that both finished and of which both have kept what the test said
      of the same
      examples: `seed` and what `compared` says of its two trials.

    Raises:
      StoreError: no such variant, or none of its trials finished.
    """
    rows = of_two(study, one, other)
    one, other = (str(rows.loc[rows["is_reference"] == is_one, "label"].iloc[0]) for is_one in (True, False))
    over_seeds = effects.paired(rows, metric=metric, margin=default_margin(study, metric))
    done = rows[rows["status"] == FINISHED].pivot(index="seed", columns="label", values="run_id")
    done = done.reindex(columns=[one, other]).dropna()
    first, found = study.metrics[0], []
    for seed, (theirs, ours) in zip(done.index, done.to_numpy(), strict=True):
        try:
            one_side, other_side = (_kept(study.store, run_id, first.source) for run_id in (ours, theirs))
            found.append({"seed": seed, **compared(one_side, other_side, first)})
        except (TypeError, ValueError, LookupError, OSError):  # lost, broken, or of other examples: no pair
            continue
    return over_seeds[~over_seeds["is_reference"]].iloc[0], pd.DataFrame(found)


def of_two(study: Study, one: str, other: str) -> pd.DataFrame:
    """Returns the rows of two variants, the first of which is the reference.

    Raises:
      StoreError: no such variant, or twice the same.
    """
    rows = study.rows[study.rows["status"] != DROPPED]
    labels = list(dict.fromkeys(rows["label"]))
    of_reference = rows.loc[rows["is_reference"], "label"]
    one, other = (of_reference.iloc[0] if name == "reference" and len(of_reference) else name for name in (one, other))
    for name in (one, other):
        if name not in labels:
            raise StoreError(f"no variant {name!r} in {study.name}; {nearest(name, labels)}")
    if one == other:
        raise StoreError(f"{one!r} cannot be compared with itself; there are {', '.join(labels)}")
    rows = rows[rows["label"].isin([one, other])]
    return rows.assign(is_reference=rows["label"] == one, within="")


def compared(ours: Tested, theirs: Tested, metric: Metric) -> dict[str, Any]:
    """Returns a test of two models on the same examples.

    It is McNemar's exact test where examples are right or wrong, else a paired t test.

    The t test is that of the difference of the two quantities. Each is a ratio of sums; its linear part for one
    example, with R the ratio and w the mean weight, is (value - R weight) / w, and the test takes the differences of
    these. With equal weights it is the paired t test of the values.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
      Psychometrika 12,
    1947; of a ratio, Cochran, "Sampling Techniques", 3rd edition, Wiley 1977, section 6.3.

    Args:
      ours: of a trial.
      theirs: of the other.
      metric: that is made from the quantity, under any name.

    Returns:
      `examples`; `value` and `other_value` of the metric; `only_ours` (examples on which ours is better),
      `only_theirs`; `ahead`, 1 where ours is better over all, -1 where theirs is; `p`, two-sided; `are_counted`,
      whether examples are right or wrong.

    Raises:
      ValueError: the examples differ, or have no finite values.
    """
    if not np.array_equal(ours.examples, theirs.examples):
        raise ValueError("the two trials were not tested on the same examples")
    if not all(np.isfinite(part).all() for part in (ours.sums, ours.weights, theirs.sums, theirs.weights)):
        raise ValueError("an example has no finite value")
    sign = metric.sign or 1
    better_by = sign * (ours.each - theirs.each)
    only_ours, only_theirs = int((better_by > 0).sum()), int((better_by < 0).sum())
    are_counted = ours.are_counted and theirs.are_counted
    return {
        "examples": len(ours.sums),
        "value": metric.value(ours.mean),
        "other_value": metric.value(theirs.mean),
        "only_ours": only_ours,
        "only_theirs": only_theirs,
        "ahead": int(np.sign(sign * (ours.mean - theirs.mean))) if math.isfinite(ours.mean - theirs.mean) else 0,
        "p": _of_counts(only_ours, only_theirs, len(better_by)) if are_counted else _of_means(ours, theirs),
        "are_counted": are_counted,
    }


def _of_counts(only_ours: int, only_theirs: int, total: int) -> float:
    alike = total - only_ours - only_theirs
    if alike == total:
        return 1.0
    return float(mcnemar([[alike, only_ours], [only_theirs, 0]], exact=True).pvalue)


def _of_means(ours: Tested, theirs: Tested) -> float:
    parts = [(side.sums - side.mean * side.weights) / side.weights.mean() for side in (ours, theirs)]
    differences, change = parts[0] - parts[1], ours.mean - theirs.mean
    if len(differences) < 2 or math.isnan(change):
        return math.nan
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if error <= RESOLUTION * scale_of(*parts) / math.sqrt(len(differences)):
        return 1.0 if abs(change) <= RESOLUTION * max(abs(ours.mean), abs(theirs.mean)) else 0.0
    return float(2 * special.stdtr(len(differences) - 1, -abs(change) / error))


def _kept(store: Store, run_id: str, quantity: str) -> Tested:
    """Returns what the test of a trial said of every example.

    Raises:
      LookupError: it has kept nothing of this quantity.
      OSError, ValueError, TypeError: it cannot be read.
    """
    file = store.artifact(run_id, EXAMPLES)
    if file is not None:
        return of_quantity(_read(file), quantity)
    file = store.artifact(run_id, PROBABILITIES)
    if file is None:
        raise LookupError(f"{run_id} has neither {EXAMPLES} nor {PROBABILITIES}")
    return of_classes(_read(file))


@functools.lru_cache(maxsize=64)  # the reference is compared with every variant
def _read(file: Path) -> pd.DataFrame:
    return pd.read_parquet(file)


def of_quantity(frame: pd.DataFrame, quantity: str) -> Tested:
    """Returns what a test said of every example, of the columns `row`, the quantity, and its weight."""
    values, weights = (frame[name].to_numpy(float) for name in (quantity, f"{quantity}{WEIGHT}"))
    return Tested(frame["row"].to_numpy(), values, weights)


def of_classes(frame: pd.DataFrame) -> Tested:
    """Returns which examples were classified rightly, of the columns `row`, `label` and the probability of each class.

    The class of highest probability is right if it is the label; of two classes, the second above 0.5, as training
    counts it.
    """
    columns = sorted(set(frame.columns) - {"row", "label"}, key=lambda name: int(name.rsplit("_", 1)[1]))
    values = frame[columns].to_numpy(float)
    chosen = (values[:, 1] > 0.5).astype(int) if values.shape[1] == 2 else values.argmax(axis=1)
    is_right = chosen == frame["label"].to_numpy()
    return Tested(frame[["row", "label"]].to_numpy(), is_right.astype(float), np.ones(len(frame)))
