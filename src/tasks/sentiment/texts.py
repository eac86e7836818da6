"""Turns an encoded corpus into the phase of a classifier, and writes the files of its trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from src.data.batching import MAX_BUCKETS, Padding, batch_count, batches
from src.data.encoded import Encoded, Sequences
from src.data.sequences import chosen
from src.data.splits import TEST, TRAIN, VALIDATION
from src.data.tokens import START
from src.parts.classes import labelled, measures, scores
from src.parts.classes.probabilities import of_every_class
from src.parts.words import preprocessing, projector, samples, sequences
from src.parts.words.preprocessing import Preprocessing
from src.spec.record import EXTRAS
from src.spec.rules import Change
from src.spec.task import Trial
from src.streams import generator
from src.tasks.sentiment.settings import Settings, is_fitted
from src.training.phase import Phase
from src.training.task import Trained


def splits_of(settings: Settings, data: Encoded) -> dict[str, Sequences]:
    """Returns all splits as a trial reads them; of training, only the texts with labels."""
    splits = sequences.limited_splits(settings, data)
    return {**splits, TRAIN: _with_labels(settings, splits[TRAIN])}


def _with_labels(settings: Settings, train: Sequences) -> Sequences:
    if settings.labels is None:
        return train
    return chosen(train, np.isin(np.arange(len(train.labels)), labelled.rows(settings, train.labels)))


def training_counts(settings: Settings, data: Encoded) -> list[int]:
    """Returns the number of training texts of each class, those that `truncation=remove` drops left out."""
    train = data.split(TRAIN)
    is_read = train.lengths <= (settings.max_length or data.longest) if settings.truncation == "remove" else slice(None)
    return [int(count) for count in np.bincount(train.labels[is_read], minlength=len(data.classes))]


def label_changes(settings: Settings, data: Encoded) -> list[Change]:
    """Returns `labels=null` if that is as many as there are."""
    return labelled.changes(settings, training_counts(settings, data), what="texts")


def label_refusals(settings: Settings, data: Encoded) -> list[str]:
    """Returns a refusal if a class has fewer training texts than `labels`."""
    if settings.labels is None:
        return []
    counts = dict(zip(data.classes, training_counts(settings, data), strict=True))
    return labelled.refusals(settings, counts, what="texts")


def left_out(settings: Settings, data: Encoded) -> list[str]:
    """Returns a refusal if the settings leave a class without training examples, or leave no batch."""
    if settings.truncation != "remove" and not settings.drop_remainder:
        return []
    name = getattr(settings.data, "path", None) or settings.data.name
    train = _with_labels(settings, sequences.limited(data.split(TRAIN), settings, is_training=True))
    remaining = set(train.labels.tolist())
    missing = [label for number, label in enumerate(data.classes) if number not in remaining]
    if missing:
        return [
            f"{name}: truncation=remove with max_length={settings.max_length} leaves no training example of class "
            f"{' or '.join(map(repr, missing))}; the shortest text has {data.split(TRAIN).lengths.min()} steps. "
            "Raise max_length, or set truncation=pre"
        ]
    padding = sequences.padding_of(sequences.lengths_of(settings, data), settings)
    if settings.drop_remainder and not batch_count(train.lengths, padding, settings.batch_size, drop_remainder=True):
        return [
            f"{name}: drop_remainder=true leaves no batch: no {settings.batch_size} of the {len(train.labels)} "
            "training examples share one; lower batch_size, or set drop_remainder=false"
        ]
    return []


def phase(settings: Settings, data: Encoded) -> Phase:
    """Returns the splits and their batches, for settings without `refusals`."""
    import tensorflow as tf

    splits = splits_of(settings, data)
    train = splits[TRAIN]
    padding = sequences.padding_of(sequences.lengths_of(settings, data), settings)  # that of all training texts
    size, drop_remainder = settings.batch_size, settings.drop_remainder
    in_order, count = batches(train, padding, size, drop_remainder=drop_remainder), len(train.labels)
    of_networks = Phase(
        training=lambda epoch: in_order(generator(settings.seed, "order", epoch).permutation(count)),
        batches_per_epoch=batch_count(train.lengths, padding, size, drop_remainder=drop_remainder),
        held_out={name: _held_out(splits[name], padding, settings) for name in (VALIDATION, TEST)},
        signature=(tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)),
        measure=measures.measure_of(settings, train.labels, len(data.classes)),
        predictions=measures.predictions,
        scores=scores.of_phase(lambda name: splits[name].labels),
        shape=lambda ids: (int(ids.shape[0]), int(ids.shape[1])),
        real_positions=tf.math.count_nonzero,  # id 0 is padding
        shapes=min(len(padding.edges), MAX_BUCKETS),  # without buckets a batch may have any length
        is_eager=settings.implementation == "eager_loop",
        chances=measures.chances(splits[VALIDATION].labels),
    )
    return _without_training(of_networks) if is_fitted(settings) else of_networks


def _without_training(phase: Phase) -> Phase:
    """Returns a phase whose only step has one text without a class, and so without weight: it changes no model.

    The value of chance is unknown, as the largest class is no better, and not wrong.
    """
    import scipy.sparse  # noqa: F401 (imported here, as the time of building the model is that of fitting it)
    import sklearn.linear_model
    import sklearn.preprocessing  # noqa: F401
    import tensorflow as tf

    def measure(logits: Any, classes: Any) -> Mapping[str, tuple[Any, Any]]:
        weight = tf.cast(classes >= 0, tf.float32)
        measured = phase.measure(logits, tf.maximum(classes, 0))
        return {name: (values, weights * weight) for name, (values, weights) in measured.items()}

    step = (tf.constant([[START]]), tf.constant([-1]), np.array([0]))
    return dataclasses.replace(
        phase, training=lambda epoch: [step], batches_per_epoch=1, measure=measure, shapes=1, chances={}, is_fitted=True
    )


def samples_of(trial: Trial[Settings, Encoded], trained: Trained) -> list[dict[str, Any]]:
    """Returns some texts of the validation split with their predictions."""
    settings, data = trial.settings, trial.data
    reading = _reading(settings, data)
    probabilities = trained.validation.predictions[measures.PROBABILITY]
    labels = data.split(VALIDATION).labels
    shown = samples.samples(trained.learner.phase.held_out[VALIDATION], labels, probabilities, reading)
    return [{"samples": shown, "markdown": samples.markdown(shown)}]


def _reading(settings: Settings, data: Encoded) -> samples.Reading:
    gap = "" if settings.tokens == "character" else " "
    return samples.Reading(data.words(settings.vocab_size), data.classes, is_masked=settings.masking, gap=gap)


def write_files(trial: Trial[Settings, Encoded], trained: Trained) -> list[str]:
    """Writes the preprocessing, what the test says, its worst errors and, if enabled, the projector."""
    settings, data, model = trial.settings, trial.data, trained.learner.model
    words = data.words(settings.vocab_size)
    if settings.tracking.projector and settings.encoding != "onehot" and settings.model is None:
        projector.write(trial.folder / EXTRAS, model.get_layer("encoding").get_weights()[0], words)
    padding = sequences.padding_of(sequences.lengths_of(settings, data), settings)
    names, threshold = scores.write_files(
        trial.folder, settings, trained, lambda name: data.split(name).labels, data.classes
    )
    tokens: Any = data.contents.tokens
    of_trial = Preprocessing(words, data.classes, padding, tokens=tokens, threshold=threshold)
    test = sequences.limited(data.split(TEST), settings, is_training=False)
    probabilities = of_every_class(trained.test.predictions[measures.PROBABILITY])
    reading = _reading(settings, data)
    worst = samples.write_worst(
        trial.folder, test, probabilities, reading, originals=data.originals, threshold=threshold
    )
    return [preprocessing.write(trial.folder, of_trial), *names, worst]


def _held_out(split: Sequences, padding: Padding, settings: Settings) -> Callable[[], Iterable[Any]]:
    in_order, count = batches(split, padding, settings.batch_size), len(split.labels)
    return lambda: in_order(np.arange(count))
