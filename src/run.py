"""Trains the product of the toggles: `python -m src.run -m masking=true,false cell=lstm,gru`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from pathlib import Path

os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come through as they are; `main` turns them into one or two lines

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from src import command_line, settings, study_file
from src.errors import first_line
from src.paths import REPOSITORY
from src.study import LaunchFailed, TrialsFailed

EXPERIMENTS = REPOSITORY / "experiments"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 if a trial failed, 2 for what was typed wrong, 130 if stopped."""
    given = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(given):
        print(command_line.help_text())
        return 0
    asked = [name.strip("'\"[] ") for word in given if word.lstrip("+").startswith("experiments") for name in re.split("[=,]", word)[1:]]
    try:
        words = command_line.with_quotes([word for word in given if word not in ("-m", "--multirun")])
        sys.argv[1:] = ["-m", *words]  # implied, and Hydra wants it first or last
        _refuse_flags()
        register_schema()
        if asked:
            register_experiments(asked, EXPERIMENTS)
        from src.study import job  # not for help: it brings NumPy and pandas

        hydra.main(version_base="1.3", config_path=str(REPOSITORY / "conf"), config_name="config")(job.run)()
    except settings.SettingsError as error:
        print(f"error: {_place(str(error), given, asked)}{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except TrialsFailed:
        return 1
    except Exception as error:
        if command_line.is_from_composing(error):
            message = command_line.explain(error)
            print(f"error: {_place(message, given, asked)}{message}", file=sys.stderr)
            return 2
        if not isinstance(error, LaunchFailed | OSError):
            raise
        print(f"error: {error}. What was recorded is kept; type the same command again to go on", file=sys.stderr)
        return 1
    return 0


def register_schema() -> None:
    """Hands the settings' types and defaults to Hydra."""
    store = ConfigStore.instance()
    store.store(name="schema", node=settings.schema())
    for group, choices in settings.GROUPS.items():
        for choice in choices:
            store.store(group=group, name=f"schema_{choice}", node=settings.group_schema(group, choice))


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
        except settings.SettingsError:
            raise
        except Exception as error:  # the parsers below raise what they like
            raise settings.SettingsError(f"{path}: this is not YAML ({first_line(error)})") from None
        if not isinstance(node, DictConfig):
            raise settings.SettingsError(f"{path}: a study file holds keys and values, such as `plan: {{levels: {{cell: [lstm, gru]}}}}`")
        if node.get("study") != path.stem:
            got = node.get("study")
            raise settings.SettingsError(f"{path}: study is {got!r}; a file's study has the file's name: write study: {path.stem}")
        ConfigStore.instance().store(group="experiments", name=path.stem, package="_global_", node=node)


def _place(message: str, given: list[str], asked: list[str]) -> str:
    """Returns the study file that sets the key which the message begins with, if it was not typed; empty otherwise."""
    found = re.match(r"(?:unknown key ')?([\w.]+)(?:'?:| )", message)
    if not found:  # an error of another kind, perhaps about the file itself
        return ""
    key = found[1].split(".")[-1]
    for name in asked:
        path = EXPERIMENTS / f"{name}.yaml"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if re.search(rf"\b{key}\s*:", text) and not any(re.search(rf"\b{key}=", word) for word in given):
            return f"experiments/{path.name}: "
    return ""


def _refuse_flags() -> None:
    flags, unknown = get_args_parser().parse_known_args(sys.argv[1:])
    ours = ("run", "package", "config-path", "config-name", "config-dir")
    unknown += [f"--{name}" for name in ours if getattr(flags, name.replace("-", "_"))]
    if unknown:
        raise settings.SettingsError(f"{unknown[0]} is no flag here; `python -m src.run --help` shows what there is")
    for word in sys.argv[2:]:
        if word.lstrip("+~").startswith(("hydra.mode", "hydra/sweeper")):
            raise settings.SettingsError(f"{word} is not yours to set: a single trial is a study of one; drop it")


if __name__ == "__main__":
    sys.exit(main())
