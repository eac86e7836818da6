"""Main effects and two-way interactions of a grid or a fraction of one, by ordinary least squares with the seed as block.

    y = seed + sum_i a_i + sum_(i<j) (ab)_ij + error,   each toggle in sum-to-zero contrasts

Source: Montgomery, "Design and Analysis of Experiments" (chapters on factorials and blocking). With sum-to-zero contrasts a main
effect is an average over the other toggles, whether or not they interact. Ours, not the book's: an effect of a value is its
difference from the reference's value, and an interaction is a difference of differences (twice the book's 2^k interaction), so
that both are in the metric's own unit and read without a convention.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

from analysis.effects import LEVEL, Interval, better, holm, is_equivalent, t_interval
from analysis.load import FINISHED
from src.settings import as_typed

Term = tuple[str, ...]
Columns = dict[Term, np.ndarray]

MAIN, INTERACTION = "main effect", "interaction"


class NotEnough(Exception):
    """The trials do not allow the model; the text says why."""


def fit(rows: pd.DataFrame, levels: Mapping[str, Sequence[Any]], *, metric: str, margin: float | None) -> pd.DataFrame:
    """Returns the main effects and two-way interactions of the varied toggles.

    Args:
      rows: one row a variant and seed: `seed`, `identity`, `status`, the metric, and every toggle.
      levels: of each toggle, the reference's value first.
      metric: name of a metric.
      margin: difference that is too small to matter; None if nobody has said.

    Returns:
      One row a value beside the reference's, or a pair of such values: `term` (`cell`, `cell:masking`), `kind`, `effect`
      (`cell=gru`, `cell=gru × masking=false`), `change` with `low` and `high` (95 %), `p` and `p_holm` (over the table), `share` (of the
      sum of squares around the seeds' means, of the whole term), `n` (trials), `verdict`. An interaction that these variants cannot tell
      from other effects, because of the design or of cells that are missing, has no numbers and the verdict `aliased`.

    Raises:
      NotEnough: fewer than two toggles vary, a trial has no value, or no trial is left to tell the error.
    """
    varied = {key: [as_typed(value) for value in values] for key, values in levels.items() if len(values) > 1}
    if len(varied) < 2:
        raise NotEnough("fewer than two toggles vary")
    done = rows[rows["status"] == FINISHED].drop_duplicates("identity") if _is_one_trial_a_row(rows) else rows[rows["status"] == FINISHED]
    if done[metric].isna().any():
        raise NotEnough(f"{int(done[metric].isna().sum())} of {len(done)} trials have no {metric}; a mean would flatter those that have")
    codes = {key: np.array([values.index(as_typed(value)) for value in done[key]]) for key, values in varied.items()}
    columns = _columns(codes, varied)
    blocks = pd.get_dummies(done["seed"]).to_numpy(float)
    kept, aliased = _estimable(blocks, columns)
    design = np.hstack([blocks, *(columns[term] for term in kept)])
    if any(len(term) == 1 for term in aliased):
        raise NotEnough("the trials that finished do not tell the main effects apart")
    if len(done) <= design.shape[1]:
        raise NotEnough(f"{len(done)} trials for {design.shape[1]} coefficients leave nothing to tell the error; add seeds")
    y = done[metric].to_numpy(float)
    model = sm.OLS(y, design).fit()
    found = [row for term in columns for row in _effects(term, varied, kept, model, blocks.shape[1], columns)]
    shares = _shares(y, blocks, columns, kept)
    table = pd.DataFrame(found).assign(n=len(done))
    table["share"] = table["term"].map({":".join(term): share for term, share in shares.items()})
    table["p_holm"] = holm(table["p"])
    sign = better(metric)
    table["verdict"] = [_verdict(row, sign=sign, margin=margin) for row in table.to_dict("records")]
    return table


def _is_one_trial_a_row(rows: pd.DataFrame) -> bool:
    """Whether normalised cells repeat a trial: it is one observation, not two."""
    return bool(rows["identity"].notna().all() and rows["identity"].duplicated().any())


def _columns(codes: Mapping[str, np.ndarray], varied: Mapping[str, list[str]]) -> Columns:
    """Returns term → float64[n, its degrees of freedom], sum-to-zero contrasts: the reference's level counts -1 in each column."""
    main: Columns = {(key,): _contrasts(len(values))[codes[key]] for key, values in varied.items()}
    both: Columns = {(one, other): _products(main[one,], main[other,]) for one, other in itertools.combinations(varied, 2)}
    return {**main, **both}


def _contrasts(levels: int) -> np.ndarray:
    """Returns float64[levels, levels - 1]: the first level -1 everywhere, each other 1 in its own column."""
    return np.vstack([-np.ones(levels - 1), np.eye(levels - 1)])


def _products(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.asarray((ours[:, :, None] * theirs[:, None, :]).reshape(len(ours), -1))


def _estimable(blocks: np.ndarray, columns: Columns) -> tuple[list[Term], list[Term]]:
    """Returns the terms that add to the rank of the design, in order, and those that do not (aliased with what comes before)."""
    design, kept, aliased = blocks, [], []
    for term, block in columns.items():
        wider = np.hstack([design, block])
        if np.linalg.matrix_rank(wider) == design.shape[1] + block.shape[1]:
            design = wider
            kept.append(term)
        else:
            aliased.append(term)
    return kept, aliased


def _effects(
    term: Term,
    varied: Mapping[str, list[str]],
    kept: Sequence[Term],
    model: Any,
    first: int,
    columns: Columns,
) -> list[dict[str, Any]]:
    """Returns one row for each combination of values beside the references' of one term.

    The effect is linear in the term's coefficients: the contrast of a value minus that of the reference, multiplied over toggles.
    """
    begin = first + sum(columns[other].shape[1] for other in kept[: kept.index(term)]) if term in kept else None
    rows = []
    for places in itertools.product(*(range(1, len(varied[key])) for key in term)):
        found = Interval()
        if begin is not None:
            weights = np.ones(1)
            for key, place in zip(term, places, strict=True):
                contrasts = _contrasts(len(varied[key]))
                weights = np.outer(weights, contrasts[place] - contrasts[0]).ravel()
            whole = np.zeros(len(model.params))
            whole[begin : begin + len(weights)] = weights
            error = float(np.sqrt(whole @ model.cov_params() @ whole))
            found = t_interval(float(whole @ model.params), error, int(model.df_resid))
        name = " × ".join(f"{key}={varied[key][place]}" for key, place in zip(term, places, strict=True))
        rows.append({
            "term": ":".join(term), "kind": MAIN if len(term) == 1 else INTERACTION, "effect": name, "change": found.mean, "low": found.low,
            "high": found.high, "p": found.p, "error": found.error, "freedom": found.freedom,
        })  # fmt: skip
    return rows


def _shares(y: np.ndarray, blocks: np.ndarray, columns: Columns, kept: Sequence[Term]) -> dict[Term, float]:
    """Returns term → its share of the sum of squares around the seeds' means (type II: after all terms that do not contain it)."""
    total = _residual(y, blocks)
    shares = {}
    for term in kept:
        others = [columns[other] for other in kept if other != term and not set(term) < set(other)]
        without = np.hstack([blocks, *others])
        shares[term] = (_residual(y, without) - _residual(y, np.hstack([without, columns[term]]))) / total if total > 0 else 0.0
    return shares


def _residual(y: np.ndarray, design: np.ndarray) -> float:
    """Returns the sum of squares that a least-squares fit leaves."""
    return float(np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))


def _verdict(row: Mapping[Any, Any], *, sign: int, margin: float | None) -> str:
    if np.isnan(row["change"]):
        return "aliased"
    found = Interval(row["change"], row["low"], row["high"], row["p"], row["error"], row["freedom"])
    if is_equivalent(found, margin):
        return "no difference"
    if row["p_holm"] >= LEVEL:
        return "cannot tell"
    if row["kind"] == INTERACTION:
        return "they interact"
    return "helps" if row["change"] * sign > 0 else "hurts"
