"""From a trial's journal to TensorBoard's event file, without TensorFlow.

The file lies in a folder of the study that is called as the trial, `outputs/s/cell=gru seed=1`: TensorBoard names runs by their folders.
It is made from the journal alone. After every replay its size is remembered beside the journal's byte; what a process wrote and did
not live to remember is cut off by the next replay, so nothing is there twice. A folder that somebody deleted is made anew.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from src.spec.record import END, EXTRAS, START
from src.terminal.visible import is_hidden
from src.tracking import journal, replay_state, tensorboard_events
from src.tracking.journal import Entry
from src.tracking.stored import fitting

FORM = 3  # of event files; those of another are made anew, from the journal
LONGEST = 120  # bytes of a folder's name, to which an identity may be added; some file systems take 143
EVENTS = "events.out.tfevents."  # by which TensorBoard knows them
UNSAFE = re.compile(r'[/\\:*?"<>|]+')  # what no file system, or not every one, takes in a name


def replay(folder: Path) -> None:
    """Appends to the event file what a trial's journal has and the file has not.

    A new attempt begins a new file; the earlier attempt's is removed, its record stays in the journal.
    """
    if not (folder / journal.FILE).is_file():
        return
    with FileLock(folder / "replay.lock"):
        state_path = folder / "tensorboard.json"
        state = {"offset": 0, "run": None, "file": None, "size": 0, "form": None, **replay_state.load(state_path)}
        path = _path(folder, state)
        is_other = not journal.is_same(folder, state["offset"], state.get("mark"))
        if path is None or is_other or state["form"] != FORM or not path.is_file():
            state |= {"offset": 0, "form": FORM}
        found = list(journal.entries(folder, offset=state["offset"]))
        starts = [i for i, entry in enumerate(found) if entry.record.kind == START]
        if starts:  # only the latest attempt is shown
            found = found[starts[-1] :]
            _remove(folder, path)
            path = _claimed(folder, found[0])
            state |= {"run": path.parent.name, "file": path.name, "size": 0}
        if not found or path is None:
            return
        begun = found[:1] if starts or found[-1].record.kind != END else journal.last_attempt(folder, kinds=(START,))
        state |= {"size": _write(path, found, begun[0], size=state["size"]), "offset": found[-1].offset}
        if found[-1].record.kind == END:
            _copy(folder / EXTRAS, path.parent)
        state["mark"] = journal.mark(folder, state["offset"])
        replay_state.save(state_path, state)


def _path(folder: Path, state: dict[str, Any]) -> Path | None:
    """Returns where the event file is, as far as it is known; an older one lies in the trial's folder."""
    if not state["file"]:
        return None
    return (
        folder.parent / Path(state["run"]).name / Path(state["file"]).name if state["run"] else folder / state["file"]
    )


def _remove(folder: Path, path: Path | None) -> None:
    """Removes a trial's event file with what lies beside it, and those that older versions wrote into the trial's folder."""
    for old in (path, *folder.glob(f"*/{EVENTS}*.journal")):
        is_ours = old is not None and (old.parent.parent == folder or _owners(old.parent) == {folder.name})
        if (
            old is not None and is_ours and not (old.parent / journal.FILE).exists()
        ):  # the folder of a trial, whatever its name is
            shutil.rmtree(old.parent, ignore_errors=True)


def _claimed(folder: Path, start: Entry) -> Path:
    """Returns the new event file of an attempt, in a folder that is the trial's alone.

    The folder is called as the trial. Where another trial has that name, as with other settings that are fixed in their plans, the first
    digits of the identity follow. The file's name says whose it is, and no other attempt has it.
    """
    name, identity = folder_name(start.record.detail["name"]), folder.name
    time = f"{start.time_ms // 1_000}.{start.time_ms % 1_000:03}"
    with FileLock(folder.parent / ".tensorboard.lock"):
        for run in (name, f"{name} {identity[:6]}", f"{name} {identity}"):
            place = folder.parent / run
            if _owners(place) <= {identity} and not (place / journal.FILE).exists():
                break
        for old in place.glob(f"{EVENTS}*.{identity}.*"):
            old.unlink()
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{EVENTS}{time}.{identity}.{start.record.detail['attempt'][:8]}"
        path.touch()
        return path


def _owners(place: Path) -> set[str]:
    """Returns whose event files are in a folder: the identities of trials, and an empty one for what others wrote."""
    names = [path.name.removeprefix(EVENTS).split(".") for path in place.glob(f"{EVENTS}*")]
    return {parts[2] if len(parts) == 4 else "" for parts in names}


def folder_name(name: str) -> str:
    """Returns a trial's name as every file system takes it for a folder's, different for different names that are too long."""
    safe = UNSAFE.sub("_", "".join("_" if is_hidden(sign) else sign for sign in name)).strip(". ")
    return fitting(safe, LONGEST, gap="_") or "_"


def _copy(extras: Path, place: Path) -> None:
    """Copies what a trial wrote for TensorBoard beside its journal: the projector's files, a profile."""
    for path in extras.glob("*.*"):
        if not path.name.startswith(EVENTS):
            shutil.copyfile(path, place / path.name)
    if (extras / "profile").is_dir():
        shutil.copytree(extras / "profile", place / "plugins" / "profile", dirs_exist_ok=True)


def _write(path: Path, found: list[Entry], start: Entry, *, size: int) -> int:
    """Appends events behind the byte `size`; returns the new size."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    with path.open("ab") as file:
        os.truncate(path, size)
        writer = RecordWriter(file)
        if size == 0:
            writer.write(Event(wall_time=found[0].time_ms / 1e3, file_version="brain.Event:2").SerializeToString())
        for entry in found:
            for event in tensorboard_events.of_entry(entry, start):
                writer.write(event.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    return path.stat().st_size
