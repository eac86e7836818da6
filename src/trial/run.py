"""Runs one trial from settings to result: trains, validates, tests once, and always leaves a complete record."""

from __future__ import annotations

import functools
import itertools
import logging
import numbers
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from src import own_code, paths, registry
from src.artifacts import SETTINGS, Artifacts
from src.config.settings import described, differences
from src.spec.metric import VAL, Metric, as_records, best_name, steps_to
from src.spec.record import (
    ADDRESS,
    DIVERGED,
    END,
    EVALUATION,
    EXTRAS,
    FAILED,
    FINISHED,
    FIRST_PHASE,
    KILLED,
    METRICS,
    START,
    STEP,
    SYSTEM,
    Diverged,
    Record,
    end,
)
from src.spec.settings import Settings
from src.spec.task import First, Trial
from src.terminal.errors import FULL, first_line, is_full
from src.terminal.visible import shortened
from src.tracking import descriptions, provenance
from src.tracking.follow import Follower
from src.tracking.journal import Journal, JournalBusy, JournalError, last_attempt, status
from src.trial import first_phase
from src.trial.checkpoint import NOTHING, Checkpoint, Earlier, Unusable
from src.trial.log_file import logging_to
from src.trial.prepare import Prepared, prepare
from src.trial.signals import Stopped, terminable
from src.trial.system import SystemMetrics

BUSY, INTERRUPTED = "BUSY", "INTERRUPTED"
# Increase it when a recorded name changes its meaning. Since 2, time/epoch_s and time/train_s include tracing steps.
# Since 3, time/train_s of a fitted model is the time of fitting it, and it has no time/epoch_s.
RECORD = "3"

_log = logging.getLogger(__name__)


class NotBegun(RuntimeError):
    """A trial failed before its record began. The text says why."""


class Place(NamedTuple):
    """The place of a trial in its study, and how many trials run at the same time, which its times depend on.

    Attributes:
      workers: number of trials that run at the same time.
      position: position in the study's order of training, from 1; None without a study.
      variant: name of the variant in the study; empty if only the seed varies, None without a study.
      changes: how it differs from the study's reference, as on the command line; empty for the reference, None without.
    """

    workers: int
    position: int | None = None
    variant: str | None = None
    changes: str | None = None


ALONE = Place(workers=1)


def run(
    settings: Settings, *, place: Place = ALONE, ended_before: str | None = None, planned: str | None = None
) -> str:
    """Trains one trial; records it in the journal, in MLflow and in TensorBoard.

    Args:
      settings: checked settings.
      place: place of the trial in its study, for the record.
      ended_before: the attempt that had ended when the plan was made, empty for none. If another attempt has ended
        since, another process has trained the trial, and this does not train it again. With None it always trains.
      planned: identity of the trial in the plan; None without a plan.

    Returns:
      FINISHED, FAILED, KILLED if the disk is full, INTERRUPTED if the task ended the trial as KILLED, or BUSY if
      another process is training the trial.

    Raises:
      SettingsError: the combination cannot run.
      NotBegun: the trial failed before its record began.
      KeyboardInterrupt: the trial was stopped and recorded as KILLED.
    """
    prepared = prepare(settings)
    if planned is not None and prepared.identity != planned:
        raise NotBegun(
            "not trained: its data or files have changed since the study was planned; undo the change, "
            "or run the same command again to plan anew"
        )
    prepared.folder.mkdir(parents=True, exist_ok=True)
    with logging_to(prepared.folder / "trial.log"), terminable():
        follower, is_recorded = Follower(prepared.folder, prepared.settings), True
        try:
            with Journal(prepared.folder) as book:
                ended = None if ended_before is None else _ended_since(ended_before, prepared.folder)
                if ended is not None:
                    return ended
                if paths.has_secret(prepared.settings.tracking.uri):
                    book.path.chmod(0o600)  # its first line contains the address
                return _attempt(prepared, book, follower, place=place)
        except JournalBusy as error:
            _log.warning("%s", error)
            return BUSY
        except JournalError as error:
            _log.error("%s", error)
            is_recorded = False
            return FAILED
        finally:
            if is_recorded:  # otherwise there is nothing new to send, and probably no room
                follower.update(is_last=True)


