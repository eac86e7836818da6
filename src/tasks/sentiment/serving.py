"""Describes to MLflow how to serve a trained text classifier, from the files of a trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from src.artifacts import MODEL, SETTINGS
from src.parts.words.preprocessing import FILE as PREPROCESSING
from src.spec.task import Served
from src.tasks.sentiment.served import LAYERS, TEXT, TEXTS
from src.training import model_file

SRC = Path(__file__).parents[2]
OWN = ("tasks/sentiment/served.py", "parts/served_model.py", "data/tokens.py")
CODE = (*OWN, *(f"models/{name}.py" for name in LAYERS))
NEEDS = ("mlflow", "tensorflow", "keras", "numpy", "pandas")
EXAMPLE = 8  # words of the input example
OLD = "word_before_marks"  # division of old models, whose files do not name one


def served(folder: Path) -> Served | None:
    """Returns how MLflow serves the model of a trial's folder; None if files are missing or broken.

    A server has no code of the user: a model with layers of their own is not served.
    """
    try:
        if model_file.has_own_code(folder):
            return None
        settings, preprocessing = _read(folder / SETTINGS), _read(folder / PREPROCESSING)
        of_settings = {key: settings[key] for key in ("max_length", "truncation", "head", "batch_size")}
        padding = {key: preprocessing["padding"][key] for key in ("edges", "to_longest", "side")}
        words: dict[str, Any] = {key: list(preprocessing[key]) for key in ("words", "classes")}
        words["tokens"] = preprocessing.get("tokens", OLD)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    gap = "" if words["tokens"] == "character" else " "
    return Served(
        code={name: SRC / name for name in CODE},
        loader="tasks.sentiment.served",
        files={MODEL: folder / MODEL, TEXTS: json.dumps(words | padding | of_settings)},
        example={TEXT: [gap.join(words["words"][:EXAMPLE])]},
        # The input has no name, so that MLflow also accepts a plain text or a list of texts.
        inputs=[{"type": "string", "required": True}],
        outputs=[{"type": "double", "name": name, "required": True} for name in words["classes"]],
        needs=NEEDS,
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
