"""Trains the product of the toggles: `python -m src.run -m masking=true,false cell=lstm,gru`."""

from __future__ import annotations

import argparse
import errno
import os
import re
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come through as they are; `main` turns them into one or two lines

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from src import environment, registry
from src.config import admission, command_line, settings, study_file
from src.paths import REPOSITORY
from src.spec.section import SettingsError
from src.spec.settings import Settings
from src.study import LaunchFailed, TrialsFailed
from src.terminal.errors import first_line
from src.terminal.visible import echoed, one_line, shortened, visible

EXPERIMENTS = REPOSITORY / "experiments"
MAX_LINES = 2  # of an error
MAX_LINE = 1_000  # characters
LISTED = "`python -m src.run --help` lists all options"


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911  one for each way to end
    """Runs the command line; returns 0, 1 if a trial failed, 2 for an invalid command, 130 if stopped."""
    environment.draw_to_files()
    given = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(given):
        return _help(given)
    asked = [
        name.strip("'\"[] ")
        for word in given
        if word.lstrip("+").startswith("experiments")
        for name in re.split("[=,]", word)[1:]
    ]
    try:
        words = [word for word in given if word not in ("-m", "--multirun")]
        flags = _flags(words)
        admission.check_words(flags.overrides)
        tasks = _tasks_of(flags.overrides)
        is_sweep = not (
            flags.cfg or flags.info
        )  # which -m does not go with; it is implied otherwise, and Hydra wants it first or last
        rest = command_line.with_quotes(command_line.for_several(words, tasks))
        quoted = ["--hydra-help"] if flags.hydra_help else rest  # for help the rest is composed without us
        sys.argv[1:] = [*(["-m"] if is_sweep else []), *quoted]
        register_schema(tasks)
        if asked:
            register_experiments(asked, EXPERIMENTS)
        from src.study import job  # not for help: it brings NumPy and pandas

        hydra.main(version_base="1.3", config_path=str(REPOSITORY / "conf"), config_name="config")(job.run)()
    except SettingsError as error:
        _say(f"{_place(str(error), given, asked)}{error}")
        return 2
    except KeyboardInterrupt:
        return 130
    except TrialsFailed:
        return 1
    except (
        SystemExit
    ) as error:  # Hydra's: after its help, or after a line of its own, as for a --package that is not there
        return 2 if error.code else 0
    except Exception as error:
        if command_line.is_from_composing(error):
            message = str(command_line.explained(error, _kind(tasks[0], asked)))
            _say(f"{_place(message, given, asked)}{message}")
            return 2
        if not isinstance(error, LaunchFailed | OSError):
            raise
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            _say(f"{echoed(str(error.filename))}: file name too long; most systems allow up to 255 bytes per name")
            return 2
        _say(f"{error}. All records are kept; run the same command again to continue")
        return 1
    return 0


def register_schema(tasks: Collection[str] = ()) -> None:
    """Hands the settings' types and defaults to Hydra.

    Args:
      tasks: places `module:NAME` of tasks that the command line names, beside the registered ones.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=settings.core_schema())
    for name in (*registry.usable(), *filter(registry.is_place, tasks)):
        store.store(group="task", name=name, node=settings.task_schema(name), package="_global_")
    for name, options in settings.corpus_schemas().items():
        own = (REPOSITORY / "conf" / "data" / f"{name}.yaml").is_file()  # which has the schema in its defaults
        store.store(group="data", name=f"schema_{name}" if own else name, node=options)
    for name, options in settings.tracking_schemas().items():
        store.store(group="tracking", name=f"schema_{name}", node=options)


def _tasks_of(words: Sequence[str]) -> list[str]:
    """Returns the tasks that a command line names, the default one where it names none; a place `module:NAME` may be imported then.

    Raises:
      SettingsError: there is no such task, or it cannot be used.
    """
    typed = registry.named(words)
    for name in typed:
        if registry.is_place(name) or name in registry.origins():
            registry.task(name)
    return typed or [registry.DEFAULT]


def _kind(task: str, asked: Sequence[str]) -> type[Settings] | None:
    """Returns the settings of the task that a command is about, of a study file's where the command line names none; None if unknown."""
    for path in (EXPERIMENTS / f"{name}.yaml" for name in asked if task == registry.DEFAULT):
        chosen = (
            re.search(r"override /task: *([a-z]\w*)", path.read_text(encoding="utf-8", errors="replace"))
            if path.is_file()
            else None
        )
        task = chosen[1] if chosen else task
    try:
        return registry.task(task).settings
    except SettingsError:
        return None