def _ended_since(before: str, folder: Path) -> str | None:
    """Returns FINISHED or FAILED if an attempt other than `before` ended so; killed attempts may be retried."""
    attempt = last_attempt(folder)
    ended = status(attempt)
    return ended if ended in (FINISHED, FAILED) and attempt[0].record.detail["attempt"] != before else None


def _attempt(prepared: Prepared, book: Journal, follower: Follower | None, *, place: Place) -> str:
    """Writes the journal from its start to its end, also after errors; a follower sends it to the trackers."""
    step, is_open, has_begun, ended = 0, False, False, FINISHED
    task = prepared.task
    kept = Checkpoint(
        prepared.folder, prepared.identity, task.devices, of_task=registry.version(prepared.settings.task)
    )

    def close(record: Record) -> None:
        if is_open:  # an end without a start would end the previous attempt, and a second end would replace the first
            book.append(record)
            if record.detail["status"] == FAILED:  # a resumed trial would fail again
                kept.remove()

    try:
        earlier = _earlier(prepared, kept, place)
        for record in records(prepared, place=place, kept=kept, earlier=earlier):
            step = 0 if record.kind == FIRST_PHASE else record.step
            book.append(record)
            is_open, has_begun = record.kind != END, True
            if record.kind == END:
                ended = record.detail["status"]
            for entry in earlier.entries if record.kind == START else ():
                book.append(entry.record, time_ms=entry.time_ms)
                step = 0 if entry.record.kind == FIRST_PHASE else entry.record.step
            if record.kind in (START, EVALUATION, END) or (follower and follower.is_due):
                book.sync()  # before it is sent, so that trackers never have more than the disk
                if follower and record.kind != END:
                    follower.update()
    except KeyboardInterrupt as error:
        reason = "stopped by SIGTERM" if isinstance(error, Stopped) else "stopped by Ctrl-C"
        close(end(step=step, status=KILLED, error=reason))
        _log.warning("%s: %s at step %d", _name(prepared.settings, place), reason, step)
        raise
    except Diverged as error:
        _log.error("%s: %s", _name(prepared.settings, place), error)
        tags = {"ablation.health": DIVERGED, **({"ablation.diagnosis": error.cause} if error.cause else {})}
        close(end(step=error.step, status=FAILED, error=str(error), tags=tags))
        return FAILED
    except JournalError:
        raise  # `run` reports it; an end cannot be written
    except Exception as error:  # a failure is recorded and does not stop other trials
        status, message = FAILED, f"{type(error).__name__}: {first_line(error)}"
        if is_full(error):  # not the trial's fault: the next command resumes it
            status, message = KILLED, f"{FULL} ({message}); free some space, then run the same command again"
        _log.debug("in full:", exc_info=True)
        close(end(step=step, status=status, error=message))
        _log.error("%s: %s (see %s)", _name(prepared.settings, place), message, prepared.folder / "trial.log")
        if not has_begun:  # the journal does not contain the error, so the launcher must report it
            raise NotBegun(f"failed before the first step: {message}; see the log") from error
        return status
    kept.remove()
    return INTERRUPTED if ended == KILLED else ended


def _earlier(prepared: Prepared, kept: Checkpoint, place: Place) -> Earlier:
    """Returns what a killed trial resumes from, and logs it; removes a checkpoint that cannot be used."""
    settings, earlier = prepared.settings, NOTHING
    try:
        if not settings.rerun and settings.checkpoint == "epoch":
            earlier = kept.earlier()
    except Unusable as error:
        _log.warning(
            "%s: starts from the beginning, because its checkpoint cannot be used: %s", _name(settings, place), error
        )
    if earlier is NOTHING:
        kept.remove()
    else:
        _log.warning("%s: resumes after epoch %d of %d", _name(settings, place), earlier.epochs[-1], settings.epochs)
    return earlier


