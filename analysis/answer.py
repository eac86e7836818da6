"""The answer of a study in words, made from its numbers."""

from __future__ import annotations

import math
from typing import Any

from analysis.factorial import CONDITIONS
from analysis.findings import Findings
from analysis.inference import LEVEL, MAX_EXACT, failures_not_excluded
from analysis.provenance import caution, different_code
from analysis.rows import PER_BATCH, PER_EPOCH, STEADY_EPOCH, is_steps_to, title
from analysis.verdicts import CANNOT_TELL, CHANGED_NOTHING, HIGHER, INTERACT, LOWER, NO_DIFFERENCE, NO_LEARNING, SHOWN

AT_MOST = 4  # variants that a sentence names


def sentences(found: Findings) -> list[str]:
    """Returns what the study found in two sentences, and what limits them in as many more as that takes."""
    return [*findings(found), *limits(found)]


def findings(found: Findings) -> list[str]:
    """Returns what the study found, the most important first."""
    rows = [row for row in found.compared.to_dict("records") if not row["is_reference"]]
    if not found.compared["is_reference"].any():
        return ["The reference of this study was dropped, and nothing can be compared with it; the reason is below."]
    if not rows:
        return [f"One variant: {title(found.metric)} {_mean(found)}. There is nothing to compare it with."]
    if _is_single(found):
        return [
            *_at_chance(found),
            "Single seed: no interval, and so no verdict. Another seed may reverse every difference.",
            f"The table shows what this seed gave; {_more_seeds(found)}",
        ]
    rows = [row for row in rows if not row["twin_of"]]
    return [
        *_at_chance(found),
        *_averaged(found),
        _decided(found, rows),
        _undecided(rows, found),
        *_fastest(found, rows),
    ]


def limits(found: Findings) -> list[str]:
    """Returns what limits the findings: trials of different code, seeds that fail alone, too short training."""
    code = [sentence for sentence in [different_code(found.rows)] if sentence]
    is_compared = bool(found.compared["is_reference"].any() and (~found.compared["is_reference"]).any())
    return [*code, *_limits(found)] if is_compared and not _is_single(found) else code


def _is_single(found: Findings) -> bool:
    return bool(found.rows.groupby("label")["seed"].nunique().max() < 2)


def _at_chance(found: Findings) -> list[str]:
    """Says so where half of the trials or more have learnt nothing: differences between them mean nothing."""
    trials = found.study.finished.drop_duplicates("identity")
    count = int((trials["health"] == NO_LEARNING).sum())
    if count < len(trials) / 2:
        return []
    why = f"validation {found.study.metrics[0].shown} within noise of a constant guess"
    return [f"{count} of {len(trials)} trials learnt nothing ({why}): train longer, or on more data."]


def _decided(found: Findings, rows: list[dict[Any, Any]]) -> str:
    against = "the step before" if found.is_stepwise else f"the reference ({title(found.metric)} {_mean(found)})"
    parts = []
    for word in SHOWN:
        told = sorted((row for row in rows if row["verdict"] == word), key=lambda row: -abs(_size(row)))
        if told:
            parts.append(f"{_listed([_with_change(row, found) for row in told])} {_conjugated(word, len(told))}")
    return f"Against {against}, {'; '.join(parts) or 'no change is distinguishable from zero'}."


def _undecided(rows: list[dict[Any, Any]], found: Findings) -> str:
    parts = []
    same = [_name(row) for row in rows if row["verdict"] == NO_DIFFERENCE]
    if same:
        parts.append(f"no difference within ±{found.margin:g} (each at 5 %, not adjusted) in {_listed(same)}")
    unchanged = [_name(row) for row in rows if row["verdict"] == CHANGED_NOTHING]
    if unchanged:
        parts.append(f"changed nothing (the weights are equal, bit for bit): {_listed(unchanged)}")
    alike = [_name(row) for row in rows if row["is_same"]]
    if alike:
        parts.append(f"the same trials as their reference: {_listed(alike)}")
    unclear = [row for row in rows if row["verdict"] == CANNOT_TELL]
    if unclear:
        seeds = f"{found.seeds} seeds" if found.seeds > 1 else "a single seed"
        parts.append(f"undecided with {seeds}: {_listed([_with_seeds(row) for row in unclear])}")
    parts += _open(rows)
    text = "; ".join(parts) or "every comparison was decided"
    return text[0].upper() + text[1:] + "."


