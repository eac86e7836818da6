"""Command line of the analysis: `python -m analysis report STUDY`."""

from __future__ import annotations

import enum
import io
import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis import written
from analysis.written import Format
from src import environment, paths
from src.terminal.visible import counted, visible

environment.draw_to_files()

if TYPE_CHECKING:
    import pandas as pd

    from analysis.findings import Findings
    from analysis.load import Study

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
Within = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="compare at each value of these toggles, with the variant that has the reference's other values; "
        "default: the study's plan.within",
    ),
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


class Order(enum.StrEnum):
    """What gives the order of a leaderboard."""

    VALIDATION = "validation"
    TEST = "test"


@app.callback()
def _examples() -> None:
    """Tables, figures and reports of tracked studies. Nothing here trains, and only `report` writes to MLflow.

    `python -m src.studies` deletes, renames, merges and prunes studies.

    For example:

    - python -m analysis studies

    - python -m analysis report leave_one_out

    - python -m analysis table leave_one_out --format latex

    - python -m analysis table masking_by_side_and_length --toggle masking

    - python -m analysis figure leave_one_out forest

    - python -m analysis compare leave_one_out reference cell=simple_rnn

    - python -m analysis bundle leave_one_out --zip

    - python -m analysis leaderboard
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
        from analysis import answer, tables

        print("\n".join(["", *map(visible, answer.sentences(findings)), "", tables.ablation(findings).markdown()]))
        made = written.report(findings, folder)
        for note in made.notes:
            print(f"note: {visible(note)}")
        pictures = f"{counted(made.figures, 'figure')} (PNG, SVG, PDF)"
        print(f"written to {folder}: report.html, tables (CSV, Markdown, LaTeX, HTML), {pictures}")
        if attach:
            _attach(findings.study, made.files, folder, "report/all" if every else "report")
        print(f"open {(folder / 'report.html').as_uri()}")


@app.command()
def table(
    study: Name,
    toggle: Toggle = None,
    within: Within = None,
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

        held = _names(within)
        options = {"metric": metric, "margin": margin, "toggle": toggle, "within": held, "also": _names(also)}
        findings = _find(study, uri, every=every, is_quiet=format != Format.MARKDOWN, **options)
        if factorial and findings.factorial is None:
            raise StoreError(
                findings.no_factorial
                or f"{study} has no main effects and interactions: they need a grid of two or more toggles"
            )
        if columns == "?":
            every_column = tables.factorial(findings) if factorial else tables.ablation(findings, every=True)
            print("\n".join(every_column.names))
            return
        look = written.Look(_names(columns), digits, caption, convenience)
        requested = written.shown(findings, "factorial" if factorial else "table", look)
        folder = _folder(out, study, every=every)
        with written.whole(folder) as staging:
            compared = "_".join(["within", *held]) if held else toggle
            names = written.write_tables(findings, staging, compared=compared, metric=metric, requested=requested)
        print(requested.text(format, label=study))
        if format == Format.MARKDOWN:
            print(tables.explanation(findings))
            if (
                sys.stdout.isatty()
                and not factorial
                and (hint := tables.fewer(requested.wide, width=shutil.get_terminal_size().columns))
            ):
                print(hint)
            what = f"{', '.join(names)} (CSV, Markdown, LaTeX, HTML)"
            print(f"written to {folder}: {what}; next: python -m analysis report {study}")


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
    are_listed: Annotated[
        bool, typer.Option("--list", help="list the names of all figures, those of the study's task too; draw none")
    ] = False,
) -> None:
    """Draws figures of STUDY, including those of its task, as PNG, SVG and PDF.

    The usual figures are forest, waterfall, interaction, heatmap, pareto, curves, ranges, rungs, times, padding,
    causes, looks, power, seeds and ratio_by_parameters. A task adds figures of its own: --list names them.
    """
    with _answered():
        from analysis import figures
        from analysis.store import StoreError, nearest

        _allow(task)
        try:
            loaded = _loaded(study, uri, every=every)
        except StoreError as error:
            if study in figures.FIGURES and names:  # the arguments are probably swapped
                raise StoreError(f"{error}; name the study first: analysis figure {names[0]} {study}") from error
            raise
        wanted = set(names or []) - figures.FIGURES.keys()
        of_task, lacking = figures.places_of_task(loaded) if wanted or are_listed else ({}, [])
        if are_listed:
            print(f"usual figures: {', '.join(figures.FIGURES)}")
            print(f"figures of the study's task: {visible(', '.join(of_task)) or 'none'}")
            print("".join(f"note: {visible(note)}\n" for note in lacking), end="")
            return
        allowed = [*figures.FIGURES, *of_task]
        unknown = [name for name in names or [] if name not in allowed]
        if unknown:
            known = figures.synonyms(of_task.values()).get(unknown[0].lower().replace("-", "_"))
            fix = f"did you mean {known!r}?" if known in of_task else nearest(unknown[0], allowed)
            raise StoreError(f"no figure {unknown[0]!r}; {fix}")
        findings = _findings(loaded, metric=metric)
        folder = out or _folder(None, study, every=every) / "figures"  # where the report has them
        folder.mkdir(parents=True, exist_ok=True)
        pictures, notes = written.drawn_figures(findings, names)
        with written.whole(folder) as made:
            drawn, failed = written.saved(pictures, made)
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
def adopt(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="CSV, JSONL or Parquet file, folder of event files, MLflow experiment"),
    ],
    toggles: Annotated[str, typer.Option(metavar="A,B", help="columns of the settings that were varied")],
    metric: Annotated[
        list[str], typer.Option(metavar="COLUMN:higher", help="column and better direction; may be repeated")
    ],
    name: Annotated[str, typer.Option(help="name of the study")],
    seed: Annotated[str, typer.Option(metavar="COLUMN", help="column of the seeds; `order` numbers a variant's runs")],
    reference: Annotated[
        str | None, typer.Option(metavar="A=1,B=x", help="variant to compare with; default: as the design suggests")
    ] = None,
    duplicates: Annotated[
        str | None, typer.Option(metavar="latest", help="which of several runs of a variant and seed counts")
    ] = None,
    status: Annotated[str | None, typer.Option(metavar="COLUMN", help="column of the runs' states")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="column with the seconds of a run")] = None,
    decimal: Annotated[str, typer.Option(help="decimal point of numbers in texts: . or ,")] = ".",
    pattern: Annotated[
        str | None, typer.Option(metavar="REGEX", help="named groups are the settings in names of event folders")
    ] = None,
    uri: Uri = None,
) -> None:
    """Makes a study of runs that somebody else recorded. The source is only read.

    For example: python -m analysis adopt runs.csv --toggles lr,model --seed seed --metric test_acc:higher --name mine
    """
    with _answered():
        import shlex

        from analysis import adoption, sources

        options = adoption.Options(
            tuple(_names(toggles) or ()), seed, tuple(map(adoption.asked_metric, metric)), name,
            adoption.reference_of(reference), status, time, decimal, duplicates,
        )  # fmt: skip
        command = shlex.join(["python", "-m", "analysis", *sys.argv[1:]])
        folder, lines = adoption.adopt(sources.read(source, uri=uri, pattern=pattern), options, command=command)
        print("\n".join(map(visible, lines)))
        print(f"written to {folder}; the source is unchanged")
        print(f"next: python -m analysis report {name}")


@app.command()
def studies(uri: Uri = None) -> None:
    """Lists the studies of the store."""
    with _answered():
        from analysis.table import of_frame

        overview = _overview(uri)
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
def leaderboard(
    task: Annotated[str | None, typer.Option(help="rank only variants of this task; default: each task")] = None,
    metric: Annotated[str | None, typer.Option(help="metric to report; default: the task's first, on the test")] = None,
    by: Annotated[Order, typer.Option(help="what gives the order; the docs say why not the test")] = Order.VALIDATION,
    top: Annotated[int, typer.Option(min=1, help="variants to show of each task and data")] = 20,
    format: Annotated[Format, typer.Option(help="output format")] = Format.MARKDOWN,
    uri: Uri = None,
) -> None:
    """Ranks the variants of all studies of one task on the same data, by validation."""
    with _answered():
        from analysis import adopted, store
        from analysis import leaderboard as boards
        from analysis.texts import csv

        found, notes = boards.of_store(store.connect(uri), task=task, metric=metric, by=by.value)
        left_out = len(adopted.AdoptedStore().experiments()) if uri is None else 0
        if left_out:
            what = "1 adopted study is" if left_out == 1 else f"{left_out} adopted studies are"
            notes = [*notes, f"{what} left out: on what data the runs were trained is not known"]
        if format == Format.CSV:
            print(csv(boards.csv_frame(found)), end="")
        else:
            texts = {
                Format.MARKDOWN: lambda one: f"{visible(one.heading)}\n\n{one.table(top).markdown()}",
                Format.HTML: lambda one: one.table(top).html(),
                Format.LATEX: lambda one: one.table(top).latex(f"leaderboard_{one.task}_{one.data}"),
            }
            print("\n".join(map(texts[format], found)))
        for note in notes:
            print(f"note: {visible(note)}", file=sys.stderr)


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
        with written.whole(folder) as made:
            for name, frame in frames.items():
                (made / f"{name}.csv").write_text(csv(frame), encoding="utf-8")
                frame.to_parquet(made / f"{name}.parquet", index=False)
        for name, frame in frames.items():
            print(f"{folder / name}.csv, .parquet: {len(frame):,} rows, {len(frame.columns)} columns")


@app.command()
def bundle(
    study: Name,
    metric: Metric = None,
    margin: Margin = None,
    also: Also = None,
    every: Every = False,
    uri: Uri = None,
    out: Annotated[
        Path | None, typer.Option(help="folder or .zip file to write; default: bundles/STUDY, or bundles/STUDY.zip")
    ] = None,
    is_zip: Annotated[bool, typer.Option("--zip", help="write one zip file")] = False,
    task: TaskPlace = None,
) -> None:
    """Writes STUDY to share it: report, tables, figures, trials, plan, settings, environment, code, README.

    The README says how to repeat the study. Paths of this machine and addresses of stores are left out. The same study
    gives the same bytes.
    """
    with _answered():
        from analysis import bundle as bundles

        _allow(task)
        is_zip = is_zip or (out is not None and out.suffix == ".zip")
        target = out or paths.home() / "bundles" / (f"{study}.zip" if is_zip else study)
        loaded = _loaded(study, uri, every=every)
        options = {"metric": metric, "margin": margin, "also": _names(also)}
        made = bundles.write(loaded, target, is_zip=is_zip, options=options)
        for remark in made.remarks:
            print(f"note: {visible(remark)}")
        print(f"written: {made.target} ({counted(made.files, 'file')})")


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
    from analysis import adopted, load

    loaded = load.study(study, adopted.store_of(study, uri), every=every)
    stream = sys.stderr if is_quiet else sys.stdout
    if not is_quiet:
        print(f"study {study}: trials: {loaded.counts}", flush=True)
    if loaded.of_plans:
        print(f"note: {visible(loaded.of_plans)}", file=stream, flush=True)
    return loaded


def _overview(uri: str | None) -> pd.DataFrame:
    """Returns `load.listed` of a store; without a URI, of the default store and of the adopted studies."""
    import pandas as pd

    from analysis import adopted, load, store

    own = load.listed(adopted.AdoptedStore()) if uri is None else pd.DataFrame()
    try:
        return pd.concat([load.listed(store.connect(uri)), own], ignore_index=True)
    except store.StoreError:
        if own.empty:
            raise
        return own


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


def _allow(task: str | None) -> None:
    """Allows the import of a study's task at `module:NAME`."""
    if task:
        from src import registry

        registry.allow(task)


def _attach(study: Study, files: list[Path], folder: Path, target: str) -> None:
    """Attaches files of the folder to the study's run; an unreachable store is reported, not raised."""
    from analysis.adopted import AdoptedStore

    if isinstance(study.store, AdoptedStore):
        return  # it has no run in MLflow
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
