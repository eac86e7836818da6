"""Measures what lowers the spread of paired differences, and writes docs/samples/spread.md.

python -m docs.spread

The studies `spread_of_*` cross a toggle that has effects with ways of training that may lower the spread. Each value of
the toggle is compared with its first one, paired by seed, within each way. A number is the standard deviation of the
differences with a way, as a multiple of that without it: the root of the ratio of variances, which are averaged over
the comparisons. Intervals are jackknife intervals of its logarithm over seeds.

Letters: C comparisons, S seeds, N test examples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

import analysis
from docs.strategies import markdown
from src import paths
from src.artifacts import EXAMPLES
from src.inference.student import interval

FILE = paths.REPOSITORY / "docs" / "samples" / "spread.md"
STUDIES = {"spread_of_reviews": "reviews", "spread_of_digits": "digits", "spread_of_sums": "sums of noise"}
METRIC, VALIDATION = "accuracy", "val/accuracy"
KEEP, DRAWS = 0.5, 50  # share of the test examples that is kept, and how often it is drawn


def main() -> int:
    """Writes the file; returns 0, or 2 for an error."""
    try:
        trials = {name: analysis.study(name).trials for name in STUDIES}
        of_studies = {title: measured(trials[name], name) for name, title in STUDIES.items()}
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = [[way, *(of_study[way] for of_study in of_studies.values())] for way in next(iter(of_studies.values()))]
    FILE.write_text(
        markdown(["", *of_studies], rows) + f"\n\n`python -m docs.spread`: {_about(trials)}.\n", encoding="utf-8"
    )
    return 0


def _about(trials: Mapping[str, pd.DataFrame]) -> str:
    counts = [f"`{name}` ({len(one)} trials, {one['seed'].nunique()} seeds)" for name, one in trials.items()]
    return f"studies {', '.join(counts)}; 95 % intervals over seeds"


def measured(trials: pd.DataFrame, study: str) -> dict[str, str]:
    """Returns the rows of the table for one study: what was done → its ratio with the interval.

    Args:
      trials: one row per variant and seed; the first toggle has the effects, `averaging` and `epochs` are the ways.
      study: its name.
    """
    toggle = next(name for name in trials.columns if name in ("cell", "network"))
    few, many = sorted(trials["epochs"].unique())
    every = {
        (averaging, epochs): differences(part, toggle, f"test/{METRIC}")
        for (averaging, epochs), part in trials.groupby(["averaging", "epochs"])
    }
    plain = np.concatenate([every["none", few], every["none", many]])
    usual = trials[trials["averaging"] == "none"]
    covariate = np.concatenate([differences(part, toggle, VALIDATION) for _, part in usual.groupby("epochs")])
    halves = of_halves(usual, toggle, study)
    spread = float(np.sqrt(variance(plain)))
    found = {"standard deviation of a difference": f"{spread:.4f}"}
    for way in ("ema", "swa"):
        averaged = np.concatenate([every[way, few], every[way, many]])
        found[f"`averaging={way}`"] = ratio_of(averaged, plain)
    found["twice the epochs"] = ratio_of(every["none", many], every["none", few])
    seeds = plain.shape[1]
    for name, times in (("twice the test examples", 2), ("endless test examples", np.inf)):
        found[name] = ratio(
            lambda kept, times=times: (  # type: ignore[misc]
                examples_limit(plain[:, kept], halves[..., kept], times) / variance(plain[:, kept])
            ),
            seeds,
        )
    found["adjusted for the difference in validation"] = ratio(
        lambda kept: residual_variance(plain[:, kept], covariate[:, kept]) / variance(plain[:, kept]), seeds
    )
    moved = np.abs(plain.mean(axis=1) - intercepts(plain, covariate))
    found["what that adjustment takes from the change"] = f"{np.median(moved / np.abs(plain.mean(axis=1))):.0%}"
    return found


def differences(trials: pd.DataFrame, toggle: str, metric: str) -> np.ndarray:
    """Returns the differences of each other value of a toggle from its first one, float64[C, S]."""
    table = trials.pivot(index=toggle, columns="seed", values=metric)
    values = list(dict.fromkeys(trials[toggle]))
    return np.asarray(table.loc[values[1:]] - table.loc[values[0]], float)


def of_halves(trials: pd.DataFrame, toggle: str, study: str) -> np.ndarray:
    """Returns the differences on random halves of the test examples, float64[DRAWS, C, S]."""
    per_trial = {identity: right(study, identity) for identity in trials["identity"]}
    draws = []
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        drawn = rng.permutation(len(next(iter(per_trial.values()))))
        half = drawn[: int(KEEP * len(drawn))]
        means = trials.assign(half=[per_trial[identity][half].mean() for identity in trials["identity"]])
        draws.append(np.concatenate([differences(part, toggle, "half") for _, part in means.groupby("epochs")]))
    return np.array(draws)


def right(study: str, identity: str) -> np.ndarray:
    """Returns whether a trial is right on each test example, float64[N], in the order of the examples."""
    tested = pd.read_parquet(paths.study_folder(study) / identity / EXAMPLES)
    return np.asarray(tested.sort_values("row")[METRIC], float)


def variance(values: np.ndarray) -> float:
    """Returns the variance over seeds, averaged over the other axes; the last axis has the seeds."""
    return float(values.var(axis=-1, ddof=1).mean())


def examples_limit(whole: np.ndarray, halves: np.ndarray, times: float) -> float:
    """Returns the variance that `times` as many test examples would leave.

    A variance is a + b / m with m examples: b / N is what half of the examples add.
    """
    of_examples = max(variance(halves) - variance(whole), 0.0)
    return max(variance(whole) - of_examples * (1 - 1 / times), 1e-12)


def slopes(values: np.ndarray, covariate: np.ndarray) -> np.ndarray:
    """Returns the slope of each comparison's regression on the covariate over seeds, float64[C]."""
    centred = covariate - covariate.mean(axis=1, keepdims=True)
    return np.asarray((centred * values).sum(axis=1) / (centred**2).sum(axis=1))


def residual_variance(values: np.ndarray, covariate: np.ndarray) -> float:
    """Returns the variance of the residuals of the regressions, with n - 2 degrees of freedom, averaged."""
    rest = values - slopes(values, covariate)[:, None] * covariate
    n = values.shape[1]
    return float(variance(rest) * (n - 1) / (n - 2))


def intercepts(values: np.ndarray, covariate: np.ndarray) -> np.ndarray:
    """Returns the differences at an equal covariate, float64[C]: what an adjusted estimate would say."""
    return np.asarray(values.mean(axis=1) - slopes(values, covariate) * covariate.mean(axis=1))


def ratio_of(values: np.ndarray, others: np.ndarray) -> str:
    """Returns the ratio of the spreads of differences, both float64[C, S], as text."""
    return ratio(lambda kept: variance(values[:, kept]) / variance(others[:, kept]), values.shape[1])


def ratio(of_seeds: Callable[[np.ndarray], float], seeds: int) -> str:
    """Returns the root of a ratio of variances with its jackknife interval, as text.

    Source: the pseudo-values of Miller, "The Jackknife - A Review", Biometrika 61(1), 1974, of the logarithm.
    """
    every = np.arange(seeds)
    whole = np.log(of_seeds(every))
    without = np.array([np.log(of_seeds(np.delete(every, seed))) for seed in every])
    found = interval((seeds * whole - (seeds - 1) * without) / 2)
    return f"{np.exp(whole / 2):.2f} [{np.exp(found.low):.2f}, {np.exp(found.high):.2f}]"


if __name__ == "__main__":
    sys.exit(main())