def _open(rows: list[dict[Any, Any]]) -> list[str]:
    """Returns on which variants there is no verdict, by reason."""
    rest = [row for row in rows if row["verdict"].startswith(("no verdict", "single seed"))]
    idle = [
        _name(row) for row in rest if row["verdict"].startswith("no verdict") and "learnt nothing" in row["verdict"]
    ]
    others = [_name(row) for row in rest if _name(row) not in idle]
    said = [(idle, "most trials learnt nothing"), (others, "trials are missing or diverged")]
    return [f"no verdict on {_listed(names)}, where {why}" for names, why in said if names]


def _averaged(found: Findings) -> list[str]:
    if found.factorial is None:
        return []
    main = found.factorial[
        found.factorial["verdict"].isin(SHOWN) & (found.factorial["kind"] == "main effect")
    ].sort_values("share", ascending=False)
    told = [
        f"{row['effect']} {_conjugated(row['verdict'], 1)} ({_numbers(row, found)})" for row in main.to_dict("records")
    ]
    if found.factorial["verdict"].str.startswith("no verdict").all():
        return [f"Averaged over the other toggles there is {found.factorial['verdict'].iloc[0]}."]
    pairs = found.factorial.loc[found.factorial["verdict"] == INTERACT, "term"].drop_duplicates()
    text = f"Averaged over the other toggles, {_listed(told) if told else 'no effect is distinguishable from zero'}"
    if len(pairs):
        text += f"; {_listed([pair.replace(':', ' × ') for pair in pairs])}: they interact"
    conditions = {*main["condition"], *found.factorial.loc[found.factorial["verdict"] == INTERACT, "condition"]}
    return [text + next((f", {condition}" for condition in CONDITIONS if condition in conditions), "") + "."]


def _fastest(found: Findings, rows: list[dict[Any, Any]]) -> list[str]:
    told = [row for row in rows if row["time_holm"] < LEVEL]
    if not told:
        return []
    told = sorted(told, key=lambda row: float(row["time_ratio"]))
    named = [f"{_name(row)} {_ratio(row)}" for row in told]
    of = "that of the step before" if found.is_stepwise else "the reference's"
    per = {PER_BATCH: "batch, without tracing,", PER_EPOCH: "epoch", STEADY_EPOCH: "epoch, without tracing,"}[
        found.time
    ]
    return [f"Time per {per} as a multiple of {of}: {_listed(named)}. {caution(found.rows)}".strip()]


def _limits(found: Findings) -> list[str]:
    limits = []
    tested = found.compared.loc[~found.compared["is_reference"] & (found.compared["n"] > 1), "n"]
    asked = int(tested.min()) if len(tested) else MAX_EXACT
    if asked < 6:
        least = f"With {asked} seeds the exact sign-flip p cannot be below {2 / 2**asked:g}"
        limits.append(f"{least}; the paired t test assumes that differences are normal.")
    elif asked > MAX_EXACT:
        limits.append(f"With more than {MAX_EXACT} seeds no exact sign-flip p is computed.")
    trials = found.study.finished.drop_duplicates("identity")
    last = [text.split(" of ") for text in trials["best_epoch"].dropna() if " of " in str(text)]
    late = sum(best == whole != "1" for best, whole in last)
    if last and late > len(last) / 2:
        limits.append(
            f"In {late} of {len(last)} trials the last epoch was the best: training may have been too short to compare."
        )
    if found.study.plan["design"] == "path":
        limits.append(
            "Each step was chosen on validation as the best of several, by the trials that its gain is computed from: "
            "the first step's gain is optimistic, and those of later steps are pessimistic, as they are measured from "
            "a step that was lucky."
        )
    unsaid = [
        name for name in found.unchanged if name not in set(found.compared.loc[found.compared["is_unchanged"], "label"])
    ]
    if unsaid:
        limits.append(f"The trained weights of {_listed(unsaid)} equal those compared with, bit for bit.")
    return [*limits, *_failures(found)]


