"""The report of a study, one HTML page: question, answer, table, figures, failures, and commands to reproduce it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import markupsafe
import pandas as pd

from analysis import answer, examples, rungs, tables
from analysis.adopted import AdoptedStore
from analysis.figures import HEIGHT, Drawn
from analysis.findings import Findings
from analysis.groups import seeds
from analysis.load import Study
from analysis.looks import INK, with_titles
from analysis.provenance import code
from analysis.rows import DROPPED, FINISHED, MEMORY, NOT_RUN, PER_BATCH, RUNNING, TRACES, title
from analysis.table import Table
from analysis.texts import NOTHING, csv
from analysis.times import check
from src.artifacts import PATCH
from src.paths import shown as shown_uri
from src.spec.metric import best_name
from src.study.designs import equation
from src.terminal.visible import visible
from src.tracking import links

PAGE_COLOURS = {INK: "currentColor", "#d9dce1": "var(--line)", "#ffffff": "var(--card)"}
MAX_DETAILS = 200  # variants whose trials are listed; further variants are only counted
IN_COMPARISONS = (
    "diverged",
    "p (sign flip)",
    "correlation",
)  # further down the page, so that the first table fits a screen
POINTS = 72  # units of an SVG file of matplotlib in an inch
LEAD = "forest"  # the figure that carries the answer: effect and cost side by side


class Inline(NamedTuple):
    """A figure that is embedded in the page."""

    svg: markupsafe.Markup
    aspect: float  # width / height
    rows: float  # height as a multiple of that of the usual figures, at least 1


class Shown(NamedTuple):
    """A table as the page shows it, and the texts that its buttons copy."""

    table: Table
    latex: str
    csv: str


class OverExamples(NamedTuple):
    """The table of the tests over examples, their question, and the name of the test."""

    shown: Shown
    question: str
    test: str


def page(
    findings: Findings, figures: Iterable[tuple[Drawn, Path]], notes: Sequence[str] = (), *, is_shared: bool = False
) -> str:
    """Returns a study's report as one self-contained HTML page: it needs no network and no other file.

    Texts that a user wrote (question, paths, labels) are escaped.

    Args:
      findings: the study's comparisons.
      figures: each figure with the path of its SVG file.
      notes: further notes for the reader, such as figures that could not be drawn.
      is_shared: whether readers have a bundle (`bundle`) instead of the store: the page then has no links to it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = findings.study
    drawn = [(one, _inline(one.name, path)) for one, path in figures]
    lead = [one for one in drawn if one[0].name == LEAD]
    shown = [_shown(tables.ablation(findings), findings.summary, "table", findings)]
    if findings.factorial is not None:
        shown.append(_shown(tables.factorial(findings), findings.factorial, "factorial", findings))
    base, has_pages = links.pages_of(study.store.uri), _pages(study) and not is_shared
    return environment.get_template("report.html").render(
        study=study,
        plan=study.plan,
        answer=answer.conclusions(findings),
        limits=answer.limits(findings),
        claim=study.plan["claim"],
        counts=study.counts,
        seeds=seeds([findings.seeds]),
        metric=title(findings.metric),
        best=title(study.meaning(best_name(study.metrics[0])) if study.metrics[0].sign else study.validation),
        time=title(study.meaning(PER_BATCH)),
        memory=title(study.meaning(MEMORY)),
        margin=findings.margin,
        caution=findings.caution,
        tables=shown,
        comparisons=_shown(tables.effects(findings), findings.compared, "effects", findings),
        over_examples=_over_examples(findings),
        selection=_selection(findings),
        uri="" if is_shared else shown_uri(study.store.uri),
        ui=base,
        local=links.LOCAL,
        runs=has_pages
        and links.study_link(  # older studies have no view
            base, _quoted(study.experiment_id), sorted_by=findings.study.metrics[0]
        ),
        no_factorial=findings.no_factorial,
        lead=lead,
        figures=[one for one in drawn if one not in lead],
        details=details(findings, has_pages=has_pages),
        hidden=max(0, study.rows["label"].nunique() - MAX_DETAILS),
        remarks=remarks(findings, notes),
        provenance=[*provenance(study.finished), *_timing(findings)],
        commands=[
            *dict.fromkeys(command["command"] for command in study.plan["commands"]),
            f"python -m analysis report {study.name}",
        ],
        commits=[commit for commit in study.finished["git_commit"].dropna().unique() if commit != "unknown"],
        is_dirty=bool((study.finished["git_dirty"] == "true").any()),
        patches=_patches(study, is_shared=is_shared),
        is_shared=is_shared,
    )


def _shown(table: Table, frame: pd.DataFrame, kind: str, findings: Findings) -> Shown:
    """Returns a table with the texts that its buttons copy; on the page, the first table has fewer columns."""
    on_page = tables.named(table.without(*IN_COMPARISONS), findings) if kind == "table" else table
    paper = tables.compact(findings) if kind == "table" else table
    return Shown(on_page, paper.latex(f"{findings.study.name}_{kind}"), csv(frame))


