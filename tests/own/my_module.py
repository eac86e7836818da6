import keras
from keras import ops


def build(settings, inputs, outputs):
    """The largest value of each filter over the words of a text."""
    x = keras.layers.Embedding(settings.vocab_size, settings.embedding_dim)(inputs)
    x = keras.layers.Conv1D(settings.units, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalMaxPooling1D()(x)
    return keras.Model(inputs, keras.layers.Dense(outputs)(x))


class MyCell(keras.layers.Layer):
    """h_t = f_t * h_{t-1} + (1 - f_t) * tanh(x_t W + b),  f_t = sigmoid(x_t V + h_{t-1} U + c)"""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 2 * self.units), initializer="glorot_uniform")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), initializer="orthogonal")
        self.bias = self.add_weight(shape=(2 * self.units,), initializer="zeros")

    def call(self, inputs, states):
        new, forget = ops.split(ops.matmul(inputs, self.kernel) + self.bias, 2, axis=-1)
        forget = ops.sigmoid(forget + ops.matmul(states[0], self.recurrent_kernel))
        state = forget * states[0] + (1 - forget) * ops.tanh(new)
        return state, [state]
