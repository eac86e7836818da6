"""Classifies texts with a trained trial: `python -m src.predict RUN "a film I would see again"`."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src import paths
from src.artifacts import MODEL, PREPROCESSING, SETTINGS, Artifacts, Trained
from src.data.batching import batches
from src.data.encoded import Sequences
from src.data.files import allowed_length, decoded
from src.data.sequences import truncate
from src.data.tokens import FIRST_WORD, encode, words_of
from src.errors import first_line
from src.settings import SettingsError
from src.tracking import download, moved


def probabilities(trained: Trained, texts: Sequence[str]) -> np.ndarray:
    """Returns float32[N, K], the probability of every class for N texts, padded as in training.

    Raises:
      SettingsError: a text has no words, or the model reads none, or does not fit its other files.
    """
    import keras

    if trained.padding is None:
        raise SettingsError(f"this model was trained with task={trained.settings.task.name} and reads no texts; take one of task=sentiment")

    split = [words_of(text, tokens=trained.tokens) for text in texts]
    if not all(split):
        raise SettingsError(f"text {[bool(one) for one in split].index(False) + 1} has no words")
    ids, starts = encode(split, {word: FIRST_WORD + rank for rank, word in enumerate(trained.words)})
    sequences = Sequences(ids, starts, np.zeros(len(split), np.int32))
    sequences = truncate(sequences, trained.settings.max_length, "post" if trained.settings.truncation == "post" else "pre")
    longest = max(trained.padding.edges[-1], int(sequences.lengths.max()))
    how = trained.padding.up_to(longest)
    activation = {"sigmoid": keras.ops.sigmoid, "softmax": keras.ops.softmax}[trained.settings.head]
    found = np.zeros((len(split), len(trained.classes)), np.float32)
    try:
        for inputs, _, rows in batches(sequences, how, trained.settings.batch_size)(np.arange(len(split))):
            chance = np.asarray(activation(trained.model(inputs, training=False)))
            found[rows.numpy()] = np.hstack([1 - chance, chance]) if chance.shape[1] == 1 else chance
    except Exception as error:  # a model of other inputs than ids, or other sizes: TensorFlow has a kind of error for each
        raise SettingsError(f"the model cannot read these texts ({first_line(error)}); are its files those of one trial?") from None
    if not np.isfinite(found).all():
        raise SettingsError("the model's outputs are no numbers; its weights are not those of a finished trial")
    return found


def folder_of(run: str, *, uri: str | None, download_to: Path) -> Path:
    """Returns the folder with a trial's files: by path, by identity (or its beginning), or by MLflow run id.

    Raises:
      SettingsError: no finished trial is called like this, or several are.
    """
    if os.path.isfile(Path(run) / PREPROCESSING):  # False for a name that is too long, where `Path.is_file` raises
        return Path(run)
    if not re.fullmatch(r"[0-9a-f]{4,32}", run):
        got = run if len(run) <= 100 else f"{run[:99]}…"
        allowed = "a trial's folder, its identity (16 digits or the first 4 and more), or an MLflow run id"
        raise SettingsError(f"RUN: got {got!r}; allowed: {allowed}")
    found = [path.parent for path in paths.outputs().glob(f"*/{run}*/{PREPROCESSING}")]
    if len({path.name for path in found}) > 1:
        raise SettingsError(f"RUN: {run!r} is the beginning of {', '.join(sorted(path.name for path in found))}; give more of it")
    if found:
        return found[0]
    nothing = SettingsError(f"RUN: no finished trial {run!r} in {paths.outputs()} or MLflow")
    if uri is None and not (paths.home() / "mlflow.db").is_file():  # asking would make one
        raise nothing
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of a server that is away
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    address = paths.tracking_uri(uri)
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(address)
        moved.mend_if_moved(address, client.get_run(run).info.artifact_uri)
        files = download.Files(address, run, client.get_run(run).info.artifact_uri)
        if missing := {SETTINGS, PREPROCESSING, MODEL} - files.names():
            raise download.Refused(f"run {run} holds no whole trained model (it has no {min(missing)}); was the trial finished?")
        for name in (SETTINGS, PREPROCESSING, MODEL):
            files.download(name, download_to)
        return download_to
    except download.Refused as error:
        raise SettingsError(str(error)) from None
    except Exception as error:  # each cloud's client has errors of its own: no credentials, no package, nobody there
        raise SettingsError(f"{nothing} ({first_line(error).replace(address, paths.shown(address))})") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 2 for what was typed wrong."""
    parser = argparse.ArgumentParser(prog="python -m src.predict", description="Classifies texts with a trained trial.")
    parser.add_argument("run", metavar="RUN", help="a trial's folder, its identity (or the first 4 digits and more), or an MLflow run id")
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="text to classify")
    parser.add_argument("--file", type=Path, help="file with one text a line")
    parser.add_argument("--uri", help="MLflow store that knows the run id (default: the one at the repository root)")
    given = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a text may hold what the terminal cannot show
    try:
        texts = [*given.texts, *_lines(given.file)]
        if not texts:
            raise SettingsError("no text; give one in quotes, or --file FILE with one text a line")
        for number, text in enumerate(texts, 1):
            allowed_length(text, f"text {number}")
        with tempfile.TemporaryDirectory() as here:
            folder = folder_of(given.run, uri=given.uri, download_to=Path(here))
            trained = _loaded(folder)
        for text, chances in zip(texts, probabilities(trained, texts), strict=True):
            print(f"{trained.classes[int(chances.argmax())]}\t{chances.max():.3f}\t{text}")
        sys.stdout.flush()  # what is written when Python ends would fail where nobody can answer
    except BrokenPipeError:  # whoever read has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _loaded(folder: Path) -> Trained:
    try:
        return Artifacts(folder).load()
    except (OSError, ValueError, KeyError) as error:
        why = f"{first_line(error)}); the trial is unfinished, damaged or of another version"
        raise SettingsError(f"{folder}: holds no whole trained model ({why}") from None


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    return [line.rstrip("\r") for line in decoded(path).split("\n") if line.strip()]


if __name__ == "__main__":
    sys.exit(main())
