"""Sweeps on a full disk: `unshare … python -m benchmarks.faults_disk FOLDER FREE SECONDS WORDS…`.

`benchmarks.faults` runs this command. The disk is a file system in memory that only this process sees and that ends
with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from src.paths import REPOSITORY
from src.tracking import journal, outcome

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")  # a separate name space, which needs no rights
SIZE = 256 << 20  # bytes of the disk
MAX_LINES = 60  # lines that a sweep may print besides its progress


def is_possible() -> bool:
    """Returns whether this system lets a process mount its own disk."""
    if shutil.which(UNSHARE[0]) is None:
        return False
    command = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def result(folder: Path, free: int, words: list[str], *, seconds: float) -> dict[str, Any]:
    """Returns what `main` prints about a sweep with `free` bytes on the disk, and a second one with enough space."""
    command = [*UNSHARE, sys.executable, "-m", "benchmarks.faults_disk", str(folder), str(free), str(seconds), *words]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return answer


def weights(home: Path, study: str = "adhoc") -> dict[str, str | None]:
    """Returns identity → hash of the weights of the trials in a home; None for a trial that did not finish."""
    trials = {folder.name: outcome.of_journal(folder) for folder in journal.folders(home / "outputs" / study)}
    return {name: trial.tags.get("ablation.weights") for name, trial in trials.items() if trial is not None}


def main() -> int:
    """Fills the disk except for some bytes, runs a sweep, frees the space, and runs the sweep again."""
    folder, free, seconds, words = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], check=True)
    filler = folder / "filler"
    filler.write_bytes(bytes(SIZE - free))
    full = _swept(folder / "home", words, seconds)
    left = shutil.disk_usage(folder).free
    filler.unlink()
    again = _swept(folder / "home", words, seconds)
    print(json.dumps({"full": full, "left": left, "again": again, "weights": weights(folder / "home")}))
    return 0


def _swept(home: Path, words: list[str], seconds: float) -> dict[str, Any]:
    """Runs a sweep and returns its exit code and its output."""
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "src.run", *words]
    environment = {**os.environ, "ABLATION_HOME": str(home)}
    process = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    lines = [line for line in (process.stdout + process.stderr).splitlines() if not line.startswith("  epoch ")]
    return {"code": process.returncode, "output": "\n".join(lines)}


if __name__ == "__main__":
    sys.exit(main())
