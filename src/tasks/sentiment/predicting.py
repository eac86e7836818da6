"""Classifies texts with trained trials.

The command is `python -m src.predict RUN TEXT`, or `python -m src.use RUN predict TEXT`. The output has one row per
text, in order. A text that cannot be classified has its row too.
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
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src import environment, own_code, registry
from src.artifacts import MODEL
from src.data.batching import Padding
from src.data.encoded import Sequences
from src.data.faults import row_numbers
from src.data.sequences import truncate
from src.data.texts import STANDARD_INPUT, Line, checked, lines, opened
from src.data.tokens import FIRST_WORD, PADDING, encode, words_of
from src.files import digest_of
from src.parts.classes.probabilities import decided
from src.parts.words import preprocessing
from src.parts.words.preprocessing import Loaded
from src.spec.section import SettingsError
from src.terminal.errors import first_line
from src.terminal.visible import no_formula, one_line, replace_what_the_terminal_lacks, shortened, visible
from src.trial import pruned
from src.trial.locate import folder_of, is_finished, task_of

FILES = (preprocessing.FILE, MODEL)
COMMAND = "src.tasks.sentiment.commands:predict"  # a task that classifies texts has this command
SHOWN = 6  # classes whose probabilities the text format shows


class Answer(NamedTuple):
    """The answer to one text: float64[K] probabilities, or the reason why there are none.

    `threshold` is the probability from which on the second of two classes is chosen.
    """

    row: int
    text: str
    probabilities: np.ndarray | None
    fault: str | None
    threshold: float = 0.5

    @property
    def order(self) -> list[int]:
        """The classes: the chosen one, then the others from the most likely one; empty without probabilities."""
        if self.probabilities is None:
            return []
        chosen = int(decided(self.probabilities[None], self.threshold)[0])
        return [chosen, *(int(k) for k in np.argsort(-self.probabilities, kind="stable") if k != chosen)]


class Classifier:
    """A loaded trial that reads texts in the same way as it read its test split.

    The answer to a text does not depend on the other texts: each is padded as if it were alone in its batch.
    """

    def __init__(self, trained: Loaded) -> None:
        """Creates the classifier."""
        self.classes, self.threshold = trained.preprocessing.classes, trained.preprocessing.threshold
        self._trained, self._padding = trained, trained.preprocessing.padding
        self._ids = {word: FIRST_WORD + rank for rank, word in enumerate(trained.preprocessing.words)}
        self._call: Callable[[np.ndarray], Any] | None = None

    def fault_of(self, text: str) -> str | None:
        """Returns the reason why a text cannot be classified, or None if it can."""
        if words_of(text, tokens=self._trained.preprocessing.tokens):
            return None
        return "it has no words" + ("" if self._trained.preprocessing.tokens == "list" else " (no letter and no digit)")

    def knows_word_of(self, text: str) -> bool:
        """Returns whether the vocabulary has a word of the text; if not, the answer depends only on its length."""
        return not self._ids.keys().isdisjoint(words_of(text, tokens=self._trained.preprocessing.tokens))

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32[N, K], the probability of every class for N texts.

        Raises:
          SettingsError: a text has no words, or the model does not match its other files.
        """
        from scipy.special import expit, softmax

        divided = [words_of(text, tokens=self._trained.preprocessing.tokens) for text in texts]
        if not all(divided):
            raise SettingsError(f"text {[bool(words) for words in divided].index(False) + 1} has no words")
        settings = self._trained.settings
        sequences = Sequences(*encode(divided, self._ids), np.zeros(len(divided), np.int32))
        sequences = truncate(sequences, settings.max_length, "post" if settings.truncation == "post" else "pre")
        padding = _independent(self._padding, sequences.lengths)
        result = np.zeros((len(divided), len(self.classes)), np.float32)
        try:
            self._call = self._call or _compiled(self._trained)
            for rows, ids in _batches(sequences, padding, settings.batch_size):
                outputs = np.asarray(self._call(ids))
                result[rows] = (
                    np.hstack([expit(-outputs), expit(outputs)])
                    if settings.head == "sigmoid"
                    else softmax(outputs, axis=1)
                )
        except Exception as error:  # for a model with wrong inputs or sizes, TensorFlow raises many kinds of errors
            reason = f"the model cannot read these texts ({first_line(error)})"
            raise SettingsError(f"{reason}; check that its files belong to one trial") from None
        if not np.isfinite(result).all():
            raise SettingsError(
                "the model's outputs are not finite numbers; its weights are not those of a finished trial"
            )
        return result


