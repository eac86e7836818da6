"""The tables of a study and their columns: variants, effects, comparisons, tests over examples."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis import rungs
from analysis.causes import counts as of_rows
from analysis.factorial import few
from analysis.findings import USUAL_TRACES, Findings
from analysis.provenance import caution, different_code
from analysis.rows import (
    MEMORY,
    PADDED,
    PARAMETERS,
    PER_BATCH,
    PER_EPOCH,
    STEADY_EPOCH,
    TRACES,
    TRACING,
    is_of_weights,
    is_steps_to,
    title,
)
from analysis.table import Table, column_name, of_columns
from analysis.texts import (
    NOTHING,
    Entry,
    change,
    decided_at,
    failure_bound,
    number,
    number_of,
    p_value,
    ratio,
    setting,
    steps_to,
    verdict,
)
from analysis.verdicts import MOST, mostly_idle
from src.config.settings import label
from src.inference.sequential import ALWAYS_VALID
from src.inference.student import LEVEL, Interval
from src.inference.verdicts import NO_DIFFERENCE
from src.spec.metric import TEST, Metric
from src.spec.section import as_typed
from src.study.designs import FACTORIAL
from src.terminal.visible import visible

CONVENIENCE = (
    "settings_added",
    "combinations_ruled_out",
    "traces",
    "peak_memory",
)  # costs of an improvement other than time
NOT_IN_PAPERS = (
    "diverged", "p_sign_flip", "correlation", "ms_per_batch", "s_per_epoch", "s_per_steady_epoch", "peak_memory",
    "padded_steps", "traces", "s_of_steps_that_traced", "steps_to",
)  # fmt: skip


def compact(findings: Findings, *, places: int | None = None) -> Table:
    """Returns a narrow `ablation` table for a paper: variant, metric, change, verdict, and the costs that differ."""
    table = named(ablation(findings, places=places), findings)
    kept = [name for name in map(column_name, table.headings) if name not in NOT_IN_PAPERS]
    table = table.only(kept)
    column, counts = kept.index("verdict"), {row["n"] for row in _records(findings.summary)}
    rows = [
        [*row[:column], Entry(re.split(r"[;(]", row[column].text)[0].strip()), *row[column + 1 :]] for row in table.rows
    ]
    has_none = any(entry.text == NO_DIFFERENCE for row in rows for entry in row)
    level = (f"No difference: within ±{findings.margin:g}, each at 5 %, not adjusted.",) if has_none else ()
    table = replace(table, rows=rows, notes=(*table.notes, *level))
    is_same = len(counts) == 1 and "n" in table.headings
    over = f", {number_of(int(next(iter(counts))), 'seed')}" if is_same else ""
    return replace(table.without("n") if is_same else table, caption=f"{table.caption}{over}")


def with_convenience(table: Table, findings: Findings) -> Table:
    """Returns the table of `ablation` with the columns `CONVENIENCE`: what a variant costs other than time.

    `ablation(every=True)` already has these columns, at its end.
    """
    complete = ablation(findings, every=True)
    new = complete.only([name for name in map(column_name, complete.headings) if name in CONVENIENCE])
    lacking = [place for place, heading in enumerate(new.headings) if heading not in table.headings]
    rows = [[*row, *(more[place] for place in lacking)] for row, more in zip(table.rows, new.rows, strict=True)]
    return replace(table, headings=[*table.headings, *(new.headings[place] for place in lacking)], rows=rows)


def _convenience(findings: Findings) -> dict[str, list[Entry]]:
    """Returns the settings that each variant adds, and how many of the plan's combinations with them are ruled out.

    A combination is ruled out if the plan dropped it (it cannot run) or normalised it (a setting has no effect there).
    A combination that contains several changed settings counts for each of them.
    """
    study = findings.study
    planned = study.rows.drop_duplicates("label")
    is_out = (planned["dropped"].notna() | planned["normalised"].map(bool)).to_numpy()
    added, ruled_out = [], []
    for row in _records(findings.summary):
        reference = study.plan["reference"]
        changed = {
            key: row[key]
            for key in study.toggles
            if key in reference and as_typed(row[key]) != as_typed(reference[key])
        }
        has_them = np.ones(len(planned), bool)
        for key, value in changed.items():
            has_them &= (planned[key].map(as_typed) == as_typed(value)).to_numpy()
        count = int((has_them & is_out).sum()) if changed else 0
        added.append(Entry(label(changed) or "none"))
        ruled_out.append(Entry(f"{count} of {int(has_them.sum())}" if changed else "", float(count)))
    return {"settings added": added, "combinations ruled out": ruled_out}


def ablation(findings: Findings, *, every: bool = False, places: int | None = None) -> Table:
    """Returns one row per variant: toggles, n, the metric, its change with verdict, and costs. The best is bold.

    Args:
      findings: the study's comparisons.
      every: also show costs that do not differ, and the variant's label where its toggles already identify it.
      places: decimals of the metric; default: the metric's `digits`.
    """
    study, metric, rows = findings.study, findings.metric, _records(findings.summary)
    places = metric.digits if places is None else places
    is_steps = study.steps_to is not None and metric.name == study.steps_to.name
    heading = f"{title(metric)} (median)" if is_steps else title(metric)
    has_within = bool((findings.summary["within"] != "").any()) and not findings.is_stepwise
    columns = _variants(findings, has_within=has_within, every=every)
    columns["n"] = [_count(row["n"], row["pairs"]) for row in rows]
    columns["diverged"] = [Entry(str(row["diverged"]) if row["diverged"] else "", row["diverged"]) for row in rows]
    columns[heading] = [steps_to(row) if is_steps else number(row["mean"], places) for row in rows]
    columns["change [95 %]"] = [Entry("") if row["is_reference"] else change(row, places) for row in rows]
    columns["p (Holm)"] = [p_value(row["p_holm"]) for row in rows]
    columns["p (sign flip)"] = [p_value(math.nan if math.isnan(row["p_holm"]) else row["p_sign_flip"]) for row in rows]
    is_pair = [not (row["is_reference"] or row["is_same"]) for row in rows]
    correlations = zip(rows, is_pair, strict=True)
    columns["correlation"] = [number(row["correlation"], 2) if paired else Entry("") for row, paired in correlations]
    columns["verdict"] = [Entry(verdict(row)) for row in rows]
    if study.rule is not None:
        columns["decided at"] = [decided_at(row) for row in rows]
    columns |= _costs(findings, every=every)
    if study.steps_to is not None and not is_steps:
        columns[f"{title(study.steps_to)} (median)"] = [steps_to(row) for row in rows]
    columns |= _convenience(findings) if every and not has_within else {}
    text = f"Study {study.name}: {title(metric)}, change paired by seed"
    below = (*notes(findings), *_shared(findings))
    return of_columns(columns, text, best=_best(findings, list(columns).index(heading)), notes=below)


def _shared(findings: Findings) -> list[str]:
    """Returns a note on the metrics of the test alone that have one value in all trials, or belong to one variant."""
    shown = [
        f"{metric.shown} {number(findings.summary[f'mean {name}'].mean(), metric.digits).text}"
        for name, metric in _of_test_only(findings).items()
        if not _has_own(findings, name)
    ]
    return [f"Also measured in the test: {', '.join(shown)}."] if shown else []


def _of_test_only(findings: Findings) -> dict[str, Metric]:
    """Returns full name → metric, for those that only the test has and some trial recorded."""
    only = {f"{TEST}{metric.name}": metric for metric in findings.study.metrics if metric.test_only}
    recorded = findings.rows.columns[findings.rows.notna().any()]
    return {name: metric for name, metric in only.items() if name in recorded}


def _has_own(findings: Findings, name: str) -> bool:
    """Returns whether variants may differ in a metric."""
    return len(findings.summary) > 1 and len({*findings.rows[name].dropna()}) > 1


def _variants(findings: Findings, *, has_within: bool, every: bool) -> dict[str, list[Entry]]:
    """Returns the columns that identify the variant of a row."""
    study, rows = findings.study, _records(findings.summary)
    columns: dict[str, list[Entry]] = {}
    if has_within:
        columns["with"] = [Entry(row["within"]) for row in rows]
    if every or has_within or study.plan["design"] not in FACTORIAL or not study.toggles:
        columns["variant"] = [Entry(row["label"]) for row in rows]
    if not has_within:
        columns |= {toggle: [setting(value) for value in findings.summary[toggle]] for toggle in study.toggles}
    return columns


def _count(have: int, planned: int) -> Entry:
    return Entry(str(have) if have == planned else f"{have}/{planned}", have)


def _costs(findings: Findings, *, every: bool) -> dict[str, list[Entry]]:
    """Returns the columns of further metrics and of costs, and the study's first metric if another one is compared."""
    mark = findings.training_mark
    columns = _means(findings, findings.study.first.name)
    for name in _of_test_only(findings):
        columns |= _means(findings, name) if _has_own(findings, name) else {}
    for name in findings.also:
        columns |= _means(findings, name, mark if name.startswith("time/") else "")
    columns |= _means(findings, PER_BATCH, findings.times_mark)
    time = title(findings.study.meaning(findings.time))
    columns[f"ratio of {time}{findings.times_mark}"] = [ratio(row) for row in _records(findings.summary)]
    for epoch in (PER_EPOCH, STEADY_EPOCH):
        columns |= _means(findings, epoch, mark)
    for cost in (MEMORY, PARAMETERS, PADDED):
        columns |= _means(findings, cost) if every or _differs(findings.summary, cost) else {}
    if every or (findings.summary.get(f"mean {TRACES}", pd.Series(dtype=float)) > USUAL_TRACES).any():
        columns |= _means(findings, TRACES)
        columns |= _means(findings, TRACING, mark)
    return columns


