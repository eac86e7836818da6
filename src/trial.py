"""One trial, from settings to result: train, validate, test once, and leave a complete record whatever happens."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from src import paths
from src.artifacts import Artifacts, Preprocessing
from src.checkpoint import NOTHING, Checkpoint, Earlier, Unusable, restore
from src.data.batching import MAX_BUCKETS
from src.data.encoded import Encoded
from src.data.splits import TEST, VALIDATION
from src.errors import first_line
from src.identity import digest, identity
from src.progress import TrialProgress
from src.rules import Change, normalise, refusals
from src.settings import GROUPS, TOGGLES, Integration, Settings, SettingsError, described, differences
from src.tasks import TASKS
from src.tasks.integration import Noise
from src.tracking import descriptions, projector, provenance
from src.tracking.follow import Follower
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, JournalBusy, JournalError, end, last_attempt, status
from src.tracking.tensorboard_replay import EXTRAS
from src.training.records import ADDRESS, BEST_VALIDATION, END, EVALUATION, GRAPH, SAMPLES, START, STEP, SYSTEM, Record, steps_to
from src.training.system import SystemMetrics

if TYPE_CHECKING:
    import keras

    from src.training.fit import Evaluated, Fit
    from src.training.problem import Problem

BUSY = "BUSY"
RECORD = "2"  # raise it when a recorded name changes its meaning: 2 counts steps that traced in time/epoch_s and time/train_s

_log = logging.getLogger(__name__)


class Stopped(KeyboardInterrupt):
    """Somebody asked the process to end (SIGTERM)."""


class NotBegun(RuntimeError):
    """A trial failed before there was anything to record. The text says why."""


class Place(NamedTuple):
    """Where a trial stands among the others of its study; what its times were measured beside.

    Attributes:
      workers: trials that run side by side.
      position: in the order in which the study trains, from 1 on; None where no study does.
      variant: what its study calls it, by the toggles that the study varies; empty where nothing but the seed varies, None where no
        study names it.
    """

    workers: int
    position: int | None = None
    variant: str | None = None


ALONE = Place(workers=1)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A trial that can be trained.

    Attributes:
      settings: normalised.
      data: the encoded corpus, or what is drawn in its place.
      identity: what decides "already done".
      changes: the toggles that were normalised, with reasons.
    """

    settings: Settings
    data: Encoded | Noise
    identity: str
    changes: list[Change]

    @property
    def folder(self) -> Path:
        """Where the trial's record lies."""
        return paths.study_folder(self.settings.study) / self.identity

    def with_seed(self, seed: int) -> Prepared:
        """Returns the trial with another seed, which was checked; `prepare` would return the same, and takes longer."""
        settings = self.settings.model_copy(update={"seed": seed})
        object.__setattr__(settings, "__pydantic_fields_set__", self.settings.model_fields_set)  # 100,000 sets of keys would take 400 MB
        return Prepared(settings, self.data, identity(settings, data_digest=self.data.digest), self.changes)


def prepare(settings: Settings, *, data: Encoded | Noise | None = None) -> Prepared:
    """Returns the trial that these settings mean, with its data encoded; TensorFlow is not imported.

    Args:
      settings: checked settings.
      data: the encoded corpus, where it was loaded already.

    Raises:
      SettingsError: the combination cannot run, or the data cannot be used.
    """
    _refuse(refusals(normalise(settings)[0]))
    task = TASKS[settings.task.name]
    data = data or task.corpus(settings)
    used, changes = normalise(settings, longest=task.longest(settings, data), classes=len(data.classes))
    _refuse(task.refusals(used, data))
    _refuse(refusals(used, longest=task.longest(used, data), classes=len(data.classes)))
    return Prepared(used, data, identity(used, data_digest=data.digest), changes)


