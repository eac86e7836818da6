"""What stands between a text and a model's input, and between its output and a class; kept in a file beside the model."""

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
LONGEST = 1_000_000  # steps, as `max_length` allows


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What turns a text into ids, and an output into a class.

    Attributes:
      words: the first has the id `tokens.FIRST_WORD`; none for a model that reads no text.
      classes: name of each class.
      padding: how ids become batches; None for a model that reads no text.
      tokens: what texts are divided into, a key of `tokens.DIVISIONS`.
    """

    words: list[str]
    classes: list[str]
    padding: Padding | None
    tokens: Literal["word", "character", "list", "word_before_marks"] = (
        "word_before_marks"  # of files that do not say: they are older
    )


class Loaded(NamedTuple):
    """A trained classifier with everything between a text and its class.

    Attributes:
      settings: of the trial.
      model: ids int32[B, T] → logits float32[B, K].
      known: words, classes and padding.
    """

    settings: Any
    model: keras.Model
    known: Preprocessing


def write(folder: Path, known: Preprocessing) -> str:
    """Writes what turns a text into the model's input, and its output into a class; returns the file's name."""
    with replaced(folder / FILE) as path:
        path.write_text(json.dumps(dataclasses.asdict(known)), encoding="utf-8")
    return FILE


def load(folder: Path) -> Loaded:
    """Returns the trained classifier of a trial's folder; nothing in its files is executed.

    Raises:
      OSError: a file is missing.
      ValueError: a file holds something else, or the files are of different trials.
    """
    settings: Any = Artifacts(folder).settings()
    known = _read(folder / FILE)
    _refuse_misfit(settings, known)
    for part in filter(_reads_ids, model_file.objects(folder)):
        size = part["config"].get("input_dim", part["config"].get("size"))
        if size != settings.vocab_size:
            what = f"{str(size)[:40]} ids, but vocab_size={settings.vocab_size}"
            raise ValueError(f"{MODEL}: {what}; the files belong to different trials")
    from src.training.startup import import_tensorflow

    import_tensorflow()
    from src.models import initial_state, loops, onehot, readout  # noqa: F401  the layers of our own, by name

    model = model_file.load(folder)
    outputs, wanted = model.output_shape[-1], 1 if settings.head == "sigmoid" else len(known.classes)
    if outputs != wanted:
        raise ValueError(f"{MODEL}: {outputs} outputs instead of {wanted}; the files belong to different trials")
    return Loaded(settings, model, known)


def _read(path: Path) -> Preprocessing:
    try:
        return pydantic.TypeAdapter(Preprocessing).validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{FILE}: {f'{key}: ' if key else ''}{first['msg']}") from None


def _refuse_misfit(settings: Any, known: Preprocessing) -> None:
    """Refuses what no trial with these settings has between a text and a class; a model would take it and be wrong.

    Raises:
      ValueError: see above.
    """
    what = None
    if len(known.classes) < 2 or (settings.head == "sigmoid" and len(known.classes) > 2):
        what = f"classes: {len(known.classes)}, with head={settings.head}"
    elif len(set(known.classes)) < len(known.classes) or len(set(known.words)) < len(known.words):
        what = "a class or a word occurs twice"
    elif known.padding is not None:
        edges, room = known.padding.edges, max(0, settings.vocab_size - FIRST_WORD)
        if not known.words or not all(known.words):
            what = "words: none, or an empty one"
        elif len(known.words) > room:
            what = f"words: {len(known.words):,}, but vocab_size={settings.vocab_size} allows {room:,}"
        elif (
            not edges
            or edges[0] < 1
            or edges[-1] > LONGEST
            or any(first >= second for first, second in itertools.pairwise(edges))
        ):
            what = f"padding.edges: allowed are increasing numbers from 1 to {LONGEST:,}, at least one"
    if what is not None:
        raise ValueError(f"{FILE}: {what}")


def _reads_ids(part: dict[str, Any]) -> bool:
    """Returns whether an object of a configuration is a layer that has a weight or a place for each id."""
    return part["class_name"] in ("Embedding", "OneHot") and isinstance(part.get("config"), dict)
