"""The plan of a study: one row per variant and seed, with its trial or the reason why it has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from src import registry
from src.config.explain import GROUPS
from src.config.overrides import override
from src.config.settings import described, differences, edited, label
from src.inference.sequential import Rule
from src.spec import metric
from src.spec.metric import STEPS_TO, TEST, Metric
from src.spec.section import SettingsError, UnknownKey
from src.spec.settings import Plan, Settings
from src.streams import generator
from src.study import designs, stopping
from src.study.designs import DesignError, Levels, Rounds, Variant
from src.tracking.stored import NAME, fitting
from src.trial.prepare import Prepared, prepare

Compose = Callable[[list[str]], Settings]
MAX_SEED = 2**32 - 1
STEPS = STEPS_TO.rstrip("/")  # short form on the command line of the metric `steps_to/…`


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One cell of the design with one seed.

    Attributes:
      label: the varied toggles with their values, as on the command line; `defaults` if the study varies nothing.
      values: the same as plain values.
      seed: seed of the trial.
      position: position in the order of training, from 1.
      is_reference: whether the variant is the reference.
      overrides: the overrides from which Hydra composes the trial.
      trial: the trial to train, or None if the cell was dropped.
      dropped: why the cell was dropped, or None.
      ended: the attempt of the trial that had finished or failed when the plan was made; empty for none.
      called: name of the trial without its seed, short enough for every store: the label of the first variant with this
        trial, with the last part of paths alone; empty if only the seed varies.
      changes: how that variant differs from the reference, empty for the reference; None if the study varies no toggle.
    """

    label: str
    values: Variant
    seed: int
    position: int
    is_reference: bool
    overrides: list[str]
    trial: Prepared | None
    dropped: str | None
    ended: str = ""
    called: str = ""
    changes: str | None = None

    @property
    def name(self) -> str:
        """Name of its trial on the terminal, in MLflow and in TensorBoard: `cell=gru seed=1`."""
        return f"{self.called} seed={self.seed}".lstrip()


