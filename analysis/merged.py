"""All plans of a study merged into one: every trial that several commands have trained under the study's name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src import registry
from src.config.settings import label
from src.spec.metric import Metric, of_plan
from src.spec.renamed import as_today
from src.spec.section import as_typed
from src.study import halving
from src.study.designs import FACTORIAL
from src.trial.identity import NOT_IN_IDENTITY

DATA = "data (hash)"  # column that is added if trials with the same settings read different data
NAMES = {"task.name": "task", "data.name": "data"}  # name of a setting → its group on the command line


@dataclass(frozen=True)
class Trial:
    """A trial, independent of the plans that contain it.

    Attributes:
      settings: the settings that it was trained with, flat and typed.
      data: hash of its data, or None.
    """

    settings: Mapping[str, Any]
    data: str | None


@dataclass
class _Entry:
    """A trial as one plan lists it, or with its own settings if no plan lists it."""

    identity: str
    seed: int
    values: dict[str, Any]
    normalised: list[str]
    is_reference: bool


def plan(plans: Sequence[Mapping[str, Any]], trials: Mapping[str, Trial]) -> tuple[dict[str, Any], str, list[str]]:
    """Returns one plan of all trials, in the form of `load.Study.plan`, a description of it, and further notes.

    Trials of plans whose metrics differ from the latest plan's are left out, as their numbers cannot be compared.

    A trial is named by every setting in which the trials differ, and has a row for each set of values under which a
    plan lists it. The reference is that of the latest plan. A setting that a plan did not vary has the value of that
    plan's reference, as the trial itself may have a normalised value.

    Args:
      plans: as `load` reads them, the earliest first; at least one.
      trials: identity → the trial that counts.
    """
    total = len(plans)
    plans, trials, apart = _of_one_meaning([_in_words_of_today(each) for each in plans], trials)
    entries = [*_planned(plans, trials), *_unplanned(plans, trials)]
    varied = _varied(entries, plans, trials)
    for entry in entries:
        entry.values = {key: entry.values.get(key, _default(key, plans)) for key in varied}
    entries, varied, notes = _distinguished(entries, varied, trials)
    reference = next(
        (entry.values for entry in reversed(entries) if entry.is_reference), entries[0].values if entries else {}
    )
    levels = {key: _distinct([reference[key], *(entry.values[key] for entry in entries)]) for key in varied}
    is_grid = all(record["design"] in FACTORIAL for record in plans)
    rows = [_row(entry, reference, is_grid=is_grid) for entry in entries]
    rows.sort(key=lambda row: row["role"] != "reference")
    made: dict[str, Any] = {"levels": levels, "reference": reference, "variants": [], "aliases": [], "rows": rows}
    commands = [command for record in plans for command in record["commands"]]
    what = "every trial of the study is shown" if not apart else "trials of the study are shown"
    text = f"{what}, of {len(plans)}{f' of {total}' if apart else ''} plan{'' if total == 1 else 's'}"
    other = len(trials.keys() - {row["identity"] for record in plans for row in record["rows"]})
    text += f" and {other} of no plan that is kept" if other else ""
    made |= {
        "design": "grid" if is_grid else "listed",
        "commands": commands,
        "seeds": sorted({row["seed"] for row in rows}),
    }
    return {**plans[-1], **made}, f"{text}; they are compared with the latest plan's reference", [*apart, *notes]


def _of_one_meaning(
    plans: Sequence[Mapping[str, Any]], trials: Mapping[str, Trial]
) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Trial], list[str]]:
    """Returns the plans whose metrics are those of the latest plan, their trials, and a note on the other plans."""
    latest = of_plan(plans[-1])
    kept = [record for record in plans if _mean_the_same(of_plan(record), latest)]
    planned = {row["identity"] for record in kept for row in record["rows"]}
    others = {row["identity"] for record in plans for row in record["rows"]} - planned
    left_out = others & trials.keys()
    if not left_out:
        return kept, trials, []
    names = sorted({_described(of_plan(record)) for record in plans if record not in kept})
    trials_are = "1 trial belongs" if len(left_out) == 1 else f"{len(left_out)} trials belong"
    why = f"measured {' and '.join(names)}, the latest plan {_described(latest)}; the numbers are not comparable"
    note = f"{trials_are} to plans with other metrics, and are not shown: those plans {why}"
    return kept, {identity: trial for identity, trial in trials.items() if identity not in left_out}, [note]


def _mean_the_same(metrics: Sequence[Metric], others: Sequence[Metric]) -> bool:
    """Returns whether two plans choose the best epoch by the same metric, and define their common metrics alike."""
    theirs = {metric.name: metric for metric in others}
    shared = [(metric, theirs[metric.name]) for metric in metrics if metric.name in theirs]
    return metrics[0].name == others[0].name and all(_quantity(ours) == _quantity(other) for ours, other in shared)


def _quantity(metric: Metric) -> tuple[str | None, str, str]:
    return metric.direction, metric.source, metric.finish


def _described(metrics: Sequence[Metric]) -> str:
    return "(" + ", ".join(f"{metric.name}: {metric.direction or 'no direction'}" for metric in metrics) + ")"


def typed(params: Mapping[str, str]) -> dict[str, Any]:
    """Returns MLflow's params, which are texts, as typed values."""
    return as_today({key: _typed(text) for key, text in params.items()})


