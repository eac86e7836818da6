"""Builds recurrent layers from settings, and a model with a readout and a linear head.

The random stream of an initial weight depends on the name of its layer. A layer that two variants share therefore
starts with equal weights in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from src.models.cell_facts import FACTS, GATED
from src.models.cells import CELLS as OUR_CELLS
from src.models.cells import ForgetBias, GateIdentity
from src.models.initial_state import LearnedState
from src.models.loops import LOOPS
from src.models.loops import Recurrent as OurRecurrent
from src.models.readout import PoolSteps
from src.parts.recurrent import own_cell
from src.parts.recurrent.toggles import Recurrent, has_own_cell
from src.streams import stream_seed

CELLS = {"simple_rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
INITIALIZERS: dict[str, Callable[[int], Any]] = {
    "glorot_uniform": keras.initializers.GlorotUniform,
    "he_normal": keras.initializers.HeNormal,
    "orthogonal": lambda seed: keras.initializers.Orthogonal(seed=seed),
    "random_normal": lambda seed: keras.initializers.RandomNormal(stddev=0.05, seed=seed),
    "random_uniform": lambda seed: keras.initializers.RandomUniform(-0.05, 0.05, seed=seed),
    "identity": lambda seed: GateIdentity(),  # for Keras' layers, `_initialise` sets it
}
KERAS_BIASES = (None, 1.0, 0.0)  # forget biases that Keras' LSTM offers as an option; null is 1


def model(
    settings: Recurrent, inputs: Any, x: Any, mask: Any = None, *, outputs: int, pads_in_front: bool = False
) -> keras.Model:
    """Returns the untrained model from inputs to outputs float32[B, K].

    Args:
      settings: settings of the trial.
      inputs: inputs of the model.
      x: float32[B, T, D], the input of the first recurrent layer.
      mask: bool[B, T], or None.
      outputs: K, number of units of the linear head.
      pads_in_front: whether masked steps come before the real ones.
    """
    layers = _Layers(settings, _use_cudnn(settings, pads_in_front=pads_in_front))
    for layer in range(1, settings.depth + 1):
        if settings.dropout:
            name = f"dropout_{layer}"
            x = keras.layers.Dropout(settings.dropout, seed=stream_seed(settings.seed, "dropout", name), name=name)(x)
        has_steps = layer < settings.depth or settings.readout != "last"
        x = layers.recurrent(x, mask, name=f"recurrent_{layer}", return_sequences=has_steps)
    seed = stream_seed(settings.seed, "weights", "head", "kernel")
    head = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.GlorotUniform(seed), name="head")
    network = keras.Model(inputs, READOUTS[settings.readout](x, head), name="classifier")
    _initialise(network, settings)
    return network


def kernel(settings: Recurrent, *, gpus: int, pads_in_front: bool = False) -> str:
    """Returns the kernel of the recurrence, the tag `ablation.kernel`: xla, cudnn, fused, while_loop or python."""
    if settings.uses_xla:
        return "xla"
    if settings.implementation == "keras" and gpus and _use_cudnn(settings, pads_in_front=pads_in_front) == "auto":
        return "cudnn"
    if settings.implementation == "eager_loop" or settings.execution == "eager":
        return "python"
    return "fused" if settings.implementation == "fused_loop" else "while_loop"


def _use_cudnn(settings: Recurrent, *, pads_in_front: bool) -> bool | str:
    """Decides whether Keras may use cuDNN, which needs padding at the end and does not work with XLA."""
    is_possible = settings.cell in GATED and not pads_in_front and not settings.uses_xla
    return "auto" if is_possible else False


def one_direction(settings: Recurrent, name: str, *, pads_in_front: bool = False) -> keras.layers.Layer:
    """Returns one recurrent layer that reads forwards and returns all steps, float32[B, T, H]; used by other models."""
    layers = _Layers(settings, _use_cudnn(settings, pads_in_front=pads_in_front))
    return layers._layer(name, return_sequences=True)


def initialised(network: keras.Model, settings: Recurrent) -> keras.Model:
    """Returns a network of such layers, after setting the initial weights for which Keras has no initializer."""
    _initialise(network, settings)
    return network


class _Layers:
    """Creates the recurrent layers of one model."""

    def __init__(self, settings: Recurrent, use_cudnn: bool | str) -> None:
        self._settings, self._use_cudnn = settings, use_cudnn

    def recurrent(self, x: Any, mask: Any, *, name: str, return_sequences: bool) -> Any:
        """Applies a recurrent layer, in one direction or both, to x float32[B, T, D]; returns its output."""
        settings = self._settings
        directions = [
            self._layer(f"{name}_forward" if settings.bidirectional else name, return_sequences=return_sequences)
        ]
        if settings.bidirectional:
            directions.append(self._layer(f"{name}_backward", return_sequences=return_sequences, go_backwards=True))
        options: dict[str, Any] = {}
        if settings.initial_state == "learned":
            states = LearnedState(
                settings.units, FACTS[settings.cell].states * len(directions), name=f"{name}_initial_state"
            )(x)
            # Keras drops the mask of a layer that is called with more than one tensor, unless the call passes the mask.
            options = {"initial_state": states, "mask": mask}
        if len(directions) == 1:
            return directions[0](x, **options)
        if settings.implementation not in LOOPS:
            with own_cell.known(settings):  # Keras copies both layers by their configuration
                return keras.layers.Bidirectional(directions[0], backward_layer=directions[1], name=name)(x, **options)
        return _both(directions, x, name=name, **options)

    def _layer(self, name: str, **options: Any) -> keras.layers.Layer:
        """Returns one direction of a recurrent layer; its initial weights do not depend on `implementation`."""
        settings = self._settings
        if has_own_cell(settings):
            return keras.layers.RNN(own_cell.new(settings.cell, settings.units), name=name, **options)
        weights: dict[str, Any] = {
            "kernel_initializer": INITIALIZERS[settings.kernel_initializer](
                stream_seed(settings.seed, "weights", name, "kernel")
            ),
            "recurrent_initializer": INITIALIZERS[settings.recurrent_initializer](
                stream_seed(settings.seed, "weights", name, "recurrent")
            ),
        }
        if settings.implementation == "keras":
            of_cell: dict[str, Any] = {} if settings.cell == "simple_rnn" else {"use_cudnn": self._use_cudnn}
            if settings.cell == "lstm":
                of_cell["unit_forget_bias"] = settings.forget_bias in (None, 1.0)
            if settings.recurrent_initializer == "identity":
                weights["recurrent_initializer"] = "zeros"  # `_initialise` replaces them
            return CELLS[settings.cell](settings.units, name=name, **weights, **of_cell, **options)
        if settings.cell == "lstm":
            weights["bias_initializer"] = ForgetBias(1.0 if settings.forget_bias is None else settings.forget_bias)
        cell = OUR_CELLS[settings.cell](settings.units, name=f"{name}_cell", **weights)
        if settings.implementation == "cell_loop":
            return keras.layers.RNN(cell, name=name, **options)
        return OurRecurrent(cell, loop=settings.implementation, bptt_steps=settings.bptt_steps, name=name, **options)


def _both(directions: list[Any], x: Any, *, name: str, initial_state: Any = None, mask: Any = None) -> Any:
    """Returns the concatenated outputs of two of our layers, as `keras.layers.Bidirectional` does for Keras' layers."""
    count = len(initial_state) // 2 if initial_state is not None else 0
    outputs = []
    for place, layer in enumerate(directions):
        options = {"initial_state": initial_state[place * count : (place + 1) * count], "mask": mask} if count else {}
        outputs.append(layer(x, **options))
    return keras.layers.Concatenate(name=name)(outputs)


