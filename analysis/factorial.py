"""Main effects and two-way interactions of a grid or a fraction of one, by ordinary least squares with the seed as block.

    y = seed + sum_i a_i + sum_(i<j) (ab)_ij + error,   each toggle in sum-to-zero contrasts

Source: Montgomery, "Design and Analysis of Experiments", Wiley (chapters on factorials, blocking and fractions). With sum-to-zero
contrasts and all cells filled, a main effect is the difference of two marginal means, whether or not toggles interact. Ours, not the
book's: an effect of a value is its difference from the reference's value, and an interaction is a difference of differences (twice the
book's 2^k interaction), so that both are in the metric's own unit. And a trial that serves several cells, because a toggle has no
effect there, stands in each of them, but is one observation: it is counted once in the error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.effects import LEVEL, Interval, better, direction, holm, is_equivalent, t_interval
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
      (`cell=gru`, `cell=gru × masking=false`), `change` with `low` and `high` (95 %), `p` and `p_holm` (over the effects that can be told
      from others), `share` (of the sum of squares around the seeds' means, of the whole term), `n` trials of `asked`, `aliased` (the
      terms that this design, or cells that are missing, mixes into the estimate) and `verdict`. A term that adds nothing to those
      before it has no numbers.

    Raises:
      NotEnough: fewer than two toggles or seeds vary, a trial has no value, or no trial is left to tell the error.
    """
    varied = {key: [as_typed(value) for value in values] for key, values in levels.items() if len(values) > 1}
    done = rows[rows["status"] == FINISHED]
    _check(done, varied, metric)
    codes = {key: np.array([values.index(as_typed(value)) for value in done[key]]) for key, values in varied.items()}
    columns = _columns(codes, varied)
    blocks = pd.get_dummies(done["seed"]).to_numpy(float)
    kept, dropped = _estimable(blocks, columns)
    design = np.hstack([blocks, *(columns[term] for term in kept)])
    y = done[metric].to_numpy(float)
    model = _least_squares(design, y, done["identity"].to_numpy())
    places = _places(kept, columns, first=blocks.shape[1])
    found = pd.DataFrame([row for term in columns for row in _effects(term, varied, model, places.get(term))])
    aliases = _aliases(design, columns, places, dropped)
    found["aliased"] = [", ".join(":".join(other) for other in aliases[tuple(term.split(":"))]) for term in found["term"]]
    shares = _shares(y, blocks, columns, kept)
    found["share"] = [shares.get(tuple(term.split(":")), math.nan) for term in found["term"]]
    found["p_holm"] = holm(found["p"].where(found["aliased"] == ""))
    found["n"], found["asked"] = done["identity"].nunique(), rows["identity"].nunique()
    sign = better(metric)
    found["verdict"] = [_verdict(row, sign=sign, margin=margin) for row in found.to_dict("records")]
    return found


@dataclass(frozen=True)
class _Model:
    """A least-squares fit: float64[p] coefficients, their covariance float64[p, p], degrees of freedom of the error."""

    coefficients: np.ndarray
    covariance: np.ndarray
    freedom: int


def _check(done: pd.DataFrame, varied: Mapping[str, Any], metric: str) -> None:
    if len(varied) < 2:
        raise NotEnough("fewer than two toggles vary")
    if done["seed"].nunique() < 2:
        raise NotEnough("one seed tells nothing of chance; add seeds")
    lacking = int((~np.isfinite(done[metric].to_numpy(float))).sum())
    if lacking:
        raise NotEnough(f"{lacking} of {len(done)} trials have no finite {metric}; a mean would flatter those that have")


def _least_squares(design: np.ndarray, y: np.ndarray, identities: np.ndarray) -> _Model:
    """Returns the fit of all rows, with the error of the distinct trials behind them.

    With D the rows' trials (0 or 1), A the mean of a trial's rows, X the design and u the trials' values: coefficients B u with
    B = X^+ D, residuals (I - M) u with M = A X B, and error variance |(I - M) u|^2 / tr((I - M)'(I - M)). Without repeated trials
    this is ordinary least squares.
    """
    _, first, trial = np.unique(identities, return_index=True, return_inverse=True)
    rows_of = np.bincount(trial)
    inverse = np.linalg.pinv(design)
    b = np.stack([np.bincount(trial, weights=row) for row in inverse])
    ax = np.stack([np.bincount(trial, weights=column) / rows_of for column in design.T], axis=1)
    values = y[first]
    left = len(values) - 2 * float(np.sum(ax * b.T)) + float(np.sum((ax.T @ ax) * (b @ b.T)))
    if left < 0.5:
        raise NotEnough(f"{len(values)} trials for {design.shape[1]} coefficients leave nothing to tell the error; add seeds")
    coefficients, covariance = b @ values, b @ b.T
    residuals = values - ax @ coefficients
    noise = 1e-10 * float(np.abs(values).max())  # of rounding: what toggles determine, such as the number of parameters, has no other
    if float(np.abs(residuals).max()) <= noise:
        return _Model(np.where(np.abs(coefficients) <= noise, 0.0, coefficients), 0.0 * covariance, round(left))
    return _Model(coefficients, covariance * float(residuals @ residuals) / left, round(left))


