"""Ratios of times: log time ~ block + variant + position, with intervals.

A block is a seed of a study or a round of a timing pass. In each block every variant was timed once, in an order that
was drawn for the block. A machine that slows down, or speeds up, changes the later positions of every block alike. The
slope over positions is estimated from all variants together, and removed from each pair of a variant and its reference.
The pairs then give Student's interval. Its width includes the uncertainty of the slope.

Source: analysis of covariance in blocks, for example Montgomery, "Design and Analysis of Experiments", 8th edition,
Wiley 2012, chapters 4 and 15.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.rows import FINISHED
from src.inference.student import LEVEL, Interval, interval, quantile
from src.study.timing import Pass

LEAST_FREEDOM = 10  # residual degrees of freedom, below which a slope would add more noise than it removes
SWEEPS = 50  # over a table with gaps; each removes most of the means that are left

Ratios = Mapping[tuple[str, str], Interval]  # (within, label) of a variant → log of its time / its reference's


@dataclass(frozen=True, eq=False)
class Blocks:
    """Times of variants in blocks.

    Attributes:
      times: float64[blocks, variants], in any unit; nan where a variant was not timed in a block.
      positions: float64[blocks, variants], place of each in the order of timing; nan where it is unknown.
    """

    times: np.ndarray
    positions: np.ndarray

    @functools.cached_property
    def logs(self) -> np.ndarray:
        """float64[blocks, variants], logarithms of the times; nan for a time that is missing, zero or infinite."""
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(self.times)
        return np.where(np.isfinite(logs), logs, math.nan)

    @functools.cached_property
    def slope(self) -> tuple[float, float]:
        """Change of log time from one position to the next, with its standard error.

        Both are zero if the positions are unknown, or the same in every block, or if there are too few times.
        """
        is_known = np.isfinite(self.logs) & np.isfinite(self.positions)
        freedom = int(is_known.sum()) - sum(int(is_known.any(axis=axis).sum()) for axis in (0, 1))
        if freedom < LEAST_FREEDOM:
            return 0.0, 0.0
        logs, positions = (_residuals(np.where(is_known, table, math.nan)) for table in (self.logs, self.positions))
        squares = float(np.nansum(positions**2))
        if squares < is_known.sum() * 1e-3:  # the order was the same in every block
            return 0.0, 0.0
        slope = float(np.nansum(positions * logs)) / squares
        rest = float(np.nansum((logs - slope * positions) ** 2))
        return slope, math.sqrt(rest / freedom / squares)

    def log_ratio(self, variant: int, reference: int) -> Interval:
        """Returns the logarithm of a variant's time / the reference's, over the blocks that timed both."""
        differences = self.logs[:, variant] - self.logs[:, reference]
        is_pair = np.isfinite(differences)
        later = np.nan_to_num(self.positions[:, variant] - self.positions[:, reference])[is_pair]
        slope, error = self.slope
        found = interval(differences[is_pair] - slope * later, scale=1.0)
        return _wider(found, error * abs(float(later.mean())) if len(later) else 0.0)


def while_training(rows: pd.DataFrame, time: str) -> Ratios:
    """Returns the ratios of the times that trials took while they trained; a block is a seed.

    Args:
      rows: as `effects.paired` takes them, with `position` where it was recorded.
      time: column of the time.
    """
    rows = rows if "within" in rows else rows.assign(within="")
    done = rows[rows["status"] == FINISHED].reindex(
        columns=["within", "label", "is_reference", "seed", time, "position"]
    )
    ratios: dict[tuple[str, str], Interval] = {}
    for within, part in done.groupby("within", sort=False):
        times, positions = (
            part.assign(number=pd.to_numeric(part[column], errors="coerce").astype(float)).pivot(
                index="seed", columns="label", values="number"
            )
            for column in (time, "position")
        )
        reference = part.loc[part["is_reference"], "label"]
        if reference.empty:
            continue
        labels = list(times.columns)
        blocks = Blocks(times.to_numpy(float), positions.to_numpy(float))
        of = labels.index(reference.iloc[0])
        ratios |= {(str(within), str(label)): blocks.log_ratio(place, of) for place, label in enumerate(labels)}
    return ratios


def of_pass(found: Pass) -> Blocks:
    """Returns the times of a timing pass; a block is a round. The last variant is the reference's second copy."""
    rows = [*found.variants, found.again]
    return Blocks(
        np.array([one.turns for one in rows], float).T,
        np.array([one.places for one in rows], float).T,
    )