def _initialise(model: keras.Model, settings: Recurrent) -> None:
    """Sets initial weights of Keras' own layers for which Keras has no initializer.

    With an initializer of ours, the model file would contain its name, and Keras could not load the file without this
    package.
    """
    layers: list[Any] = [layer for layer in model._flatten_layers() if isinstance(layer, tuple(CELLS.values()))]
    for layer in layers:
        if settings.cell == "lstm" and settings.forget_bias not in KERAS_BIASES:
            layer.cell.bias.assign(
                ForgetBias(float(settings.forget_bias or 0))(layer.cell.bias.shape, layer.cell.bias.dtype)
            )
        if settings.recurrent_initializer == "identity":
            layer.cell.recurrent_kernel.assign(
                GateIdentity()(layer.cell.recurrent_kernel.shape, layer.cell.recurrent_kernel.dtype)
            )


def _pooled_states(pooling: str) -> Callable[[Any, Callable[[Any], Any]], Any]:
    return lambda states, head: head(PoolSteps(pooling, name="readout")(states))


def _pooled_logits(pooling: str) -> Callable[[Any, Callable[[Any], Any]], Any]:
    return lambda states, head: PoolSteps(pooling, name="readout")(head(states))


# (states, head) → logits [B, K]; states are [B, F] for `last`, else [B, T, F]
READOUTS: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "last": lambda state, head: head(state),
    "mean_state": _pooled_states("mean"),
    "max_state": _pooled_states("max"),
    "mean_logit": _pooled_logits("mean"),
    "sum_logit": _pooled_logits("sum"),
    "mean_probability": _pooled_logits("mean_probability"),
}
