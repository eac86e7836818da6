"""Classifies texts with trained trials: `python -m src.predict RUN "a film I would see again"`, or `python -m src.use RUN predict TEXT`.

Each text has a row of its own in the answer, in order, also one that cannot be answered.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src import environment
from src.artifacts import MODEL
from src.data.batching import Padding
from src.data.encoded import Sequences
from src.data.faults import named
from src.data.sequences import truncate
from src.data.texts import STANDARD_INPUT, Line, checked, lines, opened
from src.data.tokens import FIRST_WORD, PADDING, encode, words_of
from src.files import digest_of
from src.parts.words import preprocessing
from src.parts.words.preprocessing import Loaded
from src.spec.section import SettingsError
from src.terminal.errors import first_line
from src.terminal.visible import no_formula, one_line, shortened, visible
from src.trial.locate import folder_of, is_finished

FILES = (preprocessing.FILE, MODEL)
SHOWN = 6  # classes whose probabilities the text format shows


class Answer(NamedTuple):
    """What is known of one text: float64[K] probabilities, or why there are none."""

    row: int
    text: str
    chances: np.ndarray | None
    fault: str | None


class Classifier:
    """A trained trial that stays loaded and reads texts as its own test split was read.

    The answer to a text does not depend on the texts that come with it: each is padded as in a batch of its own.
    """

    def __init__(self, trained: Loaded) -> None:
        """Takes a trial as it was loaded.

        Raises:
          SettingsError: the model reads no texts.
        """
        if trained.known.padding is None:
            task = trained.settings.task
            raise SettingsError(
                f"this model was trained with task={task} and reads no texts; choose one of task=sentiment"
            )
        self.classes = trained.known.classes
        self._trained, self._padding = trained, trained.known.padding
        self._ids = {word: FIRST_WORD + rank for rank, word in enumerate(trained.known.words)}
        self._call: Callable[[np.ndarray], Any] | None = None

    def fault_of(self, text: str) -> str | None:
        """Returns why a text cannot be classified, or None."""
        if words_of(text, tokens=self._trained.known.tokens):
            return None
        return "it has no words" + ("" if self._trained.known.tokens == "list" else " (no letter and no digit)")

    def knows(self, text: str) -> bool:
        """Returns whether the model has a word of a text; all texts of one length without any get one answer."""
        return not self._ids.keys().isdisjoint(words_of(text, tokens=self._trained.known.tokens))

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32[N, K], the probability of every class for N texts that have words.

        Raises:
          SettingsError: a text has no words, or the model does not fit its other files.
        """
        from scipy.special import expit, softmax

        split = [words_of(text, tokens=self._trained.known.tokens) for text in texts]
        if not all(split):
            raise SettingsError(f"text {[bool(one) for one in split].index(False) + 1} has no words")
        settings = self._trained.settings
        sequences = Sequences(*encode(split, self._ids), np.zeros(len(split), np.int32))
        sequences = truncate(sequences, settings.max_length, "post" if settings.truncation == "post" else "pre")
        found = np.zeros((len(split), len(self.classes)), np.float32)
        try:
            self._call = self._call or _compiled(self._trained)
            for rows, ids in _batches(sequences, _alone(self._padding, sequences.lengths), settings.batch_size):
                outputs = np.asarray(self._call(ids))
                found[rows] = (
                    np.hstack([expit(-outputs), expit(outputs)])
                    if settings.head == "sigmoid"
                    else softmax(outputs, axis=1)
                )
        except Exception as error:  # a model of other inputs or sizes: TensorFlow has a kind of error for each
            why = f"the model cannot read these texts ({first_line(error)})"
            raise SettingsError(f"{why}; are its files those of one trial?") from None
        if not np.isfinite(found).all():
            raise SettingsError("the model's outputs are no numbers; its weights are not those of a finished trial")
        return found


def probabilities(trained: Loaded, texts: Sequence[str]) -> np.ndarray:
    """Returns float32[N, K], the probability of every class for N texts, each padded as in a batch of its own.

    Raises:
      SettingsError: a text has no words, or the model reads none, or does not fit its other files.
    """
    return Classifier(trained).probabilities(texts)


def answers(classifiers: Sequence[Classifier], given: Sequence[Line], *, before: int = 0) -> list[Answer]:
    """Returns an answer for each text, in order: the mean of the classifiers' probabilities.

    Args:
      classifiers: one or several with the same classes.
      given: the texts.
      before: how many texts were answered before; rows are counted from 1.

    Raises:
      SettingsError: a model does not fit its other files.
    """
    faults = [fault or next(filter(None, (one.fault_of(text) for one in classifiers)), None) for text, fault in given]
    known = [text for (text, _), fault in zip(given, faults, strict=True) if fault is None]
    means = iter(np.mean([one.probabilities(known) for one in classifiers], axis=0, dtype=np.float64) if known else ())
    return [
        Answer(row, text, next(means) if fault is None else None, fault)
        for row, ((text, _), fault) in enumerate(zip(given, faults, strict=True), before + 1)
    ]