def probabilities(trained: Loaded, texts: Sequence[str]) -> np.ndarray:
    """Returns float32[N, K], the probability of every class for N texts, each padded as if it were alone in its batch.

    Raises:
      SettingsError: a text has no words, or the model does not match its other files.
    """
    return Classifier(trained).probabilities(texts)


def answers(classifiers: Sequence[Classifier], batch: Sequence[Line], *, before: int = 0) -> list[Answer]:
    """Returns an answer for each text, in order: the mean of the classifiers' probabilities.

    Args:
      classifiers: one or more, with the same classes.
      batch: the texts.
      before: number of texts in earlier batches; rows are counted from 1.

    Raises:
      SettingsError: a model does not match its other files.
    """

    def fault_of(text: str) -> str | None:
        return next(filter(None, (classifier.fault_of(text) for classifier in classifiers)), None)

    faults = [fault or fault_of(text) for text, fault in batch]
    readable = [text for (text, _), fault in zip(batch, faults, strict=True) if fault is None]
    of_each = [classifier.probabilities(readable) for classifier in classifiers] if readable else []
    means = iter(np.mean(of_each, axis=0, dtype=np.float64) if readable else ())
    threshold = float(np.mean([classifier.threshold for classifier in classifiers]))
    return [
        Answer(row, text, next(means) if fault is None else None, fault, threshold)
        for row, ((text, _), fault) in enumerate(zip(batch, faults, strict=True), before + 1)
    ]


def _compiled(trained: Loaded) -> Callable[[np.ndarray], Any]:
    """Returns a function from ids int32[B, T] to outputs float32[B, 1 or K]; it is a graph if the model allows one."""

    def call(ids: Any) -> Any:
        return trained.model(ids, training=False)

    if trained.settings.implementation == "eager_loop":
        return call
    import tensorflow as tf

    return tf.function(call, autograph=False, input_signature=[tf.TensorSpec([None, None], tf.int32)])  # type: ignore[no-any-return]


def _independent(padding: Padding, lengths: np.ndarray) -> Padding:
    """Returns a padding that pads each text of these lengths as if it were alone in its batch."""
    if padding.to_longest:
        return dataclasses.replace(padding, edges=tuple(np.unique(lengths).tolist()))
    longer = np.unique(lengths[lengths > padding.edges[-1]]).tolist()
    return dataclasses.replace(padding, edges=(*padding.edges, *longer))


def _batches(sequences: Sequences, padding: Padding, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows int64[B] and ids int32[B, T], where T is the edge of their bucket."""
    bucket = np.searchsorted(padding.edges, sequences.lengths)
    for number in np.unique(bucket):
        rows = np.flatnonzero(bucket == number)
        for part in np.split(rows, range(size, len(rows), size)):
            ids = np.full((len(part), padding.edges[number]), PADDING, np.int32)
            for place, row in enumerate(part):
                sequence = sequences.ids[sequences.starts[row] : sequences.starts[row + 1]]
                ids[place, slice(len(sequence)) if padding.side == "post" else slice(-len(sequence), None)] = sequence
            yield part, ids


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0 if every text is answered, 1 if some are not, 2 for a usage error."""
    environment.draw_to_files()
    options = _parser().parse_intermixed_args(arguments)  # options may come before, between and after the texts
    if options.code is not None:
        own_code.allow(options.code)
    try:
        return answer(options.runs, options.texts, file=options.file, output_format=options.format, uri=options.uri)
    except BrokenPipeError:  # the reader stopped early, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except SettingsError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    about = "Classifies texts with a trained trial, or with the mean probabilities of several trials."
    exit_codes = "exit code: 0 if every text is answered, 1 if some are not, 2 for a usage error"
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=about, epilog=exit_codes)
    runs = (
        "a trial's folder, its identity (at least its first 4 digits), or an MLflow run id; separate several by commas"
    )
    parser.add_argument("runs", metavar="RUN[,RUN…]", help=runs)
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="text to classify")
    parser.add_argument(
        "--file", help="file with one text per line; - reads standard input and answers each line immediately"
    )
    parser.add_argument(
        "--format", choices=list(FORMATS), default="text", help="csv and jsonl give every class's probability in full"
    )
    parser.add_argument("--code", metavar="MODULE:NAME", help="code of your own whose layers the model has")
    parser.add_argument("--uri", help="MLflow store that has the run (default: the one at the repository root)")
    return parser


