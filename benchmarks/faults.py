"""A campaign of faults: processes killed at random, damaged files, odd command lines. `python -m benchmarks faults MINUTES` prints a table.

Half of the time goes to sweeps whose processes are killed until they come to their end, each compared with an undisturbed one; the other
half to command lines, study files, tables, caches and models, drawn by seed: none may end in a traceback, train on what is damaged, or
leave anything behind.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks import faults_data, faults_overrides
from src import paths
from src.artifacts import Artifacts
from src.data import encoded
from src.data.corpora import CORPORA
from src.data.files import DataError
from src.identity import digest
from src.settings import Table
from src.tracking import journal, outcome

Item = TypeVar("Item")

MAX_KILLS = 6  # of one sweep, before it is left alone
SWEEP_S = 240.0  # in which a sweep of four trials must end
TOGGLES = "masking=true,false cell=simple_rnn seed=0,1 units=4 embedding_dim=4 batch_size=8 epochs=60 tracking.histograms=false"
TWO_WORKERS = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@dataclass
class Count:
    """One row of the table: how many were tried, and what was wrong with those that were."""

    what: str
    tried: int
    wrong: list[str]

    def __str__(self) -> str:
        shown = "".join(f"\n    {text}" for text in self.wrong[:5])
        return f"{self.what}: {self.tried:,} tried, {len(self.wrong)} wrong{shown}"


def campaign(minutes: float, *, seed: int = 0) -> list[Count]:
    """Runs every kind of fault for its share of the time."""
    drawn = random.Random(seed)
    counts = [kills(30 * minutes, drawn)]
    kinds: list[Callable[[float, random.Random], Count]] = [overrides, study_files, tables, caches, models]
    counts += [kind(6 * minutes, drawn) for kind in kinds]
    return counts


def kills(seconds: float, drawn: random.Random) -> Count:
    """Kills a process of a sweep, starts it again, and so on; at its end its trials must equal an undisturbed sweep's."""
    count, total, before = Count("sweeps whose processes were killed", 0, []), 0, _shared()
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "data=table", f"data.path={faults_data.whole_table(Path(folder) / 't.csv')}", *TOGGLES.split()]
        expected = _ended(words, Path(folder) / "undisturbed", drawn, most=0)[0]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            home = Path(folder) / f"home{count.tried}"
            found, killed, alive = _ended([*words, *TWO_WORKERS], home, drawn, most=MAX_KILLS)
            count.tried, total = count.tried + 1, total + killed
            if found != expected:
                count.wrong.append(f"after {killed} kills: {found} and not {expected}")
            count.wrong += [f"after {killed} kills there is still {name}" for name in alive]
    count.wrong += [f"left in shared memory: {name}" for name in sorted(_shared() - before)]
    count.what += f" ({total} kills)"
    return count


def overrides(seconds: float, drawn: random.Random) -> Count:
    """Types odd command lines."""
    lines = faults_overrides.overrides(2_000, drawn.randrange(2**31))
    return _tried("odd command lines", lines, faults_overrides.fault, seconds)


def study_files(seconds: float, drawn: random.Random) -> Count:
    """Reads odd study files."""
    texts = faults_overrides.study_files(400, drawn.randrange(2**31))
    return _tried("odd study files", texts, lambda text: faults_overrides.fault([], text), seconds)


def tables(seconds: float, drawn: random.Random) -> Count:
    """Reads damaged tables: each can be read or is refused in a line."""

    def wrong(write: Callable[[Path], Path]) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            options = Table(path=str(write(Path(folder))))
            with contextlib.suppress(DataError):
                CORPORA["table"].files(options)
                CORPORA["table"].read(options)
        return None

    return _tried("damaged tables", (write for _, write in faults_data.damaged_tables(drawn.randrange(2**31), 300)), wrong, seconds)


