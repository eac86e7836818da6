"""Merges studies of one task and equal data into a new one, which has copies of their trials.

The new study is made in a hidden folder and appears as a whole; then its journals are sent to MLflow. The merged
studies stay as they are. A trial that several of them have is counted once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src import paths
from src.config.settings import label
from src.spec import metric
from src.spec.section import SettingsError, as_typed
from src.study import plan_record
from src.study.halving import SELECTION
from src.terminal.visible import counted
from src.tracking import experiments
from src.tracking.journal import FINISHED
from src.upkeep import holdings
from src.upkeep.holdings import PLAN, Holdings
from src.upkeep.rename import check_name, renamed_command

FILE = "merged.json"  # in the study's folder: the studies that it was merged of
OF_STORES = ("mlflow.json", "tensorboard.json", "*.lock", "new-*")  # files that say what the trackers of a study have
SAME = (
    *("design", "levels", "reference", "metric", "threshold", "margin", "linked", "exclude", "within", "fixed"),
    "max_seeds",
)
HASHES = 3  # hashes of data that an error names


class Merging:
    """The merging of studies into a new one."""

    def __init__(self, studies: Sequence[str], name: str, uri: str | None) -> None:
        """Looks at the studies and changes nothing.

        Raises:
          SettingsError: a study is missing, is being trained or has records elsewhere; two of them differ in what makes
            results comparable; or the new name is taken.
        """
        check_name(name)
        if len({*studies}) < len(studies) or len(studies) < 2:
            raise SettingsError(f"merge: got {', '.join(studies)}; name two or more different studies")
        self.name, self._uri = name, uri
        self._target = paths.study_folder(name)
        self._sources = [_source(study, uri) for study in studies]
        self._plans = [_plans(source) for source in self._sources]
        _refuse_different(self._sources, [records[-1] for records in self._plans])
        if self._is_copied:
            return
        holdings.refuse_existing(name, experiments.of_study(name, uri))
        with holdings.at_rest(*(source.folder for source in self._sources)):
            pass
        self._chosen = _chosen(self._sources)
        self._record, self._judge = _merged(self._plans, [source.study for source in self._sources])

    def lines(self) -> list[str]:
        """Returns what is copied, which plan judges, and what stays."""
        if self._is_copied:
            return [f"the trials were copied to {self._target} before; send to MLflow what it lacks"]
        total = sum(len(source.outcomes) for source in self._sources)
        twice = total - len(self._chosen)
        lines = [f"copy {source.trials} of study {source.study}" for source in self._sources]
        once = f"; {counted(twice, 'trial')} of several studies count once" if twice else ""
        size = holdings.Size(*map(sum, zip(*map(holdings.size, self._chosen.values()), strict=True)))
        lines.append(f"to {self._target}: {counted(len(self._chosen), 'trial')}, {size}{once}")
        lines.append(self._judge.format(name=self.name))
        return [*lines, f"stay as they are: {', '.join(source.study for source in self._sources)}"]

    def carry_out(self) -> str:
        """Makes the new study, and returns what was done; if it is interrupted, repeating it completes it.

        Raises:
          SettingsError: a study is being trained now, or there is no room.
        """
        if not self._is_copied:
            with holdings.at_rest(*(source.folder for source in self._sources)):
                self._copy()
        if not any(source.active for source in self._sources):
            return (
                f"study {self.name} was made; its trials are not in MLflow: python -m src.sync {self.name} sends them"
            )
        command = [sys.executable, "-m", "src.sync", self.name, *(["--uri", self._uri] if self._uri else [])]
        if subprocess.run(command, check=False).returncode:
            return f"study {self.name} was made, but MLflow lacks some of it: python -m src.sync {self.name} sends it"
        return f"study {self.name} was made; next: python -m analysis report {self.name}"

    @property
    def _is_copied(self) -> bool:
        """Whether an earlier command has copied the trials of exactly these studies."""
        try:
            saved = json.loads((self._target / FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(saved == [source.study for source in self._sources])

    def _copy(self) -> None:
        made = paths.outputs() / ".merging" / self.name
        shutil.rmtree(made, ignore_errors=True)  # of an interrupted command
        made.mkdir(parents=True)
        needed, free = (
            sum(holdings.size(folder).bytes for folder in self._chosen.values()),
            shutil.disk_usage(made).free,
        )
        if needed > free:
            raise SettingsError(
                f"{paths.outputs()}: {needed:,} bytes are needed, {free:,} are free; nothing was changed"
            )
        for identity, folder in self._chosen.items():
            shutil.copytree(folder, made / identity, ignore=shutil.ignore_patterns(*OF_STORES))
        (made / PLAN).write_text(json.dumps(self._renamed(self._record), indent=1), encoding="utf-8")
        (made / FILE).write_text(json.dumps([source.study for source in self._sources]), encoding="utf-8")
        os.replace(made, self._target)

    def _renamed(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns plans whose commands continue the new study."""
        olds = [source.study for source in self._sources]
        return [
            {**record, "commands": [{**each, "command": _continuing(each["command"], olds, self.name)}
                                    for each in record["commands"]]}
            for record in records
        ]  # fmt: skip


def _continuing(command: str, olds: Sequence[str], new: str) -> str:
    named = next((old for old in olds if f"study={old}" in command.split()), olds[0])
    return renamed_command(command, named, new)