def run(settings: Settings, *, place: Place = ALONE, ended_before: str | None = None) -> str:
    """Trains one trial; its record is in the journal, in MLflow and in TensorBoard.

    Args:
      settings: checked settings.
      place: among the other trials of its study, for the record.
      ended_before: the attempt that had ended when the trial was planned, empty for none. If another one has ended by now, another
        process has trained the trial since, and it is not trained again. None: whatever has ended, it is trained.

    Returns:
      FINISHED, FAILED, or BUSY where another process is training it.

    Raises:
      SettingsError: the combination cannot run.
      NotBegun: it failed before its record began.
      KeyboardInterrupt: the trial was stopped, and recorded as KILLED.
    """
    prepared = prepare(settings)
    prepared.folder.mkdir(parents=True, exist_ok=True)
    with _logging_to(prepared.folder / "trial.log"), terminable():
        follower, is_recorded = Follower(prepared.folder, prepared.settings), True
        try:
            with Journal(prepared.folder) as book:
                ended = None if ended_before is None else _ended_since(ended_before, prepared.folder)
                if ended is not None:
                    return ended
                if paths.has_secret(prepared.settings.tracking.uri):
                    book.path.chmod(0o600)  # the address is in its first line
                return _attempt(prepared, book, follower, place=place)
        except JournalBusy as error:
            _log.warning("%s", error)
            return BUSY
        except JournalError as error:
            _log.error("%s", error)
            is_recorded = False
            return FAILED
        finally:
            if is_recorded:  # otherwise trackers have no room either, and nothing new to get
                follower.update(is_last=True)


def _ended_since(before: str, folder: Path) -> str | None:
    """Returns FINISHED or FAILED if an attempt other than that of before has come to that end; what was killed may be tried again."""
    attempt = last_attempt(folder)
    ended = status(attempt)
    return ended if ended in (FINISHED, FAILED) and attempt[0].record.detail["attempt"] != before else None


def _attempt(prepared: Prepared, book: Journal, follower: Follower, *, place: Place) -> str:
    """Writes the journal from its start to its end, whatever happens between."""
    from src.training.health import DIVERGED, Diverged
    from src.training.startup import import_tensorflow

    step, is_open, has_begun = 0, False, False
    kept = Checkpoint(prepared.folder, prepared.identity)

    def close(record: Record) -> None:
        if is_open:  # an end without its start would be taken for the end of the attempt before, and a second one for the end
            book.append(record)
            if record.detail["status"] == FAILED:  # it would fail again
                kept.remove()

    try:
        import_tensorflow()
        earlier = _earlier(prepared, kept, place)
        for record in records(prepared, place=place, kept=kept, earlier=earlier):
            step = record.step
            book.append(record)
            is_open, has_begun = record.kind != END, True
            for entry in earlier.entries if record.kind == START else ():
                book.append(entry.record, time_ms=entry.time_ms)
                step = entry.record.step
            if record.kind in (START, EVALUATION, END) or follower.is_due:
                book.sync()  # before it is sent: trackers must never know more than the disk
                if record.kind != END:
                    follower.update()
    except KeyboardInterrupt as error:
        reason = "stopped by SIGTERM" if isinstance(error, Stopped) else "stopped by Ctrl-C"
        close(end(step=step, status=KILLED, error=reason))
        _log.warning("%s: %s at step %d", _name(prepared.settings, place), reason, step)
        raise
    except Diverged as error:
        _log.error("%s: %s", _name(prepared.settings, place), error)
        close(end(step=error.step, status=FAILED, error=str(error), tags={"ablation.health": DIVERGED}))
        return FAILED
    except JournalError:
        raise  # `run` says so; there is no place for an end
    except Exception as error:  # one trial's failure is a record, and never stops the others
        what = f"{type(error).__name__}: {first_line(error)}"
        _log.debug("in full:", exc_info=True)
        close(end(step=step, status=FAILED, error=what))
        _log.error("%s: %s (see %s)", _name(prepared.settings, place), what, prepared.folder / "trial.log")
        if not has_begun:  # no journal says it, so whoever launched the trial must
            raise NotBegun(f"failed before the first step: {what}; see the log") from error
        return FAILED
    kept.remove()
    return FINISHED


def _earlier(prepared: Prepared, kept: Checkpoint, place: Place) -> Earlier:
    """Returns what a trial that was killed goes on from, and says so; what it does not go on from is removed."""
    settings, found = prepared.settings, NOTHING
    try:
        if not settings.rerun and settings.checkpoint == "epoch":
            found = kept.earlier()
    except Unusable as error:
        _log.warning("%s: starts from the beginning, because its checkpoint cannot be used: %s", _name(settings, place), error)
    if found is NOTHING:
        kept.remove()
    else:
        _log.warning("%s: goes on after epoch %d of %d", _name(settings, place), found.epochs[-1], settings.epochs)
    return found


