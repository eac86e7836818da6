"""From journals to MLflow.

A journal is replayed from the byte where the last replay stopped. What is sent twice, because a process died between sending
and remembering, is the same to the last digit and time, and MLflow keeps one of it: a run is found again by its attempt's id,
params and tags are overwritten with themselves, and a metric's key, step, time and value make it unique. MLflow's client sends what a
server has not answered again: of the runs that were made twice one is kept, and the others are deleted with a tag that says so.
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
from src.tracking import attempts, database, descriptions, journal, links, moved, replay_state, sending, storage
from src.tracking.deleted import how_to_restore
from src.tracking.journal import FAILED, FINISHED, KILLED, Entry
from src.tracking.outcome import Outcome
from src.tracking.stored import NAME, VALUE, fitting

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

ACTIVE, DELETED, ALL = 1, 2, 3  # `mlflow.entities.ViewType`, whose import takes seconds
DUPLICATE = "ablation.duplicate_of"  # tag of a run that was made twice: the run that was kept
PARENT = "mlflow.parentRunId"
TRIES = 2  # to reach a database server: MLflow would try ten times, for two minutes


class Deleted(LookupError):
    """Somebody deleted it in MLflow; the text says what, and the command that restores it."""


class Store:
    """An MLflow tracking store and the experiment of one study in it.

    Attributes:
      is_restored: whether the study had been deleted, and was restored here.
      moved: what to say of files that have moved with the home, and whose addresses were mended here; None where there are none.
    """

    def __init__(self, uri: str | None, study: str, *, is_new: bool = True, restores: bool = False) -> None:
        """Connects, and creates what is missing: the database, the experiment, the study run.

        Args:
          uri: MLflow tracking URI; None for SQLite in `paths.home()`.
          study: name of the study.
          is_new: whether to create an experiment or a study run that is missing.
          restores: whether to restore them where they were deleted.

        Raises:
          Deleted: the experiment or the study run was deleted, and is not to be restored.
          LookupError: there is no such experiment or study run, and none is to be created.
          SettingsError: no database can be where it should be, or no driver for it is installed.
          mlflow.exceptions.MlflowException: the store cannot be reached or used.
        """
        self.uri = paths.absolute(
            paths.tracking_uri(uri)
        )  # under which a journal remembers what it sent, wherever it was sent from
        self.study = study
        from mlflow.store.db import utils as databases
        from mlflow.tracking import MlflowClient  # takes seconds

        if not self.uri.startswith("sqlite:"):
            databases.MAX_RETRY_COUNT = TRIES
        logging.getLogger("mlflow.store").setLevel(
            logging.CRITICAL
        )  # its migrations' notices; its errors reach us as exceptions
        self.is_restored, self.moved = False, None
        with storage.creation_lock():
            storage.refuse_unusable(self.uri)
            storage.create_whole(self.uri)
            self.client = MlflowClient(self.uri)
            found = self.client.get_experiment_by_name(study)
            if found is not None and moved.has_moved(self.uri, found.artifact_location):
                self.moved = moved.mend(self.uri)
            self.experiment_id = self._experiment(found, is_new=is_new, restores=restores)
            self.study_run_id = self._study_run(is_new=is_new, restores=restores)

    def outcomes(self, metrics: Sequence[Metric], *, known: Mapping[str, str] | None = None) -> dict[str, Outcome]:
        """Returns identity → what became of the trial: its finished attempt that counts, or else the latest.

        Older trials have no best validation value; `best_validation` computes it.

        Args:
          metrics: of the study; a trial's first metric is the one whose best validation value it has recorded, or else the first of these.
          known: identity → an attempt of which the caller has all but the status here. If no other attempts count, they may be
            returned without their metrics and with few tags: of 20,000 trials those take most of the time.
        """
        if known and database.can_read(self.uri):
            brief = _outcomes(self._trials(is_brief=True), metrics)
            if all(outcome.attempt == known.get(identity) for identity, outcome in brief.items()):
                return brief
        return _outcomes(self._trials(), metrics)

    def best_validation(self, run_id: str, first: Metric) -> float | None:
        """Returns the best validation value of a trial that has recorded the curve of this metric alone."""
        history = self.client.get_metric_history(run_id, f"{VAL}{first.name}")
        return first.best(point.value for point in history) if first.sign else None

    @property
    def link(self) -> str:
        """Address of the study's runs in MLflow's pages."""
        return links.study_link(links.pages_of(self.uri), self.experiment_id)

    def present(self, page: Mapping[str, Any]) -> None:
        """Sets what MLflow's pages show of the study; a description that somebody has changed there stays.

        Args:
          page: `experiment` (its tags, which say how the runs are shown), and of the study run `description`, `tags` and `metrics`.
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
        """Marks the study run as running, again if it ended before."""
        self.client.update_run(self.study_run_id, status="RUNNING")

    def attach(self, file: Path, *, tags: dict[str, str]) -> None:
        """Attaches a file to the study run, with tags that say what it holds."""
        self.client.log_artifact(self.study_run_id, str(file))
        for key, value in tags.items():
            self.client.set_tag(self.study_run_id, key, fitting(value, VALUE))

    def close_study(self, status: str) -> None:
        """Ends the study run; the next run of the study opens it again."""
        self.client.set_terminated(self.study_run_id, status=status)

    def end_study_if_running(self, status: str) -> None:
        """Ends the study run where the process that opened it did not: what a sweep has said of it stays."""
        if self.client.get_run(self.study_run_id).info.status == "RUNNING":
            self.close_study(status)

    def deleted_trials(self) -> dict[str, str]:
        """Returns run id → name of the study's trials that somebody deleted; they stay so, whatever their journals hold."""
        return {run.run_id: run.name for run in self._trials(deleted=True, is_brief=True) if DUPLICATE not in run.tags}

    def delete_duplicates(self) -> int:
        """Deletes the runs that were made twice, of the study and of its trials; returns how many those were.

        A server had made them, and its answer was lost. What they alone have is sent again by the next `replay`.
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
        of_attempts: dict[str, list[str]] = {}
        for trial in trials:
            of_attempts.setdefault(trial.tags.get(attempts.ATTEMPT, trial.run_id), []).append(trial.run_id)
        for same in of_attempts.values():
            if len(same) > 1:
                self._one_of([self.client.get_run(run_id) for run_id in same])
                count += len(same) - 1
        return count

    def answers(self) -> bool:
        """Returns whether the store can be asked now."""
        try:
            self.client.get_run(self.study_run_id)
        except Exception:  # MLflow's stores raise what their drivers raise
            return False
        return True

    def replay(self, folder: Path) -> int:
        """Sends what a trial's journal has and the store has not; returns how many records that were.

        An attempt whose run was deleted is left out, and sent whole once somebody restores the run. What MLflow has finished stays so,
        whatever a journal says that lost its end.
        """
        if not (folder / journal.FILE).is_file():
            return 0
        with FileLock(folder / "replay.lock"):
            path = folder / "mlflow.json"
            states = replay_state.load(path)
            begin = {"offset": 0, "run_id": None}
            # A database that was deleted and made anew has another study run, and gets everything again.
            old = states.pop(f"{self.uri} {self.study_run_id}", dict(begin))  # which had the password, once
            state = states.setdefault(f"{paths.shown(self.uri)} {self.study_run_id}", old)
            is_other = not journal.is_same(folder, state["offset"], state.get("mark"))
            if is_other or any(self._is_active(run_id) for run_id in state.get("deleted", [])):
                state.update(begin, deleted=[])
            elif state["run_id"] is not None and self._is_duplicate(state["run_id"]):
                state.update(begin)
            sent = 0
            for group in _grouped(journal.entries(folder, offset=state["offset"])):
                if group[0].record.kind == START:
                    state["run_id"] = self._run(group[0], folder)
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

    def _experiment(self, found: Experiment | None, *, is_new: bool, restores: bool) -> str:
        if found is None:
            if not is_new:
                raise LookupError(f"it has no study {self.study!r} yet")
            return self._new_experiment()
        if found.lifecycle_stage == "deleted":
            if not restores:
                how = how_to_restore(self.uri, experiment_id=found.experiment_id)
                raise Deleted(f"study {self.study} was deleted in MLflow; to restore it with all trials, run: {how}")
            self.client.restore_experiment(found.experiment_id)
            self.is_restored = True
        return str(found.experiment_id)

    def _new_experiment(self) -> str:
        """Creates the experiment; where it was created and the answer was lost, the client's second try finds it."""
        from mlflow.exceptions import MlflowException

        try:
            return str(
                self.client.create_experiment(
                    self.study, artifact_location=storage.artifact_location(self.uri, self.study)
                )
            )
        except MlflowException as error:
            found = (
                self.client.get_experiment_by_name(self.study)
                if error.error_code == "RESOURCE_ALREADY_EXISTS"
                else None
            )
            if found is None or found.lifecycle_stage == "deleted":
                raise
            return str(found.experiment_id)

    def _study_run(self, *, is_new: bool, restores: bool) -> str:
        which = "tags.`ablation.kind` = 'study'"
        runs = self._search(which)
        if not runs and (deleted := self._search(which, view=DELETED)):
            if not restores:
                how = how_to_restore(self.uri, run_id=deleted[-1].info.run_id)
                raise Deleted(f"the study run of {self.study} was deleted in MLflow; to restore it, run: {how}")
            self.client.restore_run(deleted[-1].info.run_id)
            self.is_restored = True
            runs = deleted
        if runs:
            return str(
                min(runs, key=lambda run: (run.info.start_time, run.info.run_id)).info.run_id
            )  # should there be two
        if not is_new:
            raise LookupError(f"it has no study {self.study!r} yet")
        tags = {"ablation.kind": "study", "ablation.study": self.study, "ablation.attempt": uuid.uuid4().hex}
        return self._new_run(tags, run_name=f"study {self.study}")

    def _new_run(self, tags: dict[str, str], **options: Any) -> str:
        """Creates a run with the tag of an attempt, and deletes it again as often as it was created beside."""
        made = self.client.create_run(self.experiment_id, tags=tags, **options)
        runs = self._search(f"tags.`ablation.attempt` = '{tags['ablation.attempt']}'")
        return self._one_of(runs or [made])

    def _one_of(self, runs: list[Run]) -> str:
        """Returns the run of an attempt that counts, and deletes the others: the finished one, then the one with most numbers."""
        kept, *others = sorted(runs, key=_place_among_duplicates)
        for run in others:
            self._delete_duplicate(run.info.run_id, kept.info.run_id)
        return str(kept.info.run_id)

    def _delete_duplicate(self, run_id: str, kept: str) -> None:
        self.client.set_tag(run_id, DUPLICATE, kept)
        self.client.delete_run(run_id)

    def _is_duplicate(self, run_id: str) -> bool:
        """Returns whether a run was deleted because there was another of the same attempt."""
        run = self._found(run_id)
        return run is not None and run.info.lifecycle_stage == "deleted" and DUPLICATE in run.data.tags

    def _trials(self, *, deleted: bool = False, is_brief: bool = False) -> list[attempts.Run]:
        """Returns the runs of the study's trials, without their params: from a database at once, page by page from a server.

        Args:
          deleted: whether to return what somebody deleted, and nothing else.
          is_brief: whether the tags suffice that tell which run is which; a server sends everything all the same.
        """
        if database.can_read(self.uri):
            parts = (database.TAGS,) if is_brief else (database.TAGS, database.METRICS)
            only = (*attempts.PLACING, DUPLICATE, PARENT) if is_brief else None
            found = database.Database(self.uri).runs(self.experiment_id, deleted=deleted, parts=parts, only=only)
            return [run for run in found if run.tags.get(attempts.KIND) == "trial"]
        view = DELETED if deleted else ACTIVE
        return [attempts.Run.of_client(run) for run in self._search("tags.`ablation.kind` = 'trial'", view=view)]

    def _search(self, text: str, *, view: int = ACTIVE) -> list[Any]:
        found, token = [], None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], text, run_view_type=view, max_results=1_000, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _is_active(self, run_id: str) -> bool:
        """Returns whether a run is there, and was not deleted."""
        run = self._found(run_id)
        return run is not None and run.info.lifecycle_stage == "active"

    def _found(self, run_id: str) -> Run | None:
        """Returns a run, deleted or not; None where it was deleted for good, by `mlflow gc`."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _run(self, start: Entry, folder: Path) -> str:
        """Returns the run of an attempt: the one it made before its process died, deleted or not, or a new one."""
        detail = start.record.detail
        runs = self._search(f"tags.`ablation.attempt` = '{detail['attempt']}'", view=ALL)
        if active := [run for run in runs if run.info.lifecycle_stage == "active"]:
            return self._one_of(active)
        if runs:
            return str(min(runs, key=lambda run: DUPLICATE in run.data.tags).info.run_id)
        tags = {key: fitting(value, VALUE) for key, value in detail["tags"].items()}
        tags |= {PARENT: self.study_run_id, **attempts.of_journal(folder)[detail["attempt"]]}
        return self._new_run(tags, start_time=start.time_ms, run_name=fitting(detail["name"], NAME))

    def _supersede_others(self, run_id: str, folder: Path) -> None:
        """Marks all finished attempts of this trial but the latest: they stay, and no longer count.

        The latest is that of `attempts.latest`; what was trained offline may arrive here after it.
        """
        identity = self.client.get_run(run_id).data.tags[attempts.IDENTITY]
        found = self._search(f"tags.`{attempts.IDENTITY}` = '{identity}' AND attributes.status = 'FINISHED'")
        finished = attempts.placed([attempts.Run.of_client(run) for run in found], folder)
        kept = attempts.counting(finished)
        for run in finished:
            if run is not kept and run.tags.get(attempts.SUPERSEDED) != "true":
                self.client.set_tag(run.run_id, attempts.SUPERSEDED, "true")

    def _send(self, run_id: str, group: list[Entry], folder: Path) -> None:
        sending.records(self.client, run_id, group)
        if group[0].record.kind == START:
            sending.what_it_read(self.client, run_id, group[0].record, folder)
        if group[-1].record.kind == END:
            self._send_end(run_id, group[-1], folder)

    def _send_end(self, run_id: str, end: Entry, folder: Path) -> None:
        detail = end.record.detail
        if detail["status"] != FINISHED and self.client.get_run(run_id).info.status == FINISHED:
            return  # the journal lost the end that MLflow has, with the files and numbers of the whole trial
        if detail["error"]:
            self.client.set_tag(run_id, "ablation.error", fitting(detail["error"], VALUE))
        are_its_files = _are_its_files(folder, end)
        if are_its_files:
            sending.files(self.client, run_id, folder, detail["artifacts"])
        self.client.set_terminated(run_id, status=detail["status"], end_time=end.time_ms)
        if detail["status"] == FINISHED:
            self._supersede_others(run_id, folder)
            attempt = journal.last_attempt(folder)
            metrics = metric.of_records(_start(folder, end).detail.get(METRICS))
            if attempt[-1].offset == end.offset:
                sending.best_validation(self.client, run_id, attempt, metrics[0])
            if are_its_files:
                sending.model(self.client, run_id, end, folder, metrics=metrics)


def _are_its_files(folder: Path, end: Entry) -> bool:
    """Returns whether the files in a trial's folder are those of the attempt with this end, and no later attempt has replaced them.

    An attempt that records samples writes its files after them, so one that was killed before them has replaced none.
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
    """Returns identity → the attempt of the trial that counts."""
    counting = {identity: attempts.counting(of_one) for identity, of_one in attempts.of_identities(runs).items()}
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
    """Returns a run's place among those of one attempt: what is whole comes first, and then the earliest."""
    is_superseded = run.data.tags.get(attempts.SUPERSEDED) == "true"
    return (
        run.info.status != FINISHED,
        is_superseded,
        -len(run.data.metrics),
        run.info.start_time,
        str(run.info.run_id),
    )


def _grouped(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Yields the entries in groups of at most 500; a start begins a group and an end ends one."""
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
