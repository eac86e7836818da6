"""The training step of the default classifier against `model.fit`, PyTorch's LSTM, and its bare matrix products.

All sides get the same batches in the same order, with one thread, and take turns in drawn order. `model.fit` trains the
same Keras model with the same optimizer, on a `tf.data` pipeline with the same buckets.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import products, training
from benchmarks.goals import for_goal, not_measured
from benchmarks.inside import Options
from benchmarks.result import Result
from benchmarks.training import Times, in_turn, ours, plain_fit, prepared, ratio
from src.trial.prepare import Prepared

NO_TORCH = "PyTorch is not installed here; name a Python that has it with --torch PYTHON"
CELL_GATES = 4  # of an LSTM


def measure(options: Options) -> Iterator[Result]:
    """Yields the time of a step in multiples of the others' times."""
    from src.training.startup import import_tensorflow

    import_tensorflow()
    small: dict[str, Any] = {"data.limit": 320, "max_length": 40}
    trial = prepared(**(small if options.is_quick else {}))
    fused = prepared(implementation="fused_loop", **(small if options.is_quick else {}))
    count, rounds = (4, 2) if options.is_quick else (40, 8)
    yield from _against_fit(trial, fused, count, rounds)
    yield from _against_products(trial, fused, count, rounds)
    python = options.torch or (sys.executable if importlib.util.find_spec("torch") else None)
    if python is None:
        yield not_measured("step/torch_packed", NO_TORCH)
    else:
        yield from _against_torch(fused, python, *((3, 2) if options.is_quick else (8, 4)))


def _against_fit(trial: Prepared, fused: Prepared, count: int, rounds: int) -> Iterator[Result]:
    fit = plain_fit(_compiled(trial), lambda number: _pipeline(trial, number).take(count))
    _check_batches(trial, count)
    times = in_turn({"fused": ours(fused, count), "keras": ours(trial, count), "fit": fit}, rounds)
    estimate = ratio(times["fit"], times["fused"])
    yield for_goal("step/fit", estimate, n=rounds, **training.details(times), batches=count)
    estimate, what = ratio(times["fit"], times["keras"]), "the same with Keras' layer, the default"
    yield Result("step/fit_keras", what, estimate.value, interval=estimate.interval, n=rounds)


def _compiled(trial: Prepared) -> Any:
    """Returns the model of a trial, compiled as its user would with Keras alone."""
    import keras

    task: Any = trial.task
    model = task.model(trial.settings, trial.data)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")
    model.compile(keras.optimizers.Adam(trial.settings.learning_rate), loss, metrics=[accuracy])
    return model


def _pipeline(trial: Prepared, epoch: int) -> Any:
    """Returns the batches of an epoch as a plain pipeline of `tf.data`: the same batches as a trial's."""
    import tensorflow as tf

    from src.data.splits import TRAIN
    from src.parts.words import sequences
    from src.streams import generator

    settings: Any = trial.settings
    data: Any = trial.data
    splits = sequences.limited_splits(settings, data)
    edges = sequences.padding_of({name: split.lengths for name, split in splits.items()}, settings).edges
    train = splits[TRAIN]
    ids, starts, labels = (tf.constant(part) for part in (train.ids, train.starts, train.labels))
    order = generator(settings.seed, "order", epoch).permutation(len(train.labels))
    rows = tf.data.Dataset.from_tensor_slices(order)
    examples = rows.map(lambda row: (ids[starts[row] : starts[row + 1]], labels[row]))
    buckets = examples.bucket_by_sequence_length(
        lambda ids, label: tf.shape(ids)[0],
        [edge + 1 for edge in edges],
        [settings.batch_size] * (len(edges) + 1),
        padded_shapes=([None], []),
        pad_to_bucket_boundary=True,
    )
    return buckets.prefetch(tf.data.AUTOTUNE)


