"""Finds why a recurrent model did not learn: saturated gates, vanishing or exploding gradients, dead units.

Letters: B sequences, T steps, D input width of the first recurrent layer, H width of a state.
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

MOST = 0.9  # least share of steps or units that is reported


def shown_layers(model: keras.Model) -> list[Any]:
    """Returns the layers whose activations are shown: encoding, recurrent layers, readout and head."""
    shown = ("encoding", "recurrent", "readout", "head")
    return [
        layer for layer in model.layers if layer.name.startswith(shown) and not layer.name.endswith("initial_state")
    ]


def saturated_gates(evidence: Evidence, *, is_masked: bool) -> Iterator[str]:
    """Yields a cause for each gate that is close to 0 or 1 at nearly every step."""
    for gate, share in saturation(
        evidence.learner.model, evidence.batch[0], evidence.learner.settings, is_masked=is_masked
    ).items():
        if share >= MOST:
            finding = f"the {gate} gate is within 0.01 of 0 or 1 in {share:.0%} of the steps"
            yield f"saturated gates: {finding}; check forget_bias and learning_rate"


def gradient_and_units(evidence: Evidence, *, is_masked: bool, is_padded: bool) -> Iterator[str]:
    """Yields a cause if the gradient vanishes or explodes on its way to the first step, or if units are dead.

    Call it after `too_few_steps`: an untrained gated cell forgets half of its state at every step, so its gradient
    vanishes too.
    """
    learner = evidence.learner
    settings: Any = learner.settings
    reach = gradient_reach(
        learner.model, evidence.batch, measure=learner.phase.measure, readout=settings.readout, is_masked=is_masked
    )
    if reach is not None and reach < 1e-4:
        fix = shorter_path(settings, is_masked=is_masked, is_padded=is_padded)
        yield f"vanishing gradient: the gradient at the first step is {reach:.2g} times that at the last; {fix}"
    if reach is not None and reach > 1e3:
        finding = f"the gradient at the first step is {reach:.2g} times that at the last"
        yield f"exploding gradient: {finding}; set clip_norm=1"
    dead = dead_share(learner.model, evidence.batch[0], settings)
    if dead >= MOST:
        yield f"dead units: {dead:.0%} of the units have the same state for every sequence; lower learning_rate"


def shorter_path(settings: Any, *, is_masked: bool, is_padded: bool) -> str:
    """Returns the settings that would shorten the path of the gradient to the first step and are not in use."""
    is_in_use = {
        "bptt_steps=null": settings.bptt_steps is None,
        "masking=true": is_masked or not is_padded,
        "readout=mean_state": settings.readout != "last",
        "cell=lstm": settings.cell == "lstm",
        "shorter sequences": False,
    }
    return "try " + ", ".join(setting for setting, is_set in is_in_use.items() if not is_set)


def gradient_reach(
    model: keras.Model, batch: tuple[Any, Any], *, measure: Callable[[Any, Any], Any], readout: str, is_masked: bool
) -> float | None:
    """Returns how much of the gradient reaches the first step: the median ratio over the batch.

    The gradient is that of the loss with respect to the input of the first recurrent layer, dL/dx_t. The ratio is its
    norm at the first step, divided by its norm at the last step that the model reads or, if the readout uses all
    steps, by the largest norm of any step. None for one-hot input, which has no such gradient, and if the gradient is
    zero everywhere.
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
    has_gradient = norms.max(axis=1) > 0
    ratios = norms[rows, first] / np.maximum(most, np.finfo(np.float32).tiny)
    return float(np.median(ratios[has_gradient])) if has_gradient.any() else None


def saturation(model: keras.Model, inputs: Any, settings: Any, *, is_masked: bool) -> dict[str, float]:
    """Returns for each gate of the first layer the share of its values below 0.01 or above 0.99, over real steps."""
    if settings.cell not in GATED:
        return {}
    has_two_layers = settings.bidirectional and settings.implementation in LOOPS
    layer = model.get_layer("recurrent_1_forward" if has_two_layers else "recurrent_1")
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
    """Returns the value of every gate at every step, float32[B, T, H] each, as `models.cells` computes it.

    Args:
      cell: `lstm` or `gru`.
      weights: kernel, recurrent kernel and bias in Keras' layout.
      x: float32[B, T, D].
      mask: bool[B, T]; where it is False, the state stays the same.
      states: initial states, float32[H] each; None for zeros.
    """
    layer = CELLS[cell](weights[1].shape[0])
    layer.build((None, x.shape[-1]))
    layer.set_weights(weights[:3])
    current = layer.zero_states(len(x)) if states is None else [tf.tile(state[None], (len(x), 1)) for state in states]
    by_step = []
    for t in range(x.shape[1]):
        z = layer.project(x[:, t])
        by_step.append([np.array(gate) for gate in layer.gates(z, current)])
        _, after = layer.step(z, current)
        current = [tf.where(mask[:, t, None], new, old) for new, old in zip(after, current, strict=True)]
    return [np.stack(values, axis=1) for values in zip(*by_step, strict=True)]


def dead_share(model: keras.Model, inputs: Any, settings: Any) -> float:
    """Returns the share of the last layer's units that have the same value (to 1e-6) in all sequences.

    The share is 0 for a batch of one sequence.
    """
    if len(inputs) < 2:
        return 0.0
    states = _output(model, f"recurrent_{settings.depth}", inputs)
    return float((states.reshape(-1, states.shape[-1]).std(axis=0) < 1e-6).mean())


def _encoding(model: keras.Model) -> Any:
    """Returns the layer whose output the first recurrent layer reads: `encoding` if it exists, else `onehot`."""
    layers = {layer.name: layer for layer in model.layers}
    return layers.get("encoding", layers.get("onehot"))


def _output(model: keras.Model, name: str, inputs: Any) -> np.ndarray:
    """Returns the output of a layer for a batch, as a NumPy array."""
    output: Any = keras.Model(model.inputs, model.get_layer(name).output)(inputs)
    return np.array(output)
