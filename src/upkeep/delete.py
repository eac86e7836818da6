"""Deletes a study: its folder in `outputs/`, and its experiment in MLflow, which goes to MLflow's own trash."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from src import paths
from src.spec.section import SettingsError
from src.terminal.visible import counted
from src.upkeep import holdings
from src.upkeep.holdings import Holdings

REMOVING = ".removing"  # folder whose contents are being removed; its dot keeps it apart from studies


class Deletion:
    """The deletion of one study, trained or adopted."""

    def __init__(self, study: str, uri: str | None) -> None:
        """Looks at the study and changes nothing.

        Raises:
          SettingsError: there is no such study, two have this name, or it is being trained.
        """
        holdings.refuse_two_of_one_name(study)
        self.study = study
        is_adopted = holdings.is_adopted(study)
        self._folder = paths.adopted() / study if is_adopted else paths.study_folder(study)
        self._left = _in_removal(self._folder)
        try:
            self._found = Holdings(study, self._folder, {}, {}, []) if is_adopted else holdings.of(study, uri)
        except SettingsError:
            if not self._left.exists():
                raise
            self._found = Holdings(study, self._folder, {}, {}, [])
        with holdings.at_rest(self._folder):
            pass

    def lines(self) -> list[str]:
        """Returns what goes, what can be restored, and what stays."""
        found, lines = self._found, []
        if self._folder.exists():
            trials = f": {found.trials}" if found.outcomes or found.broken else ""
            lines.append(f"remove {self._folder}{trials}, {holdings.size(self._folder)}")
        if self._left.exists():
            lines.append(f"remove the rest of an earlier deletion ({self._left}): {holdings.size(self._left)}")
        for one in found.experiments:
            if one.is_deleted:
                lines.append(f"already in the trash of {one.place}; to restore it, run: {one.how_to_restore()}")
                continue
            lines.append(
                f"move {counted(len(one.runs()), 'run')} to the trash of {one.place}, with MLflow's copies of their "
                f"files; to restore them later, run: {one.how_to_restore()}"
            )
        if unsent := found.unsent():
            lines.append(
                f"{counted(len(unsent), 'trial')} cannot be restored, because no MLflow store has them; "
                f"`python -m src.sync {self.study}` sends them first"
            )
        return [*lines, *self._staying()]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to delete."""
        return not (self._folder.exists() or self._left.exists() or self._found.active)

    def carry_out(self) -> str:
        """Deletes the study, and returns what was done; if it is interrupted, repeating it completes it.

        Raises:
          SettingsError: the study is being trained now.
        """
        with holdings.at_rest(self._folder):
            for experiment in self._found.active:
                experiment.delete()
            shutil.rmtree(self._left, ignore_errors=True)
            if self._folder.exists():
                self._left.parent.mkdir(exist_ok=True)
                os.replace(self._folder, self._left)  # from now on nobody sees half of a study
                shutil.rmtree(self._left)
        return f"study {self.study} was deleted"

    def _staying(self) -> list[str]:
        reports, first_phases = paths.home() / "reports" / self.study, paths.outputs() / ".shared"
        lines = [f"stays: {reports}"] if reports.exists() else []
        if self._found.outcomes and first_phases.exists():
            lines.append(f"stays: {first_phases}, the first phases that other studies may share")
        return lines


def _in_removal(folder: Path) -> Path:
    """Returns where a folder is removed: out of the sight of all commands, on the same disk."""
    return folder.parent / REMOVING / folder.name