def _check_batches(trial: Prepared, count: int) -> None:
    """Fails if the two sides do not get the same batches."""
    of_fit = [tuple(ids.shape) for ids, _ in _pipeline(trial, 1).take(count)]
    if of_fit != training.shapes(trial, count):
        raise AssertionError("model.fit gets other batches than the trial")


def _against_products(trial: Prepared, fused: Prepared, count: int, rounds: int) -> Iterator[Result]:
    settings: Any = trial.settings
    sizes = {"width": settings.embedding_dim, "units": settings.units, "gates": CELL_GATES, "outputs": 1}
    shapes = training.shapes(trial, count)  # the first epoch's; later ones have the same buckets in another order
    of_shape = {shape: products.of_step(*shape, **sizes) for shape in dict.fromkeys(shapes)}
    libraries = {"tensorflow": products.in_tensorflow, "numpy": products.in_numpy}
    sides = {name: _bare(of_shape, shapes, library) for name, library in libraries.items()}
    two = {"fused": ours(fused, count, repeats=True), "keras": ours(trial, count, repeats=True)}
    times = in_turn({**two, **sides}, rounds)
    counted = sum(product.multiplications for shape in shapes for product in of_shape[shape])
    details = {**training.details(times), "shapes": [list(shape) for shape in shapes], "multiplications": counted}
    yield for_goal("step/products", ratio(times["fused"], times["tensorflow"]), n=rounds, **details)
    estimate, what = ratio(times["keras"], times["tensorflow"]), "the same with Keras' layer, the default"
    yield Result("step/products_keras", what, estimate.value, interval=estimate.interval, n=rounds)
    estimate = ratio(times["fused"], times["numpy"])
    what = "fused_loop in multiples of the products with NumPy's library"
    yield Result("step/products_numpy", what, estimate.value, interval=estimate.interval, n=rounds)


def _bare(of_shape: dict[Any, Any], shapes: list[tuple[int, ...]], library: Any) -> Iterator[Times]:
    computed = {shape: library(of_step) for shape, of_step in of_shape.items()}
    while True:
        yield [computed[shape]() for shape in shapes]


def _against_torch(trial: Prepared, python: str, count: int, rounds: int) -> Iterator[Result]:
    with _torch(trial, python, count) as (version, sides):
        times = in_turn({"ours": ours(trial, count, repeats=True), **sides}, rounds)
    details = {**training.details(times), "torch": version, "batches": count}
    yield for_goal("step/torch_packed", ratio(times["packed"], times["ours"]), n=rounds, **details)
    estimate = ratio(times["padded"], times["ours"])
    what = "training step with fused_loop against PyTorch's padded LSTM, one thread: times as fast"
    yield Result("step/torch_padded", what, estimate.value, interval=estimate.interval, n=rounds)


@contextlib.contextmanager
def _torch(trial: Prepared, python: str, count: int) -> Iterator[tuple[str, dict[str, Iterator[Times]]]]:
    """Starts PyTorch in its own process; yields its version, and its two sides, which it measures on demand."""
    task: Any = trial.task
    settings: Any = trial.settings
    arrays = {"vocabulary": settings.vocab_size, "width": settings.embedding_dim, "units": settings.units}
    batches = task.phase(settings, trial.data).training(1)
    for place, (ids, labels, _) in enumerate(itertools.islice(batches, count)):
        arrays[f"ids_{place}"] = ids.numpy().astype(np.int64)
        arrays[f"lengths_{place}"] = (ids.numpy() > 0).sum(axis=1)
        arrays[f"labels_{place}"] = labels.numpy().astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "batches.npz"
        np.savez(file, **arrays)
        command = [python, str(Path(__file__).with_name("torch_step.py")), str(file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None is not process.stdout
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{python} cannot run PyTorch; its error stands above")

            def side(kind: str) -> Iterator[Times]:
                assert process.stdin is not None is not process.stdout
                while True:
                    print(kind, file=process.stdin, flush=True)
                    yield json.loads(process.stdout.readline())

            yield json.loads(line)["version"], {kind: side(kind) for kind in ("padded", "packed")}
            process.stdin.close()
