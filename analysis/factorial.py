"""Main effects and two-way interactions of a grid or a fraction of one, each a contrast taken in every seed.

For one seed, over the cells c of the design,

    y_c = mean + sum_i a_i + sum_(i<j) (ab)_ij,   each toggle in sum-to-zero contrasts, by ordinary least squares

and an effect is a contrast of these coefficients; its interval is Student's over the seeds. The estimates are those of one least-squares
fit with the seed as block (Montgomery, "Design and Analysis of Experiments", Wiley, chapters on factorials, blocking and fractions); the
error is not that fit's, for it would take the trials of a seed for independent, while a seed acts on one value of a toggle as on no
other: the error of an effect is how much that effect differs between seeds (as for subjects that are measured in every cell: Maxwell
and Delaney, "Designing Experiments and Analyzing Data", Erlbaum 2004, chapter 12). So it is the paired t test of `effects`, for a table of
two variants and for a grid of many. With all cells filled, a main effect is the difference of two marginal means, whether or not toggles
interact. Ours, not the books': an effect of a value is its difference from the reference's value, and an interaction is a difference of
differences (twice Montgomery's 2^k interaction), so that both are in the metric's own unit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.effects import LEVEL, Interval, better, direction, holm, interval, is_equivalent
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
      from others), `share` (of the sum of squares around the seeds' means, of the whole term), `seeds` that have every cell and so are
      what the numbers are of, `n` finished trials of `asked`, `aliased` (the terms that this design, or cells that are missing, mixes into
      the estimate), `twin_of` (an earlier effect made of the same trials; the two are one for Holm) and `verdict`. A term that adds
      nothing to those before it has no numbers.

    Raises:
      NotEnough: fewer than two toggles vary, a trial has no value, or fewer than two seeds have every cell.
    """
    varied = {key: [as_typed(value) for value in values] for key, values in levels.items() if len(values) > 1}
    done = rows[rows["status"] == FINISHED]
    _check(done, varied, metric)
    cells, y = _by_seed(done, varied, metric)
    codes = {key: np.array([values.index(cell[place]) for cell in cells]) for place, (key, values) in enumerate(varied.items())}
    columns = _columns(codes, varied)
    mean = np.ones((len(cells), 1))
    kept, dropped = _estimable(mean, columns)
    design = np.hstack([mean, *(columns[term] for term in kept)])
    coefficients = np.linalg.pinv(design) @ y.T
    places = _places(kept, columns, first=1)
    noise = 1e-10 * float(np.abs(y).max())
    found = pd.DataFrame([row for term in columns for row in _effects(term, varied, coefficients, places.get(term), noise=noise)])
    aliases = _aliases(design, columns, places, dropped)
    found["aliased"] = [", ".join(":".join(other) for other in aliases[tuple(term.split(":"))]) for term in found["term"]]
    shares = _shares(y, columns, kept)
    found["share"] = [shares.get(tuple(term.split(":")), math.nan) for term in found["term"]]
    twins = _twins(rows, varied)
    same = [" × ".join(twins.get(value, value) for value in effect.split(" × ")) for effect in found["effect"]]
    twin_of = [other if other != effect else None for other, effect in zip(same, found["effect"], strict=True)]
    found["twin_of"] = pd.Series(twin_of, dtype=object)  # pandas would make nan of None
    found["p_holm"] = holm(found["p"].where((found["aliased"] == "") & found["twin_of"].isna()))
    found["seeds"], found["n"], found["asked"] = len(y), done["identity"].nunique(), rows["identity"].nunique()
    sign = better(metric)
    found["verdict"] = [_verdict(row, sign=sign, margin=margin) for row in found.to_dict("records")]
    return found


def _check(done: pd.DataFrame, varied: Mapping[str, Any], metric: str) -> None:
    if len(varied) < 2:
        raise NotEnough("fewer than two toggles vary")
    if done["seed"].nunique() < 2:
        raise NotEnough("one seed tells nothing of chance; add seeds")
    lacking = int((~np.isfinite(done[metric].to_numpy(float))).sum())
    if lacking:
        raise NotEnough(f"{lacking} of {len(done)} trials have no finite {metric}; a mean would flatter those that have")


def _by_seed(done: pd.DataFrame, varied: Mapping[str, Any], metric: str) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """Returns the cells, each the values of the varied toggles, and the metric float64[seeds, cells] of the seeds that have them all."""
    keys = list(zip(*([as_typed(value) for value in done[key]] for key in varied), strict=True))
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    table = pd.DataFrame({"seed": done["seed"].to_numpy(), "cell": [number[key] for key in keys], "y": done[metric].to_numpy(float)})
    whole = table.drop_duplicates(["seed", "cell"]).pivot(index="seed", columns="cell", values="y").dropna()
    if len(whole) < 2:
        raise NotEnough(
            f"{len(whole)} of {done['seed'].nunique()} seeds have all {len(number)} cells, and 2 are needed; train what is missing"
        )
    return list(number), whole.to_numpy()


