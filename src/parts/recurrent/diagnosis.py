"""Why a recurrent model has learnt nothing: saturated gates, gradients that vanish or explode, dead units.

Letters: B sequences, T steps, D width of what the first layer reads, H width of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from src.models.cell_facts import FACTS, GATED
from src.models.cells import CELLS
from src.models.loops import LOOPS
from src.training.diagnosis import Evidence
from src.training.phase import LOSS

MOST = 0.9  # a share from which on something is said of the whole


def shown_layers(model: keras.Model) -> list[Any]:
    """Returns the layers of a recurrent model that one looks at: what is read, its states, and what is made of them."""
    shown = ("encoding", "recurrent", "readout", "head")
    return [
        layer for layer in model.layers if layer.name.startswith(shown) and not layer.name.endswith("initial_state")
    ]


def saturated_gates(evidence: Evidence, *, is_masked: bool) -> Iterator[str]:
    """Yields the gates that are open or closed at nearly every step."""
    for gate, share in saturation(
        evidence.learner.model, evidence.batch[0], evidence.learner.settings, is_masked=is_masked
    ).items():
        if share >= MOST:
            where = f"the {gate} gate is within 0.01 of 0 or 1 in {share:.0%} of the steps"
            yield f"saturated gates: {where}; check forget_bias and learning_rate"


def gradient_and_units(evidence: Evidence, *, is_masked: bool, is_padded: bool) -> Iterator[str]:
    """Yields that the gradient vanishes or explodes on its way to the first step, and that units are dead.

    To be asked after the number of steps: an untrained gated cell forgets half of its state at every step, and its
    gradient vanishes, too.
    """
    learner = evidence.learner
    settings: Any = learner.settings
    reach = gradient_reach(
        learner.model, evidence.batch, measure=learner.phase.measure, readout=settings.readout, is_masked=is_masked
    )
    if reach is not None and reach < 1e-4:
        ways = shorter_way(settings, is_masked=is_masked, is_padded=is_padded)
        yield f"vanishing gradient: the gradient at the first step is {reach:.2g} times that at the last; {ways}"
    if reach is not None and reach > 1e3:
        what = f"the gradient at the first step is {reach:.2g} times that at the last"
        yield f"exploding gradient: {what}; set clip_norm=1"
    dead = dead_share(learner.model, evidence.batch[0], settings)
    if dead >= MOST:
        yield f"dead units: {dead:.0%} of the units have the same state for every sequence; lower learning_rate"


def shorter_way(settings: Any, *, is_masked: bool, is_padded: bool) -> str:
    """Returns what would bring the gradient nearer to the first step and is not set yet."""
    ways = {
        "bptt_steps=null": settings.bptt_steps is None,
        "masking=true": is_masked or not is_padded,
        "readout=mean_state": settings.readout != "last",
        "cell=lstm": settings.cell == "lstm",
        "shorter sequences": False,
    }
    return "try " + ", ".join(way for way, is_set in ways.items() if not is_set)


def gradient_reach(
    model: keras.Model, batch: tuple[Any, Any], *, measure: Callable[[Any, Any], Any], readout: str, is_masked: bool
) -> float | None:
    """Returns how much of the gradient arrives at the first step, the batch's median.

    Measured at what the first layer reads, dL/dx_t, which every state's gradient passes through: its norm at the first
    step by that at the last one read or, where a readout takes from all steps, by the largest of any step. None for
    one-hot input, which has no such gradient, and where it is zero everywhere.
    """
    inputs, targets = batch
    has_words, encoding = inputs.dtype == tf.int32, _encoding(model)
    if has_words and not isinstance(encoding, keras.layers.Embedding):
        return None
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        values, weights = measure(model(inputs, training=False), targets)[LOSS]
        value = tf.reduce_sum(values) / tf.reduce_sum(weights)
    gradient = tape.gradient(value, encoding.embeddings if has_words else inputs)
    by_step = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    norms = np.linalg.norm(np.reshape(by_step, (*inputs.shape[:2], -1)), axis=-1)  # [B, T]
    real = inputs.numpy() > 0 if has_words else np.ones(norms.shape, bool)
    rows, first = np.arange(len(norms)), real.argmax(axis=1)
    last = norms.shape[1] - 1 - real[:, ::-1].argmax(axis=1) if is_masked else np.full(len(norms), norms.shape[1] - 1)
    most = norms[rows, last] if readout == "last" else norms.max(axis=1)
    known = norms.max(axis=1) > 0
    reached = norms[rows, first] / np.maximum(most, np.finfo(np.float32).tiny)
    return float(np.median(reached[known])) if known.any() else None


def saturation(model: keras.Model, inputs: Any, settings: Any, *, is_masked: bool) -> dict[str, float]:
    """Returns the share of values below 0.01 or above 0.99, over real steps, of each gate of the first layer."""
    if settings.cell not in GATED:
        return {}
    has_two = settings.bidirectional and settings.implementation in LOOPS
    layer = model.get_layer("recurrent_1_forward" if has_two else "recurrent_1")
    weights = (layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer).get_weights()
    x = _output(model, _encoding(model).name, inputs)
    real = inputs.numpy() > 0 if inputs.dtype == tf.int32 else np.ones(x.shape[:2], bool)
    first = model.get_layer("recurrent_1_initial_state").get_weights() if settings.initial_state == "learned" else None
    values = gates(settings.cell, weights, x=x, mask=real if is_masked else np.ones_like(real), states=first)
    return {
        name: float(((value < 0.01) | (value > 0.99))[real].mean())
        for name, value in zip(FACTS[settings.cell].gates, values, strict=True)
        if name != "cell"
    }


def gates(
    cell: str,
    weights: Sequence[np.ndarray],
    *,
    x: np.ndarray,
    mask: np.ndarray,
    states: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Returns what every gate is at every step, float32[B, T, H] each, as `models.cells` computes it.

    Args:
      cell: `lstm` or `gru`.
      weights: kernel, recurrent kernel and bias in Keras' layout.
      x: float32[B, T, D].
      mask: bool[B, T]; states are carried over what is False.
      states: float32[H] each, before the first step; None for zeros.
    """
    layer = CELLS[cell](weights[1].shape[0])
    layer.build((None, x.shape[-1]))
    layer.set_weights(weights[:3])
    now = layer.zero_states(len(x)) if states is None else [tf.tile(state[None], (len(x), 1)) for state in states]
    every = []
    for t in range(x.shape[1]):
        z = layer.project(x[:, t])
        every.append([np.array(gate) for gate in layer.gates(z, now)])
        _, after = layer.step(z, now)
        now = [tf.where(mask[:, t, None], new, old) for new, old in zip(after, now, strict=True)]
    return [np.stack(values, axis=1) for values in zip(*every, strict=True)]


def dead_share(model: keras.Model, inputs: Any, settings: Any) -> float:
    """Returns the share of the last layer's units that are equal in all sequences, to 1e-6; 0 of one sequence."""
    if len(inputs) < 2:
        return 0.0
    states = _output(model, f"recurrent_{settings.depth}", inputs)
    return float((states.reshape(-1, states.shape[-1]).std(axis=0) < 1e-6).mean())


def _encoding(model: keras.Model) -> Any:
    """Returns the layer that makes what the first recurrent layer reads: `encoding`, or else `onehot`."""
    layers = {layer.name: layer for layer in model.layers}
    return layers.get("encoding", layers.get("onehot"))


def _output(model: keras.Model, name: str, inputs: Any) -> np.ndarray:
    """Returns what a layer makes of a batch, as NumPy has it."""
    made: Any = keras.Model(model.inputs, model.get_layer(name).output)(inputs)
    return np.array(made)