def named(table: Table, findings: Findings) -> Table:
    """Returns the table of `ablation` without the toggle columns if the variants' labels already name the toggles.

    The caption then states the reference's values.
    """
    toggles = findings.study.toggles
    if "variant" not in table.headings or not toggles:
        return table
    first = findings.summary.loc[findings.summary["is_reference"], toggles]
    reference = f"; reference: {label({key: first[key].iloc[0] for key in toggles})}" if len(first) else ""
    return replace(table.without(*toggles), caption=f"{table.caption}{reference}")


def factorial(findings: Findings, *, places: int | None = None) -> Table:
    """Returns one row per effect of `Findings.factorial`: change with interval, p, share of variance, verdict.

    Args:
      findings: the study's comparisons.
      places: decimals of the metric; default: the metric's `digits`.

    Raises:
      ValueError: the study has no main effects and interactions.
    """
    if findings.factorial is None:
        why = findings.no_factorial or "its design is not factorial"
        raise ValueError(f"{findings.study.name} has no main effects and interactions: {why}")
    rows, places = _records(findings.factorial), findings.metric.digits if places is None else places
    columns = {
        "effect": [Entry(row["effect"]) for row in rows],
        "kind": [Entry(row["kind"]) for row in rows],
        "seeds": [Entry(str(row["seeds"]), row["seeds"]) for row in rows],
        f"change in {title(findings.metric)} [95 %]": [change(row, places) for row in rows],
        "p (Holm)": [p_value(row["p_holm"]) for row in rows],
        "share of variance (ω²)": [
            Entry(NOTHING) if math.isnan(row["share"]) else Entry(f"{row['share']:.1%}", row["share"]) for row in rows
        ],
        "verdict": [Entry(", ".join(filter(None, (verdict(row), row["condition"])))) for row in rows],
        **({} if findings.study.rule is None else {"decided at": [decided_at(row) for row in rows]}),
        "mixed with": [Entry(few(row["three_way"]) if row["condition"] else "") for row in rows],
    }
    trials = (
        f"{rows[0]['n']} trials" if rows[0]["n"] == rows[0]["asked"] else f"{rows[0]['n']} of {rows[0]['asked']} trials"
    )
    text = f"Study {findings.study.name}: main effects and two-way interactions over {trials}"
    text += f" of {rows[0]['seeds']} seeds"
    if findings.study.rows["identity"].dropna().duplicated().any():
        text += "; a trial that serves several cells, as a toggle has no effect there, stands in each of their means"
    return of_columns(columns, text, notes=notes(findings))