def _source(study: str, uri: str | None) -> Holdings:
    """Returns a study that can be merged.

    Raises:
      SettingsError: it cannot.
    """
    if holdings.is_adopted(study):
        fix = "adopt one table with the runs of both instead (python -m analysis adopt)"
        raise SettingsError(f"study {study} was adopted and has no records to merge; {fix}")
    found = holdings.of(study, uri)
    if found.broken:
        name, why = next(iter(found.broken.items()))
        raise SettingsError(f"study {study}: the journal of trial {name} cannot be read ({why})")
    here = found.outcomes.keys()
    elsewhere = {run.tags.get("ablation.identity") for one in found.active for run in one.trials()} - here
    if elsewhere or not here:
        what = f"the journals of {counted(len(elsewhere), 'trial')}" if elsewhere else "any journal"
        fix = "merge where they are, or copy the folders of those trials here"
        raise SettingsError(f"study {study}: {found.folder} does not have {what}; {fix}")
    return found


def _plans(source: Holdings) -> list[dict[str, Any]]:
    try:
        return plan_record.from_text((source.folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        fix = "run its command again, which writes one"
        raise SettingsError(f"study {source.study} has no valid plan ({source.folder / PLAN}); {fix}") from None


def _refuse_different(sources: Sequence[Holdings], latest: Sequence[Mapping[str, Any]]) -> None:
    """Raises `SettingsError` if studies differ in task, data, metric or store: their results cannot be compared."""
    firsts = [metric.of_plan(record)[0] for record in latest]
    parts: dict[str, tuple[list[str], str]] = {
        "tasks": ([_tags(source, "ablation.task") for source in sources], "each task has a study of its own"),
        "data": (
            [f"{_tags(source, 'ablation.data')}{_options(record)}"
             for source, record in zip(sources, latest, strict=True)],
            "these are hashes of what was read (ablation.data); results on different data cannot be compared: "
            "train one of them on the data of the other",
        ),
        "metrics": (
            [f"{record.get('metric') or firsts[place].name}, chosen by {firsts[place].name} ({firsts[place].direction})"
             for place, record in enumerate(latest)],
            "run the command of one of them again with plan.metric of the other",
        ),
    }  # fmt: skip
    for what, (values, fix) in parts.items():
        if len({*values}) > 1:
            listed = "; ".join(f"{source.study} has {value}" for source, value in zip(sources, values, strict=True))
            raise SettingsError(f"merge: the {what} differ: {listed}; {fix}")


def _tags(source: Holdings, tag: str) -> str:
    """Returns the values that a study's trials have of a tag, for people."""
    values = sorted({outcome.tags.get(tag, "none") for outcome in source.outcomes.values()})
    return ", ".join(values[:HASHES]) + (f" and {len(values) - HASHES} more" if len(values) > HASHES else "")


def _options(record: Mapping[str, Any]) -> str:
    """Returns the options of the data that a plan fixes: ` (data.limit=60)`."""
    options = {key: value for key, value in (record.get("fixed") or {}).items() if key.startswith("data")}
    return f" ({label(options)})" if options else ""


def _chosen(sources: Sequence[Holdings]) -> dict[str, Path]:
    """Returns identity → folder of each trial; of one that several studies have, a finished one, the first on ties."""
    chosen: dict[str, tuple[bool, Path]] = {}
    for source in sources:
        for identity, outcome in source.outcomes.items():
            is_finished = outcome.status == FINISHED
            if identity not in chosen or (is_finished and not chosen[identity][0]):
                chosen[identity] = is_finished, source.folder / identity
    return {identity: folder for identity, (_, folder) in chosen.items()}


def _merged(every: Sequence[list[dict[str, Any]]], studies: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """Returns the plans of the new study, the one that judges last, and a sentence that says which one that is."""
    records = [record for own in reversed(every) for record in own]
    latest = [own[-1] for own in every]
    joined = _joined(latest)
    if joined is not None:
        seeds = counted(len(joined["seeds"]), "seed")
        return [*records, joined], f"they make the same comparisons: one plan with all {seeds} judges"
    shows = "`python -m analysis table {name} --all` shows every trial in one table"
    own = any(map(_selects, latest))
    why = "seeds of looks and rungs cannot be joined" if own else f"the plans differ in {_differing(latest)}"
    return records, f"the plan of {studies[0]} judges, because {why}; {shows}"


def _selects(record: Mapping[str, Any]) -> bool:
    """Returns whether results decided what else was trained: at looks, or at the rungs of successive halving."""
    return record.get("max_seeds") is not None or bool(record.get(SELECTION))


def _joined(latest: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns one plan with the seeds of all; None if they make other comparisons, or results chose trials."""
    first, *others = latest
    rows = {(row["label"], row["seed"]): row for row in first["rows"]}
    for other in others:
        for row in other["rows"]:
            if rows.setdefault((row["label"], row["seed"]), row)["identity"] != row["identity"]:
                return None
    if any(map(_selects, latest)) or any(_compared(first) != _compared(other) for other in others):
        return None
    seeds = list(dict.fromkeys(seed for record in latest for seed in record["seeds"]))
    commands = [command for record in latest for command in record["commands"]]
    return {**first, "seeds": seeds, "commands": commands, "rows": list(rows.values())}


def _compared(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parts of a plan that make its comparisons; where the data are is not among them."""
    parts = {key: record.get(key) or None for key in SAME}  # earlier versions did not record each
    fixed = {key: value for key, value in (record.get("fixed") or {}).items() if not key.startswith("data")}
    return {**parts, "fixed": fixed}


def _differing(latest: Sequence[Mapping[str, Any]]) -> str:
    """Returns the parts in which plans differ."""
    compared = [_compared(record) for record in latest]
    differing = [key for key in SAME if len({as_typed(parts[key]) for parts in compared}) > 1]
    return " and ".join(differing) if differing else "the settings behind equal labels"