@dataclass
class Study:
    """A study: its design with reference, levels and seeds, and the settings that all of its trials share.

    Attributes:
      settings: the settings that all trials share.
      fixed: the overrides from which these were composed.
      reference: varied toggle → the reference's value.
      levels: varied toggle → its values, the reference's included.
      seeds: the seeds with which every variant is trained.
      compose: overrides → settings; called once per choice of config groups. All other variants edit checked settings.
      linked: for each group of linked toggles the values that they have together.
    """

    settings: Settings
    fixed: list[str]
    reference: Variant
    levels: Levels
    seeds: list[int]
    compose: Compose
    linked: list[list[Variant]] = field(default_factory=list)
    _composed: dict[tuple[str, ...], Settings | UnknownKey] = field(default_factory=dict)
    _data: dict[Any, Any] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        """The settings `plan.*`."""
        return self.settings.plan

    @cached_property
    def tasks(self) -> list[registry.AnyTask]:
        """The study's tasks, the reference's first."""
        return [registry.task(name) for name in self._task_names]

    @property
    def _task_names(self) -> list[str]:
        names = [self.reference.get("task", self.settings.task), *self.levels.get("task", [self.settings.task])]
        return list(dict.fromkeys(names))

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the study's task; if it varies the task, the metrics of the reference's task come first."""
        every = [each for name in self._task_names for each in self.metrics_of(name)]
        return tuple(
            {each.name: each for each in reversed(every)}[name] for name in dict.fromkeys(each.name for each in every)
        )

    def metrics_of(self, name: str) -> tuple[Metric, ...]:
        """Returns the metrics of one task of the study: as the shared settings declare them, or by default."""
        task = registry.task(name)
        is_shared = type(self.settings) is task.settings
        return task.metrics_of(self.settings if is_shared else task.settings(task=name))

    @property
    def metric(self) -> str:
        """The full name of the metric by which variants are compared, or `steps_to`."""
        return self.plan.metric or f"{TEST}{self.metrics[0].name}"

    @property
    def compared(self) -> Metric:
        """The meaning of the metric by which variants are compared; its `name` is the full name."""
        is_steps = self.metric == STEPS and self.threshold is not None
        name = metric.steps_to(self.metrics[0], self.threshold or 0.0) if is_steps else self.metric
        return metric.meaning(name, self.metrics)

    @property
    def threshold(self) -> float | None:
        """The validation value to reach, for `steps_to`; None if neither the plan nor the metric has one."""
        return self.metrics[0].target if self.plan.threshold is None else self.plan.threshold

    @cached_property
    def rule(self) -> Rule | None:
        """How the looks at the study share its error; None if it is judged once."""
        return stopping.rule(self.plan.model_dump() | {"seeds": self.seeds})

    def rounds(self) -> Rounds:
        """Yields rounds of variants, and receives scores, as `designs.rounds` does."""
        try:
            yield from designs.rounds(
                self.plan.design,
                self.reference,
                {key: values for key, values in self.levels.items() if key not in self.plan.intervals},
                linked=self.linked,
                exclude=self.plan.exclude,
                **self._options(),
            )
        except DesignError as error:
            raise SettingsError(f"plan.design={self.plan.design}: {error}") from None

    def rows(self, variants: Sequence[Variant], *, after: int = 0, seeds: Sequence[int] | None = None) -> list[Row]:
        """Returns a row for every variant and seed, seed by seed, the variants in the order of the design.

        Positions give the order of training: all variants of one seed together, so that a study that ends early has
        complete pairs. Within a seed the order is random (drawn from the seed), so that a machine that slows down
        favours no variant. Of variants that share a first phase, one comes first and the others last.

        Args:
          variants: the variants of one round of the design.
          after: number of positions that earlier rounds use.
          seeds: the seeds; default: all of the study.

        Raises:
          SettingsError: a value is invalid in every combination, or there are more than 100,000 trials.
        """
        chosen = self.seeds if seeds is None else seeds
        count = len(variants) * len(chosen)
        if count > designs.MAX_TRIALS:
            many = f"{len(variants):,} variants with {len(chosen):,} seeds make {count:,} trials"
            raise SettingsError(f"{many}; allowed: up to {designs.MAX_TRIALS:,}. Use fewer seeds or levels")
        checked = self._checked(variants)  # before data are read, so that errors appear at once
        checked_seeds = [edited(self.settings, {"seed": seed}).seed for seed in chosen]
        firsts = [
            self._row(variant, checked_seeds[0], settings) for variant, settings in zip(variants, checked, strict=True)
        ]
        served: dict[str, Row] = {}  # identity → the first row with this trial
        for first in firsts:
            served.setdefault(first.trial.identity if first.trial else "", first)
        namesakes = [served[first.trial.identity if first.trial else ""] for first in firsts]
        firsts = [
            replace(first, called=namesake.called, changes=namesake.changes) if first.trial else first
            for first, namesake in zip(firsts, namesakes, strict=True)
        ]
        rows, phases = [], _first_phases(firsts)
        for number, seed in enumerate(checked_seeds):
            order = _without_waiting(generator(seed, "order of variants", after).permutation(len(variants)), phases)
            places = after + number * len(variants) + 1 + np.argsort(order)
            rows += [_at(first, seed, position=int(place)) for first, place in zip(firsts, places, strict=True)]
        return rows

    def aliases(self) -> list[list[str]]:
        """Returns the groups of aliased effects of the design; see `designs.aliases`."""
        if self.plan.design != "fractional":
            return []
        _, factors = designs.joined(self.reference, self.levels, self.linked)
        return designs.aliases(list(factors), **self._options())

    def _options(self) -> dict[str, Any]:
        options: dict[str, dict[str, Any]] = {
            "fractional": {"resolution": self.plan.resolution},
            "random": {"sample": self.plan.sample, "intervals": self.plan.intervals},
            "halving": {"sample": self.plan.sample, "intervals": self.plan.intervals},
            "listed": {"variants": self.plan.variants},
        }
        return options.get(self.plan.design, {})

    def _checked(self, variants: Sequence[Variant]) -> list[Settings | UnknownKey]:
        """Returns the settings of each variant, or the error for a key that its task or corpus does not have.

        Raises:
          SettingsError: a value is invalid in every combination, or no variant has a key.
        """
        checked = [self._settings_or_error(variant) for variant in variants]
        errors = [error for error in checked if isinstance(error, UnknownKey)]
        if len(errors) == len(checked):
            raise errors[0]
        return checked

    def _settings_or_error(self, variant: Variant) -> Settings | UnknownKey:
        try:
            return self._settings(variant)
        except UnknownKey as error:
            return error

    def _settings(self, variant: Variant) -> Settings:
        choices = tuple(override(key, value) for key, value in variant.items() if key in GROUPS)
        if choices not in self._composed:
            self._composed[choices] = self._compose(choices)
        composed = self._composed[choices]
        if isinstance(composed, UnknownKey):
            raise composed
        return edited(composed, {key: value for key, value in variant.items() if key not in GROUPS})

    def _compose(self, choices: tuple[str, ...]) -> Settings | UnknownKey:
        try:
            return self.compose([*self.fixed, *choices]) if choices else self.settings
        except UnknownKey as error:
            return error

    def _row(self, variant: Variant, seed: int, settings: Settings | UnknownKey) -> Row:
        """Returns the row of a variant with its first seed; its position is not set yet."""
        trial, dropped = None, None
        try:
            if isinstance(settings, UnknownKey):
                raise settings
            trial = self._prepared(settings.model_copy(update={"seed": seed}))
        except SettingsError as error:
            dropped = str(error)
        overrides = [*self.fixed, *(override(key, value) for key, value in variant.items()), f"seed={seed}"]
        is_reference = variant == self.reference
        called = fitting(self._called(variant), NAME - len(f" seed={MAX_SEED}"))
        changes = label(self._changed(variant, variant)) if self.levels else None
        name = self.name(variant)
        return Row(name, variant, seed, 0, is_reference, overrides, trial, dropped, called=called, changes=changes)

    def _prepared(self, settings: Settings) -> Prepared:
        """Returns the trial of these settings; trials with the same data share the loaded data."""
        source = settings.task, registry.task(settings.task).source(settings)
        trial = prepare(settings, data=self._data.get(source))
        self._data[source] = trial.data
        return trial

    def name(self, variant: Variant) -> str:
        """Returns a variant's label: its toggles, or its changes against the reference, or what a cumulative step adds.

        If the study varies nothing, the label is the difference of its settings from the defaults.
        """
        return self._label(variant, variant) if self.levels else described(differences(self.settings))

    def _called(self, variant: Variant) -> str:
        """Returns the name of a variant's trial without seed: its label, with unique last parts of paths."""
        if not self.levels:
            return self.name(variant) if len(self.seeds) == 1 else ""
        shown = {key: value if self._is_shown_whole(key) else _last_part(value) for key, value in variant.items()}
        return self._label(variant, shown)

    def _label(self, variant: Variant, shown: Variant) -> str:
        """Returns a variant's label with the values in `shown`."""
        if self.plan.design in ("grid", "fractional", "random", "halving"):
            return label(shown)
        changed = self._changed(variant, shown)
        if self.plan.design == "cumulative" and changed:
            last = list(changed)[-1]
            together = next((group[0] for group in self.linked if last in group[0]), {last: None})
            return "+ " + label({key: changed[key] for key in together if key in changed})
        return label(changed) or "reference"

    def _changed(self, variant: Variant, shown: Variant) -> Variant:
        """Returns how a variant differs from the reference, with the values in `shown`."""
        return {key: shown[key] for key, value in variant.items() if value != self.reference[key]}

    def _is_shown_whole(self, key: str) -> bool:
        """Returns whether a toggle is not a path, or its paths do not all have different last parts."""
        values = self.levels[key]
        return not key.endswith("path") or len(set(map(_last_part, values))) < len(values)

    @property
    def factors(self) -> dict[str, Sequence[Any]]:
        """The levels without those of toggles linked with an earlier one: no design separates their effects."""
        later = {key for group in self.linked for key in list(group[0])[1:]}
        return {key: values for key, values in self.levels.items() if key not in later}

    @property
    def fixed_settings(self) -> Variant:
        """The settings of all trials that differ from the defaults, without the varied toggles."""
        return {key: value for key, value in differences(self.settings).items() if key not in self.levels}


