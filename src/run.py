"""Trains all combinations of toggles: `python -m src.run -m masking=true,false cell=lstm,gru`."""

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

os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes exceptions on; `main` prints them in one or two lines

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from src import environment, own_code, registry
from src.config import admission, command_line, settings, study_file
from src.paths import REPOSITORY
from src.spec.section import STUDY_NAME, WORDS_OF, SettingsError
from src.spec.settings import Settings
from src.study import LaunchFailed, TrialsFailed
from src.terminal.errors import first_line
from src.terminal.visible import echoed, one_line, shortened, visible

EXPERIMENTS = REPOSITORY / "experiments"
MAX_LINES = 2  # lines of an error message
MAX_LINE = 1_000  # characters
LISTED = "`python -m src.run --help` lists all options"


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911  one return per exit code
    """Runs the command line; returns 0, 1 if a trial failed, 2 for an invalid command, 130 if stopped."""
    environment.draw_to_files()
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        return _help(arguments)
    if "--init" in arguments:
        return _init([word for word in arguments if word != "--init"])
    experiments = [
        name.strip("'\"[] ")
        for word in arguments
        if word.lstrip("+").startswith("experiments")
        for name in re.split("[=,]", word)[1:]
    ]
    try:
        words = [word for word in arguments if word not in ("-m", "--multirun")]
        flags = _flags(words)
        admission.check_words(flags.overrides)
        own_code.named(flags.overrides)
        tasks = _tasks_of(flags.overrides)
        is_sweep = not (flags.cfg or flags.info)  # -m excludes these flags, is implied without them, and comes first
        quoted = command_line.with_quotes(command_line.for_several(words, tasks))
        rest = ["--hydra-help"] if flags.hydra_help else quoted  # Hydra's help needs no overrides
        sys.argv[1:] = [*(["-m"] if is_sweep else []), *rest]
        register_schema(tasks)
        if experiments:
            register_experiments(experiments, EXPERIMENTS)
        from src.study import job  # late: it imports NumPy and pandas, which help does not need

        hydra.main(version_base="1.3", config_path=str(REPOSITORY / "conf"), config_name="config")(job.run)()
    except SettingsError as error:
        _print_error(f"{_place(str(error), arguments, experiments)}{error}")
        return 2
    except KeyboardInterrupt:
        return 130
    except TrialsFailed:
        return 1
    except SystemExit as error:  # Hydra exits after its help and after its own errors, as for an unknown --package
        return 2 if error.code else 0
    except Exception as error:
        if command_line.is_from_composing(error):
            message = str(command_line.explained(error, _kind(tasks[0], experiments)))
            _print_error(f"{_place(message, arguments, experiments)}{message}")
            return 2
        if not isinstance(error, LaunchFailed | OSError):
            raise
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            name = echoed(str(error.filename))
            _print_error(f"{name}: file name too long; most systems allow up to 255 bytes per name")
            return 2
        _print_error(f"{error}. All records are kept; run the same command again to continue")
        return 1
    return 0


def register_schema(tasks: Collection[str] = ()) -> None:
    """Registers the types and defaults of the settings with Hydra.

    Args:
      tasks: tasks as `module:NAME`, in addition to the registered ones.
    """
    store = ConfigStore.instance()
    store.repo.pop("task", None)  # the store outlives a call: a task of an earlier one may be gone
    store.store(name="schema", node=settings.core_schema())
    for name in (*registry.usable(), *filter(registry.is_place, tasks)):
        store.store(group="task", name=name, node=settings.task_schema(name), package="_global_")
    for name, options in settings.corpus_schemas().items():
        has_file = (REPOSITORY / "conf" / "data" / f"{name}.yaml").is_file()  # its defaults list names the schema
        store.store(group="data", name=f"schema_{name}" if has_file else name, node=options)
    for name, options in settings.tracking_schemas().items():
        store.store(group="tracking", name=f"schema_{name}", node=options)


def _tasks_of(words: Sequence[str]) -> list[str]:
    """Returns the tasks on a command line, or the default task; allows the import of each `module:NAME`.

    Raises:
      SettingsError: there is no such task, or it cannot be used.
    """
    names = registry.named(words)
    for name in names:
        if registry.is_place(name) or name in registry.origins():
            registry.task(name)
    return names or [registry.DEFAULT]


