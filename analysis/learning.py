"""Which trials learnt nothing, by their health: the differences between them are chance."""

from __future__ import annotations

import pandas as pd

from analysis.rows import FINISHED

NO_LEARNING = "no_learning"  # what `ablation.health` says of a trial that is no better than chance in validation
MOST = 0.5  # share of trials above which "most" learnt nothing


def mostly_idle(rows: pd.DataFrame) -> bool:
    """Returns whether most of the finished trials learnt nothing, by their `health`: their differences are chance.

    Args:
      rows: as `effects.paired` takes them.
    """
    return bool(_is_idle(rows).mean() > MOST)


def idle_trials(rows: pd.DataFrame) -> str:
    """Returns how many of the finished trials learnt nothing, in words."""
    is_idle = _is_idle(rows)
    return f"{is_idle.sum()} of {len(is_idle)} trials learnt nothing"


def _is_idle(rows: pd.DataFrame) -> pd.Series:
    """Returns for each finished trial whether it learnt nothing; a trial that serves several rows counts once."""
    done = rows[rows["status"] == FINISHED].drop_duplicates("identity")
    return done.reindex(columns=["health"])["health"] == NO_LEARNING