def effects(findings: Findings) -> Table:
    """Returns one row per comparison with all of its statistics."""
    rows = [row for row in _records(findings.compared) if not row["is_reference"]]
    many = findings.metric.digits + 1
    columns = {
        "comparison": [Entry(" | ".join(filter(None, (row["within"], row["label"])))) for row in rows],
        "n": [Entry(str(row["n"]), row["n"]) for row in rows],
        "unfinished": [Entry(str(row["unfinished"]), row["unfinished"]) for row in rows],
        "diverged": [Entry(str(row["diverged"]), row["diverged"]) for row in rows],
        "failure rate (upper bound)": [failure_bound(row) for row in rows],
        "outlier": [Entry("" if math.isnan(row["outlier"]) else f"seed {row['outlier']:.0f}") for row in rows],
        "never reached": [Entry(str(row["never"]) if row["never"] else "", row["never"]) for row in rows],
        "change [95 %]": [change(row, many) for row in rows],
        "p": [p_value(row["p"]) for row in rows],
        "p (Holm)": [p_value(row["p_holm"]) for row in rows],
        "p (sign flip)": [p_value(row["p_sign_flip"]) for row in rows],
        "correlation": [number(row["correlation"], 2) for row in rows],
        "change / sd of the differences": [number(row["effect_size"], 2) for row in rows],
        "verdict": [Entry(verdict(row)) for row in rows],
        **({} if findings.study.rule is None else {"decided at": [decided_at(row) for row in rows]}),
    }
    return of_columns(columns, f"Study {findings.study.name}: every comparison", notes=notes(findings))


