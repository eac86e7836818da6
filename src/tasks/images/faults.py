"""Deliberate mistakes in data, model, loss or update, to be found from what a trial records (`fault=NAME`).

Each function has the name of a fault and makes one mistake; its docstring describes the mistake as one makes it.
Letters: B images of H x W pixels and C channels, N training images, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from src.spec.rules import Inert
from src.streams import generator
from src.tasks.images.settings import Settings, has_batch_norm

if TYPE_CHECKING:
    import keras
    import numpy as np

    from src.data.image_batches import Scaling
    from src.data.images import Stored
    from src.data.order import Order
    from src.training.phase import Phase

NONE = "none"
LARGE = 1.0  # standard deviation of `weights_large`
DEAD = -10.0  # bias of `units_dead`
SATURATING = ("tanh", "sigmoid")


def inputs_unscaled(data: Stored, split: str) -> Scaling:
    """The division by 255 is forgotten: the model gets pixels from 0 to 255."""
    from src.data.image_batches import scaling

    return scaling("none", data.mean, data.deviation)


def inputs_constant(data: Stored, split: str) -> Scaling:
    """Bytes are divided by 256 as integers, before the conversion to floats: all pixels become 0."""
    scale = inputs_unscaled(data, split)
    return scale._replace(factor=0 * scale.factor)


def scaled_apart(data: Stored, split: str) -> Scaling:
    """Each split is standardised by its own mean and deviation: `fit_transform`, where held-out data need `transform`.

    Statistics of the test images thus reach the inputs of the model.
    """
    from src.data.image_batches import scaling
    from src.data.images import moments

    mean, deviation = moments(data.split(split).images)
    return scaling("standard", mean, deviation)


def labels_shuffled(phase: Phase, settings: Settings, data: Stored) -> Phase:
    """The training images are shuffled without their labels: each image has the label of some other image."""
    from src.data.splits import TRAIN

    shuffled = _permuted(data.split(TRAIN).labels, settings)

    def training(epoch: int) -> Iterator[Any]:
        import tensorflow as tf

        for images, _, rows in phase.training(epoch):
            yield images, tf.convert_to_tensor(shuffled[rows.numpy()]), rows

    return dataclasses.replace(phase, training=training)


def labels_sorted(phase: Phase, settings: Settings, data: Stored) -> Phase:
    """The images are stored class by class, and nobody shuffles: almost every batch has only one class."""
    from src.data.splits import TRAIN

    split, scale = data.split(TRAIN), scaling(settings, data, TRAIN)
    order = split.labels.argsort(kind="stable")

    def training(epoch: int) -> Iterator[Any]:
        import tensorflow as tf

        for begin in range(0, phase.batches_per_epoch * settings.batch_size, settings.batch_size):
            rows = order[begin : begin + settings.batch_size]
            yield tuple(map(tf.convert_to_tensor, (scale(split.images[rows]), split.labels[rows], rows)))

    return dataclasses.replace(phase, training=training)


def loss_of_numbers(phase: Phase, settings: Settings, data: Stored) -> Phase:
    """The mean squared error gets class numbers where it needs one-hot vectors.

    Keras compares [B, K] with [B, 1] without an error: each of the K outputs learns the number of the class.
    """
    from src.training.phase import LOSS

    def measure(outputs: Any, classes: Any) -> dict[str, tuple[Any, Any]]:
        import tensorflow as tf

        squared = tf.square(outputs - tf.cast(classes, tf.float32)[:, None])
        return {**phase.measure(outputs, classes), LOSS: (tf.reduce_mean(squared, axis=1), tf.ones_like(outputs[:, 0]))}

    return dataclasses.replace(phase, measure=measure)


def weights_zero(model: keras.Model, settings: Settings) -> keras.Model:
    """All weights start at zero, as those of a linear model may."""
    return _with_kernels(model, lambda layer, shape: 0.0)


def weights_large(model: keras.Model, settings: Settings) -> keras.Model:
    """All weights are drawn with deviation 1, the default of `tf.random.normal`, whatever the number of inputs."""

    def drawn(layer: keras.layers.Layer, shape: tuple[int, ...]) -> Any:
        return LARGE * generator(settings.seed, "fault", layer.name).standard_normal(shape, dtype="float32")

    return _with_kernels(model, drawn)


def units_dead(model: keras.Model, settings: Settings) -> keras.Model:
    """The biases of the hidden layers start at -10, where a small positive number was meant."""
    for layer in _layers_with_kernel(model)[:-1]:
        layer.bias.assign(DEAD + 0 * layer.bias)
    return model


def softmax_twice(model: keras.Model, settings: Settings) -> keras.Model:
    """The last layer has a softmax, and the loss, which expects logits, applies another."""
    import keras

    twice = keras.layers.Softmax(name="softmax")(model.output)
    return keras.Model(model.input, twice, name=model.name)


def rate_diverging(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> None:
    """The minus sign of the exponent is lost: 1e3 for 1e-3, a million times as high."""
    optimizer.learning_rate = 1e6 * float(optimizer.learning_rate)


def rate_oscillating(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> None:
    """The learning rate is 50 times as high (12 times for SGD, whose rates are closer to their limit)."""
    factor = 12 if optimizer.name.lower() == "sgd" else 50
    optimizer.learning_rate = factor * float(optimizer.learning_rate)


def rate_too_low(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> None:
    """The learning rate has four zeros too many."""
    optimizer.learning_rate = 1e-4 * float(optimizer.learning_rate)


def layer_left_out(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> None:
    """The list of variables that is given to the optimizer begins after the first layer."""
    first = {id(weight) for weight in _layers_with_kernel(model)[0].trainable_weights}
    apply = optimizer.apply

    def applied(gradients: list[Any], variables: list[Any]) -> Any:
        kept = [pair for pair in zip(gradients, variables, strict=True) if id(pair[1]) not in first]
        return apply(*map(list, zip(*kept, strict=True)))

    optimizer.apply = applied


SCALINGS: dict[str, Callable[..., Scaling]] = {
    each.__name__: each for each in (inputs_unscaled, inputs_constant, scaled_apart)
}
PHASES: dict[str, Callable[..., Phase]] = {
    each.__name__: each for each in (labels_shuffled, labels_sorted, loss_of_numbers)
}
MODELS: dict[str, Callable[..., keras.Model]] = {
    each.__name__: each for each in (weights_zero, weights_large, units_dead, softmax_twice)
}
OPTIMIZERS: dict[str, Callable[..., None]] = {
    each.__name__: each for each in (rate_diverging, rate_oscillating, rate_too_low, layer_left_out)
}
FAULTS: dict[str, Callable[..., Any]] = {**SCALINGS, **PHASES, **MODELS, **OPTIMIZERS}


def _of_other_batches(key: str, value: Any) -> Inert[Settings]:
    return Inert(key, value, lambda s: s.fault == "labels_sorted", "the fault has its own batches")


OF_INITIAL_WEIGHTS = ("weights_zero", "weights_large")
INERT: tuple[Inert[Settings], ...] = (
    Inert(
        "fault",
        NONE,
        lambda s: s.fault == "inputs_unscaled" and s.normalise == "none",
        "with normalise=none the pixels are from 0 to 255 without the fault, too",
    ),
    Inert(
        "fault",
        NONE,
        lambda s: s.fault == "weights_zero" and s.initializer == "zeros",
        "with initializer=zeros all weights are zero without the fault, too",
    ),
    Inert("normalise", "unit", lambda s: s.fault in SCALINGS, "the fault scales the pixels"),
    Inert("initializer", "glorot", lambda s: s.fault in OF_INITIAL_WEIGHTS, "the fault sets the initial weights"),
    Inert("augment", "none", lambda s: s.fault == "inputs_constant", "the fault makes all images equal"),
    _of_other_batches("augment", "none"),
    _of_other_batches("pipeline", "shuffle_batch_repeat"),
    _of_other_batches("shuffle_buffer", None),
    _of_other_batches("prefetch", 0),
)


def lines(name: str) -> list[str]:
    """Returns a line that tells the user about a fault; none without a fault."""
    if name == NONE:
        return []
    first = str(FAULTS[name].__doc__).split("\n", maxsplit=1)[0]
    return [f"fault={name}: {first[0].lower()}{first[1:]} The results of these trials only show the fault."]


def refusals(settings: Settings) -> list[str]:
    """Returns why the fault cannot be made in this network, with the fix; empty if it can."""
    fault, is_normalised = settings.fault, settings.network != "linear" and has_batch_norm(settings)
    other = "set network=mlp"
    has_hidden, has_biases = settings.network != "linear", settings.network in ("mlp", "cnn") and not is_normalised
    needs = {
        "weights_zero": (has_hidden, "a network with hidden layers, as a linear model learns from zeros", other),
        "weights_large": (
            has_hidden and settings.activation in SATURATING,
            "a hidden layer whose units saturate",
            f"{'' if has_hidden else f'{other} and '}set activation=tanh or sigmoid",
        ),
        "units_dead": (
            has_biases and settings.activation == "relu",
            "a hidden layer of ReLUs with biases",
            "set network=mlp activation=relu batch_norm=false",
        ),
        "layer_left_out": (has_hidden, "a layer after the first, as nothing would be trained", other),
        "softmax_twice": (settings.head == "softmax", "a softmax in the loss", "set head=softmax"),
        "loss_of_numbers": (settings.head == "softmax", "one output for each class", "set head=softmax"),
    }
    is_met, what, fix = needs.get(fault, (True, "", ""))
    return [] if is_met else [f"fault={fault} needs {what}; {fix}"]


def scaling(settings: Settings, data: Stored, split: str) -> Scaling:
    """Returns the scaling of the pixels of a split, with the fault if it is one of scaling."""
    from src.data.image_batches import scaling as correct

    if settings.fault in SCALINGS:
        return SCALINGS[settings.fault](data, split)
    return correct(settings.normalise, data.mean, data.deviation)


def as_seen(order: Order, labels: np.ndarray, settings: Settings) -> tuple[Order, np.ndarray]:
    """Returns the order of the training images and their labels int[N], with the fault if it is one of these."""
    if settings.fault == "labels_sorted":
        return dataclasses.replace(order, buffer=1), labels[labels.argsort(kind="stable")]
    return order, _permuted(labels, settings) if settings.fault == "labels_shuffled" else labels


def in_phase(phase: Phase, settings: Settings, data: Stored) -> Phase:
    """Returns the phase, with the fault if it is one of the batches or of the loss."""
    return PHASES[settings.fault](phase, settings, data) if settings.fault in PHASES else phase


def in_model(model: keras.Model, settings: Settings) -> keras.Model:
    """Returns the untrained model, with the fault if it is one of the model."""
    return MODELS[settings.fault](model, settings) if settings.fault in MODELS else model


def in_optimizer(optimizer: keras.optimizers.Optimizer, model: keras.Model, settings: Settings) -> Any:
    """Returns the optimizer, with the fault if it is one of the update."""
    if settings.fault in OPTIMIZERS:
        OPTIMIZERS[settings.fault](optimizer, model)
    return optimizer


def _permuted(labels: np.ndarray, settings: Settings) -> np.ndarray:
    return labels[generator(settings.seed, "fault", "labels").permutation(len(labels))]


def _with_kernels(model: keras.Model, value: Callable[[Any, tuple[int, ...]], Any]) -> keras.Model:
    for layer in _layers_with_kernel(model):
        layer.kernel.assign(0 * layer.kernel + value(layer, tuple(layer.kernel.shape)))
    return model


def _layers_with_kernel(model: keras.Model) -> list[Any]:
    """Returns the dense layers and convolutions, the head last."""
    import keras

    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D)]