def answer(runs: str, texts: Sequence[str], *, file: str | None, output_format: str, uri: str | None = None) -> int:
    """Prints an answer for each text as soon as it is available.

    Args:
      runs: a trial's folder, identity or MLflow run id; several are separated by commas.
      texts: the texts to classify.
      file: a file with one more text per line; `-` is standard input, None is no file.
      output_format: a key of `FORMATS`.
      uri: the MLflow store that has the trials; None for the default one.

    Returns:
      0, or 1 if some texts have no answer.

    Raises:
      SettingsError: there is no text, or a trial cannot be loaded.
    """
    if not texts and file is None:
        raise SettingsError(
            "no text; give one in quotes, or --file FILE with one text per line (- reads standard input)"
        )
    replace_what_the_terminal_lacks()
    with contextlib.ExitStack() as files:
        batches = [[checked(text) for text in texts]] if texts else []
        stream = None if file is None else files.enter_context(opened(file))  # first, because loading the model is slow
        classifiers = _loaded_all(runs, uri=uri)
        if file == STANDARD_INPUT and sys.stdin.isatty():
            print("type one text per line; Ctrl-D ends", file=sys.stderr)
        head, line_of = FORMATS[output_format]
        print(end=head(classifiers[0].classes), flush=True)
        count, faults, unknown = 0, dict[int, str](), list[int]()
        for batch in itertools.chain(batches, lines(stream, str(file)) if stream is not None else ()):
            of_batch = answers(classifiers, batch, before=count)
            print(end="".join(line_of(each, classifiers[0].classes) for each in of_batch), flush=True)
            count += len(of_batch)
            faults |= {each.row: each.fault for each in of_batch if each.fault is not None}
            answered = (each for each in of_batch if each.fault is None)
            unknown += [each.row for each in answered if not any(one.knows_word_of(each.text) for one in classifiers)]
    if not count:
        raise SettingsError(f"{file}: no text")
    if unknown:
        print(
            f"warning: the model knows no word in {len(unknown):,} of {count:,} texts: {row_numbers(unknown)}",
            file=sys.stderr,
        )
    if faults:
        rows = list(faults)
        first = f"row {rows[0]}: {faults[rows[0]]}"
        several = f"{len(rows):,} of {count:,} texts have no answer: {row_numbers(rows)} ({first})"
        print(f"error: {several if len(rows) > 1 else f'1 of {count:,} texts has no answer: {first}'}", file=sys.stderr)
    return int(bool(faults))


def _loaded_all(runs: str, *, uri: str | None) -> list[Classifier]:
    """Returns the classifiers of all named trials; prints their number if there are several.

    Raises:
      SettingsError: a trial cannot be loaded, two names mean the same trial, or the classes differ.
    """
    names = [runs] if is_finished(runs) else runs.split(",")
    with tempfile.TemporaryDirectory() as downloads:
        folders = {name: _folder_of(name, uri=uri, download_to=Path(tempfile.mkdtemp(dir=downloads))) for name in names}
        _refuse_same(names, folders)
        loaded = {name: _loaded(folder) for name, folder in folders.items()}
    first, *others = loaded
    for name in others:
        if loaded[name].preprocessing.classes != loaded[first].preprocessing.classes:
            both = [f"{run} has the classes {_listed(loaded[run].preprocessing.classes)}" for run in (first, name)]
            raise SettingsError(f"RUN: {' and '.join(both)}; only trials with the same classes can be averaged")
    classifiers = [Classifier(trained) for trained in loaded.values()]
    if others:
        print(f"each probability is the mean of {len(loaded)} trials", file=sys.stderr)
    return classifiers


def _folder_of(run: str, *, uri: str | None, download_to: Path) -> Path:
    """Returns the folder with the files of a trial of texts.

    Raises:
      SettingsError: there is no such trial, or it was trained with a task that does not classify texts.
    """
    folder = folder_of(run, uri=uri, download_to=download_to, files=())
    _refuse_other_task(run, folder, uri=uri)
    is_whole = folder != download_to and pruned.why(folder) is None
    return folder if is_whole else folder_of(run, uri=uri, download_to=download_to, files=FILES)