def causes(findings: Findings) -> Table:
    """Returns the seeds of each variant by the cause that was named."""
    counted = of_rows(findings.study.rows)
    columns = {"variant": [Entry(str(name)) for name in counted.index]}
    columns |= {str(cause): [Entry(str(count), count) for count in counted[cause].tolist()] for cause in counted}
    return of_columns(columns, f"Study {findings.study.name}: trials by the cause that was named from their records")


def selection(findings: Findings) -> Table:
    """Returns one row per candidate of successive halving: its validation value at each rung, and where it left."""
    study = findings.study
    frame, validation = rungs.candidates(study), study.validation
    rows = _records(frame)
    budgets = [str(name) for name in frame if name not in ("label", "is_reference", "outcome")]
    columns = {"variant": [Entry(f"{row['label']}{' (reference)' * row['is_reference']}") for row in rows]}
    for name in budgets:  # empty where a candidate has no value; the outcome says why
        columns[name] = [Entry("") if math.isnan(row[name]) else number(row[name], validation.digits) for row in rows]
    columns["outcome"] = [Entry(row["outcome"]) for row in rows]
    what = f"Study {study.name}: mean best {title(validation)} at each rung; those that came farthest first"
    return of_columns(columns, what, notes=(rungs.summary(study),))


def notes(findings: Findings) -> tuple[str, ...]:
    """Returns the notes that every table of the study must have below it."""
    absent = [name for name in findings.also if name not in findings.rows or findings.rows[name].isna().all()]
    lacking = f"No trial has the metric {', '.join(absent)} (plan.also)." if absent else ""
    selected = rungs.summary(findings.study) if rungs.has_any(findings.study) else ""
    return tuple(filter(None, (different_code(findings.rows), of_looks(findings), selected, lacking)))


def of_looks(findings: Findings) -> str:
    """Returns how the looks at a sequential study share its error; empty for a study that is judged once."""
    rule, taken = findings.study.rule, findings.study.looks
    if rule is None:
        return ""
    if rule.stopping == ALWAYS_VALID:
        how = "p values and intervals hold at every number of seeds (t mixture)"
        return f"Judged with plan.stopping=always_valid: {how}."
    at = f"Looks at {', '.join(map(str, taken))} seeds" if taken else "No look yet"
    how = "the 5 % are shared out over all looks, and intervals have at least 95 % at all of them together"
    return f"{at}, of at most {rule.horizon} (plan.max_seeds); {how}."


def explanation(findings: Findings) -> str:
    """Returns what the intervals of a printed table are over, and what limits its numbers."""
    unset = "no margin is set, so no difference can be called too small to matter"
    margin = unset if findings.margin is None else f"margin {findings.margin:g}"
    parts = [f"Intervals are over seeds, for this test set; {margin}."]
    if findings.factorial is not None:
        parts.append("Main effects and interactions are a second family of tests; each family is at 5 %.")
    if "accumulate" in findings.study.toggles:
        parts.append("A step has `accumulate` batches; ms per batch is the time of a step.")
    if findings.timing and findings.training_mark:
        parts.append(f"Of the times while training: {caution(findings.rows)}")
    elif findings.training_mark:
        again = f"`python -m src.timing {findings.study.name}` times the variants again, in turn"
        return " ".join([*parts, findings.caution, f"{again}, on a machine that does nothing else."])
    return " ".join(filter(None, [*parts, findings.caution]))


