"""What a study will train: one row a variant and seed, each with the trial that serves it or the reason why none does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from src import registry
from src.config.explain import GROUPS, allowed, unknown_key
from src.config.settings import described, differences, edited, label
from src.spec import metric
from src.spec.metric import MEASURED, STEPS_TO, TEST, TRAIN, VAL, Metric
from src.spec.section import Section, SettingsError, UnknownKey, as_typed
from src.spec.settings import Plan, Settings
from src.streams import generator
from src.study import designs
from src.study.designs import DesignError, Levels, Rounds, Variant
from src.terminal.errors import nearest
from src.terminal.visible import echoed
from src.tracking.stored import NAME, fitting
from src.trial.prepare import Prepared, prepare

Compose = Callable[[list[str]], Settings]
MAX_SEED = 2**32 - 1
STEPS = STEPS_TO.rstrip("/")  # as one types the metric whose name says what is to be reached
PLAIN_WORD = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_][\w./:-]*", re.IGNORECASE)


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One cell of the design with one seed.

    Attributes:
      label: the varied toggles with their values, as one types them; `defaults` where nothing is varied.
      values: the same as plain values.
      seed: of the trial.
      position: in which the plan trains it, from 1 on.
      is_reference: the others are compared with it.
      overrides: what Hydra composes the trial from.
      trial: what is trained, or None where the cell was dropped.
      dropped: why, or None.
      ended: the attempt of the trial that had finished or failed when it was decided to train it; empty for none.
      called: what the trial is called without its seed, of at most so many bytes as every store takes: the label of the first variant
        that it serves, of paths the last part alone; empty where nothing but the seed varies.
      changes: what that variant changes of the reference, empty for the reference; None where the study varies no toggle.
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
        """What its trial is called, in the terminal, in MLflow and in TensorBoard: `cell=gru seed=1`."""
        return f"{self.called} seed={self.seed}".lstrip()


@dataclass
class Study:
    """A question: its design with reference, levels and seeds, on settings that all of its trials share.

    Attributes:
      settings: what every trial has, whatever the variant and seed.
      fixed: the overrides that these were composed from.
      reference: every varied toggle → the reference's value.
      levels: every varied toggle → its values, the reference's among them.
      seeds: every variant is trained with each.
      compose: overrides → settings; asked once for every choice of config groups, all else is an edit of checked settings.
    """

    settings: Settings
    fixed: list[str]
    reference: Variant
    levels: Levels
    seeds: list[int]
    compose: Compose
    _composed: dict[tuple[str, ...], Settings | UnknownKey] = field(default_factory=dict)
    _data: dict[Any, Any] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        """What the study asks for beside its toggles."""
        return self.settings.plan

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the study's task; if it varies the task, those of the reference's, then what the others have beside them."""
        tasks = self.levels.get("task", [self.settings.task])
        ordered = [self.reference.get("task", self.settings.task), *tasks]
        every = [each for task in ordered for each in registry.task(task).metrics]
        return tuple(
            {each.name: each for each in reversed(every)}[name] for name in dict.fromkeys(each.name for each in every)
        )

    @property
    def metric(self) -> str:
        """The full name of the metric by which variants are compared, `steps_to` in short."""
        return self.plan.metric or f"{TEST}{self.metrics[0].name}"

    @property
    def threshold(self) -> float | None:
        """The validation value to reach, for `steps_to`; None where neither the plan nor the metric has one."""
        return self.metrics[0].target if self.plan.threshold is None else self.plan.threshold

    def rounds(self) -> Rounds:
        """Yields variants as `designs.rounds` does, and wants what it wants."""
        try:
            yield from designs.rounds(self.plan.design, self.reference, self.levels, **self._options())
        except DesignError as error:
            raise SettingsError(f"plan.design={self.plan.design}: {error}") from None

    def rows(self, variants: Sequence[Variant], *, after: int = 0) -> list[Row]:
        """Returns a row for every variant and seed, seed by seed, the variants in the order of the design.

        They are trained in the order of their positions: all variants of one seed together, so that what ends early leaves whole pairs,
        and within a seed in an order drawn from the seed, so that a machine which grows slower favours no variant.

        Args:
          variants: of one round of the design.
          after: positions that earlier rounds have taken.

        Raises:
          SettingsError: a value that no combination allows, or more than 100,000 trials.
        """
        count = len(variants) * len(self.seeds)
        if count > designs.MAX_TRIALS:
            many = f"{len(variants):,} variants with {len(self.seeds):,} seeds make {count:,} trials"
            raise SettingsError(f"{many}; allowed: up to {designs.MAX_TRIALS:,}. Use fewer seeds or levels")
        checked = self._checked(variants)  # all of them before any data are read: answers come at once
        seeds = [edited(self.settings, {"seed": seed}).seed for seed in self.seeds]
        firsts = [self._row(variant, seeds[0], settings) for variant, settings in zip(variants, checked, strict=True)]
        served: dict[str, Row] = {}
        for first in firsts:
            served.setdefault(first.trial.identity if first.trial else "", first)
        same = [served[first.trial.identity if first.trial else ""] for first in firsts]
        firsts = [
            replace(first, called=one.called, changes=one.changes) if first.trial else first
            for first, one in zip(firsts, same, strict=True)
        ]
        rows = []
        for number, seed in enumerate(seeds):
            order = generator(seed, "order of variants", after).permutation(len(variants))
            places = after + number * len(variants) + 1 + np.argsort(order)
            rows += [_at(first, seed, position=int(place)) for first, place in zip(firsts, places, strict=True)]
        return rows

    def aliases(self) -> list[list[str]]:
        """Returns which effects the design cannot tell apart, as `designs.aliases`."""
        return designs.aliases(list(self.levels), **self._options()) if self.plan.design == "fractional" else []

    def _options(self) -> dict[str, Any]:
        options: dict[str, dict[str, Any]] = {
            "fractional": {"resolution": self.plan.resolution},
            "random": {"sample": self.plan.sample},
            "listed": {"variants": self.plan.variants},
        }
        return options.get(self.plan.design, {})

    def _checked(self, variants: Sequence[Variant]) -> list[Settings | UnknownKey]:
        """Returns the settings of each variant, or the error for a key that its task or corpus does not have.

        Raises:
          SettingsError: a value that no combination allows, or a key that no variant has.
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
        """Returns the row of a variant with its first seed, without a position."""
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
        """Returns the trial of these settings; what its task has loaded for another one is shared."""
        source = settings.task, registry.task(settings.task).source(settings)
        trial = prepare(settings, data=self._data.get(source))
        self._data[source] = trial.data
        return trial

    def name(self, variant: Variant) -> str:
        """Returns a variant's label: its toggles, or what it changes of the reference; a cumulative step is what it adds.

        Where the study varies nothing, that is what its settings change of the defaults.
        """
        return self._label(variant, variant) if self.levels else described(differences(self.settings))

    def _called(self, variant: Variant) -> str:
        """Returns how the name of a variant's trial begins: as its label, of paths the last part alone where it tells them apart."""
        if not self.levels:
            return self.name(variant) if len(self.seeds) == 1 else ""
        return self._label(
            variant, {key: value if self._is_ambiguous(key) else _last_part(value) for key, value in variant.items()}
        )

    def _label(self, variant: Variant, shown: Variant) -> str:
        """Returns a variant's label with its values as they are shown."""
        if self.plan.design in ("grid", "fractional", "random"):
            return label(shown)
        changed = self._changed(variant, shown)
        if self.plan.design == "cumulative" and changed:
            return "+ " + label(dict([list(changed.items())[-1]]))
        return label(changed) or "reference"

    def _changed(self, variant: Variant, shown: Variant) -> Variant:
        """Returns what a variant changes of the reference, with the values as they are shown."""
        return {key: shown[key] for key, value in variant.items() if value != self.reference[key]}

    def _is_ambiguous(self, key: str) -> bool:
        """Returns whether a toggle takes no paths, or paths whose last parts are not all different."""
        values = self.levels[key]
        return not key.endswith("path") or len(set(map(_last_part, values))) < len(values)

    @property
    def fixed_settings(self) -> Variant:
        """What every trial has that is not at its default, the varied toggles left out."""
        return {key: value for key, value in differences(self.settings).items() if key not in self.levels}


