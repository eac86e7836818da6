"""Main effects and two-way interactions of a grid or a fraction of one, each a contrast taken in every seed.

For one seed, over the cells c of the design,

    y_c = mean + sum_i a_i + sum_(i<j) (ab)_ij,   each toggle in sum-to-zero contrasts, by ordinary least squares

and an effect is a contrast of these coefficients; its interval is Student's over the seeds. The estimates are those of
one least-squares fit with the seed as block (Montgomery, "Design and Analysis of Experiments", Wiley, chapters on
factorials, blocking and fractions). The error is not the error of that fit, which would treat the trials of a seed as
independent although a seed may act differently on each value of a toggle. The error of an effect is the spread of that
effect between seeds (as for subjects that are measured in every cell: Maxwell and Delaney, "Designing Experiments and
Analyzing Data", Erlbaum 2004, chapter 12). A table of two variants and a grid of many therefore have the same test, the
paired t test of `effects`. With all cells filled, a main effect is the difference of two marginal means, whether or not
toggles interact. Departure from the books: the effect of a value is its difference from the reference's value, and an
interaction is a difference of differences (twice Montgomery's 2^k interaction), so both are in the metric's unit.

Aliasing. An effect is a weighted sum of the cells, w'y. Its expectation is the effect plus w'Z b for every term with
columns Z and coefficients b that the model leaves out: the row of the alias matrix X^+ Z that belongs to the effect
(Box and Wilson, "On the Experimental Attainment of Optimum Conditions", Journal of the Royal Statistical Society B
13(1), 1951). An effect is aliased if w'Z is not zero for a term of one or two toggles. If w'Z is not zero for a term of
three toggles, the verdict holds if no three toggles act together. If neither is the case, and w is still not the
difference of means over the full grid, terms of four or more toggles are mixed in. In a full grid nothing is mixed in.
The cells are those that were trained: a fraction, a random sample, or a grid with missing cells.

A term's share of variance is omega squared, for n seeds and C cells

    (SS_term - df_term MS_(seed x term)) / (SS + n MS_(seed x cell)),   MS_(seed x cell) = SS_(seed x cell) / ((n - 1)
    (C - 1))

with SS the sum of squares around the seeds' means, and each term against its own interaction with the seeds, as in its
test (Olejnik and Algina, "Generalized Eta and Omega Squared Statistics", Psychological Methods 8(4), 2003; Keppel and
Wickens, "Design and Analysis", Pearson 2004, chapters on within-subject designs). The expectation of the numerator is n
C times the variance of the term's own means, that of the denominator n C times the variance of all means and of a trial
around them. SS_term / SS (eta squared) would give a term without any effect a share of df / (n (C - 1)). For a single
toggle the share is the books' partial omega squared. Departures from the books: the part that a seed adds to all of its
cells is in no variance here, as it is in no paired difference; and all terms have one denominator, so that their shares
can be compared. Where cells are missing, SS_term is of type II: after all terms that do not contain it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.inference import holm
from analysis.rows import FINISHED, is_of_weights, is_steps_to
from analysis.verdicts import idle_trials, mostly_idle
from src.inference import sequential
from src.inference.contrasts import Model, Term, aliased, contrasts, mixed, model_of, products, weights_of
from src.inference.sequential import DIFFERENT, EQUIVALENT, Rule
from src.inference.student import LEVEL, ROUNDING, Interval, grid, interval, is_equivalent
from src.inference.verdicts import CANNOT_TELL, INTERACT, NO_DIFFERENCE, SHOWN, direction
from src.spec.metric import Metric
from src.spec.section import as_typed

MAIN, INTERACTION = "main effect", "interaction"
DECIDED = (*SHOWN, NO_DIFFERENCE, INTERACT)
# conditions of a verdict where the design is not a full grid, the stricter one first
CONDITIONS = ("if no three toggles act together", "if no four toggles act together")
AT_MOST = 4  # terms that a verdict names


class NotEnough(Exception):
    """Raised if the trials do not allow the model; the message gives the reason."""


def fit(
    rows: pd.DataFrame,
    levels: Mapping[str, Sequence[Any]],
    *,
    metric: Metric,
    margin: float | None,
    rule: Rule | None = None,
) -> pd.DataFrame:
    """Returns the main effects and two-way interactions of the varied toggles.

    Args:
      rows: one row per variant and seed: `seed`, `identity`, `status`, the metric, and every toggle.
      levels: values of each toggle, the reference's value first.
      metric: under its full name, the name of its column.
      margin: difference that is too small to matter; None if no margin is set.
      rule: how the looks at the study share its error; None for a study that is judged once.

    Returns:
      One row per value other than the reference's, or per pair of such values: `term` (`cell`, `cell:masking`), `kind`,
      `effect` (`cell=gru`, `cell=gru × masking=false`), `change` with `low` and `high` (95 %), `p` and `p_holm` (over
      the effects that are not aliased), `share` (omega squared of the whole term: 0 where the estimate is negative, nan
      where nothing varies), `seeds` (those that have every cell; the numbers are over them), `n` finished trials of
      `asked`, `aliased` (the terms of one or two toggles that the design or missing cells mix into the estimate),
      `three_way` (the interactions of three toggles that they mix in), `twin_of` (an earlier effect made of the same
      trials; Holm counts both as one), `verdict`, `decided_at`, `look` and `is_futile` as in
      `effects.paired` if there is a `rule`, and `condition` (one of `CONDITIONS`, which a decided verdict depends
      on; empty if it depends on none). A term that does not add to the rank of those before it has no numbers.

      Holm's correction is over these effects. The comparisons of variants (`effects.paired`) are a separate family:
      where nothing differs, at least one of the two families shows an effect in 8 to 9 of 100 studies.

    Raises:
      NotEnough: fewer than two toggles vary, a trial has no value, or fewer than two seeds have every cell.
    """
    for key, values in levels.items():
        if values and as_typed(values[0]) not in set(map(as_typed, rows[key])):
            raise NotEnough(f"no trial has {key}={as_typed(values[0])}, which is what the others are compared with")
    model, y = _modelled(rows, levels, metric)
    weights = np.array([weights_of(model, *effect) for effect in model.effects])
    effects = pd.DataFrame(
        [_named(model, *effect) | _numbers(row, y) for effect, row in zip(model.effects, weights, strict=True)]
    )
    effects["aliased"] = aliased(model, weights)
    effects["three_way"] = [", ".join(names) for names in mixed(weights, () if model.is_full else _three_way(model))]
    effects["share"] = effects["term"].map(_omega_squared(y, model)).astype(float).clip(lower=0.0)
    effects["twin_of"] = _twin_of(effects["effect"], rows, model.varied)
    is_tested = (effects["aliased"] == "") & effects["twin_of"].isna() & effects["p"].notna()
    effects["p_holm"], effects["decision"] = holm(effects["p"].where(is_tested)), None
    if rule is not None:
        effects = _at_looks(effects, is_tested.to_numpy(), y, weights, rule, margin=margin)
    done = rows.loc[rows["status"] == FINISHED, "identity"]
    effects["seeds"], effects["n"], effects["asked"] = len(y), done.nunique(), rows["identity"].nunique()
    idle = idle_trials(rows) if is_of_weights(metric) and mostly_idle(rows) else ""
    has_learnt = not idle or _some_learnt(rows)
    effects["verdict"] = [
        _verdict(row, sign=metric.sign, margin=margin, idle=idle, has_learnt=has_learnt)
        for row in effects.to_dict("records")
    ]
    effects = effects.drop(columns=["hidden", "decision"])
    exact = [_is_exact(model, *effect, row) for effect, row in zip(model.effects, weights, strict=True)]
    effects["condition"] = [
        _condition(row, is_exact=one) for row, one in zip(effects.to_dict("records"), exact, strict=True)
    ]
    return effects


def _at_looks(
    effects: pd.DataFrame,
    is_tested: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    rule: Rule,
    *,
    margin: float | None,
) -> pd.DataFrame:
    """Returns the effects with what the looks decide in place of what a single test says."""
    by_seed = (y @ weights[is_tested].T).T
    coarse = np.array([[_hidden(row, y[:n]) for n in rule.looks] for row in weights[is_tested]]).reshape(
        len(by_seed), len(rule.looks)
    )
    seen = sequential.estimates(by_seed, rule.looks, scale=float(np.abs(y).max()))
    made = sequential.decide(seen, rule, margin=margin, hidden=coarse)
    looks = np.array([*rule.looks, math.nan])[made.look]
    new = {"p": made.p, "p_holm": made.p_holm, "low": made.low, "high": made.high, "decided_at": looks}
    new["look"] = np.where(made.look < 0, math.nan, made.look + 1.0)
    columns = {name: effects.get(name, pd.Series(math.nan, effects.index)).astype(float).copy() for name in new}
    for name, values in new.items():
        columns[name][is_tested] = values
    columns |= {name: pd.Series(None, effects.index, dtype=object) for name in ("decision", "is_futile")}
    columns["is_futile"][:] = False
    columns["decision"][is_tested], columns["is_futile"][is_tested] = made.kind, made.kind == sequential.FUTILE
    return effects.assign(**columns)


def means(
    rows: pd.DataFrame, levels: Mapping[str, Sequence[Any]], *, toggle: str, by: str, metric: Metric
) -> pd.DataFrame:
    """Returns the fitted mean of the metric at each combination of two toggles, for equal shares of all else.

    In a full grid that is the mean over all else. Where cells are missing, a plain mean of the others would show the
    effect of another toggle as an interaction (Searle, Speed and Milliken, "Population Marginal Means in the Linear
    Model: An Alternative to Least Squares Means", The American Statistician 34(4), 1980).

    Args:
      rows: as in `fit`.
      levels: as in `fit`, in any order.
      toggle: the first toggle.
      by: the second toggle; neither toggle is aliased, nor is their interaction.
      metric: under its full name, the name of its column.

    Returns:
      One row per combination: the values of `toggle` and of `by`, `mean`, and `low` and `high` (95 %, over seeds).

    Raises:
      NotEnough: as in `fit`.
    """
    model, y = _modelled(rows, levels, metric)
    term = next(term for term in model.columns if set(term) == {toggle, by})
    plain = {as_typed(value): value for key in (toggle, by) for value in levels[key]}
    cells = []
    for ours, theirs in itertools.product(*(range(len(model.varied[key])) for key in term)):
        one, other = (contrasts(len(model.varied[key]))[place] for key, place in zip(term, (ours, theirs), strict=True))
        parts = {term[:1]: one, term[1:]: other, term: np.outer(one, other).ravel()}
        estimate = interval(
            y @ (model.inverse[0] + sum(part @ model.inverse[model.places[key]] for key, part in parts.items()))
        )
        names = {key: plain[model.varied[key][place]] for key, place in zip(term, (ours, theirs), strict=True)}
        cells.append({**names, "mean": estimate.mean, "low": estimate.low, "high": estimate.high})
    return pd.DataFrame(cells).astype({toggle: object, by: object})


def _modelled(rows: pd.DataFrame, levels: Mapping[str, Sequence[Any]], metric: Metric) -> tuple[Model, np.ndarray]:
    """Returns the model of the cells that have trials, and the metric float64[seeds, cells]."""
    present = {key: set(map(as_typed, rows[key])) for key in levels}
    varied = {key: [name for name in map(as_typed, values) if name in present[key]] for key, values in levels.items()}
    varied = {key: values for key, values in varied.items() if len(values) > 1}
    done = rows[rows["status"] == FINISHED]
    _check(done, varied, metric)
    cells, y = _by_seed(done, varied, metric)
    return model_of(cells, varied), y


def _check(done: pd.DataFrame, varied: Mapping[str, Any], metric: Metric) -> None:
    if len(varied) < 2:
        raise NotEnough("fewer than two toggles vary")
    if is_steps_to(metric):
        raise NotEnough(
            "steps to a target are known to within two validations only, so they have no means; "
            "`table --toggle` counts signs"
        )
    if done["seed"].nunique() < 2:
        raise NotEnough("a single seed has no interval; add seeds")
    lacking = int((~np.isfinite(done[metric.name].to_numpy(float))).sum())
    if lacking:
        raise NotEnough(
            f"{lacking} of {len(done)} trials have no finite {metric.name}; a mean would flatter those that have"
        )


def _by_seed(done: pd.DataFrame, varied: Mapping[str, Any], metric: Metric) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """Returns the cells, each the values of the varied toggles, and the metric float64[seeds, cells].

    Seeds that lack a cell are left out.
    """
    keys = list(zip(*([as_typed(value) for value in done[key]] for key in varied), strict=True))
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    table = pd.DataFrame(
        {
            "seed": done["seed"].to_numpy(),
            "place": [number[key] for key in keys],
            "y": done[metric.name].to_numpy(float),
        }
    )
    twice = table.duplicated(["seed", "place"])
    if twice.any():
        raise NotEnough(f"{int(twice.sum())} cells have two trials of one seed; one of them must be superseded")
    whole = table.pivot(index="seed", columns="place", values="y").dropna()
    if len(whole) < 2:
        counts = f"{len(whole)} of {done['seed'].nunique()} seeds have all {len(number)} cells"
        raise NotEnough(f"{counts}, and 2 are needed; train what is missing")
    return list(number), whole.to_numpy()


def _twins(rows: pd.DataFrame, varied: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns `toggle=value` → an earlier `toggle=value` with exactly the same trials: two names of one setting."""
    earlier_name = {}
    for key, values in varied.items():
        others = [rows[other].map(as_typed) for other in varied if other != key]
        cells = pd.Series(list(zip(rows["seed"], *others, rows["identity"], strict=True)), index=rows.index)
        seen: dict[frozenset[Any], str] = {}
        for value in values:
            name = f"{key}={value}"
            first = seen.setdefault(frozenset(cells[rows[key].map(as_typed) == value]), name)
            if first != name:
                earlier_name[name] = first
    return earlier_name


def _twin_of(effects: Iterable[str], rows: pd.DataFrame, varied: Mapping[str, Sequence[str]]) -> pd.Series:
    twins = _twins(rows, varied)
    same = [(effect, " × ".join(twins.get(value, value) for value in effect.split(" × "))) for effect in effects]
    return pd.Series(
        [other if other != effect else None for effect, other in same], dtype=object
    )  # dtype object, as pandas would turn None into nan


def _named(model: Model, term: Term, values: tuple[int, ...]) -> dict[str, Any]:
    name = " × ".join(f"{key}={model.varied[key][value]}" for key, value in zip(term, values, strict=True))
    return {"term": ":".join(term), "kind": MAIN if len(term) == 1 else INTERACTION, "effect": name}


def _numbers(weights: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Returns an effect's change and interval over the seeds, and the error that a coarse metric may hide.

    The error is nan where the effect has no numbers. Rounding a value to a grid has a variance of grid^2 / 12; an
    effect has the variance of a weighted sum of such values.
    """
    by_seed = y @ weights
    estimate = Interval() if np.isnan(by_seed).any() else interval(by_seed, scale=float(np.abs(y).max()))
    return {
        "change": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p,
        "error": estimate.error,
        "freedom": estimate.freedom,
        "hidden": _hidden(weights, y),
    }


def _hidden(weights: np.ndarray, y: np.ndarray) -> float:
    return grid(y.ravel()) * math.sqrt(float(np.sum(weights**2)) / (12 * len(y)))


def _three_way(model: Model) -> Iterator[tuple[Term, np.ndarray]]:
    """Yields each interaction of three toggles with its columns."""
    for one, two, three in itertools.combinations(model.varied, 3):
        yield (one, two, three), products(model.columns[one, two], model.columns[three,])


def _is_exact(model: Model, term: Term, values: tuple[int, ...], weights: np.ndarray) -> bool:
    """Whether an effect is the difference of means over the full grid: its cells have the same weights as there."""
    there, needed = np.ones(len(weights)), 1
    for key, levels in model.varied.items():
        if key in term:
            code = model.codes[key]
            there, needed = there * ((code == values[term.index(key)]) * 1.0 - (code == 0)), 2 * needed
        else:
            there, needed = there / len(levels), len(levels) * needed
    return int(np.count_nonzero(there)) == needed and bool(np.allclose(weights, there, rtol=0, atol=1e-8 / needed))


def _omega_squared(y: np.ndarray, model: Model) -> dict[str, float]:
    """Returns term → its share of variance; empty if nothing varies.

    A share is negative where a term varies more between seeds than its effect is large.

    Args:
      y: float64[n, C].
      model: of the cells.
    """
    seeds, cells = y.shape
    around = y - y.mean(axis=1, keepdims=True)
    total = float(np.sum(around**2))
    if math.sqrt(total / y.size) <= ROUNDING * float(np.abs(y).max()):
        return {}
    of_cells = float(np.sum((around - around.mean(axis=0)) ** 2)) / ((seeds - 1) * (cells - 1))
    shares = {}
    for term in model.kept:
        # in a full grid the terms are orthogonal, so their order does not matter
        others = [other for other in model.kept if other != term and not set(term) < set(other) and not model.is_full]
        own = _beside(
            np.hstack([np.ones((cells, 1)), *(model.columns[other] for other in others)]), model.columns[term]
        )
        by_seed = y @ own
        mean = by_seed.mean(axis=0)
        explained, error = seeds * float(np.sum(mean**2)), float(np.sum((by_seed - mean) ** 2)) / (seeds - 1)
        shares[":".join(term)] = (explained - error) / (total + seeds * of_cells)
    return shares


def _beside(design: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Returns orthonormal columns, as many as the block has, for the part of the block that is not in the design."""
    basis = np.linalg.qr(design)[0]
    return np.asarray(np.linalg.qr(block - basis @ (basis.T @ block))[0])


def _some_learnt(rows: pd.DataFrame) -> bool:
    """Returns whether any cell has learnt in half of its seeds or more."""
    return not all(mostly_idle(of_one) for _, of_one in rows[rows["status"] == FINISHED].groupby("label", sort=False))


def _verdict(row: Mapping[Any, Any], *, sign: int, margin: float | None, idle: str, has_learnt: bool) -> str:
    """Returns the verdict on one row of `fit`.

    Args:
      row: a row of the frame that `fit` returns.
      sign: of the metric.
      margin: as in `fit`.
      idle: sentence with the number of trials that learnt nothing, if most did.
      has_learnt: whether any cell has learnt.
    """
    if row["n"] < row["asked"]:
        return f"no verdict: {row['asked'] - row['n']} of {row['asked']} trials are missing"
    if row["aliased"]:
        return f"aliased with {few(row['aliased'])}"
    if row["twin_of"]:
        return f"the same trials as {row['twin_of']}"
    if math.isnan(row["change"]):
        return "cannot be estimated from these cells"
    estimate = Interval(row["change"], row["low"], row["high"], row["p"], row["error"], row["freedom"])
    if not has_learnt:
        return f"no verdict: {idle}"
    decision = row["decision"]
    is_equal = is_equivalent(estimate, margin, hidden=row["hidden"]) if decision is None else decision == EQUIVALENT
    if is_equal:
        return f"no verdict: {idle}" if idle else NO_DIFFERENCE
    if not (row["p_holm"] < LEVEL if decision is None else decision == DIFFERENT):
        return CANNOT_TELL
    return INTERACT if row["kind"] == INTERACTION else direction(row["change"], sign)


def _condition(row: Mapping[Any, Any], *, is_exact: bool) -> str:
    if is_exact or row["verdict"] not in DECIDED:
        return ""
    return CONDITIONS[0] if row["three_way"] else CONDITIONS[1]


def few(terms: str) -> str:
    """Returns the first of the terms of `aliased` or `three_way`, and the number of the others."""
    names = terms.split(", ")
    return terms if len(names) <= AT_MOST else f"{', '.join(names[: AT_MOST - 1])} and {len(names) - AT_MOST + 1} more"