def in_pass(rows: pd.DataFrame, found: Pass, *, of_epochs: bool) -> Ratios:
    """Returns the ratios of times in a timing pass, for the variants that it timed.

    Args:
      rows: as `effects.paired` takes them.
      found: the pass; it timed one trial of a variant, whose identity is among those of the variant's rows.
      of_epochs: whether to compare the times of epochs without tracing, not those of steps.
    """
    rows = rows if "within" in rows else rows.assign(within="")
    epochs = [math.log(one.steps_per_epoch) if of_epochs else 0.0 for one in found.variants]
    blocks, places = of_pass(found), {one.identity: place for place, one in enumerate(found.variants)}
    timed = rows.assign(place=rows["identity"].map(places)).dropna(subset=["place"])
    timed = timed.drop_duplicates(["within", "label"]).astype({"place": int})
    references = timed[timed["is_reference"]].set_index("within")["place"].to_dict()
    return {
        (within, label): _moved(blocks.log_ratio(place, references[within]), epochs[place] - epochs[references[within]])
        for within, label, place in zip(timed["within"], timed["label"], timed["place"], strict=True)
        if within in references
    }


def columns(log: Interval) -> dict[str, float]:
    """Returns the ratio of times as the columns `time_ratio`, `time_low`, `time_high` and `time_p`."""
    ratios = {"time_ratio": log.mean, "time_low": log.low, "time_high": log.high}
    return {name: math.exp(value) for name, value in ratios.items()} | {"time_p": log.p}


def check(found: Pass) -> str:
    """Returns how a timing pass went: its size, the reference against itself, and what else ran meanwhile."""
    itself = columns(of_pass(found).log_ratio(len(found.variants), 0))
    interval_text = f"{itself['time_ratio']:.3f} [{itself['time_low']:.3f}, {itself['time_high']:.3f}]"
    is_even = itself["time_low"] <= 1 <= itself["time_high"]
    verdict = "" if is_even else ": its interval leaves out 1, so smaller differences than this are not to be believed"
    size = f"{found.rounds} rounds of {found.steps} or more steps of each variant, in an order drawn for each round"
    threads = f"{found.machine['threads']} thread{'' if found.machine['threads'] == '1' else 's'}"
    parts = [f"Timing pass, {threads}: {size}. The reference against itself: {interval_text}{verdict}."]
    if found.disturbance:
        parts.append(f"Times are rough: {found.disturbance}.")
    return " ".join(parts)


def _moved(found: Interval, by: float) -> Interval:
    """Returns an interval moved by a known number."""
    mean = found.mean + by
    p = float(2 * special.stdtr(found.freedom, -abs(mean) / found.error)) if found.error > 0 else found.p
    return found._replace(mean=mean, low=found.low + by, high=found.high + by, p=p)


def _residuals(table: np.ndarray) -> np.ndarray:
    """Returns a table, nan for gaps, without the means of its rows and columns (alternating projections)."""
    rest = table.copy()
    for _ in range(1 if np.isfinite(table).all() else SWEEPS):
        for axis in (0, 1):
            counts = np.maximum(np.isfinite(rest).sum(axis=axis, keepdims=True), 1)
            rest = rest - np.nansum(rest, axis=axis, keepdims=True) / counts
    return rest


def _wider(found: Interval, error: float) -> Interval:
    """Returns an interval with a further, independent standard error; without spread there is no interval to widen."""
    if not error or not math.isfinite(found.low):
        return found
    whole = math.hypot(found.error, error)
    half = quantile(1 - LEVEL / 2, found.freedom) * whole
    p = float(2 * special.stdtr(found.freedom, -abs(found.mean) / whole))
    return found._replace(low=found.mean - half, high=found.mean + half, p=p, error=whole)
