"""What MLflow shows above a run: what a trial changes, what a study asks and found. Markdown, in which the texts of users mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from src.config.settings import differences, label
from src.spec.section import as_typed
from src.spec.settings import Settings
from src.terminal.visible import in_markdown, shortened
from src.tracking.stored import VALUE, fitting

NOTE = "mlflow.note.content"  # tag that MLflow shows as the description of a run or an experiment
ASKED = 1_000  # characters of a question or a claim
LABEL = 200  # characters of a variant


def of_trial(settings: Settings, *, changes: str | None = None) -> str:
    """Returns a trial's description: what it changes, what its study asks, and its user's note.

    Args:
      settings: of the trial.
      changes: what it changes of its study's reference, empty for the reference; None without one: then the defaults are compared with.
    """
    base, changed = ("the defaults", label(differences(settings))) if changes is None else ("the reference", changes)
    same = (
        "has the defaults of every toggle" if changes is None else "the reference, with which the others are compared"
    )
    what = f"changes {_bold(changed)} of {base}" if changed else same
    lines = [f"Trial of study **{in_markdown(settings.study)}** with seed {settings.seed}: {what}."]
    lines += _asked(settings.plan.question, settings.plan.claim)
    lines += [f"Note: {in_markdown(settings.tracking.note)}"] if settings.tracking.note else []
    return "\n\n".join(lines)


def of_study(
    asked: Mapping[str, Any],
    *,
    levels: Mapping[str, Sequence[Any]],
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    remarks: str,
) -> str:
    """Returns a study's description: what it asks, what it varies, and its outcomes as a table, cut where a tag has no room for all.

    Args:
      asked: the plan: `question`, `claim`, `design`.
      levels: toggle → values.
      headings: of the table.
      rows: of the table, one a variant; none before the first outcome.
      remarks: on the outcomes, one line.
    """
    varied = "; ".join(f"{key}: {', '.join(map(as_typed, values))}" for key, values in levels.items())
    lines = _asked(asked["question"], asked["claim"])
    said = (
        f"Varied (design {asked['design']}): {in_markdown(shortened(varied, ASKED))}"
        if varied
        else "One variant, nothing is varied."
    )
    lines.append(said)
    lines += [in_markdown(shortened(remarks, ASKED))] if remarks else []
    begin = "\n\n".join(lines)
    if not rows:
        return begin
    table = ["| " + " | ".join(map(in_markdown, headings)) + " |", "| --- " * len(headings) + "|"]
    table += ["| " + " | ".join(in_markdown(shortened(text, LABEL)) for text in row) + " |" for row in rows]
    return _cut(begin, table)


def _cut(begin: str, table: list[str]) -> str:
    """Returns text and table, with as many of its rows as a tag has room for."""
    for count in range(len(table), 1, -1):
        left = len(table) - count
        more = f"\n\n… and {left:,} variants more; `summary.json` and the report have all." if left else ""
        text = f"{begin}\n\n" + "\n".join(table[:count]) + more
        if len(text.encode()) <= VALUE:
            return text
    return fitting(begin, VALUE)


def _asked(question: str | None, claim: str | None) -> list[str]:
    lines = [f"**{in_markdown(shortened(question.strip(), ASKED))}**"] if question else []
    return [*lines, f"Claim: {in_markdown(shortened(claim.strip(), ASKED))}"] if claim else lines


def _bold(text: str) -> str:
    return f"**{in_markdown(shortened(text, ASKED))}**"
