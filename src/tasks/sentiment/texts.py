"""An encoded corpus as what a classifier learns from, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from src.data.batching import MAX_BUCKETS, Padding, batch_count, batches
from src.data.encoded import Encoded, Sequences
from src.data.splits import TEST, TRAIN, VALIDATION
from src.parts.classes import measures
from src.parts.words import preprocessing, projector, samples, sequences
from src.parts.words.preprocessing import Preprocessing
from src.spec.record import EXTRAS
from src.spec.task import Trial
from src.streams import generator
from src.tasks.sentiment.settings import Settings
from src.training.phase import Phase
from src.training.task import Trained


def left_out(settings: Settings, data: Encoded) -> list[str]:
    """Returns which class has no training example left, or that no batch is left."""
    if settings.truncation != "remove" and not settings.drop_remainder:
        return []
    name = getattr(settings.data, "path", None) or settings.data.name
    train = sequences.cut(data.split(TRAIN), settings, is_training=True)
    left = set(train.labels.tolist())
    gone = [label for number, label in enumerate(data.classes) if number not in left]
    if gone:
        return [
            f"{name}: truncation=remove with max_length={settings.max_length} leaves no training example of class "
            f"{' or '.join(map(repr, gone))}; the shortest text has {data.split(TRAIN).lengths.min()} steps. "
            "Raise max_length, or set truncation=pre"
        ]
    how = sequences.padding_of({TRAIN: train.lengths}, settings)
    if settings.drop_remainder and not batch_count(train.lengths, how, settings.batch_size, drop_remainder=True):
        return [
            f"{name}: drop_remainder=true leaves no batch: no {settings.batch_size} of the {len(train.labels)} training examples "
            "share one; lower batch_size, or set drop_remainder=false"
        ]
    return []


def phase(settings: Settings, data: Encoded) -> Phase:
    """Returns the splits and their batches, for settings without `refusals`."""
    import tensorflow as tf

    splits = sequences.all_cut(settings, data)
    train = splits[TRAIN]
    how = sequences.padding_of({name: split.lengths for name, split in splits.items()}, settings)
    of_order = batches(train, how, settings.batch_size, drop_remainder=settings.drop_remainder)
    return Phase(
        training=lambda epoch: of_order(generator(settings.seed, "order", epoch).permutation(len(train.labels))),
        batches_per_epoch=batch_count(train.lengths, how, settings.batch_size, drop_remainder=settings.drop_remainder),
        held_out={name: _held_out(splits[name], how, settings) for name in (VALIDATION, TEST)},
        signature=(tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)),
        measure=measures.MEASURES[settings.head],
        predictions=measures.predictions,
        shape=lambda ids: (int(ids.shape[0]), int(ids.shape[1])),
        real_positions=tf.math.count_nonzero,  # id 0 is padding
        shapes=min(len(how.edges), MAX_BUCKETS),  # without buckets a batch may have any length
        is_eager=settings.implementation == "eager_loop",
        chance=measures.chance(splits[VALIDATION].labels),
    )


def samples_of(trial: Trial[Settings, Encoded], trained: Trained) -> list[dict[str, Any]]:
    """Returns some texts of the validation split with their predictions."""
    settings, data = trial.settings, trial.data
    gap = "" if settings.tokens == "character" else " "
    how = samples.Reading(data.words(settings.vocab_size), data.classes, is_masked=settings.masking, gap=gap)
    probabilities = trained.validation.predictions[measures.PROBABILITY]
    labels = data.split(VALIDATION).labels
    shown = samples.samples(trained.learner.phase.held_out[VALIDATION], labels, probabilities, how)
    return [{"samples": shown, "markdown": samples.markdown(shown)}]


def write_files(trial: Trial[Settings, Encoded], trained: Trained) -> list[str]:
    """Writes what turns a text into the model's input, what the test says of every example, and the projector if asked for."""
    settings, data, model = trial.settings, trial.data, trained.learner.model
    known_words = data.words(settings.vocab_size)
    if settings.tracking.projector and settings.encoding != "onehot":
        projector.write(trial.folder / EXTRAS, model.get_layer("encoding").get_weights()[0], known_words)
    how = sequences.padding_of(sequences.lengths_of(settings, data), settings)
    known = Preprocessing(known_words, data.classes, how, tokens=data.contents.tokens)  # type: ignore[arg-type]
    return [
        preprocessing.write(trial.folder, known),
        measures.write_probabilities(trial.folder, trained, data.split(TEST).labels),
    ]


def _held_out(split: Sequences, how: Padding, settings: Settings) -> Callable[[], Iterable[Any]]:
    of_order = batches(split, how, settings.batch_size)
    return lambda: of_order(np.arange(len(split.labels)))
