"""A trial's model as a file: written whole, and read so that nothing in it is executed."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.artifacts import MODEL
from src.files import replaced
from src.terminal.errors import first_line

if TYPE_CHECKING:
    import keras

LARGEST = 10_000_000  # bytes of a model's configuration; ours have some thousand
RUN_CODE = {
    "Lambda",
    "TFSMLayer",
    "TorchModuleWrapper",
    "JaxLayer",
    "FlaxLayer",
    "__lambda__",
}  # what Keras has for code of others
OURS = "ablation>"  # before the names of our own layers
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
}  # of Keras


def write(folder: Path, model: keras.Model) -> str:
    """Writes the model without optimizer state; returns the file's name."""
    with replaced(folder / MODEL) as path, _without_leftovers():
        model.save(path)
    return MODEL


def load(folder: Path) -> keras.Model:
    """Returns the trained model of a trial's folder. Layers of a task's own are to be imported before.

    Raises:
      OSError: the file is missing.
      ValueError: it holds something else, is damaged, or could run code.
    """
    objects(folder)
    from src.training.startup import import_tensorflow  # once it is known that there is something to load

    import_tensorflow()
    import keras

    try:
        return keras.models.load_model(folder / MODEL, compile=False, safe_mode=True)
    except Exception as error:  # layers, HDF5 and TensorFlow raise what they like of a file that is none of ours
        raise ValueError(f"{MODEL}: {first_line(error)}") from None


def objects(folder: Path) -> list[dict[str, Any]]:
    """Returns what a model's file names by class; refuses one that is damaged or could run code, before Keras reads it.

    Keras refuses code, too (`safe_mode`), but does not say so in a line, and reads weights without their check sums.

    Raises:
      OSError: there is no such file.
      ValueError: see above.
    """
    try:
        with zipfile.ZipFile(folder / MODEL) as archive:
            if archive.getinfo("config.json").file_size > LARGEST:
                raise ValueError("its configuration is too large")
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
            config = json.loads(archive.read("config.json"))
        objects = _named(config)
        if not isinstance(config, dict) or not objects:
            raise ValueError("its configuration does not describe a model")
        for part in objects:
            module, name, registered = part.get("module"), part["class_name"], str(part.get("registered_name") or "")
            if (
                not isinstance(name, str)
                or name in RUN_CODE
                or not (_is_of_models(module) or registered.startswith(OURS))
            ):
                raise ValueError(
                    f"it contains {str(module)[:80]}.{str(name)[:80]}, which could run code; nothing was loaded"
                )
    except OSError:
        raise
    except Exception as error:  # what zipfile raises of broken bytes has no common name
        what = "its configuration is nested too deeply" if isinstance(error, RecursionError) else first_line(error)
        raise ValueError(f"{MODEL}: {what}") from None
    return objects


def _is_of_models(module: Any) -> bool:
    """Returns whether a module is one of Keras' that make up models, or none is named."""
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
    found, left = [], [config]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found += [one] if "class_name" in one else []
            left += one.values()
        elif isinstance(one, list):
            left += one
    return found


@contextmanager
def _without_leftovers() -> Iterator[None]:
    """Removes the temporary files of the block: Keras leaves a folder behind where the disk is full while it writes a model."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before
