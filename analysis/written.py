"""The files of a study: its tables in every format, its figures, and its report."""

from __future__ import annotations

import enum
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from src.terminal.errors import first_line

if TYPE_CHECKING:
    from analysis.figures import Drawn
    from analysis.findings import Findings
    from analysis.table import Table


class Format(enum.StrEnum):
    """Formats in which a table can be printed."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    HTML = "html"
    CSV = "csv"


class Written(NamedTuple):
    """The files of a report, relative to its folder, the number of figures, and notes on what is missing."""

    files: list[Path]
    figures: int
    notes: list[str]


def report(findings: Findings, folder: Path, *, is_shared: bool = False) -> Written:
    """Writes the report of a study, with its tables and figures; `is_shared` as in `report.page`."""
    from analysis import report as html

    with whole(folder) as staging:
        write_tables(findings, staging)
        pictures, notes = drawn_figures(findings)
        drawn, failed = saved(pictures, staging / "figures")
        page = html.page(findings, drawn, [*notes, *failed], is_shared=is_shared)
        (staging / "report.html").write_text(page, encoding="utf-8")
        files = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]
    return Written(files, len(drawn), [*notes, *failed])


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder; its files move to `folder` only after all of them were written."""
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as name:
            made = Path(name)
            yield made
            for path in sorted(made.rglob("*")):
                if path.is_file():
                    target = folder / path.relative_to(made)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)
    except OSError as error:
        where = error.filename or str(folder)  # an error of a full disk names no file
        raise OSError(error.errno, f"{error.strerror or error}; what was in the folder is as it was", where) from error


def drawn_figures(findings: Findings, names: list[str] | None = None) -> tuple[list[Drawn], list[str]]:
    """Returns the requested figures, and one line for each figure that could not be drawn.

    On a terminal, a progress bar is shown.
    """
    from rich.progress import track

    from analysis import figures

    usual = [name for name in names or figures.FIGURES if name in figures.FIGURES]
    each = figures.draw(findings, usual) if usual else iter(())
    is_unseen = not sys.stderr.isatty()
    drawn = list(track(each, total=len(usual), description="figures", transient=True, disable=is_unseen))
    of_task, notes = ([], []) if names and len(usual) == len(names) else figures.draw_of_task(findings.study, names)
    return [*drawn, *of_task], notes


def saved(pictures: list[Drawn], folder: Path) -> tuple[list[tuple[Drawn, Path]], list[str]]:
    """Writes figures; returns each with its SVG's path, and one line for each task figure that cannot be written."""
    from analysis import figures, looks

    saved, failed = [], []
    for one in pictures:
        try:
            saved.append((one, looks.save(one.figure, folder / one.name)))
        except Exception as error:
            if one.name in figures.FIGURES or isinstance(error, OSError):
                raise
            for path in folder.glob(f"{one.name}.*"):
                path.unlink()
            failed.append(f"figure {one.name} cannot be written: {first_line(error)}")
    return saved, failed


@dataclass(frozen=True)
class Look:
    """Options for the appearance of a table.

    Attributes:
      columns: names of the columns in order, or None for the default columns.
      digits: decimals of the metric, or None for the metric's default.
      caption: text of the caption, or None for the default caption.
      convenience: whether to show the costs beside time.
    """

    columns: list[str] | None = None
    digits: int | None = None
    caption: str | None = None
    convenience: bool = False


@dataclass(frozen=True)
class Shown:
    """A table in the forms in which it is written.

    Attributes:
      kind: table, effects, factorial, causes or selection.
      wide: with all informative columns, for Markdown and HTML.
      paper: for LaTeX.
      csv: with numbers in full precision.
    """

    kind: str
    wide: Table
    paper: Table
    csv: str

    def text(self, format: Format, *, label: str) -> str:
        """Returns the table in a format."""
        made = {
            Format.LATEX: lambda: self.paper.latex(label),
            Format.HTML: self.wide.html,
            Format.MARKDOWN: self.wide.markdown,
        }
        return self.csv if format == Format.CSV else made[format]()


def shown(findings: Findings, kind: str, look: Look) -> Shown:
    """Returns one of a study's tables with the requested appearance.

    Raises:
      StoreError: the table has no such column.
    """
    from analysis import tables
    from analysis.texts import csv

    frames = {"table": findings.summary, "factorial": findings.factorial, "effects": findings.compared}
    frame = frames.get(kind)
    if kind == "table":
        wide, paper = (
            tables.ablation(findings, places=look.digits, every=look.columns is not None),
            tables.compact(findings, places=look.digits),
        )
    else:
        made = {
            "factorial": lambda: tables.factorial(findings, places=look.digits),
            "effects": lambda: tables.effects(findings),
            "causes": lambda: tables.causes(findings),
            "selection": lambda: tables.selection(findings),
        }
        wide = paper = made[kind]()
    if kind == "table" and look.convenience:
        wide, paper = (tables.with_convenience(one, findings) for one in (wide, paper))
    if look.columns is not None:
        wide = paper = wide.chosen(look.columns)
    if look.caption is not None:
        wide, paper = (replace(one, caption=look.caption) for one in (wide, paper))
    return Shown(kind, wide, paper, wide.csv() if look.columns is not None or frame is None else csv(frame))


def write_tables(
    findings: Findings,
    folder: Path,
    *,
    compared: str | None = None,
    metric: str | None = None,
    requested: Shown | None = None,
) -> list[str]:
    """Writes a study's trials, and its tables in every format; returns their names.

    What is compared and the metric are part of the file name, so that tables of other questions are kept.

    Args:
      findings: the study's comparisons.
      folder: to write to.
      compared: the requested toggle, or `within_` with the requested ones; None for the study's own comparisons.
      metric: the requested metric, or None.
      requested: a table with its own appearance, which is written instead of the default table of its kind.
    """
    from analysis import causes, load, rungs
    from analysis.texts import csv

    (folder / "trials.csv").write_text(csv(load.trials_of_tables(findings.study)), encoding="utf-8")
    names = []
    kinds = ["table", "effects", *(["factorial"] if findings.factorial is not None else [])]
    kinds += ["causes"] if causes.has_any(findings.study.rows) else []
    kinds += ["selection"] if rungs.has_any(findings.study) else []
    for kind in kinds:
        one = requested if requested is not None and requested.kind == kind else shown(findings, kind, Look())
        # main effects do not depend on --toggle and --within, causes and rungs on neither
        asked = {"factorial": (metric,), "causes": (), "selection": ()}
        of = asked.get(kind, (compared, metric))
        name = "_".join([kind, *(part.replace("/", "_") for part in of if part)])
        for ending, format in {
            "csv": Format.CSV,
            "md": Format.MARKDOWN,
            "tex": Format.LATEX,
            "html": Format.HTML,
        }.items():
            (folder / f"{name}.{ending}").write_text(
                one.text(format, label=f"{findings.study.name}_{name}"), encoding="utf-8"
            )
        names.append(name)
    return names
