"""A campaign of faults: `python -m benchmarks faults MINUTES` prints one line per kind of fault.

First come odd command lines, study files, tables, project files and models, drawn from a seed: none may cause a
traceback or wrong data. The remaining time, half of it or more, goes to sweeps: the campaign kills their processes,
fills their disk, and stops their tracking server or loses its answers. At the end, each sweep must equal an undisturbed
one. After each kind of fault, no process, no shared memory and no temporary file may remain.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

from benchmarks import faults_data, faults_disk, faults_files, faults_overrides, faults_server
from src import paths
from src.data import encoded
from src.data.corpora import CORPORA
from src.data.files import DataError
from src.data.options import Table
from src.files import digest
from src.training import model_file

Item = TypeVar("Item")

MARK = "ABLATION_CAMPAIGN"  # environment variable that identifies the campaign's processes, even without their parents
MAX_KILLS = 6  # of one sweep; after that it runs undisturbed
SWEEP_S = 240.0  # time limit of a sweep of four trials
LEFT_S = 30.0  # time limit for processes to end
TOGGLES = (
    "masking=true,false cell=simple_rnn seed=0,1 units=4 embedding_dim=4 batch_size=8 epochs=60 "
    "tracking.histograms=false"
)
TWO_WORKERS = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
FREE = (20_000, 4_000_000)  # bytes of a nearly full disk: from too few for the database to more than a sweep needs


@dataclass
class Count:
    """The result for one kind of fault.

    Attributes:
      description: what the campaign tries.
      wanted: number of attempts to make; None for as many as the time allows.
      tried: number of attempts made.
      wrong: failures, one text each.
      notes: additional facts, such as the number of kills.
    """

    description: str
    wanted: int | None = None
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: str = ""

    def __str__(self) -> str:
        examples = "".join(f"\n    {text}" for text in self.wrong[:5])
        total = "" if self.wanted is None else f" of {self.wanted:,}"
        notes = f" ({self.notes})" if self.notes else ""
        return f"{self.description}: {self.tried:,}{total} tried, {len(self.wrong)} wrong{notes}{examples}"


class Campaign(NamedTuple):
    """Data that all kinds of faults share.

    Attributes:
      folder: folder for their files.
      rng: random generator of the faults.
      words: command line of a sweep of four trials.
      expected: identity → hash of the weights after an undisturbed sweep.
    """

    folder: Path
    rng: random.Random
    words: list[str]
    expected: dict[str, str | None]


Kind = Callable[[float, Campaign], Count]


def campaign(minutes: float, *, seed: int = 0) -> Iterator[Count]:
    """Runs every kind of fault; a kind that ends early leaves its time to the next ones."""
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="ablation-faults-") as folder, _marked(Path(folder)):
        words = ["-m", "data=table", f"data.path={faults_data.whole_table(Path(folder) / 't.csv')}", *TOGGLES.split()]
        expected = _swept(words, Path(folder) / "undisturbed")
        shared = Campaign(Path(folder), random.Random(seed), words, expected)
        if len(expected) != 4 or None in expected.values():
            raise RuntimeError(f"the undisturbed sweep did not end: {expected}")
        left = sum(SHARES.values())
        for kind, share in SHARES.items():
            before = _shared()
            count = kind((end - time.monotonic()) * share / left, shared)
            left -= share
            count.wrong += _left_behind(Path(folder), before)
            yield count


def kills(seconds: float, shared: Campaign) -> Count:
    """Kills processes of sweeps and restarts them; at the end, the trials must equal those of an undisturbed sweep."""
    count, total, end = Count("sweeps whose processes were killed"), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with _home(shared.folder) as home:
            weights, killed = _killed([*shared.words, *TWO_WORKERS], home, shared.rng)
            count.tried, total = count.tried + 1, total + killed
            if weights != shared.expected:
                count.wrong.append(f"after {killed} kills: {weights} instead of {shared.expected}")
    count.notes = f"{total} kills"
    return count


def full_disks(seconds: float, shared: Campaign) -> Count:
    """Runs sweeps on a nearly full disk: the error must be short, and a second run must equal an undisturbed sweep."""
    count, filled, end = Count("sweeps on a full disk"), 0, time.monotonic() + seconds
    if not faults_disk.is_possible():
        count.notes = "none: this system has no unshare, or does not allow its use"
        return count
    while time.monotonic() < end:
        free = shared.rng.randint(*FREE)
        with _home(shared.folder) as home:
            words = [*shared.words, *shared.rng.choice(([], TWO_WORKERS))]
            result = faults_disk.result(home, free, words, seconds=SWEEP_S)
        count.tried += 1
        full, again = result["full"], result["again"]
        filled += full["code"] != 0
        lines = len(full["output"].splitlines())
        if "Traceback" in full["output"] or lines > faults_disk.MAX_LINES:
            count.wrong.append(f"with {free:,} bytes: {lines} lines: {full['output'][-400:]}")
        if again["code"] != 0 or result["weights"] != shared.expected:
            text = f"{again['code']}, {result['weights']}: {again['output'][-400:]}"
            count.wrong.append(f"with {free:,} bytes, and then with enough space: {text}")
    count.notes = f"{filled} of them did not finish before space was freed"
    return count


def bad_networks(seconds: float, shared: Campaign) -> Count:
    """Runs sweeps whose tracking server loses answers or is killed; at the end it must have every step once."""
    count, end = Count("sweeps whose tracking server failed"), time.monotonic() + seconds
    restarts = 0
    with _home(shared.folder) as place, faults_server.behind_a_bad_network(place, shared.rng) as (server, network):
        while time.monotonic() < end:
            with _home(shared.folder) as home:
                network.is_bad = True
                study = f"s{count.tried}"
                words = [*shared.words, f"study={study}", f"tracking.uri={network.uri}", *TWO_WORKERS]
                sweep = _started("src.run", words, home)
                if shared.rng.random() < 0.5:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        sweep.wait(shared.rng.uniform(5, 40))
                    server.restart()
                    restarts += 1
                wrong = [] if _ends(sweep) else ["the sweep failed"]
                network.is_bad = False
                wrong += [] if _ends(_started("src.sync", [], home)) else ["src.sync could not send everything"]
                wrong += faults_server.differences(server.database, home / "outputs" / study)
                if faults_disk.weights(home, study) != shared.expected:
                    wrong.append("its weights differ")
                count.tried += 1
                count.wrong += [f"{study}: {text}" for text in wrong]
    happened = ", ".join(f"{number} {fault}" for fault, number in sorted(network.happened.items()))
    count.notes = f"faults of requests: {happened}; the server was killed {restarts} times"
    return count


def overrides(seconds: float, shared: Campaign) -> Count:
    """Tries odd command lines."""
    lines = list(faults_overrides.overrides(2_000, shared.rng.randrange(2**31)))
    return _tried("odd command lines", lines, faults_overrides.fault, seconds)


def study_files(seconds: float, shared: Campaign) -> Count:
    """Tries odd study files."""
    texts = list(faults_overrides.study_files(400, shared.rng.randrange(2**31)))
    return _tried("odd study files", texts, lambda text: faults_overrides.fault([], text), seconds)


def tables(seconds: float, shared: Campaign) -> Count:
    """Reads damaged and odd tables: each must be readable or refused in one line."""

    def wrong(write: Callable[[Path], Path]) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            options = Table(path=str(write(Path(folder))))
            try:
                CORPORA["table"].files(options)
                CORPORA["table"].read(options)
            except DataError as error:
                return None if len(str(error).splitlines()) == 1 else f"{error}"
        return None

    odd = list(faults_data.odd_tables())
    damaged = list(faults_data.damaged_tables(shared.rng.randrange(2**31), 300 - len(odd)))
    return _tried("damaged and odd data files", [write for _, write in (*odd, *damaged)], wrong, seconds)


def files(seconds: float, shared: Campaign) -> Count:
    """Damages caches, journals, saved states, databases and files of trials; see `faults_files`."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(_home(shared.folder))
        stack.enter_context(_set("ABLATION_HOME", str(home)))
        (home / "stores").mkdir()
        table = str(faults_data.whole_table(home / "t.csv"))
        check_cache, caches = faults_files.cache_check(home, lambda: content(table))
        check_records = stack.enter_context(faults_files.record_check(home))
        check_store = stack.enter_context(faults_files.store_check(home / "stores"))
        items = [(check_cache, number) for number in range(caches)]
        items += [(check_records, number) for number in range(110)] + [
            (check_store, number) for number in range(310 - 110 - caches)
        ]
        shared.rng.shuffle(items)
        return _tried("damaged project files", items, lambda item: item[0](item[1]), seconds)


