"""The model file of a trial. It is written atomically, and reading it executes no code from it."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import own_code
from src.artifacts import MODEL
from src.files import replaced
from src.spec.section import SettingsError
from src.terminal.errors import first_line

if TYPE_CHECKING:
    import keras

LARGEST = 10_000_000  # bytes of a model's configuration; ours have a few thousand
RUN_CODE = {
    "Lambda",
    "TFSMLayer",
    "TorchModuleWrapper",
    "JaxLayer",
    "FlaxLayer",
    "__lambda__",
}  # Keras' classes that contain or load other code
OURS = "ablation>"  # prefix of the registered names of the project's layers
OF_MODELS = {
    "",
    "activations",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "models",
    "ops",
    "regularizers",
}  # Keras' modules whose objects make up models


def write(folder: Path, model: keras.Model) -> str:
    """Writes the model without optimizer state; returns the name of the file."""
    with replaced(folder / MODEL) as path, _without_leftovers():
        model.save(path)
    return MODEL


def load(folder: Path, name: str = MODEL) -> keras.Model:
    """Returns a trained model of a trial's folder. The caller has imported the task's own layers.

    Raises:
      OSError: the file is missing.
      ValueError: the file is not a model, is damaged, or could run code.
      SettingsError: it has layers of the user's own code, whose import is not allowed, or which has changed.
    """
    objects(folder, name)
    from src.training.startup import import_tensorflow  # only after the check that there is a model to load

    import_tensorflow()
    import keras

    own: dict[str, Any] = {}
    for place in own_code.allowed_of(folder):
        if own_code.has_changed(place, folder):
            fix = f"a copy of its code of then is in {folder / own_code.FOLDER}; restore it, or train again"
            raise SettingsError(f"{folder / name}: {place} has changed since this trial was trained; {fix}")
        own |= own_code.objects(place)
    try:
        return keras.models.load_model(folder / name, own, compile=False, safe_mode=True)
    except Exception as error:  # for a foreign file, layers, HDF5 and TensorFlow raise errors of many types
        lacks = [] if own else own_code.of_trial(folder)
        fix = f"; it may need code of your own, which --code {lacks[0]}:NAME allows to import" if lacks else ""
        raise ValueError(f"{folder / name}: {first_line(error)}{fix}") from None


def objects(folder: Path, name: str = MODEL) -> list[dict[str, Any]]:
    """Returns the objects of a model file's configuration that name a class. Checks the file before Keras reads it.

    Keras also refuses code (`safe_mode`), but its error is longer than one line, and it does not verify the checksums
    of the weights.

    Raises:
      OSError: the file is missing.
      ValueError: the file is damaged, is not a model, or could run code.
      SettingsError: it has layers of the user's own code, whose import is not allowed.
    """
    try:
        with zipfile.ZipFile(folder / name) as archive:
            if archive.getinfo("config.json").file_size > LARGEST:
                raise ValueError("its configuration is too large")
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
            config = json.loads(archive.read("config.json"))
        objects = _named(config)
        if not isinstance(config, dict) or not objects:
            raise ValueError("its configuration does not describe a model")
        modules, allowed = own_code.of_trial(folder), own_code.allowed_of(folder)
        for part in objects:
            module, kind, registered = part.get("module"), part["class_name"], str(part.get("registered_name") or "")
            is_own = any(own_code.is_of(place, str(module)) for place in allowed)
            if (
                not isinstance(kind, str)
                or kind in RUN_CODE
                or not (_is_of_models(module) or registered.startswith(OURS) or is_own)
            ):
                what = f"it contains {str(module)[:80]}.{str(kind)[:80]}"
                if any(own_code.is_of(name, str(module)) for name in modules) and kind not in RUN_CODE:
                    raise SettingsError(f"{folder / name}: {what}, code of your own; add --code {module}:{kind}"[:500])
                raise ValueError(f"{what}, which could run code; nothing was loaded")
    except (OSError, SettingsError):
        raise
    except Exception as error:  # zipfile's errors for broken bytes have no common base class
        reason = "its configuration is nested too deeply" if isinstance(error, RecursionError) else first_line(error)
        raise ValueError(f"{folder / name}: {reason}") from None
    return objects


def has_own_code(folder: Path) -> bool:
    """Returns whether the model of a trial's folder may have layers or functions of the user's own code."""
    modules = own_code.of_trial(folder)
    if not modules:
        return False
    with zipfile.ZipFile(folder / MODEL) as archive:
        parts = _named(json.loads(archive.read("config.json")))
    return any(
        part["class_name"] == "function" or any(own_code.is_of(module, str(part.get("module"))) for module in modules)
        for part in parts
    )


def running_code(config: Any) -> str | None:
    """Returns the class of the first object of a model's configuration that contains or loads code; None without."""
    return next((part["class_name"] for part in _named(config) if part["class_name"] in RUN_CODE), None)


def _is_of_models(module: Any) -> bool:
    """Returns whether a module is one of Keras' modules in `OF_MODELS`, or is not named."""
    if module is None or module == "builtins":
        return True
    first, *rest = str(module).removeprefix("keras.src").removeprefix("keras").split(".")
    return (
        isinstance(module, str)
        and module.startswith("keras")
        and first == ""
        and (rest[0] if rest else "") in OF_MODELS
    )


def _named(config: Any) -> list[dict[str, Any]]:
    """Returns all objects of a configuration that name a class."""
    named, to_visit = [], [config]
    while to_visit:
        part = to_visit.pop()
        if isinstance(part, dict):
            named += [part] if "class_name" in part else []
            to_visit += part.values()
        elif isinstance(part, list):
            to_visit += part
    return named


@contextmanager
def _without_leftovers() -> Iterator[None]:
    """Removes the temporary files of the block, because Keras leaves a folder behind if the disk is full."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before