def records(
    prepared: Prepared,
    *,
    place: Place = ALONE,
    kept: Checkpoint | None = None,
    earlier: Earlier = NOTHING,
) -> Iterator[Record]:
    """Trains and tests; yields all records and writes the files that `end` names, but not the journal.

    Args:
      prepared: the result of `prepare`.
      place: place of the trial in its study, for the record.
      kept: the checkpoint to write after each epoch if `checkpoint=epoch`; None for no checkpoint.
      earlier: what to resume from. Its records are not yielded again; the caller writes them after the `start`.
    """
    settings, folder, task = prepared.settings, prepared.folder, prepared.task
    folder.mkdir(parents=True, exist_ok=True)
    files, start = Artifacts(folder), _start(prepared, task.metrics_of(settings), place, earlier.epochs)
    phase = task.first(settings, prepared.data)
    stream = task.records(_trial(prepared, start, place, kept=kept, earlier=earlier, phase=phase))
    first = next(stream, None)  # an error before this line leaves no record and replaces nothing
    if first is None:
        raise ValueError(f"records() of task={settings.task} yielded nothing; its last record must be an end")
    if earlier is NOTHING:
        shutil.rmtree(folder / EXTRAS, ignore_errors=True)  # from an earlier attempt
    files.write_patch(provenance.uncommitted())
    code = files.write_code(own_code.sources(settings))
    if first.kind == START:
        start.detail["tags"] |= first.detail["tags"]
    yield start
    files.write_settings(settings)
    begun = [record for record in earlier.records if record.kind == FIRST_PHASE]
    if phase is not None:
        for record in _first_phase(phase, prepared, place=place, is_resumed=bool(begun)):
            if earlier is NOTHING:
                begun.append(record)
                yield record
    system = SystemMetrics() if settings.tracking.system_metrics else None
    validations = [record for record in earlier.records if record.kind == EVALUATION]
    record = first
    for record in itertools.chain([] if first.kind == START else [first], stream):
        _check_numbers(record)
        if record.kind == STEP:
            record.detail["is_sent"] = record.step % settings.tracking.every_n_batches == 0
        elif record.kind == EVALUATION:
            validations.append(record)
        elif record.kind == END:
            record.metrics.update(
                task.measures(settings, prepared.data) | _validated(task.metrics_of(settings)[0], validations, settings)
            )
            record.detail["artifacts"] = [SETTINGS, *code, *record.detail["artifacts"]]
            if phase is not None:
                metrics, tags = first_phase.summary(begun[0])
                record.metrics.update(metrics)
                record.detail["tags"].update(tags)
                record.detail["artifacts"].append(phase.file)
        yield record
        if system and system.is_due and record.kind != END:
            yield Record(SYSTEM, record.step, system.measured())
    if record.kind != END:
        raise ValueError(f"records() of task={settings.task} stopped without an end; yield spec.record.end(…) last")


def _first_phase(phase: First, prepared: Prepared, *, place: Place, is_resumed: bool) -> Iterator[Record]:
    """Trains the first phase of a trial unless it is trained already; yields what the trial records of it."""

    def train(of_phase: Prepared, book: Journal) -> str:
        return _attempt(of_phase, book, None, place=Place(place.workers, variant=phase.title))

    shared = first_phase.shared(
        phase, prepared.data, copy_to=prepared.folder / phase.file, is_resumed=is_resumed, train=train
    )
    yield from first_phase.records(shared, every=prepared.settings.tracking.every_n_batches)


def _check_numbers(record: Record) -> None:
    """Makes the metrics of a record plain numbers, as a task may yield NumPy's.

    Raises:
      TypeError: a metric is not a number; nothing of the record has been written.
    """
    for name, value in record.metrics.items():
        if type(value) is not float and type(value) is not int:
            if not isinstance(value, numbers.Real):
                raise TypeError(f"the metric {name} is {shortened(repr(value), 50)}, which is not a number")
            record.metrics[name] = float(value)


def _trial(
    prepared: Prepared,
    start: Record,
    place: Place,
    *,
    kept: Checkpoint | None,
    earlier: Earlier,
    phase: First | None,
) -> Trial[Any, Any]:
    """Returns the trial for the task's `records`."""
    attempt, is_kept = start.detail["attempt"], kept is not None and prepared.settings.checkpoint == "epoch"
    return Trial(
        settings=prepared.settings,
        data=prepared.data,
        folder=prepared.folder,
        name=start.detail["name"],
        is_alone=place.workers == 1,
        attempt=attempt,
        identity=prepared.identity,
        earlier=None if earlier is NOTHING else earlier,
        keep=functools.partial(kept.write, attempt) if kept is not None and is_kept else None,
        first=prepared.folder / phase.file if phase is not None else None,
    )


