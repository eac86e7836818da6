"""Why a trial has learnt nothing, as far as one batch and the record of its training tell.

Runs only for trials that did not beat the largest class. Letters: B sequences, T steps,
D width of what the cell reads, H width of a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from src.data.splits import VALIDATION
from src.data.tokens import UNKNOWN
from src.models.loops import LOOPS
from src.rules import is_never_padded
from src.settings import Settings
from src.training.problem import Problem
from src.training.update import LOSSES, signature

FEW = 100  # optimizer steps
ENOUGH = 64  # examples
HALF = 0.5  # share of the words of validation; of English reviews it is below 0.1
MOST = 0.9  # a share from which on something is said of the whole
GATE_NAMES = {"lstm": ("input", "forget", "cell", "output"), "gru": ("update", "reset", "cell")}  # in Keras' order


def diagnose(
    model: keras.Model, untrained: keras.Model, problem: Problem, *, losses: Sequence[Sequence[float]], settings: Settings
) -> str | None:
    """Returns the likeliest cause with its figure and what to try, or None where nothing stands out.

    Args:
      model: trained.
      untrained: the same with its first weights.
      problem: what it should have learnt.
      losses: running mean of the loss after every step, of each epoch.
      settings: of the trial.
    """
    return next(_causes(model, untrained, problem, losses=losses, settings=settings), None)


def _causes(
    model: keras.Model, untrained: keras.Model, problem: Problem, *, losses: Sequence[Sequence[float]], settings: Settings
) -> Iterator[str]:
    """Yields what stands out, the likeliest cause first."""
    batches = first(problem.training(1))
    batch = max(batches, key=lambda one: len(one[1]))
    unknown = unknown_share(batch[0].numpy())
    if are_equal([inputs.numpy() for inputs, _ in batches]):
        yield "inputs: all sequences are identical; check the text column"
    if unknown >= MOST:
        yield f"inputs: {unknown:.0%} of the words are outside the vocabulary; raise vocab_size"
    held_out = first(problem.held_out[VALIDATION].batches()) if VALIDATION in problem.held_out else []
    unheard = max((unknown_share(inputs.numpy()) for inputs, _ in held_out), default=0.0)
    if unheard >= HALF:
        yield (
            f"inputs: {unheard:.0%} of the validation words are outside the vocabulary, against {unknown:.0%} in training; "
            f"{'set tokens=character, or ' if settings.tokens == 'word' else ''}train on more texts"
        )
    grown = max(epoch[-1] for epoch in losses) / mean_loss(untrained, batches, problem.loss, settings)
    if grown > 1.5:
        yield f"learning rate too high: the loss grew to {grown:.3g} times its initial value; lower learning_rate, or set clip_norm=1"
    moved = relative_change(model.get_weights(), untrained.get_weights())
    if moved < 1e-3:
        yield f"learning rate too low: training changed the weights by only {moved:.2g} of their norm; raise learning_rate, or train longer"
    for gate, share in saturation(model, batch[0], settings).items():
        if share >= MOST:
            where = f"the {gate} gate is within 0.01 of 0 or 1 in {share:.0%} of the steps"
            yield f"saturated gates: {where}; check forget_bias and learning_rate"
    steps = sum(map(len, losses))
    if steps < FEW:  # an untrained gated cell forgets half of its state at every step, and its gradient vanishes, too
        yield f"too few steps: {steps} optimizer steps; train longer, or on more data"
    reach = gradient_reach(model, batch, loss=problem.loss, settings=settings)
    if reach is not None and reach < 1e-4:
        yield f"vanishing gradient: the gradient at the first step is {reach:.2g} times that at the last; {_shorter_way(settings)}"
    if reach is not None and reach > 1e3:
        yield f"exploding gradient: the gradient at the first step is {reach:.2g} times that at the last; set clip_norm=1"
    dead = dead_share(model, batch[0], settings)
    if dead >= MOST:
        yield f"dead units: {dead:.0%} of the units have the same state for every sequence; lower learning_rate"


def _shorter_way(settings: Settings) -> str:
    """Returns what would bring the gradient nearer to the first step and is not set yet."""
    ways = {
        "bptt_steps=null": settings.bptt_steps is None,
        "masking=true": settings.masking or settings.task.name != "sentiment" or is_never_padded(settings),
        "readout=mean_state": settings.readout != "last",
        "cell=lstm": settings.cell == "lstm",
        "shorter sequences": False,
    }
    return "try " + ", ".join(way for way, is_set in ways.items() if not is_set)


def first(batches: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Returns the first batches, (inputs, targets), at least `ENOUGH` examples in all."""
    found: list[tuple[Any, Any]] = []
    for inputs, targets, _ in batches:
        found.append((inputs, targets))
        if sum(len(labels) for _, labels in found) >= ENOUGH:
            break
    return found


def are_equal(inputs: Sequence[np.ndarray]) -> bool:
    """Returns whether batches [B, T, ...] hold two sequences or more, and all of them are the same."""
    rows = [row for batch in inputs for row in batch]
    return len(rows) > 1 and all(np.array_equal(row, rows[0]) for row in rows)


def mean_loss(model: keras.Model, batches: Sequence[tuple[Any, Any]], loss: str, settings: Settings) -> float:
    """Returns the mean loss of a model over the examples of some batches."""

    def predict(inputs: Any) -> Any:
        return model(inputs, training=False)

    if settings.implementation != "eager_loop":
        of_inputs, _ = signature(model, targets=tf.int32)
        predict = tf.function(predict, autograph=False, input_signature=[of_inputs])
    return float(np.concatenate([LOSSES[loss](targets, predict(inputs)) for inputs, targets in batches]).mean())


