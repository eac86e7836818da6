"""The plan of a study: one row per variant and seed, with its trial or the reason why it has none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from src import registry
from src.config.explain import GROUPS, allowed, unknown_key
from src.config.overrides import override
from src.config.settings import described, differences, edited, label
from src.inference.sequential import Rule
from src.spec import metric
from src.spec.metric import MEASURED, STEPS_TO, TEST, TRAIN, VAL, Metric
from src.spec.renamed import plan_today
from src.spec.section import Section, SettingsError, UnknownKey, as_typed
from src.spec.settings import Interval, Plan, Settings
from src.streams import generator
from src.study import designs, halving, stopping
from src.study.designs import DesignError, Levels, Rounds, Variant
from src.terminal.errors import nearest
from src.terminal.visible import echoed
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
        favours no variant.

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
        rows = []
        for number, seed in enumerate(checked_seeds):
            order = generator(seed, "order of variants", after).permutation(len(variants))
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


def _at(row: Row, seed: int, *, position: int) -> Row:
    """Returns a variant's row with another seed; data, normalisation and errors do not depend on the seed."""
    overrides = [*row.overrides[:-1], f"seed={seed}"]
    return replace(
        row, seed=seed, position=position, overrides=overrides, trial=row.trial and row.trial.with_seed(seed)
    )


def study(
    fixed: Mapping[str, str],
    swept: Mapping[str, Sequence[Any]],
    *,
    compose: Compose,
    intervals: Mapping[str, Interval] | None = None,
) -> Study:
    """Returns the study that a command line describes, with or without a study file.

    A list or an interval on the command line replaces the levels of a toggle in the file. A single value applies to all
    trials, and the toggle is no longer varied.

    Args:
      fixed: key → override, for keys with a single value.
      swept: key → values, for keys with a list.
      compose: overrides → settings.
      intervals: key → bounds, for keys with an interval.

    Raises:
      SettingsError: a key or value is invalid, or the levels do not fit the design.
    """
    settings = _with_intervals(_common(fixed, swept, compose), {*fixed, *swept}, intervals or {})
    plan = settings.plan
    stopping.check_settings(plan)
    toggles = _toggles(settings, {**plan.levels, **swept}.get("task", []))
    for key in (*plan.levels, *plan.intervals, *(key for changes in plan.variants for key in changes)):
        _check_toggle(key, toggles, settings)
    if plan.design == "listed" or plan.variants:
        plan = _with_levels(settings, fixed, {**plan.levels, **swept})
    for key, values in plan.levels.items():
        if not values:
            raise SettingsError(f"plan.levels: {key} has no values; write {key}: [VALUE, …], or remove {key}")
    for key, typed in {**plan.levels, **swept}.items():
        _refuse_mixed(key, typed)
    for key in swept:
        _refuse_section(key, settings)
    levels = {
        key: _distinct(values) for key, values in {**plan.levels, **swept}.items() if key not in fixed and key != "seed"
    }
    listed = swept.get("seed") or ([] if "seed" in fixed else plan.seeds)
    if plan.max_seeds is None:
        seeds = listed or [settings.seed]
    else:
        seeds = stopping.seeds_of(plan, first=settings.seed, listed=listed)
        edited(settings, {"seed": seeds[-1]})  # the last seed may be too large
    linked = _linked(plan, {**plan.levels, **swept}, levels)
    for group in linked:
        levels = {key: levels[key] for key in _side_by_side(levels, group[0])}
    reference = {key: values[0] for key, values in levels.items()}
    for key, value in plan.reference.items():
        if key in plan.intervals:
            continue
        allowed_values = [*plan.levels.get(key, []), *swept.get(key, [])]
        if value not in allowed_values:
            listed = label({key: ",".join(map(as_typed, allowed_values))}) if allowed_values else "no levels"
            raise SettingsError(
                f"plan.reference: {key}={as_typed(value)} is not among plan.levels ({listed}); add it there"
            )
        if value in levels.get(key, []):  # otherwise the command line removed it
            reference[key] = value
    reference |= _linked_reference(plan, linked, reference)
    reference |= {key: _reference_within(plan, key) for key in plan.intervals}
    planned = Study(settings, list(fixed.values()), reference, levels, _distinct(seeds), compose, linked)
    if plan.intervals:
        variants = next(planned.rounds())
        drawn = {key: _distinct([variant[key] for variant in variants]) for key in reference}
        planned.levels = {
            key: [value for value in levels.get(key, found) if value in found] for key, found in drawn.items()
        }
    _check_exclusions(planned)
    _check_metric(planned)
    stopping.check(planned)
    halving.check(planned)
    return planned


