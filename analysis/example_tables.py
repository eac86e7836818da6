"""What `examples` found, in words and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
from src.spec.metric import Metric
from src.terminal.visible import visible

from analysis.entries import change, number, p_value, verdict
from analysis.inference import LEVEL
from analysis.measures import title
from analysis.table import NOTHING, Entry, Table, of_columns


def over_examples(tests: Mapping[str, pd.DataFrame]) -> Table:
    """Returns one row a variant: how its models differ from the reference's on the test examples, over its seeds.

    Args:
      tests: variant → what `examples.variants` says of its seeds.
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
    return of_columns(columns, "The two models of a seed on the same test examples: counts are means over seeds")


def are_counted(frames: Iterable[pd.DataFrame]) -> bool:
    """Returns whether all examples are right or wrong, so that McNemar's test was made."""
    return all(frame["are_counted"].all() for frame in frames)


def comparison(
    over_seeds: pd.Series, over_examples: pd.DataFrame, labels: tuple[str, str], *, metric: Metric, first: Metric
) -> str:
    """Returns what `examples.variants` found, in words: each test with the question that it answers.

    Args:
      over_seeds: of it.
      over_examples: of it.
      labels: of the variant that is compared with, and of the one in question.
      metric: that was compared over seeds.
      first: that was compared over examples, under its short name.
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
    return visible("\n".join([*lines, *_of_seeds(over_examples, one, other, first)]))


def _of_seeds(tests: pd.DataFrame, one: str, other: str, metric: Metric) -> list[str]:
    """Returns the tests over examples in lines: the question, a table of the seeds, and how many speak for which."""
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
    """Returns in how many seeds one of the two models is better at 5 %: the variant's for 1, the reference's for -1."""
    count = int(((tests["p"] < LEVEL) & (tests["ahead"] == side)).sum())
    return Entry(str(count), float(count))
