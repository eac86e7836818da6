"""One page that a sceptic can read: question, answer, table, figures, what failed, and how to do it again."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis import answer, reviews, tables
from analysis.figures import INK, Drawn
from analysis.findings import Findings, caution
from analysis.load import DROPPED, FINISHED, NOT_RUN, RUNNING, code
from src.paths import shown
from src.study.designs import equation
from src.visible import visible

MAX_DETAILS = 200  # variants whose single trials are listed
LIGHT_INK = "#e6e7ea"
IN_COMPARISONS = ("diverged", "p (sign flip)", "correlation")  # further down the page, so that the first table fits a screen
UI = "http://127.0.0.1:5000"  # where `mlflow ui` shows a local store


def page(found: Findings, figures: Iterable[tuple[Drawn, Path]]) -> str:
    """Returns a study's report as one HTML page that needs nothing else: no network, no other file.

    Whatever a user has written (question, paths, labels) is escaped.

    Args:
      found: what the study found.
      figures: each with the path of its SVG file.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = found.study
    return environment.get_template("report.html").render(
        study=study,
        plan=study.plan,
        answer=answer.sentences(found),
        claim=study.plan["claim"],
        counts=study.counts,
        seeds=found.seeds,
        metric=tables.title(found.metric),
        margin=found.margin,
        caution=caution(found.rows),
        tables=[tables.ablation(found).without(*IN_COMPARISONS), *([tables.factorial(found)] if found.factorial is not None else [])],
        comparisons=tables.effects(found),
        over_examples=_over_examples(found),
        uri=shown(study.store.uri),
        no_factorial=found.no_factorial,
        figures=[(drawn, _embedded(path)) for drawn, path in figures],
        details=details(found),
        hidden=max(0, study.rows["label"].nunique() - MAX_DETAILS),
        remarks=remarks(found),
        provenance=provenance(study.finished),
        commands=[*dict.fromkeys(command["command"] for command in study.plan["commands"]), f"python -m analysis report {study.name}"],
        commits=[commit for commit in study.finished["git_commit"].dropna().unique() if commit != "unknown"],
    )


def remarks(found: Findings) -> list[tuple[str, list[str]]]:
    """Returns what did not go as the plan says, by kind: failed, not run, dropped, normalised, changed nothing, and notes."""
    rows = found.study.rows
    open_ones = rows[~rows["status"].isin([FINISHED, DROPPED, NOT_RUN])]
    failed, running = open_ones[open_ones["status"] != RUNNING], open_ones[open_ones["status"] == RUNNING]
    unrun = rows[rows["status"] == NOT_RUN].groupby("label", sort=False)["seed"].agg(lambda seeds: ", ".join(map(str, seeds)))
    dropped = rows[rows["status"] == DROPPED].drop_duplicates("label")
    normalised = dict.fromkeys(f"{row['label']}: {reason}" for row in rows.to_dict("records") for reason in row["normalised"])
    kinds = {
        "Failed or stopped": [f"{row['label']} seed={row['seed']}: {row['status']}{_reason(row)}" for row in failed.to_dict("records")],
        "Still running, or their process died": [f"{row['label']} seed={row['seed']}" for row in running.to_dict("records")],
        "Not run": [f"{name}: seeds {seeds}" for name, seeds in unrun.items()],
        "Dropped": [f"{row['label']}: {row['dropped']}" for row in dropped.to_dict("records")],
        "Normalised": list(normalised),
        "Tried on the path and not kept": found.rejected,
        "Changed nothing": [f"{name}: trained weights equal those it is compared with, seed for seed" for name in found.unchanged],
        "Unhealthy": _unhealthy(found.study.finished),
        "Cannot be told apart": [equation(group) for group in found.study.plan["aliases"]],
        "Notes": [*found.study.notes, *_lost(found)],
    }
    return [(kind, lines) for kind, lines in kinds.items() if lines]


