"""Damaged project files: each must be repaired, retrained with a reason, or refused in one line, and none may mislead.

A check takes a number that selects the damage, and returns the failure or None.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import faults_data, generated
from src.spec.metric import IMPLIED
from src.spec.record import EVALUATION, START, STEP, Record
from src.study import plan_record
from src.study.journals import FILE, Journals
from src.tracking import journal, tensorboard_replay
from src.tracking.journal import FINISHED, Journal, JournalError
from src.tracking.mlflow_replay import Store

Check = Callable[[int], "str | None"]
HANGS_S = 60  # time limit for a child's answer
TRIAL = "cafe"


def forked(ask: Callable[[], str]) -> str:
    """Returns the answer of a forked process, which has the imports of this one but no caches of earlier calls."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        with open(os.devnull, "w") as nowhere:  # hides warnings
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        try:
            answer = ask()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writes, answer.encode(errors="replace")[:4_000])
        os._exit(0)
    os.close(writes)
    with open(reads, "rb") as answers:
        if not select.select([answers], [], [], HANGS_S)[0]:
            os.kill(child, signal.SIGKILL)
        answer = answers.read().decode()
    os.waitpid(child, 0)
    return answer


def cache_check(home: Path, content: Callable[[], str]) -> tuple[Check, int]:
    """Returns a check that reading a damaged cache gives the original content, and the number of damages."""
    whole = forked(content)
    damages = list(faults_data.damaged_caches(1, 90))

    def check(number: int) -> str | None:
        (folder,) = (path.parent for path in (home / "outputs" / ".cache").glob("*/meta.json"))
        name, damage = damages[number]
        damage(folder)
        read = forked(content)
        return None if read == whole else f"{name}: read {read[:200]!r}"

    return check, len(damages)


@contextlib.contextmanager
def record_check(folder: Path) -> Iterator[Check]:
    """Yields a check of a trial's records: its journal, and the saved states of replays and of its study."""
    trial = folder / "outputs" / "s" / TRIAL
    _write_trial(trial)
    shutil.copy(generated.database(folder), folder / "whole.db")
    store = Store(None, "s")
    _bring_up_to_date(trial, store)
    whole = shutil.copytree(trial.parent, folder / "whole")
    expected = _records(trial, store)

    def check(number: int) -> str | None:
        shutil.rmtree(trial.parent)
        shutil.copytree(whole, trial.parent)
        name = _damaged(trial.parent, number)
        try:
            _bring_up_to_date(trial, store)
            got = _records(trial, store)
        except JournalError as error:
            return None if len(str(error).splitlines()) == 1 else f"{name}: {error}"
        if got["status"] not in (FINISHED, None, "KILLED"):
            return f"{name}: the trial is {got['status']}"
        if got["status"] == FINISHED and got != expected:
            return f"{name}: {[key for key in expected if got[key] != expected[key]]} changed"
        return None

    yield check


@contextlib.contextmanager
def store_check(folder: Path) -> Iterator[Check]:
    """Yields a check of the analysis: it must read a damaged database or trial file, or refuse it in one line."""
    from analysis import load
    from analysis.store import StoreError, connect

    path = generated.database(folder)
    levels = {"cell": ["lstm", "gru"]}
    generated.study(path, "s", levels, lambda values, seed: {"test/accuracy": 0.8}, seeds=[0, 1], steps=20, examples=20)
    whole = shutil.copytree(folder, folder.with_name("whole-store"))

    def check(number: int) -> str | None:
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        rng = np.random.default_rng(number)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        trial_files = [file for file in files if file != path]
        damaged = path if number % 3 == 0 else trial_files[int(rng.integers(len(trial_files)))]
        kind = list(faults_data.BYTES)[number % len(faults_data.BYTES)]
        faults_data.BYTES[kind](damaged, rng)
        try:
            study = load.study("s", connect(f"sqlite:///{path}"))
            load.tidy(study)
            load.lost_files(study)
        except StoreError as error:
            return None if len(str(error).splitlines()) == 1 else f"{kind} of {damaged.name}: {error}"
        except Exception as error:
            return f"{kind} of {damaged.name}: {type(error).__name__}: {error}"
        return None

    try:
        yield check
    finally:
        shutil.rmtree(whole)


def _write_trial(folder: Path) -> None:
    """Writes the journal of a finished trial, and a plan."""
    folder.mkdir(parents=True)
    tags = {"ablation.kind": "trial", "ablation.identity": TRIAL}
    detail = {"attempt": "one", "name": "cell=gru seed=0", "tags": tags, "params": {"cell": "gru"}, "process": ""}
    with Journal(folder) as book:
        book.append(Record(START, 0, detail=detail))
        for step in range(1, 41):
            metrics = {"train/loss": 1 / step, "time/batch_ms": 3.0}
            book.append(Record(STEP, step, metrics, {"is_sent": True, "gradient_norm": 1.0}))
        book.append(Record(EVALUATION, 40, {"val/accuracy": 0.75, "val/loss": 0.4}, {"epoch": 1}))
        end = journal.end(step=40, status=FINISHED, metrics={"test/accuracy": 0.8}, tags={"ablation.weights": "w"})
        book.append(end)
    (folder.parent / "plan.json").write_text(json.dumps([{"rows": [], "commands": []}]), encoding="utf-8")


def _bring_up_to_date(trial: Path, store: Store) -> None:
    """Does what the next command of a study does with its records."""
    with contextlib.suppress(OSError, ValueError):  # a command renames a broken plan and begins a new one
        plan_record.from_text((trial.parent / "plan.json").read_text(encoding="utf-8", errors="strict"))
    journals = Journals(trial.parent)
    journals.close_dead()
    tensorboard_replay.replay(trial)
    refused = journals.replay(f"{store.uri} {store.study_run_id}", store.replay)
    for error in refused.values():
        raise error
    journals.save()


def _records(trial: Path, store: Store) -> dict[str, Any]:
    """Returns the trial's records in the journal, in MLflow and in the event file."""
    outcome = Journals(trial.parent).outcomes().get(TRIAL)
    stored = store.outcomes(IMPLIED).get(TRIAL)
    points = store.client.get_metric_history(stored.run_id, "train/loss") if stored and stored.run_id else []
    events = [path.read_bytes() for path in sorted(trial.glob("*/events*"))]
    return {
        "status": outcome.status if outcome else None,
        "the journal": (
            None if outcome is None else (outcome.attempt, outcome.metrics, outcome.tags, outcome.best_validation)
        ),
        "MLflow": None if stored is None else (stored.attempt, stored.status, stored.metrics),
        "the steps in MLflow": [(point.step, point.value) for point in points],
        "the event file": events,
    }


def _damaged(study: Path, number: int) -> str:
    """Damages one of a study's files; returns a description of the damage."""
    rng = np.random.default_rng(number)
    # Event files are left out, because TensorBoard itself checks them.
    names = [journal.FILE, "mlflow.json", "tensorboard.json", FILE, "plan.json"]
    name = names[number % len(names)]
    kind = list(faults_data.BYTES)[int(rng.integers(len(faults_data.BYTES)))]
    if kind == "folder":  # a disk never does this
        kind = "noise"
    path = study / TRIAL / name
    faults_data.BYTES[kind](path if path.exists() else study / name, rng)
    return f"{kind} of {name} ({number})"
