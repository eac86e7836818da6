"""From tracked trials to tables, figures and reports. Nothing here imports TensorFlow; TensorBoard does, for events.

In Python and in notebooks: `analysis.study("leave_one_out")` and `analysis.adopt(frame, …)`, see `analysis.notebook`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["adopt", "study"]


def __getattr__(name: str) -> Any:
    """Returns the functions for notebooks; they import pandas and matplotlib, so they are imported when first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analysis import notebook

    return getattr(notebook, name)
