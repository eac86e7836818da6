"""The numbers that the core measures of every trial, by name, and of which kind a metric is."""

from __future__ import annotations

from src.spec.metric import BEST, STEPS_TO, TEST, TRAIN, VAL, Metric

PER_BATCH, PER_EPOCH, STEADY_EPOCH = "time/batch_ms_median", "time/epoch_s", "time/steady_epoch_s"
TRAINING, TRACING, TRACES = "time/train_s", "time/trace_s", "data/traces"
PADDED, BATCHES = "data/padding_fraction", "data/batches_per_epoch"
PARAMETERS, MEMORY = "model/parameters", "memory/peak_mb"
STEP_TIME = "time/batch_ms"


def is_of_weights(metric: Metric) -> bool:
    """Returns whether the trained weights decide a metric: equal weights give equal values."""
    return metric.name.startswith((TEST, VAL, TRAIN, BEST, STEPS_TO))


def is_steps_to(metric: Metric) -> bool:
    """Returns whether a metric counts the steps until validation reached a target, which some trials never do."""
    return metric.name.startswith(STEPS_TO)


def is_exact(metric: Metric) -> bool:
    """Returns whether chance has no part in a metric, so that equal values are equal."""
    return metric.name == PARAMETERS


def title(metric: Metric) -> str:
    """Returns a metric's title with its unit; the titles of what the core measures have theirs already."""
    has_unit = metric.unit and is_of_weights(metric) and not is_steps_to(metric)
    return f"{metric.shown} ({metric.unit})" if has_unit else metric.shown
