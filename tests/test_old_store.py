"""What was trained by an older version stays done, and says the same: `tests/stores/README.md` names the version."""

from __future__ import annotations

import csv
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from analysis import findings, load, store

STORES = Path(__file__).parent / "stores"
COMMANDS = {
    words.split("study=")[1].split()[0]: shlex.split(words)[1:]
    for words in (STORES / "README.md").read_text(encoding="utf-8").splitlines()
    if words.strip().startswith("python -m src.run")
}


@pytest.fixture
def old(home: Path) -> Path:
    """A home that an older version left, at another place than it was."""
    with tarfile.open(STORES / "2026_11.tar.xz") as archive:
        archive.extractall(home, filter="data")
    return home


@pytest.mark.parametrize("study", COMMANDS)
def test_the_command_of_an_old_study_trains_nothing(old: Path, study: str) -> None:
    trials = len(list((old / "outputs" / study).glob("*/journal.jsonl")))

    planned = subprocess.run(
        [sys.executable, *COMMANDS[study], "plan_only=true"], capture_output=True, text=True, check=True, cwd=STORES.parents[1]
    )

    assert trials in (4, 8)
    assert f"= {trials} trials, {trials} already done" in planned.stdout, planned.stdout
    assert "to train" not in planned.stdout


@pytest.mark.parametrize("study", COMMANDS)
def test_the_numbers_of_an_old_study_stay_what_they_were(old: Path, study: str) -> None:
    with (STORES / f"{study}.csv").open(encoding="utf-8", newline="") as file:
        wanted = list(csv.DictReader(file))

    found = findings.find(load.study(study, store.connect(None))).summary

    assert list(found["label"]) == [row["label"] for row in wanted]
    for name in wanted[0].keys() - {"label"}:
        numbers = [float(row[name]) if row[name] else float("nan") for row in wanted]
        assert list(found[name].astype(float)) == pytest.approx(numbers, rel=1e-9, nan_ok=True), name