def unknown_share(ids: np.ndarray) -> float:
    """Returns the share of the words in ids int32[B, T] that are the unknown word, 0 where inputs are no ids; the start is no word."""
    if not np.issubdtype(ids.dtype, np.integer):
        return 0.0
    words = ids[ids >= UNKNOWN]
    return float((words == UNKNOWN).mean()) if len(words) else 0.0


def relative_change(now: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> float:
    """Returns the largest |now - before| / |before| of any weight that was not zero, Euclidean."""
    sizes = [float(np.linalg.norm(old)) for old in before]
    return max(float(np.linalg.norm(new - old)) / size for new, old, size in zip(now, before, sizes, strict=True) if size)


def gradient_reach(model: keras.Model, batch: tuple[Any, Any], *, loss: str, settings: Settings) -> float | None:
    """Returns how much of the gradient arrives at the first step, the batch's median.

    Measured at what the first layer reads, dL/dx_t, which every state's gradient passes through: its norm at the first step by that at
    the last one read or, where a readout takes from all steps, by the largest of any step. None for one-hot input, which has no such
    gradient, and where it is zero everywhere.
    """
    inputs, targets = batch
    has_words = inputs.dtype == tf.int32
    table = inputs if not has_words else model.get_layer("encoding").embeddings if settings.encoding == "embedding" else None
    if table is None:
        return None
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = tf.reduce_mean(LOSSES[loss](targets, model(inputs, training=False)))
    gradient = tape.gradient(value, table)
    by_step = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    norms = np.linalg.norm(np.reshape(by_step, (*inputs.shape[:2], -1)), axis=-1)  # [B, T]
    real = inputs.numpy() > 0 if has_words else np.ones(norms.shape, bool)
    rows, first = np.arange(len(norms)), real.argmax(axis=1)
    last = norms.shape[1] - 1 - real[:, ::-1].argmax(axis=1) if settings.masking else np.full(len(norms), norms.shape[1] - 1)
    most = norms[rows, last] if settings.readout == "last" else norms.max(axis=1)
    known = norms.max(axis=1) > 0
    reached = norms[rows, first] / np.maximum(most, np.finfo(np.float32).tiny)
    return float(np.median(reached[known])) if known.any() else None


def saturation(model: keras.Model, inputs: Any, settings: Settings) -> dict[str, float]:
    """Returns for each gate of the first recurrent layer the share of its values below 0.01 or above 0.99, over all real steps."""
    if settings.cell not in GATE_NAMES:
        return {}
    has_two = settings.bidirectional and settings.implementation in LOOPS
    layer = model.get_layer("recurrent_1_forward" if has_two else "recurrent_1")
    weights = (layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer).get_weights()
    x = _output(model, "encoding" if settings.encoding != "onehot" else "onehot", inputs)
    real = inputs.numpy() > 0 if inputs.dtype == tf.int32 else np.ones(x.shape[:2], bool)
    first = model.get_layer("recurrent_1_initial_state").get_weights() if settings.initial_state == "learned" else None
    values = gates(settings.cell, weights, x=x, mask=real if settings.masking else np.ones_like(real), states=first)
    return {
        name: float(((value < 0.01) | (value > 0.99))[real].mean())
        for name, value in zip(GATE_NAMES[settings.cell], values, strict=True)
        if name != "cell"
    }


def gates(
    cell: str, weights: Sequence[np.ndarray], *, x: np.ndarray, mask: np.ndarray, states: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Returns what every gate is at every step, float32[B, T, H] each, by the equations of `models.cells` in NumPy.

    Args:
      cell: `lstm` or `gru`.
      weights: kernel, recurrent kernel and bias in Keras' layout.
      x: float32[B, T, D].
      mask: bool[B, T]; states are carried over what is False.
      states: float32[H] each, before the first step; None for zeros.
    """
    kernel, recurrent, bias = weights[:3]
    count = len(GATE_NAMES[cell])
    begin = states if states is not None else [np.zeros(recurrent.shape[0], np.float32)] * 2
    h = np.tile(begin[0], (len(x), 1))
    c = np.tile(begin[1], (len(x), 1)) if cell == "lstm" else h
    found = []
    for t in range(x.shape[1]):
        if cell == "lstm":
            i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, count, axis=1)
            parts = [_sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)]
            memory = parts[1] * c + parts[0] * parts[2]
            output = parts[3] * np.tanh(memory)
        else:
            z, r, new = np.split(x[:, t] @ kernel + bias[0], count, axis=1)
            inner_z, inner_r, inner_new = np.split(h @ recurrent + bias[1], count, axis=1)
            z, r = _sigmoid(z + inner_z), _sigmoid(r + inner_r)
            parts = [z, r, np.tanh(new + r * inner_new)]
            output = memory = z * h + (1 - z) * parts[2]
        h, c = np.where(mask[:, t, None], output, h), np.where(mask[:, t, None], memory, c)
        found.append(parts)
    return [np.stack(values, axis=1) for values in zip(*found, strict=True)]


def dead_share(model: keras.Model, inputs: Any, settings: Settings) -> float:
    """Returns the share of the last layer's units that are the same for every sequence and step, to one part in a million; 0 for one."""
    if len(inputs) < 2:
        return 0.0
    states = _output(model, f"recurrent_{settings.depth}", inputs)
    return float((states.reshape(-1, states.shape[-1]).std(axis=0) < 1e-6).mean())


def _output(model: keras.Model, name: str, inputs: Any) -> np.ndarray:
    """Returns what a layer makes of a batch, as NumPy has it."""
    made: Any = keras.Model(model.inputs, model.get_layer(name).output)(inputs)
    return np.array(made)


def _sigmoid(x: np.ndarray) -> Any:
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))