def _help(words: Sequence[str]) -> int:
    """Prints the help of the task that a command line names; returns 0, or 2 where there is none such."""
    try:
        task = _tasks_of(words)[0]
        print(
            command_line.help_text(
                task, width=min(shutil.get_terminal_size().columns, 120) if sys.stdout.isatty() else None
            )
        )
    except SettingsError as error:
        _say(str(error))
        return 2
    return 0


def register_experiments(asked: Collection[str], folder: Path = EXPERIMENTS) -> None:
    """Lets Hydra find the study files, without making the repository a place where it looks for groups.

    Args:
      asked: names of the files that are read; of the others Hydra learns the name alone, whatever is in them.
      folder: where the files lie.

    Raises:
      SettingsError: a file that was asked for is no YAML mapping.
    """
    for path in sorted(folder.glob("*.yaml")):
        if path.stem not in asked:
            ConfigStore.instance().store(group="experiments", name=path.stem, package="_global_", node={})
            continue
        try:
            node = study_file.load(path)
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from None
        except Exception as error:  # the parsers below raise what they like
            raise SettingsError(f"{path}: not valid YAML ({first_line(error)})") from None
        if not isinstance(node, DictConfig):
            raise SettingsError(
                f"{path}: a study file contains keys with values, as in `plan: {{levels: {{cell: [lstm, gru]}}}}`"
            )
        if node.get("study") != path.stem:
            got = echoed(repr(node.get("study")))
            raise SettingsError(f"{path}: study is {got}, but must be the name of the file; write study: {path.stem}")
        ConfigStore.instance().store(group="experiments", name=path.stem, package="_global_", node=node)


def _place(message: str, given: list[str], asked: list[str]) -> str:
    """Returns the prefix `experiments/FILE: ` if that file, not the command line, set the key that the message begins with."""
    found = re.match(r"(?:unknown key ')?([\w.]+)(?:'?[:;]| )", message)
    if not found:  # an error of another kind, perhaps about the file itself
        return ""
    key = found[1].split(".")[-1]
    for path in (one for one in EXPERIMENTS.glob("*.yaml") if one.stem in asked):
        text = path.read_text(encoding="utf-8", errors="replace")
        if re.search(rf"\b{key}\s*:", text) and not any(re.search(rf"\b{key}=", word) for word in given):
            return f"experiments/{path.name}: "
    return ""


def _flags(words: list[str]) -> argparse.Namespace:
    """Returns a command line as Hydra takes it apart.

    Raises:
      SettingsError: a flag that reads a file, runs one, or does not exist.
    """
    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]  # its own answer is a page, and ends the process
    flags, unknown = parser.parse_known_args(words)
    if unknown:
        raise SettingsError(f"unrecognised option {echoed(unknown[0])}; {LISTED}")
    closed = ("run", "config-path", "config-name", "config-dir", "experimental-rerun", "shell-completion")
    for name in closed:
        if getattr(flags, name.replace("-", "_")) not in (None, False):
            raise SettingsError(f"--{name} is not available here; {LISTED}")
    for name, example in (("package", "--package plan"), ("resolve", "--resolve")):
        if getattr(flags, name) and not flags.cfg:
            raise SettingsError(f"--{name} needs --cfg, as in --cfg job {example}")
    return flags


def _refuse_flag(message: str) -> NoReturn:
    raise SettingsError(f"{echoed(message)}; {LISTED}")


def _say(message: str) -> None:
    """Prints an error in one line or two, whatever is in the names that it repeats."""
    lines = message.splitlines() if len(message.splitlines()) <= MAX_LINES else [one_line(message)]
    print("error: " + "\n".join(shortened(visible(line), MAX_LINE) for line in lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
