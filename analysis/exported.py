"""A study's trials as the tidy frames that `export` writes, and what its files have lost."""

from __future__ import annotations

import pandas as pd
from src.artifacts import SETTINGS, STEPS
from src.spec.section import as_typed

from analysis.load import Study, settings_of


def tidy(study: Study) -> dict[str, pd.DataFrame]:
    """Returns what `export` writes: `trials`, one row a variant and seed with all that is known, and `steps`.

    Settings that do not vary stand in columns of their own name, those that vary as the plan has them.
    """
    runs = list(study.rows["run_id"].dropna().unique())
    settings = pd.DataFrame(
        [{"run_id": run_id, **settings_of(study.store, run_id)} for run_id in runs],
        columns=None if runs else ["run_id"],
    )
    others = [key for key in settings.columns if key == "run_id" or key not in study.rows.columns]
    trials = study.rows.assign(normalised=study.rows["normalised"].map("; ".join)).merge(
        settings[others], on="run_id", how="left"
    )
    for key in study.toggles:  # one column, one type: Parquet wants it
        if len({type(value) for value in trials[key]}) > 1:
            trials[key] = trials[key].map(as_typed)
    return {"trials": trials, "steps": study.rows[["label", "seed", "run_id"]].dropna().merge(study.steps, on="run_id")}


def trials(study: Study) -> pd.DataFrame:
    """Returns what tables are made of, for a reader who wants to make them again.

    One row a variant and seed: toggles, seed and numbers.
    """
    numbers = sorted(name for name in study.rows.columns if "/" in name and name not in study.toggles)
    known = (
        "label",
        "is_reference",
        *study.toggles,
        "seed",
        "identity",
        "status",
        "position",
        "weights",
        "step_before",
        "last_step",
    )
    return study.rows[[*known, *numbers]].round(dict.fromkeys(numbers, 6))


def lost(study: Study) -> list[str]:
    """Returns what to say of trials whose files are gone or damaged, and that `tidy` therefore has less of."""
    runs = study.finished["run_id"].unique()
    lost = {
        f"per-step record that can be read ({STEPS}); their steps are left out": len(runs)
        - study.steps["run_id"].nunique(),
        f"settings that can be read ({SETTINGS}); columns that do not vary are empty": sum(
            not settings_of(study.store, run_id) for run_id in runs
        ),
    }
    return [f"{count} of {len(runs)} finished trials have no {what}" for what, count in lost.items() if count]