def _common(fixed: Mapping[str, str], swept: Mapping[str, Sequence[Any]], compose: Compose) -> Settings:
    """Returns the settings that all trials share; if the task varies, of the first task that accepts the fixed keys."""
    if "task" not in swept:
        return compose(list(fixed.values()))
    errors = []
    for task in swept["task"]:
        registry.task(str(task))  # an unknown task is an error, not a dropped cell
    for task in swept["task"]:
        try:
            return compose([*fixed.values(), override("task", task)])
        except UnknownKey as error:
            errors.append(error)
    raise errors[0]


def _with_intervals(settings: Settings, others: Set[str], given: Mapping[str, Interval]) -> Settings:
    """Returns the settings with the intervals of the study file and of the command line, which takes precedence.

    Args:
      settings: of all trials.
      others: keys to which the command line gives values or lists, so that they have no interval.
      given: intervals of the command line.
    """
    plan = settings.plan
    intervals = {key: each for key, each in plan.intervals.items() if key not in others} | dict(given)
    if both := [key for key in plan.intervals if key in plan.levels]:
        raise SettingsError(f"plan.intervals: {both[0]} also has levels; remove one of them")
    if intervals and plan.design not in ("random", "halving"):
        key = next(iter(intervals))
        raise SettingsError(
            f"plan.design={plan.design}: {key} has an interval, from which only plan.design=random and halving draw; "
            f"set one of them, or list values, as in {key}=A,B"
        )
    for key, interval in intervals.items():
        try:
            designs.check_interval(key, interval)
        except DesignError as error:
            raise SettingsError(f"plan.intervals: {error}") from None
    levels = {key: values for key, values in plan.levels.items() if key not in given}
    return settings.model_copy(update={"plan": plan.model_copy(update={"intervals": intervals, "levels": levels})})


def _reference_within(plan: Plan, key: str) -> Any:
    """Returns the reference's value of a toggle with an interval: that of the plan, or the middle."""
    interval, value = plan.intervals[key], plan.reference.get(key)
    if key not in plan.reference:
        return designs.middle(interval)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not interval.low <= value <= interval.high:  # type: ignore[operator]
        allowed_values = f"a number from {interval.low:g} to {interval.high:g}, its interval"
        raise SettingsError(f"plan.reference: {key}={as_typed(value)}; allowed: {allowed_values}")
    return value


def _linked(plan: Plan, given: Mapping[str, Sequence[Any]], levels: Levels) -> list[list[Variant]]:
    """Returns for each group of linked toggles the values that they have together; `given` has them with repetitions.

    A toggle to which the command line gives a single value has no levels, and leaves its group.
    """
    linked = []
    for keys in plan.linked:
        if unknown := [key for key in keys if key not in given]:
            raise SettingsError(f"plan.linked: {unknown[0]} has no levels; add plan.levels.{unknown[0]}, or remove it")
        if len(keys) < 2 or len(set(keys)) < len(keys):
            raise SettingsError(f"plan.linked: got [{', '.join(keys)}]; a group has two different toggles or more")
        counts = {key: len(given[key]) for key in keys}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{key} {count}" for key, count in counts.items())
            raise SettingsError(
                f"plan.linked: linked toggles need equally many levels, one for each of the others; got {listed}"
            )
        varied = [key for key in keys if key in levels]
        if len(varied) > 1:
            values = zip(*(given[key] for key in varied), strict=True)
            together = {each: dict(zip(varied, each, strict=True)) for each in values}
            linked.append(list(together.values()))
    every = [key for group in linked for key in group[0]]
    if twice := [key for key in every if every.count(key) > 1]:
        raise SettingsError(f"plan.linked: {twice[0]} is in two groups; join them to one")
    return linked


def _side_by_side(levels: Levels, group: Variant) -> list[str]:
    """Returns the toggles with those of a group in the place of its first one."""
    first = next(key for key in levels if key in group)
    return [each for key in levels for each in (group if key == first else [key] if key not in group else [])]


