"""Describes to MLflow how to serve a trained image classifier, from the files of a trial."""

from __future__ import annotations

import io
from pathlib import Path

from src.artifacts import MODEL
from src.data.image_files import OF_PILLOW
from src.parts.images import reading
from src.parts.images.served import IMAGE, READING, encoded
from src.spec.task import Served
from src.training import model_file

SRC = Path(__file__).parents[2]
CODE = ("parts/images/served.py", "parts/served_model.py")
NEEDS = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "pillow")


def served(folder: Path) -> Served | None:
    """Returns how MLflow serves the model of a trial's folder; None if files are missing or broken.

    A server has no code of the user: a model with layers of their own is not served.
    """
    try:
        if model_file.has_own_code(folder):
            return None
        known = reading.load(folder)
    except ValueError:
        return None
    return Served(
        code={name: SRC / name for name in CODE},
        loader="parts.images.served",
        files={MODEL: folder / MODEL, READING: folder / reading.FILE},
        example={IMAGE: [_black(known)]},
        # The input has no name, so that MLflow also accepts a plain string or a list of strings.
        inputs=[{"type": "string", "required": True}],
        outputs=[{"type": "double", "name": name, "required": True} for name in known.classes],
        needs=NEEDS,
    )


def _black(known: reading.Reading) -> str:
    """Returns a black image as a PNG file in base64."""
    from PIL import Image

    height, width, _ = known.shape
    content = io.BytesIO()
    Image.new(OF_PILLOW[known.mode], (width, height)).save(content, "PNG")
    return encoded(content.getvalue())