def _last_part(value: Any) -> Any:
    return Path(value).name if isinstance(value, str) else value


def _at(row: Row, seed: int, *, position: int) -> Row:
    """Returns a variant's row with another seed, on which neither its data depend nor whether and as what it runs."""
    overrides = [*row.overrides[:-1], f"seed={seed}"]
    return replace(
        row, seed=seed, position=position, overrides=overrides, trial=row.trial and row.trial.with_seed(seed)
    )


def study(fixed: Mapping[str, str], swept: Mapping[str, Sequence[Any]], *, compose: Compose) -> Study:
    """Returns the study that a command line describes, with or without a study file.

    A list on the command line replaces the levels that the file gives a toggle; a single value takes the toggle out of the
    comparison, for all trials.

    Args:
      fixed: key → override, of what was typed with one value.
      swept: key → values, of what was typed as a list.
      compose: overrides → settings.

    Raises:
      SettingsError: a key or value that no trial can have, or levels that do not fit the design.
    """
    settings = _common(fixed, swept, compose)
    asked = settings.plan
    toggles = _toggles(settings, {**asked.levels, **swept}.get("task", []))
    for key in (*asked.levels, *(key for changes in asked.variants for key in changes)):
        _check_toggle(key, toggles, settings)
    if asked.design == "listed" or asked.variants:
        asked = _with_levels(settings, fixed, {**asked.levels, **swept})
    for key, values in asked.levels.items():
        if not values:
            raise SettingsError(f"plan.levels: {key} has no values; write {key}: [VALUE, …], or remove {key}")
    for key, typed in {**asked.levels, **swept}.items():
        _refuse_mixed(key, typed)
    levels = {
        key: _distinct(values)
        for key, values in {**asked.levels, **swept}.items()
        if key not in fixed and key != "seed"
    }
    seeds = swept.get("seed") or ([] if "seed" in fixed else asked.seeds) or [settings.seed]
    reference = {key: values[0] for key, values in levels.items()}
    for key, value in asked.reference.items():
        known = [*asked.levels.get(key, []), *swept.get(key, [])]
        if value not in known:
            listed = label({key: ",".join(map(as_typed, known))}) if known else "no levels"
            raise SettingsError(
                f"plan.reference: {key}={as_typed(value)} is not among plan.levels ({listed}); add it there"
            )
        if value in levels.get(key, []):  # otherwise the command line took it away
            reference[key] = value
    planned = Study(settings, list(fixed.values()), reference, levels, _distinct(seeds), compose)
    _check_metric(planned)
    return planned


