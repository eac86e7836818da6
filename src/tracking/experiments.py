"""The experiments of studies in MLflow stores, as wholes: found, deleted and renamed. Nothing here creates one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import paths
from src.spec.record import ADDRESS, START
from src.spec.section import SettingsError
from src.terminal.errors import first_line
from src.tracking import attempts, database, descriptions, journal, links, moved
from src.tracking.attempts import Run
from src.tracking.database import sqlite_file
from src.tracking.deleted import how_to_restore
from src.tracking.stored import VALUE, fitting

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

STUDY = "ablation.study"  # tag of a run: the name of its study
REGISTERED = "mlflow.modelVersions"  # tag of a logged model with versions in MLflow's registry


@dataclass(frozen=True)
class Experiment:
    """The experiment of a study in one store.

    Attributes:
      client: MLflow's client of the store.
      uri: address of the store.
      number: id of the experiment.
      name: its name, which is that of the study.
      is_deleted: whether it is in MLflow's trash.
    """

    client: MlflowClient
    uri: str
    number: str
    name: str
    is_deleted: bool

    @property
    def place(self) -> str:
        """The address of its store for people, without a password."""
        return paths.shown(self.uri)

    def runs(self, *, deleted: bool = False) -> list[Run]:
        """Returns its runs with their tags: the active ones, or those in MLflow's trash."""
        if database.can_read(self.uri):
            return database.Database(self.uri).runs(self.number, deleted=deleted, parts=(database.TAGS,))
        from mlflow.entities import ViewType

        view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        return [Run.from_client(run) for run in _pages(self.client.search_runs, [self.number], "", run_view_type=view)]

    def trials(self) -> list[Run]:
        """Returns the active runs of trials."""
        return [run for run in self.runs() if run.tags.get(attempts.KIND) == "trial"]

    def delete(self) -> None:
        """Moves the experiment with its runs to MLflow's trash."""
        if not self.is_deleted:
            self.client.delete_experiment(self.number)

    def how_to_restore(self) -> str:
        """Returns the command that takes the experiment out of MLflow's trash."""
        return how_to_restore(self.uri, experiment_id=self.number)

    def rename(self, name: str, *, files: Iterable[Path] = ()) -> None:
        """Gives the experiment, and the runs in it, the name of a renamed study. Repeating it completes it.

        Args:
          name: the new name.
          files: files of the study's run that have changed with the name.
        """
        for run in self.runs():
            if run.tags.get(STUDY) != name:
                self._rename_run(run, name)
            if run.tags.get(attempts.KIND) == "study":
                for file in files:
                    self.client.log_artifact(run.run_id, str(file))
        view = self.client.get_experiment(self.number).tags.get(links.VIEW_TAG)
        if view is not None:
            self.client.set_experiment_tag(self.number, links.VIEW_TAG, links.renamed_view(view, name))
        if self.name != name:
            self.client.rename_experiment(self.number, name)

    def _rename_run(self, run: Run, name: str) -> None:
        if note := run.tags.get(descriptions.NOTE):
            renamed = fitting(descriptions.renamed(note, self.name, name), VALUE)
            self.client.set_tag(run.run_id, descriptions.NOTE, renamed)
        if run.tags.get(attempts.KIND) == "study" and run.name == f"study {self.name}":
            self.client.update_run(run.run_id, name=f"study {name}")
        self.client.set_tag(run.run_id, STUDY, name)  # last: it marks the run as done

    def copies(self, run_id: str) -> Path | None:
        """Returns the folder with MLflow's copies of a run's files; None if it is not on this machine."""
        address = self.client.get_run(run_id).info.artifact_uri
        return _here(address) if paths.is_database(self.uri) else None

    def logged_models(self) -> dict[str, list[Any]]:
        """Returns run id → its logged models; empty for a server without logged models, or with files elsewhere."""
        if not paths.is_database(self.uri):
            return {}
        models: dict[str, list[Any]] = {}
        for model in _pages(self.client.search_logged_models, [self.number]):
            models.setdefault(str(model.source_run_id), []).append(model)
        return models

    def has_version(self, model: Any) -> bool:
        """Returns whether a logged model is a version in MLflow's registry."""
        return REGISTERED in model.tags


def model_folder(model: Any) -> Path | None:
    """Returns the folder of a logged model's files; None if it is not on this machine."""
    return _here(model.artifact_location)


def of_study(study: str, uri: str | None) -> list[Experiment]:
    """Returns the experiments of a study, deleted ones included: in a store, or in all that its journals name.

    Args:
      study: its name.
      uri: the store; None for the default one and those that the trials' journals name.

    Raises:
      SettingsError: a store cannot be reached, so that nothing can be said about the study there.
    """
    addresses = [uri] if uri is not None else [None, *_recorded(paths.study_folder(study))]
    unique = dict.fromkeys(paths.absolute(paths.tracking_uri(address)) for address in addresses)
    found = [_find(address, study) for address in unique]
    return [experiment for experiment in found if experiment is not None]


def addresses(study: Path) -> set[str | None]:
    """Returns the stores that the journals of a study name, None for the default one."""
    return {_address(trial) for trial in journal.folders(study)}


def _recorded(study: Path) -> list[str]:
    return sorted(address for address in addresses(study) if address is not None)


def _address(trial: Path) -> str | None:
    """Returns the store that the latest attempt of a trial names; None for the default one."""
    starts = journal.last_attempt(trial, kinds=(START,))
    address = starts[-1].record.detail.get(ADDRESS) if starts else None
    return str(address) if address else None


def _find(uri: str, study: str) -> Experiment | None:
    file = sqlite_file(uri)
    if file is not None and not file.is_file():  # connecting would create it
        return None
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils as databases
    from mlflow.tracking import MlflowClient

    databases.MAX_RETRY_COUNT = 2
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)
    try:
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(study)
    except (MlflowException, OSError) as error:
        fix = "nothing was changed; try again when it can be reached, or name another store with --uri"
        raise SettingsError(f"{paths.shown(uri)} cannot be reached ({first_line(error)}); {fix}") from None
    if experiment is None:
        return None
    is_deleted = experiment.lifecycle_stage == "deleted"
    return Experiment(client, uri, str(experiment.experiment_id), study, is_deleted)


def _here(address: str | None) -> Path | None:
    """Returns the folder at an artifact address, also after a move of the home; None if it is not on this machine."""
    folder = moved.local_path(address)
    if folder is None or folder.is_dir():
        return folder
    beside = moved.path_in_home(folder, paths.home())
    return beside if beside is not None and beside.is_dir() else None


def _pages(search: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, page_token=token, **options)
        yield from page
        token = page.token
        if not token:
            return
