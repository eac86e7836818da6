"""Command line of the analysis: `python -m analysis report STUDY`."""

from __future__ import annotations

import enum
import io
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from src import environment, paths
from src.terminal.errors import first_line
from src.terminal.visible import counted, visible

environment.draw_to_files()

if TYPE_CHECKING:
    from analysis.figures import Drawn
    from analysis.findings import Findings
    from analysis.load import Study
    from analysis.table import Table

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
Name = Annotated[str, typer.Argument(metavar="STUDY", help="name of a study; `python -m analysis studies` lists them")]
Uri = Annotated[
    str | None, typer.Option(help="MLflow store; default: SQLite at the repository root, or in ABLATION_HOME")
]
Toggle = Annotated[
    str | None,
    typer.Option(help="compare the values of this toggle, all else being equal; default: with the reference"),
]
Metric = Annotated[str | None, typer.Option(help="metric to compare by; default: the study's")]
Also = Annotated[
    str | None,
    typer.Option(help="further metrics to show as columns: data/traces,memory/peak_mb; default: the study's plan.also"),
]
Margin = Annotated[
    float | None,
    typer.Option(min=0, help="difference that is too small to matter; default: the study's, for its own metric"),
]
Out = Annotated[Path | None, typer.Option(help="folder to write to; default: reports/STUDY", file_okay=False)]
TaskPlace = Annotated[
    str | None, typer.Option("--task", metavar="MODULE:NAME", help="imports this task of the study, for its figures")
]
Every = Annotated[
    bool,
    typer.Option("--all", help="every trial of the study in one table, of all its plans; default: the latest plan's"),
]


class Format(enum.StrEnum):
    """Formats in which a table can be printed."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    HTML = "html"
    CSV = "csv"


@app.callback()
def _examples() -> None:
    """Tables, figures and reports of tracked studies. Nothing here trains, and only `report` writes to MLflow.

    For example:

    - python -m analysis studies

    - python -m analysis report leave_one_out

    - python -m analysis table leave_one_out --format latex

    - python -m analysis table masking_by_side_and_length --toggle masking

    - python -m analysis figure leave_one_out forest

    - python -m analysis compare leave_one_out reference cell=simple_rnn
    """


@app.command()
def report(
    study: Name,
    metric: Metric = None,
    margin: Margin = None,
    also: Also = None,
    every: Every = False,
    uri: Uri = None,
    out: Out = None,
    task: TaskPlace = None,
    attach: Annotated[bool, typer.Option(help="attach the report to the study's MLflow run")] = True,
) -> None:
    """Writes one HTML page about STUDY, its tables and figures, and attaches them to the study's MLflow run."""
    with _answered():
        _allow(task)
        findings = _find(study, uri, every=every, metric=metric, margin=margin, also=_names(also))
        folder = _folder(out, study, every=every)
        from analysis import answer, report, tables

        print("\n".join(["", *map(visible, answer.sentences(findings)), "", tables.ablation(findings).markdown()]))
        with _whole(folder) as staging:
            _write_tables(findings, staging)
            pictures, notes = _figures(findings)
            drawn, failed = _saved(pictures, staging / "figures")
            page = report.page(findings, drawn, [*notes, *failed])
            (staging / "report.html").write_text(page, encoding="utf-8")
            written = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]
        for note in [*notes, *failed]:
            print(f"note: {visible(note)}")
        tables_are, figures_are = (
            "tables (CSV, Markdown, LaTeX, HTML)",
            f"{counted(len(drawn), 'figure')} (PNG, SVG, PDF)",
        )
        print(f"written to {folder}: report.html, {tables_are}, {figures_are}")
        if attach:
            _attach(findings.study, written, folder, "report/all" if every else "report")
        print(f"open {(folder / 'report.html').as_uri()}")


