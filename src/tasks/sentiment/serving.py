"""What MLflow needs of a trained classifier of texts, from the files that a trial has left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from src.artifacts import MODEL, SETTINGS
from src.parts.words.preprocessing import FILE as PREPROCESSING
from src.spec.task import Served
from src.tasks.sentiment.served import TEXT, TEXTS

SRC = Path(__file__).parents[2]
LAYERS = ("cell_facts", "cells", "initial_state", "loops", "onehot", "readout")  # modules with layers of our own
CODE = ("tasks/sentiment/served.py", "data/tokens.py", *(f"models/{name}.py" for name in LAYERS))
NEEDS = ("mlflow", "tensorflow", "keras", "numpy", "pandas")
EXAMPLE = 8  # words
OLD = "word_before_marks"  # division of models whose files name none


def served(folder: Path) -> Served | None:
    """Returns how MLflow serves the model of a trial's folder; None if files are missing or broken."""
    try:
        settings, about = _read(folder / SETTINGS), _read(folder / PREPROCESSING)
        of_settings = {key: settings[key] for key in ("max_length", "truncation", "head", "batch_size")}
        padding = {key: about["padding"][key] for key in ("edges", "to_longest", "side")}
        words = {"words": list(about["words"]), "classes": list(about["classes"]), "tokens": about.get("tokens", OLD)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    gap = "" if words["tokens"] == "character" else " "
    return Served(
        code={name: SRC / name for name in CODE},
        loader="tasks.sentiment.served",
        files={MODEL: folder / MODEL, TEXTS: json.dumps(words | padding | of_settings)},
        example={TEXT: [gap.join(words["words"][:EXAMPLE])]},
        inputs=[
            {"type": "string", "required": True}
        ],  # without a name, so that a plain text or a list of them is taken, too
        outputs=[{"type": "double", "name": name, "required": True} for name in words["classes"]],
        needs=NEEDS,
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
