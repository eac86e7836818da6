"""The answer of a study in words, computed from its numbers."""

from __future__ import annotations

import math
from typing import Any

from analysis import rungs
from analysis.factorial import CONDITIONS
from analysis.findings import Findings
from analysis.inference import MAX_EXACT, failures_not_excluded
from analysis.provenance import different_code
from analysis.rows import PER_BATCH, PER_EPOCH, STEADY_EPOCH, TRAINING, is_steps_to, title
from analysis.texts import decided_at
from src.inference.student import LEVEL
from src.inference.verdicts import CANNOT_TELL, CHANGED_NOTHING, HIGHER, INTERACT, LOWER, NO_DIFFERENCE, SHOWN
from src.spec.record import NO_LEARNING

AT_MOST = 4  # number of variants that a sentence names


def sentences(findings: Findings) -> list[str]:
    """Returns the conclusions of the study and their limits."""
    return [*conclusions(findings), *limits(findings)]


def conclusions(findings: Findings) -> list[str]:
    """Returns the conclusions of the study, the most important first."""
    rows = [row for row in findings.compared.to_dict("records") if not row["is_reference"]]
    if not findings.compared["is_reference"].any():
        return ["The reference of this study was dropped, and nothing can be compared with it; the reason is below."]
    if not rows:
        return [f"One variant: {title(findings.metric)} {_mean(findings)}. There is nothing to compare it with."]
    if _is_single(findings):
        return [
            *_at_chance(findings),
            "Single seed: no interval, and so no verdict. Another seed may reverse every difference.",
            f"The table shows what this seed gave; {_more_seeds(findings)}",
        ]
    rows = [row for row in rows if not row["twin_of"]]
    return [
        *_at_chance(findings),
        *_averaged(findings),
        _decided(findings, rows),
        _undecided(rows, findings),
        *_of_looks(findings),
        *_fastest(findings, rows),
    ]


def limits(findings: Findings) -> list[str]:
    """Returns the limits of the conclusions: different code versions, outlying seeds, too short training."""
    code = [sentence for sentence in [different_code(findings.rows)] if sentence]
    is_compared = bool(findings.compared["is_reference"].any() and (~findings.compared["is_reference"]).any())
    return [*code, *_limits(findings)] if is_compared and not _is_single(findings) else code


def _of_looks(findings: Findings) -> list[str]:
    """Returns at which look each variant was decided, and the trials that were not needed."""
    study, rule = findings.study, findings.study.rule
    if rule is None or study.plan["max_seeds"] is None or not study.looks:
        return []
    rows = [row for row in findings.compared.to_dict("records") if decided_at(row).text]
    decided = [f"{_name(row)} with {row['decided_at']:.0f} seeds" for row in rows if not row["is_futile"]]
    trained = study.rows["identity"].dropna().nunique()
    most = study.rows.loc[study.rows["seed"] == study.plan["seeds"][0], "identity"].dropna().nunique() * rule.horizon
    what = f"{_listed(decided)} decided" if decided else "nothing decided"
    return [
        f"After {len(study.looks)} of {len(rule.looks)} looks: {what}. Trained were {trained} of at most {most} trials "
        f"({trained / most:.0%})."
    ]


def _is_single(findings: Findings) -> bool:
    return bool(findings.rows.groupby("label")["seed"].nunique().max() < 2)


def _at_chance(findings: Findings) -> list[str]:
    """Returns a warning if half of the trials or more learnt nothing, as their differences are chance."""
    trials = findings.study.finished.drop_duplicates("identity")
    count = int((trials["health"] == NO_LEARNING).sum())
    if count < len(trials) / 2:
        return []
    why = f"validation {findings.study.metrics[0].shown} within noise of a constant guess"
    return [f"{count} of {len(trials)} trials learnt nothing ({why}): train longer, or on more data."]


def _decided(findings: Findings, rows: list[dict[Any, Any]]) -> str:
    against = f"the reference ({title(findings.metric)} {_mean(findings)})"
    if findings.is_stepwise:
        against = "the step before"
    elif findings.within:
        against = f"the reference's other values at the same {' and '.join(findings.within)}"
    parts = []
    for word in SHOWN:
        shown = sorted((row for row in rows if row["verdict"] == word), key=lambda row: -abs(_size(row)))
        if shown:
            parts.append(f"{_listed([_with_change(row, findings) for row in shown])} {_conjugated(word, len(shown))}")
    return f"Against {against}, {'; '.join(parts) or 'no change is distinguishable from zero'}."


