"""Writes the generated parts of the documents: docs/toggles.md, and the tables of studies. `make docs` runs it.

    python -m docs.generated

A document shows a study's table between the comments `<!-- table: PATH -->` and `<!-- end of table -->`. The path is
relative to the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic.fields import FieldInfo

from src import registry
from src.config.explain import GROUPS, allowed, example
from src.paths import REPOSITORY
from src.spec.section import Section, as_typed
from src.spec.settings import Plan, Settings, Tracking
from src.terminal.values import in_words

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "experiments/*.md")
TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
INTRODUCTION = """\
# Toggles and settings

<!-- Made from the settings in src/ by `python -m docs.generated`; do not edit. -->

Write `key=value` on the command line. `key=a,b` and `key='range(0,8)'` make a study of several values.
`python -m src.run --help task=NAME` prints the keys of one task.

A *toggle* affects the result of a trial. A study may vary every toggle except the seed: every variant is trained with
the same seeds. The section of a task has the toggles that not every task has, and those of every task that have another
default or other values with it. `module:NAME` is [code of your own](own_model.md).
"""


def documents() -> list[Path]:
    """Returns the documents of the repository."""
    return [path for pattern in DOCUMENTS for path in sorted(REPOSITORY.glob(pattern))]


def _is_own(settings: type[Settings], name: str) -> bool:
    """Returns whether a toggle of a task is not that of every task, or has another default or other values."""
    own, common = settings.model_fields[name], Settings.model_fields.get(name)
    if common is None:
        return True
    return name != "task" and (own.default, own.annotation) != (common.default, common.annotation)


def toggles() -> str:
    """Returns docs/toggles.md: every key of the built-in tasks with its default, its allowed values and its meaning."""
    tasks = [registry.task(name) for name in registry.BUILT_IN]
    parts = [INTRODUCTION, _section("Toggles of every task", _rows(Settings, Settings.toggles()))]
    for task in tasks:
        own = [name for name in task.settings.toggles() if _is_own(task.settings, name)]
        parts.append(_section(f"Toggles of task={task.name}", _rows(task.settings, own), f"{task.about.capitalize()}."))
        for section, options in task.settings.sections().items():
            parts.append(
                _section(f"Settings {section}.* of task={task.name}", _rows(options, options.model_fields, section))
            )
    for name, options in {name: options for task in tasks for name, options in task.settings.corpora().items()}.items():
        own = [option for option in options.model_fields if option != "name"]
        parts.append(_section(f"Options of data={name}", _rows(options, own, "data"), str(options.__doc__)))
    of_command = [name for name in Settings.NOT_TOGGLES if name not in ("tracking", "plan")]
    parts.append(_section("Settings of a command", _rows(Settings, of_command)))
    tracking = [name for name in Tracking.model_fields if name != "name"]
    parts.append(_section("Tracking", [*_rows(Settings, ["tracking"]), *_rows(Tracking, tracking, "tracking")]))
    parts.append(
        _section(
            "The study",
            _rows(Plan, Plan.model_fields, "plan"),
            "A [study file](studies.md#in-a-file) sets most of these.",
        )
    )
    return "\n".join(parts)


def with_tables(document: str, folder: Path) -> str:
    """Returns a document with its tables updated from their files.

    Args:
      document: text of the document.
      folder: folder of the document.
    """
    return TABLE.sub(
        lambda match: f"{match[1]}\n{(folder / match[2]).read_text(encoding='utf-8')}\n{match[3]}", document
    )


def main() -> None:
    """Writes docs/toggles.md and the tables in all documents."""
    (REPOSITORY / "docs" / "toggles.md").write_text(toggles(), encoding="utf-8")
    for path in documents():
        path.write_text(with_tables(path.read_text(encoding="utf-8"), path.parent), encoding="utf-8")


def _section(heading: str, rows: Iterable[str], introduction: str = "") -> str:
    table = ["| key | default | values | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([f"## {heading}\n", *([f"{introduction}\n"] if introduction else []), *table, ""])


def _rows(kind: type[Section], names: Iterable[str], section: str = "") -> list[str]:
    """Returns one row per key."""
    of_task = kind if issubclass(kind, Settings) and kind is not Settings else None
    rows = []
    for name in names:
        field, key = kind.model_fields[name], f"{section}.{name}" if section else name
        default = as_typed(field.default) if section else example(key, of_task)
        cells = (f"`{key}`", f"`{default}`", _values(key, field, of_task), str(field.description))
        rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return rows


def _values(key: str, field: FieldInfo, kind: type[Settings] | None) -> str:
    text = allowed(key, kind) if key in GROUPS else in_words(field)
    if not text.startswith("one of "):
        return text
    return ", ".join(f"`{name}`" for name in re.split(", | or ", text.removeprefix("one of ")))


if __name__ == "__main__":
    main()