def caches(seconds: float, drawn: random.Random) -> Count:
    """Damages a cached corpus, and asks a new process what it reads: what was encoded first, whatever happened to the files."""
    with tempfile.TemporaryDirectory() as folder, _home(Path(folder) / "home"):
        table = Table(path=str(faults_data.whole_table(Path(folder) / "t.csv")))
        ask = [sys.executable, "-c", f"from benchmarks import faults; print(faults.content({table.path!r}))"]
        whole = content(str(table.path))

        def wrong(damage: Callable[[Path], object]) -> str | None:
            (of,) = (path.parent for path in paths.cache().glob("*/meta.json"))
            damage(of)
            done = subprocess.run(ask, capture_output=True, text=True, check=False)
            return None if done.stdout.strip() == whole else f"read {done.stdout.strip()[:80]!r} ({done.stderr.strip()[-200:]})"

        return _tried("damaged caches", (one for _, one in faults_data.damaged_caches(drawn.randrange(2**31), 60)), wrong, seconds)


def models(seconds: float, drawn: random.Random) -> Count:
    """Loads damaged and crafted models: each is refused in a line, and nothing in it runs."""

    def wrong(write: Callable[[Path], object]) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            with contextlib.suppress(OSError, ValueError, KeyError):
                Artifacts(Path(folder)).load()
                return "it was loaded"
            return "it ran" if (Path(folder) / "ran").exists() else None

    return _tried("crafted models", (write for _, write in faults_data.odd_models()), wrong, seconds)


def content(path: str) -> str:
    """Returns a hash of everything that a trial reads of a table, from the cache."""
    read = encoded.load(Table(path=path), tokens="word")
    parts = [read.split(name) for name in ("train", "validation", "test")]
    numbers = [[part.ids.tolist(), part.starts.tolist(), part.labels.tolist()] for part in parts]
    return f"{read.digest} {digest([numbers, read.words(10**6), read.classes])}"


def _tried(what: str, items: Iterator[Item], wrong: Callable[[Item], str | None], seconds: float) -> Count:
    """Tries one item after the other until the time is over; an exception that comes through is wrong, too."""
    count, end = Count(what, 0, []), time.monotonic() + seconds
    for item in items:
        if time.monotonic() > end:
            break
        count.tried += 1
        try:
            said = wrong(item)
        except Exception as error:  # a traceback, for a user
            said = f"{type(error).__name__}: {error}"
        if said:
            count.wrong.append(f"{str(item)[:100]}: {said}")
    return count


def _ended(words: list[str], home: Path, drawn: random.Random, *, most: int) -> tuple[dict[str, str | None], int, list[str]]:
    """Runs a sweep to its end, after up to so many kills; returns identity → hash of the weights, the kills, and the processes left."""
    killed, known = 0, dict[int, psutil.Process]()
    for attempt in range(most + 1):
        with open(os.devnull, "w") as nowhere:
            environment = {**os.environ, "ABLATION_HOME": str(home)}
            sweep = subprocess.Popen(
                [sys.executable, "-m", "src.run", *words], cwd=paths.REPOSITORY, env=environment, stdout=nowhere, stderr=nowhere
            )
        kill_at = time.monotonic() + drawn.uniform(3, 20) if attempt < most else float("inf")
        end = time.monotonic() + SWEEP_S
        while sweep.poll() is None and time.monotonic() < end:
            with contextlib.suppress(psutil.Error):
                known |= {one.pid: one for one in psutil.Process(sweep.pid).children(recursive=True)}
            if time.monotonic() > kill_at:
                victim = drawn.choice([sweep.pid, *(pid for pid, one in known.items() if one.is_running())])
                with contextlib.suppress(psutil.Error):
                    psutil.Process(victim).kill()
                    killed += 1
                kill_at = float("inf") if victim == sweep.pid else time.monotonic() + drawn.uniform(3, 20)
            time.sleep(0.2)
        if sweep.poll() == 0:
            break
        sweep.kill()
        sweep.wait()
    left = psutil.wait_procs(list(known.values()), timeout=30)[1]
    trials = {folder.name: outcome.of_journal(folder) for folder in journal.folders(home / "outputs" / "adhoc")}
    weights = {name: one.tags.get("ablation.weights") for name, one in trials.items() if one is not None}
    return weights, killed, [f"process {one.pid}" for one in left]


def _shared() -> set[str]:
    """Returns what joblib and its like have in shared memory."""
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("ABLATION_HOME")
    os.environ["ABLATION_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("ABLATION_HOME") if before is None else os.environ.update(ABLATION_HOME=before)