def _undecided(rows: list[dict[Any, Any]], findings: Findings) -> str:
    parts = []
    same = [_name(row) for row in rows if row["verdict"] == NO_DIFFERENCE]
    if same:
        parts.append(f"no difference within ±{findings.margin:g} (each at 5 %, not adjusted) in {_listed(same)}")
    unchanged = [_name(row) for row in rows if row["verdict"] == CHANGED_NOTHING]
    if unchanged:
        parts.append(f"changed nothing (the weights are equal, bit for bit): {_listed(unchanged)}")
    alike = [_name(row) for row in rows if row["is_same"]]
    if alike:
        parts.append(f"the same trials as their reference: {_listed(alike)}")
    unclear = [row for row in rows if row["verdict"] == CANNOT_TELL]
    if unclear:
        seeds = f"{findings.seeds} seeds" if findings.seeds > 1 else "a single seed"
        seeds = f"up to {seeds}" if findings.study.rule is not None else seeds
        parts.append(f"undecided with {seeds}: {_listed([_with_seeds(row) for row in unclear])}")
    parts += _open(rows)
    text = "; ".join(parts) or "every comparison was decided"
    return text[0].upper() + text[1:] + "."


def _open(rows: list[dict[Any, Any]]) -> list[str]:
    """Returns the variants without a verdict, by reason."""
    rest = [row for row in rows if row["verdict"].startswith(("no verdict", "single seed"))]
    idle = [
        _name(row) for row in rest if row["verdict"].startswith("no verdict") and "learnt nothing" in row["verdict"]
    ]
    others = [_name(row) for row in rest if _name(row) not in idle]
    reasons = [(idle, "most trials learnt nothing"), (others, "trials are missing or diverged")]
    return [f"no verdict on {_listed(names)}, where {why}" for names, why in reasons if names]


def _averaged(findings: Findings) -> list[str]:
    if findings.factorial is None:
        return []
    main = findings.factorial[
        findings.factorial["verdict"].isin(SHOWN) & (findings.factorial["kind"] == "main effect")
    ].sort_values("share", ascending=False)
    shown = [
        f"{row['effect']} {_conjugated(row['verdict'], 1)} ({_numbers(row, findings)})"
        for row in main.to_dict("records")
    ]
    if findings.factorial["verdict"].str.startswith("no verdict").all():
        return [f"Averaged over the other toggles there is {findings.factorial['verdict'].iloc[0]}."]
    pairs = findings.factorial.loc[findings.factorial["verdict"] == INTERACT, "term"].drop_duplicates()
    text = f"Averaged over the other toggles, {_listed(shown) if shown else 'no effect is distinguishable from zero'}"
    if len(pairs):
        text += f"; {_listed([pair.replace(':', ' × ') for pair in pairs])}: they interact"
    conditions = {*main["condition"], *findings.factorial.loc[findings.factorial["verdict"] == INTERACT, "condition"]}
    return [text + next((f", {condition}" for condition in CONDITIONS if condition in conditions), "") + "."]


def _fastest(findings: Findings, rows: list[dict[Any, Any]]) -> list[str]:
    decided = [row for row in rows if row["time_holm"] < LEVEL]
    if not decided:
        return []
    decided = sorted(decided, key=lambda row: float(row["time_ratio"]))
    named = [f"{_name(row)} {_ratio(row)}" for row in decided]
    of = "that of the step before" if findings.is_stepwise else "the reference's"
    per = {
        PER_BATCH: "per batch, without tracing,", PER_EPOCH: "per epoch", STEADY_EPOCH: "per epoch, without tracing,",
        TRAINING: "of training",
    }[findings.time]  # fmt: skip
    return [f"Time {per} as a multiple of {of}: {_listed(named)}. {findings.caution}".strip()]


