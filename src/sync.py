"""Sends missing records from the journals to MLflow and TensorBoard: `python -m src.sync`.

Use it after trials ran offline, a server could not be reached, or a process was killed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from src import environment, paths
from src.artifacts import SETTINGS
from src.spec.record import ADDRESS, END, START, Record
from src.spec.section import SettingsError
from src.study import plan_record, presented, timing
from src.terminal.errors import first_line, is_permanent
from src.terminal.visible import counted
from src.tracking import journal, tensorboard_replay
from src.tracking.deleted import how_to_restore
from src.tracking.mlflow_replay import Deleted, Store

MAX_LINES = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 if something could not be sent, or 2 for an invalid command."""
    environment.draw_to_files()
    options = _parser().parse_args(arguments)
    try:
        existing = _studies()
        for study in options.studies:
            if study not in existing:
                raise SettingsError(
                    f"no study {study!r} in {paths.outputs()}; studies: {', '.join(existing) or 'none yet'}"
                )
        return max([_sync(study, options.uri) for study in options.studies or existing], default=0)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.sync", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("studies", metavar="STUDY", nargs="*", help="studies to send (default: all in outputs/)")
    parser.add_argument("--uri", help="MLflow tracking URI (default: the one recorded with each trial)")
    return parser


def _studies() -> list[str]:
    return sorted({path.parent.parent.name for path in paths.outputs().glob(f"*/*/{journal.FILE}")})


def _sync(study: str, uri: str | None) -> int:
    """Sends one study; returns 0, or 1 if something could not be sent.

    Runs that a user deleted in MLflow stay deleted; a line gives the command that restores them.

    Args:
      study: its name.
      uri: the MLflow store; None for the store that each trial recorded.
    """
    closed, sent, deleted, failures = 0, Counter[Store](), set[str](), _Failures()
    stores: dict[str | None, Store | Exception] = {}  # one connection per store: an unreachable one takes long to fail
    for trial in journal.folders(paths.study_folder(study)):
        try:
            closed += journal.close_if_dead(trial)
            starts = journal.last_attempt(trial, kinds=(START,))
            _replay_to_tensorboard(trial)
            if not starts:
                continue
            address = uri or _uri(trial, starts[-1].record)
            store = _connected(stores, address, study)
            sent[store] += _sent(store, trial, stores, address)
        except Deleted as error:
            deleted.add(str(error))
        except Exception as error:  # MLflow's stores raise what their drivers raise
            failures.add(str(trial), error)
    for text in sorted(deleted):
        print(f"{study}: nothing sent: {text}")
    plan_file, is_broken = None, False
    try:
        plan_file = _plan_file(study)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        is_broken = True
    for store, count in sent.items():
        print(f"{study}: {count:,} records sent to {paths.shown(store.uri)}")
        try:
            timed = paths.study_folder(study) / timing.FILE
            for file in filter(None, (plan_file, timed if timed.is_file() else None)):
                store.attach(file, tags={})
            if (page := presented.read(paths.study_folder(study))) is not None:
                store.present(page)
            store.end_study_if_running(_status(study))
            for line in _remarks(store):
                print(f"{study}: {line}")
        except Exception as error:  # the server may have stopped since
            failures.add(f"the run of study {study}", error)
    if closed:
        print(f"{study}: {counted(closed, 'trial')} marked KILLED because the process is gone")
    for line in failures.lines():
        print(line, file=sys.stderr)
    return int(is_broken or bool(failures.lines()))


class _Failures:
    """The trials and study runs that could not be sent, grouped by reason."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], list[str]] = {}

    def add(self, name: str, error: Exception) -> None:
        """Adds the name of a trial or a study run with the reason."""
        is_rejected = is_permanent(error) or isinstance(error, SettingsError | journal.JournalError)
        reason = f"{'is rejected' if is_rejected else 'cannot be sent now'} ({first_line(error)})"
        fix = "nothing is lost; fix that and try again" if is_rejected else "nothing is lost; try again later"
        self._names.setdefault((reason, fix), []).append(name)

    def lines(self) -> list[str]:
        """Returns one line per reason, with the names of the trials and study runs."""
        lines = []
        for (reason, fix), (first, *rest) in self._names.items():
            more = f"; so are {len(rest)} more: {', '.join(Path(name).name for name in rest)}" if rest else ""
            lines.append(f"error: {first} {reason}{more}; {fix}")
        return lines


def _replay_to_tensorboard(trial: Path) -> None:
    """Updates the trial's event file; an error does not stop the replay to MLflow."""
    try:
        tensorboard_replay.replay(trial)
    except journal.JournalError:  # the replay to MLflow reads the same lines and reports the error
        pass
    except Exception as error:
        print(f"warning: {trial}: TensorBoard files cannot be written ({first_line(error)})", file=sys.stderr)