def _linked_reference(plan: Plan, linked: Sequence[Sequence[Variant]], reference: Variant) -> Variant:
    """Returns the reference's values of linked toggles: the first together with those that `plan.reference` names."""
    chosen: Variant = {}
    for group in linked:
        named = {key: value for key, value in plan.reference.items() if reference.get(key) == value and key in group[0]}
        fitting_ones = [values for values in group if all(values[key] == value for key, value in named.items())]
        if not fitting_ones:
            raise SettingsError(f"plan.reference: {label(named)} are not linked with each other in plan.linked")
        chosen |= fitting_ones[0]
    return chosen


def _check_exclusions(planned: Study) -> None:
    """Raises `SettingsError` for an exclusion that names no varied toggle, or a value that it does not have."""
    for values in planned.plan.exclude:
        if not values:
            raise SettingsError("plan.exclude: got {}; name values, as in {TOGGLE: VALUE, OTHER: VALUE}")
        for key, value in values.items():
            if key in planned.plan.intervals:
                raise SettingsError(f"plan.exclude: {key} has an interval; name values of toggles that have levels")
            if key not in planned.levels:
                varied = ", ".join(planned.levels) or "nothing"
                raise SettingsError(f"plan.exclude: {key} is not varied; varied: {varied}")
            if value not in planned.levels[key]:
                listed = ",".join(map(as_typed, planned.levels[key]))
                raise SettingsError(f"plan.exclude: {key}={as_typed(value)} is not among its levels ({listed})")


def _with_levels(settings: Settings, fixed: Mapping[str, str], varied: Mapping[str, Sequence[Any]]) -> Plan:
    """Returns the plan of listed variants with the levels that they name; the value in the settings comes first."""
    plan = settings.plan
    if plan.design != "listed" or not plan.variants:
        raise SettingsError(
            f"plan.design={plan.design}: plan.variants and plan.design=listed need each other; set both or neither"
        )
    if with_levels := [key for key in varied if key != "seed"]:
        key = with_levels[0]
        raise SettingsError(
            f"plan.design=listed: {key} also has levels; move its values to plan.variants, or set plan.design=grid"
        )
    if named := [key for key in fixed if any(key in changes for changes in plan.variants)]:
        key = named[0]
        raise SettingsError(
            f"plan.design=listed: {fixed[key]} applies to all trials, but plan.variants change {key}; remove it"
        )
    if plan.reference:
        fix = f"replace plan.reference by {label(plan.reference)} outside of plan"
        raise SettingsError(f"plan.design=listed: the settings are the reference; {fix}")
    levels: dict[str, list[Any]] = {}
    for changes in plan.variants:
        for key, value in changes.items():
            levels.setdefault(key, [_current(settings, key)]).append(value)
    return plan.model_copy(update={"levels": levels})


def _current(settings: Settings, key: str) -> Any:
    section, _, name = key.partition(".")
    value = getattr(settings, section)
    if name and name not in getattr(type(value), "model_fields", ()):
        raise unknown_key(key, type(settings))
    if name:
        return getattr(value, name)
    return getattr(value, "name", value) if isinstance(value, Section) else value


def as_record(planned: Study, rows: Sequence[Row], *, command: str, time: str) -> dict[str, Any]:
    """Returns a plan as plain values, for the study's run in MLflow."""
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
    """Returns the records of plans in a study's file, the earliest first.

    Raises:
      ValueError: the file contains something else.
    """
    records = json.loads(text)
    if isinstance(records, list) and all(isinstance(record, dict) and _is_record(record) for record in records):
        return records
    raise ValueError("not a valid plan")


