"""Replays journals to MLflow.

A replay starts at the byte where the last one stopped. If a process dies after sending and before saving that position,
the next replay sends the same records again, and MLflow keeps one of each: a search by the attempt's id finds the run,
params and tags are overwritten with equal values, and key, step, time and value identify a metric. MLflow's client
repeats a request that the server did not answer, which may create a run twice: one is kept, and the others are deleted
with a tag that names the kept one.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from src import paths
from src.files import digest
from src.spec import metric
from src.spec.metric import VAL, Metric
from src.spec.record import END, METRICS, SAMPLES, START, Record
from src.tracking import attempts, database, descriptions, journal, links, moved, names, replay_state, sending, storage
from src.tracking.deleted import how_to_restore
from src.tracking.experiments import STUDY
from src.tracking.journal import FAILED, FINISHED, KILLED, Entry
from src.tracking.outcome import Outcome
from src.tracking.stored import NAME, VALUE, fitting

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

ACTIVE, DELETED, ALL = 1, 2, 3  # `mlflow.entities.ViewType`, whose import takes seconds
DUPLICATE = "ablation.duplicate_of"  # tag of a run that was created twice: the id of the kept run
PARENT = "mlflow.parentRunId"
TRIES = 2  # attempts to reach a database server; MLflow's default is ten, which take two minutes


class Deleted(LookupError):
    """The study was deleted in MLflow; the text gives the command that restores it."""


class Store:
    """An MLflow tracking store and the experiment of one study in it.

    Attributes:
      is_restored: whether the study had been deleted, and this object restored it.
      moved: a note for the user if this object corrected the addresses of moved files; otherwise None.
    """

    def __init__(self, uri: str | None, study: str, *, is_new: bool = True, restores: bool = False) -> None:
        """Connects, and creates the database, the experiment and the study run if they are missing.

        Args:
          uri: MLflow tracking URI; None for SQLite in `paths.home()`.
          study: name of the study.
          is_new: whether to create a missing experiment or study run.
          restores: whether to restore a deleted experiment or study run.

        Raises:
          Deleted: the experiment or the study run was deleted, and `restores` is false.
          LookupError: there is no such experiment or study run, and `is_new` is false.
          SettingsError: the database cannot be created or opened, its driver is not installed, or a rename of the study
            was interrupted.
          mlflow.exceptions.MlflowException: the store cannot be reached or used.
        """
        names.refuse_unfinished(study)
        # The state of a replay is saved under this address, so it must not depend on the current folder.
        self.uri = paths.absolute(paths.tracking_uri(uri))
        self.study = study
        from mlflow.store.db import utils as databases
        from mlflow.tracking import MlflowClient  # takes seconds

        if not self.uri.startswith("sqlite:"):
            databases.MAX_RETRY_COUNT = TRIES
        # Hides notices of migrations; errors still arrive as exceptions.
        logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)
        self.is_restored, self.moved = False, None
        with storage.creation_lock():
            storage.refuse_unusable(self.uri)
            storage.create_whole(self.uri)
            self.client = MlflowClient(self.uri)
            experiment = self.client.get_experiment_by_name(study)
            if experiment is not None and moved.has_moved(self.uri, experiment.artifact_location):
                self.moved = moved.mend(self.uri)
            self.experiment_id = self._find_or_create_experiment(experiment, is_new=is_new, restores=restores)
            self.study_run_id = self._find_or_create_study_run(is_new=is_new, restores=restores)

    def outcomes(self, metrics: Sequence[Metric], *, known: Mapping[str, str] | None = None) -> dict[str, Outcome]:
        """Returns identity → outcome of the trial's attempt that counts: the latest finished one, or else the latest.

        Older trials have no best validation value; `best_validation` computes it.

        Args:
          metrics: of the study. The first metric of a trial is the one whose best validation value it recorded, or else
            the first of these.
          known: identity → attempt whose metrics and tags the caller already has. If exactly these attempts count, the
            outcomes may lack metrics and most tags: for 20,000 trials, reading those takes most of the time.
        """
        if known and database.can_read(self.uri):
            brief = _outcomes(self._trials(is_brief=True), metrics)
            if all(outcome.attempt == known.get(identity) for identity, outcome in brief.items()):
                return brief
        return _outcomes(self._trials(), metrics)

    def best_validation(self, run_id: str, first: Metric) -> float | None:
        """Returns the best validation value of a trial that recorded only the values of this metric over time."""
        history = self.client.get_metric_history(run_id, f"{VAL}{first.name}")
        return first.best(point.value for point in history) if first.sign else None

    @property
    def link(self) -> str:
        """Address of the study's runs in MLflow's pages."""
        return links.study_link(links.pages_of(self.uri), self.experiment_id)

    def present(self, page: Mapping[str, Any]) -> None:
        """Sets what MLflow's pages show of the study; keeps a description that a user edited there.

        Args:
          page: `experiment` (tags of the experiment, which control how its runs are shown), and `description`, `tags`
            and `metrics` of the study run.
        """
        from mlflow.entities import Metric as Value
        from mlflow.entities import RunTag

        for key, value in page["experiment"].items():
            self.client.set_experiment_tag(self.experiment_id, key, value)
        before = self.client.get_run(self.study_run_id).data.tags
        tags = page["tags"] | {"ablation.link": self.link}
        if descriptions.NOTE not in before or digest(before[descriptions.NOTE]) == before.get("ablation.described"):
            text = fitting(page["description"], VALUE)
            tags |= {descriptions.NOTE: text, "ablation.described": digest(text)}
        now_ms = round(time.time() * 1_000)
        metrics = [Value(name, value, now_ms, 0) for name, value in page["metrics"].items()]
        self.client.log_batch(
            self.study_run_id, metrics, [], [RunTag(key, fitting(value, VALUE)) for key, value in tags.items()]
        )

    def open_study(self) -> None:
        """Marks the study run as running, even if it had ended."""
        self.client.update_run(self.study_run_id, status="RUNNING")

    def attach(self, file: Path, *, tags: dict[str, str]) -> None:
        """Attaches a file to the study run, and sets tags that describe it."""
        self.client.log_artifact(self.study_run_id, str(file))
        for key, value in tags.items():
            self.client.set_tag(self.study_run_id, key, fitting(value, VALUE))

    def close_study(self, status: str) -> None:
        """Ends the study run; the next run of the study reopens it."""
        self.client.set_terminated(self.study_run_id, status=status)

    def end_study_if_running(self, status: str) -> None:
        """Ends a study run that is still running; keeps the status that a sweep has set."""
        if self.client.get_run(self.study_run_id).info.status == "RUNNING":
            self.close_study(status)

    def deleted_trials(self) -> dict[str, str]:
        """Returns run id → name of the study's trials that a user deleted."""
        return {run.run_id: run.name for run in self._trials(deleted=True, is_brief=True) if DUPLICATE not in run.tags}

    def delete_duplicates(self) -> int:
        """Deletes duplicate runs of the study and of its trials; returns how many it deleted.

        A server created them, but its answer was lost. The next `replay` sends again what only the duplicates had.
        """
        count = 0
        studies = self._search("tags.`ablation.kind` = 'study'")
        trials = self._trials(is_brief=True)
        for run in studies:
            if run.info.run_id != self.study_run_id:
                for child in trials:
                    if child.tags.get(PARENT) == run.info.run_id:
                        self.client.set_tag(child.run_id, PARENT, self.study_run_id)
                self._delete_duplicate(run.info.run_id, self.study_run_id)
                count += 1
        by_attempt: dict[str, list[str]] = {}
        for trial in trials:
            by_attempt.setdefault(trial.tags.get(attempts.ATTEMPT, trial.run_id), []).append(trial.run_id)
        for run_ids in by_attempt.values():
            if len(run_ids) > 1:
                self._keep_one([self.client.get_run(run_id) for run_id in run_ids])
                count += len(run_ids) - 1
        return count

    def answers(self) -> bool:
        """Returns whether the store responds now."""
        try:
            self.client.get_run(self.study_run_id)
        except Exception:  # MLflow's stores pass on the exceptions of their drivers
            return False
        return True

    def replay(self, folder: Path) -> int:
        """Sends the records of a trial's journal that the store lacks; returns their number.

        An attempt whose run was deleted is left out; if a user restores the run, the next replay sends the whole
        attempt. A run that is finished in MLflow stays finished, even if the journal lost its end.
        """
        if not (folder / journal.FILE).is_file():
            return 0
        with FileLock(folder / "replay.lock"):
            path = folder / "mlflow.json"
            states = replay_state.load(path)
            begin = {"offset": 0, "run_id": None}
            # A database that was deleted and created again has another study run, so all records are sent again.
            old = states.pop(f"{self.uri} {self.study_run_id}", dict(begin))  # older versions kept the password here
            state = states.setdefault(f"{paths.shown(self.uri)} {self.study_run_id}", old)
            is_changed = not journal.is_unchanged(folder, state["offset"], state.get("mark"))
            if is_changed or any(self._is_active(run_id) for run_id in state.get("deleted", [])):
                state.update(begin, deleted=[])
            elif state["run_id"] is not None and self._is_duplicate(state["run_id"]):
                state.update(begin)
            sent = 0
            for group in _grouped(journal.entries(folder, offset=state["offset"])):
                if group[0].record.kind == START:
                    state["run_id"] = self._run_of_attempt(group[0], folder)
                if state["run_id"] is not None and not self._is_active(state["run_id"]):
                    state["deleted"] = [*state.get("deleted", []), state["run_id"]]
                    state["run_id"] = None
                if state["run_id"] is not None:
                    self._send(state["run_id"], group, folder)
                    sent += len(group)
                if group[-1].record.kind == END:
                    state["run_id"] = None
                state["offset"] = group[-1].offset
                state["mark"] = journal.mark(folder, state["offset"])
                replay_state.save(path, states)
            return sent

    def _find_or_create_experiment(self, experiment: Experiment | None, *, is_new: bool, restores: bool) -> str:
        if experiment is None:
            if not is_new:
                raise LookupError(f"it has no study {self.study!r} yet")
            return self._new_experiment()
        if experiment.lifecycle_stage == "deleted":
            if not restores:
                command = how_to_restore(self.uri, experiment_id=experiment.experiment_id)
                raise Deleted(
                    f"study {self.study} was deleted in MLflow; to restore it with all trials, run: {command}"
                )
            self.client.restore_experiment(experiment.experiment_id)
            self.is_restored = True
        return str(experiment.experiment_id)

    def _new_experiment(self) -> str:
        """Creates the experiment, or returns the one that a request with a lost answer has created."""
        from mlflow.exceptions import MlflowException

        location = storage.artifact_location(self.uri, self.study)
        try:
            return str(self.client.create_experiment(self.study, artifact_location=location))
        except MlflowException as error:
            exists = error.error_code == "RESOURCE_ALREADY_EXISTS"
            experiment = self.client.get_experiment_by_name(self.study) if exists else None
            if experiment is None or experiment.lifecycle_stage == "deleted":
                raise
            return str(experiment.experiment_id)

    def _find_or_create_study_run(self, *, is_new: bool, restores: bool) -> str:
        query = "tags.`ablation.kind` = 'study'"
        runs = self._search(query)
        if not runs and (deleted := self._search(query, view=DELETED)):
            if not restores:
                command = how_to_restore(self.uri, run_id=deleted[-1].info.run_id)
                raise Deleted(f"the study run of {self.study} was deleted in MLflow; to restore it, run: {command}")
            self.client.restore_run(deleted[-1].info.run_id)
            self.is_restored = True
            runs = deleted
        if runs:  # usually one; duplicates are possible
            return str(min(runs, key=lambda run: (run.info.start_time, run.info.run_id)).info.run_id)
        if not is_new:
            raise LookupError(f"it has no study {self.study!r} yet")
        tags = {"ablation.kind": "study", STUDY: self.study, "ablation.attempt": uuid.uuid4().hex}
        return self._new_run(tags, run_name=f"study {self.study}")

    def _new_run(self, tags: dict[str, str], **options: Any) -> str:
        """Creates a run with the tag of an attempt; if the client created duplicates, deletes all but one."""
        created = self.client.create_run(self.experiment_id, tags=tags, **options)
        runs = self._search(f"tags.`ablation.attempt` = '{tags['ablation.attempt']}'")
        return self._keep_one(runs or [created])

    def _keep_one(self, runs: list[Run]) -> str:
        """Returns the id of an attempt's best run by `_place_among_duplicates`, and deletes the others."""
        kept, *duplicates = sorted(runs, key=_place_among_duplicates)
        for run in duplicates:
            self._delete_duplicate(run.info.run_id, kept.info.run_id)
        return str(kept.info.run_id)

    def _delete_duplicate(self, run_id: str, kept: str) -> None:
        self.client.set_tag(run_id, DUPLICATE, kept)
        self.client.delete_run(run_id)

    def _is_duplicate(self, run_id: str) -> bool:
        """Returns whether a run was deleted as a duplicate."""
        run = self._run_if_exists(run_id)
        return run is not None and run.info.lifecycle_stage == "deleted" and DUPLICATE in run.data.tags

    def _trials(self, *, deleted: bool = False, is_brief: bool = False) -> list[attempts.Run]:
        """Returns the runs of the study's trials; those from a database lack params, a server sends everything.

        Args:
          deleted: whether to return only deleted runs.
          is_brief: whether to read only the tags that identify runs; a server ignores this.
        """
        if database.can_read(self.uri):
            parts = (database.TAGS,) if is_brief else (database.TAGS, database.METRICS)
            only = (*attempts.PLACE_TAGS, DUPLICATE, PARENT) if is_brief else None
            runs = database.Database(self.uri).runs(self.experiment_id, deleted=deleted, parts=parts, only=only)
            return [run for run in runs if run.tags.get(attempts.KIND) == "trial"]
        view = DELETED if deleted else ACTIVE
        return [attempts.Run.from_client(run) for run in self._search("tags.`ablation.kind` = 'trial'", view=view)]

    def _search(self, query: str, *, view: int = ACTIVE) -> list[Any]:
        runs, token = [], None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], query, run_view_type=view, max_results=1_000, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _is_active(self, run_id: str) -> bool:
        """Returns whether a run exists and is not deleted."""
        run = self._run_if_exists(run_id)
        return run is not None and run.info.lifecycle_stage == "active"

    def _run_if_exists(self, run_id: str) -> Run | None:
        """Returns a run, deleted or not; None if `mlflow gc` removed it."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _run_of_attempt(self, start: Entry, folder: Path) -> str:
        """Returns the run of an attempt: an existing one, deleted or not, or a new one."""
        detail = start.record.detail
        runs = self._search(f"tags.`ablation.attempt` = '{detail['attempt']}'", view=ALL)
        if active := [run for run in runs if run.info.lifecycle_stage == "active"]:
            return self._keep_one(active)
        if runs:
            return str(min(runs, key=lambda run: DUPLICATE in run.data.tags).info.run_id)
        tags = {key: fitting(value, VALUE) for key, value in detail["tags"].items()}
        tags |= {PARENT: self.study_run_id, **attempts.places_in_journal(folder)[detail["attempt"]]}
        tags[STUDY] = self.study  # a study may have been renamed, or merged of others, since the trial was recorded
        return self._new_run(tags, start_time=start.time_ms, run_name=fitting(detail["name"], NAME))

    def _supersede_others(self, run_id: str, folder: Path) -> None:
        """Marks all finished attempts of this trial but the latest as superseded: they stay, but do not count.

        `attempts.latest` defines the latest; a trial that ran offline may be sent after later ones.
        """
        identity = self.client.get_run(run_id).data.tags[attempts.IDENTITY]
        runs = self._search(f"tags.`{attempts.IDENTITY}` = '{identity}' AND attributes.status = 'FINISHED'")
        finished = attempts.with_places([attempts.Run.from_client(run) for run in runs], folder)
        kept = attempts.counting(finished)
        for run in finished:
            if run is not kept and run.tags.get(attempts.SUPERSEDED) != "true":
                self.client.set_tag(run.run_id, attempts.SUPERSEDED, "true")

    def _send(self, run_id: str, group: list[Entry], folder: Path) -> None:
        sending.records(self.client, run_id, group)
        if group[0].record.kind == START:
            sending.data_and_patch(self.client, run_id, group[0].record, folder)
        if group[-1].record.kind == END:
            self._send_end(run_id, group[-1], folder)

    def _send_end(self, run_id: str, end: Entry, folder: Path) -> None:
        detail = end.record.detail
        if detail["status"] != FINISHED and self.client.get_run(run_id).info.status == FINISHED:
            return  # the journal lost its end, but MLflow has it, with the trial's files and metrics
        if detail["error"]:
            self.client.set_tag(run_id, "ablation.error", fitting(detail["error"], VALUE))
        has_its_files = _has_its_files(folder, end)
        if has_its_files:
            sending.files(self.client, run_id, folder, detail["artifacts"])
        self.client.set_terminated(run_id, status=detail["status"], end_time=end.time_ms)
        if detail["status"] == FINISHED:
            self._supersede_others(run_id, folder)
            attempt = journal.last_attempt(folder)
            metrics = metric.of_records(_start(folder, end).detail.get(METRICS))
            if attempt[-1].offset == end.offset:
                sending.best_validation(self.client, run_id, attempt, metrics[0])
            if has_its_files:
                sending.model(self.client, run_id, end, folder, metrics=metrics)


def _has_its_files(folder: Path, end: Entry) -> bool:
    """Returns whether the files in a trial's folder belong to the attempt with this end, not to a later one.

    An attempt records its samples before it writes its files. A later attempt without samples thus has replaced no
    file.
    """
    entries = list(journal.entries(folder, kinds=(START, SAMPLES, END)))
    later = [entry.record.kind for entry in entries if entry.offset > end.offset]
    own = [entry.record.kind for entry in entries if entry.offset <= end.offset]
    has_samples = own[-2:-1] == [SAMPLES]
    return not later or (has_samples and SAMPLES not in later and not journal.is_being_written(folder))


def _start(folder: Path, end: Entry) -> Record:
    """Returns the start of the attempt with this end."""
    return [entry.record for entry in journal.entries(folder, kinds=(START,)) if entry.offset < end.offset][-1]


def _outcomes(runs: list[attempts.Run], metrics: Sequence[Metric]) -> dict[str, Outcome]:
    """Returns identity → outcome of the trial's attempt that counts."""
    counting = {identity: attempts.counting(tries) for identity, tries in attempts.of_identities(runs).items()}
    return {identity: _outcome(run, metrics) for identity, run in counting.items() if run is not None}


