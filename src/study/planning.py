"""Makes the plan of a study from what a command line and a study file ask for, or says what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from src import registry
from src.config.explain import allowed, unknown_key
from src.config.overrides import override
from src.config.settings import edited, label
from src.spec import metric
from src.spec.metric import MEASURED, TEST, TRAIN, VAL
from src.spec.section import Section, SettingsError, UnknownKey, as_typed
from src.spec.settings import Interval, Plan, Settings
from src.study import designs, halving, stopping
from src.study.designs import STEPWISE, DesignError, Levels, Variant
from src.study.plan import STEPS, Compose, Study
from src.terminal.errors import nearest
from src.terminal.visible import echoed


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
    given = {**plan.levels, **swept}
    _check_levels(plan, given, swept, settings)
    levels = {key: _distinct(values) for key, values in given.items() if key not in fixed and key != "seed"}
    seeds = _seeds(settings, swept.get("seed") or ([] if "seed" in fixed else plan.seeds))
    linked = _linked(plan, given, levels)
    for group in linked:
        levels = {key: levels[key] for key in _side_by_side(levels, group[0])}
    reference = _reference(plan, swept, levels, linked)
    planned = Study(settings, list(fixed.values()), reference, levels, seeds, compose, linked)
    if plan.intervals:
        variants = next(planned.rounds())
        drawn = {key: _distinct([variant[key] for variant in variants]) for key in reference}
        planned.levels = {
            key: [value for value in levels.get(key, found) if value in found] for key, found in drawn.items()
        }
    _check_exclusions(planned)
    _check_within(planned)
    _check_metric(planned)
    stopping.check(planned)
    halving.check(planned)
    return planned


def _check_levels(
    plan: Plan, given: Mapping[str, Sequence[Any]], swept: Mapping[str, Sequence[Any]], settings: Settings
) -> None:
    """Raises `SettingsError` for a toggle without values or with mixed ones, and for a swept key that is no toggle."""
    for key, values in plan.levels.items():
        if not values:
            raise SettingsError(f"plan.levels: {key} has no values; write {key}: [VALUE, …], or remove {key}")
    for key, typed in given.items():
        _refuse_mixed(key, typed)
    for key in swept:
        _refuse_section(key, settings)


def _seeds(settings: Settings, listed: Sequence[Any]) -> list[int]:
    """Returns the seeds of every variant: those that are listed, those of a sequential study, or the settings' seed."""
    plan = settings.plan
    if plan.max_seeds is None:
        return _distinct(listed or [settings.seed])
    seeds = stopping.seeds_of(plan, first=settings.seed, listed=listed)
    edited(settings, {"seed": seeds[-1]})  # the last seed may be too large
    return _distinct(seeds)


def _reference(
    plan: Plan, swept: Mapping[str, Sequence[Any]], levels: Levels, linked: Sequence[Sequence[Variant]]
) -> Variant:
    """Returns the values of the reference: the first levels, or those that the plan names."""
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
    return reference | {key: _reference_within(plan, key) for key in plan.intervals}


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
            raise SettingsError(f"plan.linked: the lists of linked toggles have equal lengths; got {listed}")
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


def _check_within(planned: Study) -> None:
    """Raises `SettingsError` for a study whose variants cannot be compared at the values of these toggles."""
    plan = planned.plan
    if not plan.within:
        return
    named = f"plan.within=[{','.join(plan.within)}]"
    for key in plan.within:
        if key not in planned.levels:
            raise SettingsError(f"{named}: {key} is not varied; varied: {', '.join(planned.levels) or 'nothing'}")
    if set(planned.levels) <= set(plan.within):
        raise SettingsError(f"{named} leaves no toggle to compare; leave one of them out")
    if plan.design in STEPWISE:
        raise SettingsError(f"{named}: plan.design={plan.design} compares with the step before; remove plan.within")
    if plan.max_seeds is not None or plan.design == halving.NAME:
        other = f"plan.design={plan.design}" if plan.max_seeds is None else f"plan.max_seeds={plan.max_seeds}"
        raise SettingsError(f"{named}: with {other} every variant is compared with one reference; remove one of them")


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