def _twins(rows: pd.DataFrame, varied: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns `toggle=value` → an earlier `toggle=value` of which every trial is the same: two names of one thing."""
    found = {}
    for key, values in varied.items():
        others = [rows[other].map(as_typed) for other in varied if other != key]
        cells = pd.Series(list(zip(rows["seed"], *others, rows["identity"], strict=True)), index=rows.index)
        seen: dict[frozenset[Any], str] = {}
        for value in values:
            name = f"{key}={value}"
            first = seen.setdefault(frozenset(cells[rows[key].map(as_typed) == value]), name)
            if first != name:
                found[name] = first
    return found


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


def _estimable(mean: np.ndarray, columns: Columns) -> tuple[list[Term], list[Term]]:
    """Returns the terms that add to the rank of the design, in order, and those that do not (aliased with what comes before)."""
    design, kept, aliased = mean, [], []
    for term, block in columns.items():
        wider = np.hstack([design, block])
        if np.linalg.matrix_rank(wider) == design.shape[1] + block.shape[1]:
            design = wider
            kept.append(term)
        else:
            aliased.append(term)
    return kept, aliased


def _effects(
    term: Term, varied: Mapping[str, list[str]], coefficients: np.ndarray, place: slice | None, *, noise: float
) -> list[dict[str, Any]]:
    """Returns one row for each combination of values beside the references' of one term; without a place it has no numbers.

    The effect is linear in the term's coefficients float64[p, seeds]: the contrast of a value minus that of the reference, multiplied
    over toggles. What is not above `noise` is rounding: a number that toggles determine, such as that of parameters, has no other.
    """
    rows = []
    for values in itertools.product(*(range(1, len(varied[key])) for key in term)):
        found = Interval()
        if place is not None:
            weights = np.ones(1)
            for key, value in zip(term, values, strict=True):
                contrasts = _contrasts(len(varied[key]))
                weights = np.outer(weights, contrasts[value] - contrasts[0]).ravel()
            by_seed = weights @ coefficients[place]
            by_seed = np.where(np.abs(by_seed) <= noise, 0.0, by_seed)
            found = interval(by_seed if np.ptp(by_seed) > noise else np.full_like(by_seed, by_seed[0]))
        name = " × ".join(f"{key}={varied[key][value]}" for key, value in zip(term, values, strict=True))
        kind = MAIN if len(term) == 1 else INTERACTION
        numbers = {"change": found.mean, "low": found.low, "high": found.high, "p": found.p, "error": found.error, "freedom": found.freedom}
        rows.append({"term": ":".join(term), "kind": kind, "effect": name, **numbers})
    return rows


def _shares(y: np.ndarray, columns: Columns, kept: Sequence[Term]) -> dict[Term, float]:
    """Returns term → its share of the sum of squares around the seeds' means (type II: after all terms that do not contain it)."""
    total = float(np.sum((y - y.mean(axis=1, keepdims=True)) ** 2))
    values = y.mean(axis=0)  # every seed has the same design, so that a fit of all is one of their means
    mean = np.ones((len(values), 1))
    shares = {}
    for term in kept:
        without = np.hstack([mean, *(columns[other] for other in kept if other != term and not set(term) < set(other))])
        explained = _residual(values, without) - _residual(values, np.hstack([without, columns[term]]))
        shares[term] = max(0.0, len(y) * explained / total) if total > 0 else 0.0
    return shares


def _residual(y: np.ndarray, design: np.ndarray) -> float:
    """Returns the sum of squares that a least-squares fit leaves."""
    return float(np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))


def _verdict(row: Mapping[Any, Any], *, sign: int, margin: float | None) -> str:
    if row["n"] < row["asked"]:
        return f"no verdict: {row['asked'] - row['n']} of {row['asked']} trials are missing"
    if row["aliased"]:
        return f"aliased with {row['aliased']}"
    if row["twin_of"]:
        return f"the same trials as {row['twin_of']}"
    found = Interval(row["change"], row["low"], row["high"], row["p"], row["error"], row["freedom"])
    if is_equivalent(found, margin):
        return "no difference"
    if not row["p_holm"] < LEVEL:
        return "cannot tell"
    return "they interact" if row["kind"] == INTERACTION else direction(row["change"], sign)