def _outcome(run: attempts.Run, metrics: Sequence[Metric]) -> Outcome:
    first = next((each for each in metrics if metric.best_name(each) in run.metrics), metrics[0])
    return Outcome(
        attempt=run.tags.get(attempts.ATTEMPT, ""),
        status=run.status if run.status in (FINISHED, FAILED, KILLED) else None,
        error=run.tags.get("ablation.error"),
        metrics=run.metrics,
        tags=run.tags,
        first_metric=first.name,
        best_validation=run.metrics.get(metric.best_name(first)),
        run_id=run.run_id,
    )


def _place_among_duplicates(run: Run) -> tuple[bool, bool, int, int, str]:
    """Returns the sort key of a duplicate: finished runs first, then those with most metrics, then the earliest."""
    is_superseded = run.data.tags.get(attempts.SUPERSEDED) == "true"
    return (
        run.info.status != FINISHED,
        is_superseded,
        -len(run.data.metrics),
        run.info.start_time,
        str(run.info.run_id),
    )


def _grouped(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Yields the entries in groups of at most 500; each `start` begins a group, and each `end` ends one."""
    group: list[Entry] = []
    for entry in entries:
        if group and (entry.record.kind == START or len(group) == 500):
            yield group
            group = []
        group.append(entry)
        if entry.record.kind == END:
            yield group
            group = []
    if group:
        yield group
