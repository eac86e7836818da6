"""Replays a trial's journal to a TensorBoard event file, without TensorFlow.

The file is in a folder of the study that has the trial's name, as in `outputs/s/cell=gru seed=1`, because TensorBoard
names runs by their folders. The journal is the only source of the file. After every replay, the size of the file is
saved with the position in the journal. If a process dies before it saves them, the next replay cuts the file back to
the saved size, so no event occurs twice. A deleted folder is created again.
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

FORMAT = 3  # version of our event files; files of other versions are written again, from the journal
LONGEST = 120  # bytes of a folder's name, before an identity that may follow; some file systems allow 143
EVENTS = "events.out.tfevents."  # prefix by which TensorBoard finds event files
UNSAFE = re.compile(r'[/\\:*?"<>|]+')  # characters that some file systems reject in names


def replay(folder: Path) -> None:
    """Appends the records of a trial's journal that its event file lacks.

    A new attempt begins a new file and removes that of the earlier attempt, whose records stay in the journal.
    """
    if not (folder / journal.FILE).is_file():
        return
    with FileLock(folder / "replay.lock"):
        state_path = folder / "tensorboard.json"
        state = {"offset": 0, "run": None, "file": None, "size": 0, "form": None, **replay_state.load(state_path)}
        path = _path(folder, state)
        is_changed = not journal.is_unchanged(folder, state["offset"], state.get("mark"))
        if path is None or is_changed or state["form"] != FORMAT or not path.is_file():
            state |= {"offset": 0, "form": FORMAT}
        entries = list(journal.entries(folder, offset=state["offset"]))
        starts = [i for i, entry in enumerate(entries) if entry.record.kind == START]
        if starts:  # only the latest attempt is shown
            entries = entries[starts[-1] :]
            _remove(folder, path)
            path = _new_event_file(folder, entries[0])
            state |= {"run": path.parent.name, "file": path.name, "size": 0}
        if not entries or path is None:
            return
        needs_start = not starts and entries[-1].record.kind == END
        start = journal.last_attempt(folder, kinds=(START,))[0] if needs_start else entries[0]
        state |= {"size": _write(path, entries, start, folder, size=state["size"]), "offset": entries[-1].offset}
        if entries[-1].record.kind == END:
            _copy(folder / EXTRAS, path.parent)
        state["mark"] = journal.mark(folder, state["offset"])
        replay_state.save(state_path, state)


def _path(folder: Path, state: dict[str, Any]) -> Path | None:
    """Returns the path of the event file, None if there is none; older versions wrote it into the trial's folder."""
    if not state["file"]:
        return None
    if not state["run"]:
        return folder / str(state["file"])
    return folder.parent / Path(state["run"]).name / Path(state["file"]).name


def _remove(folder: Path, path: Path | None) -> None:
    """Removes the folder of a trial's event file, and those that older versions wrote into the trial's folder."""
    for old in (path, *folder.glob(f"*/{EVENTS}*.journal")):
        if old is None or (old.parent / journal.FILE).exists():  # never remove a trial's own folder
            continue
        if old.parent.parent == folder or _owners(old.parent) == {folder.name}:
            shutil.rmtree(old.parent, ignore_errors=True)


def _new_event_file(folder: Path, start: Entry) -> Path:
    """Creates the event file of an attempt, in a folder that only this trial uses, and returns its path.

    The folder has the trial's name. If another trial has the same name (as with different fixed settings in their
    plans), the first digits of the identity follow. The name of the file holds the trial's identity and the attempt, so
    it is unique.
    """
    name, identity = folder_name(start.record.detail["name"]), folder.name
    time = f"{start.time_ms // 1_000}.{start.time_ms % 1_000:03}"
    with FileLock(folder.parent / ".tensorboard.lock"):
        for run in (name, f"{name} {identity[:6]}", f"{name} {identity}"):
            destination = folder.parent / run
            if _owners(destination) <= {identity} and not (destination / journal.FILE).exists():
                break
        for old in destination.glob(f"{EVENTS}*.{identity}.*"):
            old.unlink()
        destination.mkdir(parents=True, exist_ok=True)
        path = destination / f"{EVENTS}{time}.{identity}.{start.record.detail['attempt'][:8]}"
        path.touch()
        return path


def _owners(folder: Path) -> set[str]:
    """Returns the identities of the trials whose event files are in a folder, and "" for files that others wrote."""
    names = [path.name.removeprefix(EVENTS).split(".") for path in folder.glob(f"{EVENTS}*")]
    return {parts[2] if len(parts) == 4 else "" for parts in names}


def folder_name(name: str) -> str:
    """Returns a folder name for a trial's name that every file system accepts; long names stay different."""
    safe = UNSAFE.sub("_", "".join("_" if is_hidden(character) else character for character in name)).strip(". ")
    return fitting(safe, LONGEST, gap="_") or "_"


def _copy(extras: Path, destination: Path) -> None:
    """Copies the other files that a trial wrote for TensorBoard: those of the projector, and a profile."""
    for path in extras.glob("*.*"):
        if not path.name.startswith(EVENTS):
            shutil.copyfile(path, destination / path.name)
    if (extras / "profile").is_dir():
        shutil.copytree(extras / "profile", destination / "plugins" / "profile", dirs_exist_ok=True)


def _write(path: Path, entries: list[Entry], start: Entry, folder: Path, *, size: int) -> int:
    """Cuts the file to `size` bytes, appends the events of the entries, and returns the new size."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    with path.open("ab") as file:
        os.truncate(path, size)
        writer = RecordWriter(file)
        if size == 0:
            writer.write(Event(wall_time=entries[0].time_ms / 1e3, file_version="brain.Event:2").SerializeToString())
        for entry in entries:
            for event in tensorboard_events.of_entry(entry, start, folder):
                writer.write(event.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    return path.stat().st_size