def _validated(metric: Metric, validations: Sequence[Record], settings: Settings) -> dict[str, float]:
    """Returns the best validation of a trial, and the optimizer step at which it first reached its threshold.

    Args:
      metric: the task's first metric; without a direction there is no best value.
      validations: evaluations; some tasks do not measure every metric in each.
      settings: settings with `plan.threshold`; null means the metric's target.
    """
    if not metric.sign:
        return {}
    name = f"{VAL}{metric.name}"
    measured = sorted((record for record in validations if name in record.metrics), key=lambda record: record.step)
    values = [(record.step, record.metrics[name]) for record in measured]
    best, threshold = metric.best(value for _, value in values), settings.plan.threshold
    best_value = {} if best is None else {best_name(metric): best}
    target = metric.target if threshold is None else threshold
    reached = [] if target is None else [step for step, value in values if metric.reaches(value, target)]
    return best_value | ({steps_to(metric, target): float(reached[0])} if reached and target is not None else {})


def _start(prepared: Prepared, metrics: Sequence[Metric], place: Place, resumed: list[int]) -> Record:
    """Returns an attempt's first record; `resumed` lists the epochs after which a process resumed the trial."""
    settings = prepared.settings
    tags = {
        "ablation.kind": "trial",
        "ablation.study": settings.study,
        "ablation.task": prepared.task.name,
        **({"ablation.package": package} if (package := registry.version(settings.task)) else {}),
        **({"ablation.own_code": code} if (code := own_code.described(settings)) else {}),
        "ablation.variant": _variant(settings, place) or _variant(settings, ALONE),
        "ablation.identity": prepared.identity,
        "ablation.data": prepared.data.digest,
        "ablation.workers": str(place.workers),
        "ablation.record": RECORD,
        **({} if place.position is None else {"ablation.position": str(place.position)}),
        **({"ablation.resumed": _after(resumed, settings.epochs)} if resumed else {}),
        **provenance.tags(),
        **settings.tracking.tags,
    }
    detail = {
        "attempt": uuid.uuid4().hex,
        "name": _name(settings, place),
        "tags": tags,
        "params": _params(prepared),
        "description": descriptions.of_trial(settings, changes=place.changes),
        "data": prepared.task.dataset(settings, prepared.data),
        METRICS: as_records(metrics),
        "process": f"{socket.gethostname()} {os.getpid()}",
        ADDRESS: settings.tracking.uri and paths.absolute(settings.tracking.uri),
        "resumed": resumed,
    }
    return Record(START, 0, detail=detail)


def _after(epochs: list[int], of: int) -> str:
    """Returns the tag `ablation.resumed`: `after epoch 3 of 5`, `after epochs 2 and 3 of 5`."""
    return f"after epoch{'s' if len(epochs) > 1 else ''} {' and '.join(map(str, epochs))} of {of}"


def _params(prepared: Prepared) -> dict[str, Any]:
    """Returns key → value: every toggle, with the choice of a config group, and the non-default options of the data."""
    settings, values = prepared.settings, prepared.settings.model_dump()
    flat: dict[str, Any] = {}
    for key in type(settings).toggles():
        if key in settings.open_keys():
            flat |= {f"{key}.{name}": value for name, value in values[key].items()}
        else:
            flat[key] = values[key]["name"] if isinstance(values[key], dict) else values[key]
    of_data = {key: value for key, value in differences(settings).items() if key.startswith("data.")}
    return flat | {"task": prepared.task.name} | of_data


def _name(settings: Settings, place: Place) -> str:
    """Returns a trial's name on the terminal and in trackers: the study's name of the variant, and the seed."""
    return f"{_variant(settings, place)} seed={settings.seed}".lstrip()


def _variant(settings: Settings, place: Place) -> str:
    """Returns the study's name of the variant, or without a study its differences from the defaults."""
    return described(differences(settings)) if place.variant is None else place.variant
