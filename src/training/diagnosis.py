"""Finds faults of a trial from what it recorded and from what its model received: general causes.

A fault also shows in what comes after it: with zero weights, no gradient reaches a hidden layer, which then looks like
a learning rate that is too low. A task therefore asks for causes in the order in which a number passes through
training: inputs, the model before training, the loss, the update, the number of steps. The first cause is recorded.

Some causes are certain. The others are only likely, and are named only if the trial learnt nothing or diverged; their
docstrings say so. Settings are never read: what they ask for may not be what happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from src.spec.metric import TRAIN
from src.spec.record import Record
from src.training.evaluation import mean
from src.training.phase import LOSS, Learner
from src.training.update import batch_size

FEW = 100  # with fewer optimizer steps than this, their number is reported as a cause
ENOUGH = 64  # least number of examples to look at
MANY = 2_000  # examples whose targets are compared with their inputs
NUMBERS = 4_000_000  # most numbers of inputs in memory for it, 16 MB
LARGE = 10.0  # root mean square of inputs, or of outputs before training, that is out of scale
MOST = 0.9  # least share of units or examples that is reported
FAR = 30.0  # times the initial loss, from where a loss no longer oscillates, but diverges
HALF = 0.5  # least share of saturated outputs before training that is reported
BOUNDS: Mapping[str, tuple[float, ...]] = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "softsign": (-1.0, 1.0)}
Batch = tuple[Any, Any]  # inputs, targets


@dataclass(frozen=True)
class Evidence:
    """The input of a diagnosis.

    Attributes:
      learner: the trained learner, with its phase; after `Diverged`, its weights may be NaN.
      build: builds the same model with its initial weights.
      steps: the `step` records of training.
      has_learnt: whether the trial was better than chance in validation and in test, or chance is unknown.
    """

    learner: Learner
    build: Callable[[], keras.Model]
    steps: Sequence[Record]
    has_learnt: bool = False

    @cached_property
    def untrained(self) -> keras.Model:
        """The model with its initial weights."""
        return self.build()

    @cached_property
    def batches(self) -> list[Batch]:
        """The first batches of the first epoch, as many as have `ENOUGH` examples, or all."""
        return first(self.learner.phase.training(1))

    @cached_property
    def batch(self) -> Batch:
        """The largest of them."""
        return max(self.batches, key=lambda batch: batch_size(batch[0]))

    @cached_property
    def examples(self) -> list[Batch]:
        """Batches of the first epoch with about `MANY` examples, fewer if inputs are large."""
        return first(self.learner.phase.training(1), affordable(self.batch[0]))

    @cached_property
    def outputs(self) -> Any:
        """What the model returns for `batch` in its first step."""
        return self.untrained(self.batch[0], training=True)

    @cached_property
    def hidden(self) -> dict[Any, np.ndarray]:
        """Hidden layer with an activation → its outputs for `batch` in its first step."""
        return activations(self.untrained, self.batch[0])

    @cached_property
    def losses(self) -> list[float]:
        """The mean loss of each step, or the running mean of the epoch in records of earlier versions."""
        return [step.detail.get("loss", step.metrics.get(f"{TRAIN}{LOSS}", math.nan)) for step in self.steps]

    @cached_property
    def highest(self) -> float:
        """The highest mean loss of consecutive steps with `ENOUGH` examples; infinite if a loss was not finite."""
        if not self.losses:
            return math.nan
        if not all(map(math.isfinite, self.losses)):
            return math.inf
        window = min(-(-ENOUGH // self.steps[0].detail["batch"]), len(self.losses))
        sums = np.cumsum([0.0, *self.losses])
        return float(((sums[window:] - sums[:-window]) / window).max())

    @property
    def is_diverged(self) -> bool:
        """Whether the loss or the gradient of the last step was not finite, which ends training."""
        last = self.steps[-1:]
        return any(not math.isfinite(step.detail.get(name, 0.0)) for step in last for name in (LOSS, "gradient_norm"))

    @cached_property
    def initial(self) -> float:
        """The mean loss of `batches` before training."""
        return mean_loss(self.learner, self.untrained, self.batches)


def inputs_not_finite(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if inputs contain NaN or infinity, which reach every weight in one step. It is certain."""
    share = max((float(np.mean(~np.isfinite(values))) for values in _floats(evidence.batches)), default=0.0)
    if share:
        yield f"inputs not finite: {share:.2%} of the numbers are NaN or infinite; check how they are read"


