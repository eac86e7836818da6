"""A campaign of faults: `python -m benchmarks faults MINUTES` prints a table, one line a kind of fault.

Odd command lines, study files, tables, files of ours and models come first, drawn by seed: none may end in a traceback or have anything
read that is not true. What they leave of the time, half of it and more, goes to sweeps: their processes are killed, their disk is full,
their tracking server is away or loses answers, and at their end they must equal an undisturbed one. After each kind nothing may be left
behind: no process, nothing in shared memory, no temporary file.
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

MARK = (
    "ABLATION_CAMPAIGN"  # environment variable by which the campaign's processes are known, whoever their parents are
)
MAX_KILLS = 6  # of one sweep, before it is left alone
SWEEP_S = 240.0  # in which a sweep of four trials must end
LEFT_S = 30.0  # in which processes must be gone
TOGGLES = "masking=true,false cell=simple_rnn seed=0,1 units=4 embedding_dim=4 batch_size=8 epochs=60 tracking.histograms=false"
TWO_WORKERS = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
FREE = (
    20_000,
    4_000_000,
)  # bytes on a disk that is nearly full: between less than a database takes and more than a sweep does


@dataclass
class Count:
    """One row of the table: how many were tried, and what was wrong with those that were.

    Attributes:
      what: is tried.
      wanted: how many are to be tried; None for as many as there is time for.
      tried: how many were.
      wrong: what was wrong, a text each.
      notes: what else there is to say, such as how often a process was killed.
    """

    what: str
    wanted: int | None = None
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: str = ""

    def __str__(self) -> str:
        shown = "".join(f"\n    {text}" for text in self.wrong[:5])
        of = "" if self.wanted is None else f" of {self.wanted:,}"
        notes = f" ({self.notes})" if self.notes else ""
        return f"{self.what}: {self.tried:,}{of} tried, {len(self.wrong)} wrong{notes}{shown}"


class Campaign(NamedTuple):
    """What all kinds of faults share.

    Attributes:
      folder: for their files.
      drawn: draws them.
      words: of a sweep of four trials.
      expected: identity → hash of the weights, of that sweep undisturbed.
    """

    folder: Path
    drawn: random.Random
    words: list[str]
    expected: dict[str, str | None]


Kind = Callable[[float, Campaign], Count]


def campaign(minutes: float, *, seed: int = 0) -> Iterator[Count]:
    """Runs every kind of fault; one that is done early leaves its time to the next ones."""
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
    """Kills a process of a sweep, starts it again, and so on; at its end its trials must equal an undisturbed sweep's."""
    count, total, end = Count("sweeps whose processes were killed"), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with _home(shared.folder) as home:
            found, killed = _killed([*shared.words, *TWO_WORKERS], home, shared.drawn)
            count.tried, total = count.tried + 1, total + killed
            if found != shared.expected:
                count.wrong.append(f"after {killed} kills: {found} and not {shared.expected}")
    count.notes = f"{total} kills"
    return count


def full_disks(seconds: float, shared: Campaign) -> Count:
    """Sweeps on a disk with too little room: it is said in some lines, and with room the sweep goes on and equals an undisturbed one."""
    count, filled, end = Count("sweeps on a disk that is full"), 0, time.monotonic() + seconds
    if not faults_disk.is_possible():
        count.notes = "none: this system has no unshare, or lets nobody use it"
        return count
    while time.monotonic() < end:
        free = shared.drawn.randint(*FREE)
        with _home(shared.folder) as home:
            found = faults_disk.asked(
                home, free, [*shared.words, *shared.drawn.choice(([], TWO_WORKERS))], seconds=SWEEP_S
            )
        count.tried += 1
        full, again = found["full"], found["again"]
        filled += full["code"] != 0
        if "Traceback" in full["said"] or len(full["said"].splitlines()) > faults_disk.MAX_LINES:
            count.wrong.append(f"with {free:,} bytes: {len(full['said'].splitlines())} lines: {full['said'][-400:]}")
        if again["code"] != 0 or found["weights"] != shared.expected:
            count.wrong.append(
                f"with {free:,} bytes, and then with room: {again['code']}, {found['weights']}: {again['said'][-400:]}"
            )
    count.notes = f"{filled} of them could not end before there was room"
    return count


