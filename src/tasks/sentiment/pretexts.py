"""What the first layers of a classifier learn before, from all training texts without their labels.

A pretext is a trial of the task that it names, on the classifier's corpus and with its vocabulary, so that ids mean the
same words. Layers that both have are equal: the settings that make them are the classifier's. Other settings are the
defaults of that task. It trains on training texts only; validation chooses its epoch.

    pretext=language_model   the embedding, the recurrent layers and their learned initial states
    pretext=word_vectors     the embedding

Source: Dai and Le, "Semi-supervised Sequence Learning", NIPS 2015, section 2 (LM-LSTM), and table 2 for word vectors.
Ours, not theirs: the language model has dropout, and reads pieces of all texts in one line. Its output layer does not
share its weights with the embedding: so small models learn faster, and their embedding does not saturate the gates.

Letters: V ids, D size of an embedding.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import registry
from src.spec.rules import Change
from src.spec.task import First
from src.tasks.sentiment.settings import Settings

if TYPE_CHECKING:
    import keras

    from src.data.encoded import Encoded

NAME = "pretext"
FILE = f"{NAME}.keras"  # as `First.file`
KEYS = {"epochs": "pretext_epochs", "learning_rate": "pretext_learning_rate"}  # its setting → the classifier's
EVERY = ("seed", "checkpoint", "data")  # settings of every pretext that are the classifier's
OF_LAYERS = (  # of a language model's layers, likewise
    *("tokens", "vocab_size", "encoding", "embedding_dim", "cell", "depth", "units"),
    *("initial_state", "forget_bias", "kernel_initializer", "recurrent_initializer"),
)


def first(settings: Settings, data: Encoded) -> First | None:
    """Returns the training of the pretext, for resolved settings; None without one."""
    if settings.pretext == "none":
        return None
    values = {key: getattr(settings, key) for key in EVERY} | {own: getattr(settings, key) for own, key in KEYS.items()}
    of_trial: Any = None
    if settings.pretext == "language_model":
        values |= {key: getattr(settings, key) for key in OF_LAYERS} | {"tie_weights": False}
    else:
        from src.data.tokens import FIRST_WORD
        from src.tasks.word_vectors.corpus import Corpus

        values |= {"vector_size": settings.embedding_dim, "vocab_size": max(2, settings.vocab_size - FIRST_WORD)}
        values |= {"batch_size": 4_096}  # named, because the identity of the trial holds none of the vectors' own
        of_trial = Corpus(data)
    task = registry.task(settings.pretext)
    return First(NAME, f"pretext={settings.pretext}", task, task.settings(**values), of_trial, KEYS)


def changes(settings: Settings) -> list[Change]:
    """Returns the defaults of the pretext's task in place of null, so that the identity of a trial holds them."""
    if settings.pretext == "none":
        return []
    defaults, reason = registry.task(settings.pretext).settings.model_fields, f"the default of task={settings.pretext}"
    missing = {key: defaults[own].default for own, key in KEYS.items() if getattr(settings, key) is None}
    return [Change(key, None, value, reason) for key, value in missing.items()]


def refusals(settings: Settings, data: Encoded) -> list[str]:
    """Returns why the pretext and the classifier do not fit, each reason with its fix; empty if they do."""
    if settings.pretext == "language_model" and registry.is_place(settings.cell):
        return [
            f"pretext=language_model has no cells of your own, but cell={settings.cell}; set cell=lstm, or "
            "pretext=word_vectors"
        ]
    phase, reasons = first(settings, data), []
    if phase is None:
        return []
    name = phase.title
    if settings.embedding_from is not None:
        reasons.append(
            f"{name} and embedding_from={settings.embedding_from} both start the embedding; "
            "set pretext=none or embedding_from=null"
        )
    if settings.pretext == "word_vectors" and settings.tokens != "word":
        reasons.append(f"{name} learns vectors of words, not with tokens={settings.tokens}; set tokens=word")
    if settings.pretext == "language_model" and settings.encoder != "recurrent":
        what = f"{name} trains recurrent layers, which encoder={settings.encoder} has not"
        reasons.append(f"{what}; set encoder=recurrent, or pretext=word_vectors")
    elif settings.pretext == "language_model" and settings.bidirectional:
        reasons.append(
            f"{name} reads forwards only, as a backward layer would see the words that it predicts, "
            "but bidirectional=true; set bidirectional=false, or pretext=word_vectors"
        )
    return reasons or [f"{name}: {reason}" for reason in phase.task.refusals(phase.settings, phase.data or data)]


def freeze(model: keras.Model, settings: Settings) -> None:
    """Freezes the layers that start from the pretext if `pretext_trainable=false`."""
    if settings.pretext == "none" or settings.pretext_trainable:
        return
    for layer in _layers(model, settings):
        layer.trainable = False


def take_over(model: keras.Model, settings: Settings, folder: Path) -> None:
    """Gives the classifier what the pretext's model in a trial's folder has learnt.

    Word vectors may be fewer than ids; the ids without one are the last ones, and keep their random start.
    """
    from src.training import model_file

    if settings.pretext == "language_model":
        # registers the project's layers
        from src.models import cells, initial_state, loops, onehot, word_loss, word_vectors  # noqa: F401

        learnt = model_file.load(folder, FILE)
        for layer in _layers(model, settings):
            layer.set_weights(learnt.get_layer(layer.name).get_weights())
        return
    from src.data.tokens import FIRST_WORD
    from src.models import word_pairs  # noqa: F401  registers the project's layer
    from src.tasks.word_vectors.vectors import of_model

    vectors = of_model(model_file.load(folder, FILE), "input")
    (encoding,) = _layers(model, settings)
    (table,) = encoding.get_weights()
    table[FIRST_WORD : FIRST_WORD + len(vectors)] = vectors[: len(table) - FIRST_WORD]
    encoding.set_weights([table])


def _layers(model: keras.Model, settings: Settings) -> list[Any]:
    """Returns the layers that start from the pretext."""
    names = ("encoding", "recurrent_") if settings.pretext == "language_model" else ("encoding",)
    return [layer for layer in model.layers if layer.name.startswith(names) and layer.weights]