def _kind(task: str, experiments: Sequence[str]) -> type[Settings] | None:
    """Returns the settings class of a command's task; a study file may replace the default task. None if unknown."""
    for path in (EXPERIMENTS / f"{name}.yaml" for name in experiments if task == registry.DEFAULT):
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        override = re.search(r"override /task: *([a-z]\w*)", text)
        task = override[1] if override else task
    try:
        return registry.task(task).settings
    except SettingsError:
        return None


def _help(words: Sequence[str]) -> int:
    """Prints the help of the command line's task; returns 0, or 2 if there is no such task."""
    width = min(shutil.get_terminal_size().columns, 120) if sys.stdout.isatty() else None
    try:
        print(command_line.help_text(_tasks_of(words)[0], width=width))
    except SettingsError as error:
        _print_error(str(error))
        return 2
    return 0


def _init(words: Sequence[str]) -> int:
    """Writes a commented study file of the command line's task; returns 0, or 2 if it cannot."""
    study = next((word.removeprefix("study=") for word in words if word.startswith("study=")), "my_study")
    path = EXPERIMENTS / f"{study}.yaml"
    try:
        task = registry.task(_tasks_of(words)[0])
        if not re.fullmatch(STUDY_NAME, study):
            raise SettingsError(f"study: got {echoed(study)!r}; allowed: {WORDS_OF[STUDY_NAME]}")
        if not (text := task.study_file(study)):
            raise SettingsError(f"--init: task={task.name} has no study file to start from; see docs/studies.md")
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _print_error(f"{path} exists and is not replaced; write study=NAME for another file")
        return 2
    except (SettingsError, OSError) as error:
        _print_error(str(error))
        return 2
    print(f"written: {path}\nedit it, then run: python -m src.run -m task={task.name} +experiments={study}")
    return 0


def register_experiments(names: Collection[str], folder: Path = EXPERIMENTS) -> None:
    """Registers the study files with Hydra, without adding the repository to Hydra's search path.

    Args:
      names: the files to read; Hydra gets only the names of the other files.
      folder: the folder of the files.

    Raises:
      SettingsError: one of the named files is not a YAML mapping.
    """
    for path in sorted(folder.glob("*.yaml")):
        if path.stem not in names:
            ConfigStore.instance().store(group="experiments", name=path.stem, package="_global_", node={})
            continue
        try:
            node = study_file.load(path)
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from None
        except Exception as error:  # YAML and OmegaConf raise many types
            raise SettingsError(f"{path}: not valid YAML ({first_line(error)})") from None
        if not isinstance(node, DictConfig):
            raise SettingsError(
                f"{path}: a study file contains keys with values, as in `plan: {{levels: {{cell: [lstm, gru]}}}}`"
            )
        if node.get("study") != path.stem:
            got = echoed(repr(node.get("study")))
            raise SettingsError(f"{path}: study is {got}, but must be the name of the file; write study: {path.stem}")
        ConfigStore.instance().store(group="experiments", name=path.stem, package="_global_", node=node)


def _place(message: str, arguments: list[str], experiments: list[str]) -> str:
    """Returns the prefix `experiments/FILE: ` if that file, not the command line, sets the first key of the message."""
    match = re.match(r"(?:unknown key ')?([\w.]+)(?:'?[:;]| )", message)
    if not match:  # the message does not begin with a key
        return ""
    key = match[1].split(".")[-1]
    for path in (file for file in EXPERIMENTS.glob("*.yaml") if file.stem in experiments):
        text = path.read_text(encoding="utf-8", errors="replace")
        if re.search(rf"\b{key}\s*:", text) and not any(re.search(rf"\b{key}=", word) for word in arguments):
            return f"experiments/{path.name}: "
    return ""


def _flags(words: list[str]) -> argparse.Namespace:
    """Returns a command line parsed by Hydra's parser.

    Raises:
      SettingsError: a flag that reads or runs a file, or an unknown flag.
    """
    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]  # argparse would print a page and exit
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


def _print_error(message: str) -> None:
    """Prints an error in one or two lines, with control characters escaped."""
    lines = message.splitlines() if len(message.splitlines()) <= MAX_LINES else [one_line(message)]
    print("error: " + "\n".join(shortened(visible(line), MAX_LINE) for line in lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
