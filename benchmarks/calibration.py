"""Whole sequential studies, simulated through the decision functions of the sweep: errors, coverage, power, trials.

`python -m benchmarks.calibration` prints a table beside the numbers of an audit that was written independently, and
ends with status 1 if a number is outside its Monte Carlo bounds. `--studies` sets the number of simulated studies.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.inference import racing, sequential
from src.inference.sequential import ALWAYS_VALID, DIFFERENT, EQUIVALENT, SPENDING, Rule
from src.inference.student import LEVEL

HORIZON, LOOKS = 16, (4, 8, 12, 16)
RULE = Rule(SPENDING, HORIZON, LOOKS)
MIXTURE = Rule(ALWAYS_VALID, HORIZON, LOOKS)
BOUND = 3.0  # standard errors of Monte Carlo
RESULTS = Path("experiments/results")
MOST_TRIALS, LEAST_VERDICTS = 0.75, 0.93  # of a fixed study with the horizon's seeds
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Found(NamedTuple):
    """What simulated studies showed, as shares.

    Attributes:
      false: studies with a claim on a comparison without difference.
      decided: true differences that were found; nan if there are none.
      covered: comparisons whose interval at their last look has the true change.
      trials: trials, of those with every seed of every variant.
      fixed: true differences that a study found which is judged once with every seed; nan if there are none.
    """

    false: float
    decided: float
    covered: float
    trials: float
    fixed: float


class Row(NamedTuple):
    """One line of the table: what was simulated, the value with its bounds, and the audit's number, or nan."""

    what: str
    number: str
    value: float
    low: float
    high: float
    audit: float

    @property
    def is_met(self) -> bool:
        """Whether the value is within its bounds."""
        return self.low <= self.value <= self.high


