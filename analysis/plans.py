"""The plans of a study, read from its study run, checked, and completed with defaults."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

import pydantic

from analysis.store import Store, StoreError
from src.inference.sequential import LEAST_SEEDS, Rule
from src.spec.metric import FINISH, IMPLIED, TEST, Metric, as_records
from src.spec.renamed import plan_today
from src.spec.settings import Plan
from src.study import stopping
from src.tracking.moved import local_path

FILE = "plan.json"
METRICS = pydantic.TypeAdapter(list[Metric])
MOST_DIGITS = 15


def of_study(name: str, run_id: str, store: Store) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the readable plans of a study, the latest last, and a note on the others.

    Raises:
      StoreError: the latest plan cannot be read.
    """
    path = store.artifact(run_id, FILE)
    if path is None:
        where = local_path(store.address(run_id))
        if where is not None and not where.exists():
            moved = "if its home was moved, `python -m src.sync` mends the addresses"
            fix = f"{moved}; if they were deleted, run the study's command again"
            raise StoreError(f"the files of study {name!r} are not at {where}, where MLflow has them; {fix}")
        raise StoreError(f"study {name!r} has no plan yet; run its command again")
    try:
        *earlier, latest = json.loads(path.read_text(encoding="utf-8"))
        last = whole(latest)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        why = f"the plan of study {name!r} ({path}) cannot be read: {_in_one_line(error)}"
        raise StoreError(f"{why}; run the study's command again") from None
    readable = []
    for record in earlier:
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            readable.append(whole(record))
    lost = len(earlier) - len(readable)
    return [*readable, last], [f"{lost} earlier plans of this study cannot be read ({path})"] if lost else []


def looks(
    study_plans: Sequence[Mapping[str, Any]], finished: Set[str]
) -> tuple[Rule | None, tuple[int, ...], list[str]]:
    """Returns how the looks at a study share its error, the numbers of seeds looked at, and notes on both.

    A study that was looked at with a declared number of seeds, and continued with listed ones, is judged by the looks
    that were taken and by one at all of its seeds.

    Args:
      study_plans: the plans of the study, the latest last.
      finished: identities of the finished trials.
    """
    *earlier, latest = study_plans
    rule, count = stopping.rule(latest), len(latest["seeds"])
    if latest["max_seeds"] is not None:
        before_it = ", ".join(map(str, stopping.earlier_looks(earlier, latest, finished)))
        late = f"this study was judged with {before_it} seeds before plan.max_seeds={latest['max_seeds']} was declared"
        notes = [f"{late}; the 5 % do not count that look"] if before_it else []
        return rule, tuple(look["n"] for look in latest["looked"]), notes
    before = stopping.looked_at(earlier, latest)
    if before is not None:
        return _continued(before, count)
    taken = stopping.earlier_looks(earlier, latest, finished)
    note = [stopping.second_look((*taken, count))] if taken and rule is None else []
    return rule, (*taken, count), note


def _continued(before: Mapping[str, Any], count: int) -> tuple[Rule | None, tuple[int, ...], list[str]]:
    """Returns the rule of a study that was looked at with a horizon, and continued by hand to `count` seeds."""
    declared = stopping.rule(before)
    assert declared is not None
    taken = [look["n"] for look in before["looked"] if look["n"] < min(count, declared.horizon)]
    last = min(count, declared.horizon)
    listed = ", ".join(map(str, taken)) or "no"
    note = (
        f"this study was looked at with plan.max_seeds={declared.horizon} (at {listed} seeds) and continued with "
        f"{count} listed seeds; it is judged by all of these looks"
    )
    beyond = f", and its seeds beyond {declared.horizon} decide nothing" if count > declared.horizon else ""
    used = (*taken, last) if last >= LEAST_SEEDS else tuple(taken)
    return Rule(declared.stopping, declared.horizon, used), used, [note + beyond]


def _in_one_line(error: Exception) -> str:
    if not isinstance(error, pydantic.ValidationError):
        return repr(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def whole(record: Any) -> dict[str, Any]:
    """Returns a complete plan: fields that an older version did not write have their defaults.

    If the plan has no metric or threshold, they are those of its first metric.

    Raises:
      ValueError, LookupError, TypeError, AttributeError: the record is not a plan.
    """
    record = plan_today(record)
    rows = [_row(row) for row in record["rows"]]
    if not rows or len({(row["label"], row["seed"]) for row in rows}) < len(rows):
        raise ValueError("it has no rows" if not rows else "two of its rows have one label and one seed")
    settings = {key: value for key, value in record.items() if key in Plan.model_fields}
    plan = Plan.model_validate(settings).model_dump()
    metrics = _metrics(record)
    plan["metric"] = plan["metric"] or f"{TEST}{metrics[0].name}"
    plan["threshold"] = metrics[0].target if plan["threshold"] is None else plan["threshold"]
    lists = {key: list(record.get(key, [])) for key in ("aliases", "commands")}
    of_task = {"task": str(record["task"])} if record.get("task") else {}
    levels, meanings = dict(record["levels"]), as_records(metrics)
    lists |= {"looked": [_look(look) for look in record.get("looked", [])]}
    lists |= {"selection": [_rung(rung) for rung in record.get("selection", [])]}
    lists |= {"seeds": plan["seeds"] or list(dict.fromkeys(row["seed"] for row in rows))}
    return {**plan, **lists, **of_task, "metrics": meanings, "levels": levels, "rows": rows}


def _metrics(record: Any) -> tuple[Metric, ...]:
    """Returns the metrics of a plan; if it names none, those of older versions.

    Raises:
      ValueError: its metrics are invalid. They are not replaced by others, which might reverse its verdicts.
    """
    if record.get("metrics") is None:
        return IMPLIED
    metrics = tuple(METRICS.validate_python(record["metrics"]))
    names = [metric.name for metric in metrics]
    if not names or len(set(names)) < len(names):
        raise ValueError("it names no metrics" if not names else "two of its metrics have one name")
    for metric in metrics:
        if metric.finish not in FINISH or not 0 <= metric.digits <= MOST_DIGITS:
            raise ValueError(f"metric {metric.name}: finish={metric.finish} or digits={metric.digits} is not allowed")
    return metrics


def _look(look: Any) -> dict[str, Any]:
    decided_at = {str(name): int(n) for name, n in dict(look.get("decided_at", {})).items()}
    return {"n": int(look["n"]), "time": str(look.get("time", "")), "decided_at": decided_at}


def _rung(rung: Any) -> dict[str, Any]:
    """Returns a rung of successive halving, as `src.study.halving` records it."""
    numbers = {name: int(rung[name]) for name in ("number", "of", "budget", "next_budget")}
    candidates = [
        {
            "label": str(each["label"]),
            "values": dict(each["values"]),
            "is_reference": bool(each["is_reference"]),
            "trials": [(int(seed), str(identity)) for seed, identity in each["trials"]],
            "value": None if each["value"] is None else float(each["value"]),
            "why": str(each["why"]),
            "goes_on": each["goes_on"],
        }
        for each in rung["candidates"]
    ]
    return {"key": str(rung["key"]), **numbers, "candidates": candidates}


def _row(row: Any) -> dict[str, Any]:
    return {
        "role": row["role"],
        "identity": None if row["identity"] is None else str(row["identity"]),
        "label": str(row["label"]),
        "values": dict(row["values"]),
        "seed": int(row["seed"]),
        "normalised": list(row.get("normalised", [])),
        "dropped": row.get("dropped"),
    }
