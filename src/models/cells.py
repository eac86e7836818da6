"""Recurrent cells, written as matrix products. A cell computes one step; a loop or a Keras layer calls it.

Letters: B sequences in a batch, D width of the input, H width of a state, G gates.

Weights have Keras' layout and can be exchanged with a Keras layer: `kernel` float32[D, G H], `recurrent_kernel`
float32[H, G H], `bias`. A step has two parts: `project`, which does not depend on the state and can process all steps
at once, and `step`. `tf.add_n` sums terms of equal shape, because it does not broadcast: the gradient of `+` compares
both shapes again in every step, which costs as much as the sum itself.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from .cell_facts import FACTS, Facts


@keras.saving.register_keras_serializable("ablation")
class ForgetBias(keras.initializers.Initializer):
    """Initial bias of an LSTM: zero except for the forget gate.

    A value of 1 keeps the memory open at the start of training (Jozefowicz, Zaremba and Sutskever, "An Empirical
    Exploration of Recurrent Network Architectures", ICML 2015). With 0, all gates start with the same bias.
    """

    def __init__(self, value: float) -> None:
        """Creates the initializer; `value` is the forget gate's bias."""
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> Any:
        """Returns float32[4 H], with the gates in the order i, f, g, o."""
        (width,) = shape
        gates = [ops.zeros((width // 4,), dtype)] * 4
        gates[1] = ops.full((width // 4,), self.value, dtype)
        return ops.concatenate(gates)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the initializer."""
        return {"value": self.value}


@keras.saving.register_keras_serializable("ablation")
class GateIdentity(keras.initializers.Initializer):
    """Initializes the recurrent matrix of every gate to the identity.

    For a simple recurrent cell this is the initialization of Le, Jaitly and Hinton ("A Simple Way to Initialize
    Recurrent Networks of Rectified Linear Units", 2015), except that their cells use ReLU and ours use tanh.
    """

    def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> Any:
        """Returns float32[H, G H]."""
        height, width = shape
        return ops.tile(ops.eye(height, dtype=dtype), (1, width // height))


class Cell(keras.layers.Layer):
    """Base class of the cells: weights, zero states, and the interface that `keras.layers.RNN` calls."""

    facts: ClassVar[Facts]

    def __init__(
        self,
        units: int,
        *,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.initializers = {
            "kernel": keras.initializers.get(kernel_initializer),
            "recurrent": keras.initializers.get(recurrent_initializer),
            "bias": keras.initializers.get(bias_initializer),
        }

    @property
    def state_size(self) -> Any:
        """The width of each state."""
        return [self.units] * self.facts.states if self.facts.states > 1 else self.units

    @property
    def output_size(self) -> int:
        """The width of the output, H."""
        return self.units

    def build(self, shape: Any) -> None:
        """Creates the weights."""
        width = len(self.facts.gates) * self.units
        self.kernel = self.add_weight(shape=(shape[-1], width), initializer=self.initializers["kernel"], name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, width), initializer=self.initializers["recurrent"], name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=self.bias_shape(), initializer=self.initializers["bias"], name="bias")

    def bias_shape(self) -> tuple[int, ...]:
        """Returns the shape of the bias: one number per unit and gate."""
        return (len(self.facts.gates) * self.units,)

    def zero_states(self, batch: Any) -> list[Any]:
        """Returns the states before the first step, tensors float32[B, H] of zeros."""
        return [ops.zeros((batch, self.units), self.compute_dtype) for _ in range(self.facts.states)]

    def get_initial_state(self, batch_size: Any = None) -> Any:
        """Returns the zero states; `keras.layers.RNN` calls this."""
        return self.zero_states(batch_size)

    def call(self, x: Any, states: Any, training: bool | None = None) -> tuple[Any, list[Any]]:
        """Computes one step on x float32[B, D]; returns the output float32[B, H] and the new states."""
        return self.step(self.project(x), list(states) if isinstance(states, list | tuple) else [states])

    def project(self, x: Any) -> Any:
        """Returns the projection of the input, float32[..., G H] from float32[..., D]."""
        raise NotImplementedError

    def gates(self, z: Any, states: list[Any]) -> list[Any]:
        """Returns the value of each gate, float32[B, H] in the order of `facts.gates`.

        Args:
          z: float32[B, G H], the projected input.
          states: of the previous step, float32[B, H] each.
        """
        raise NotImplementedError

    def step(self, z: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """Returns the output float32[B, H] and the new states; arguments as in `gates`."""
        new = self.updated(self.gates(z, states), states)
        return new[0], new

    @staticmethod
    def activated(z: Any, inner: Any) -> list[Any]:
        """Returns the gates from the two projections, float32[B, G H] each.

        Args:
          z: projected input.
          inner: projected state, h_{t-1} U, with the recurrent bias of a cell that has one.
        """
        raise NotImplementedError

    @staticmethod
    def updated(gates: list[Any], states: list[Any]) -> list[Any]:
        """Returns the new states from the gates and the states of the previous step; the first one is the output."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the cell."""
        initializers = {
            f"{name}_initializer": keras.initializers.serialize(initializer)
            for name, initializer in self.initializers.items()
        }
        return {**super().get_config(), "units": self.units, **initializers}


@keras.saving.register_keras_serializable("ablation")
class SimpleRNNCell(Cell):
    r"""Elman's network (Elman, "Finding Structure in Time", Cognitive Science 14, 1990).

    h_t = tanh(x_t W + b + h_{t-1} U)
    """

    facts = FACTS["simple_rnn"]

    def project(self, x: Any) -> Any:
        """Returns x W + b, float32[..., H]."""
        return ops.matmul(x, self.kernel) + self.bias

    def gates(self, z: Any, states: list[Any]) -> list[Any]:
        """Returns [h_t]."""
        return self.activated(z, ops.matmul(states[0], self.recurrent_kernel))

    @staticmethod
    def activated(z: Any, inner: Any) -> list[Any]:
        """Returns [h_t] from x_t W + b and h_{t-1} U."""
        return [ops.tanh(tf.add_n([z, inner]))]

    @staticmethod
    def updated(gates: list[Any], states: list[Any]) -> list[Any]:
        """Returns [h_t], the only gate."""
        del states
        return gates


@keras.saving.register_keras_serializable("ablation")
class GRUCell(Cell):
    r"""Gated recurrent unit (Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014).

        z_t = sigmoid(x_t W_z + b_z + h_{t-1} U_z + c_z)
        r_t = sigmoid(x_t W_r + b_r + h_{t-1} U_r + c_r)
        g_t = tanh(x_t W_h + b_h + r_t * (h_{t-1} U_h + c_h))
        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    As in Keras and cuDNN, and unlike the paper, the reset gate acts after the product with U_h, and the recurrent
    product has its own bias c.
    """

    facts = FACTS["gru"]

    def bias_shape(self) -> tuple[int, ...]:
        """Returns [2, 3 H]: the input's bias b and the recurrent bias c."""
        return (2, 3 * self.units)

    def project(self, x: Any) -> Any:
        """Returns x W + b, float32[..., 3 H]."""
        return ops.matmul(x, self.kernel) + self.bias[0]

    def gates(self, z: Any, states: list[Any]) -> list[Any]:
        """Returns [z_t, r_t, g_t]."""
        return self.activated(z, ops.matmul(states[0], self.recurrent_kernel) + self.bias[1])

    @staticmethod
    def activated(z: Any, inner: Any) -> list[Any]:
        """Returns [z_t, r_t, g_t] from x_t W + b and h_{t-1} U + c."""
        update, reset, new = ops.split(z, 3, axis=-1)
        inner_update, inner_reset, inner_new = ops.split(inner, 3, axis=-1)
        update, reset = ops.sigmoid(tf.add_n([update, inner_update])), ops.sigmoid(tf.add_n([reset, inner_reset]))
        return [update, reset, ops.tanh(tf.add_n([new, reset * inner_new]))]

    @staticmethod
    def updated(gates: list[Any], states: list[Any]) -> list[Any]:
        """Returns [h_t] from [z_t, r_t, g_t] and [h_{t-1}]."""
        update, _, new = gates
        return [tf.add_n([update * states[0], (1 - update) * new])]


@keras.saving.register_keras_serializable("ablation")
class LSTMCell(Cell):
    r"""Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9(8), 1997).

    i_t, f_t, o_t = sigmoid(x_t W + b + h_{t-1} U), each with its own columns
    c_t = f_t * c_{t-1} + i_t * tanh(x_t W_g + b_g + h_{t-1} U_g)
    h_t = o_t * tanh(c_t)

    Includes the forget gate of Gers et al. (2000). The gates are in Keras' order i, f, g, o.
    """

    facts = FACTS["lstm"]

    def project(self, x: Any) -> Any:
        """Returns x W + b, float32[..., 4 H]."""
        return ops.matmul(x, self.kernel) + self.bias

    def gates(self, z: Any, states: list[Any]) -> list[Any]:
        """Returns [i_t, f_t, g_t, o_t], g_t = tanh(x_t W_g + b_g + h_{t-1} U_g)."""
        return self.activated(z, ops.matmul(states[0], self.recurrent_kernel))

    @staticmethod
    def activated(z: Any, inner: Any) -> list[Any]:
        """Returns [i_t, f_t, g_t, o_t] from x_t W + b and h_{t-1} U."""
        i, f, g, o = ops.split(tf.add_n([z, inner]), 4, axis=-1)
        return [ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)]

    @staticmethod
    def updated(gates: list[Any], states: list[Any]) -> list[Any]:
        """Returns [h_t, c_t] from [i_t, f_t, g_t, o_t] and [h_{t-1}, c_{t-1}]."""
        i, f, g, o = gates
        memory = tf.add_n([f * states[1], i * g])
        return [o * ops.tanh(memory), memory]


CELLS = {"simple_rnn": SimpleRNNCell, "gru": GRUCell, "lstm": LSTMCell}
