"""Combinations in which a toggle has no effect, and combinations that cannot run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from src.parts.sizes import TENSORFLOW_MB, memory_refusals
from src.spec.rules import Inert
from src.tasks.word_vectors.settings import Settings, is_counted, is_skipgram

if TYPE_CHECKING:
    from src.tasks.word_vectors.corpus import Corpus

UNTRAINED = "architecture=ppmi_svd counts pairs and trains nothing"
FULL = "loss=full draws no negatives"


def _draws_nothing(settings: Settings) -> bool:
    return settings.loss == "full"


OF_TRAINING = {
    "loss": "negative",
    "negative": 5,
    "negatives": "redrawn",
    "hits": "drop",
    "optimizer": "sgd",
    "momentum": 0.0,
    "learning_rate": 0.05,
    "learning_rate_end": None,
    "schedule": "constant",
    "warmup": 0.0,
    "patience": None,
    "averaging": "none",
    "clip_norm": None,
    "batch_size": 4_096,
    "accumulate": 1,
    "drop_remainder": False,
    "epochs": 1,
    "max_steps": None,
    "execution": "graph",
    "noise": "unigram",
}

INERT: tuple[Inert[Any], ...] = (
    *(Inert(key, value, is_counted, UNTRAINED) for key, value in OF_TRAINING.items()),
    Inert("cbow_mean", True, lambda s: s.architecture != "cbow", "only architecture=cbow has several words of context"),
    Inert("negative", 5, _draws_nothing, FULL),
    Inert("negatives", "redrawn", _draws_nothing, FULL),
    Inert("hits", "drop", _draws_nothing, FULL),
    Inert("noise", "unigram", _draws_nothing, FULL),
    Inert("ns_exponent", 0.75, _draws_nothing, FULL),
    Inert("ns_exponent", 0.75, lambda s: s.noise != "unigram", "only noise=unigram is made of counts"),
    Inert("shrink_windows", False, lambda s: s.window == 1, "a window of 1 cannot shrink"),
)


def refusals(settings: Settings, data: Corpus) -> list[str]:
    """Returns the combinations of settings and data that cannot run, each with its fix."""
    of_model = _few_words(settings, data) or [*_negatives(settings, data), *_memory(settings, data)]
    return [*_schedule(settings), *of_model]


def _schedule(settings: Settings) -> list[str]:
    """Returns why the learning rate cannot follow both of two schedules; empty if it follows one."""
    if settings.learning_rate_end is None or (settings.schedule == "constant" and not settings.warmup):
        return []
    key = f"schedule={settings.schedule}" if settings.schedule != "constant" else f"warmup={settings.warmup:g}"
    what = f"{key} does not work with learning_rate_end={settings.learning_rate_end:g}, which is a schedule of its own"
    return [f"{what}; set learning_rate_end=null"]


def _few_words(settings: Settings, data: Corpus) -> list[str]:
    from src.data.splits import SPLITS, TRAIN
    from src.tasks.word_vectors import corpus

    name = getattr(settings.data, "path", None) or settings.data.name
    if corpus.word_count(settings, data) < 2:
        least = f"fewer than two words occur min_count={settings.min_count} times or more in training"
        return [f"{name}: {least}; lower min_count, or use more text"]
    for split in SPLITS:
        texts = corpus.texts_of(settings, data, split)
        lengths = texts.starts[1:] - texts.starts[:-1]
        if split == TRAIN and len(texts.ids) <= settings.window:
            fix = "lower window or min_count, or use more text"
            return [f"{name}: {len(texts.ids):,} words for training, too few for window={settings.window}; {fix}"]
        if not len(lengths) or lengths.max() < 2:
            what = "training" if split == TRAIN else split
            unit = "text" if settings.across_lines else "line or sentence"
            fix = "lower min_count" if settings.across_lines else "set across_lines=true, or lower min_count"
            return [f"{name}: no {what} {unit} has two words with a vector next to each other; {fix}"]
    return []


def _negatives(settings: Settings, data: Corpus) -> list[str]:
    from src.tasks.word_vectors import corpus

    rows = corpus.row_count(settings, data)
    if is_counted(settings):
        if settings.vector_size >= rows:
            fix = f"set vector_size below {rows:,}"
            return [f"vector_size={settings.vector_size} needs more words than the {rows:,} with a vector; {fix}"]
        return []
    if settings.loss != "full" and settings.negative >= rows:
        what = f"negative={settings.negative} needs more words than the {rows:,} with a vector"
        return [f"{what}; set negative below {rows:,}, or loss=full"]
    return []


def _memory(settings: Settings, data: Corpus) -> list[str]:
    from src.tasks.word_vectors import corpus

    if is_counted(settings):
        return []
    rows = corpus.row_count(settings, data)
    needed = required_mb(settings, rows=rows)
    fix = "set loss=negative, or a smaller batch_size" if settings.loss == "full" else "set a smaller batch_size"
    return memory_refusals(
        settings, needed, keys=("loss", "batch_size", "vector_size"), data=f"{rows:,} words", fix=fix
    )


def required_mb(settings: Settings, *, rows: int) -> float:
    """Returns a rough lower bound of the memory of a training step, in megabytes.

    Counted are the tables, the vectors of an example's words with their gradients and, with `loss=full`, three arrays
    of the scores of all words.
    """
    size, width = settings.vector_size, 1 if is_skipgram(settings) else 2 * settings.window
    compared = 3 * rows + 2 * size if settings.loss == "full" else 3 * (1 + settings.negative) * size
    numbers = 2 * rows * size + settings.batch_size * (2 * width * size + compared)
    return TENSORFLOW_MB + numbers * 4 / 2**20
