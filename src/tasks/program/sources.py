"""What a program is made of: its listed files and the git commit of its repository."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.files import digest, digest_of
from src.spec.section import SettingsError
from src.tasks.program import command
from src.tasks.program.settings import Settings

MAX_FILES = 10_000


@dataclass(frozen=True)
class Sources:
    """The files and the commit of a program.

    Attributes:
      files: path as shown → hash of its content.
      commit: git commit of the repository in which the program lies, None outside of one.
      changes: hash of the uncommitted changes of tracked files; empty without changes.
    """

    files: Mapping[str, str]
    commit: str | None = None
    changes: str = ""

    @property
    def digest(self) -> str:
        """Hash of files, commit and uncommitted changes."""
        return digest([dict(self.files), self.commit, self.changes])

    @property
    def rows(self) -> Mapping[str, int]:
        """A program's data are unknown: no split has examples."""
        return {"train": 0, "validation": 0, "test": 0}

    @property
    def version(self) -> str:
        """The commit, marked if files have uncommitted changes."""
        return f"{self.commit or 'no git repository'}{' (dirty)' if self.changes else ''}"


def folder_of(settings: Settings) -> Path:
    """Returns the folder in which a program runs.

    Raises:
      SettingsError: there is no such folder.
    """
    folder = Path(settings.program.folder or ".").expanduser().absolute()
    if not folder.is_dir():
        raise SettingsError(f"program.folder: {folder} is not a folder; name the folder in which the program runs")
    return folder


def of(settings: Settings) -> Sources:
    """Returns the files and the commit of a program.

    Raises:
      SettingsError: the command is invalid, or a listed file does not exist.
    """
    folder, words = folder_of(settings), command.words_of(settings.command)
    found = scripts_in(words, folder)
    script = next(iter(found.values()), None)
    found |= {shown: path for name in settings.program.files for shown, path in _matching(name, folder).items()}
    files = {shown: digest_of(path) for shown, path in sorted(found.items())}
    commit, changes = _commit(script.resolve().parent if script else folder)
    return Sources(files, commit, changes)


def scripts_in(words: Sequence[str], folder: Path) -> dict[str, Path]:
    """Returns the program and its script, as written → path: an own first word, and the first other word with a file.

    An interpreter is no own program: it is on the PATH, or outside of the folder and no script.
    """
    plain = [word for word in words if not command.names_in([word]) and _is_file(folder / word)]
    first = [word for word in plain if word is words[0] and "/" in word and _is_own(folder / word, folder)]
    return {word: folder / word for word in (*first, *[word for word in plain if word is not words[0]][:1])}


def _is_own(path: Path, folder: Path) -> bool:
    if path.resolve().is_relative_to(folder.resolve()):
        return True
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def changed(before: Sources, settings: Settings) -> list[str]:
    """Returns the listed files whose content differs from an earlier look at them, or that are gone."""
    try:
        now = of(settings).files
    except (SettingsError, OSError):
        now = {}
    return [name for name, content in before.files.items() if now.get(name) != content]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a word that no path can be
        return False


def _matching(name: str, folder: Path) -> dict[str, Path]:
    path = folder / Path(name).expanduser()
    if _is_file(path):
        return {name: path}
    paths: list[Path] = []
    if any(character in name for character in "*?[") and not Path(name).is_absolute():
        paths = [each for each in folder.glob(name) if each.is_file()]
    if not paths:
        kind = "a folder" if path.is_dir() else "not there"
        raise SettingsError(
            f"program.files: {name!r} is {kind} in {folder}; name files, or a pattern such as src/**/*.py"
        )
    if len(paths) > MAX_FILES:
        raise SettingsError(f"program.files: {name!r} matches {len(paths):,} files; allowed: up to {MAX_FILES:,}")
    return {str(each.relative_to(folder)): each for each in paths}


def _commit(folder: Path) -> tuple[str | None, str]:
    """Returns the commit of a folder's repository and a hash of the uncommitted changes; without one, None and ""."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None, ""
    changes = _git(folder, "diff", "HEAD", "--no-ext-diff", "--binary")
    content = hashlib.blake2b(changes or b"", digest_size=8).hexdigest()
    return commit.decode().strip(), content if changes else ""


def _git(folder: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