def records(
    prepared: Prepared,
    *,
    place: Place = ALONE,
    kept: Checkpoint | None = None,
    earlier: Earlier = NOTHING,
) -> Iterator[Record]:
    """Trains and tests; yields the whole record. Nothing is recorded yet, but files are written before the `end` that names them.

    Args:
      prepared: what `prepare` returned.
      place: among the other trials of its study, for the record.
      kept: where to keep the state after each epoch, if `checkpoint=epoch`; nowhere if left out.
      earlier: what to go on from. Its records are not yielded again; they belong behind the `start`.
    """
    from src.training import clock
    from src.training.fit import evaluators, train
    from src.training.graph import layers
    from src.training.startup import fresh_session
    from src.training.update import new_optimizer

    settings, folder, task = prepared.settings, prepared.folder, TASKS[prepared.settings.task.name]
    folder.mkdir(parents=True, exist_ok=True)
    if not earlier.records:
        shutil.rmtree(folder / EXTRAS, ignore_errors=True)  # of an attempt before
    clock.reset_peak_memory()
    fresh_session(settings.seed)
    Artifacts(folder).write_patch(provenance.uncommitted())
    start = _start(prepared, place, earlier.epochs)
    yield start
    Artifacts(folder).write_settings(settings)
    problem = task.problem(settings, prepared.data)
    model = task.model(settings, prepared.data)
    if not earlier.records:
        yield Record(GRAPH, 0, detail={"layers": layers(model)})
    optimizer = new_optimizer(model, settings)
    fit, seen = _restored(earlier, model, optimizer), _Seen()
    for record in earlier.records:
        seen.add(record)
    measure = evaluators(model, problem, settings=settings)
    trained = train(model, problem, measure[VALIDATION], fit, settings=settings, optimizer=optimizer)
    if kept is not None and settings.checkpoint == "epoch":
        write = functools.partial(kept.write, start.detail["attempt"], variables=[*model.variables, *optimizer.variables])
        trained = _keeping(trained, write, fit)
    yield from _shown(trained, prepared, problem, fit, seen, place=place)
    if problem.padding is not None:
        yield _texts(prepared, problem, model, fit, measure[VALIDATION])
    tested = measure[TEST]()
    _write_files(prepared, problem, model, seen, tested)
    yield _end(prepared, problem, model, fit, seen, tested, processes=1 + len(earlier.epochs))


@dataclass
class _Seen:
    """What the end of a trial needs of its records.

    Attributes:
      steps: rows of the per-step record.
      validations: step and accuracy of each.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Takes the next record."""
        if record.kind == STEP:
            detail = {name: value for name, value in record.detail.items() if name != "shapes"}
            self.steps.append({"step": record.step, **record.metrics, **detail})
        elif record.kind == EVALUATION:
            self.validations.append((record.step, record.metrics["val/accuracy"]))


def _shown(trained: Iterator[Record], prepared: Prepared, problem: Problem, fit: Fit, seen: _Seen, *, place: Place) -> Iterator[Record]:
    """Yields the records of training, shows them on the terminal, and measures the machine and the profile where that was asked for."""
    from src.training.fit import steps_per_epoch
    from src.training.profile import profiled

    settings = prepared.settings
    planned = min(settings.epochs * steps_per_epoch(problem, settings), settings.max_steps or sys.maxsize)
    system = SystemMetrics() if settings.tracking.system_metrics else None
    name, is_alone, done = _name(settings, place), place.workers == 1, len(seen.steps)
    trained = profiled(trained, settings.tracking.profile, prepared.folder / EXTRAS, of=planned, timings=fit.timings)
    with TrialProgress(name, steps=planned, epochs=settings.epochs, is_alone=is_alone, done=done) as progress:
        for record in trained:
            progress.show(record)
            if record.kind == STEP:
                record.detail["is_sent"] = record.step % settings.tracking.every_n_batches == 0
            seen.add(record)
            yield record
            if system and system.is_due:
                yield Record(SYSTEM, record.step, system.measured())


def _write_files(prepared: Prepared, problem: Problem, model: keras.Model, seen: _Seen, tested: Evaluated) -> None:
    """Writes the model with what turns a text into its input, the per-step record, and what the test says of every example."""
    settings, data, task = prepared.settings, prepared.data, TASKS[prepared.settings.task.name]
    files = Artifacts(prepared.folder)
    known = Preprocessing(task.words(settings, data), data.classes, problem.padding, tokens=task.division(settings, data))
    files.write_model(model, known)
    files.write_steps(seen.steps)
    files.write_probabilities(tested.probabilities, problem.held_out[TEST].labels)