def models(seconds: float, shared: Campaign) -> Count:
    """Loads damaged and crafted models: each must be refused, and none may run code."""

    def wrong(write: Callable[[Path], object]) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            with contextlib.suppress(OSError, ValueError, KeyError):
                model_file.load(Path(folder))
                return "it was loaded"
            return "it ran" if (Path(folder) / "ran").exists() else None

    return _tried("crafted models", [write for _, write in faults_data.odd_models()], wrong, seconds)


# Largest share of the time. Files come first: their checks fork, which is not safe once the process has threads.
SHARES: dict[Kind, float] = {
    files: 0.1, overrides: 0.25, study_files: 0.05, tables: 0.05, models: 0.03,
    full_disks: 0.13, bad_networks: 0.14, kills: 0.25,
}  # fmt: skip


def content(path: str) -> str:
    """Returns a hash of everything that a trial reads of a table, from the cache."""
    corpus = encoded.load(Table(path=path), tokens="word")
    parts = [corpus.split(name) for name in ("train", "validation", "test")]
    numbers = [[part.ids.tolist(), part.starts.tolist(), part.labels.tolist()] for part in parts]
    return f"{corpus.digest} {digest([numbers, corpus.words(10**6), corpus.classes])}"


def _tried(description: str, items: list[Item], wrong: Callable[[Item], str | None], seconds: float) -> Count:
    """Tries the items in order until the time is over; an uncaught exception also counts as wrong."""
    count, end = Count(description, len(items)), time.monotonic() + seconds
    for item in items:
        if time.monotonic() > end:
            break
        count.tried += 1
        try:
            failure = wrong(item)
        except Exception as error:  # a user would see a traceback
            failure = f"{type(error).__name__}: {error}"
        if failure:
            count.wrong.append(f"{str(item)[:100]}: {failure[:600]}")
    return count