def _selection(findings: Findings) -> Shown | None:
    """Returns the candidates of successive halving and where they left; None for other designs."""
    if not rungs.has_any(findings.study):
        return None
    return _shown(tables.selection(findings), rungs.candidates(findings.study), "selection", findings)


def remarks(findings: Findings, notes: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """Returns the deviations from the plan, by kind."""
    rows = findings.study.rows
    open_ones = rows[~rows["status"].isin([FINISHED, DROPPED, NOT_RUN])]
    failed, running = open_ones[open_ones["status"] != RUNNING], open_ones[open_ones["status"] == RUNNING]
    unrun = (
        rows[rows["status"] == NOT_RUN].groupby("label", sort=False)["seed"].agg(lambda mine: ", ".join(map(str, mine)))
    )
    dropped = rows[rows["status"] == DROPPED].drop_duplicates("label")
    normalised = dict.fromkeys(
        f"{row['label']}: {reason}" for row in rows.to_dict("records") for reason in row["normalised"]
    )
    same = "trained weights equal those it is compared with, seed for seed"
    kinds = {
        "Failed or stopped": [
            f"{row['label']} seed={row['seed']}: {row['status']}{_reason(row)}{_cause(row)}"
            for row in failed.to_dict("records")
        ],
        "Still running, or the process died": [
            f"{row['label']} seed={row['seed']}" for row in running.to_dict("records")
        ],
        "Not run": [f"{name}: seeds {mine}" for name, mine in unrun.items()],
        "Dropped": [f"{row['label']}: {row['dropped']}" for row in dropped.to_dict("records")],
        "Normalised": list(normalised),
        "Tried on the path and not kept": findings.rejected,
        "Changed nothing": [f"{name}: {same}" for name, is_equal in findings.unchanged.items() if is_equal],
        "Same weights": [
            f"{name}: {same}; only what the test decides from the outputs differs"
            for name, is_equal in findings.unchanged.items()
            if not is_equal
        ],
        "Unhealthy": _unhealthy(findings.study.finished),
        "Aliased effects": [equation(group) for group in findings.study.plan["aliases"]],
        "Notes": [*findings.study.notes, *_lost(findings), *notes],
    }
    return [(kind, lines) for kind, lines in kinds.items() if lines]


def provenance(finished: pd.DataFrame) -> list[tuple[str, str]]:
    """Returns the hardware and software of the finished trials; several values mean that the trials differ."""
    names = {
        "versions": "versions", "processor": "processor",
        "environment": "environment", "threads": "threads",
        "workers": "trials side by side", "kernel": "kernel", "data_hash": "hash of the data",
    }  # fmt: skip
    facts = [(text, "; ".join(map(str, finished[name].dropna().unique())) or "unknown") for name, text in names.items()]
    own = "; ".join(finished["own_code"].dropna().unique())
    facts += [("own code", own)] if own else []
    begin, end = finished["started"].min(), finished["ended"].max()
    counts = code(finished.drop_duplicates("run_id")).value_counts()
    versions = "; ".join(f"{name} ({count} trial{'' if count == 1 else 's'})" for name, count in counts.items())
    is_open = (finished["git_dirty"] == "true") & finished["git_diff"].isna()
    unknown = "; the changes were not recorded, so that these trials may differ in code" if is_open.any() else ""
    return [("code", versions + unknown), *facts, ("trained", f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC")]


def _timing(findings: Findings) -> list[tuple[str, str]]:
    """Returns when and on what the timing pass ran, and how it went; empty without one."""
    found = findings.timing
    if found is None:
        return []
    commit = found.machine["git_commit"][:10]
    where = f"{found.machine['processor']}, {found.machine['threads']} threads, commit {commit}"
    return [("times", f"{found.begun} on {where}. {check(found)}")]


def _pages(study: Study) -> bool:
    """Returns whether MLflow has pages of the study's runs; adopted ones have none."""
    return not isinstance(study.store, AdoptedStore)


def details(findings: Findings, *, has_pages: bool) -> list[tuple[str, list[dict[str, Any]]]]:
    """Returns each variant with its trials; with `has_pages`, they have links to their pages in MLflow."""
    study, validation = findings.study, findings.study.validation
    base = links.pages_of(study.store.uri)
    variants = []
    for name, part in list(study.rows[study.rows["status"] != DROPPED].groupby("label", sort=False))[:MAX_DETAILS]:
        trials = [
            {
                "seed": row["seed"],
                "status": row["status"],
                "value": _text(row.get(findings.metric.name), findings.metric.digits),
                "validation": _text(row.get(validation.name), validation.digits),
                "best_epoch": row["best_epoch"] or "",
                "time": _text(row.get(PER_BATCH), 1),
                "memory": _text(row.get(MEMORY), 0),
                "health": row["health"] or "",
                "identity": row["identity"],
                "link": links.run_link(base, _quoted(study.experiment_id), _quoted(row["run_id"]))
                if row["run_id"] and has_pages
                else None,
            }
            for row in part.to_dict("records")
        ]
        variants.append((str(name), trials))
    return variants


def _lost(findings: Findings) -> list[str]:
    """Returns a note on the number of finished trials that traced steps, but have no readable record of them.

    A program may report the time of a batch, but has no steps that were traced here.
    """
    finished = findings.study.finished
    traced = finished[finished[TRACES].notna()] if TRACES in finished else finished.iloc[:0]
    count = traced["run_id"].nunique() - findings.study.steps["run_id"].nunique()
    what = f"{count} finished trials have no per-step record that can be reached"
    return [f"{what}; figures of times and curves leave them out"] if count > 0 else []


def _over_examples(findings: Findings) -> OverExamples | None:
    """Returns the tests of every variant against the reference; None for large studies, as each trial has a file."""
    rows = findings.study.finished
    reference = rows.loc[rows["is_reference"], "label"]
    if reference.empty or len(rows) > MAX_DETAILS:
        return None
    others = [name for name in dict.fromkeys(rows["label"]) if name != reference.iloc[0]]
    tests = {
        name: examples.variants(findings.study, reference.iloc[0], name, metric=findings.metric)[1] for name in others
    }
    tests = {name: frame for name, frame in tests.items() if len(frame)}
    if not tests:
        return None
    both = {name: examples.over_both(findings.study, reference.iloc[0], name) for name in tests}
    table = tables.over_examples(tests, both, first=findings.study.metrics[0])
    shown = Shown(table, table.latex(f"{findings.study.name}_examples"), "")
    if tables.are_counted(tests.values()):
        return OverExamples(shown, "is one right more often", "McNemar's exact test")
    return OverExamples(
        shown, f"is one better, by {findings.study.metrics[0].shown}", "A paired t test over the examples"
    )


def _reason(row: dict[Any, Any]) -> str:
    return f" ({row['error']})" if row["error"] else ""


def _cause(row: dict[Any, Any]) -> str:
    return f" ({row['diagnosis']})" if row["diagnosis"] else ""


def _unhealthy(finished: pd.DataFrame) -> list[str]:
    """Returns each problem of trials once, with the variants and seeds that have it."""
    is_unhealthy = finished["diagnosis"].notna() | (finished["health"].notna() & (finished["health"] != "ok"))
    rows = finished[is_unhealthy].drop_duplicates(["label", "seed"])
    of_kind: dict[str, dict[str, list[str]]] = {}
    for row in rows.to_dict("records"):
        what = f"{row['health']}{_cause(row)}"
        of_kind.setdefault(what, {}).setdefault(row["label"], []).append(str(row["seed"]))
    listed = {
        what: "; ".join(f"{label} seed={', '.join(seeds)}" for label, seeds in variants.items())
        for what, variants in of_kind.items()
    }
    return [f"{what}: {variants}" for what, variants in listed.items()]


def _quoted(part: Any) -> str:
    return urllib.parse.quote(str(part), safe="")


def _text(value: float | None, decimals: int) -> str:
    return NOTHING if value is None or pd.isna(value) else f"{value:,.{decimals}f}"


def _inline(name: str, path: Path) -> Inline:
    """Returns an SVG file as a part of the page, so that browsers show its titles.

    Its dark colours turn light when the page is in dark mode.
    """
    text = re.sub(r"(?s)<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", path.read_text(encoding="utf-8"))
    text = with_titles(text[text.index("<svg") :])
    for colour, variable in PAGE_COLOURS.items():
        text = re.sub(re.escape(colour), variable, text, flags=re.IGNORECASE)
    text = re.sub(
        r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text
    )  # ids must be unique in the page, and several figures use the same
    [(width, height)] = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[:1]
    text = re.sub(
        r'<svg\b.*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1, flags=re.DOTALL
    )
    rows = max(1.0, float(height) / POINTS / HEIGHT)
    svg = markupsafe.Markup(text)  # safe: matplotlib escapes the texts that it writes
    return Inline(svg, round(float(width) / float(height), 3), round(rows, 2))


def _patches(study: Study, *, is_shared: bool) -> list[str]:
    """Returns the files with the uncommitted changes of the study's trials, one for each version of the code."""
    rows = (
        study.finished.reindex(columns=["git_diff", "identity"]).dropna(subset=["git_diff"]).drop_duplicates("git_diff")
    )
    if is_shared:
        return list(map(patch_in_bundle, rows["git_diff"]))
    return [f"outputs/{study.name}/{identity}/{PATCH}" for identity in rows["identity"]]


def patch_in_bundle(diff: str) -> str:
    """Returns the place in a bundle of the uncommitted changes with this hash."""
    return f"code/{diff}.patch"
