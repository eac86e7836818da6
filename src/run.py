"""Trains the product of the toggles: `python -m src.run -m masking=true,false cell=lstm,gru`."""

from __future__ import annotations

import os
import sys

os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come through as they are; `main` turns them into one or two lines

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from src import command_line, settings
from src.paths import REPOSITORY
from src.study import TrialsFailed


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 if a trial failed, 2 for what was typed wrong, 130 if stopped."""
    given = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(given):
        print(command_line.help_text())
        return 0
    sys.argv[1:] = ["-m", *(word for word in given if word not in ("-m", "--multirun"))]  # implied, and Hydra wants it first or last
    flags, unknown = get_args_parser().parse_known_args(sys.argv[1:])
    unknown += [
        f"--{name}" for name in ("run", "package", "config-path", "config-name", "config-dir") if getattr(flags, name.replace("-", "_"))
    ]
    if taken := [word for word in given if word.lstrip("+~").startswith(("hydra.mode", "hydra/sweeper"))]:
        print(f"error: {taken[0]} is not yours to set: a single trial is a study of one; drop it", file=sys.stderr)
        return 2
    if unknown:
        print(f"error: {unknown[0]} is no flag here; `python -m src.run --help` shows what there is", file=sys.stderr)
        return 2
    store = ConfigStore.instance()
    store.store(name="schema", node=settings.schema())
    for group, choices in settings.GROUPS.items():
        for choice in choices:
            store.store(group=group, name=f"schema_{choice}", node=settings.group_schema(group, choice))
    if any(word.lstrip("+").startswith("experiments") for word in given):
        for path in (REPOSITORY / "experiments").glob("*.yaml"):
            store.store(group="experiments", name=path.stem, package="_global_", node=OmegaConf.load(path))
    from src.study import job  # not for help: it brings NumPy and pandas

    try:
        hydra.main(version_base="1.3", config_path=str(REPOSITORY / "conf"), config_name="config")(job.run)()
    except settings.SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except TrialsFailed:
        return 1
    except Exception as error:
        if not command_line.is_from_composing(error):
            raise
        print(f"error: {command_line.explain(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