def _started(program: str, words: list[str], home: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "ABLATION_HOME": str(home), "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    with open(os.devnull, "w") as nowhere:
        command = [sys.executable, "-m", program, *words]
        return subprocess.Popen(command, cwd=paths.REPOSITORY, env=environment, stdout=nowhere, stderr=nowhere)


def _ends(process: subprocess.Popen[bytes]) -> bool:
    """Returns whether a process ends in time with exit code 0; kills it otherwise."""
    try:
        return process.wait(SWEEP_S) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def _swept(words: list[str], home: Path) -> dict[str, str | None]:
    """Runs an undisturbed sweep; returns identity → hash of the weights."""
    _ends(_started("src.run", words, home))
    return faults_disk.weights(home)


def _killed(words: list[str], home: Path, rng: random.Random) -> tuple[dict[str, str | None], int]:
    """Runs a sweep to its end with up to `MAX_KILLS` kills; returns identity → hash of the weights, and the kills."""
    killed = 0
    for attempt in range(MAX_KILLS + 1):
        sweep = _started("src.run", words, home)
        kill_at = time.monotonic() + rng.uniform(3, 20) if attempt < MAX_KILLS else float("inf")
        end = time.monotonic() + SWEEP_S
        while sweep.poll() is None and time.monotonic() < end:
            if time.monotonic() > kill_at:
                with contextlib.suppress(psutil.Error):
                    parent = psutil.Process(sweep.pid)
                    victim = rng.choice([parent, *parent.children(recursive=True)])
                    victim.kill()
                    killed += 1
                    kill_at = float("inf") if victim == parent else time.monotonic() + rng.uniform(3, 20)
            time.sleep(0.2)
        if sweep.poll() == 0:
            break
        sweep.kill()
        sweep.wait()
    return faults_disk.weights(home), killed


def _left_behind(folder: Path, before: set[str]) -> list[str]:
    """Returns what a kind of fault left behind: processes, shared memory and temporary files."""
    end = time.monotonic() + LEFT_S
    while (processes := _processes()) and time.monotonic() < end:
        time.sleep(0.5)
    left = [f"left behind: process {process.pid} ({' '.join(process.cmdline())[:100]})" for process in processes]
    for process in processes:
        process.kill()
    left += [f"left in shared memory: {name}" for name in sorted(_shared() - before) if not _has_owner(name)]
    for path in sorted((folder / "tmp").iterdir()):
        left.append(f"left behind: temporary file {path.name}")
        path.rename(folder / f"left-{uuid.uuid4().hex}")  # so that it is reported only once
    return left


def _processes() -> list[psutil.Process]:
    """Returns the campaign's processes except this one."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_ours = process.environ().get(MARK) == os.environ[MARK]
            if is_ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
    return processes


def _shared() -> set[str]:
    """Returns the names of the entries in shared memory, where joblib keeps arrays."""
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _has_owner(name: str) -> bool:
    """Returns whether the name of an entry holds the id of a live process, such as another user's sweep."""
    return any(psutil.pid_exists(int(number)) for number in re.findall(r"\d{2,7}", name))


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[None]:
    """Marks this process and its children, and gives them their own folder for temporary files."""
    (folder / "tmp").mkdir()
    before = tempfile.tempdir
    with _set(MARK, uuid.uuid4().hex), _set("TMPDIR", str(folder / "tmp")):
        tempfile.tempdir = None  # `tempfile` then reads TMPDIR again
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[Path]:
    """Yields a new folder and removes it afterwards."""
    home = folder / uuid.uuid4().hex
    home.mkdir()
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    """Sets an environment variable."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})
