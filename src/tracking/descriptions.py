"""Descriptions of trials and studies in MLflow. They are Markdown; the users' texts in them are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from src.config.settings import differences, label
from src.spec.section import as_typed
from src.spec.settings import Settings
from src.terminal.visible import in_markdown, shortened
from src.tracking.stored import VALUE, fitting

NOTE = "mlflow.note.content"  # tag that MLflow shows as the description of a run or an experiment
LONGEST_TEXT = 1_000  # characters of a question, a claim, a list of changes or remarks
LONGEST_FIELD = 200  # characters of a field of the table


def of_trial(settings: Settings, *, changes: str | None = None) -> str:
    """Returns a trial's description: its changes, its study's question and claim, and the user's note.

    Args:
      settings: of the trial.
      changes: the trial's changes of its study's reference, empty for the reference itself. None if the study has no
        reference: the description then compares with the defaults.
    """
    base, changed = ("the defaults", label(differences(settings))) if changes is None else ("the reference", changes)
    unchanged = "has the defaults of every toggle" if changes is None else "the reference, to which others are compared"
    difference = f"changes {_bold(changed)} of {base}" if changed else unchanged
    lines = [f"Trial of study **{in_markdown(settings.study)}** with seed {settings.seed}: {difference}."]
    lines += _question_and_claim(settings.plan.question, settings.plan.claim)
    lines += [f"Note: {in_markdown(settings.tracking.note)}"] if settings.tracking.note else []
    return "\n\n".join(lines)


def renamed(description: str, old: str, new: str) -> str:
    """Returns the description of a trial whose study got another name; others stay, as users may edit them."""
    before, after = (f"Trial of study **{in_markdown(name)}** " for name in (old, new))
    return after + description.removeprefix(before) if description.startswith(before) else description


def of_study(
    plan: Mapping[str, Any],
    *,
    levels: Mapping[str, Sequence[Any]],
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    remarks: str,
) -> str:
    """Returns a study's description: question, claim, varied toggles, and as many outcomes as fit into a tag.

    Args:
      plan: `question`, `claim` and `design` of the study.
      levels: toggle → values.
      headings: headings of the table.
      rows: rows of the table, one per variant; empty before the first outcome.
      remarks: remarks on the outcomes, one line.
    """
    varied = "; ".join(f"{key}: {', '.join(map(as_typed, values))}" for key, values in levels.items())
    lines = _question_and_claim(plan["question"], plan["claim"])
    if varied:
        lines.append(f"Varied (design {plan['design']}): {in_markdown(shortened(varied, LONGEST_TEXT))}")
    else:
        lines.append("One variant; the study varies no toggle.")
    lines += [in_markdown(shortened(remarks, LONGEST_TEXT))] if remarks else []
    head = "\n\n".join(lines)
    if not rows:
        return head
    table = ["| " + " | ".join(map(in_markdown, headings)) + " |", "| --- " * len(headings) + "|"]
    table += ["| " + " | ".join(in_markdown(shortened(text, LONGEST_FIELD)) for text in row) + " |" for row in rows]
    return _cut(head, table)


def _cut(head: str, table: list[str]) -> str:
    """Returns the head and the table with as many rows as a tag has room for."""
    for count in range(len(table), 1, -1):
        left = len(table) - count
        more = f"\n\n… and {left:,} more variants; `summary.json` and the report have all." if left else ""
        text = f"{head}\n\n" + "\n".join(table[:count]) + more
        if len(text.encode()) <= VALUE:
            return text
    return fitting(head, VALUE)


def _question_and_claim(question: str | None, claim: str | None) -> list[str]:
    lines = [f"**{in_markdown(shortened(question.strip(), LONGEST_TEXT))}**"] if question else []
    return [*lines, f"Claim: {in_markdown(shortened(claim.strip(), LONGEST_TEXT))}"] if claim else lines


def _bold(text: str) -> str:
    return f"**{in_markdown(shortened(text, LONGEST_TEXT))}**"