@app.command()
def table(
    study: Name,
    toggle: Toggle = None,
    metric: Metric = None,
    margin: Margin = None,
    also: Also = None,
    format: Annotated[Format, typer.Option(help="output format")] = Format.MARKDOWN,
    factorial: Annotated[bool, typer.Option(help="main effects and interactions instead of variants")] = False,
    columns: Annotated[
        str | None, typer.Option(help="columns to show after the variant: change,p_holm,verdict; `?` lists them")
    ] = None,
    digits: Annotated[int | None, typer.Option(min=0, max=10, help="decimals of the metric and its change")] = None,
    convenience: Annotated[
        bool,
        typer.Option(
            "--convenience", help="costs beside time: settings added, combinations ruled out, graphs traced, memory"
        ),
    ] = False,
    caption: Annotated[str | None, typer.Option(help="caption in LaTeX and HTML")] = None,
    every: Every = False,
    uri: Uri = None,
    out: Out = None,
) -> None:
    """Prints how every variant of STUDY differs from the reference, paired by seed, and writes it in all formats."""
    with _answered():
        from analysis import tables
        from analysis.store import StoreError

        options = {"metric": metric, "margin": margin, "toggle": toggle, "also": _names(also)}
        findings = _find(study, uri, every=every, is_quiet=format != Format.MARKDOWN, **options)
        if factorial and findings.factorial is None:
            raise StoreError(
                findings.no_factorial
                or f"{study} has no main effects and interactions: they need a grid of two or more toggles"
            )
        look = Look(_names(columns), digits, caption, convenience)
        requested = _shown(findings, "factorial" if factorial else "table", look)
        folder = _folder(out, study, every=every)
        with _whole(folder) as staging:
            names = _write_tables(findings, staging, toggle=toggle, metric=metric, requested=requested)
        print(requested.text(format, label=study))
        if format == Format.MARKDOWN:
            print(tables.explanation(findings))
            if (
                sys.stdout.isatty()
                and not factorial
                and (hint := tables.fewer(requested.wide, width=shutil.get_terminal_size().columns))
            ):
                print(hint)
            written = f"{', '.join(names)} (CSV, Markdown, LaTeX, HTML)"
            print(f"written to {folder}: {written}; next: python -m analysis report {study}")


@app.command()
def figure(
    study: Name,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[FIGURE]...", help="default: every figure that fits the study")
    ] = None,
    metric: Metric = None,
    every: Every = False,
    uri: Uri = None,
    out: Out = None,
    task: TaskPlace = None,
) -> None:
    """Draws figures of STUDY, including those of its task, as PNG, SVG and PDF.

    The usual figures are forest, waterfall, interaction, heatmap, pareto, curves, times, padding, causes and
    ratio_by_parameters.
    """
    with _answered():
        from analysis import figures
        from analysis.store import StoreError, nearest

        _allow(task)
        loaded = _loaded(study, uri, every=every)
        wanted = set(names or []) - figures.FIGURES.keys()
        allowed = [*figures.FIGURES, *(figures.places_of_task(loaded)[0] if wanted else [])]
        unknown = [name for name in names or [] if name not in allowed]
        if unknown:
            raise StoreError(f"no figure {unknown[0]!r}; {nearest(unknown[0], allowed)}")
        findings = _findings(loaded, metric=metric)
        folder = out or _folder(None, study, every=every) / "figures"  # where the report has them
        folder.mkdir(parents=True, exist_ok=True)
        pictures, notes = _figures(findings, names)
        with _whole(folder) as made:
            drawn, failed = _saved(pictures, made)
        for one, _ in drawn:
            print(f"{one.name}: {visible(one.caption)}")
        for note in [*notes, *failed]:
            print(f"note: {visible(note)}")
        if drawn:
            print(f"written to {folder}: {', '.join(one.name for one, _ in drawn)} (PNG, SVG, PDF)")
        missing = [name for name in names or [] if name not in {one.name for one, _ in drawn}]
        if missing:
            what = f"{study} has no data for {', '.join(missing)}"
            raise StoreError(f"{what}; leave the name out to draw every figure that fits")


