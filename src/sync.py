"""Sends the records that MLflow and TensorBoard lack from the journals: `python -m src.sync`.

For trials that ran offline, while a server was away, or whose process was killed.
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
from src.study import plan, presented
from src.terminal.errors import comes_again, first_line
from src.terminal.visible import counted
from src.tracking import journal, tensorboard_replay
from src.tracking.deleted import how_to_restore
from src.tracking.mlflow_replay import Deleted, Store

MAX_LINES = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 if something could not be sent, or 2 for an invalid command."""
    environment.draw_to_files()
    parser = argparse.ArgumentParser(
        prog="python -m src.sync", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("studies", metavar="STUDY", nargs="*", help="studies to send (default: all in outputs/)")
    parser.add_argument("--uri", help="MLflow tracking URI (default: the one recorded with each trial)")
    given = parser.parse_args(arguments)
    try:
        there = _studies()
        for study in given.studies:
            if study not in there:
                raise SettingsError(
                    f"no study {study!r} in {paths.outputs()}; studies: {', '.join(there) or 'none yet'}"
                )
        return max([_sync(study, given.uri) for study in given.studies or there], default=0)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _studies() -> list[str]:
    return sorted({path.parent.parent.name for path in paths.outputs().glob(f"*/*/{journal.FILE}")})


def _sync(study: str, uri: str | None) -> int:
    """Sends one study, each trial to the store that it was meant for if no other is given; returns 0, or 1 if some could not be sent.

    What somebody deleted in MLflow stays so: it is said, with the command that restores it.
    """
    closed, sent, deleted, failures = 0, Counter[Store](), set[str](), _Failures()
    stores: dict[str | None, Store | Exception] = {}  # each is asked once: one that is away holds a while
    for trial in journal.folders(paths.study_folder(study)):
        try:
            closed += journal.close_if_dead(trial)
            begun = journal.last_attempt(trial, kinds=(START,))
            _replay_to_tensorboard(trial)
            if not begun:
                continue
            address = uri or _uri(trial, begun[-1].record)
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
            if plan_file is not None:
                store.attach(plan_file, tags={})
            if (page := presented.read(paths.study_folder(study))) is not None:
                store.present(page)
            store.end_study_if_running(_status(study))
            for line in _remarks(store):
                print(f"{study}: {line}")
        except Exception as error:  # the server may have gone since
            failures.add(f"the run of study {study}", error)
    if closed:
        print(f"{study}: {counted(closed, 'trial')} marked KILLED because the process is gone")
    for line in failures.lines():
        print(line, file=sys.stderr)
    return int(is_broken or bool(failures.lines()))


class _Failures:
    """What could not be sent, by reason."""

    def __init__(self) -> None:
        self._of_reason: dict[tuple[str, str], list[str]] = {}

    def add(self, name: str, error: Exception) -> None:
        """Keeps the name of what could not be sent, and why."""
        is_lasting = comes_again(error) or isinstance(error, SettingsError | journal.JournalError)
        what = f"{'is rejected' if is_lasting else 'cannot be sent now'} ({first_line(error)})"
        again = "nothing is lost; fix that and try again" if is_lasting else "nothing is lost; try again later"
        self._of_reason.setdefault((what, again), []).append(name)

    def lines(self) -> list[str]:
        """Returns a line a reason, with the names of all that it keeps from being sent."""
        return [
            f"error: {first} {what}{f'; so are {len(rest)} more: ' if rest else ''}{', '.join(Path(name).name for name in rest)}; {again}"
            for (what, again), (first, *rest) in self._of_reason.items()
        ]


def _replay_to_tensorboard(trial: Path) -> None:
    """Brings the trial's event file up to date; what keeps it from that keeps nothing from MLflow."""
    try:
        tensorboard_replay.replay(trial)
    except journal.JournalError:  # MLflow's replay reads the same lines, and says so
        pass
    except Exception as error:
        print(f"warning: {trial}: TensorBoard files cannot be written ({first_line(error)})", file=sys.stderr)


def _sent(store: Store, trial: Path, stores: dict[str | None, Store | Exception], uri: str | None) -> int:
    """Returns how many records of a trial were sent; a store that went away meanwhile is not asked for the next one."""
    try:
        return store.replay(trial)
    except Exception as error:
        if not comes_again(error) and not isinstance(error, journal.JournalError) and not store.answers():
            stores[uri] = error
        raise


def _connected(stores: dict[str | None, Store | Exception], uri: str | None, study: str) -> Store:
    """Returns the store at an address, and remembers it or why there is none."""
    if uri not in stores:
        try:
            stores[uri] = store = Store(uri, study)
            if count := store.delete_duplicates():
                print(f"{study}: {counted(count, 'duplicate run')} deleted in MLflow (a server response had been lost)")
        except Exception as error:  # MLflow's stores raise what their drivers raise
            stores[uri] = error
    found = stores[uri]
    if isinstance(found, Exception):
        raise found
    return found


def _remarks(store: Store) -> list[str]:
    """Returns what else there is to say of a study's store, a line each."""
    lines = [store.moved] if store.moved else []
    unused = environment.unused_address()
    if unused and unused != store.uri:
        lines.append(f"note: MLFLOW_TRACKING_URI={paths.shown(unused)} is ignored; --uri sets another store")
    deleted = store.deleted_trials()
    for run_id, name in itertools.islice(deleted.items(), MAX_LINES):
        lines.append(
            f"{name!r} was deleted in MLflow and stays deleted; to restore it, run: {how_to_restore(store.uri, run_id=run_id)}"
        )
    return lines if len(deleted) <= MAX_LINES else [*lines, f"… and {len(deleted) - MAX_LINES} more deleted"]


def _plan_file(study: str) -> Path | None:
    """Returns the file with the study's plans, or None where it has none.

    Raises:
      SettingsError: the file holds something else.
    """
    path = paths.study_folder(study) / "plan.json"
    if not path.is_file():
        return None
    try:
        plan.from_text(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SettingsError(
            f"{path}: not a valid plan and not sent; move it away, and the next run of the study writes a new one"
        ) from None
    return path


def _status(study: str) -> str:
    """Returns what the study run is to say: RUNNING while a trial is written, FINISHED if all trials are."""
    folders = journal.folders(paths.study_folder(study))
    if any(journal.is_being_written(trial) for trial in folders):
        return "RUNNING"
    try:
        ended = {journal.status(journal.last_attempt(trial, kinds=(START, END))) for trial in folders}
    except journal.JournalError:  # it was said already
        return journal.FAILED
    return journal.FINISHED if ended == {journal.FINISHED} else journal.FAILED


def _uri(trial: Path, start: Record) -> str | None:
    """Returns the store that the trial was meant for, as its latest attempt says; older ones say so in a file that was written later.

    Raises:
      SettingsError: neither says it.
    """
    if ADDRESS in start.detail:
        address = start.detail[ADDRESS]
        return str(address) if address else None
    try:
        found = json.loads((trial / SETTINGS).read_text(encoding="utf-8"))["tracking"]["uri"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(f"neither its journal nor {SETTINGS} names its MLflow store; set it with --uri") from None
    if not isinstance(found, str | None) or (found is not None and paths.is_without_password(found)):
        raise SettingsError(f"{SETTINGS} has no complete address of its MLflow store; set it with --uri")
    return found


if __name__ == "__main__":
    sys.exit(main())
