"""What the served models of several tasks share: how MLflow loads one, and how it refuses an input.

Every logged model contains a copy of this file, which therefore imports no other module of this project but the layers
that a task names.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

MODEL = "model.keras"


def load(path: str, about: str, *, layers: Iterable[str] = ()) -> tuple[Any, dict[str, Any]]:
    """Returns the Keras model in the folder that MLflow gives to `_load_pyfunc`, and the content of a JSON file there.

    It executes no code from the model's file: Keras creates layers by name, in its safe mode.

    Args:
      path: the folder.
      about: name of the JSON file.
      layers: modules of `models` that register the project's layers of the model.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    for name in layers:
        importlib.import_module(f"..models.{name}", __package__)
    folder = Path(path)
    known = json.loads((folder / about).read_text(encoding="utf-8"))
    return keras.saving.load_model(folder / MODEL, compile=False, safe_mode=True), known


def refuse(message: str) -> NoReturn:
    """Raises the error that a server answers with status 400."""
    from mlflow.exceptions import MlflowException

    raise MlflowException.invalid_parameter_value(message)
