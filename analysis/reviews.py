"""Do two trained classifiers differ on these test examples? Tests over examples, one pair of trials at a time.

The tests over seeds (`effects`) ask whether a change to the training would help again with another seed, on this test set. These ask
whether two trained models, as they are, err on different examples: what another test set of the same kind would show.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar

from analysis import effects
from analysis.findings import default_margin
from analysis.load import DROPPED, FINISHED, Study
from analysis.store import Store, StoreError, nearest
from src.artifacts import PROBABILITIES


def variants(study: Study, one: str, other: str, *, metric: str) -> tuple[pd.Series, pd.DataFrame]:
    """Returns how one variant differs from another, over seeds and over examples.

    Args:
      study: as loaded.
      one: label of the variant that is compared with; `reference` is the study's.
      other: label of the variant in question.
      metric: for the comparison over seeds.

    Returns:
      The row of `effects.paired`, and one row a seed that both finished and of which both have kept the probabilities of the same
      examples: `seed` and what `compared` says of its two trials.

    Raises:
      StoreError: no such variant, or none of its trials finished.
    """
    rows = of_two(study, one, other)
    one, other = (str(rows.loc[rows["is_reference"] == is_one, "label"].iloc[0]) for is_one in (True, False))
    over_seeds = effects.paired(rows, metric=metric, margin=default_margin(study, metric))
    done = rows[rows["status"] == FINISHED].pivot(index="seed", columns="label", values="run_id").reindex(columns=[one, other]).dropna()
    found = []
    for seed, (first, second) in zip(done.index, done.to_numpy(), strict=True):
        try:
            found.append({"seed": seed, **compared(*(_kept(study.store, run_id) for run_id in (second, first)))})
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


def _kept(store: Store, run_id: str) -> pd.DataFrame:
    """Returns the test probabilities of a trial.

    Raises:
      LookupError: it has none.
      OSError, ValueError, TypeError: they cannot be read.
    """
    file = store.artifact(run_id, PROBABILITIES)
    if file is None:
        raise LookupError(f"{run_id} has no {PROBABILITIES}")
    return _read(file)


@functools.lru_cache(maxsize=64)  # the reference is compared with every variant
def _read(file: Path) -> pd.DataFrame:
    return pd.read_parquet(file)


def compared(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float]:
    """Returns McNemar's exact test of two classifiers on the same examples.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", Psychometrika 12, 1947.

    Args:
      ours: test probabilities of a trial: `row`, `label`, `probability_0`, `probability_1`, ….
      theirs: of the other.

    Returns:
      `examples`; `accuracy` and `other_accuracy`; `only_ours` (right where theirs is wrong), `only_theirs`; `p`, two-sided.

    Raises:
      ValueError: the examples or their labels differ.
    """
    if not np.array_equal(ours["row"], theirs["row"]) or not np.array_equal(ours["label"], theirs["label"]):
        raise ValueError("the two trials were not tested on the same examples")
    right, other = _is_right(ours), _is_right(theirs)
    only_ours, only_theirs = int((right & ~other).sum()), int((other & ~right).sum())
    both, neither = int((right & other).sum()), int((~right & ~other).sum())
    p = mcnemar([[both, only_ours], [only_theirs, neither]], exact=True).pvalue if only_ours + only_theirs else 1.0
    return {
        "examples": len(right),
        "accuracy": float(right.mean()),
        "other_accuracy": float(other.mean()),
        "only_ours": only_ours,
        "only_theirs": only_theirs,
        "p": float(p),
    }


def _is_right(probabilities: pd.DataFrame) -> np.ndarray:
    """Returns bool[N]: the class of highest probability is the label (of two classes the second above 0.5, as training counts it)."""
    columns = sorted((name for name in probabilities.columns if name.startswith("probability_")), key=lambda name: int(name.split("_")[1]))
    values = probabilities[columns].to_numpy(float)
    chosen = (values[:, 1] > 0.5).astype(int) if values.shape[1] == 2 else values.argmax(axis=1)
    return np.asarray(chosen == probabilities["label"].to_numpy())