def identical_inputs(evidence: Evidence, *, what: str = "examples", look_at: str = "the data") -> Iterator[str]:
    """Yields a cause if all inputs are identical. A trial with such inputs learns nothing.

    Args:
      evidence: of the trial.
      what: plural noun for the examples.
      look_at: what the user should check.
    """
    if not evidence.has_learnt and are_equal([inputs for inputs, _ in evidence.batches]):
        count = sum(batch_size(inputs) for inputs, _ in evidence.batches)
        yield f"identical inputs: all of {count} {what} are the same; check {look_at}"


def inputs_out_of_scale(evidence: Evidence, *, fix: str = "scale the inputs to about -1 to 1") -> Iterator[str]:
    """Yields a cause if the root mean square of the inputs is above 10.

    Initial weights are drawn for inputs with a mean square of about 1 (Glorot and Bengio, AISTATS 2010; He et al., ICCV
    2015): pixels from 0 to 255 have about 90, and the activations and gradients are as many times too large. If the
    trial learnt, it is named only if the model suffers from it, for batch normalisation, say, makes up for the scale:
    the outputs of the first step are above 10, too, the loss rose to twice its first value, or units are saturated.
    """
    parts = [np.asarray(part) for part in tf.nest.flatten(evidence.batch[0]) if part.dtype.is_floating]
    size = max(map(_root_mean_square, parts), default=0.0)
    if not size > LARGE or not math.isfinite(size):
        return
    outputs = _root_mean_square(np.asarray(tf.nest.flatten(evidence.outputs)[0]))
    is_seen = (
        outputs > LARGE
        or evidence.highest > 2 * evidence.losses[0]
        or max(saturated_shares(evidence.hidden).values(), default=0) >= HALF
    )
    if evidence.has_learnt and not is_seen:
        return
    span = f"from {min(float(part.min()) for part in parts):.3g} to {max(float(part.max()) for part in parts):.3g}"
    finding = f"{span}, with a root mean square of {size:.3g}; that of the model's first outputs is {outputs:.3g}"
    yield f"inputs out of scale: they are {finding}; {fix}"


def scaled_apart(evidence: Evidence, *, fix: str = "scale all splits by the training split") -> Iterator[str]:
    """Yields a cause if held-out inputs are scaled in another way than those of training. It is certain.

    Either their deviation is 10 times as large or as small, or each held-out split has mean 0 and deviation 1 so
    exactly that it must have been standardised by its own statistics. Scaled by those of training, a split of N
    examples misses them by about a standard error, and is within a fiftieth of it in one of 60 cases: for both numbers
    of two splits, in one of 10^7.
    """
    held_out = evidence.learner.phase.held_out
    for name, batches in held_out.items():
        for ours, theirs in zip(_floats(evidence.batches), _floats(first(batches())), strict=True):
            spread, other = float(ours.std()), float(theirs.std())
            if spread and not 0.1 < other / spread < 10:
                finding = f"their deviation is {other:.3g} in {name} and {spread:.3g} in training"
                yield f"held-out inputs scaled apart: {finding}; {fix}"
                return
    if len(held_out) < 2 or not _floats(evidence.batches):
        return
    misses = [_missed(batches()) for batches in held_out.values() if _is_about_standard(first(batches()))]
    if len(misses) == len(held_out) and max(misses) < 0.02:
        finding = f"{' and '.join(held_out)} each have mean 0 and deviation 1 to {max(misses):.1g} of a standard error"
        yield f"held-out inputs scaled apart: {finding}, as only their own statistics give; {fix}"


def identical_units(evidence: Evidence, *, fix: str = "draw initial weights at random") -> Iterator[str]:
    """Yields a cause if all units of a hidden layer have the same weights, before and after training. It is certain.

    Such units get the same gradient in each step, so that they stay one unit; from zeros, they get none at all.
    """
    # By place: a second model of the same code may number its layers on, where the task does not name them.
    pairs = zip(*map(hidden_layers, (evidence.learner.model, evidence.untrained)), strict=True)
    for layer, before in pairs:
        kernels = [np.asarray(of.kernel) for of in (layer, before)]
        if all(kernel.shape[-1] > 1 and (kernel == kernel[..., :1]).all() for kernel in kernels):
            what = f"all {kernels[0].shape[-1]} units of {layer.name} have the same weights"
            zeros = "" if np.any(kernels[0]) else " (zeros)"
            yield f"identical units: {what}{zeros}, before training and after it; {fix}"
            return