def _common(fixed: Mapping[str, str], swept: Mapping[str, Sequence[Any]], compose: Compose) -> Settings:
    """Returns the settings that a study has beside what it varies; of several tasks, those of the first that takes what all are given."""
    if "task" not in swept:
        return compose(list(fixed.values()))
    errors = []
    for task in swept["task"]:
        registry.task(str(task))  # one that there is not is an error, and no cell that is left out
    for task in swept["task"]:
        try:
            return compose([*fixed.values(), override("task", task)])
        except UnknownKey as error:
            errors.append(error)
    raise errors[0]


def _with_levels(settings: Settings, fixed: Mapping[str, str], given: Mapping[str, Sequence[Any]]) -> Plan:
    """Returns what a study of listed variants asks for, with the levels that its variants name, the settings' own value first."""
    asked = settings.plan
    if asked.design != "listed" or not asked.variants:
        raise SettingsError(
            f"plan.design={asked.design}: plan.variants and plan.design=listed need each other; set both or neither"
        )
    if varied := [key for key in given if key != "seed"]:
        raise SettingsError(
            f"plan.design=listed: {varied[0]} also has levels; move its values to plan.variants, or set plan.design=grid"
        )
    if named := [key for key in fixed if any(key in changes for changes in asked.variants)]:
        raise SettingsError(
            f"plan.design=listed: {fixed[named[0]]} applies to all trials, but plan.variants change {named[0]}; remove it"
        )
    if asked.reference:
        raise SettingsError(
            f"plan.design=listed: the settings are the reference; replace plan.reference by {label(asked.reference)} outside of plan"
        )
    levels: dict[str, list[Any]] = {}
    for changes in asked.variants:
        for key, value in changes.items():
            levels.setdefault(key, [_current(settings, key)]).append(value)
    return asked.model_copy(update={"levels": levels})


def _current(settings: Settings, key: str) -> Any:
    section, _, name = key.partition(".")
    value = getattr(settings, section)
    if name and name not in getattr(type(value), "model_fields", ()):
        raise unknown_key(key, type(settings))
    if name:
        return getattr(value, name)
    return getattr(value, "name", value) if isinstance(value, Section) else value


def override(key: str, value: Any) -> str:
    """Returns a key with its plain value as Hydra's grammar wants it: `cell=gru`, `data.path='a b.csv'`."""
    if not isinstance(value, str) or PLAIN_WORD.fullmatch(value):
        return f"{key}={as_typed(value)}"
    return f"{key}={quoted(value)}"


