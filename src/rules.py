"""Combinations of toggles that cannot run, and toggles that have no effect in a combination, each with its reason.

`refusals` speaks before TensorFlow is imported: alone such a trial is an error, as one cell of a study it is dropped and
listed. `normalise` gives two names of one trial the same settings, and says what it changed and why.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

from src.settings import Integration, MovieReviews, Settings, as_typed, edited

MAX_UNITS = 65_536
OWN_LOOPS = ("graph_loop", "packed_loop", "eager_loop")
NOT_COMPILED = {
    "eager_loop": "compiles nothing",
    "packed_loop": "shrinks its batch over time, while XLA needs one shape",
}
GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4}


class Inert(NamedTuple):
    """A toggle that has no effect on the result under a condition: it is set to one value there."""

    key: str
    value: Any
    applies: Callable[[Settings], bool]
    reason: str


def _is_drawn(settings: Settings) -> bool:
    return isinstance(settings.task, Integration)


def _draws_whole_batches(settings: Settings) -> bool:
    return isinstance(settings.task, Integration) and settings.task.num_samples % settings.batch_size == 0


def is_never_padded(settings: Settings) -> bool:
    """Returns whether every batch holds sequences of one length."""
    is_alone = settings.padding == "batch" and not settings.bucketing and settings.batch_size == 1
    return settings.padding == "equal" or is_alone


def _learns_a_sum(settings: Settings) -> bool:
    return isinstance(settings.task, Integration) and settings.task.target == "integral"


TEXT_ONLY = ("padding", "bucketing", "padding_side", "truncation", "max_length", "vocab_size", "tokens", "encoding", "masking")
INERT = (
    *(
        Inert(key, Settings.model_fields[key].default, _is_drawn, "noise has no words, and its sequences have one length")
        for key in TEXT_ONLY
    ),
    Inert("head", "sigmoid", _learns_a_sum, "task.target=integral has one output, the sum"),
    Inert("bucketing", False, lambda s: s.padding == "dataset", "with padding=dataset every sequence has the same length"),
    Inert("bucketing", False, lambda s: s.padding == "equal", "with padding=equal only sequences of equal length share a batch"),
    Inert("padding_side", "post", is_never_padded, "no batch is padded"),
    Inert("masking", False, is_never_padded, "no batch is padded, so a mask has no effect"),
    Inert("truncation", "pre", lambda s: s.max_length is None, "without max_length no sequence is truncated"),
    Inert("embedding_dim", 64, lambda s: s.encoding == "onehot", "encoding=onehot has no embedding"),
    Inert(
        "implementation",
        "graph_loop",
        lambda s: s.implementation == "packed_loop" and (not s.masking or _is_drawn(s)),
        "packed_loop skips masked steps, and none are masked",
    ),
    Inert("forget_bias", None, lambda s: s.cell != "lstm", "only an LSTM has a forget gate"),
    Inert("forget_bias", None, lambda s: s.cell == "lstm" and s.forget_bias == 1, "1 is the default"),
    Inert("retracing", "signature", lambda s: s.implementation == "eager_loop", "eager_loop traces nothing"),
    Inert("drop_remainder", False, lambda s: s.batch_size == 1, "with batch_size=1 every batch is full"),
    Inert("drop_remainder", False, _draws_whole_batches, "every batch is full"),
    Inert("readout", "mean_state", lambda s: s.readout == "mean_logit", "the head is linear, so both readouts give the same logit"),
)


class Change(NamedTuple):
    """One toggle that was normalised."""

    key: str
    got: Any
    used: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key}={as_typed(self.used)} is used: {self.reason}"


def normalise(settings: Settings, *, longest: int | None = None, classes: int = 2) -> tuple[Settings, list[Change]]:
    """Returns the settings with every toggle that has no effect set to one value, and what was changed.

    `parameters` is a way to choose `units`, and is null once it has.

    Args:
      settings: checked settings.
      longest: steps of the longest sequence, where the data were read.
      classes: number of classes of the data; more than 2 need `head=softmax`.
    """
    used, changes = settings, []
    for rule in INERT:  # one after the other: what one has changed, the next finds
        if rule.applies(used) and (got := getattr(used, rule.key)) != rule.value:
            changes.append(Change(rule.key, got, rule.value, rule.reason))
            used = used.model_copy(update={rule.key: rule.value})
    if used.truncation != "pre" and longest is not None and used.max_length is not None and longest < used.max_length:
        changes.append(Change("truncation", used.truncation, "pre", f"the longest sequence has {longest} steps, so none is truncated"))
        used = used.model_copy(update={"truncation": "pre"})
    if used.bptt_steps is not None and used.bptt_steps >= (longest or longest_allowed(used) or math.inf):
        changes.append(Change("bptt_steps", used.bptt_steps, None, "no sequence is longer, so no gradient is truncated"))
        used = used.model_copy(update={"bptt_steps": None})
    if classes > 2 and settings.head == "sigmoid":
        changes.append(Change("head", "sigmoid", "softmax", f"the data have {classes} classes"))
        used = used.model_copy(update={"head": "softmax"})
    if used.parameters is not None:
        total, units = used.parameters, _units_for(used, classes=classes)
        used = edited(used, {"units": units, "parameters": None})
        reason = f"the model then has {parameters(used, classes=classes):,} parameters, which is closest to parameters={total}"
        changes.append(Change("units", settings.units, units, reason))
    return used, changes


def refusals(settings: Settings, *, longest: int | None = None, classes: int = 2, available_mb: float | None = None) -> list[str]:
    """Returns why these settings cannot run, each with its fix; empty if they can.

    Args:
      settings: checked settings.
      longest: steps of the longest sequence, where the data were read; `max_length` otherwise, which reviews do reach, but a user's
        own short texts may not.
      classes: number of classes of the data.
      available_mb: memory that may be used, in megabytes; all of this machine's if left out. What is free at the moment would make
        a study's cells depend on what else runs.
    """
    reasons = []
    if _is_drawn(settings) and settings.data != MovieReviews():
        reasons.append("task=integration generates its examples and reads no data; remove data=… and data.…, and set task.num_samples")
    elif settings.data.name in ("aclimdb", "table") and not settings.data.path:
        reasons.append(f"data={settings.data.name} needs a path; add data.path=FILE_OR_FOLDER")
    if settings.bptt_steps and settings.implementation not in OWN_LOOPS:
        reasons.append(f"bptt_steps does not work with implementation={settings.implementation}; set implementation=graph_loop")
    if settings.jit_compile and settings.implementation in NOT_COMPILED:
        what = f"jit_compile=true does not work with implementation={settings.implementation}"
        reasons.append(f"{what}, which {NOT_COMPILED[settings.implementation]}; set implementation=graph_loop")
    if _learns_a_sum(settings) and settings.readout == "mean_probability":
        reasons.append("readout=mean_probability does not work with task.target=integral: a sum has no probability; set readout=mean_state")
    if settings.tracking.name == "offline" and settings.tracking.uri:
        reasons.append("tracking=offline uses no tracking store, but tracking.uri is set; remove one of the two")
    steps = longest or (None if settings.data.name == "table" else longest_allowed(settings))
    if steps is not None:
        needed = required_mb(settings, steps=steps, classes=classes)
        memory = memory_mb() if available_mb is None else available_mb
        if needed > memory:
            reasons.append(
                f"encoding={settings.encoding} vocab_size={settings.vocab_size} batch_size={settings.batch_size} "
                f"units={settings.units} with {steps} steps needs about {needed:,.0f} MB of memory; this machine has {memory:,.0f} MB; "
                + _memory_fix(settings)
            )
    return reasons


@functools.cache
def memory_mb() -> float:
    """Returns the memory of this machine, in megabytes."""
    return float(psutil.virtual_memory().total / 2**20)


def required_mb(settings: Settings, *, steps: int, classes: int = 2) -> float:
    """Returns a rough lower bound of the memory that one training step takes, in megabytes.

    Counted, in 4-byte numbers: the parameters with gradient and two moments; what the cell reads and its gradient; the states
    and gates that back-propagation through time keeps. Measured for one-hot input of 10,000 x 200 x 64: 1.9 GB, of which
    0.7 GB are TensorFlow itself.
    """
    rows = settings.batch_size * steps
    read = settings.vocab_size if settings.encoding == "onehot" else settings.embedding_dim
    onehot = rows * settings.vocab_size if settings.encoding == "onehot_projected" else 0
    directions = 2 if settings.bidirectional else 1
    kept = rows * settings.units * (GATES[settings.cell] + 2) * directions * settings.depth
    numbers = 4 * parameters(settings, classes=classes) + 2 * rows * read + onehot + kept
    held = 10_000 * steps if _is_drawn(settings) else 0  # the validation split
    return (numbers + held) * 4 / 2**20 + 750


def parameters(settings: Settings, *, classes: int = 2) -> int:
    """Returns the number of trainable numbers of the model that the settings describe, in Keras' layout."""
    gates, directions = GATES[settings.cell], 2 if settings.bidirectional else 1
    biases = 2 if settings.cell == "gru" else 1  # Keras' GRU keeps an input and a recurrent bias (reset_after)
    states = 2 if settings.cell == "lstm" else 1
    width = settings.vocab_size if settings.encoding == "onehot" else settings.embedding_dim
    rows = 2 if _is_drawn(settings) else settings.vocab_size  # noise is read in by one row of weights and one of biases
    total = 0 if settings.encoding == "onehot" else rows * settings.embedding_dim
    for _ in range(settings.depth):
        total += directions * gates * settings.units * (width + settings.units + biases)
        total += directions * states * settings.units if settings.initial_state == "learned" else 0
        width = directions * settings.units
    outputs = classes if settings.head == "softmax" else 1
    return total + (width + 1) * outputs


def longest_allowed(settings: Settings) -> int | None:
    """Returns the most steps that a sequence can have, as far as the settings say."""
    return settings.task.sequence_length if isinstance(settings.task, Integration) else settings.max_length


def _units_for(settings: Settings, *, classes: int) -> int:
    """Returns the width with which the model comes nearest to `settings.parameters`."""
    wanted = settings.parameters or 0

    def total(units: int) -> int:
        return parameters(settings.model_copy(update={"units": units}), classes=classes)

    above = bisect.bisect_left(range(1, MAX_UNITS), wanted, key=total) + 1
    return min((units for units in (above - 1, above) if units), key=lambda units: abs(total(units) - wanted))


def _memory_fix(settings: Settings) -> str:
    if settings.encoding != "embedding":
        return f"set encoding=embedding, or a smaller vocab_size (now {settings.vocab_size})"
    return "set a smaller batch_size, max_length, units or embedding_dim"
