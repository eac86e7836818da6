"""The rows of a study, one per variant and seed of its plan, and the metrics that the core records for every trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from src.spec.metric import BEST, STEPS_TO, TEST, TRAIN, VAL, Metric, steps_to
from src.tracking.attempts import Run

PER_BATCH, PER_EPOCH, STEADY_EPOCH = "time/batch_ms_median", "time/epoch_s", "time/steady_epoch_s"
TRAINING, TRACING, TRACES = "time/train_s", "time/trace_s", "data/traces"
PADDED, BATCHES = "data/padding_fraction", "data/batches_per_epoch"
PARAMETERS, MEMORY = "model/parameters", "memory/peak_mb"
STEP_TIME = "time/batch_ms"
FINISHED, FAILED, RUNNING = "FINISHED", "FAILED", "RUNNING"
DROPPED, NOT_RUN = "dropped", "not run"
COPIED = (  # tags that are columns of the same name, without their prefix
    *("health", "diagnosis", "error", "best_epoch", "resumed", "weights", "position", "record", "batches", "kernel"),
    *("workers", "threads", "processor", "environment", "versions", "git_commit", "git_dirty", "git_diff", "package"),
    "own_code",
)
TAGS = {
    **{name: name for name in COPIED},
    "data_hash": "data",
}  # column → tag, without its prefix; `data` is a toggle, too


def is_of_weights(metric: Metric) -> bool:
    """Returns whether the trained weights determine a metric, so that equal weights give equal values."""
    return metric.name.startswith((TEST, VAL, TRAIN, BEST, STEPS_TO))


def is_steps_to(metric: Metric) -> bool:
    """Returns whether a metric counts the steps until validation reached a target; some trials never reach it."""
    return metric.name.startswith(STEPS_TO)


def is_exact(metric: Metric) -> bool:
    """Returns whether a metric is deterministic, so that equal values prove equality."""
    return metric.name == PARAMETERS


def title(metric: Metric) -> str:
    """Returns a metric's title with its unit; the titles of the core's own metrics already contain it."""
    has_unit = metric.unit and is_of_weights(metric) and not is_steps_to(metric)
    return f"{metric.shown} ({metric.unit})" if has_unit else metric.shown


def of_plan(plan: dict[str, Any], served: dict[str, Run]) -> pd.DataFrame:
    """Returns one row per variant and seed, as `Study.rows` without the columns that come from metric histories."""
    metrics, texts = [], []
    for row in plan["rows"]:
        run = served.get(row["identity"])
        text = {key: row[key] for key in ("label", "identity", "dropped", "normalised")}
        text |= {"status": DROPPED if row["dropped"] else NOT_RUN, "run_id": None, **dict.fromkeys(TAGS)}
        if run is not None:
            text |= {column: run.tags.get(f"ablation.{tag}") for column, tag in TAGS.items()}
            text |= {"status": run.status, "run_id": run.run_id}
        texts.append(text)
        moments = {} if run is None else {"started": run.started, "ended": run.ended}
        metrics.append(
            {"seed": row["seed"], "is_reference": row["role"] == "reference", **moments, **(run.metrics if run else {})}
        )
    rows = pd.DataFrame(metrics)
    for name in texts[0] if texts else ():  # dtype object, as pandas would turn None into nan
        rows[name] = pd.Series([text[name] for text in texts], dtype=object)
    for toggle in plan["levels"]:  # and an integer beside None into a float
        rows[toggle] = pd.Series([row["values"].get(toggle) for row in plan["rows"]], dtype=object)
    for moment in ("started", "ended"):
        rows[moment] = pd.to_datetime(rows.reindex(columns=[moment])[moment].astype(float), unit="ms", utc=True)
    return rows


def with_times(rows: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, list[str]]:
    """Returns the rows with the epoch times over all epochs, and notes on trials of older versions.

    The run's own metric is the time of its last epoch only. Older versions did not count the steps that traced in
    `time/epoch_s` and `time/train_s`; their values are shown under today's names.
    """
    if histories[PER_EPOCH].empty:
        return rows, []
    whole = histories[PER_EPOCH].groupby("run_id")["value"]
    steady = rows["run_id"].map(histories[STEADY_EPOCH].groupby("run_id")["value"].median()).astype(float)
    rows = rows.assign(**{PER_EPOCH: rows["run_id"].map(whole.mean()).astype(float), STEADY_EPOCH: steady})
    is_old = rows["record"].isna() & rows[PER_EPOCH].notna()
    if not is_old.any():
        return rows, []
    rows[STEADY_EPOCH] = steady.where(~is_old, rows["run_id"].map(whole.median()).astype(float))
    for name in {PER_EPOCH, TRAINING} & set(rows.columns):
        rows[name] = rows[name].mask(is_old)
    what = f"left out the steps that traced; it is shown as {STEADY_EPOCH}, and the whole time of an epoch is unknown"
    return rows, [
        f"{is_old.sum()} trials are of an older version, whose {PER_EPOCH} {what}; rerun=true trains them again"
    ]


def with_validation(
    rows: pd.DataFrame, validation: pd.DataFrame, metric: Metric, *, threshold: float | None
) -> pd.DataFrame:
    """Returns the rows with columns from the validation history: best value, last step, step that reached the target.

    Args:
      rows: as `of_plan` returns them.
      validation: every recorded validation of the metric: `run_id`, `step`, `value`.
      metric: the task's first metric, under its short name.
      threshold: target value, or None. A metric without a direction has neither a best value nor a target.
    """
    of_run = validation.groupby("run_id")
    columns = {"last_step": of_run["step"].max(), "step_before": pd.Series(dtype=float)}
    if metric.sign:
        columns = {f"{VAL}{metric.name}": of_run["value"].agg("max" if metric.sign > 0 else "min"), **columns}
    if metric.sign and threshold is not None:
        is_reached = [metric.reaches(value, threshold) for value in validation["value"]]
        numbered = validation.assign(step_before=of_run["step"].shift(fill_value=0))
        first = numbered[np.array(is_reached, bool)].drop_duplicates("run_id").set_index("run_id")
        columns |= {"step_before": first["step_before"], steps_to(metric, threshold): first["step"]}
    return rows.assign(**{name: rows["run_id"].map(values).astype(float) for name, values in columns.items()})
