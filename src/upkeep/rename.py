"""Renames a study: its folder, its experiment and runs in MLflow, and the commands in its plan."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

from src import paths
from src.files import replaced
from src.spec.section import STUDY_NAME, WORDS_OF, SettingsError
from src.study import presented
from src.terminal.visible import counted, echoed
from src.tracking import experiments, links, names
from src.upkeep import holdings
from src.upkeep.holdings import PLAN, Holdings

LONGEST = 100  # characters of a name, as of the setting `study`
NAMED = "study="


class Renaming:
    """The renaming of one study, trained or adopted."""

    def __init__(self, old: str, new: str, uri: str | None) -> None:
        """Looks at the study and changes nothing.

        Raises:
          SettingsError: there is no such study, the new name is taken or not allowed, or the study is being trained.
        """
        check_name(new)
        holdings.refuse_two_of_one_name(old)
        self.old, self.new = old, new
        self._is_adopted = holdings.is_adopted(old)
        if self._is_adopted:
            self._folder = paths.adopted() / old
            self._found = Holdings(old, self._folder, {}, {}, [])
            holdings.refuse_existing(new, experiments.of_study(new, uri))
            return
        self._folder = paths.study_folder(old)
        self._found = holdings.of(old, uri)
        if deleted := [one for one in self._found.experiments if one.is_deleted]:
            fix = f"to restore it first, run: {deleted[0].how_to_restore()}"
            raise SettingsError(f"study {old} was deleted in MLflow and cannot be renamed there; {fix}")
        if names.target(self._folder) != new:
            names.refuse_unfinished(old)
            holdings.refuse_existing(new, experiments.of_study(new, uri))
        elif paths.study_folder(new).exists():
            raise SettingsError(f"study {new!r} exists ({paths.study_folder(new)}); move it away to finish renaming")
        # After an interruption, a store may have the experiment under its new name already.
        with holdings.at_rest(self._folder):
            pass

    def lines(self) -> list[str]:
        """Returns what gets the new name, and what keeps the old one."""
        target = self._folder.with_name(self.new)
        of_trials = f": {self._found.trials}, {holdings.size(self._folder)}" if self._found.outcomes else ""
        lines = [f"move {self._folder} to {target}{of_trials}"] if self._folder.exists() else []
        lines += [
            f"rename the experiment in {one.place}, with {counted(len(one.runs()), 'run')}"
            for one in self._found.active
        ]
        if self._is_adopted:
            return lines
        lines.append(f"journals and settings of trials keep the name {self.old}, which a later search finds")
        reports = paths.home() / "reports" / self.old
        again = f"`python -m analysis report {self.new}` writes a new one"
        return [*lines, *([f"stays: {reports}; {again}"] if reports.exists() else [])]

    def carry_out(self) -> str:
        """Renames the study, and returns what was done; if it is interrupted, repeating it completes it.

        Raises:
          SettingsError: the study is being trained now.
        """
        if self._is_adopted:
            os.rename(self._folder, self._folder.with_name(self.new))
            return self._done()
        with holdings.at_rest(self._folder):
            files = []
            if self._folder.exists():
                names.begin(self._folder, self.new)
                files = _with_new_name(self._folder, self.old, self.new)
            for experiment in self._found.active:
                experiment.rename(self.new, files=files)
            if self._folder.exists():
                os.rename(self._folder, self._folder.with_name(self.new))
        return self._done()

    def _done(self) -> str:
        return f"study {self.old} is now {self.new}; next: python -m analysis report {self.new}"


def check_name(study: str) -> None:
    """Raises `SettingsError` for a name that no study can have."""
    if not re.fullmatch(STUDY_NAME, study) or len(study) > LONGEST:
        raise SettingsError(
            f"study: got {echoed(study)!r}; allowed: {WORDS_OF[STUDY_NAME]}, up to {LONGEST} characters"
        )


def _with_new_name(folder: Path, old: str, new: str) -> list[Path]:
    """Replaces the name in the plan's commands and in the study's page; returns the changed files that MLflow has."""
    page = presented.read(folder)
    if page is not None and links.VIEW_TAG in page["experiment"]:
        page["experiment"][links.VIEW_TAG] = links.renamed_view(page["experiment"][links.VIEW_TAG], new)
        _write(folder / presented.FILE, page)
    try:
        records = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        for command in (command for record in records for command in record["commands"]):
            command["command"] = renamed_command(command["command"], old, new)
    except (OSError, ValueError, LookupError, TypeError):
        return []  # there is no plan, or it is broken, which the commands of the study report
    _write(folder / PLAN, records)
    return [folder / PLAN]


def renamed_command(command: str, old: str, new: str) -> str:
    """Returns the command of a study with the study's new name, which it names if it did not name the old one."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    if words[:3] != ["python", "-m", "src.run"] or f"{NAMED}{new}" in words:
        return command
    if f"{NAMED}{old}" in words:
        return shlex.join([f"{NAMED}{new}" if word == f"{NAMED}{old}" else word for word in words])
    return shlex.join([*words, f"{NAMED}{new}"])


def _write(path: Path, content: object) -> None:
    with replaced(path) as beside:
        beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
