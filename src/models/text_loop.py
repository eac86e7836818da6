"""A recurrent layer for running text: it carries its state from batch to batch, and drops recurrent weights.

Letters: B texts, T steps, H width of a state.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from src.models.loops import LOOPS


class _Dropped:
    """A cell with another recurrent matrix, a tensor. Its gradient flows through the tensor to the cell's weights."""

    def __init__(self, cell: Any, recurrent_kernel: Any) -> None:
        self._cell, self.recurrent_kernel = cell, recurrent_kernel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell, name)

    def gates(self, z: Any, states: list[Any]) -> list[Any]:
        """Returns the gates of the cell, with this matrix."""
        gates: list[Any] = type(self._cell).gates(self, z, states)
        return gates

    def step(self, z: Any, states: list[Any]) -> Any:
        """Returns a step of the cell, with this matrix."""
        return type(self._cell).step(self, z, states)


@keras.saving.register_keras_serializable("ablation")
class TextLoop(keras.layers.Layer):
    """A recurrent layer that can carry its states and drop recurrent weights, both in training only.

    With `carries`, the states after a training batch are the initial states of the next one, row by row, and no
    gradient passes between the two. A row whose first id is 0 starts with its initial states (zeros, or learned ones).
    Evaluation always starts with these. The states are no weights: they are not stored with the model.

    With `weight_drop`, each training batch sets a random part of the recurrent matrix to zero, the same for all steps.
    Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018 (DropConnect of Wan
    et al., ICML 2013).

    Call: x float32[B, T, D], ids int32[B, T], mask bool[B, T] or None → float32[B, T, H].
    """

    def __init__(
        self,
        cell: Any,
        *,
        loop: str,
        bptt_steps: int | None = None,
        carries: bool = False,
        weight_drop: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Creates the layer; `loop` is a key of `LOOPS`, `weight_drop` the share of recurrent weights that are zero."""
        super().__init__(**kwargs)
        self.cell = keras.saving.deserialize_keras_object(cell) if isinstance(cell, dict) else cell
        self.loop, self.bptt_steps = loop, bptt_steps
        self.carries, self.weight_drop, self.seed = carries, weight_drop, seed
        self.draws = keras.random.SeedGenerator(seed)
        with tf.init_scope():
            self._carried = [
                tf.Variable(tf.zeros([0, self.cell.units]), shape=[None, self.cell.units], trainable=False)
                for _ in range(self.cell.facts.states if carries else 0)
            ]

    def build(self, x_shape: Any, ids_shape: Any) -> None:
        """Creates the cell's weights."""
        if not self.cell.built:
            self.cell.build(x_shape)

    def call(self, x: Any, ids: Any, mask: Any = None, initial_state: Any = None, training: bool | None = None) -> Any:
        """Returns the outputs of all steps."""
        states = self.cell.zero_states(tf.shape(x)[0]) if initial_state is None else list(initial_state)
        cell = self.cell
        if training and self.weight_drop:
            cell = _Dropped(cell, keras.random.dropout(cell.recurrent_kernel, self.weight_drop, seed=self.draws))
        if not (training and self.carries):
            return LOOPS[self.loop](cell, x, mask, states, bptt_steps=self.bptt_steps)
        states = self._continued(ids, states)
        outputs, after = LOOPS[self.loop](cell, x, mask, states, bptt_steps=self.bptt_steps, with_states=True)
        for variable, state in zip(self._carried, after, strict=True):
            variable.assign(state)
        return outputs

    def _continued(self, ids: Any, states: list[Any]) -> list[Any]:
        """Returns the carried states, and the given ones for rows that begin, float32[B, H] each."""
        begins = (ids[:, 0] == 0)[:, None]
        rows = tf.shape(ids)[0]
        return [
            tf.where(begins, first, tf.concat([carried, tf.zeros_like(first)], axis=0)[:rows])
            for first, carried in zip(states, self._carried, strict=True)
        ]

    def compute_mask(self, x: Any, previous_mask: Any = None) -> None:
        """Returns None: later layers get the mask in their call."""
        return

    def compute_output_shape(self, x_shape: Any, *_: Any, **__: Any) -> tuple[int | None, ...]:
        """Returns [B, T, H]."""
        return x_shape[0], x_shape[1], self.cell.units

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        names = ("loop", "bptt_steps", "carries", "weight_drop", "seed")
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            **{name: getattr(self, name) for name in names},
        }
