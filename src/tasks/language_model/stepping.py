"""A trained language model, one step at a time: the states of its recurrent layers are input and output.

Letters: B texts, T steps, V ids, H width of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from src.models.generation import States

PIECE = 256  # steps of a text that are scored at a time
NOT_FINITE = "the model's outputs are not finite numbers; its weights are not those of a finished trial"


class Stepper:
    """The steps of a trained model, with any cell and any implementation of the loop over time.

    A step is a graph of its own. It calls the cells of the recurrent layers, which every implementation has.
    """

    def __init__(self, model: keras.Model) -> None:
        """Takes a model of `src.tasks.language_model.model`.

        Raises:
          ValueError: the model is another one.
        """
        import tensorflow as tf

        layers = {layer.name: layer for layer in model.layers}
        try:
            self._encoding, self._head = layers.get("onehot") or layers["encoding"], layers["head"]
            self._recurrent = [layers["recurrent_1"]]
            while (name := f"recurrent_{len(self._recurrent) + 1}") in layers:
                self._recurrent.append(layers[name])
            self._cells = [layer.cell for layer in self._recurrent]
            self.vocab_size: int = self._head.size
        except (KeyError, AttributeError) as error:
            raise ValueError(f"the model lacks a part ({error}); it is no language model of this version") from None
        self._learned = [layers.get(f"{layer.name}_initial_state") for layer in self._recurrent]
        self._projection = layers.get("projection", lambda x: x)
        widths = [size for cell in self._cells for size in _widths(cell)]
        states = [tf.TensorSpec([None, width]) for width in widths]
        of_step, of_text = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int32)
        self._step = tf.function(self._next, autograph=False, input_signature=[states, of_step])
        self._read = tf.function(self._losses, autograph=False, input_signature=[states, of_text])

    def start(self, rows: int = 1) -> States:
        """Returns the states before the first step, float32[rows, H] each, of all layers."""
        states: list[np.ndarray] = []
        for cell, learned in zip(self._cells, self._learned, strict=True):
            if learned is not None:
                states += map(np.asarray, learned(np.zeros((rows, 1), np.float32)))
            else:
                states += [np.zeros((rows, width), np.float32) for width in _widths(cell)]
        return states

    def step(self, states: States, words: np.ndarray) -> tuple[np.ndarray, States]:
        """Returns log p(next word) float32[B, V] and the new states; see `src.models.generation.Step`.

        Raises:
          ValueError: a log-probability is not finite.
        """
        log_probs, states = self._step(list(states), words.astype(np.int32))
        log_probs = np.asarray(log_probs)
        if not np.isfinite(log_probs).all():
            raise ValueError(NOT_FINITE)
        return log_probs, [np.asarray(state) for state in states]

    def log_probabilities(self, texts: Sequence[np.ndarray]) -> list[float]:
        """Returns the log-probability of each text: the sum over its ids but the first, given the ids before each.

        Long texts are read in pieces, so the memory does not depend on their length.

        Args:
          texts: int32[L], at least two ids each; the first is the start of a text.

        Raises:
          ValueError: a log-probability is not finite.
        """
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        totals, states, running = np.zeros(len(texts)), self.start(len(texts)), len(texts)
        for begin in range(0, max(map(len, texts), default=1) - 1, PIECE):
            running = sum(len(texts[row]) > begin + 1 for row in order[:running])
            pieces = [texts[row][begin : begin + PIECE + 1] for row in order[:running]]
            ids = np.zeros((running, len(pieces[0])), np.int32)  # 0, the padding, has no loss
            for row, piece in zip(ids, pieces, strict=True):
                row[: len(piece)] = piece
            losses, states = self._read([np.asarray(state)[:running] for state in states], ids)
            totals[order[:running]] -= np.asarray(losses, np.float64).sum(axis=1)
        if not np.isfinite(totals).all():
            raise ValueError(NOT_FINITE)
        return list(totals.tolist())

    def _next(self, states: list[Any], words: Any) -> tuple[Any, list[Any]]:
        import tensorflow as tf

        output, states = self._advanced(states, words)
        return tf.nn.log_softmax(self._head.logits(output, self._table())), states

    def _losses(self, states: list[Any], ids: Any) -> tuple[Any, list[Any]]:
        """Returns the losses of ids int32[B, T + 1] but the first ones, float32[B, T], and the states after them."""
        import tensorflow as tf

        steps = tf.shape(ids)[1] - 1
        outputs = tf.TensorArray(tf.float32, steps, element_shape=[None, self._width()])

        def body(t: Any, states: list[Any], outputs: Any) -> Any:
            output, states = self._advanced(states, ids[:, t])
            return t + 1, states, outputs.write(t, output)

        begin = (tf.constant(0), states, outputs)
        _, states, outputs = tf.while_loop(lambda t, *_: t < steps, body, begin, maximum_iterations=steps)
        table = self._table()
        inputs = [tf.transpose(outputs.stack(), [1, 0, 2]), ids[:, 1:], *([] if table is None else [table])]
        return self._head(*inputs, training=False), states

    def _advanced(self, states: list[Any], words: Any) -> tuple[Any, list[Any]]:
        """Returns the input of the output layer, float32[B, D], and the new states, after reading words int32[B]."""
        encoded = self._encoding(words[:, None])
        x = (encoded[0] if isinstance(encoded, tuple | list) else encoded)[:, 0]
        after, left = list[Any](), list(states)
        for cell in self._cells:
            count = len(_widths(cell))
            x, new = cell(x, left[:count])
            after, left = [*after, *new], left[count:]
        return self._projection(x), after

    def _table(self) -> Any:
        """Returns the table float32[V, D] if the output layer shares it with the embedding, else None."""
        return None if self._head.matrix is not None else self._encoding.table.value

    def _width(self) -> int:
        """Returns D, the width of what the output layer reads."""
        matrix = self._encoding.table if self._head.matrix is None else self._head.matrix
        return int(matrix.shape[1])


def _widths(cell: Any) -> list[int]:
    """Returns the width of each state of a cell."""
    sizes = cell.state_size
    return list(sizes) if isinstance(sizes, list | tuple) else [sizes]