def provenance(finished: pd.DataFrame) -> list[tuple[str, str]]:
    """Returns what the finished trials ran on; several values mean that trials differ in it."""
    names = {
        "versions": "versions", "processor": "processor",
        "environment": "environment", "threads": "threads",
        "workers": "trials side by side", "kernel": "recurrence ran as", "data_hash": "hash of the data",
    }  # fmt: skip
    found = [(text, "; ".join(map(str, finished[name].dropna().unique())) or "unknown") for name, text in names.items()]
    begin, end = finished["started"].min(), finished["ended"].max()
    counts = code(finished.drop_duplicates("run_id")).value_counts()
    versions = "; ".join(f"{name} ({count} trial{'' if count == 1 else 's'})" for name, count in counts.items())
    is_open = (finished["git_dirty"] == "true") & finished["git_diff"].isna()
    unknown = "; the changes were not recorded, so that these trials may differ in code" if is_open.any() else ""
    return [("code", versions + unknown), *found, ("trained", f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC")]


def details(found: Findings) -> list[tuple[str, list[dict[str, Any]]]]:
    """Returns each variant with its single trials."""
    study = found.study
    base = shown(study.store.uri) if study.store.uri.startswith(("http://", "https://")) else UI
    found_trials = []
    for name, part in list(study.rows[study.rows["status"] != DROPPED].groupby("label", sort=False))[:MAX_DETAILS]:
        trials = [
            {
                "seed": row["seed"],
                "status": row["status"],
                "value": _text(row.get(found.metric), tables.digits(found.metric)),
                "validation": _text(row["val/accuracy"], 3),
                "best_epoch": row["best_epoch"] or "",
                "time": _text(row.get("time/batch_ms_median"), 1),
                "memory": _text(row.get("memory/peak_mb"), 0),
                "health": row["health"] or "",
                "identity": row["identity"],
                "link": f"{base}/#/experiments/{_quoted(study.experiment_id)}/runs/{_quoted(row['run_id'])}" if row["run_id"] else None,
            }
            for row in part.to_dict("records")
        ]
        found_trials.append((str(name), trials))
    return found_trials


def _lost(found: Findings) -> list[str]:
    """Returns how many finished trials have no per-step record that can be read: figures of steps and times leave them out."""
    count = found.study.finished["run_id"].nunique() - found.study.steps["run_id"].nunique()
    return (
        [f"{count} finished trials have no per-step record that can be reached; figures of times and curves leave them out"]
        if count
        else []
    )


def _over_examples(found: Findings) -> tables.Table | None:
    """Returns McNemar's tests of every variant against the reference; None for large studies, where that is thousands of files."""
    rows = found.study.finished
    reference = rows.loc[rows["is_reference"], "label"]
    if reference.empty or len(rows) > MAX_DETAILS:
        return None
    others = [name for name in dict.fromkeys(rows["label"]) if name != reference.iloc[0]]
    tests = {name: reviews.variants(found.study, reference.iloc[0], name, metric=found.metric)[1] for name in others}
    return tables.over_examples(tests) if any(len(frame) for frame in tests.values()) else None


def _reason(row: dict[Any, Any]) -> str:
    return f" ({row['error']})" if row["error"] else ""


def _unhealthy(finished: pd.DataFrame) -> list[str]:
    rows = finished[finished["health"].notna() & (finished["health"] != "ok")].drop_duplicates(["label", "seed"])
    seeds: dict[tuple[str, str], list[str]] = {}
    for row in rows.to_dict("records"):
        what = row["health"] + (f" ({row['diagnosis']})" if row["diagnosis"] else "")
        seeds.setdefault((row["label"], what), []).append(str(row["seed"]))
    return [f"{label} seed={', '.join(of)}: {what}" for (label, what), of in seeds.items()]


def _quoted(part: Any) -> str:
    return urllib.parse.quote(str(part), safe="")


def _text(value: float | None, decimals: int) -> str:
    return tables.NOTHING if value is None or pd.isna(value) else f"{value:,.{decimals}f}"


def _embedded(path: Path) -> str:
    """Returns an SVG file as a data address; its ink turns light where the reader's page is dark."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(re.escape(INK), "currentColor", text, flags=re.IGNORECASE)
    style = f"<style>svg{{color:{INK}}}@media(prefers-color-scheme:dark){{svg{{color:{LIGHT_INK}}}}}</style>"
    text = re.sub(r"(<svg\b[^>]*>)", rf"\1{style}", text, count=1)
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()
