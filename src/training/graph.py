"""The graph of a model: its layers and their inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def layers(model: keras.Model) -> list[dict[str, Any]]:
    """Returns for each layer its `name`, `kind` (class), `inputs` (names), `shape` (of its output) and `parameters`.

    The operation that computes a mask is included if a layer reads the mask. In a shape, B is the batch size and T
    the number of steps.

    Args:
      model: a model of Keras' functional interface.
    """
    import keras

    parts = {part["name"]: part for part in model.get_config()["layers"]}
    inputs = {name: list(dict.fromkeys(_sources(part["inbound_nodes"]))) for name, part in parts.items()}
    is_read = {name for names in inputs.values() for name in names}
    of_model = {operation.name: operation for operation in model.operations}
    shown = [name for name in parts if isinstance(of_model[name], keras.layers.Layer) or name in is_read]
    return [
        {
            "name": name,
            "kind": parts[name]["class_name"],
            "inputs": inputs[name],
            "shape": _shape(of_model[name]),
            "parameters": int(of_model[name].count_params()) if isinstance(of_model[name], keras.layers.Layer) else 0,
        }
        for name in shown
    ]


def _sources(part: Any) -> list[str]:
    """Returns the layers whose outputs appear anywhere in the arguments of a configuration."""
    if isinstance(part, dict):
        history = part.get("keras_history")
        return [str(history[0])] if history else _sources(list(part.values()))
    return [name for item in part for name in _sources(item)] if isinstance(part, list | tuple) else []


def _shape(operation: Any) -> str:
    import keras

    outputs = keras.tree.flatten(operation.output)
    shapes = (["B", *("T" if size is None else str(size) for size in output.shape[1:])] for output in outputs)
    return ", ".join(f"({', '.join(sizes)})" for sizes in shapes)