def normal(draws: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values of trials, such that the difference of two has a standard deviation of 1."""
    return np.asarray(draws.standard_normal(shape) / math.sqrt(2))


def skewed(draws: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Exponential values of the same spread."""
    return np.asarray((draws.standard_exponential(shape) - 1) / math.sqrt(2))


def collapsing(draws: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal values, of which 15 % collapse to a much lower one, as trials do that learn nothing."""
    return np.asarray(normal(draws, shape) - 10 * (draws.uniform(size=shape) < 0.15))


def failing(draws: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal values, of which 1 % are missing, as the trial failed."""
    return np.asarray(np.where(draws.uniform(size=shape) < 0.01, math.nan, normal(draws, shape)))


def simulated(
    effects: np.ndarray,
    *,
    studies: int,
    rule: Rule = RULE,
    draw: Draw = normal,
    margin: float | None = None,
    seed: int = 0,
) -> Found:
    """Returns what studies show whose variants differ from one reference by `effects`.

    A comparison with a failed trial gets no verdict and stops, as in the sweep.

    Args:
      effects: float64[k] or [studies, k], in standard deviations of a paired difference.
      studies: number of studies.
      rule: how the looks share the error.
      draw: draws the values of trials.
      margin: as in `sequential.decide`.
      seed: of the draws.
    """
    effects = np.broadcast_to(effects, (studies, np.shape(effects)[-1]))
    count = effects.shape[1]
    values = draw(np.random.default_rng(seed), (studies, count + 1, rule.horizon))
    values[:, 1:] += effects[..., None]
    weights = np.hstack([-np.ones((count, 1)), np.eye(count)])
    race = racing.run(values, [weights], rule, margin=margin)
    (made,) = race.decisions
    trained = np.arange(rule.horizon) < race.seeds[..., None]
    has_failed = (np.isnan(values) & trained)[:, 1:].any(axis=-1) | (np.isnan(values) & trained)[:, :1].any(axis=-1)
    found = (made.kind == DIFFERENT) & ~has_failed
    at_once = sequential.estimates(racing.differences(values, weights), (rule.horizon,), scale=1.0)
    fixed = sequential.holm(at_once.p[..., 0]) <= LEVEL
    is_true = effects != 0
    inside = (made.low <= effects) & (made.high >= effects)
    return Found(
        false=float((found & ~is_true).any(axis=1).mean()),
        decided=float(found[is_true].mean()) if is_true.any() else math.nan,
        covered=float(inside[~np.isnan(made.low)].mean()),
        trials=float(race.seeds.mean()) / rule.horizon,
        fixed=float(fixed[is_true].mean()) if is_true.any() else math.nan,
    )


def equal_at_the_margin(*, studies: int, seed: int = 0) -> float:
    """Returns how often a difference of exactly the margin is called "no difference"."""
    values = normal(np.random.default_rng(seed), (studies, 2, HORIZON))
    values[:, 1] += 3.0
    race = racing.run(values, [np.array([[-1.0, 1.0]])], RULE, margin=3.0)
    return float((race.decisions[0].kind == EQUIVALENT).mean())


def shipped(folder: Path = RESULTS) -> np.ndarray:
    """Returns the effects of this repository's studies with 8 seeds or more, in standard deviations, shrunk.

    A share of the spread of estimated effects is error; the effects are drawn in by that share (the empirical Bayes
    estimate of Efron and Morris, "Data Analysis Using Stein's Estimator", Journal of the American Statistical
    Association 70, 1975), after Hedges' correction for few seeds ("Distribution Theory for Glass's Estimator of Effect
    Size and Related Estimators", Journal of Educational Statistics 6(2), 1981).
    """
    found, errors = [], []
    for path in sorted(folder.glob("*/trials.csv")):
        frame = pd.read_csv(path, index_col=False)
        if not {"label", "seed", "is_reference", "test/accuracy"} <= {*frame}:
            continue
        values = frame.drop_duplicates(["label", "seed"]).pivot(index="seed", columns="label", values="test/accuracy")
        reference = list(frame.loc[frame["is_reference"].astype(bool), "label"])[:1]
        for name in (name for name in values if reference and name not in reference):
            differences = (values[name] - values[reference[0]]).dropna().to_numpy()
            if len(differences) >= 8 and np.std(differences) > 1e-9:
                unbiased = 1 - 3 / (4 * (len(differences) - 1) - 1)
                effect = unbiased * float(np.mean(differences) / np.std(differences, ddof=1))
                found.append(effect)
                errors.append(1 / len(differences) + effect**2 / (2 * len(differences)))
    effects = np.array(found)
    share = max(0.0, 1 - float(np.mean(errors)) / float(np.var(effects)))
    return np.asarray(effects.mean() + (effects - effects.mean()) * math.sqrt(share))


def of_shipped(pool: np.ndarray, *, count: int, studies: int, seed: int = 0) -> np.ndarray:
    """Returns effects drawn from a pool, float64[studies, count]."""
    return np.random.default_rng(seed + 1).choice(pool, (studies, count))


def rows(studies: int) -> Iterator[Row]:
    """Yields the lines of the table."""
    error = BOUND * math.sqrt(LEVEL * (1 - LEVEL) / studies)
    for count, audit in ((1, 0.048), (5, 0.047), (15, math.nan)):
        null = simulated(np.zeros(count), studies=studies)
        yield Row(f"A/A, {count} variants", "any false verdict", null.false, 0.0, LEVEL + error, audit)
        yield Row(f"A/A, {count} variants", "coverage", null.covered, 1 - LEVEL - error, 1.0, math.nan)
        yield Row(f"A/A, {count} variants", "trials", null.trials, 0.0, 1.0, 0.57 if count == 1 else math.nan)
    for name, draw in (("exponential", skewed), ("15 % collapse", collapsing), ("1 % of trials fail", failing)):
        for count in (1, 5, 15):
            null = simulated(np.zeros(count), studies=studies, draw=draw)
            yield Row(f"A/A, {count} variants, {name}", "any false verdict", null.false, 0.0, LEVEL + error, math.nan)
    for count, audit in ((1, 0.015), (5, 0.012)):
        null = simulated(np.zeros(count), studies=studies, rule=MIXTURE)
        yield Row(f"A/A, {count} variants, t mixture", "any false verdict", null.false, 0.0, LEVEL + error, audit)
    yield Row("change = margin", "no difference", equal_at_the_margin(studies=studies), 0.0, LEVEL + error, math.nan)
    for effect, audit in ((1.0, 0.84), (1.5, math.nan)):
        some = simulated(np.full(5, effect), studies=studies)
        yield Row(
            f"5 variants, d = {effect:g}", "decided", some.decided, audit - 0.02 if effect == 1 else 0, 1.0, audit
        )
        yield Row(f"5 variants, d = {effect:g}", "coverage", some.covered, 1 - LEVEL - error, 1.0, math.nan)
        yield Row(f"5 variants, d = {effect:g}", "trials", some.trials, 0.0, 1.0, math.nan)
    pool = shipped()
    effects = of_shipped(pool, count=5, studies=studies)
    like = simulated(effects, studies=studies)
    yield Row("5 variants, shipped effects", "decided", like.decided, 0.0, 1.0, 0.535)
    yield Row("5 variants, shipped effects", "decided, fixed", like.fixed, 0.0, 1.0, 0.57)
    yield Row("5 variants, shipped effects", "of fixed verdicts", like.decided / like.fixed, LEAST_VERDICTS, 1.1, 0.94)
    yield Row("5 variants, shipped effects", "trials", like.trials, 0.0, MOST_TRIALS, 0.69)


def table(lines: Sequence[Row]) -> str:
    """Returns the lines as a Markdown table."""
    head = "| simulated | number | value | bounds | audit |\n| --- | --- | --- | --- | --- |\n"
    return head + "\n".join(
        f"| {row.what} | {row.number} | {row.value:.3f}{'' if row.is_met else ' **outside**'} | "
        f"{row.low:.3f} to {row.high:.3f} | {'' if math.isnan(row.audit) else f'{row.audit:.3f}'} |"
        for row in lines
    )


def main() -> int:
    """Prints the table; returns 1 if a number is outside its bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=20_000, help="number of simulated studies (default: 20000)")
    lines = list(rows(parser.parse_args().studies))
    print(table(lines))
    return int(not all(row.is_met for row in lines))


if __name__ == "__main__":
    sys.exit(main())