def _failures(found: Findings) -> list[str]:
    """What seeds that did not fail leave open, and a seed that failed where its like did not."""
    rows = [row for row in found.compared.to_dict("records") if not row["is_reference"]]
    said = [
        f"{_name(row)}: seed {row['outlier']:.0f} is an outlier (Grubbs' test at 5 %). If seeds of one side alone "
        "fail, a 95 % interval is too narrow: in simulations it covered the truth in 40 to 85 of 100 studies."
        for row in rows
        if not math.isnan(row["outlier"])
    ]
    whole = [row["pairs"] for row in rows if row["pairs"] and not row["unfinished"]]
    if any(row["verdict"] == NO_DIFFERENCE for row in rows) and whole:
        least = min(whole)
        bound = f"0 of {least} seeds failed, which allows a failure rate of up to {failures_not_excluded(least):.0%}"
        said.append(
            f"A variant that fails in a few seeds can show no difference when none of these seeds failed ({bound})."
        )
    return said


def _more_seeds(found: Findings) -> str:
    commands = found.study.plan["commands"]
    command = commands[-1]["command"] if commands else f"python -m src.run -m study={found.study.name} …"
    return f"run `{command} seed='range(0,8)'` for intervals and verdicts."


def _size(row: dict[Any, Any]) -> float:
    return 0.0 if math.isnan(row["change"]) else row["change"]


def _with_change(row: dict[Any, Any], found: Findings) -> str:
    if math.isnan(row["change"]):
        theirs = f", {row['reference_never']} of the reference's" if row["reference_never"] else ""
        return f"{_name(row)} ({row['never']} of {row['pairs']} seeds never reached it{theirs})"
    return f"{_name(row)} ({_numbers(row, found)})"


def _numbers(row: dict[Any, Any], found: Findings) -> str:
    places = found.metric.digits
    if math.isnan(row["low"]):
        return f"{row['change']:+.{places}f}, the same for every seed"
    return f"{row['change']:+.{places}f} [{row['low']:+.{places}f}, {row['high']:+.{places}f}]"


def _with_seeds(row: dict[Any, Any]) -> str:
    few, many = row["seeds_needed"], row["seeds_needed_high"]
    if math.isnan(few):
        return _name(row)
    return f"{_name(row)} ({few:.0f} {'seeds or more' if math.isnan(many) else f'to {many:.0f} seeds'} may tell)"


def _ratio(row: dict[Any, Any]) -> str:
    if math.isnan(row["time_low"]):
        return f"{row['time_ratio']:.2f}, the same for every seed"
    return f"{row['time_ratio']:.2f} [{row['time_low']:.2f}, {row['time_high']:.2f}]"


def _mean(found: Findings) -> str:
    """The reference's mean; of steps to a target the median."""
    column = "steps_to" if is_steps_to(found.metric) else "mean"
    values = found.summary.loc[found.summary["is_reference"], column]
    mean = float(values.iloc[0]) if len(values) else math.nan
    return f"{mean:,.{found.metric.digits}f}" if math.isfinite(mean) else "unknown"


def _name(row: dict[Any, Any]) -> str:
    return f"{row['label']} with {row['within']}" if "=" in row["within"] else str(row["label"])


def _conjugated(word: str, count: int) -> str:
    """The verdict as a verb."""
    if word in (HIGHER, LOWER):
        return f"{'is' if count == 1 else 'are'} {word}"
    return word if count == 1 else word[:-1]


def _listed(names: list[str]) -> str:
    shown = names[:AT_MOST]
    if len(names) > AT_MOST:
        return f"{', '.join(shown)} and {len(names) - AT_MOST} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
