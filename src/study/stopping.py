"""How the looks at a sequential study share its error: `plan.max_seeds`, `plan.looks` and `plan.stopping`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from src.inference import sequential
from src.inference.sequential import ALWAYS_VALID, LEAST_SEEDS, SPENDING, Rule
from src.spec.metric import MEASURED, TEST, best_name
from src.spec.section import SettingsError
from src.spec.settings import Plan
from src.terminal.visible import counted

if TYPE_CHECKING:
    from src.study.plan import Study

LOOKED = "looked"  # key of a plan's record: the looks that were taken
SAME = ("design", "levels", "reference", "metric")  # of two plans that make the same comparisons


def rule(plan: Mapping[str, Any]) -> Rule | None:
    """Returns how the looks of a plan share its error; None if the study is judged once.

    Args:
      plan: the settings of a plan or its record: `max_seeds`, `looks`, `stopping`, and the number of its `seeds`.
    """
    stopping, horizon = plan.get("stopping"), plan.get("max_seeds")
    if horizon is not None:
        planned = tuple(n for n in plan.get("looks") or sequential.default_looks(horizon) if n < horizon)
        return Rule(ALWAYS_VALID if stopping == ALWAYS_VALID else SPENDING, horizon, (*planned, horizon))
    count = len(plan["seeds"])
    if stopping == ALWAYS_VALID and count >= LEAST_SEEDS:
        return Rule(ALWAYS_VALID, count, tuple(range(LEAST_SEEDS, count + 1)))
    return None


def seeds_of(plan: Plan, *, first: int, listed: Sequence[int]) -> list[int]:
    """Returns the seeds of a sequential study: consecutive ones, from the key `seed`.

    Raises:
      SettingsError: seeds are listed, or the looks do not fit.
    """
    horizon = plan.max_seeds
    assert horizon is not None
    if listed:
        shown = ",".join(map(str, listed[:4])) + (",…" if len(listed) > 4 else "")
        raise SettingsError(
            f"plan.max_seeds={horizon} and the seeds {shown}: a sequential study takes seeds {first} to "
            f"{first + horizon - 1} as it needs them; remove the list (in a file: plan.seeds=[]) or plan.max_seeds"
        )
    return list(range(first, first + horizon))


def check_settings(plan: Plan) -> None:
    """Raises `SettingsError` if `plan.max_seeds`, `plan.looks` and `plan.stopping` do not fit together."""
    horizon, looks = plan.max_seeds, plan.looks
    if horizon is None:
        for key, value in (("looks", looks), ("stopping", plan.stopping == SPENDING and plan.stopping)):
            if value:
                shown = f"[{','.join(map(str, looks))}]" if key == "looks" else value
                raise SettingsError(
                    f"plan.{key}={shown} needs the largest number of seeds; add plan.max_seeds=N, or remove plan.{key}"
                )
        return
    if plan.stopping == "fixed":
        raise SettingsError(
            f"plan.stopping=fixed with plan.max_seeds={horizon}: a fixed study is judged once; "
            "list its seeds instead of plan.max_seeds, or set plan.stopping=spending"
        )
    if plan.design == "path":
        raise SettingsError(
            f"plan.design=path with plan.max_seeds={horizon}: each step of a path is chosen from all seeds of the step "
            "before; list the seeds, or set plan.design=one_at_a_time"
        )
    if plan.design == "halving":
        raise SettingsError(
            f"plan.design=halving with plan.max_seeds={horizon}: the last rung is judged once, with the seeds that are "
            "listed; list them, or set plan.design=random"
        )
    shown = f"plan.looks=[{','.join(map(str, looks))}]"
    example = f"plan.looks=[{','.join(map(str, sequential.default_looks(horizon)))}]"
    if any(late <= early for early, late in itertools.pairwise(looks)):
        raise SettingsError(f"{shown}: the looks must increase, as in {example}")
    if looks and looks[0] < LEAST_SEEDS:
        raise SettingsError(
            f"{shown}: a look at {counted(looks[0], 'seed')} has no useful interval; begin at {LEAST_SEEDS} or more, "
            f"as in {example}"
        )
    if looks and looks[-1] > horizon:
        raise SettingsError(f"{shown}: looks end at plan.max_seeds={horizon}; raise it, or remove the looks beyond it")


def check(study: Study) -> None:
    """Raises `SettingsError` if a sequential study has nothing to decide, or a metric that the sweep cannot read."""
    plan = study.plan
    if plan.max_seeds is None:
        return
    named = f"plan.max_seeds={plan.max_seeds}"
    if not study.levels:
        raise SettingsError(f"{named}: the study varies nothing, so there is nothing to decide; vary a toggle")
    of_trial = [*(each.name for each in MEASURED), best_name(study.metrics[0])]
    if not study.metric.startswith(TEST) and study.metric not in of_trial:
        raise SettingsError(
            f"{named} with plan.metric={study.metric}: looks need a value that each trial records at its end; "
            f"set plan.metric={TEST}{study.metrics[0].name}, or list the seeds"
        )


def looked_at(earlier: Sequence[Mapping[str, Any]], latest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the last plan of the same comparisons that declared a largest number of seeds and was looked at."""
    alike = (plan for plan in reversed(earlier) if _are_alike(plan, latest))
    return next((plan for plan in alike if plan.get("max_seeds") is not None and plan.get(LOOKED)), None)


def earlier_looks(
    earlier: Sequence[Mapping[str, Any]], latest: Mapping[str, Any], finished: Set[str]
) -> tuple[int, ...]:
    """Returns the numbers of seeds with which a fixed study was judged before, increasing.

    Args:
      earlier: earlier plans of the study.
      latest: its latest plan.
      finished: identities of the finished trials.
    """
    count = len(latest["seeds"])
    alike = [
        plan
        for plan in earlier
        if plan.get("max_seeds") is None and _are_alike(plan, latest) and _is_looked_at(plan, latest, finished)
    ]
    return tuple(sorted({len(plan["seeds"]) for plan in alike if 1 < len(plan["seeds"]) < count}))


def _are_alike(plan: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(plan.get(key) == other.get(key) for key in SAME)


def _is_looked_at(plan: Mapping[str, Any], latest: Mapping[str, Any], finished: Set[str]) -> bool:
    """Returns whether a fixed plan with some of the latest plan's seeds has finished, so that its table was shown."""
    trials = {row["identity"] for row in plan["rows"] if row["identity"] is not None}
    return {*plan["seeds"]} < {*latest["seeds"]} and bool(trials) and trials <= finished


def second_look(taken: Sequence[int]) -> str:
    """Returns what it costs to judge a study at several numbers of seeds with 5 % each."""
    shown = f"{', '.join(map(str, taken[:-1]))} and {taken[-1]}"
    share = sequential.false_claims(tuple(taken))
    return (
        f"this study was judged with {shown} seeds, each time at 5 %: if seeds were added because of what was seen, a "
        f"comparison without any difference is called one in up to {share:.0%} of such studies; plan.max_seeds=N, "
        "declared first, or plan.stopping=always_valid keeps 5 %"
    )
