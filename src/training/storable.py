"""Whether a model of the user's own code can be written to a model file and read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src import own_code
from src.terminal.errors import first_line
from src.training import model_file

if TYPE_CHECKING:
    import keras


def fault(model: keras.Model, place: str) -> str | None:
    """Returns why a model cannot be read from a file, with the fix; None if it can. A trial writes it only at its end.

    Args:
      model: model with layers of the user.
      place: `module:NAME` of these layers; the text follows it.
    """
    import keras

    try:
        config = keras.saving.serialize_keras_object(model)
        if code := model_file.running_code(config):
            return f"contains a {code} layer, whose code a model file cannot hold; write a class of keras.layers.Layer"
        keras.saving.deserialize_keras_object(config, custom_objects=own_code.objects(place))
    except Exception as error:
        text = f"{type(error).__name__}: {first_line(error)}"
        return f"cannot be read from a model file ({text}); write get_config() for the layers of your own"
    return None
