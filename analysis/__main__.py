"""Command line of the analysis: `python -m analysis figure STUDY`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis import load, tables
from src import paths
from src.settings import as_typed

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Tables and figures of tracked studies.", pretty_exceptions_enable=False)
Study = Annotated[str, typer.Argument(help="name of a study")]
Uri = Annotated[str | None, typer.Option(help="MLflow store; default: SQLite at the repository root")]
Out = Annotated[Path | None, typer.Option(help="folder to write to; default: reports/STUDY")]


@app.callback()
def _several_commands() -> None:
    """Tables and figures of tracked studies."""


@app.command()
def figure(study: Study, uri: Uri = None, out: Out = None) -> None:
    """Writes the learning curves (PNG, SVG) and the table of variants (Markdown, CSV) of STUDY."""
    from analysis import figures

    store = uri or paths.default_tracking_uri()
    folder = out or paths.home() / "reports" / study
    try:
        trials = load.trials(study, uri=store)
    except load.NoSuchStudy as error:
        raise typer.BadParameter(str(error)) from None
    if trials.empty:
        raise typer.BadParameter(f"study {study!r} has no finished trial yet")
    validation = load.steps(trials, "val/accuracy", uri=store)
    folder.mkdir(parents=True, exist_ok=True)
    table = tables.variants(trials, validation)
    table.to_csv(folder / "table.csv", index=False)
    (folder / "table.md").write_text(tables.markdown(table), encoding="utf-8")
    drawn = figures.learning_curves(_with_time(validation, trials, store), title=f"study {study}: one line a trial")
    for kind in ("png", "svg"):
        drawn.savefig(folder / f"curves.{kind}", dpi=150)
    print(tables.markdown(table))
    print(f"written to {folder}: table.md, table.csv, curves.png, curves.svg")


def _with_time(validation: pd.DataFrame, trials: pd.DataFrame, store: str) -> pd.DataFrame:
    """Adds to each validation its variant's name and the seconds of training before it."""
    toggles = tables.varied(trials)
    names = {row["run_id"]: " ".join(f"{key}={as_typed(row[key])}" for key in toggles) or "defaults" for row in trials.to_dict("records")}
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for run_id, points in validation.groupby("run_id", sort=False):
            steps = pd.read_parquet(load.artifact(str(run_id), "steps.parquet", uri=store, into=Path(folder)))
            seconds = steps.set_index("step")["time/batch_ms"].cumsum() / 1_000
            parts.append(points.assign(variant=names[str(run_id)], seconds=points["step"].map(seconds)))
    return pd.concat(parts)


if __name__ == "__main__":
    sys.exit(app())
