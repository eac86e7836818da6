"""How to restore what somebody deleted in MLflow."""

from __future__ import annotations

import shlex

from src.paths import shown


def how_to_restore(uri: str, *, experiment_id: str | None = None, run_id: str | None = None) -> str:
    """Returns the command that restores an experiment or a run; a password in the address is left out."""
    command = f"runs restore --run-id {run_id}" if run_id else f"experiments restore --experiment-id {experiment_id}"
    return f"MLFLOW_TRACKING_URI={shlex.quote(shown(uri))} mlflow {command}"
