"""A recurrent cell of the user: `cell=module:NAME`. It runs in Keras' loop, `keras.layers.RNN`.

Letters: B sequences, D width of the input, H units.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from src import own_code
from src.parts.recurrent.toggles import Recurrent, has_own_cell
from src.spec.section import SettingsError
from src.training import storable

if TYPE_CHECKING:
    import keras

WANTED = "a class MyCell(units) of keras.layers.Layer with state_size and call(inputs, states)"


def new(place: str, units: int) -> Any:
    """Returns a new cell of the user's class, which draws its initial weights from the seed of the trial.

    Raises:
      SettingsError: there is no such class, it raises an exception, or it is no recurrent cell.
    """
    from src.training.startup import import_tensorflow

    import_tensorflow()
    import keras

    kind: Any = own_code.imported("cell", place)
    if not (isinstance(kind, type) and issubclass(kind, keras.layers.Layer)):
        raise SettingsError(f"cell={place} is {own_code.kind_of(kind)}; write {WANTED}")
    try:
        cell = kind(units)
    except (Exception, SystemExit) as error:  # code of the user may raise anything
        raise SettingsError(f"cell={place} raised {own_code.raised(error, place)}; write {WANTED}") from None
    for name, is_missing in (("call", _calls_nothing(kind)), ("state_size", not hasattr(cell, "state_size"))):
        if is_missing:
            raise SettingsError(f"cell={place} has no {name}; write {WANTED}")
    return cell


def known(settings: Recurrent) -> AbstractContextManager[Any]:
    """Lets Keras read configurations with the user's own cell within the block."""
    import keras

    own = own_code.objects(settings.cell) if has_own_cell(settings) else {}
    scope: AbstractContextManager[Any] = keras.saving.custom_object_scope(own)
    return scope


def _calls_nothing(kind: Any) -> bool:
    import keras

    return bool(kind.call is keras.layers.Layer.call)


def refusals(settings: Recurrent, *, width: int) -> list[str]:
    """Returns why layers of the user's own cell cannot be trained, with the fix; empty if they can, or for other cells.

    Args:
      settings: settings without other reasons not to run.
      width: D of the first recurrent layer.
    """
    if not has_own_cell(settings):
        return []
    try:
        _check(settings.cell, settings.units, width=width)
    except SettingsError as error:
        return [str(error)]
    return []


def parameters(place: str, units: int, *, width: int) -> int:
    """Returns the number of trainable parameters of a cell that reads D = `width` numbers.

    Raises:
      SettingsError: the cell cannot be built.
    """
    return sum(math.prod(weight.shape) for weight in _model(place, units, width=width).trainable_variables)


def _model(place: str, units: int, *, width: int) -> keras.Model:
    """Returns a model from x float32[B, T, D] to the outputs of all steps, with a mask."""
    cell = new(place, units)
    import keras

    x = keras.Input((None, width))
    try:
        outputs = keras.layers.RNN(cell, return_sequences=True)(x, mask=keras.ops.any(keras.ops.not_equal(x, 0), -1))
    except (Exception, SystemExit) as error:  # code of the user may raise anything
        raise SettingsError(f"cell={place} raised {own_code.raised(error, place)}; write {WANTED}") from None
    return keras.Model(x, outputs)


def _check(place: str, units: int, *, width: int) -> None:
    """Checks that the cell computes H = `units` numbers in each step, and that a model file can hold it."""
    model = _model(place, units, width=width)
    try:
        import numpy as np

        got = model(np.ones((2, 3, width), np.float32))  # Keras infers the shape of the output, and does not compute it
    except (Exception, SystemExit) as error:  # code of the user may raise anything
        raise SettingsError(f"cell={place} raised {own_code.raised(error, place)}; write {WANTED}") from None
    if got.shape[-1] != units or got.dtype != "float32":
        fix = f"return the output of a step as float32[B, units]; units={units}"
        raise SettingsError(f"cell={place} returns {got.dtype.name}[B, {got.shape[-1]}]; {fix}")
    if not model.trainable_variables:
        raise SettingsError(f"cell={place} has no weights that are trained; add them in build(input_shape)")
    if fault := storable.fault(model, place):
        raise SettingsError(f"cell={place} {fault}")