def fewer(table: Table, *, width: int) -> str:
    """Returns a hint to choose fewer columns if the table is wider than the terminal; empty if it fits."""
    if max(map(len, table.markdown().split("\n\n")[0].splitlines())) <= width:
        return ""
    names = [column_name(heading) for heading in table.headings]
    wanted = [name for name in ("change", "verdict") if name in names]
    if len(wanted) + 1 >= len(names):
        return ""
    fix = f"`--columns {','.join(wanted)}` prints fewer columns, and the report shows all"
    return f"The table is wider than this terminal: {fix}."


def _best(findings: Findings, column: int) -> frozenset[tuple[int, int]]:
    """Returns the (row, column) of the best mean.

    A variant with unfinished trials cannot be the best, and there is no best if most trials learnt nothing.
    """
    summary, metric = findings.summary, findings.metric
    is_chance = is_of_weights(metric) and mostly_idle(findings.rows)
    if len(summary) < 2 or not metric.sign or is_chance:
        return frozenset()
    values = summary["steps_to"] if is_steps_to(metric) else summary["mean"]
    values = values.where((summary["unfinished"] + summary["missing"] == 0) & np.isfinite(values))
    best = values == metric.best(values)
    has_learnt = (summary["idle"] <= MOST * summary["pairs"]).to_numpy()
    return frozenset((int(row), column) for row in best.index[best] if has_learnt[row])


def _means(findings: Findings, name: str, suffix: str = "") -> dict[str, list[Entry]]:
    """Returns the column of a metric's means; empty for the compared metric, which has its column already."""
    metric, column = findings.study.meaning(name), f"mean {name}"
    if column not in findings.summary or name == findings.metric.name:
        return {}
    known = findings.summary[column].dropna()
    # of parameters or labels
    are_counts = not name.startswith("time/") and len(known) > 0 and (known % 1 == 0).all() and known.max() >= 10
    digits = 0 if are_counts else metric.digits
    return {title(metric) + suffix: [number(value, digits) for value in findings.summary[column]]}


def _differs(summary: pd.DataFrame, cost: str) -> bool:
    """Whether a cost is worth a column: it differs between variants (memory by a tenth), or there is one variant."""
    least = 1.1 if cost == MEMORY else 1.02
    values = summary.get(f"mean {cost}", pd.Series(dtype=float)).dropna()
    return len(summary) == 1 or bool(len(values) and values.max() > least * values.min())


def _records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")


def over_examples(
    tests: Mapping[str, pd.DataFrame], both: Mapping[str, Interval] | None = None, *, first: Metric | None = None
) -> Table:
    """Returns one row per variant: how its models differ from the reference's on the test examples, over its seeds.

    Args:
      tests: variant → the frame over examples that `examples.variants` returns.
      both: variant → what `examples.over_both` returns; None leaves its column out.
      first: the metric compared over examples, under its short name; needed with `both`.
    """
    rows = [(name, frame) for name, frame in tests.items() if len(frame)]
    ours, theirs = (
        ("only the variant right", "only the reference right")
        if are_counted(frame for _, frame in rows)
        else (
            "examples on which the variant is better",
            "the reference is better",
        )
    )
    columns = {
        "variant": [Entry(name) for name, _ in rows],
        "seeds": [Entry(str(len(frame)), len(frame)) for _, frame in rows],
        ours: [number(frame["only_ours"].mean(), 0) for _, frame in rows],
        theirs: [number(frame["only_theirs"].mean(), 0) for _, frame in rows],
        "test examples": [number(frame["examples"].mean(), 0) for _, frame in rows],
        "seeds with p < 0.05 for the variant": [_decided(frame, 1) for _, frame in rows],
        "for the reference": [_decided(frame, -1) for _, frame in rows],
    }
    spans = [both[name] for name, _ in rows] if both else []
    if first is not None and any(not math.isnan(span.low) for span in spans):
        changes = [{"change": span.mean, "low": span.low, "high": span.high} for span in spans]
        columns["change over other seeds and examples [95 %]"] = [change(row, first.digits + 1) for row in changes]
    return of_columns(columns, "The two models of a seed on the same test examples: counts are means over seeds")


