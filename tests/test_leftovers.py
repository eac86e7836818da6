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
    """Stands for shared memory."""
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(leftovers, "PLACES", (str(folder),))
    return folder


@pytest.fixture
def dead():
    """The id of a process that is no more."""
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


def test_what_a_sweep_left_that_is_no_more_is_removed_and_forgotten(place, dead):
    left_by(dead, place)
    note(dead)

    leftovers.begin()

    assert list(place.iterdir()) == []
    assert len(list((paths.outputs() / ".sweeps").iterdir())) == 1  # our own
    leftovers.end()
    assert list((paths.outputs() / ".sweeps").iterdir()) == []


@pytest.mark.parametrize("whose", ["nobody of ours", "another machine's", "a living process's", "a longer number's"])
def test_what_may_belong_to_somebody_else_stays(place, dead, whose):
    pid = {"a living process's": os.getppid(), "a longer number's": int(f"{dead}0")}.get(whose, dead)
    left_by(pid, place)
    if whose != "nobody of ours":
        note(dead if whose == "a longer number's" else pid, host="elsewhere" if whose == "another machine's" else None)

    leftovers.begin()

    assert len(list(place.iterdir())) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "host": "a"}'])
def test_a_note_that_cannot_be_read_stops_nothing(place, text):
    (paths.outputs() / ".sweeps").mkdir(parents=True)
    (paths.outputs() / ".sweeps" / "1.json").write_text(text, encoding="utf-8")

    leftovers.begin()


def test_a_home_that_cannot_be_written_stops_nothing(place, home):
    home.mkdir(parents=True, exist_ok=True)
    paths.outputs().write_text("a file where the folder should be", encoding="utf-8")

    leftovers.begin()
