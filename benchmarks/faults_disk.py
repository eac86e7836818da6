"""Sweeps on a disk that is full: `unshare … python -m benchmarks.faults_disk FOLDER FREE SECONDS WORDS…`, as `benchmarks.faults` calls it.

The disk is a file system in memory that this process alone sees, and that ends with it.
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

ALONE = ("unshare", "--user", "--map-root-user", "--mount")  # a name space of its own, which needs no rights
SIZE = 256 << 20  # bytes of the disk
MAX_LINES = 60  # of what a sweep may say beside its progress


def is_possible() -> bool:
    """Returns whether this system lets a process have a disk of its own."""
    if shutil.which(ALONE[0]) is None:
        return False
    return (
        subprocess.run([*ALONE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False).returncode
        == 0
    )


def asked(folder: Path, free: int, words: list[str], *, seconds: float) -> dict[str, Any]:
    """Returns what `main` prints: a sweep with so many free bytes, and once more with room for all."""
    command = [*ALONE, sys.executable, "-m", "benchmarks.faults_disk", str(folder), str(free), str(seconds), *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def weights(home: Path, study: str = "adhoc") -> dict[str, str | None]:
    """Returns identity → hash of the weights, of the trials in a home; None for one that did not finish."""
    trials = {folder.name: outcome.of_journal(folder) for folder in journal.folders(home / "outputs" / study)}
    return {name: one.tags.get("ablation.weights") for name, one in trials.items() if one is not None}


def main() -> int:
    """Fills the disk but for some bytes, sweeps, makes room, and sweeps again."""
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
    """Returns the exit code of a sweep, and what it said."""
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "src.run", *words]
    environment = {**os.environ, "ABLATION_HOME": str(home)}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("  epoch ")]
    return {"code": done.returncode, "said": "\n".join(lines)}


if __name__ == "__main__":
    sys.exit(main())
