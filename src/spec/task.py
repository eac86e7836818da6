"""The interface between the core and a task."""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from src.spec.metric import Metric
from src.spec.record import Record
from src.spec.rules import Change, Inert
from src.spec.section import SettingsError
from src.spec.settings import Settings


class Data(Protocol):
    """The part of a task's data that the core reads."""

    @property
    def digest(self) -> str:
        """Hash of the content: two trials with equal digests have the same data."""

    @property
    def rows(self) -> Mapping[str, int]:
        """Split → number of examples; for `train`, examples per epoch."""


S = TypeVar("S", bound=Settings)
D = TypeVar("D", bound=Data)


class Command(NamedTuple):
    """A command on a trained model: `python -m src.use RUN NAME …`.

    Attributes:
      function: `module:function`, imported when the command is used. Its first parameter, `folder`, is the trial's
        folder; typer (https://typer.tiangolo.com) turns the others into arguments and options. A ValueError is printed
        as one line.
      about: one line for the help.
      files: the trial's files that the command reads beside the settings; they are downloaded if a server stores them.
      example: arguments of an example, shown at the end of a study; empty for none.
      module: `python -m MODULE RUN …` is the same command; empty if there is no such module.
      optional: further files, which some trials lack; the function then says which trials it needs.
    """

    function: str
    about: str
    files: tuple[str, ...] = ("model.keras",)
    example: str = ""
    module: str = ""
    optional: tuple[str, ...] = ()


class Served(NamedTuple):
    """The task's part of how MLflow serves a trained model.

    Attributes:
      code: path in the package that MLflow stores with the model → file. The server has no other code of ours, so the
        files import each other relatively.
      loader: dotted module of that package with the function `_load_pyfunc(folder)`, which MLflow calls.
      files: name in the folder that `_load_pyfunc` gets → a file to copy, or a text.
      example: column → values of an example input with at least one row.
      inputs: columns of MLflow's input signature, a mapping each: `{"type": "string", "required": True}`.
      outputs: columns of the output signature, likewise.
      needs: packages that the code imports.
    """

    code: Mapping[str, Path]
    loader: str
    files: Mapping[str, Path | str]
    example: Mapping[str, Sequence[Any]]
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    needs: Sequence[str]


class First(NamedTuple):
    """A training that comes before a trial's own, and whose model several trials share.

    It is trained once for equal settings, data and code, with a record and a checkpoint of its own. The trials that use
    its model also record its metrics, with its name in front.

    Attributes:
      name: prefix of its metrics and name of its files: a-z and _.
      title: what is trained, for messages.
      task: what is trained, which leaves a `model.keras`; it need not be registered.
      settings: its settings. Those that do not change its result must have one fixed value.
      data: its data; None if these are the trial's.
      keys: its settings → the trial's settings that have their values, for messages.
    """

    name: str
    title: str
    task: Task[Any, Any]
    settings: Settings
    data: Data | None = None
    keys: Mapping[str, str] = {}

    @property
    def file(self) -> str:
        """Name of the copy of its model in the folder of a trial."""
        return f"{self.name}.keras"


class Earlier(Protocol):
    """The state that a killed process saved at the end of an epoch, from which the trial resumes."""

    @property
    def records(self) -> Sequence[Record]:
        """The records up to this state; the core repeats them, the task does not."""

    @property
    def epochs(self) -> Sequence[int]:
        """The epochs after which the trial was resumed; the last one is the epoch of this state."""

    @property
    def variables(self) -> Sequence[Any]:
        """The argument `variables` of `Trial.keep`."""

    @property
    def best(self) -> Sequence[Any]:
        """The argument `best` of `Trial.keep`."""

    @property
    def peak_mb(self) -> float:
        """Peak memory, in MB."""