def _sent(store: Store, trial: Path, stores: dict[str | None, Store | Exception], uri: str | None) -> int:
    """Returns the number of records of a trial that were sent; does not try a store again that stopped answering."""
    try:
        return store.replay(trial)
    except Exception as error:
        if not is_permanent(error) and not isinstance(error, journal.JournalError) and not store.answers():
            stores[uri] = error
        raise


def _connected(stores: dict[str | None, Store | Exception], uri: str | None, study: str) -> Store:
    """Returns the store at an address, and caches it or the error of its connection."""
    if uri not in stores:
        try:
            stores[uri] = store = Store(uri, study)
            if count := store.delete_duplicates():
                print(f"{study}: {counted(count, 'duplicate run')} deleted in MLflow (a server response had been lost)")
        except Exception as error:  # MLflow's stores raise what their drivers raise
            stores[uri] = error
    result = stores[uri]
    if isinstance(result, Exception):
        raise result
    return result


def _remarks(store: Store) -> list[str]:
    """Returns remarks on a study's store, one line each."""
    lines = [store.moved] if store.moved else []
    unused = environment.unused_address()
    if unused and unused != store.uri:
        lines.append(f"note: MLFLOW_TRACKING_URI={paths.shown(unused)} is ignored; --uri sets another store")
    deleted = store.deleted_trials()
    for run_id, name in itertools.islice(deleted.items(), MAX_LINES):
        fix = how_to_restore(store.uri, run_id=run_id)
        lines.append(f"{name!r} was deleted in MLflow and stays deleted; to restore it, run: {fix}")
    return lines if len(deleted) <= MAX_LINES else [*lines, f"… and {len(deleted) - MAX_LINES} more deleted"]


def _plan_file(study: str) -> Path | None:
    """Returns the file with the study's plans, or None without a file.

    Raises:
      SettingsError: the file contains no valid plan.
    """
    path = paths.study_folder(study) / "plan.json"
    if not path.is_file():
        return None
    try:
        plan_record.from_text(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SettingsError(
            f"{path}: not a valid plan and not sent; move it away, and the next run of the study writes a new one"
        ) from None
    return path


def _status(study: str) -> str:
    """Returns the status of the study run: RUNNING while a trial runs, FINISHED if all trials finished, else FAILED."""
    folders = journal.folders(paths.study_folder(study))
    if any(journal.is_being_written(trial) for trial in folders):
        return "RUNNING"
    try:
        ended = {journal.status(journal.last_attempt(trial, kinds=(START, END))) for trial in folders}
    except journal.JournalError:  # already reported
        return journal.FAILED
    return journal.FINISHED if ended == {journal.FINISHED} else journal.FAILED


def _uri(trial: Path, start: Record) -> str | None:
    """Returns the MLflow store of the trial's latest attempt; older versions recorded it in the settings file.

    Raises:
      SettingsError: neither of them names a store.
    """
    if ADDRESS in start.detail:
        address = start.detail[ADDRESS]
        return str(address) if address else None
    try:
        uri = json.loads((trial / SETTINGS).read_text(encoding="utf-8"))["tracking"]["uri"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(f"neither its journal nor {SETTINGS} names its MLflow store; set it with --uri") from None
    if not isinstance(uri, str | None) or (uri is not None and paths.is_without_password(uri)):
        raise SettingsError(f"{SETTINGS} has no complete address of its MLflow store; set it with --uri")
    return uri


if __name__ == "__main__":
    sys.exit(main())