def _typed(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


def _planned(plans: Sequence[Mapping[str, Any]], trials: Mapping[str, Trial]) -> list[_Entry]:
    """Returns the rows of all plans that have a trial, the earliest plan first."""
    entries = []
    for number, record in enumerate(plans):
        done = [row for row in record["rows"] if row["identity"] in trials]
        reference = next((trials[row["identity"]] for row in done if row["role"] == "reference"), None)
        for row in done:
            settings = (reference or trials[row["identity"]]).settings
            is_reference = row["role"] == "reference" and number == len(plans) - 1
            values = {**of_identity(settings), **row["values"]}
            entries.append(_Entry(row["identity"], row["seed"], values, row["normalised"], is_reference))
    return entries


def _unplanned(plans: Sequence[Mapping[str, Any]], trials: Mapping[str, Trial]) -> list[_Entry]:
    planned = {row["identity"] for record in plans for row in record["rows"]}
    others = {identity: trial for identity, trial in trials.items() if identity not in planned}
    return [
        _Entry(identity, int(trial.settings.get("seed", 0)), of_identity(trial.settings), [], is_reference=False)
        for identity, trial in others.items()
    ]


def of_identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that determine a result, by their names on the command line, without the seed."""
    named = {_of_today(key): value for key, value in settings.items()}
    return {key: value for key, value in named.items() if key != "seed" and key not in NOT_IN_IDENTITY - {"data"}}


def _of_today(key: str) -> str:
    """Returns today's name of a setting; an older version had the task's toggles in a section `task`."""
    return NAMES.get(key, key.removeprefix("task."))


def _in_words_of_today(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a plan with today's names of settings; the rungs of successive halving are rows like others."""
    plan = {**plan, "rows": [*plan["rows"], *halving.trials_of(plan)], "selection": []}
    renamed = {part: {_of_today(key): value for key, value in plan[part].items()} for part in ("levels", "reference")}
    rows = [{**row, "values": {_of_today(key): value for key, value in row["values"].items()}} for row in plan["rows"]]
    return {**plan, **renamed, "rows": rows}


def _varied(entries: Sequence[_Entry], plans: Sequence[Mapping[str, Any]], trials: Mapping[str, Trial]) -> list[str]:
    """Returns the settings in which the trials differ, those of the latest plan first.

    Files with the same content are the same data, whatever their path.
    """
    listed = list(dict.fromkeys(key for record in reversed(plans) for key in record["levels"]))
    known = dict.fromkeys([*listed, *(key for entry in entries for key in entry.values)])
    is_one_corpus = len({trial.data for trial in trials.values()}) == 1
    keys = [key for key in known if not (is_one_corpus and key.startswith("data.") and key not in listed)]
    return [
        key for key in keys if len({as_typed(entry.values.get(key, _default(key, plans))) for entry in entries}) > 1
    ]


def _default(key: str, plans: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the value of a setting in trials that are older than the setting; the plans' own tasks come first."""
    tasks = registry.usable()
    own = [tasks[name] for record in plans if isinstance(name := record.get("task"), str) and name in tasks]
    for task in (*own, *tasks.values()):
        if key in (added := task.settings.added()):
            return added[key]
        field = task.settings.model_fields.get(key)
        if field is not None and isinstance(field.default, str | int | float | bool):
            return field.default
    return None


def _distinguished(
    entries: Sequence[_Entry], varied: list[str], trials: Mapping[str, Trial]
) -> tuple[list[_Entry], list[str], list[str]]:
    """Returns the entries, one per variant and seed, and the settings that distinguish them.

    The data count as such a setting if two trials agree in everything else.
    """
    if _has_duplicates(entries) and len({trials[entry.identity].data for entry in entries}) > 1:
        for entry in entries:
            entry.values[DATA] = trials[entry.identity].data
        varied = [*varied, DATA]
    kept = {_key(entry): entry for entry in entries}  # of equal entries, that of the latest plan
    lost = len({entry.identity for entry in entries}) - len({entry.identity for entry in kept.values()})
    what, are = ("trial equals", "is") if lost == 1 else ("trials equal", "are")
    note = f"{lost} {what} another in settings, seed and data, and {are} left out: the one of the latest plan counts"
    return list(kept.values()), varied, [note] if lost else []


def _has_duplicates(entries: Iterable[_Entry]) -> bool:
    """Whether any two trials have the same settings and seed."""
    identities: dict[Any, set[str]] = {}
    for entry in entries:
        identities.setdefault(_key(entry), set()).add(entry.identity)
    return any(len(group) > 1 for group in identities.values())


def _key(entry: _Entry) -> tuple[Any, ...]:
    return (entry.seed, *map(as_typed, entry.values.values()))


def _row(entry: _Entry, reference: Mapping[str, Any], *, is_grid: bool) -> dict[str, Any]:
    changed = {key: value for key, value in entry.values.items() if as_typed(value) != as_typed(reference[key])}
    name = label(entry.values) or "defaults" if is_grid else label(changed) or "reference"
    return {
        "label": name, "role": "variant" if changed else "reference", "values": entry.values, "seed": entry.seed,
        "identity": entry.identity, "normalised": entry.normalised, "dropped": None,
    }  # fmt: skip


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({as_typed(value): value for value in values}.values())
