"""Do two trained models differ on these test examples? Tests over examples, one pair of trials at a time.

The tests over seeds (`effects`) ask whether a change to the training would help with another seed, on this test set.
The tests over examples ask whether one of two given trained models would be better on another test set of the same
kind.

The test of a trial records for every example a value and a weight of each quantity that a metric is made from. Over all
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
from analysis.load import Study
from analysis.rows import DROPPED, FINISHED
from analysis.store import Store, StoreError, nearest
from src.artifacts import EXAMPLES, PREDICTION, PROBABILITIES
from src.inference.student import LEVEL, RESOLUTION, Interval, scale_of
from src.spec.metric import IMPLIED, Metric

WEIGHT = "_weight"  # suffix of the column with the weights of a quantity


@dataclass(frozen=True, eq=False)
class Tested:
    """The test result of one trial for every example.

    Attributes:
      examples: int64[N], ids of the examples.
      sums: float64[N], values; the quantity is their sum divided by the sum of the weights.
      weights: float64[N], weights of the values.
    """

    examples: np.ndarray
    sums: np.ndarray
    weights: np.ndarray

    @property
    def mean(self) -> float:
        """The quantity over all examples; nan if all weights are zero."""
        total = float(self.weights.sum())
        return float(self.sums.sum()) / total if total else math.nan

    @property
    def each(self) -> np.ndarray:
        """float64[N], the quantity of every example; nan where its weight is zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.weights > 0, self.sums / self.weights, np.nan)

    @property
    def are_counted(self) -> bool:
        """Whether every example is right or wrong, and all have the same weight."""
        return bool((self.weights == 1).all() and np.isin(self.sums, (0, 1)).all())


def variants(study: Study, one: str, other: str, *, metric: Metric) -> tuple[pd.Series, pd.DataFrame]:
    """Returns how one variant differs from another, over seeds and over examples.

    Args:
      study: the loaded study.
      one: label of the baseline; `reference` is the study's reference.
      other: label of the variant that is compared with the baseline.
      metric: metric for the comparison over seeds. The comparison over examples uses the study's first metric.

    Returns:
      The row of `effects.paired`, and a frame with one row per seed that both variants finished and for which both
      trials have kept results on the same examples: `seed` and the columns of `compared`.

    Raises:
      StoreError: there is no such variant, or none of its trials finished.
    """
    rows = of_two(study, one, other)
    one, other = (str(rows.loc[rows["is_reference"] == is_one, "label"].iloc[0]) for is_one in (True, False))
    over_seeds = effects.paired(rows, metric=metric, margin=default_margin(study, metric), rule=study.rule)
    done = rows[rows["status"] == FINISHED].pivot(index="seed", columns="label", values="run_id")
    done = done.reindex(columns=[one, other]).dropna()
    first, tests = study.metrics[0], []
    for seed, (theirs, ours) in zip(done.index, done.to_numpy(), strict=True):
        try:
            one_side, other_side = (_kept(study.store, run_id, first.source) for run_id in (ours, theirs))
            tests.append({"seed": seed, **compared(one_side, other_side, first)})
        except (
            TypeError,
            ValueError,
            LookupError,
            OSError,
        ):  # a file is missing or broken, or the examples differ: no pair
            continue
    return over_seeds[~over_seeds["is_reference"]].iloc[0], pd.DataFrame(tests)


def over_both(study: Study, one: str, other: str) -> Interval:
    """Returns how one variant differs from another over seeds and test examples, in the study's first metric.

    Args:
      study: the loaded study.
      one: label of the baseline; `reference` is the study's reference.
      other: label of the variant that is compared with the baseline.

    Returns:
      `crossed` of the differences of each example for each seed; an empty interval with fewer than two seeds that have
      kept results on the same examples, or if the metric is not a mean over equally weighted examples.
    """
    rows, first = of_two(study, one, other), study.metrics[0]
    sides_of = rows.assign(side=rows["is_reference"].map({True: "theirs", False: "ours"}))
    done = sides_of[rows["status"] == FINISHED].pivot(index="seed", columns="side", values="run_id")
    if first.finish != "mean" or len(done.columns) < 2:
        return Interval()
    parts, examples = [], None
    for ours, theirs in done[["ours", "theirs"]].dropna().to_numpy():
        try:
            sides = [_kept(study.store, run_id, first.source) for run_id in (ours, theirs)]
        except (TypeError, ValueError, LookupError, OSError):
            continue
        examples = sides[0].examples if examples is None else examples
        if all(np.array_equal(side.examples, examples) and (side.weights == 1).all() for side in sides):
            parts.append(sides[0].sums - sides[1].sums)
    return crossed(np.array(parts)) if len(parts) > 1 else Interval()