def are_counted(frames: Iterable[pd.DataFrame]) -> bool:
    """Returns whether every example is either right or wrong, so that McNemar's test was used."""
    return all(frame["are_counted"].all() for frame in frames)


def comparison(
    over_seeds: pd.Series,
    over_examples: pd.DataFrame,
    labels: tuple[str, str],
    *,
    metric: Metric,
    first: Metric,
    over_both: Interval = Interval(),  # noqa: B008 (immutable)
) -> str:
    """Returns the results of `examples.variants` in words: each test with the question that it answers.

    Args:
      over_seeds: the row that it returns.
      over_examples: the frame that it returns.
      labels: label of the baseline, and label of the variant that is compared with it.
      metric: the metric compared over seeds.
      first: the metric compared over examples, under its short name.
      over_both: the change in `first` that `examples.over_both` returns.
    """
    one, other = labels
    row = dict(over_seeds)
    lines = [f"Does {other} differ from {one} over seeds, on this test set? (paired t test)"]
    p = f"p {p_value(row['p']).text or NOTHING} (one comparison, not adjusted for others)"
    changed = f"change in {title(metric)} {change(row, metric.digits).text}"
    lines.append(f"  n = {row['n']}, {changed}, {p}: {verdict(row)}")
    if row["pairs"] == 1:
        lines.append("  Single seed: no interval. Another seed may reverse the difference.")
    if over_examples.empty:
        question = "For each seed: is one of the two trained models better on these test examples?"
        return visible(
            "\n".join([*lines, question, "  no pair of trials has kept what the test said of every example"])
        )
    lines += _of_seeds(over_examples, one, other, first)
    if not math.isnan(over_both.low):
        row = {"change": over_both.mean, "low": over_both.low, "high": over_both.high}
        p = p_value(over_both.p).text
        lines.append(
            f"Over other seeds and other test examples at once (crossed random effects): change in {first.shown} "
            f"{change(row, first.digits + 1).text}, p {p}."
        )
    return visible("\n".join(lines))


def _of_seeds(tests: pd.DataFrame, one: str, other: str, metric: Metric) -> list[str]:
    """Returns the tests over examples as lines: the question, a table of the seeds, and the count for each variant."""
    is_right = are_counted([tests])
    better = "right more often" if is_right else f"better, by {metric.shown},"
    test = "exact McNemar test" if is_right else "paired t test over examples"
    ours, theirs = (f"only {name} right" if is_right else f"examples where {name} is better" for name in (other, one))
    columns = {
        "seed": [Entry(str(seed)) for seed in tests["seed"]],
        f"{metric.shown} {other}": [number(value, metric.digits + 1) for value in tests["value"]],
        f"{metric.shown} {one}": [number(value, metric.digits + 1) for value in tests["other_value"]],
        ours: [number(value, 0) for value in tests["only_ours"]],
        theirs: [number(value, 0) for value in tests["only_theirs"]],
        "p": [p_value(value) for value in tests["p"]],
    }
    differ = tests[tests["p"] < LEVEL]
    ahead = int((differ["ahead"] > 0).sum())
    counts = f"{other} in {ahead}, {one} in {len(differ) - ahead}" if len(differ) else "neither in any"
    question = f"is one of the two trained models {better} on these test examples?"
    decided = f"{better[0].upper()}{better[1:].rstrip(',')} at 5 % (not adjusted for the number of seeds)"
    return [
        f"For each seed: {question} ({test}; says nothing about other seeds)",
        "",
        of_columns(columns, "").markdown(),
        f"{decided}, of {len(tests)} seeds: {counts}.",
    ]


def _decided(tests: pd.DataFrame, side: int) -> Entry:
    """Returns in how many seeds one model is better at 5 %: the variant's for 1, the reference's for -1."""
    count = int(((tests["p"] < LEVEL) & (tests["ahead"] == side)).sum())
    return Entry(str(count), float(count))