def saturated_units(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if half of a layer's outputs are within 0.01 of a bound of tanh or sigmoid before training.

    The gradient through such an output is at most a fiftieth of that in the middle. Common initial weights saturate
    next to nothing, so the cause is certain. What training saturates later is no fault by itself.
    """
    for layer, share in saturated_shares(evidence.hidden).items():
        if share >= HALF:
            bounds = " or ".join(f"{bound:g}" for bound in BOUNDS[_activation(layer)])
            finding = f"{share:.0%} of the outputs of {layer.name} are within 0.01 of {bounds} before training"
            yield f"saturated units: {finding}; draw smaller initial weights, or scale the inputs down"
            return


def dead_units(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if 90 % of the units of a layer of ReLUs are 0 for all examples, before training. It is certain.

    Such units have no gradient. Half of the outputs of common initial weights are 0, but few units are 0 for all of 64
    examples. Units that die in training are named by `died`, as their cause is the update.
    """
    for layer, share in dead_shares(evidence.hidden).items():
        if share >= MOST:
            what = f"{share:.0%} of the units of {layer.name} are 0 for every example before training"
            yield f"dead units: {what}; check the initial biases and weights"
            return


def weights_not_updated(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if training left weights as they were, although they have a gradient. It is certain.

    They must be equal to the last bit, while other weights changed by at least a thousandth; their gradient before
    training must be at least a millionth of the whole. Weights without a gradient are only a likely cause: they may
    lie behind units that are dead or saturated.
    """
    now, before = (model.trainable_variables for model in (evidence.learner.model, evidence.untrained))
    still = [place for place in range(len(now)) if np.array_equal(np.asarray(now[place]), np.asarray(before[place]))]
    moved = [place for place in range(len(now)) if place not in still]
    if not still or not any(_norm_of_change(now[place], before[place]) > 1e-3 for place in moved):
        return
    norms = gradient_norms(evidence)
    whole = math.hypot(*norms)
    with_gradient = [place for place in still if norms[place] > 1e-6 * whole]
    if with_gradient:
        what = f"{_named(before, with_gradient)} never changed, although the norm of the gradient is"
        finding = f"{what} {math.hypot(*(norms[place] for place in with_gradient)):.2g} of {whole:.2g}"
        yield f"weights not updated: {finding}; give the optimizer all trainable variables"
    elif not evidence.has_learnt:
        finding = f"{_named(before, still)} have no gradient and never changed"
        yield f"weights without gradient: {finding}; check what connects them to the loss"


def learning_rate_too_high(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if the loss grew beyond its initial value.

    If the trial learnt nothing or diverged, the mean of an epoch must exceed it 1.5 times, or that of 64 examples
    twice. In a trial that learnt, only the latter is named, after 100 steps: in healthy trials at many rates and batch
    sizes, 64 consecutive examples never had more than 1.1 times the initial loss. Up to 30 times are an oscillation.
    """
    if not evidence.steps or (evidence.has_learnt and not evidence.highest > 1.5 * evidence.losses[0]):
        return  # the loss before training takes a moment to compute
    growth = evidence.highest / evidence.initial
    in_epoch = max(_epoch_means(evidence.steps)) / evidence.initial
    fix = "lower learning_rate, or set clip_norm=1"
    if not math.isfinite(evidence.highest):
        finite = [loss for loss in evidence.losses if math.isfinite(loss)]
        grown = f", grew to {max(finite):.3g}" if finite else ""
        if math.isfinite(evidence.initial):
            finding = f"the loss was {evidence.initial:.3g} before training{grown}, and was not finite"
            yield f"learning rate too high: {finding} at step {len(evidence.losses)}; {fix}"
    elif evidence.has_learnt and 2 < growth <= FAR and len(evidence.steps) >= FEW:
        finding = f"the loss rose to {growth:.3g} times its initial value, and fell again"
        yield f"learning rate too high (oscillating): {finding}; {fix}"
    elif growth > FAR or (not evidence.has_learnt and (growth > 2 or in_epoch > 1.5)):
        yield f"learning rate too high: the loss grew to {max(growth, in_epoch):.3g} times its initial value; {fix}"


def learning_rate_too_low(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if training changed no weight by a thousandth of its norm.

    A trial of 100 steps at a common rate changes some weight by a tenth. It is certain if there were 100 steps; after
    fewer it is named only if the trial learnt nothing.
    """
    if evidence.has_learnt and len(evidence.steps) < FEW:
        return
    now, before = (
        [np.asarray(weight) for weight in model.trainable_variables]
        for model in (evidence.learner.model, evidence.untrained)
    )
    change = relative_change(now, before)
    if change < 1e-3:
        finding = f"training changed the weights by only {change:.2g} of their norm"
        yield f"learning rate too low: {finding}; raise learning_rate, or train longer"


def died(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if 90 % of the units of a layer of ReLUs are 0 for all examples after training.

    It is named only if the trial learnt nothing; without an example that passes, no step brings the units back.
    """
    if evidence.has_learnt:
        return
    for layer, share in dead_shares(activations(evidence.learner.model, evidence.batch[0])).items():
        if share >= MOST:
            what = f"{share:.0%} of the units of {layer.name} became 0 for every example"
            yield f"dead units: {what}; lower learning_rate"
            return


def too_few_steps(evidence: Evidence) -> Iterator[str]:
    """Yields a cause if there were fewer than 100 optimizer steps, and the trial learnt nothing.

    A trial that diverged would not have learnt in more steps.
    """
    if not evidence.has_learnt and not evidence.is_diverged and len(evidence.steps) < FEW:
        yield f"too few steps: {len(evidence.steps)} optimizer steps; train longer, or on more data"


def causes(evidence: Evidence) -> Iterator[str]:
    """Yields the general causes in the order of the module's text; each names a number and a fix."""
    for cause in (inputs_not_finite, identical_inputs, inputs_out_of_scale, scaled_apart):
        yield from cause(evidence)
    for cause in (identical_units, saturated_units, dead_units):
        yield from cause(evidence)
    yield from of_update(evidence)


def of_update(evidence: Evidence) -> Iterator[str]:
    """Yields the causes that lie in the update of the weights and in the number of steps."""
    for cause in (weights_not_updated, learning_rate_too_high, learning_rate_too_low, died, too_few_steps):
        yield from cause(evidence)


def first(batches: Iterable[Any], enough: int = ENOUGH) -> list[Batch]:
    """Returns the first batches, each (inputs, targets): as many as have `enough` examples, or all."""
    taken: list[Batch] = []
    seen = 0
    for inputs, targets, _ in batches:
        taken.append((inputs, targets))
        seen += batch_size(inputs)
        if seen >= enough:
            break
    return taken


def affordable(inputs: Any) -> int:
    """Returns how many examples like those of a batch to compare: `MANY`, or as many as have `NUMBERS` numbers."""
    of_one = sum(math.prod(part.shape) for part in tf.nest.flatten(inputs)) / batch_size(inputs)
    return max(ENOUGH, min(MANY, int(NUMBERS / of_one)))


def are_equal(batches: Sequence[Any]) -> bool:
    """Returns whether batches, nests of [B, ...], contain at least two examples and all examples are identical."""
    rows = _rows(batches)
    return len(rows) > 1 and all(
        np.array_equal(part, of_first) for row in rows for part, of_first in zip(row, rows[0], strict=True)
    )


def hidden_layers(model: keras.Model) -> list[Any]:
    """Returns the dense layers and convolutions, without those that give the model's outputs."""
    last = {id(output) for output in tf.nest.flatten(model.output)}
    kinds = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)
    return [layer for layer in model.layers if isinstance(layer, kinds) and id(layer.output) not in last]


def activations(model: keras.Model, inputs: Any) -> dict[Any, np.ndarray]:
    """Returns hidden layer with a ReLU or an activation of `BOUNDS` → its outputs [B, ..., units] in the first step.

    In training, batch normalisation has the statistics of the batch, not its initial ones.
    """
    last = {id(output) for output in tf.nest.flatten(model.output)}
    kinds = (keras.layers.Activation, keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)
    shown = [
        layer
        for layer in model.layers
        if isinstance(layer, kinds) and _activation(layer) in (*BOUNDS, "relu") and id(layer.output) not in last
    ]
    if not shown:
        return {}
    outputs = keras.Model(model.input, {layer.name: layer.output for layer in shown})(inputs, training=True)
    return {layer: np.asarray(outputs[layer.name]) for layer in shown}


def _activation(layer: Any) -> str:
    """Returns the name of a layer's activation; empty if it has none, as a layer that is used as an activation."""
    return getattr(layer.activation, "__name__", "")


def saturated_shares(hidden: Mapping[Any, np.ndarray]) -> dict[Any, float]:
    """Returns layer with bounds → share of its outputs that are within 0.01 of one of them.

    Args:
      hidden: as `activations` returns it.
    """
    shares = {}
    for layer, values in hidden.items():
        if bounds := BOUNDS.get(_activation(layer)):
            distances = [np.abs(values - bound) for bound in bounds]
            shares[layer] = float((np.minimum(*distances) < 0.01).mean())
    return shares


def dead_shares(hidden: Mapping[Any, np.ndarray]) -> dict[Any, float]:
    """Returns layer of ReLUs → share of its units (channels of a convolution) that are 0 for each of several examples.

    Args:
      hidden: as `activations` returns it.
    """
    return {
        layer: float((values.reshape(-1, values.shape[-1]) == 0).all(axis=0).mean())
        for layer, values in hidden.items()
        if _activation(layer) == "relu" and len(values) > 1
    }


def mean_loss(learner: Learner, model: keras.Model, batches: Sequence[Batch]) -> float:
    """Returns the weighted mean loss of a model over the examples of the batches."""
    phase = learner.phase

    def predict(inputs: Any) -> Any:
        return model(inputs, training=False)

    if not learner.is_eager:
        predict = tf.function(predict, autograph=False, input_signature=[phase.signature[0]])
    measured = [phase.measure(predict(inputs), targets)[LOSS] for inputs, targets in batches]
    values, weights = (np.concatenate([np.asarray(pair[place]) for pair in measured]) for place in (0, 1))
    return mean(values, weights)


def gradient_norms(evidence: Evidence) -> list[float]:
    """Returns the norm of the gradient of each trainable variable before training, for `batch`; 0 without gradient."""
    inputs, targets = evidence.batch
    model = evidence.untrained
    with tf.GradientTape() as tape:
        values, weights = evidence.learner.phase.measure(model(inputs, training=True), targets)[LOSS]
        value = tf.math.divide_no_nan(tf.reduce_sum(values), tf.reduce_sum(weights))
    gradients = tape.gradient(value, model.trainable_variables)
    return [0.0 if gradient is None else float(tf.linalg.global_norm([gradient])) for gradient in gradients]


def relative_change(now: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> float:
    """Returns the largest |now - before| / |before| of any weight that was not zero, in Euclidean norm.

    It is infinite if all were zero, or if any weight is NaN.
    """
    sizes = [float(np.linalg.norm(old)) for old in before]
    changes = [
        float(np.linalg.norm(new - old)) / size for new, old, size in zip(now, before, sizes, strict=True) if size
    ]
    return math.inf if any(map(math.isnan, changes)) else max(changes, default=math.inf)


def _rows(batches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]:
    """Returns the parts of each example of nests of [B, ...]."""
    return [row for batch in batches for row in zip(*map(np.asarray, tf.nest.flatten(batch)), strict=True)]


def _floats(batches: Sequence[Batch]) -> list[np.ndarray]:
    """Returns the numbers of each input that is no integer, over the batches."""
    parts = [[np.asarray(part) for part in tf.nest.flatten(inputs) if part.dtype.is_floating] for inputs, _ in batches]
    return [np.concatenate([part.ravel() for part in of_one]) for of_one in zip(*parts, strict=True)]


def _root_mean_square(values: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _is_about_standard(batches: Sequence[Batch]) -> bool:
    """Returns whether the inputs of a few batches may be standardised, so that a whole split is worth reading."""
    return any(abs(values.mean()) < 0.5 and abs(values.std() - 1) < 0.5 for values in _floats(batches))


def _missed(batches: Iterable[Any]) -> float:
    """Returns by how many standard errors a split's mean misses 0 and its mean square 1, the most of any channel.

    A standard error is that of the mean of one number an example, E: std(E) / sqrt(N). Infinite without floats, and if
    all numbers of a channel are equal.
    """
    of_examples: list[np.ndarray] = []
    for inputs, _, _ in batches:
        for part in tf.nest.flatten(inputs):
            if part.dtype.is_floating and part.shape.rank > 1:
                values = np.asarray(part, np.float64).reshape(len(part), -1, part.shape[-1])
                of_examples.append(np.stack([values.mean(axis=1), np.square(values).mean(axis=1) - 1], axis=1))
    if not of_examples or len({part.shape[1:] for part in of_examples}) > 1:
        return math.inf
    every = np.concatenate(of_examples)  # [N, 2, channels]
    errors = every.std(axis=0) / math.sqrt(len(every))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nan_to_num(np.abs(every.mean(axis=0)) / errors, nan=math.inf).max())


def _norm_of_change(new: Any, old: Any) -> float:
    """Returns |new - old| / |old|, or |new - old| if the old weights were zero."""
    before = np.asarray(old)
    return float(np.linalg.norm(np.asarray(new) - before)) / (float(np.linalg.norm(before)) or 1.0)


def _epoch_means(steps: Sequence[Record]) -> list[float]:
    """Returns the mean loss of each epoch."""
    last = {step.detail["epoch"]: step.metrics[f"{TRAIN}{LOSS}"] for step in steps}
    return list(last.values())


def _named(variables: Sequence[Any], places: Sequence[int]) -> str:
    """Returns the paths of variables as text, at most three."""
    paths = [variables[place].path for place in places]
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