def _compiled(trained: Loaded) -> Callable[[np.ndarray], Any]:
    """Returns a function from int32[B, T] ids to float32[B, 1 or K] outputs, as a graph where the model can be one."""

    def call(ids: Any) -> Any:
        return trained.model(ids, training=False)

    if trained.settings.implementation == "eager_loop":
        return call
    import tensorflow as tf

    return tf.function(call, autograph=False, input_signature=[tf.TensorSpec([None, None], tf.int32)])  # type: ignore[no-any-return]


def _alone(how: Padding, lengths: np.ndarray) -> Padding:
    """Returns a padding for texts of these lengths that pads each as if no other came with it."""
    if how.to_longest:
        return dataclasses.replace(how, edges=tuple(np.unique(lengths).tolist()))
    return dataclasses.replace(how, edges=(*how.edges, *np.unique(lengths[lengths > how.edges[-1]]).tolist()))


def _batches(sequences: Sequences, how: Padding, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows int64[B] and ids int32[B, T], T the edge of the bucket that they are in."""
    bucket = np.searchsorted(how.edges, sequences.lengths)
    for number in np.unique(bucket):
        rows = np.flatnonzero(bucket == number)
        for part in np.split(rows, range(size, len(rows), size)):
            ids = np.full((len(part), how.edges[number]), PADDING, np.int32)
            for place, row in enumerate(part):
                sequence = sequences.ids[sequences.starts[row] : sequences.starts[row + 1]]
                ids[place, slice(len(sequence)) if how.side == "post" else slice(-len(sequence), None)] = sequence
            yield part, ids


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0 if every text is answered, 1 if some are not, 2 for what was typed wrong."""
    environment.draw_to_files()
    given = _parser().parse_intermixed_args(arguments)  # options may stand before, between and after the texts
    try:
        return answer(given.runs, given.texts, file=given.file, form=given.format, uri=given.uri)
    except BrokenPipeError:  # whoever read has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except SettingsError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    about = "Classifies texts with a trained trial, or with several whose probabilities are averaged."
    ends = "ends with 0 if every text is answered, with 1 if some are not, and with 2 for what was typed wrong"
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=about, epilog=ends)
    runs = "a trial's folder, its identity (or the first 4 digits and more), or an MLflow run id; several with commas between"
    parser.add_argument("runs", metavar="RUN[,RUN…]", help=runs)
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="text to classify")
    parser.add_argument(
        "--file", help="file with one text a line; - reads standard input, and answers each line as it comes"
    )
    parser.add_argument(
        "--format", choices=list(FORMATS), default="text", help="csv and jsonl give every class's probability in full"
    )
    parser.add_argument("--uri", help="MLflow store that knows the run id (default: the one at the repository root)")
    return parser


def answer(runs: str, texts: Sequence[str], *, file: str | None, form: str, uri: str | None = None) -> int:
    """Prints an answer for each text as soon as it is known.

    Args:
      runs: what the user calls the trial, or several with commas between.
      texts: to classify.
      file: with one more text a line; `-` is standard input, None is no file.
      form: key of `FORMATS`.
      uri: of the MLflow store that knows the trials; None for the default one.

    Returns:
      0, or 1 if some texts have no answer.

    Raises:
      SettingsError: there is no text, or a trial cannot be loaded.
    """
    if not texts and file is None:
        raise SettingsError("no text; give one in quotes, or --file FILE with one text a line (- reads standard input)")
    for out in (sys.stdout, sys.stderr):
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="replace")  # a text may hold what the terminal cannot show
    with contextlib.ExitStack() as files:
        batches = [[checked(text) for text in texts]] if texts else []
        stream = None if file is None else files.enter_context(opened(file))  # before the model: it takes long
        classifiers = _loaded_all(runs, uri=uri)
        if file == STANDARD_INPUT and sys.stdin.isatty():
            print("type one text a line; Ctrl-D ends", file=sys.stderr)
        head, line_of = FORMATS[form]
        print(end=head(classifiers[0].classes), flush=True)
        count, faults, unknown = 0, dict[int, str](), list[int]()
        for batch in itertools.chain(batches, lines(stream, str(file)) if stream is not None else ()):
            found = answers(classifiers, batch, before=count)
            print(end="".join(line_of(each, classifiers[0].classes) for each in found), flush=True)
            count += len(found)
            faults |= {each.row: each.fault for each in found if each.fault is not None}
            answered = (each for each in found if each.fault is None)
            unknown += [each.row for each in answered if not any(known.knows(each.text) for known in classifiers)]
    if not count:
        raise SettingsError(f"{file}: no text")
    if unknown:
        print(
            f"warning: no word is known to the model in {len(unknown):,} of {count:,} texts: {named(unknown)}",
            file=sys.stderr,
        )
    if faults:
        rows = list(faults)
        first = f"row {rows[0]}: {faults[rows[0]]}"
        several = f"{len(rows):,} of {count:,} texts have no answer: {named(rows)} ({first})"
        print(f"error: {several if len(rows) > 1 else f'1 of {count:,} texts has no answer: {first}'}", file=sys.stderr)
    return int(bool(faults))