app.command("figures", hidden=True)(figure)


@app.command()
def compare(
    study: Name,
    one: Annotated[
        str, typer.Argument(metavar="A", help="label of the variant to compare with, as the table shows it")
    ],
    other: Annotated[str, typer.Argument(metavar="B", help="label of the variant to compare")],
    metric: Metric = None,
    every: Every = False,
    uri: Uri = None,
) -> None:
    """Compares two variants of STUDY over seeds and over test examples, and states the question of each test."""
    with _answered():
        from analysis import examples, tables
        from analysis.findings import metric_of
        from analysis.provenance import different_code

        loaded = _loaded(study, uri, every=every)
        compared_by = metric_of(loaded, metric)
        tests = examples.variants(loaded, one, other, metric=compared_by)
        both = examples.over_both(loaded, one, other)
        print(tables.comparison(*tests, (one, other), metric=compared_by, first=loaded.metrics[0], over_both=both))
        if note := different_code(examples.of_two(loaded, one, other)):
            print(note)


@app.command()
def studies(uri: Uri = None) -> None:
    """Lists the studies of the store."""
    with _answered():
        from analysis import load, store
        from analysis.table import of_frame

        overview = load.listed(store.connect(uri))
        if overview.empty:
            print("no study yet; train one: python -m src.run -m learning_rate=0.001,0.01")
            return
        has_others = overview["in other plans"].any()
        print(of_frame(overview if has_others else overview.drop(columns="in other plans")).markdown())
        if has_others:
            print(
                "Trials in other plans than a study's latest are not in its table: "
                "`python -m analysis table STUDY --all` shows them all."
            )


@app.command()
def export(study: Name, every: Every = False, uri: Uri = None, out: Out = None) -> None:
    """Writes STUDY as CSV and Parquet: a frame with one row per variant and seed, and one with one row per step."""
    with _answered():
        from analysis import load
        from analysis.texts import csv

        loaded, folder = _loaded(study, uri, every=every), _folder(out, study, every=every)
        frames = load.tidy(loaded)
        for line in load.lost_files(loaded):
            print(f"warning: {line}", file=sys.stderr)
        with _whole(folder) as made:
            for name, frame in frames.items():
                (made / f"{name}.csv").write_text(csv(frame), encoding="utf-8")
                frame.to_parquet(made / f"{name}.parquet", index=False)
        for name, frame in frames.items():
            print(f"{folder / name}.csv, .parquet: {len(frame):,} rows, {len(frame.columns)} columns")


@contextmanager
def _answered() -> Iterator[None]:
    """Turns errors that a user can fix into one line on the terminal and exit code 2."""
    from analysis.store import StoreError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals that cannot show the check mark
    try:
        yield
        sys.stdout.flush()  # flushing at interpreter exit would fail where no handler can catch it
    except StoreError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        raise typer.Exit(2) from None
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        raise typer.Exit(1) from None


def _loaded(study: str, uri: str | None, *, every: bool, is_quiet: bool = False) -> Study:
    """Returns a study, and prints its trial counts: to stderr if stdout is for the table alone."""
    from analysis import load, store

    loaded = load.study(study, store.connect(uri), every=every)
    stream = sys.stderr if is_quiet else sys.stdout
    if not is_quiet:
        print(f"study {study}: trials: {loaded.counts}", flush=True)
    if loaded.of_plans:
        print(f"note: {visible(loaded.of_plans)}", file=stream, flush=True)
    return loaded


def _names(listed: str | None) -> list[str] | None:
    """Returns the names in a list with commas; None for None."""
    return None if listed is None else [name.strip() for name in listed.split(",")]


def _find(study: str, uri: str | None, *, every: bool, is_quiet: bool = False, **options: Any) -> Findings:
    return _findings(_loaded(study, uri, every=every, is_quiet=is_quiet), **options)


