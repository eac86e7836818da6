"""Finds faults of an image classifier, from its weights, from what it received, and from the record of its training."""

from __future__ import annotations

from collections.abc import Iterator

from src.parts.classes import diagnosis as of_classes
from src.training import diagnosis
from src.training.diagnosis import Evidence


def causes(evidence: Evidence) -> Iterator[str]:
    """Yields the causes in the order in which an image passes through training; see `training.diagnosis`."""
    yield from diagnosis.inputs_not_finite(evidence)
    yield from diagnosis.identical_inputs(evidence, what="images", look_at="the files")
    yield from diagnosis.inputs_out_of_scale(evidence, fix="set normalise=unit")
    yield from diagnosis.scaled_apart(evidence)
    yield from of_classes.batches_of_one_class(evidence)
    yield from of_classes.labels_independent_of_inputs(evidence)
    yield from diagnosis.identical_units(evidence, fix="set initializer=glorot")
    yield from diagnosis.saturated_units(evidence)
    yield from diagnosis.dead_units(evidence)
    yield from of_classes.softmax_twice(evidence)
    yield from of_classes.loss_of_other_targets(evidence)
    yield from diagnosis.of_update(evidence)
