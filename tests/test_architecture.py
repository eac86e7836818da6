"""The core depends on no task, nor on features that only some tasks have."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from src import registry
from src.paths import REPOSITORY

CORE = (
    "src/study",
    "src/upkeep",
    "src/tracking",
    "src/training",
    "src/trial",
    "src/config",
    "src/terminal",
    "src/spec",
    "src/inference",
    "src/artifacts.py",
    "analysis",
)
OF_TASKS = ("accuracy", "vocab", "cell", "masking", *registry.BUILT_IN)
# `spec.metric.IMPLIED` is the metric of records of earlier versions, which name no metric.
EXCEPT = {("src/spec/metric.py", "accuracy")}


def files() -> list[Path]:
    return [
        path
        for room in map(REPOSITORY.joinpath, CORE)
        for path in ([room] if room.is_file() else sorted(room.rglob("*.py")))
    ]


def documented(tree: ast.Module) -> set[int]:
    """Returns the lines of docstrings."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    texts = [node.body[0] for node in ast.walk(tree) if isinstance(node, kinds) and ast.get_docstring(node) is not None]
    return {line for text in texts for line in range(text.lineno, (text.end_lineno or text.lineno) + 1)}


def words_of(path: Path) -> set[tuple[str, int]]:
    """Returns the words in names and strings of a file with their lines, without comments and docstrings."""
    skipped = documented(ast.parse(path.read_text(encoding="utf-8")))
    kinds = {tokenize.NAME, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    with path.open("rb") as file:
        tokens = [
            token for token in tokenize.tokenize(file.readline) if token.type in kinds and token.start[0] not in skipped
        ]
    return {(word, token.start[0]) for token in tokens for word in re.findall(r"[a-z]+", token.string.lower())}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_core_names_no_task_and_no_feature_of_only_some_tasks(path):
    name = str(path.relative_to(REPOSITORY))

    named = sorted((line, word) for word, line in words_of(path) if word in OF_TASKS and (name, word) not in EXCEPT)

    assert not named, f"{name}: {named}"


def test_the_search_covers_names_and_strings_but_not_docstrings_and_comments(tmp_path):
    (tmp_path / "x.py").write_text('"""cell"""\ncell = 1  # masking\nx = "test/val_accuracy"\n', encoding="utf-8")

    assert {word for word in words_of(tmp_path / "x.py") if word[0] in OF_TASKS} == {("cell", 2), ("accuracy", 3)}


def test_all_imports_between_packages_are_allowed():
    result = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout
