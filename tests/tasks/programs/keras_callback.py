"""A Keras script in the style of Keras' own example "Simple MNIST convnet", logged by MLflow's callback.

It knows nothing of studies. Its images are bright in one of two halves.
"""

import argparse

import keras
import mlflow
import numpy as np
from keras import layers

parser = argparse.ArgumentParser()
parser.add_argument("--filters", type=int)
parser.add_argument("--seed", type=int)
options = parser.parse_args()
keras.utils.set_random_seed(options.seed)

num_classes = 2
input_shape = (8, 8, 1)
generator = np.random.default_rng(options.seed)
y = generator.integers(num_classes, size=160)
x = generator.random((160, *input_shape)).astype("float32")
x[y == 1, :4] += 1
x_train, x_test, y_train, y_test = x[:120], x[120:], y[:120], y[120:]

model = keras.Sequential(
    [
        keras.Input(shape=input_shape),
        layers.Conv2D(options.filters, kernel_size=(3, 3), activation="relu"),
        layers.Flatten(),
        layers.Dense(num_classes, activation="softmax"),
    ]
)
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
with mlflow.start_run():
    callbacks = [mlflow.keras.MlflowCallback()]
    model.fit(x_train, y_train, batch_size=32, epochs=3, validation_split=0.2, callbacks=callbacks, verbose=2)
    score = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", score[0])
print("Test accuracy:", score[1])
