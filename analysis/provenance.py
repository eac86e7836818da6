"""The machines and code versions of trials, and the differences between them that make comparisons unsafe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.rows import FINISHED

AT_MOST = 4  # versions of the code, and variants, that a sentence names


def caution(rows: pd.DataFrame) -> str:
    """Returns why the times of these trials are not comparable; empty if they are."""
    finished = rows[rows["status"] == FINISHED]
    reasons = []
    side_by_side = sorted(set(finished["workers"].dropna()) - {"1"}, key=int)
    if side_by_side:
        reasons.append(f"{' or '.join(side_by_side)} trials ran side by side")
    for name in ("workers", "threads", "processor"):
        if len(finished[name].dropna().unique()) > 1:
            reasons.append(f"{name} differ ({', '.join(sorted(finished[name].dropna().unique()))})")
    if count := finished["resumed"].notna().sum():
        reasons.append(
            f"{count} {'trials were' if count > 1 else 'trial was'} interrupted and resumed in another process"
        )
    return f"Times are rough: {'; '.join(reasons)}." if reasons else ""


def different_code(rows: pd.DataFrame) -> str:
    """Returns the code versions of a table's trials, and the pairs that mix two versions; empty for a single version.

    Args:
      rows: as `Findings.rows`.
    """
    done = rows[rows["status"] == FINISHED]
    done = done.assign(code=code(done))
    counts = done.drop_duplicates("run_id")["code"].value_counts()
    if len(counts) < 2:
        return ""
    named = [f"{name} ({count} trial{'' if count == 1 else 's'})" for name, count in counts.items()]
    both = done.merge(
        done.loc[done["is_reference"], ["within", "seed", "code"]], on=["within", "seed"], suffixes=("", "_reference")
    )
    apart = both.loc[both["code"] != both["code_reference"], "label"].value_counts(sort=False)
    pairs = [f"{name} ({count} of {(both['label'] == name).sum()} pairs)" for name, count in apart.items()]
    text = f"The trials were trained by {len(counts)} versions of the code: {_few(named)}."
    if not pairs:
        return f"{text} Each pair is of one version."
    return f"{text} A variant and its reference differ in code, which may explain the change, in {_few(pairs)}."


def code(rows: pd.DataFrame) -> pd.Series:
    """Returns the code version of each row's trial: its commit, its uncommitted changes, and the version of its task.

    The version of a task is named only if the rows have several versions of one package.

    Args:
      rows: as `Study.rows`.
    """
    names = [_code(row) for row in rows.reindex(columns=["git_commit", "git_dirty", "git_diff"]).to_dict("records")]
    packages = rows.reindex(columns=["package"])["package"].fillna("").astype(str)
    if len(set(packages)) > len(set(packages.str.partition(" ")[0])):
        names = [f"{name} with {package}" if package else name for name, package in zip(names, packages, strict=True)]
    return pd.Series(names, rows.index, object)


def _code(row: Mapping[Any, Any]) -> str:
    commit, is_dirty, diff = (
        None if pd.isna(row[name]) else str(row[name]) for name in ("git_commit", "git_dirty", "git_diff")
    )
    name = "an unknown commit" if commit in (None, "", "unknown") else f"commit {commit[:10]}"
    if diff in (None, "", "none", "unknown"):
        return name + (" with uncommitted changes" if is_dirty == "true" else "")
    return f"{name} with uncommitted changes (diff {diff[:10]})"


def _few(names: list[str]) -> str:
    return ", ".join(names[:AT_MOST]) + (f" and {len(names) - AT_MOST} more" if len(names) > AT_MOST else "")
