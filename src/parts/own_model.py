"""A model that the user's own function builds in place of the task's: the toggle `model`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from src import own_code
from src.spec.rules import Inert
from src.spec.section import Place, SettingsError
from src.spec.settings import Settings
from src.training import storable

if TYPE_CHECKING:
    import keras


PROBABILITIES = ("softmax", "log_softmax", "sigmoid")  # activations whose values are no logits


class OwnModel(Settings):
    """Settings of a task whose model the user's own function may build."""

    model: Place | None = Field(
        None,
        description="function of yours, build(settings, inputs, outputs), that returns the model; "
        "null = the task's own model",
    )


class Interface(NamedTuple):
    """What a model of the task reads and returns.

    Attributes:
      name: name of its input.
      shape: shape of one example; None for a dimension that differs between batches.
      dtype: type of the input.
      outputs: K; the model returns float32[B, K].
      what: what these are: `logits`, or `predicted values`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    outputs: int
    what: str = "logits"


def inert(kind: type[Settings], keys: Sequence[str]) -> tuple[Inert[Any], ...]:
    """Returns the rules by which toggles of the task's own layers have no effect with a model of the user."""
    reason = "model replaces the layers that it changes"
    return tuple(Inert(key, kind.model_fields[key].default, lambda s: s.model is not None, reason) for key in keys)


def built(settings: OwnModel, interface: Interface) -> keras.Model:
    """Returns the untrained model of the user's function.

    Raises:
      SettingsError: the function raises an exception, or its result is not a model of this interface.
    """
    from src.training.startup import import_tensorflow

    import_tensorflow()
    import keras

    place = settings.model or ""
    build = own_code.imported("model", place)
    if not callable(build):
        raise SettingsError(
            f"model={place} is {own_code.kind_of(build)}; name a function build(settings, inputs, outputs)"
        )
    inputs = keras.Input(interface.shape, dtype=interface.dtype, name=interface.name)
    try:
        inspect.signature(build).bind(settings, inputs=inputs, outputs=interface.outputs)
    except (TypeError, ValueError) as error:  # a ValueError, if a callable has no signature
        raise SettingsError(
            f"model={place} cannot be called ({error}); write build(settings, inputs, outputs)"
        ) from None
    try:
        model = build(settings, inputs=inputs, outputs=interface.outputs)
    except (Exception, SystemExit) as error:  # code of the user may raise anything
        raise SettingsError(f"model={place} raised {own_code.raised(error, place)}") from None
    if (fault := next(_faults(model, interface), None)) is not None:
        raise SettingsError(f"model={place} {fault}")
    return model


def refusals(settings: OwnModel, interface: Interface) -> list[str]:
    """Returns why a model of the user cannot be trained, each reason with its fix; empty if it can."""
    place = settings.model or ""
    parameters: Any = getattr(settings, "parameters", None)
    if parameters is not None:
        what = f"parameters={parameters} does not work with model={place}, whose size only its function knows"
        return [f"{what}; set parameters=null, and choose the size in the function"]
    try:
        model = built(settings, interface)
    except SettingsError as error:
        return [str(error)]
    import keras

    layers = model._flatten_layers()
    if settings.averaging == "swa" and any(isinstance(each, keras.layers.BatchNormalization) for each in layers):
        what = "averaging=swa does not work with batch normalisation, whose statistics are those of other weights"
        return [f"{what}; set averaging=ema, or build model={place} without it"]
    fault = storable.fault(model, place)
    return [f"model={place} {fault}"] if fault else []


def _faults(model: Any, interface: Interface) -> Iterator[str]:
    """Yields what is wrong with the result of a function, with its fix; the text follows the name of the function."""
    import keras
    from keras.src.models.functional import Functional

    wanted = f"float32[B, {interface.outputs}]"
    if not isinstance(model, keras.Model):
        yield f"returned {own_code.kind_of(model)}, not a keras.Model; end it with `return keras.Model(inputs, …)`"
    if not isinstance(model, Functional | keras.Sequential) or (
        isinstance(model, keras.Sequential) and not model.built
    ):
        fix = "apply it to the input, as in `return keras.Model(inputs, MyModel()(inputs))`"
        yield f"returned a model without inputs of its own, {type(model).__name__}; {fix}"
    if not _accepts(model.input, interface):
        given = f"{interface.dtype}{_dimensions(interface.shape)}"
        yield f"reads {_shown(model.input)}, but gets {given}; build it on the given `inputs`"
    if (got := _shown(model.output)) != wanted:
        fix = f"end it with `keras.layers.Dense(outputs)`, whose outputs are {interface.what}"
        yield f"returns {got} instead of {wanted}; {fix}"
    last: Any = model.outputs[0]._keras_history.operation
    activation = "softmax" if isinstance(last, keras.layers.Softmax) else getattr(last, "activation", None)
    if (name := getattr(activation, "__name__", activation)) in PROBABILITIES:
        yield f"ends with {name}, but the loss takes {interface.what}; leave out this activation"
    if not model.trainable_variables:
        yield "has no weights that are trained; add a layer with weights"


def _accepts(tensor: Any, interface: Interface) -> bool:
    """Returns whether an input takes every batch: each dimension is as given, or any."""
    if isinstance(tensor, list | tuple | dict):
        return False
    shape = tensor.shape[1:]
    return (
        tensor.dtype == interface.dtype
        and len(shape) == len(interface.shape)
        and all(own is None or own == given for own, given in zip(shape, interface.shape, strict=True))
    )


def _shown(tensor: Any) -> str:
    if isinstance(tensor, list | tuple | dict):
        return f"a {type(tensor).__name__} of {len(tensor)}"
    return f"{tensor.dtype}{_dimensions(tensor.shape[1:])}"


def _dimensions(shape: Sequence[int | None]) -> str:
    return f"[{', '.join(['B', *('any' if size is None else str(size) for size in shape)])}]"