def bad_networks(seconds: float, shared: Campaign) -> Count:
    """Sweeps whose tracking server loses answers, is late, in error, away or killed: at the end it has every step once."""
    count, end = Count("sweeps whose tracking server failed"), time.monotonic() + seconds
    restarts = 0
    with _home(shared.folder) as place, faults_server.behind_a_bad_network(place, shared.drawn) as (server, network):
        while time.monotonic() < end:
            with _home(shared.folder) as home:
                network.is_bad = True
                study = f"s{count.tried}"
                words = [*shared.words, f"study={study}", f"tracking.uri={network.uri}", *TWO_WORKERS]
                sweep = _started("src.run", words, home)
                if shared.drawn.random() < 0.5:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        sweep.wait(shared.drawn.uniform(5, 40))
                    server.restart()
                    restarts += 1
                wrong = [] if _ends(sweep) else ["the sweep failed"]
                network.is_bad = False
                wrong += [] if _ends(_started("src.sync", [], home)) else ["not all could be sent"]
                wrong += faults_server.differences(server.database, home / "outputs" / study)
                if faults_disk.weights(home, study) != shared.expected:
                    wrong.append("its numbers are others")
                count.tried += 1
                count.wrong += [f"{study}: {text}" for text in wrong]
    happened = ", ".join(f"{number} {what}" for what, number in sorted(network.happened.items()))
    count.notes = f"of the requests {happened}; the server was killed {restarts} times"
    return count


def overrides(seconds: float, shared: Campaign) -> Count:
    """Types odd command lines."""
    lines = list(faults_overrides.overrides(2_000, shared.drawn.randrange(2**31)))
    return _tried("odd command lines", lines, faults_overrides.fault, seconds)


def study_files(seconds: float, shared: Campaign) -> Count:
    """Reads odd study files."""
    texts = list(faults_overrides.study_files(400, shared.drawn.randrange(2**31)))
    return _tried("odd study files", texts, lambda text: faults_overrides.fault([], text), seconds)


def tables(seconds: float, shared: Campaign) -> Count:
    """Reads damaged and odd tables: each can be read or is refused in a line."""

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
    damaged = list(faults_data.damaged_tables(shared.drawn.randrange(2**31), 300 - len(odd)))
    return _tried("damaged and odd data files", [write for _, write in (*odd, *damaged)], wrong, seconds)