def _places(kept: Sequence[Term], columns: Columns, *, first: int) -> dict[Term, slice]:
    """Returns where each kept term's coefficients stand."""
    ends = list(itertools.accumulate((columns[term].shape[1] for term in kept), initial=first))
    return {term: slice(begin, end) for term, begin, end in zip(kept, ends, ends[1:], strict=False)}


def _aliases(design: np.ndarray, columns: Columns, places: Mapping[Term, slice], dropped: Sequence[Term]) -> dict[Term, list[Term]]:
    """Returns term → the terms that are mixed into its estimate: those with entries in the alias matrix X^+ Z of a dropped term's Z."""
    found: dict[Term, list[Term]] = {term: [] for term in columns}
    for other in dropped:
        mixed = np.linalg.pinv(design) @ columns[other]
        for term, place in places.items():
            if np.abs(mixed[place]).max(initial=0.0) > 1e-8:
                found[term].append(other)
                found[other].append(term)
    return found


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


def _effects(term: Term, varied: Mapping[str, list[str]], model: _Model, place: slice | None) -> list[dict[str, Any]]:
    """Returns one row for each combination of values beside the references' of one term; without a place it has no numbers.

    The effect is linear in the term's coefficients: the contrast of a value minus that of the reference, multiplied over toggles.
    """
    rows = []
    for values in itertools.product(*(range(1, len(varied[key])) for key in term)):
        found = Interval()
        if place is not None:
            weights = np.ones(1)
            for key, value in zip(term, values, strict=True):
                contrasts = _contrasts(len(varied[key]))
                weights = np.outer(weights, contrasts[value] - contrasts[0]).ravel()
            error = math.sqrt(float(weights @ model.covariance[place, place] @ weights))
            found = t_interval(float(weights @ model.coefficients[place]), error, model.freedom)
        name = " × ".join(f"{key}={varied[key][value]}" for key, value in zip(term, values, strict=True))
        kind = MAIN if len(term) == 1 else INTERACTION
        numbers = {"change": found.mean, "low": found.low, "high": found.high, "p": found.p, "error": found.error, "freedom": found.freedom}
        rows.append({"term": ":".join(term), "kind": kind, "effect": name, **numbers})
    return rows


def _shares(y: np.ndarray, blocks: np.ndarray, columns: Columns, kept: Sequence[Term]) -> dict[Term, float]:
    """Returns term → its share of the sum of squares around the seeds' means (type II: after all terms that do not contain it)."""
    total = _residual(y, blocks)
    shares = {}
    for term in kept:
        others = [columns[other] for other in kept if other != term and not set(term) < set(other)]
        without = np.hstack([blocks, *others])
        explained = _residual(y, without) - _residual(y, np.hstack([without, columns[term]]))
        shares[term] = max(0.0, explained / total) if total > 0 else 0.0
    return shares


def _residual(y: np.ndarray, design: np.ndarray) -> float:
    """Returns the sum of squares that a least-squares fit leaves."""
    return float(np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))


def _verdict(row: Mapping[Any, Any], *, sign: int, margin: float | None) -> str:
    if row["n"] < row["asked"]:
        return f"no verdict: {row['asked'] - row['n']} of {row['asked']} trials are missing"
    if row["aliased"]:
        return f"aliased with {row['aliased']}"
    found = Interval(row["change"], row["low"], row["high"], row["p"], row["error"], row["freedom"])
    if is_equivalent(found, margin):
        return "no difference"
    if not row["p_holm"] < LEVEL:
        return "cannot tell"
    return "they interact" if row["kind"] == INTERACTION else direction(row["change"], sign)
