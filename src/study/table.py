"""What a study looks like on the terminal: its plan, its outcomes, its failures, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from src import paths
from src.study.plan import Row
from src.tracking import journal
from src.training.records import EVALUATION
from src.trial import Prepared


def console() -> Console:
    """Returns where tables go: as wide as the terminal, and wide enough for a file."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=160)


def plan_text(found: Sequence[Row]) -> str:
    """Returns the plan: how many trials, and what was dropped or normalised, with reasons."""
    trials = {row.trial.identity for row in found if row.trial}
    study = next(row.trial.settings.study for row in found if row.trial)
    lines = [f"study {study}: {_counted(len(trials), 'trial')} for {_counted(len(found), 'row')}"]
    for row in found:
        if row.dropped:
            lines.append(f"  dropped: {row.label}: {row.dropped}")
        for change in row.trial.changes if row.trial else []:
            lines.append(f"  normalised: {row.label}: {change}")
    return "\n".join(lines)


def outcomes(found: Sequence[Row], elsewhere: Callable[[str], Mapping[str, str | float]]) -> Table:
    """Returns one line a row: variant, test accuracy, median time per batch, health.

    Args:
      found: the plan's rows.
      elsewhere: identity → what the store knows of a trial whose journal is not here.
    """
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("variant", no_wrap=True)
    for heading in ("test accuracy", "ms per batch", "padding"):
        shown.add_column(heading, justify="right")
    shown.add_column("health")
    for row in found:
        name = f"{row.label} (reference)" if row.is_reference and len(found) > 1 else row.label
        if row.trial is None:
            shown.add_row(name, "–", "–", "–", "dropped", style="dim")
            continue
        values = _recorded(row) or elsewhere(row.trial.identity)
        shown.add_row(
            name,
            _number(values.get("test/accuracy"), 4),
            _number(values.get("time/batch_ms_median"), 1),
            _number(values.get("data/padding_fraction"), 3),
            str(values.get("health", "not run")),
        )
    return shown


def failures(failed: Sequence[Row]) -> str:
    """Returns one line a failed trial: its variant, the first line of its error, and where its log is."""
    lines = [f"{_counted(len(failed), 'trial')} did not finish:"]
    for row in failed:
        assert row.trial is not None
        attempt = journal.last_attempt(row.trial.folder)
        is_over = journal.status(attempt) is not None
        error = attempt[-1].record.detail["error"] if is_over else "no record; the trial did not begin or its journal is not writable"
        lines.append(f"  {row.label}: {error}\n    log: {row.trial.folder / 'trial.log'}")
    return "\n".join(lines)


def next_steps(found: Sequence[Row]) -> str:
    """Returns the commands that lead on from here; predictions with the trial of highest validation accuracy."""
    trials = [row.trial for row in found if row.trial]
    settings, best = trials[0].settings, max(trials, key=_best_validation).identity
    outputs, here = paths.outputs(), Path.cwd()
    folder = str(outputs.relative_to(here)) if outputs.is_relative_to(here) else str(outputs)
    store = settings.tracking.uri
    if settings.tracking.name == "offline":
        browse = "python -m src.sync                        # tell MLflow what the journals have"
    elif store is None:
        there = "" if paths.home() == here else f"cd {shlex.quote(str(paths.home()))} && "
        browse = f"{there}mlflow ui --workers 1                    # browse http://127.0.0.1:5000"
    else:
        browse = (
            f"mlflow ui --workers 1 --backend-store-uri {shlex.quote(store)}"
            if "://" in store and not store.startswith("http")
            else f"browse {store}"
        )
    return "\n".join(
        (
            "",
            "Next:",
            f"  {browse}",
            f"  tensorboard --logdir {shlex.quote(folder)}              # curves, histograms, HParams",
            f"  python -m analysis figure {settings.study}           # learning curves, a table for the README",
            f'  python -m src.predict {best} "a film I would see again"',
        )
    )


def _recorded(row: Row) -> dict[str, str | float]:
    assert row.trial is not None
    attempt = journal.last_attempt(row.trial.folder)
    status = journal.status(attempt)
    if status is None:
        return {}
    last = attempt[-1].record
    return {**last.metrics, "health": last.detail["tags"].get("ablation.health", status)}


def _best_validation(trial: Prepared) -> float:
    accuracies = [entry.record.metrics["val/accuracy"] for entry in journal.last_attempt(trial.folder) if entry.record.kind == EVALUATION]
    return max(accuracies, default=-1.0)


def _number(value: str | float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "–"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