def files(seconds: float, shared: Campaign) -> Count:
    """Damages caches, journals, what is remembered of them, databases and trials' files; see `faults_files`."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(_home(shared.folder))
        stack.enter_context(_set("ABLATION_HOME", str(home)))
        (home / "stores").mkdir()
        table = str(faults_data.whole_table(home / "t.csv"))
        of_cache, caches = faults_files.cache_check(home, lambda: content(table))
        of_records = stack.enter_context(faults_files.record_check(home))
        of_stores = stack.enter_context(faults_files.store_check(home / "stores"))
        items = [(of_cache, number) for number in range(caches)]
        items += [(of_records, number) for number in range(110)] + [
            (of_stores, number) for number in range(310 - 110 - caches)
        ]
        shared.drawn.shuffle(items)
        return _tried("damaged files of ours", items, lambda item: item[0](item[1]), seconds)


def models(seconds: float, shared: Campaign) -> Count:
    """Loads damaged and crafted models: each is refused in a line, and nothing in it runs."""

    def wrong(write: Callable[[Path], object]) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            with contextlib.suppress(OSError, ValueError, KeyError):
                model_file.load(Path(folder))
                return "it was loaded"
            return "it ran" if (Path(folder) / "ran").exists() else None

    return _tried("crafted models", [write for _, write in faults_data.odd_models()], wrong, seconds)


SHARES: dict[Kind, float] = {  # of the time at most; files come first, as their checks fork, which processes with threads should not do
    files: 0.1, overrides: 0.25, study_files: 0.05, tables: 0.05, models: 0.03, full_disks: 0.13, bad_networks: 0.14, kills: 0.25,
}  # fmt: skip


def content(path: str) -> str:
    """Returns a hash of everything that a trial reads of a table, from the cache."""
    read = encoded.load(Table(path=path), tokens="word")
    parts = [read.split(name) for name in ("train", "validation", "test")]
    numbers = [[part.ids.tolist(), part.starts.tolist(), part.labels.tolist()] for part in parts]
    return f"{read.digest} {digest([numbers, read.words(10**6), read.classes])}"


def _tried(what: str, items: list[Item], wrong: Callable[[Item], str | None], seconds: float) -> Count:
    """Tries one item after the other until the time is over; an exception that comes through is wrong, too."""
    count, end = Count(what, len(items)), time.monotonic() + seconds
    for item in items:
        if time.monotonic() > end:
            break
        count.tried += 1
        try:
            said = wrong(item)
        except Exception as error:  # a traceback, for a user
            said = f"{type(error).__name__}: {error}"
        if said:
            count.wrong.append(f"{str(item)[:100]}: {said[:600]}")
    return count


def _started(program: str, words: list[str], home: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "ABLATION_HOME": str(home), "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    with open(os.devnull, "w") as nowhere:
        command = [sys.executable, "-m", program, *words]
        return subprocess.Popen(command, cwd=paths.REPOSITORY, env=environment, stdout=nowhere, stderr=nowhere)


def _ends(process: subprocess.Popen[bytes]) -> bool:
    """Returns whether a process ends in time, and well."""
    try:
        return process.wait(SWEEP_S) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def _swept(words: list[str], home: Path) -> dict[str, str | None]:
    """Runs a sweep that nobody disturbs; returns identity → hash of the weights."""
    _ends(_started("src.run", words, home))
    return faults_disk.weights(home)


def _killed(words: list[str], home: Path, drawn: random.Random) -> tuple[dict[str, str | None], int]:
    """Runs a sweep to its end, after up to so many kills; returns identity → hash of the weights, and the number of kills."""
    killed = 0
    for attempt in range(MAX_KILLS + 1):
        sweep = _started("src.run", words, home)
        kill_at = time.monotonic() + drawn.uniform(3, 20) if attempt < MAX_KILLS else float("inf")
        end = time.monotonic() + SWEEP_S
        while sweep.poll() is None and time.monotonic() < end:
            if time.monotonic() > kill_at:
                with contextlib.suppress(psutil.Error):
                    me = psutil.Process(sweep.pid)
                    victim = drawn.choice([me, *me.children(recursive=True)])
                    victim.kill()
                    killed += 1
                    kill_at = float("inf") if victim == me else time.monotonic() + drawn.uniform(3, 20)
            time.sleep(0.2)
        if sweep.poll() == 0:
            break
        sweep.kill()
        sweep.wait()
    return faults_disk.weights(home), killed


def _left_behind(folder: Path, before: set[str]) -> list[str]:
    """Returns what a kind of fault has left: processes, what is in shared memory, temporary files."""
    end = time.monotonic() + LEFT_S
    while (left := _processes()) and time.monotonic() < end:
        time.sleep(0.5)
    found = [f"left behind: process {one.pid} ({' '.join(one.cmdline())[:100]})" for one in left]
    for one in left:
        one.kill()
    found += [f"left in shared memory: {name}" for name in sorted(_shared() - before) if not _is_of_somebody(name)]
    files = sorted((folder / "tmp").iterdir())
    for path in files:  # said once
        found.append(f"left behind: temporary file {path.name}")
        path.rename(folder / f"left-{uuid.uuid4().hex}")
    return found


def _processes() -> list[psutil.Process]:
    """Returns the campaign's processes but for this one."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                one.pid != os.getpid()
                and one.environ().get(MARK) == os.environ[MARK]
                and one.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(one)
    return found


def _shared() -> set[str]:
    """Returns what joblib and its like have in shared memory."""
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _is_of_somebody(name: str) -> bool:
    """Returns whether the name of what is in shared memory has the id of a process that lives, as that of another user's sweep."""
    return any(psutil.pid_exists(int(number)) for number in re.findall(r"\d{2,7}", name))


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[None]:
    """Marks this process and its children, and gives them a folder of temporary files of their own."""
    (folder / "tmp").mkdir()
    before = tempfile.tempdir
    with _set(MARK, uuid.uuid4().hex), _set("TMPDIR", str(folder / "tmp")):
        tempfile.tempdir = None  # it is found anew
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[Path]:
    """Yields a new folder, which is gone afterwards."""
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
