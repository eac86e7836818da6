"""Sends to MLflow and TensorBoard what the journals have and they have not: `python -m src.sync`.

For trials that ran offline, while a server was away, or whose process was killed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from src import paths
from src.settings import SettingsError
from src.tracking import journal, tensorboard_replay
from src.tracking.mlflow_replay import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 if a store cannot be used, or 2 for what was typed wrong."""
    parser = argparse.ArgumentParser(prog="python -m src.sync", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("studies", metavar="STUDY", nargs="*", help="studies to send (default: all in outputs/)")
    parser.add_argument("--uri", help="MLflow store (default: SQLite at the repository root)")
    given = parser.parse_args(arguments)
    try:
        for study in given.studies or _studies():
            _sync(study, given.uri)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # MLflow's stores raise what their drivers raise
        print(
            f"error: the store cannot be used now ({str(error).splitlines()[0][:200]}); nothing is lost, try again later", file=sys.stderr
        )
        return 1
    return 0


def _studies() -> list[str]:
    return sorted({path.parent.parent.name for path in paths.outputs().glob(f"*/*/{journal.FILE}")})


def _sync(study: str, uri: str | None) -> None:
    if study not in _studies():
        raise SettingsError(f"no study {study!r} in {paths.outputs()}; there are {', '.join(_studies()) or 'none yet'}")
    store = Store(uri, study)
    closed = sent = 0
    for path in sorted(paths.study_folder(study).glob(f"*/{journal.FILE}")):
        closed += journal.close_if_dead(path.parent)
        tensorboard_replay.replay(path.parent)
        sent += store.replay(path.parent)
    plan = paths.study_folder(study) / "plan.json"
    if plan.is_file():
        store.write_plan(plan, tags={})
    store.close_study(journal.FINISHED)
    print(f"{study}: {sent:,} records sent to {store.uri}" + (f", {closed} dead trials marked KILLED" if closed else ""))


if __name__ == "__main__":
    sys.exit(main())
