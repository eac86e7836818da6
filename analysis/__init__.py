"""From tracked trials to tables, figures and reports. Nothing here imports TensorFlow; TensorBoard does, for events.

In Python and in notebooks: `analysis.train({"cell": ["lstm", "gru"]}, study="cells")`, `analysis.study("cells")`,
`analysis.adopt(frame, …)` and `analysis.predict(run, texts)`, see `analysis.notebook` and `analysis.commands`.
"""

from __future__ import annotations

from typing import Any

_MODULES = {"adopt": "notebook", "predict": "commands", "study": "notebook", "train": "commands"}
__all__ = ["adopt", "predict", "study", "train"]


def __getattr__(name: str) -> Any:
    """Returns the functions for notebooks; they import pandas and matplotlib, so they are imported when first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"analysis.{_MODULES[name]}"), name)