def _end(prepared: Prepared, problem: Problem, model: keras.Model, fit: Fit, seen: _Seen, tested: Evaluated, *, processes: int) -> Record:
    from src.training import clock
    from src.training.fit import weights_digest
    from src.training.health import NO_LEARNING, judge

    settings, task = prepared.settings, TASKS[prepared.settings.task.name]
    metrics = _final_metrics(settings, model, fit, tested, seen.validations, batches_per_epoch=problem.batches_per_epoch)
    metrics |= task.measures(settings, prepared.data)
    expected = _expected_traces(settings, problem, processes=processes)
    labels, traces = problem.held_out[VALIDATION].labels, int(metrics["data/traces"])
    health = judge(accuracies=fit.accuracies, labels=labels, traces=traces, expected=expected)
    tags = {
        "ablation.weights": weights_digest(model),
        "ablation.batches": clock.shapes_digest(fit.timings),
        "ablation.health": health,
        "ablation.best_epoch": f"{fit.best_epoch} of {len(fit.accuracies)}",
    }
    cause = _cause(prepared, problem, model, losses=_by_epoch(seen.steps)) if health == NO_LEARNING else None
    tags |= {"ablation.diagnosis": cause} if cause else {}
    tags |= _profile_tag(fit)
    names = Artifacts(prepared.folder).names
    return end(step=len(seen.steps), status=FINISHED, metrics=metrics, tags=tags, artifacts=names)


def _profile_tag(fit: Fit) -> dict[str, str]:
    """Returns which steps were profiled, and are therefore in no time per batch; nothing where none was."""
    watched = [step for step, timing in enumerate(fit.timings, 1) if timing.is_profiled]
    return {"ablation.profiled": f"steps {watched[0]} to {watched[-1]}"} if watched else {}


def _texts(prepared: Prepared, problem: Problem, model: keras.Model, fit: Fit, validate: Callable[[], Evaluated]) -> Record:
    """Returns some texts of the validation split with their predictions; writes the vectors of the words where that was asked for."""
    from src.training.samples import Reading, samples

    settings, data = prepared.settings, prepared.data
    words = TASKS[settings.task.name].words(settings, data)
    if settings.tracking.projector and settings.encoding != "onehot":
        projector.write(prepared.folder / EXTRAS, model.get_layer("encoding").get_weights()[0], words)
    how = Reading(words, data.classes, is_masked=settings.masking, gap="" if settings.tokens == "character" else " ")
    probabilities = fit.best_probabilities if len(fit.best_probabilities) else validate().probabilities
    return Record(SAMPLES, len(fit.timings), detail={"samples": samples(problem.held_out[VALIDATION], probabilities, how)})