def crossed(differences: np.ndarray) -> Interval:
    r"""Returns the mean difference with an interval for other seeds and other test examples at once.

    For seed s and example e, both drawn at random,

        d_se = mean + S_s + E_e + R_se,    var(mean of d) = (MS_S + MS_E - MS_R) / (n m)

    with the mean squares of n seeds, m examples and the rest. The degrees of freedom are Satterthwaite's ("An
    Approximate Distribution of Estimates of Variance Components", Biometrics Bulletin 2(6), 1946). The variance is at
    least that of either part alone, MS_S / (n m) and MS_E / (n m).

    Source: the design of crossed random factors in Baayen, Davidson and Bates, "Mixed-effects modeling with crossed
    random effects for subjects and items", Journal of Memory and Language 59, 2008; F'' of Clark, "The
    language-as-fixed-effect fallacy", Journal of Verbal Learning and Verbal Behavior 12, 1973.

    Args:
      differences: float64[n, m], n and m at least 2.
    """
    n, m = differences.shape
    mean = float(differences.mean())
    of_seeds, of_examples = differences.mean(axis=1) - mean, differences.mean(axis=0) - mean
    rest = differences - mean - of_seeds[:, None] - of_examples
    freedom = (n - 1, m - 1, (n - 1) * (m - 1))
    squares = [m * np.sum(of_seeds**2), n * np.sum(of_examples**2), np.sum(rest**2)]
    seeds, examples, left = (float(square) / free for square, free in zip(squares, freedom, strict=True))
    total = seeds + examples - left
    if total <= max(seeds, examples):
        total, free = max((seeds, freedom[0]), (examples, freedom[1]))
    else:
        free = total**2 / sum(part**2 / one for part, one in zip((seeds, examples, left), freedom, strict=True))
    if total <= 0:
        return Interval(mean)
    error = math.sqrt(total / (n * m))
    half = float(special.stdtrit(free, 1 - LEVEL / 2)) * error
    p = float(2 * special.stdtr(free, -abs(mean) / error))
    return Interval(mean, mean - half, mean + half, p, error, int(free))


def of_two(study: Study, one: str, other: str) -> pd.DataFrame:
    """Returns the rows of two variants, the first of which is the reference.

    Raises:
      StoreError: there is no such variant, or the two are the same.
    """
    rows = study.seen[study.seen["status"] != DROPPED]
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

    It is McNemar's exact test if every example is right or wrong, else a paired t test.

    The t test is of the difference of the two quantities. Each is a ratio of sums. Its linearisation for one example,
    with R the ratio and w the mean weight, is (value - R weight) / w, and the test is of the differences between these.
    With equal weights it is the paired t test of the values.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12, 1947; for ratios, Cochran, "Sampling Techniques", 3rd edition, Wiley 1977, section 6.3.

    Args:
      ours: results of one trial.
      theirs: results of the other trial.
      metric: the metric that is made from the quantity, under any of its names.

    Returns:
      `examples` (their number); `value` and `other_value` of the metric; `only_ours` (examples on which ours is
      better), `only_theirs`; `ahead` (1 if ours is better over all examples, -1 if theirs is); `p`, two-sided;
      `are_counted` (whether examples are right or wrong).

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
    """Returns a trial's test results for every example.

    Raises:
      LookupError: the trial has no results for this quantity.
      OSError, ValueError, TypeError: the file cannot be read.
    """
    file = store.artifact(run_id, EXAMPLES)
    if file is not None:
        return of_quantity(_read(file), quantity)
    # Probabilities of classes say which examples were right, which is the quantity of the metric of classifiers only.
    file = store.artifact(run_id, PROBABILITIES) if quantity == IMPLIED[0].source else None
    if file is None:
        raise LookupError(f"{run_id} has no test examples with {quantity}: neither {EXAMPLES} nor {PROBABILITIES}")
    return of_classes(_read(file))


@functools.lru_cache(maxsize=64)  # the reference is compared with every variant
def _read(file: Path) -> pd.DataFrame:
    return pd.read_parquet(file)


def of_quantity(frame: pd.DataFrame, quantity: str) -> Tested:
    """Returns the results for every example from the columns `row`, the quantity, and its weight."""
    values, weights = (frame[name].to_numpy(float) for name in (quantity, f"{quantity}{WEIGHT}"))
    return Tested(frame["row"].to_numpy(), values, weights)


def of_classes(frame: pd.DataFrame) -> Tested:
    """Returns which examples were classified correctly, from the columns `row`, `label` and `prediction`.

    Files of earlier versions have no predicted class, but one probability per class. The most probable class is then
    the predicted one; with two classes it is the second if its probability is above 0.5, as in training.
    """
    if PREDICTION in frame:
        chosen = frame[PREDICTION].to_numpy()
    else:
        columns = sorted(set(frame.columns) - {"row", "label"}, key=lambda name: int(name.rsplit("_", 1)[1]))
        values = frame[columns].to_numpy(float)
        chosen = (values[:, 1] > 0.5).astype(int) if values.shape[1] == 2 else values.argmax(axis=1)
    is_right = chosen == frame["label"].to_numpy()
    return Tested(frame[["row", "label"]].to_numpy(), is_right.astype(float), np.ones(len(frame)))
