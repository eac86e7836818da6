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
from src.training.records import steps_to

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Tables and figures of tracked studies.", pretty_exceptions_enable=False)
Study = Annotated[str, typer.Argument(help="name of a study")]
Uri = Annotated[str | None, typer.Option(help="MLflow store; default: SQLite at the repository root")]
Toggle = Annotated[str | None, typer.Option(help="compare the values of this toggle, all else being equal; default: the study's reference")]
Metric = Annotated[str | None, typer.Option(help="metric to compare by; default: the study's")]
Margin = Annotated[float | None, typer.Option(help="difference that is too small to matter; default: the study's, for its own metric")]
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


@app.command()
def table(study: Study, toggle: Toggle = None, metric: Metric = None, margin: Margin = None, uri: Uri = None, out: Out = None) -> None:
    """Prints how every variant of STUDY differs from the reference, paired by seed, and writes it to effects.md and effects.csv."""
    from analysis import effects

    store = uri or paths.default_tracking_uri()
    try:
        rows = load.rows(study, uri=store)
    except load.NoSuchStudy as error:
        raise typer.BadParameter(str(error)) from None
    asked = rows.attrs["plan"]
    name = metric or asked["metric"]
    if name == asked["metric"] and margin is None:
        margin = asked["margin"]  # of that metric alone: a margin of steps says nothing about accuracy
    if name in ("steps_to", "val/accuracy") and "run_id" in rows:
        validation = load.steps(rows.dropna(subset="run_id"), "val/accuracy", uri=store)
        if name == "steps_to":
            name = steps_to(asked["threshold"])
            rows[name] = effects.steps_to(rows, validation, threshold=asked["threshold"])
        else:  # of the best epoch, whose weights are tested; the store's own value is the last epoch's
            rows[name] = rows["run_id"].map(validation.groupby("run_id")["value"].max())
    if toggle is not None and toggle not in rows.attrs["toggles"]:
        raise typer.BadParameter(f"{toggle!r} was not varied in {study}; varied: {', '.join(rows.attrs['toggles']) or 'nothing'}")
    if name not in rows:
        known = sorted(column for column in rows.columns if "/" in str(column))
        raise typer.BadParameter(f"no finished trial of {study} has the metric {name!r}; there are {', '.join(known) or 'none yet'}")
    frame = rows[rows["dropped"].isna()]
    frame.attrs.update(rows.attrs)
    if toggle:
        frame = effects.compared(frame, toggle)
    elif asked["design"] == "cumulative":
        frame = effects.stepwise(frame)
    compared = effects.paired(frame, metric=name, margin=margin)
    text = "\n".join(filter(None, (tables.effects(compared, metric=name), tables.caution(rows))))
    folder = out or paths.home() / "reports" / study
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"effects_{toggle}" if toggle else "effects"
    compared.to_csv(folder / f"{stem}.csv", index=False)
    (folder / f"{stem}.md").write_text(text, encoding="utf-8")
    print(text)
    margin_text = "no margin: a difference too small to matter is not told from none" if margin is None else f"margin {margin:g}"
    print(f"Intervals are over seeds, for this test set; {margin_text}. Written to {folder}: {stem}.md, {stem}.csv")


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
