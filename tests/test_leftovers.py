from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from hydra_plugins.ablation_sweeper import leftovers
from src import paths


@pytest.fixture
def place(home, tmp_path, monkeypatch):
    """A folder in place of shared memory."""
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(leftovers, "PLACES", (str(folder),))
    return folder


@pytest.fixture
def dead():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(pid, place):
    (place / f"joblib_memmapping_folder_{pid}_a_b").mkdir()
    (place / f"joblib_memmapping_folder_{pid}_a_b" / "numbers.pkl").touch()
    (place / f"sem.loky-{pid}-x").touch()


def note(pid, host=None):
    folder = paths.outputs() / ".sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{pid}.json").write_text(
        json.dumps({"host": host or socket.gethostname(), "pid": pid}), encoding="utf-8"
    )


def test_the_files_and_the_note_of_an_ended_sweep_are_removed(place, dead):
    left_by(dead, place)
    note(dead)

    leftovers.begin()

    assert list(place.iterdir()) == []
    assert len(list((paths.outputs() / ".sweeps").iterdir())) == 1  # our own
    leftovers.end()
    assert list((paths.outputs() / ".sweeps").iterdir()) == []


@pytest.mark.parametrize("owner", ["a process without a note", "another machine", "a living process", "a longer id"])
def test_files_of_other_processes_stay(place, dead, owner):
    pid = {"a living process": os.getppid(), "a longer id": int(f"{dead}0")}.get(owner, dead)
    left_by(pid, place)
    if owner != "a process without a note":
        note(dead if owner == "a longer id" else pid, host="elsewhere" if owner == "another machine" else None)

    leftovers.begin()

    assert len(list(place.iterdir())) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "host": "a"}'])
def test_an_unreadable_note_is_ignored(place, text):
    (paths.outputs() / ".sweeps").mkdir(parents=True)
    (paths.outputs() / ".sweeps" / "1.json").write_text(text, encoding="utf-8")

    leftovers.begin()


def test_a_home_without_write_permission_does_not_stop_a_sweep(place, home):
    home.mkdir(parents=True, exist_ok=True)
    paths.outputs().write_text("a file where the folder should be", encoding="utf-8")

    leftovers.begin()