def _refuse_other_task(run: str, folder: Path, *, uri: str | None) -> None:
    """Refuses a trial of a task without this command. `preprocessing.load` refuses settings without a usable task."""
    store, place = "--uri URI " if uri else "", shlex.quote(run)
    try:
        name = task_of(folder)
        commands = registry.task(name).commands if registry.is_importable(name) else None
    except SettingsError:
        return
    if commands is None:
        fix = f"`python -m src.use {store}--task {name} {place}` lists the commands of that task"
    elif any(command.function == COMMAND for command in commands.values()):
        return
    elif commands:
        fix = "Use " + " or ".join(f"`python -m src.use {store}{place} {command} …`" for command in commands)
    else:
        fix = "That task has no commands; name a trial of task=sentiment"
    raise SettingsError(f"{run}: trained with task={name}; src.predict classifies texts. {fix}")


def _refuse_same(names: Sequence[str], folders: Mapping[str, Path]) -> None:
    """Refuses a trial that is named twice, because it would count double. Equal model files mean the same trial."""
    name_of: dict[str, str] = {}
    for name in names if len(names) > 1 else ():
        model = folders[name] / MODEL
        earlier = name_of.get(digest_of(model)) if model.is_file() else None
        if earlier is not None:
            raise SettingsError(f"RUN: {earlier} and {name} are the same trial; name each once")
        if model.is_file():
            name_of[digest_of(model)] = name


def _loaded(folder: Path) -> Loaded:
    try:
        return preprocessing.load(folder)
    except SettingsError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = f"{first_line(error)}); the trial is unfinished, damaged or of another version"
        raise SettingsError(f"{folder}: holds no whole trained model ({reason}") from None


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(map(shortened, classes[:SHOWN])) + (f", … ({len(classes):,})" if len(classes) > SHOWN else "")


def _as_text(answer: Answer, classes: Sequence[str]) -> str:
    """Returns a line of text: the most likely class and its probability, the other classes, and the text."""
    probabilities = answer.probabilities
    if probabilities is None:
        return f"na\tna\t{answer.fault}\t{one_line(answer.text)}\n"
    first, *others = answer.order
    shown = ", ".join(f"{one_line(classes[place])} {probabilities[place]:.3f}" for place in others[: SHOWN - 1])
    more = f", … ({len(classes):,} classes)" if len(classes) > SHOWN else ""
    return f"{one_line(classes[first])}\t{probabilities[first]:.3f}\t{shown}{more}\t{one_line(answer.text)}\n"


def _as_csv(answer: Answer, classes: Sequence[str]) -> str:
    probabilities = answer.probabilities
    if probabilities is None:
        cells: list[Any] = ["", "", *("" for _ in classes)]
    else:
        chosen = answer.order[0]
        cells = [classes[chosen], *map(_rounded, (probabilities[chosen], *probabilities))]
    return _csv_line([answer.row, _shown(answer.text), *cells, answer.fault or ""])


def _csv_head(classes: Sequence[str]) -> str:
    return _csv_line(["row", "text", "class", "probability", *(f"probability_{name}" for name in classes), "error"])


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    safe = [no_formula(cell) if isinstance(cell, str) else cell for cell in cells]
    csv.writer(line, lineterminator="\n").writerow(safe)
    return line.getvalue()


def _as_json(answer: Answer, classes: Sequence[str]) -> str:
    row = {"row": answer.row, "text": answer.text, "class": None, "probabilities": None, "error": answer.fault}
    if answer.probabilities is not None:
        row["class"] = classes[answer.order[0]]
        row["probabilities"] = dict(zip(classes, map(_rounded, answer.probabilities), strict=True))
    return json.dumps(row, ensure_ascii=sys.stdout.isatty()) + "\n"  # a terminal would interpret control characters


def _shown(text: str) -> str:
    """Returns a text unchanged, except on a terminal, which would interpret control characters."""
    return visible(text) if sys.stdout.isatty() else text


def _rounded(probability: float) -> float:
    """Returns a probability rounded to six digits, the precision of float32."""
    return float(f"{probability:.6g}")


FORMATS: dict[str, tuple[Callable[[Sequence[str]], str], Callable[[Answer, Sequence[str]], str]]] = {
    "text": (lambda classes: "", _as_text),
    "csv": (_csv_head, _as_csv),
    "jsonl": (lambda classes: "", _as_json),
}

if __name__ == "__main__":
    sys.exit(main())