def _last_part(value: Any) -> Any:
    return Path(value).name if isinstance(value, str) else value


def _first_phases(rows: Sequence[Row]) -> list[int | None]:
    """Returns a number for each row that shares its first phase (`Task.first`) with others, the same for all of them.

    It is None for the other rows.
    """
    numbers: dict[tuple[str, str] | None, int] = {}
    found = [_first_phase(row.trial) if row.trial else None for row in rows]
    counts = Counter(found)
    return [None if phase is None or counts[phase] < 2 else numbers.setdefault(phase, len(numbers)) for phase in found]


def _first_phase(trial: Prepared) -> tuple[str, str] | None:
    """Returns what distinguishes first phases: name and settings; None without one."""
    try:
        first = trial.task.first(trial.settings, trial.data)
    except Exception:  # a task of another package: its trials will record the error
        return None
    return None if first is None else (first.name, first.settings.model_dump_json())


def _without_waiting(order: np.ndarray, phases: Sequence[int | None]) -> np.ndarray:
    """Returns an order of variants in which few workers wait for a first phase that another one trains.

    One variant of each shared first phase comes first, then those that share none, and at last the others that need it.
    A single variant with a first phase is one of those that share none, so that its place is random.
    """
    begun: set[int] = set()
    turns = []
    for number in order:
        phase = phases[number]
        turns.append(1 if phase is None else 2 if phase in begun else 0)
        begun |= set() if phase is None else {phase}
    return order[np.argsort(turns, kind="stable")]


def _at(row: Row, seed: int, *, position: int) -> Row:
    """Returns a variant's row with another seed; data, normalisation and errors do not depend on the seed."""
    overrides = [*row.overrides[:-1], f"seed={seed}"]
    return replace(
        row, seed=seed, position=position, overrides=overrides, trial=row.trial and row.trial.with_seed(seed)
    )
