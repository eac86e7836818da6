"""Deletes, renames, merges and prunes studies: `python -m src.studies COMMAND …`.

Each command prints what it would do, and does it only with `--yes`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from src import environment
from src.spec.section import SettingsError
from src.terminal.errors import first_line
from src.terminal.visible import replace_what_the_terminal_lacks, visible

NOTHING = "nothing was changed; add --yes to do this"


class Change(Protocol):
    """A change of a study: described first, then carried out."""

    def lines(self) -> list[str]:
        """Returns what would be done."""

    def carry_out(self) -> str:
        """Does it, and returns what was done."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 if a file or MLflow cannot be changed, or 2 for what is refused."""
    options = _parser().parse_args(arguments)
    replace_what_the_terminal_lacks()
    environment.prepare()
    try:
        changes = _changes(options)
        for name, change, is_done in changes:
            print(visible("\n".join([f"{options.command} {name}:", *(f"  {line}" for line in change.lines())])))
            if is_done:
                print("nothing is left to do")
        todo = [change for _, change, is_done in changes if not is_done]
        for change in todo if options.yes else ():
            print(visible(change.carry_out()), flush=True)
        if todo and not options.yes:
            print(NOTHING)
        return 0
    except SettingsError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; repeat the command to finish it.", file=sys.stderr)
        return 130
    except Exception as error:  # files and MLflow's stores raise what their drivers raise
        print(f"error: {visible(first_line(error))}; repeat the command to finish it", file=sys.stderr)
        return 1


def _changes(options: argparse.Namespace) -> list[tuple[str, Change, bool]]:
    """Returns the changes of a command: what is changed, the change, and whether it was carried out before."""
    if options.command == "delete":
        from src.upkeep.delete import Deletion

        deletions = [Deletion(study, options.uri) for study in dict.fromkeys(options.studies)]
        return [(one.study, one, one.is_done) for one in deletions]
    if options.command == "prune":
        from src.upkeep.prune import Pruning

        prunings = [Pruning(study, options.keep_models, options.uri) for study in dict.fromkeys(options.studies)]
        return [(one.study, one, one.is_done) for one in prunings]
    if options.command == "rename":
        from src.upkeep.rename import Renaming

        return [(f"{options.study} to {options.name}", Renaming(options.study, options.name, options.uri), False)]
    from src.upkeep.merge import Merging

    named = f"{', '.join(options.studies)} into {options.into}"
    return [(named, Merging(options.studies, options.into, options.uri), False)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.studies",
        description="Deletes, renames, merges and prunes studies. Each command prints what it would do; --yes does it.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.add_argument(
            "--yes", action="store_true", help="do it; without this, the command only says what it would"
        )
        added.add_argument("--uri", help="MLflow store (default: the default one, and those that the trials name)")
        return added

    delete = command("delete", "Removes a study from outputs/, and moves its runs to MLflow's trash.")
    delete.add_argument("studies", metavar="STUDY", nargs="+")
    rename = command("rename", "Gives a study another name, in outputs/ and in MLflow.")
    rename.add_argument("study", metavar="STUDY")
    rename.add_argument("name", metavar="NAME")
    merge = command("merge", "Makes a new study of the trials of several, of one task and equal data.")
    merge.add_argument("studies", metavar="STUDY", nargs="+")
    merge.add_argument("--into", metavar="NAME", required=True, help="name of the new study")
    prune = command("prune", "Removes trained models; records, metrics and tables stay.")
    prune.add_argument("studies", metavar="STUDY", nargs="+")
    keep_help = "which models stay: of the best seed of each variant by validation (default), or none"
    prune.add_argument("--keep-models", choices=("best", "none"), default="best", help=keep_help)
    return parser


if __name__ == "__main__":
    sys.exit(main())
