"""The provenance of a result: code, versions, processor, threads."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from src import environment
from src.files import digest
from src.paths import REPOSITORY

CODE = ("src", "conf", "hydra_plugins", "requirements.lock")  # other files in the repository change no result
GIT_VARIABLES = {  # these make git use another repository, for example inside a git hook
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
}
LONGEST = 1_000_000  # characters of a stored patch
PACKAGES = ("tensorflow", "keras", "numpy", "hydra-core", "mlflow")


@functools.cache
def tags() -> dict[str, str]:
    """Returns the tags with the machine and the versions of code and packages that a trial ran with."""
    commit = _git("rev-parse", "HEAD")
    versions = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    return {
        "ablation.git_commit": commit or "unknown",
        "ablation.git_dirty": str(bool(_git("status", "--porcelain", "--", *CODE))).lower() if commit else "unknown",
        **({"ablation.git_diff": digest(patch)} if (patch := uncommitted()) else {}),
        "ablation.versions": ", ".join([f"python {platform.python_version()}", *versions]),
        "ablation.processor": f"{_processor()}, {os.cpu_count()} cores",
        "ablation.threads": os.environ.get("TF_NUM_INTRAOP_THREADS")
        or os.environ.get("OMP_NUM_THREADS")
        or str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "ablation.environment": environment.understood(),
        **({"mlflow.source.git.commit": commit} if commit else {}),
        "mlflow.source.name": "src.run",
        "mlflow.source.type": "LOCAL",
    }


@functools.cache
def uncommitted() -> str | None:
    """Returns the uncommitted changes of the code as a patch for `git apply`; None without changes or without git.

    The patch lists untracked files with a hash of their content. A patch above `LONGEST` characters is cut, with a note
    at its end.
    """
    changes = _git(
        "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--binary", "--", *CODE, strips=False
    )
    names = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *CODE)
    if changes is None or not (changes or names):
        return None
    untracked = "".join(
        f"not in git: {name} ({_hash(REPOSITORY / name)})\n" for name in (names or "").split("\0") if name
    )
    patch = untracked + changes
    if len(patch) <= LONGEST:
        return patch
    return f"{patch[:LONGEST]}\n[cut: the whole patch has {len(patch):,} characters and the hash {digest(patch)}]\n"


def file_at(commit: str, name: str) -> bytes | None:
    """Returns a file of the repository as a commit has it; None if it has not, or if there is no git."""
    text = _git("show", f"{commit}:{name}", strips=False)
    return None if text is None else text.encode(errors="surrogateescape")


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return "cannot be read"


def _git(*words: str, strips: bool = True) -> str | None:
    environ = {name: value for name, value in os.environ.items() if name not in GIT_VARIABLES}
    command = ["git", "-C", str(REPOSITORY), *words]
    try:
        process = subprocess.run(command, env=environ, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    text = process.stdout.decode(errors="surrogateescape")
    return text.strip() if strips else text


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