def quoted(text: str) -> str:
    """Returns a text between quotes as Hydra's grammar wants it: a backslash counts as one, unless a quote follows."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def as_record(planned: Study, rows: Sequence[Row], *, command: str, time: str) -> dict[str, Any]:
    """Returns a plan as plain values, for the study run."""
    return {
        **planned.plan.model_dump(),
        "task": planned.settings.task,
        "metric": planned.metric,
        "threshold": planned.threshold,
        "metrics": metric.as_records(planned.metrics),
        "levels": {key: list(values) for key, values in planned.levels.items()},
        "reference": planned.reference,
        "fixed": planned.fixed_settings,
        "seeds": planned.seeds,
        "aliases": planned.aliases(),
        "commands": [{"command": command, "time": time}],
        "rows": [
            {
                "label": row.label,
                "role": "reference" if row.is_reference else "variant",
                "values": row.values,
                "seed": row.seed,
                "position": row.position,
                "identity": row.trial.identity if row.trial else None,
                "normalised": [str(change) for change in row.trial.changes] if row.trial else [],
                "dropped": row.dropped,
            }
            for row in rows
        ],
    }


def from_text(text: str) -> list[dict[str, Any]]:
    """Returns the records of plans that a study's file holds, the earliest first.

    Raises:
      ValueError: it holds something else.
    """
    records = json.loads(text)
    if isinstance(records, list) and all(isinstance(record, dict) and _is_record(record) for record in records):
        return records
    raise ValueError("not a valid plan")


def is_continued_by(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Returns whether two records of plans are of one and the same plan, typed again or gone on with."""
    count = min(len(old["rows"]), len(new["rows"]))
    made = (
        "rows",
        "commands",
        "aliases",
        "fixed",
        "metrics",
        "task",
    )  # what follows from the rest, and was listed in less detail once
    rest = [{key: value for key, value in _whole(record).items() if key not in made} for record in (old, new)]
    rows = [[_planned(row) for row in record["rows"][:count]] for record in (old, new)]
    return rest[0] == rest[1] and rows[0] == rows[1]


def _whole(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with what an earlier version left out, as that version meant it."""
    whole = {**Plan().model_dump(), **record}
    first, *_ = metric.of_plan(record)
    whole["metric"] = whole["metric"] or f"{TEST}{first.name}"
    whole["threshold"] = first.target if whole["threshold"] is None else whole["threshold"]
    return whole


def _planned(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a row of a record plans, without its position and without the sentences: other versions word these differently."""
    said = ("position", "normalised", "dropped")
    return {key: value for key, value in row.items() if key not in said} | {
        "is_dropped": row.get("dropped") is not None
    }


def _is_record(values: Mapping[str, Any]) -> bool:
    return all(isinstance(values.get(key), list) and values[key] for key in ("rows", "commands"))


def _toggles(settings: Settings, tasks: Sequence[str]) -> tuple[str, ...]:
    """Returns the toggles of a study's task, or of all tasks that it varies."""
    every = [settings.toggles(), *(registry.task(task).settings.toggles() for task in tasks)]
    return tuple(dict.fromkeys(key for toggles in every for key in toggles))


def _check_toggle(key: str, toggles: Sequence[str], settings: Settings) -> None:
    section = key.split(".", maxsplit=1)[0]
    if section in Settings.NOT_TOGGLES or key == "seed":
        instead = "use plan.seeds" if key == "seed" else "it has one value for all trials"
        raise SettingsError(f"plan.levels: {key} is not a toggle; {instead}. Toggles: {', '.join(toggles)}")
    if section not in toggles or key.startswith("task."):
        raise unknown_key(key, type(settings))


def _check_metric(planned: Study) -> None:
    """Refuses a metric that no trial of the study has, and a threshold that no value can reach."""
    asked, first = planned.plan, planned.metrics[0]
    splits = [f"{split}{each.name}" for split in (TEST, VAL, TRAIN) for each in planned.metrics]
    names = [*splits, metric.best_name(first), STEPS, *(each.name for each in MEASURED)]
    if planned.metric not in names:
        is_bare = any(planned.metric == each.name for each in planned.metrics)
        near = f"{TEST}{planned.metric}" if is_bare else nearest(planned.metric, names)
        hint = f". Did you mean {near}?" if near else ""
        raise SettingsError(f"plan.metric: got {echoed(planned.metric)}; allowed: {', '.join(names)}{hint}")
    is_asked = planned.metric == STEPS or asked.threshold is not None
    key = (
        f"plan.metric={STEPS}" if planned.metric == STEPS else f"plan.threshold={asked.threshold:g}" if is_asked else ""
    )
    if is_asked and not first.sign:
        why = f"{first.name} has no direction, so no value of it is reached"
        raise SettingsError(f"{key}: {why}; remove it, and set plan.metric={TEST}{first.name}")
    if planned.metric == STEPS and planned.threshold is None:
        raise SettingsError(
            f"{key} needs a validation value of {first.name} to reach, and there is none; add plan.threshold=VALUE"
        )
    if asked.design == "path" and not first.sign:
        raise SettingsError(
            f"plan.design=path: {first.name} has no direction, so no variant is the best; set plan.design=one_at_a_time"
        )


def _refuse_mixed(key: str, values: Sequence[Any]) -> None:
    """Refuses truth values among numbers: to Python true and 1 are one value, and no toggle takes both."""
    if len({isinstance(value, bool) for value in values if isinstance(value, int | float)}) == 2:
        raise SettingsError(f"{key}: got {','.join(map(as_typed, values))}; allowed: {allowed(key)}")


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
