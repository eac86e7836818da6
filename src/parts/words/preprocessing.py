"""The preprocessing file of a model: how a text becomes ids, and which class belongs to which output."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pydantic

from src.artifacts import MODEL, Artifacts
from src.data.batching import Padding
from src.data.tokens import FIRST_WORD
from src.files import replaced
from src.training import model_file

if TYPE_CHECKING:
    import keras

FILE = "preprocessing.json"
LONGEST = 1_000_000  # largest number of steps that a file may name


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Turns a text into ids, and an output into a class.

    Attributes:
      words: the vocabulary; the first word has the id `tokens.FIRST_WORD`.
      classes: name of each class.
      padding: how ids become batches.
      tokens: how texts are divided, a key of `tokens.DIVISIONS`.
      threshold: probability from which a text is of the second of two classes, 0 to 1.
    """

    words: list[str]
    classes: list[str]
    padding: Padding
    tokens: Literal["word", "character", "list", "word_before_marks"] = (
        "word_before_marks"  # the division of old files, which do not contain this key
    )
    threshold: float = 0.5


class Loaded(NamedTuple):
    """A trained classifier with its preprocessing.

    Attributes:
      settings: settings of the trial.
      model: ids int32[B, T] → logits float32[B, K].
      preprocessing: words, classes and padding.
    """

    settings: Any
    model: keras.Model
    preprocessing: Preprocessing


def write(folder: Path, preprocessing: Preprocessing) -> str:
    """Writes the preprocessing of a trial's model; returns the name of the file."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps(dataclasses.asdict(preprocessing)), encoding="utf-8")
    return FILE


def load(folder: Path) -> Loaded:
    """Returns the trained classifier of a trial's folder, without executing any code from its files.

    Raises:
      OSError: a file is missing.
      ValueError: the content of a file is invalid, or the files belong to different trials.
    """
    settings: Any = Artifacts(folder).settings()
    preprocessing = _read(folder / FILE)
    _refuse_misfit(settings, preprocessing)
    objects = model_file.objects(folder)
    for part in filter(_reads_ids, objects if getattr(settings, "model", None) is None else []):
        size = part["config"].get("input_dim", part["config"].get("size"))
        if size != settings.vocab_size:
            mismatch = f"{str(size)[:40]} ids, but vocab_size={settings.vocab_size}"
            raise ValueError(f"{MODEL}: {mismatch}; the files belong to different trials")
    from src.training.startup import import_tensorflow

    import_tensorflow()
    # registers the project's layers
    from src.models import cells, initial_state, loops, onehot, readout, text_encoders  # noqa: F401

    model = model_file.load(folder)
    outputs, expected = model.output_shape[-1], 1 if settings.head == "sigmoid" else len(preprocessing.classes)
    if outputs != expected:
        raise ValueError(f"{MODEL}: {outputs} outputs instead of {expected}; the files belong to different trials")
    return Loaded(settings, model, preprocessing)


def _read(path: Path) -> Preprocessing:
    try:
        return pydantic.TypeAdapter(Preprocessing).validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{FILE}: {f'{key}: ' if key else ''}{first['msg']}") from None


def _refuse_misfit(settings: Any, preprocessing: Preprocessing) -> None:
    """Checks that the preprocessing can belong to a trial with these settings; otherwise predictions would be wrong.

    Raises:
      ValueError: it cannot.
    """
    problem = None
    words, classes, edges = preprocessing.words, preprocessing.classes, preprocessing.padding.edges
    room = max(0, settings.vocab_size - FIRST_WORD)
    if len(classes) < 2 or (settings.head == "sigmoid" and len(classes) > 2):
        problem = f"classes: {len(classes)}, with head={settings.head}"
    elif len(set(classes)) < len(classes) or len(set(words)) < len(words):
        problem = "a class or a word occurs twice"
    elif not 0 <= preprocessing.threshold <= 1:
        problem = f"threshold: {preprocessing.threshold}; allowed is a number from 0 to 1"
    elif not words or not all(words):
        problem = "words: none, or an empty one"
    elif len(words) > room:
        problem = f"words: {len(words):,}, but vocab_size={settings.vocab_size} allows {room:,}"
    elif (
        not edges
        or edges[0] < 1
        or edges[-1] > LONGEST
        or any(first >= second for first, second in itertools.pairwise(edges))
    ):
        problem = f"padding.edges: allowed are increasing numbers from 1 to {LONGEST:,}, at least one"
    if problem is not None:
        raise ValueError(f"{FILE}: {problem}")


def _reads_ids(part: dict[str, Any]) -> bool:
    """Returns whether an object of a model's configuration is a layer that reads ids."""
    return part["class_name"] in ("Embedding", "OneHot", "TfIdf") and isinstance(part.get("config"), dict)
