"""Uses a trained model with the commands of its task: `python -m src.use RUN COMMAND …`.

`python -m src.use RUN` lists the commands.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import tempfile
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from src import environment, own_code, registry
from src.artifacts import MODEL
from src.spec.section import SettingsError
from src.spec.task import Command, Task
from src.terminal.errors import first_line
from src.terminal.visible import echoed, visible
from src.trial import locate

USAGE = """\
usage: python -m src.use [--uri URI] [--task module:NAME] [--code module:NAME] RUN [COMMAND …]

RUN is a trial's folder, its identity (or at least its first 4 digits), or an
MLflow run id. --uri names the MLflow store of that run, --task the task of a
trial that was trained with task=module:NAME, and --code code of your own whose
layers its model has.
`python -m src.use RUN` lists the commands, `python -m src.use RUN COMMAND --help` explains one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the command's exit code, 2 for an invalid command, 130 if stopped."""
    environment.draw_to_files()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _options(words)
        if not words or words[0] in ("-h", "--help"):
            print(USAGE)
            return 0 if words else 2
        if "task" in options:
            registry.allow(options["task"])
        if "code" in options:
            own_code.allow(options["code"])
        with tempfile.TemporaryDirectory() as here:
            return _use(words[0], words[1:], options, download_to=Path(here))
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except SettingsError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2


def _options(words: list[str]) -> dict[str, str]:
    """Removes the options before RUN from a command line and returns them."""
    options: dict[str, str] = {}
    while words and words[0].startswith("--") and words[0] != "--help":
        name, has_value, value = words.pop(0).removeprefix("--").partition("=")
        if name not in ("uri", "task", "code"):
            raise SettingsError(f"unrecognised option --{echoed(name)}; allowed before RUN: --uri, --task and --code")
        if not has_value and not words:
            raise SettingsError(f"--{name} needs a value")
        options[name] = value if has_value else words.pop(0)
    return options


def _use(run: str, words: list[str], options: dict[str, str], *, download_to: Path) -> int:
    try:
        folder = locate.folder_of(run, uri=options.get("uri"), download_to=download_to, files=())
    except locate.Unfinished:
        if _needs_model(Path(run), options.get("task")):
            raise
        raise SettingsError(f"{run}: {locate.UNFINISHED}") from None
    task = _task_of(folder, options.get("task"))
    if not words or words[0] in ("-h", "--help"):
        print(_listed(run, task))
        return 0
    if words[0] not in task.commands:
        names = ", ".join(task.commands) or "none"
        raise SettingsError(f"task={task.name} has no command {echoed(words[0])!r}; allowed: {names}")
    command = task.commands[words[0]]
    files = {"files": command.files, "optional": command.optional}
    folder = locate.folder_of(run, uri=options.get("uri"), download_to=download_to, **files)
    return _called(command, words, folder)


def _needs_model(folder: Path, place: str | None) -> bool:
    """Returns whether a command of the trial's task reads a Keras model; True if the task is unknown or has none."""
    try:
        commands = _task_of(folder, place).commands
    except SettingsError:
        return True
    return not commands or any(MODEL in command.files for command in commands.values())


def _task_of(folder: Path, place: str | None) -> Task[Any, Any]:
    """Returns the task in a trial's settings; imports a `module:NAME` only if the command line names it."""
    name = locate.task_of(folder)
    if registry.is_place(name) and place != name:
        raise SettingsError(
            f"the trial was trained with task={echoed(name)}; add --task {echoed(name)} before RUN to import it"
        )
    return registry.task(name)


def _listed(run: str, task: Task[Any, Any]) -> str:
    """Returns the commands of a task, with an example of each."""
    if not task.commands:
        return f"task={task.name} has no commands"
    lines = [f"Commands of task={task.name}:"]
    width = max(12, *map(len, task.commands))
    for name, command in task.commands.items():
        lines += [
            f"  {name:<{width}} {command.about}",
            *([f"    python -m src.use {run} {name} {command.example}"] if command.example else []),
        ]
    return "\n".join(lines)


def _called(command: Command, words: Sequence[str], folder: Path) -> int:
    """Runs a command with the arguments that typer parses; returns the function's result if it is an int, else 0."""
    import typer

    module, _, name = command.function.partition(":")
    returned: list[Any] = []
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"the command {words[0]} cannot be imported from {command.function} ({error})") from None
    app.command(words[0])(_bound(function, folder, returned))
    try:
        app(list(words[1:]), prog_name=f"python -m src.use RUN {words[0]}")
    except SystemExit as end:  # typer exits after the command, its help, or an error
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return code or (returned[0] if returned and isinstance(returned[0], int) else 0)
    except ValueError as error:
        raise SettingsError(str(error) if isinstance(error, SettingsError) else first_line(error)) from None
    return 0


def _bound(function: Callable[..., Any], folder: Path, returned: list[Any]) -> Callable[..., None]:
    """Returns a function with its first parameter bound to the folder; typer reads the other parameters.

    Args:
      function: the function of the command.
      folder: the folder of the trial.
      returned: receives the result of the function.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    options = list(inspect.signature(function).parameters.values())[1:]

    def call(**values: Any) -> None:
        returned.append(function(folder, **values))

    call.__doc__ = function.__doc__
    call.__annotations__ = {option.name: hints.get(option.name, str) for option in options}
    parameters = [option.replace(annotation=hints.get(option.name, str)) for option in options]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


if __name__ == "__main__":
    sys.exit(main())