def is_continued_by(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Returns whether two records belong to the same plan, which was repeated or continued."""
    old = plan_today(old)
    count = min(len(old["rows"]), len(new["rows"]))
    # These follow from the other keys, and earlier versions recorded them in less detail, or they change no trial.
    derived = ("rows", "commands", "aliases", "fixed", "metrics", "task", "timing", "looked", "selection", "spread")
    rest = [{key: value for key, value in _completed(record).items() if key not in derived} for record in (old, new)]
    rows = [[_planned(row) for row in record["rows"][:count]] for record in (old, new)]
    return rest[0] == rest[1] and rows[0] == rows[1] and halving.is_continued_by(old, new)


def is_other_horizon(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Returns whether two records of sequential studies compare the same variants, with other looks or seeds."""
    same = ("design", "levels", "reference", "metric")
    olds, news = (_completed(plan_today(record)) for record in (old, new))
    if old.get("max_seeds") is None or any(olds.get(key) != news.get(key) for key in same):
        return False
    return any(olds[key] != news[key] for key in ("max_seeds", "looks", "stopping", "seeds"))


def _completed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with the keys that an earlier version did not record, at the values that it used."""
    completed = {**Plan().model_dump(), **record}
    first, *_ = metric.of_plan(record)
    completed["metric"] = completed["metric"] or f"{TEST}{first.name}"
    completed["threshold"] = first.target if completed["threshold"] is None else completed["threshold"]
    return completed


def _planned(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row without its position and its messages, which other versions word differently."""
    ignored = ("position", "normalised", "dropped")
    return {key: value for key, value in row.items() if key not in ignored} | {
        "is_dropped": row.get("dropped") is not None
    }


def _is_record(values: Mapping[str, Any]) -> bool:
    return all(isinstance(values.get(key), list) and values[key] for key in ("rows", "commands"))


def _toggles(settings: Settings, tasks: Sequence[str]) -> tuple[str, ...]:
    """Returns the toggles of a study's task, or of all its tasks if it varies the task."""
    every = [type(settings).toggles(), *(registry.task(task).settings.toggles() for task in tasks)]
    return tuple(dict.fromkeys(key for toggles in every for key in toggles))


def _check_toggle(key: str, toggles: Sequence[str], settings: Settings) -> None:
    section = key.split(".", maxsplit=1)[0]
    _refuse_section(key, settings)
    if section in Settings.NOT_TOGGLES or key == "seed":
        instead = "use plan.seeds" if key == "seed" else "it has one value for all trials"
        raise SettingsError(f"plan.levels: {key} is not a toggle; {instead}. Toggles: {', '.join(toggles)}")
    if section not in toggles or key.startswith("task."):
        raise unknown_key(key, type(settings))


def _refuse_section(key: str, settings: Settings) -> None:
    """Raises `SettingsError` for a key in a section of the task, which is no toggle."""
    if key.split(".", maxsplit=1)[0] in settings.sections():
        raise SettingsError(f"{key}: it is not a toggle and has one value for all trials")


def _check_metric(planned: Study) -> None:
    """Raises `SettingsError` for a metric that no trial of the study has, or a threshold that no value can reach."""
    plan, first = planned.plan, planned.metrics[0]
    splits = [f"{TEST}{each.name}" for each in planned.metrics]
    splits += [f"{VAL}{each.name}" for each in metric.on_validation(planned.metrics)]
    splits += [f"{TRAIN}{each.name}" for each in metric.on_every_split(planned.metrics)]
    names = [*splits, metric.best_name(first), STEPS, *(each.name for each in MEASURED)]
    if planned.metric not in names:
        is_bare = any(planned.metric == each.name for each in planned.metrics)
        near = f"{TEST}{planned.metric}" if is_bare else nearest(planned.metric, names)
        hint = f". Did you mean {near}?" if near else ""
        raise SettingsError(f"plan.metric: got {echoed(planned.metric)}; allowed: {', '.join(names)}{hint}")
    has_threshold = planned.metric == STEPS or plan.threshold is not None
    if planned.metric == STEPS:
        key = f"plan.metric={STEPS}"
    else:
        key = f"plan.threshold={plan.threshold:g}" if plan.threshold is not None else ""
    if has_threshold and not first.sign:
        why = f"{first.name} has no direction, so no value of it is reached"
        raise SettingsError(f"{key}: {why}; remove it, and set plan.metric={TEST}{first.name}")
    least, most = first.least, first.most
    if plan.threshold is not None and not (
        (least is None or least <= plan.threshold) and (most is None or plan.threshold <= most)
    ):
        limits = " and ".join(
            f"{name} {limit:g}" for name, limit in (("at least", least), ("at most", most)) if limit is not None
        )
        raise SettingsError(f"{key}: {first.name} is {limits}; set a value that it can reach")
    if planned.metric == STEPS and planned.threshold is None:
        raise SettingsError(
            f"{key} needs a validation value of {first.name} to reach, and there is none; add plan.threshold=VALUE"
        )
    if plan.design == "path" and not first.sign:
        raise SettingsError(
            f"plan.design=path: {first.name} has no direction, so no variant is the best; set plan.design=one_at_a_time"
        )


def _refuse_mixed(key: str, values: Sequence[Any]) -> None:
    """Raises `SettingsError` for booleans among numbers: in Python true equals 1, and no toggle takes both."""
    if len({isinstance(value, bool) for value in values if isinstance(value, int | float)}) == 2:
        raise SettingsError(f"{key}: got {','.join(map(as_typed, values))}; allowed: {allowed(key)}")


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