def _loaded_all(runs: str, *, uri: str | None) -> list[Classifier]:
    """Returns the classifiers of all trials that are named, and says how many where they are several.

    Raises:
      SettingsError: one cannot be loaded, two are the same, or their classes differ.
    """
    names = [runs] if is_finished(runs) else runs.split(",")
    with tempfile.TemporaryDirectory() as here:
        folders = {
            name: folder_of(name, uri=uri, download_to=Path(tempfile.mkdtemp(dir=here)), files=FILES) for name in names
        }
        _refuse_same(names, folders)
        loaded = {name: _loaded(folder) for name, folder in folders.items()}
    first, *others = loaded
    for name in others:
        if loaded[name].known.classes != loaded[first].known.classes:
            of_both = [f"{one} has the classes {_listed(loaded[one].known.classes)}" for one in (first, name)]
            raise SettingsError(f"RUN: {' and '.join(of_both)}; only trials with the same classes can be averaged")
    classifiers = [Classifier(trained) for trained in loaded.values()]
    if others:
        print(f"each probability is the mean of {len(loaded)} trials", file=sys.stderr)
    return classifiers


def _refuse_same(names: Sequence[str], folders: Mapping[str, Path]) -> None:
    """Refuses a trial that is named twice, which would count double; one model is one file, wherever it lies."""
    seen: dict[str, str] = {}
    for name in names if len(names) > 1 else ():
        model = folders[name] / MODEL
        other = seen.get(digest_of(model)) if model.is_file() else None
        if other is not None:
            raise SettingsError(f"RUN: {other} and {name} are the same trial; name each once")
        if model.is_file():
            seen[digest_of(model)] = name


def _loaded(folder: Path) -> Loaded:
    try:
        return preprocessing.load(folder)
    except (OSError, ValueError, KeyError) as error:
        why = f"{first_line(error)}); the trial is unfinished, damaged or of another version"
        raise SettingsError(f"{folder}: holds no whole trained model ({why}") from None


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(map(shortened, classes[:SHOWN])) + (f", … ({len(classes):,})" if len(classes) > SHOWN else "")


def _as_text(answer: Answer, classes: Sequence[str]) -> str:
    """Returns a line for a reader: the class, its probability, those of the others, and the text."""
    if answer.chances is None:
        return f"na\tna\t{answer.fault}\t{one_line(answer.text)}\n"
    first, *others = np.argsort(-answer.chances, kind="stable")
    shown = ", ".join(f"{one_line(classes[place])} {answer.chances[place]:.3f}" for place in others[: SHOWN - 1])
    more = f", … ({len(classes):,} classes)" if len(classes) > SHOWN else ""
    return f"{one_line(classes[first])}\t{answer.chances[first]:.3f}\t{shown}{more}\t{one_line(answer.text)}\n"


def _as_csv(answer: Answer, classes: Sequence[str]) -> str:
    if answer.chances is None:
        known: list[Any] = ["", "", *("" for _ in classes)]
    else:
        known = [classes[int(answer.chances.argmax())], *map(_digits, (answer.chances.max(), *answer.chances))]
    return _csv_line([answer.row, _shown(answer.text), *known, answer.fault or ""])


def _csv_head(classes: Sequence[str]) -> str:
    return _csv_line(["row", "text", "class", "probability", *(f"probability_{name}" for name in classes), "error"])


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    safe = [no_formula(cell) if isinstance(cell, str) else cell for cell in cells]
    csv.writer(line, lineterminator="\n").writerow(safe)
    return line.getvalue()


def _as_json(answer: Answer, classes: Sequence[str]) -> str:
    row = {"row": answer.row, "text": answer.text, "class": None, "probabilities": None, "error": answer.fault}
    if answer.chances is not None:
        row["class"] = classes[int(answer.chances.argmax())]
        row["probabilities"] = dict(zip(classes, map(_digits, answer.chances), strict=True))
    return json.dumps(row, ensure_ascii=sys.stdout.isatty()) + "\n"  # a terminal would act on what is no letter


def _shown(text: str) -> str:
    """Returns a text as it is, but on a terminal, which would act on control characters."""
    return visible(text) if sys.stdout.isatty() else text


def _digits(chance: float) -> float:
    """Returns a probability with the six digits that a model's 32 bits have."""
    return float(f"{chance:.6g}")


FORMATS: dict[str, tuple[Callable[[Sequence[str]], str], Callable[[Answer, Sequence[str]], str]]] = {
    "text": (lambda classes: "", _as_text),
    "csv": (_csv_head, _as_csv),
    "jsonl": (lambda classes: "", _as_json),
}

if __name__ == "__main__":
    sys.exit(main())
