"""What a task is: everything that the core asks of it."""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from src.spec.metric import Metric
from src.spec.record import Record
from src.spec.rules import Change, Inert
from src.spec.settings import Settings


class Data(Protocol):
    """What a trial learns from, as far as the core looks at it."""

    @property
    def digest(self) -> str:
        """Hash of the content: two trials with equal digests have the same data."""

    @property
    def rows(self) -> Mapping[str, int]:
        """Split → its examples; of `train`, those of an epoch."""


S = TypeVar("S", bound=Settings)
D = TypeVar("D", bound=Data)


class Command(NamedTuple):
    """What one does with a trained model: `python -m src.use RUN NAME …`.

    Attributes:
      function: `module:function`, imported when the command is typed. Its first parameter, `folder`, is that of the trial; typer makes
        arguments and options of the others (https://typer.tiangolo.com). A ValueError that it raises is printed as one line.
      about: one line for the help.
      files: names of the trial's files that it reads, beside the settings; for trials whose files a server has.
      example: arguments that one can try, for the last lines of a study; empty for none.
      module: `python -m MODULE RUN …` is the same command; empty if there is no such module.
    """

    function: str
    about: str
    files: tuple[str, ...] = ("model.keras",)
    example: str = ""
    module: str = ""


class Served(NamedTuple):
    """How MLflow serves a trained model: what the task alone knows of it.

    Attributes:
      code: path in the package that is stored with the model → file. The package is all that is there of our code, so a file imports
        the others relatively.
      loader: module of that package, with dots, which has the function `_load_pyfunc(folder)` that MLflow calls.
      files: name in the folder that `_load_pyfunc` gets → a file to copy, or a text.
      example: column → values, of an input of one row or more.
      inputs: of MLflow's signature, a mapping for each column: `{"type": "string", "required": True}`.
      outputs: the same, of what is predicted.
      needs: packages that the code imports.
    """

    code: Mapping[str, Path]
    loader: str
    files: Mapping[str, Path | str]
    example: Mapping[str, Sequence[Any]]
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    needs: Sequence[str]


class Earlier(Protocol):
    """What a process that was killed left of a trial, for another one to go on from the end of an epoch."""

    @property
    def records(self) -> Sequence[Record]:
        """What was recorded until then; the core repeats it, the task does not."""

    @property
    def epochs(self) -> Sequence[int]:
        """After each of these a process went on from another's state; the last one is that epoch."""

    @property
    def variables(self) -> Sequence[Any]:
        """What was given to `Trial.keep` as `variables`."""

    @property
    def best(self) -> Sequence[Any]:
        """What was given to `Trial.keep` as `best`."""

    @property
    def peak_mb(self) -> float:
        """Of memory, megabytes."""


@dataclass(frozen=True)
class Trial(Generic[S, D]):
    """What a task gets to run a trial.

    Attributes:
      settings: resolved.
      data: what `Task.load` returned.
      folder: for the trial's files; it is there.
      name: what the trial is called.
      is_alone: whether no other trial of the study runs at the same time.
      attempt: id of this attempt at it.
      identity: of the trial.
      earlier: what the trial goes on from; None where it begins.
      keep: `keep(epoch, variables=…, best=…, peak_mb=…)` writes the state after an epoch whose evaluation was yielded: arrays, always
        in the same order, and the weights of the best epoch, empty if that is this one. None where no state is to be kept.
    """

    settings: S
    data: D
    folder: Path
    name: str
    is_alone: bool
    attempt: str
    identity: str
    earlier: Earlier | None = None
    keep: Callable[..., None] | None = None


class Task(abc.ABC, Generic[S, D]):
    """What is learnt: its toggles, rules, data, metrics and records. Subclasses are final; one instance of each is registered.

    Attributes:
      name: as in `task=name`.
      about: one line for the help.
      examples: words of a command line → what they do, for the help.
      settings: the core's settings with the task's own toggles; a field `data`, if there is one, is a union of the options of the corpora
        that the task reads, told apart by their `name`.
      metrics: the first one chooses the best epoch and the path of `design=path`, and is the study's default on the test split.
      inert: toggles without effect in a combination, applied in this order.
      commands: what one does with a trained model.
      figures: name → `module:function`, of figures that a report of this task has beside the usual ones.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    examples: ClassVar[Mapping[str, str]] = {}
    settings: type[S]
    metrics: ClassVar[tuple[Metric, ...]]
    inert: tuple[Inert[Any], ...] = ()
    commands: ClassVar[Mapping[str, Command]] = {}
    figures: ClassVar[Mapping[str, str]] = {}

    @abc.abstractmethod
    def load(self, settings: S) -> D:
        """Returns the data; TensorFlow is not imported.

        Raises:
          SettingsError: the data cannot be used.
        """

    def source(self, settings: S) -> Hashable:
        """Returns what `load` depends on: trials of a study with equal sources share their data. By default all toggles."""
        return settings.model_dump_json(include={key for key in settings.toggles() if key != "seed"})

    def resolve(self, settings: S, data: D) -> tuple[S, list[Change]]:
        """Returns the settings that these data make of them (`inert` was applied), and what was changed."""
        return settings, []

    def refusals(self, settings: S, data: D) -> list[str]:
        """Returns why resolved settings cannot run with these data, each with its fix; empty if they can."""
        return []

    @abc.abstractmethod
    def records(self, trial: Trial[S, D]) -> Iterator[Record]:
        """Trains and tests. Yields what happens, the last with the final metrics, tags and names of files (`record.end` has its form).

        A first record of kind `start` may say tags of the task's own (`detail["tags"]`), which become the trial's. Nothing is recorded
        yet; files are written before the `end` that names them. The core adds to the end what it can tell of any trial: `measures`, the
        best validation, and when it reached its threshold.
        """

    def hashed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Returns the plain settings as the identity takes them in; a task of before this method keeps its old layout by it."""
        return values

    def measures(self, settings: S, data: D) -> dict[str, float]:
        """Returns what is to be known of the data beside the result, as metrics `data/…`."""
        return {}

    def summary(self, settings: Sequence[S], data: D) -> list[str]:
        """Returns what was read, and what the settings of a study's trials make of it, in a few lines for the terminal."""
        return []

    def dataset(self, settings: S, data: D) -> dict[str, Any]:
        """Returns what MLflow shows of the data: `name`, `digest`, `source`, `rows`, and what else describes them.

        `columns` (name → MLflow's type, such as `string` or `float`) becomes the schema; of a list the length is shown, too.
        """
        return {"name": self.name, "digest": data.digest, "source": self.name, "rows": dict(data.rows)}

    def served(self, folder: Path) -> Served | None:
        """Returns how MLflow serves the model that a trial has left in its folder; None if it does not."""
        return None

    def work(self, settings: S, data: D) -> float:
        """Returns a figure that grows as the time of a batch does, to estimate how long a study takes."""
        return 1.0
