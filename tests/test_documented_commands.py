"""Every command in the documents is planned or parsed by a test, or says that it is not.

`tests/test_readme.py` plans the studies and calls the analysis. The other commands are here. They need a trained model,
a server, or an idle machine, so they are parsed only.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.registry import BENCHMARKS
from src import registry, studies, sync, timing
from src import use as used
from src.paths import REPOSITORY
from tests.test_readme import BLOCKS, DOCUMENTS, PLANNED

MARK = "# not run by the tests"
SHELL = (". .venv/bin/activate", "export ")
# Those that tests/test_readme.py runs.
ELSEWHERE = ("make ", "python -m analysis ", "python -m src.predict ", "python -m src.status")
WITH_FLAGS = {  # command → the test that runs it
    "python -m src.run task=program --init study=mine2": "tests/tasks/test_program.py",
    "python -m src.run --help task=prices": "tests/test_plugin.py",
}
MODULES = re.compile(r"python -m (docs|benchmarks)\.\w+")
OURS = re.compile(r"(?:!?python -m (?:src|analysis|benchmarks|docs)\b|make |mlflow |tensorboard )")

COMMANDS = list(
    dict.fromkeys(
        line.strip().removeprefix("!")
        for block in BLOCKS
        for line in block.replace("\\\n", " ").splitlines()
        if OURS.match(line) or MARK in line
    )
)
INLINE = list(
    dict.fromkeys(
        code
        for text in DOCUMENTS.values()
        for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if re.match(r"python -m (?:src|analysis|benchmarks|docs)\b", code)
    )
)


def those(prefix: str) -> list[str]:
    """Returns the commands of blocks and of running text that begin with a prefix, without comments."""
    found = [shlex.join(shlex.split(line, comments=True)) for line in COMMANDS if MARK not in line]
    return list(dict.fromkeys(line for line in [*found, *INLINE] if line.startswith(prefix)))


def blocks_of_commands() -> list[tuple[str, str]]:
    """Returns (document, line) of every command in a block of the shell; a comment is no command."""
    return [
        (name, line)
        for name, text in DOCUMENTS.items()
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]


def test_every_line_of_the_shell_is_checked_by_a_test_or_says_that_it_is_not():
    unknown = [
        (name, line)
        for name, line in blocks_of_commands()
        if MARK not in line and not OURS.match(line) and not line.startswith(SHELL)
    ]

    assert unknown == [], f"let a test check it, or end the line with {MARK!r}"


def test_every_command_of_ours_is_planned_called_or_parsed():
    parsed = [*(prefix for prefix, _ in PARSERS), "python -m src.use ", "mlflow ", "tensorboard ", *ELSEWHERE]
    rest = [line for line in those("") if not line.startswith(tuple(parsed)) and not MODULES.match(line)]
    in_blocks = set(rest) - set(INLINE)

    assert in_blocks <= {*PLANNED, *WITH_FLAGS}, "tests/test_readme.py plans studies"
    assert [
        line for line in set(rest) - in_blocks if not re.match(r"python -m src\.(run|use|predict|sync)", line)
    ] == []


def test_every_study_that_running_text_names_has_its_file():
    named = [name for line in INLINE for name in re.findall(r"\+experiments=(\w+)", line)]
    cells = [line.split("|")[3] for line in DOCUMENTS["docs/course.md"].splitlines() if line.startswith("|")]
    further = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]  # the command's other names

    assert len(named) > 10 and len(further) > 5
    assert [name for name in {*named, *further} if not (REPOSITORY / "experiments" / f"{name}.yaml").is_file()] == []


def parsed_by_timing(words: list[str]) -> None:
    timing._parser().parse_args(words)


def parsed_by_studies(words: list[str]) -> None:
    studies._parser().parse_args(words)


def parsed_by_sync(words: list[str]) -> None:
    sync._parser().parse_args(words)


def parsed_by_benchmarks(words: list[str]) -> None:
    names = [] if words[:1] == ["faults"] else benchmarks._parser().parse_args(words).names

    assert set(names) - {"NAME"} <= set(BENCHMARKS)


PARSERS = [
    ("python -m src.timing", parsed_by_timing),
    ("python -m benchmarks ", parsed_by_benchmarks),
    ("python -m src.studies ", parsed_by_studies),
    ("python -m src.sync", parsed_by_sync),
]


@pytest.mark.parametrize(("prefix", "parse"), PARSERS)
def test_the_options_of_other_commands_exist(prefix, parse):
    assert those(prefix)
    for words in [shlex.split(line)[3:] for line in those(prefix)]:
        if words:  # otherwise, the text only mentions it
            parse(words)


@pytest.mark.parametrize("line", [line for line in those("python -m ") if MODULES.match(line)])
def test_every_module_that_a_command_names_exists(line):
    module = shlex.split(line)[2]

    assert (REPOSITORY / f"{module.replace('.', '/')}.py").is_file()


USED = [line for line in those("python -m src.use ") if "…" not in line and len(shlex.split(line)) > 4]


@pytest.mark.parametrize("line", USED)
def test_every_command_on_a_trained_model_has_its_options(line):
    words = shlex.split(line)[4:]

    assert any(_is_parsed(registry.task(name).commands, words) for name in registry.BUILT_IN), line


def test_an_option_that_a_command_on_a_trained_model_does_not_have_is_found():
    commands = registry.task("translation").commands

    assert _is_parsed(commands, ["translate", "a text"]) and not _is_parsed(commands, ["translate", "--beams", "5"])


def _is_parsed(commands: Any, words: list[str]) -> bool:
    """Returns whether a task has a command and its options; calls nothing."""
    import typer

    if words[0] not in commands:
        return False
    module, _, name = commands[words[0]].function.partition(":")
    app = typer.Typer(add_completion=False)
    app.command(words[0])(used._bound(getattr(importlib.import_module(module), name), Path(), []))
    try:
        typer.main.get_command(app).make_context(words[0], words[1:])
    except Exception:  # of the click that typer carries
        return False
    return True


@pytest.mark.filterwarnings("ignore")  # of their imports
@pytest.mark.parametrize("line", those("mlflow "))
def test_every_command_of_mlflow_has_its_options(line):
    from mlflow.cli import cli

    command, words = cli, shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command, words = command.get_command(None, words[0]), words[1:]  # ui is an alias

    command.make_context("mlflow", words)


@pytest.mark.filterwarnings("ignore")  # of their imports
@pytest.mark.parametrize("line", those("tensorboard "))
def test_every_command_of_tensorboard_has_its_options(line):
    from tensorboard.plugins.core.core_plugin import CorePluginLoader

    parser = argparse.ArgumentParser()
    CorePluginLoader().define_flags(parser)

    assert parser.parse_args(shlex.split(line)[1:]).logdir == "outputs"