@dataclass(frozen=True)
class Trial(Generic[S, D]):
    """The input of `Task.records`.

    Attributes:
      settings: the resolved settings.
      data: the return value of `Task.load`.
      folder: the existing folder for the trial's files.
      name: the trial's name.
      is_alone: whether no other trial of the study runs at the same time.
      attempt: id of this attempt.
      identity: the trial's identity.
      earlier: the state from which the trial resumes; None if it starts from the beginning.
      keep: `keep(epoch, variables=…, best=…, peak_mb=…)` saves the state after the evaluation of an epoch was yielded:
        `variables` are arrays in a fixed order, `best` the weights of the best epoch, empty if this epoch is the best.
        None if no state is saved.
      first: the file with the model of the trial's `Task.first`; None without one. It exists once the core has taken
        the first record.
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
    first: Path | None = None


class Task(abc.ABC, Generic[S, D]):
    """A learning problem: its toggles, rules, data, metrics and records.

    Subclasses are final, and one instance of each is registered.

    Attributes:
      name: as in `task=name`.
      about: one line for the help.
      examples: arguments of a command line → what they do, for the help.
      settings: subclass of the core's settings with the task's own toggles. An optional field `data` is a union of the
        options of the task's corpora, with `name` as the discriminator.
      metrics: the first metric chooses the best epoch and the path of `design=path`; studies compare its test value by
        default.
      inert: toggles without effect in a combination, applied in this order.
      commands: commands on a trained model.
      figures: name → `module:function`: figures of this task, which its report shows beside the usual ones. A function
        returns None for a study that its figure does not fit.
      imports: package that each process imports before its first trial, which takes about 10 s; empty for none.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    examples: ClassVar[Mapping[str, str]] = {}
    settings: type[S]
    metrics: ClassVar[tuple[Metric, ...]]
    inert: tuple[Inert[Any], ...] = ()
    commands: ClassVar[Mapping[str, Command]] = {}
    figures: ClassVar[Mapping[str, str]] = {}
    imports: ClassVar[str] = ""

    @abc.abstractmethod
    def load(self, settings: S) -> D:
        """Returns the data, without importing TensorFlow.

        Raises:
          SettingsError: the data are invalid.
        """

    def metrics_of(self, settings: S) -> tuple[Metric, ...]:
        """Returns the metrics of a trial, by default those of the task; a task may let the user declare them.

        Raises:
          SettingsError: the declared metrics are invalid.
        """
        return self.metrics

    def source(self, settings: S) -> Hashable:
        """Returns what `load` depends on, by default all toggles. Trials of a study with equal sources share data."""
        return settings.model_dump_json(include={key for key in type(settings).toggles() if key != "seed"})

    def resolve(self, settings: S, data: D) -> tuple[S, list[Change]]:
        """Returns the settings resolved with the data, and the changes; `inert` was applied before."""
        return settings, []

    def refusals(self, settings: S, data: D) -> list[str]:
        """Returns why resolved settings cannot run with these data, each with its fix; empty if they can."""
        return []

    def check_setup(self) -> None:
        """Checks that this machine can train, before a study starts; imports no large package.

        Raises:
          SettingsError: it cannot. The text says why.
        """

    def devices(self) -> Sequence[str]:
        """Returns the devices that trials compute on; a killed trial resumes only on the same devices."""
        return ()

    def first(self, settings: S, data: D) -> First | None:
        """Returns the training whose model a trial starts from, for resolved settings; by default there is none."""
        return None

    @abc.abstractmethod
    def records(self, trial: Trial[S, D]) -> Iterator[Record]:
        """Trains and tests. Yields records; the last has the final metrics, tags and file names (see `record.end`).

        The first record may be of kind `start`; its `detail["tags"]` become tags of the trial. The journal is still
        empty then. The task writes its files before it yields the `end` that names them. A task may itself end a trial
        as FAILED, or as KILLED if the same command shall train it again. The core adds to the end `measures`, the best
        validation value, and the steps until the threshold.
        """

    def timed(self, settings: S, data: D, *, every: int) -> Iterator[Record]:
        """Trains without end, for a timing pass (`python -m src.timing`): no validation, no tracking, no files.

        Yields a `start`, whose `detail` has `steps_per_epoch` and `tags`; these may name the kernel
        (`ablation.kernel`). After every optimizer step it yields a `step` with the metric `time/batch_ms` and the
        details `batch` (examples), `length` (positions of each, with padding), `tokens` (real positions), `wait_ms`
        (part of the time that waited for input) and `is_first` (whether it traced or compiled). What the consumer does
        between two records is not part of any time.

        Args:
          settings: resolved settings.
          data: the return value of `load`.
          every: steps that the consumer asks for in a row; a task that takes several steps in one call takes as many.

        Raises:
          SettingsError: this task cannot be timed step by step.
        """
        raise SettingsError(f"task={self.name} cannot be timed step by step; its trials keep their own times")

    def hashed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Returns the plain settings that the identity hashes; an older layout keeps the identities of old trials."""
        return values

    def measures(self, settings: S, data: D) -> dict[str, float]:
        """Returns properties of the data, as metrics `data/…`."""
        return {}

    def summary(self, settings: Sequence[S], data: D) -> list[str]:
        """Returns a few lines for the terminal: what was read, and how the settings of a study's trials change it."""
        return []

    def dataset(self, settings: S, data: D) -> dict[str, Any]:
        """Returns what MLflow shows about the data: `name`, `digest`, `source`, `rows`, and other properties.

        `columns` (name → MLflow's type, such as `string` or `float`) becomes the schema. Lists also show their length.
        """
        return {"name": self.name, "digest": data.digest, "source": self.name, "rows": dict(data.rows)}

    def study_file(self, study: str) -> str:
        """Returns the text of a commented study file to start from; empty if the task has none."""
        return ""

    def served(self, folder: Path) -> Served | None:
        """Returns how MLflow serves the model in a trial's folder; None if it does not."""
        return None

    def work(self, settings: S, data: D) -> float:
        """Returns a number proportional to the time per batch, for the estimate of a study's duration."""
        return 1.0