def _limits(findings: Findings) -> list[str]:
    limits = []
    tested = findings.compared.loc[~findings.compared["is_reference"] & (findings.compared["n"] > 1), "n"]
    pairs = int(tested.min()) if len(tested) else MAX_EXACT
    if pairs < 6:
        least = f"With {pairs} seeds the exact sign-flip p cannot be below {2 / 2**pairs:g}"
        limits.append(f"{least}; the paired t test assumes that differences are normal.")
    elif pairs > MAX_EXACT:
        limits.append(f"With more than {MAX_EXACT} seeds no exact sign-flip p is computed.")
    trials = findings.study.finished.drop_duplicates("identity")
    last = [text.split(" of ") for text in trials["best_epoch"].dropna() if " of " in str(text)]
    late = sum(best == whole != "1" for best, whole in last)
    if last and late > len(last) / 2:
        limits.append(
            f"In {late} of {len(last)} trials the last epoch was the best: training may have been too short to compare."
        )
    if findings.study.plan["design"] == "path":
        limits.append(
            "Each step was chosen on validation as the best of several, by the trials that its gain is computed from: "
            "the first step's gain is optimistic, and those of later steps are pessimistic, as they are measured from "
            "a step that was lucky."
        )
    if rungs.has_any(findings.study):
        limits.append(
            "The verdicts are on the candidates that reached the last rung; those that left earlier, after less "
            "training and by other seeds, are not shown to be worse."
        )
    mentioned = set(findings.compared.loc[findings.compared["is_unchanged"], "label"])
    for is_equal, end in ((True, ""), (False, "; only what the test decides from the outputs differs")):
        names = [name for name, is_same in findings.unchanged.items() if is_same == is_equal and name not in mentioned]
        if names:
            limits.append(f"The trained weights of {_listed(names)} equal those compared with, bit for bit{end}.")
    return [*limits, *_failures(findings)]


def _failures(findings: Findings) -> list[str]:
    """Returns the limits due to failing seeds: outliers, and the failure rate that cannot be excluded."""
    rows = [row for row in findings.compared.to_dict("records") if not row["is_reference"]]
    sentences = [
        f"{_name(row)}: seed {row['outlier']:.0f} is an outlier (Grubbs' test at 5 %). If seeds of one side alone "
        "fail, a 95 % interval is too narrow: in simulations it covered the truth in 40 to 85 of 100 studies."
        for row in rows
        if not math.isnan(row["outlier"])
    ]
    whole = [row["pairs"] for row in rows if row["pairs"] and not row["unfinished"]]
    if any(row["verdict"] == NO_DIFFERENCE for row in rows) and whole:
        least = min(whole)
        bound = f"0 of {least} seeds failed, which allows a failure rate of up to {failures_not_excluded(least):.0%}"
        sentences.append(
            f"A variant that fails in a few seeds can show no difference when none of these seeds failed ({bound})."
        )
    return sentences


def _more_seeds(findings: Findings) -> str:
    commands = findings.study.plan["commands"]
    command = commands[-1]["command"] if commands else f"python -m src.run -m study={findings.study.name} …"
    return f"run `{command} seed='range(0,8)'` for intervals and verdicts."


def _size(row: dict[Any, Any]) -> float:
    return 0.0 if math.isnan(row["change"]) else row["change"]


def _with_change(row: dict[Any, Any], findings: Findings) -> str:
    if math.isnan(row["change"]):
        theirs = f", {row['reference_never']} of the reference's" if row["reference_never"] else ""
        return f"{_name(row)} ({row['never']} of {row['pairs']} seeds never reached it{theirs})"
    return f"{_name(row)} ({_numbers(row, findings)})"


def _numbers(row: dict[Any, Any], findings: Findings) -> str:
    places = findings.metric.digits
    if math.isnan(row["low"]):
        return f"{row['change']:+.{places}f}, the same for every seed"
    return f"{row['change']:+.{places}f} [{row['low']:+.{places}f}, {row['high']:+.{places}f}]"


def _with_seeds(row: dict[Any, Any]) -> str:
    if row.get("is_futile"):
        return f"{_name(row)} (set aside as futile with {row['decided_at']:.0f} seeds)"
    few, many = row["seeds_needed"], row["seeds_needed_high"]
    if math.isnan(few):
        return _name(row)
    return f"{_name(row)} ({few:.0f} {'seeds or more' if math.isnan(many) else f'to {many:.0f} seeds'} may tell)"


def _ratio(row: dict[Any, Any]) -> str:
    if math.isnan(row["time_low"]):
        return f"{row['time_ratio']:.2f}, the same for every seed"
    return f"{row['time_ratio']:.2f} [{row['time_low']:.2f}, {row['time_high']:.2f}]"


def _mean(findings: Findings) -> str:
    """The reference's mean; for steps to a target, its median."""
    column = "steps_to" if is_steps_to(findings.metric) else "mean"
    values = findings.summary.loc[findings.summary["is_reference"], column]
    mean = float(values.iloc[0]) if len(values) else math.nan
    return f"{mean:,.{findings.metric.digits}f}" if math.isfinite(mean) else "unknown"


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