def _findings(loaded: Study, **options: Any) -> Findings:
    from analysis import findings
    from analysis.store import StoreError

    if options.get("margin") is not None and not math.isfinite(options["margin"]):
        raise StoreError(f"--margin: {options['margin']} is not allowed; give a number above 0, in the metric's unit")
    return findings.find(loaded, **options)


def _folder(out: Path | None, study: str, *, every: bool) -> Path:
    """Returns the folder to write to; files of all plans do not replace those of the latest plan."""
    folder = out or paths.home() / "reports" / study / ("all" if every else "")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
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


def _allow(task: str | None) -> None:
    """Allows the import of a study's task at `module:NAME`."""
    if task:
        from src import registry

        registry.allow(task)


def _figures(findings: Findings, names: list[str] | None = None) -> tuple[list[Drawn], list[str]]:
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


def _saved(pictures: list[Drawn], folder: Path) -> tuple[list[tuple[Drawn, Path]], list[str]]:
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
      kind: table, effects, factorial or causes.
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


def _shown(findings: Findings, kind: str, look: Look) -> Shown:
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
        }
        wide = paper = made[kind]()
    if kind == "table" and look.convenience:
        wide, paper = (tables.with_convenience(one, findings) for one in (wide, paper))
    if look.columns is not None:
        wide = paper = wide.chosen(look.columns)
    if look.caption is not None:
        wide, paper = (replace(one, caption=look.caption) for one in (wide, paper))
    return Shown(kind, wide, paper, wide.csv() if look.columns is not None or frame is None else csv(frame))


def _write_tables(
    findings: Findings,
    folder: Path,
    *,
    toggle: str | None = None,
    metric: str | None = None,
    requested: Shown | None = None,
) -> list[str]:
    """Writes a study's trials, and its tables in every format; returns their names.

    Toggle and metric are part of the file name, so that tables of other questions are kept.

    Args:
      findings: the study's comparisons.
      folder: to write to.
      toggle: the requested toggle, or None.
      metric: the requested metric, or None.
      requested: a table with its own appearance, which is written instead of the default table of its kind.
    """
    from analysis import causes, load
    from analysis.texts import csv

    (folder / "trials.csv").write_text(csv(load.trials_of_tables(findings.study)), encoding="utf-8")
    names = []
    kinds = ["table", "effects", *(["factorial"] if findings.factorial is not None else [])]
    for kind in [*kinds, *(["causes"] if causes.has_any(findings.study.rows) else [])]:
        shown = requested if requested is not None and requested.kind == kind else _shown(findings, kind, Look())
        asked = {"factorial": (metric,), "causes": ()}  # main effects do not depend on --toggle, causes on neither
        of = asked.get(kind, (toggle, metric))
        name = "_".join([kind, *(part.replace("/", "_") for part in of if part)])
        for ending, format in {
            "csv": Format.CSV,
            "md": Format.MARKDOWN,
            "tex": Format.LATEX,
            "html": Format.HTML,
        }.items():
            (folder / f"{name}.{ending}").write_text(
                shown.text(format, label=f"{findings.study.name}_{name}"), encoding="utf-8"
            )
        names.append(name)
    return names


def _attach(study: Study, files: list[Path], folder: Path, target: str) -> None:
    """Attaches files of the folder to the study's run; an unreachable store is reported, not raised."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    from src.tracking import moved

    try:
        if note := moved.mend_if_moved(study.store.uri, study.store.address(study.run_id)):
            print(note)
        client = MlflowClient(study.store.uri)
        for file in files:
            client.log_artifact(study.run_id, str(folder / file), str(Path(target) / file.parent))
        print(f"attached to the study's MLflow run (folder {target})")
    except (MlflowException, OSError) as error:
        print(f"not attached to MLflow: {next(iter(str(error).splitlines()), type(error).__name__)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(app())
