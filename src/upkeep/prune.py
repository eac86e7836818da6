"""Removes models from the trials of a study: of every seed of a variant, or of all but the best by validation.

Records, metrics and what the test says of every example stay, so tables, figures and reports do not change.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from src.artifacts import SETTINGS
from src.files import digest
from src.spec import metric
from src.spec.record import METRICS, START
from src.spec.section import SettingsError
from src.terminal.visible import counted
from src.tracking import attempts, experiments, journal
from src.tracking.experiments import Experiment
from src.tracking.journal import FINISHED
from src.tracking.outcome import best_validated
from src.tracking.stored import VALUE, fitting
from src.trial import checkpoint, pruned
from src.trial.identity import NOT_IN_IDENTITY
from src.upkeep import holdings
from src.upkeep.holdings import Holdings, Size

Keep = Literal["best", "none"]
MODELS = ("*.keras", checkpoint.FILE)


class Copies(NamedTuple):
    """MLflow's copies of the models of a run, on this machine."""

    experiment: Experiment
    run_id: str
    paths: list[Path]
    logged: list[str]  # ids of its logged models


@dataclass
class Removal:
    """What is removed of one trial: its models, and MLflow's copies; `kept` is the trial whose model stays instead."""

    folder: Path
    kept: str | None
    files: list[Path]
    copies: list[Copies] = field(default_factory=list)


class Choice(NamedTuple):
    """Which finished trials keep their models.

    Attributes:
      best: identities of the best seed of each variant.
      others: identity → the best seed of its variant; None if none is kept.
      undecided: number of variants that keep all models, because no trial of them has a best validation value.
    """

    best: list[str]
    others: dict[str, str | None]
    undecided: int


class Pruning:
    """The removal of models from one study."""

    def __init__(self, study: str, keep: Keep, uri: str | None) -> None:
        """Looks at the study and changes nothing.

        Raises:
          SettingsError: there is no such study, its models are not here, or it is being trained.
        """
        self.study = study
        if holdings.is_adopted(study):
            raise SettingsError(f"study {study} was adopted: it has no models")
        self._found = holdings.of(study, uri)
        if not self._found.outcomes:
            raise SettingsError(f"study {study} has no trials in {self._found.folder}; prune it where it was trained")
        with holdings.at_rest(self._found.folder):
            pass
        self._choice = _choice(self._found, keep)
        self._registered = 0
        self._removals = self._all_removals()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to remove."""
        return not self._removals

    def lines(self) -> list[str]:
        """Returns what goes and what stays."""
        files = [file for removal in self._removals for file in removal.files]
        copies = [copy for removal in self._removals for copy in removal.copies]
        lines = []
        if files:
            trials = counted(sum(bool(removal.files) for removal in self._removals), "trial")
            lines.append(f"remove the models of {trials} of {len(self._found.outcomes)}: {_size(files)}")
        if copies:
            where = ", ".join(sorted({copy.experiment.place for copy in copies}))
            size = _size(path for copy in copies for path in copy.paths)
            lines.append(f"remove MLflow's copies of them, of {counted(len(copies), 'run')} in {where}: {size}")
        if self._choice.best:
            best = "the best seed of each variant by validation"
            lines.append(f"keep the models of {counted(len(self._choice.best), 'trial')}: {best}")
        if self._choice.undecided:
            why = "it has no best validation value; --keep-models none removes its models, too"
            lines.append(f"keep all models of {counted(self._choice.undecided, 'variant')}: {why}")
        if self._registered:
            lines.append(f"keep MLflow's copies of {counted(self._registered, 'model')} in its registry")
        return [*lines, "records, metrics and tables stay; a model comes back when its trial is trained again"]

    def carry_out(self) -> str:
        """Removes the models, and returns what was done; if it is interrupted, repeating it completes it.

        Raises:
          SettingsError: the study is being trained now.
        """
        with holdings.at_rest(self._found.folder):
            for removal in self._removals:
                _remove(removal)
        return f"the models of {counted(len(self._removals), 'trial')} of study {self.study} were removed"

    def _all_removals(self) -> list[Removal]:
        folder = self._found.folder
        removals = {
            name: Removal(folder / name, kept, _files(folder / name)) for name, kept in self._choice.others.items()
        }
        for experiment in self._found.active:
            models = experiment.logged_models()
            for run in experiment.trials():
                removal = removals.get(run.tags.get(attempts.IDENTITY, ""))
                copies = _copies(experiment, run.run_id, models.get(run.run_id, ())) if removal else None
                if copies == []:
                    self._registered += 1
                elif copies and removal:
                    removal.copies += copies
        return [removal for removal in removals.values() if removal.files or removal.copies]


def _choice(found: Holdings, keep: Keep) -> Choice:
    """Returns which finished trials keep their models."""
    finished = [name for name, outcome in found.outcomes.items() if outcome.status == FINISHED]
    if keep == "none":
        return Choice([], dict.fromkeys(finished), 0)
    best, others, undecided = [], dict[str, str | None](), 0
    for trials in _variants(found, finished):
        start, *_ = journal.entries(found.folder / trials[0], kinds=(START,))
        first = metric.of_records(start.record.detail.get(METRICS))[0]
        kept = best_validated({name: found.outcomes[name] for name in trials}, first)
        if kept is None:
            undecided += 1
            continue
        best.append(kept)
        others |= {name: kept for name in trials if name != kept}
    return Choice(best, others, undecided)


def _variants(found: Holdings, trials: Iterable[str]) -> list[list[str]]:
    """Returns the identities of the trials of each variant, sorted by seed. A trial without settings is a variant."""
    variants: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in trials:
        settings = _settings(found.folder / name)
        data = found.outcomes[name].tags.get("ablation.data")
        values = {key: value for key, value in settings.items() if key != "seed" and key not in NOT_IN_IDENTITY}
        variants[digest([values, data]) if settings else name].append((settings.get("seed", 0), name))
    return [[name for _, name in sorted(members)] for members in variants.values()]


def _settings(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(values) if isinstance(values, Mapping) else {}


def _files(folder: Path) -> list[Path]:
    return sorted(path for pattern in MODELS for path in folder.glob(pattern))


def _copies(experiment: Experiment, run_id: str, models: Iterable[Any]) -> list[Copies] | None:
    """Returns MLflow's copies of a run's models: None if none is on this machine, [] if one is in the registry."""
    folder = experiment.copies(run_id)
    paths = _files(folder) if folder else []
    logged = list(models)
    if any(map(experiment.has_version, logged)):
        return []
    paths += [path for path in map(experiments.model_folder, logged) if path is not None and path.is_dir()]
    return [Copies(experiment, run_id, paths, [str(model.model_id) for model in logged])] if paths else None


def _remove(removal: Removal) -> None:
    """Removes the models of a trial; writes why first, so that no model is missing without a reason."""
    pruned.write(removal.folder, kept=removal.kept)
    why = pruned.why(removal.folder) or ""
    for file in removal.files:
        file.unlink(missing_ok=True)
    for copy in removal.copies:
        copy.experiment.client.set_tag(copy.run_id, pruned.TAG, fitting(why, VALUE))
        for model_id in copy.logged:
            copy.experiment.client.delete_logged_model(model_id)
        for path in copy.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _size(paths: Iterable[Path]) -> Size:
    sizes = [holdings.size(path) if path.is_dir() else Size(1, path.stat().st_size) for path in paths if path.exists()]
    return Size(sum(size.files for size in sizes), sum(size.bytes for size in sizes))