def _restored(earlier: Earlier, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Fit:
    """Returns what training has left behind so far; the model and the optimizer get the values that they had then."""
    from src.training.fit import Fit

    fit = Fit.of_records(earlier.records)
    if earlier.records:
        restore([*model.variables, *optimizer.variables], earlier.variables)
        fit.best_weights, fit.peak_mb = earlier.best or model.get_weights(), earlier.peak_mb
    return fit


def _keeping(trained: Iterator[Record], write: Callable[..., None], fit: Fit) -> Iterator[Record]:
    """Yields the records of training; once the last one of an epoch was recorded, what the next epoch depends on is written."""
    from src.training import clock

    for record in trained:
        yield record
        epoch = record.detail["epoch"] if record.kind == EVALUATION else None
        if epoch is not None:
            best = fit.best_weights if fit.best_epoch < epoch else []
            write(epoch, best=best, peak_mb=max(clock.peak_memory_mb(), fit.peak_mb))


def _expected_traces(settings: Settings, problem: Problem, *, processes: int) -> int:
    """Returns how often a training step may be traced or compiled; each process has its own graphs."""
    if settings.retracing != "signature":  # tracing anew is what was asked for
        return sys.maxsize
    return processes * (2 * min(problem.shapes, MAX_BUCKETS) if settings.jit_compile else 2)


def _by_epoch(steps: list[dict[str, Any]]) -> list[list[float]]:
    """Returns the running mean of the loss after every step, a list an epoch."""
    return [[step["train/loss"] for step in group] for _, group in itertools.groupby(steps, key=lambda step: step["epoch"])]


def _cause(prepared: Prepared, problem: Problem, model: keras.Model, *, losses: list[list[float]]) -> str | None:
    """Returns why a trial has learnt nothing, as far as its numbers tell."""
    from src.training.diagnosis import diagnose

    settings = prepared.settings
    try:
        untrained = TASKS[settings.task.name].model(settings, prepared.data)
        return diagnose(model, untrained, problem, losses=losses, settings=settings)
    except Exception:  # whatever is odd about this model: its trial came to its end, and that is what counts
        _log.warning("it learnt nothing, and the search for a cause failed", exc_info=True)
        return None


def _start(prepared: Prepared, place: Place, resumed: list[int]) -> Record:
    """Returns an attempt's first record; after each of the epochs `resumed`, another process went on."""
    import tensorflow as tf

    from src.models.build import kernel

    settings = prepared.settings
    tags = {
        "ablation.kind": "trial",
        "ablation.study": settings.study,
        "ablation.variant": _variant(settings, place) or _variant(settings, ALONE),
        "ablation.identity": prepared.identity,
        "ablation.data": prepared.data.digest,
        "ablation.kernel": kernel(settings, gpus=len(tf.config.list_physical_devices("GPU"))),
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
        "params": _params(settings),
        "description": descriptions.of_trial(settings),
        "data": _data(prepared),
        "process": f"{socket.gethostname()} {os.getpid()}",
        ADDRESS: settings.tracking.uri and paths.absolute(settings.tracking.uri),
        "resumed": resumed,
    }
    return Record(START, 0, detail=detail)


def _data(prepared: Prepared) -> dict[str, Any]:
    """Returns what MLflow shows of the data: name, hash, source, classes, and the examples of each split."""
    data, options = prepared.data, prepared.settings.data
    path = getattr(options, "path", None)
    name = "noise" if isinstance(data, Noise) else Path(path).name if path else options.name
    source = "drawn" if isinstance(data, Noise) else path or options.name
    # MLflow knows data by name and hash, and noise of another length or number is other data.
    hashed = digest([data.digest, prepared.settings.task.model_dump()]) if isinstance(data, Noise) else data.digest
    return {"name": name, "digest": hashed, "source": source, "classes": data.classes, "rows": data.rows}


def _after(epochs: list[int], of: int) -> str:
    """Returns the tag `ablation.resumed`: `after epoch 3 of 5`, `after epochs 2 and 3 of 5`."""
    return f"after epoch{'s' if len(epochs) > 1 else ''} {' and '.join(map(str, epochs))} of {of}"


def _params(settings: Settings) -> dict[str, Any]:
    """Returns every toggle by its key; of a config group the choice's name, and what belongs to one task alone."""
    values = settings.model_dump()
    flat = {key: values[key]["name"] if key in GROUPS else values[key] for key in TOGGLES}
    if isinstance(settings.task, Integration):
        flat["data"] = "drawn"
    of_data = {key: value for key, value in differences(settings).items() if key.startswith("data.")}
    return flat | of_data | {f"task.{key}": value for key, value in values["task"].items() if key != "name"}


def _final_metrics(
    settings: Settings, model: keras.Model, fit: Fit, tested: Evaluated, validations: list[tuple[int, float]], *, batches_per_epoch: int
) -> dict[str, float]:
    from src.training import clock

    metrics = clock.summary(fit.timings) | {"data/batches_per_epoch": float(batches_per_epoch)}
    metrics |= {"test/loss": tested.loss, "test/accuracy": tested.accuracy}
    metrics |= {BEST_VALIDATION: max(accuracy for _, accuracy in validations)}
    metrics |= {"model/parameters": float(model.count_params()), "memory/peak_mb": max(clock.peak_memory_mb(), fit.peak_mb)}
    reached = [step for step, accuracy in validations if accuracy >= settings.plan.threshold]
    if reached:
        metrics[steps_to(settings.plan.threshold)] = float(reached[0])
    return metrics


def _name(settings: Settings, place: Place) -> str:
    """Returns what a trial is called wherever people look for it: its study's name of the variant, and the seed."""
    return f"{_variant(settings, place)} seed={settings.seed}".lstrip()


def _variant(settings: Settings, place: Place) -> str:
    """Returns what its study calls the variant, or without a study its differences from the defaults."""
    return described(differences(settings)) if place.variant is None else place.variant


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise SettingsError(reasons[0])


class _LogFile(logging.FileHandler):
    """A log that is not worth a word where it cannot be written: the journal says when the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        """Says nothing; the standard library would print a traceback for every line."""


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Sends everything that is logged to a file, and warnings to the terminal, too."""
    root = logging.getLogger("src")
    file, terminal = _LogFile(path, encoding="utf-8"), logging.StreamHandler()
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    terminal.setLevel(logging.WARNING)
    root.setLevel(logging.DEBUG)
    for handler in (file, terminal):
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in (file, terminal):
            root.removeHandler(handler)
            with suppress(OSError):  # what is still to be written has no room
                handler.close()


@contextmanager
def terminable() -> Iterator[None]:
    """Turns SIGTERM into `Stopped` while the block runs, so that what runs ends with a record."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
