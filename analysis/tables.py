"""Trials to a table."""

from __future__ import annotations

import pandas as pd
from scipy.stats import gmean

NOT_VARIED = ("run_id", "variant", "identity", "health", "workers", "seed")
COLUMNS = {
    "test/accuracy": "test accuracy",
    "val/accuracy (epoch 1)": "validation accuracy after epoch 1",
    "time/batch_ms_median": "ms per batch",
    "time/epoch_s": "s per epoch",
    "data/padding_fraction": "padding",
    "model/parameters": "parameters",
}


def varied(trials: pd.DataFrame) -> list[str]:
    """Returns the toggles that differ between trials, the seed left out, in the order of the columns."""
    return [name for name in trials.columns if "/" not in name and name not in NOT_VARIED and len(trials[name].unique()) > 1]


def variants(trials: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """Returns one row a variant: its toggles, n seeds, and the mean over the seeds of what is of interest.

    Times are geometric means: they are compared as ratios. No interval is given; with one seed there is none.

    Args:
      trials: one row a trial (`load.trials`).
      validation: steps of `val/accuracy` (`load.steps`); the first of each trial is used.

    Raises:
      ValueError: two trials have the same variant and seed.
    """
    toggles = varied(trials)
    if trials.duplicated([*toggles, "seed"]).any():
        raise ValueError("two trials have the same variant and seed")
    first = validation.sort_values("step").groupby("run_id")["value"].first()
    frame = trials.assign(**{"val/accuracy (epoch 1)": trials["run_id"].map(first)})
    groups = frame.groupby(toggles or (lambda _: 0), sort=False, dropna=False)
    table = groups[[name for name in COLUMNS if name in frame.columns]].mean()
    for name in ("time/batch_ms_median", "time/epoch_s"):
        table[name] = groups[name].agg(gmean)
    table.insert(0, "n", groups.size())
    return (table.reset_index() if toggles else table.reset_index(drop=True)).rename(columns=COLUMNS)


def markdown(table: pd.DataFrame) -> str:
    """Returns a table of variants as Markdown, check marks for toggles that are on or off."""
    digits = {
        "test accuracy": 3,
        "validation accuracy after epoch 1": 3,
        "ms per batch": 0,
        "s per epoch": 1,
        "padding": 3,
        "parameters": 0,
    }
    lines = [[str(name) for name in table.columns], ["---"] * len(table.columns)]
    for row in table.to_dict("records"):
        lines.append([_cell(value, digits.get(str(name))) for name, value in row.items()])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(value: object, digits: int | None) -> str:
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, int | float) and digits is not None:
        return f"{value:,.{digits}f}"
    return str(value)
