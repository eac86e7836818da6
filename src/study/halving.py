"""Successive halving: many candidates with a small budget, the best of them with more, and a last rung that is judged.

The rungs before the last select, by validation and with seeds of their own. The last rung has the reference, all seeds
of the study and the whole budget, and is judged as any study is. Its trials tell nothing about the trials that chose
its candidates, so that the choice makes no verdict likelier. Sources: `src.study.designs.halving` and `rung_sizes`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from src.config.settings import edited
from src.spec.metric import BEST, STEPS_TO, TEST, VAL, Metric, meaning
from src.spec.section import SettingsError
from src.spec.settings import Plan, Settings
from src.study import designs
from src.study.designs import Variant
from src.terminal.visible import counted, echoed, one_line
from src.tracking.journal import FINISHED
from src.tracking.outcome import Outcome

if TYPE_CHECKING:
    from src.study.plan import Row, Study

NAME = "halving"  # of the design
SELECTION = "selection"  # key of a plan's record: the rungs before the last
AT_MOST = 4  # names in a sentence
MAX_LINES = 20


@dataclass(frozen=True)
class Ladder:
    """The rungs of a study.

    Attributes:
      study: the study; its settings are those of the last rung.
      variants: the reference and the variants that compete.
      alone: labels of the candidates: variants with trials of their own, which differ from the reference's.
      budgets: budget of each rung, increasing; the last rung is judged.
      sizes: number of candidates in each rung, without the reference.
    """

    study: Study
    variants: list[Variant]
    alone: frozenset[str]
    budgets: list[int]
    sizes: list[int]

    @property
    def judged(self) -> list[Variant]:
        """The reference and as many candidates as reach the last rung; which ones, nobody knows before."""
        return [self.study.reference, *(each for each in self.variants if self.study.name(each) in self.alone)][
            : 1 + self.sizes[-1]
        ]

    def rows(self, place: int, variants: Sequence[Variant], *, after: int) -> list[Row]:
        """Returns the rows of a rung before the last: the budget is one more toggle, and the seeds are others.

        Args:
          place: of the rung, from 0.
          variants: those that reached it.
          after: number of positions that earlier rungs use.
        """
        key, budget = self.study.plan.budget_key, self.budgets[place]
        rung = replace(
            self.study,
            levels={**self.study.levels, key: [budget]},
            reference={**self.study.reference, key: budget},
            seeds=list(self.study.plan.selection_seeds),
        )
        return rung.rows([{**variant, key: budget} for variant in variants], after=after)

    def last_rows(self, variants: Sequence[Variant], *, after: int) -> list[Row]:
        """Returns the rows of the last rung, those of the reference first: they are planned before the others."""
        rows = self.study.rows(variants, after=after)
        return sorted(rows, key=lambda row: not row.is_reference)


@dataclass(frozen=True)
class Candidate:
    """A variant in a rung before the last.

    Attributes:
      label: its label in the study.
      values: its toggles.
      is_reference: whether it is the reference, which goes on in any case.
      trials: seed and identity of each of its trials.
      value: mean best validation value of the first metric; None before the rung is trained, or for the reason below.
      why: why it has no value, or does not compete; empty if it has and does.
      goes_on: whether the next rung trains it; None before the rung is trained.
    """

    label: str
    values: Variant
    is_reference: bool
    trials: list[tuple[int, str]]
    value: float | None = None
    why: str = ""
    goes_on: bool | None = None


@dataclass(frozen=True)
class Rung:
    """A rung before the last.

    Attributes:
      number: of the rung, from 1.
      of: number of rungs, the last included.
      key: the key whose value is the budget.
      budget: its value.
      next_budget: that of the next rung.
      candidates: its variants, in the order of the design.
    """

    number: int
    of: int
    key: str
    budget: int
    next_budget: int
    candidates: list[Candidate]

    @property
    def name(self) -> str:
        """Its number and budget in words."""
        return f"rung {self.number} of {self.of} ({self.key}={self.budget})"

    @property
    def going_on(self) -> list[Variant]:
        """The variants of the next rung, the reference first."""
        return [each.values for each in self.candidates if each.goes_on]

    def as_record(self) -> dict[str, Any]:
        """Returns the rung as plain values for the plan's record."""
        return asdict(self)


def check(study: Study) -> None:
    """Raises `SettingsError` if a study of this design has settings that do not fit it, or rungs without it."""
    plan = study.plan
    if plan.design != NAME:
        if plan.rungs:
            raise SettingsError(
                f"plan.rungs={_listed(plan.rungs)} needs plan.design=halving; add it, or remove the rungs"
            )
        return
    if not study.levels:
        raise SettingsError("plan.design=halving: the study varies nothing, so nothing competes; vary a toggle")
    _check_metric(study)
    _check_budgets(study)
    if both := [seed for seed in plan.selection_seeds if seed in study.seeds]:
        raise SettingsError(
            f"plan.selection_seeds={_listed(plan.selection_seeds)}: seed {both[0]} also judges the last rung, which "
            "would favour the candidates that it selects; choose seeds that are not among the seeds of the study"
        )
    if len(set(plan.selection_seeds)) < len(plan.selection_seeds):
        raise SettingsError(f"plan.selection_seeds={_listed(plan.selection_seeds)}: a seed occurs twice; remove one")


def _check_metric(study: Study) -> None:
    first = study.metrics[0]
    if not first.sign:
        raise SettingsError(
            f"plan.design=halving: {first.name} has no direction, so no candidate is the best; set plan.design=grid"
        )
    if study.metric.startswith((VAL, BEST, STEPS_TO.rstrip("/"))):
        raise SettingsError(
            f"plan.design=halving with plan.metric={study.metric}: validation selects the candidates, so that another "
            f"split must judge them; set plan.metric={TEST}{first.name}"
        )


def _check_budgets(study: Study) -> None:
    plan, key = study.plan, study.plan.budget_key
    named = f"plan.budget_key={key}"
    if key in study.levels:
        raise SettingsError(
            f"{named}: the study also varies {key}, but the rungs set it; remove its values, or name another key"
        )
    if key == "epochs" and ("max_steps" in study.levels or study.settings.max_steps is not None):
        raise SettingsError(
            "plan.design=halving: max_steps would end the trials of several rungs at the same step; remove it, or set "
            "plan.budget_key=max_steps"
        )
    last = budget(study.settings, plan)
    for one in plan.rungs:
        edited(study.settings, {key: one})
    if any(late <= early for early, late in itertools.pairwise([*plan.rungs, last])):
        raise SettingsError(
            f"plan.rungs={_listed(plan.rungs)} with {key}={last}, the budget of the last rung: budgets must increase "
            f"from rung to rung, as in plan.rungs=[1,3] {key}=9"
        )


def budget(settings: Settings, plan: Plan) -> int:
    """Returns the budget of the last rung: the value of the budget's key.

    Raises:
      SettingsError: there is no such key, or its value is no whole number.
    """
    value: Any = settings
    for part in plan.budget_key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
    if isinstance(value, bool) or not isinstance(value, int):
        edited(settings, {plan.budget_key: 1})  # an unknown key has its own error
        raise SettingsError(
            f"plan.budget_key={plan.budget_key}: its value is {echoed(str(value))}, but the last rung needs a whole "
            f"number; set it, as in {plan.budget_key}=9, or name another key"
        )
    return value


def ladder(study: Study, variants: Sequence[Variant]) -> Ladder:
    """Returns the rungs of a study.

    Args:
      study: the study; `check` has accepted it.
      variants: the reference, then all candidates.

    Raises:
      SettingsError: the reference cannot run, the budget changes no trial, or there are too few candidates.
    """
    plan, whole = study.plan, study.rows(variants, seeds=study.seeds[:1])
    reference, *others = whole
    if reference.trial is None:
        raise SettingsError(f"plan.design=halving: the reference cannot run: {reference.dropped}")
    first_of = {reference.trial.identity: reference.label}
    for row in others:
        if row.trial:
            first_of.setdefault(row.trial.identity, row.label)
    alone = frozenset(first_of.values()) - {reference.label}
    last = budget(study.settings, plan)
    budgets = [*(plan.rungs or designs.default_rungs(len(alone), last)), last]
    sizes = designs.rung_sizes(len(alone), budgets)
    if len(budgets) < 2 or sizes[-1] < 1:
        raise SettingsError(_too_few(plan, len(alone), budgets))
    made = Ladder(study, list(variants), alone, budgets, sizes)
    _check_effect(made, whole)
    return made


def _too_few(plan: Plan, candidates: int, budgets: Sequence[int]) -> str:
    key, last = plan.budget_key, budgets[-1]
    if not plan.rungs:
        return (
            f"plan.design=halving: {counted(candidates, 'candidate')} with {key}={last} leave nothing to halve; it "
            f"needs {designs.ETA} candidates beside the reference and {key}={designs.ETA} or more"
        )
    first = budgets[0]
    needed = next(n for n in itertools.count(candidates + 1) if designs.rung_sizes(n, budgets)[-1] > 0)
    return (
        f"plan.rungs={_listed(plan.rungs)} with {key}={last} keep none of {counted(candidates, 'candidate')}: from "
        f"{key}={first} to {key}={last} the budget grows {last / first:.3g}-fold, and the candidates shrink as much; "
        f"give {needed} candidates or more, or fewer rungs"
    )


def _check_effect(made: Ladder, whole: Sequence[Row]) -> None:
    """Raises `SettingsError` if the trials of the first rung are those of the last one, but for the seed, or none."""
    key, rows = made.study.plan.budget_key, made.rows(0, made.variants, after=0)
    pairs = zip(rows, whole, strict=False)  # the rows of the first seed come first
    both = [(row.trial, full.trial, full.seed) for row, full in pairs if row.trial and full.trial]
    if not both:
        raise SettingsError(
            f"rung 1 of {len(made.budgets)} ({key}={made.budgets[0]}): nothing can run: {rows[0].dropped}. Set "
            "plan.rungs to larger budgets, or change what does not fit them"
        )
    if all(small.with_seed(seed).identity == full.identity for small, full, seed in both):
        raise SettingsError(
            f"plan.budget_key={key}: it changes no trial of task={made.study.settings.task}, so that all rungs would "
            "train the same; name the key that says how long a trial trains"
        )


def opened(made: Ladder, place: int, rows: Sequence[Row]) -> Rung:
    """Returns a rung before it is trained.

    Args:
      made: the rungs of the study.
      place: of the rung, from 0.
      rows: its rows.
    """
    key = made.study.plan.budget_key
    of_label: dict[str, list[Row]] = {}
    for row in rows:
        of_label.setdefault(row.label, []).append(row)
    candidates = []
    for mine in of_label.values():
        values = {name: value for name, value in mine[0].values.items() if name != key}
        trials = [(row.seed, row.trial.identity) for row in mine if row.trial]
        candidates.append(Candidate(made.study.name(values), values, mine[0].is_reference, trials))
    return Rung(place + 1, len(made.budgets), key, made.budgets[place], made.budgets[place + 1], candidates)


def taken(
    made: Ladder, rung: Rung, rows: Sequence[Row], scores: Mapping[int, float], latest: Mapping[str, Outcome]
) -> Rung:
    """Returns a rung after it was trained: the value of each candidate, and which of them go on.

    The best go on, on ties the first of the design; a candidate without a finite value never does.

    Args:
      made: the rungs of the study.
      rung: as `opened` returned it.
      rows: its rows.
      scores: place of a candidate → mean best validation value, for those with all seeds finished.
      latest: identity → outcome of the trial's latest attempt.
    """
    dropped = {place: row.dropped for place, row in enumerate({row.label: row for row in rows}.values())}
    seen = []
    for place, each in enumerate(rung.candidates):
        value = scores.get(place, math.nan)
        if not each.is_reference and each.label not in made.alone:
            seen.append(replace(each, why=dropped[place] or "the same trials as another variant"))
        elif math.isfinite(value):
            seen.append(replace(each, value=value))
        else:
            seen.append(replace(each, why=dropped[place] or _failure(each, latest)))
    competing = {
        place: each.value for place, each in enumerate(seen) if each.value is not None and not each.is_reference
    }
    chosen = best(competing, made.sizes[rung.number], made.study.metrics[0].sign)
    kept = [replace(each, goes_on=each.is_reference or place in chosen) for place, each in enumerate(seen)]
    return replace(rung, candidates=kept)


def best(values: Mapping[int, float], count: int, sign: int) -> set[int]:
    """Returns the keys of the best values, on ties the first ones.

    Args:
      values: place → value.
      count: how many, at most.
      sign: 1 if higher values are better, -1 if lower ones are.
    """
    ordered = sorted(values, key=lambda place: (-sign * values[place], place))
    return set(ordered[:count])


def _failure(each: Candidate, latest: Mapping[str, Outcome]) -> str:
    ended = [outcome for _, identity in each.trials if (outcome := latest.get(identity))]
    failed = next((outcome for outcome in ended if outcome.status != FINISHED), None)
    return "no finite validation value" if failed is None else f"failed: {failed.error or 'no error was recorded'}"


def plan_text(made: Ladder) -> list[str]:
    """Returns what the rungs will train, as lines of the plan."""
    study, key, sizes = made.study, made.study.plan.budget_key, made.sizes
    seeds, selecting = len(study.seeds), study.plan.selection_seeds
    shown = ", ".join(f"{size} with {key}={budget}" for size, budget in zip(sizes, made.budgets, strict=True))
    trials = [*((size + 1) * len(selecting) for size in sizes[:-1]), (sizes[-1] + 1) * seeds]
    total = sum(count * budget for count, budget in zip(trials, made.budgets, strict=True))
    every, unit = (sizes[0] + 1) * seeds, key.rpartition(".")[2].replace("_", " ")
    first = validation(study.metrics)
    is_one = len(selecting) == 1
    with_seeds = f"seed{'s' * (not is_one)} {', '.join(map(str, selecting))}, which judge{'s' * is_one} nothing"
    return [
        f"  rungs: {counted(sizes[0], 'candidate')}: {shown}; the best by {first.shown} go on, and the reference",
        f"  the rungs before the last have {with_seeds}; the last has {counted(seeds, 'seed')} and is judged by "
        f"{study.compared.shown}",
        f"  at most {sum(trials):,} trials and {total:,} {unit}, each trial from its start; all candidates with all "
        f"seeds: {every:,} trials and {every * made.budgets[-1]:,} {unit}",
    ]


def text(rung: Rung, study: Study) -> str:
    """Returns what a rung selected, as lines for the terminal."""
    first = validation(study.metrics)
    others = [each for each in rung.candidates if not each.is_reference]
    going, left = ([each for each in others if each.goes_on is goes] for goes in (True, False))
    ranked = [*sorted((each for each in left if each.value is not None), key=_rank(first)), *(
        each for each in left if each.value is None
    )]  # fmt: skip
    lines = [f"{rung.name}: {len(going)} of {counted(len(others), 'candidate')} go on, by {first.shown}"]
    lines += [f"  go on: {_few(sorted(going, key=_rank(first)), first)}"] if going else []
    lines += [f"  leave: {_few(ranked, first)}"] if left else []
    lines += [f"  the reference: {_value(each, first)}" for each in rung.candidates if each.is_reference]
    return "\n".join(lines)


def left_text(rungs: Sequence[Rung], study: Study) -> str:
    """Returns the candidates that did not reach the last rung, one a line; empty if there are none."""
    first = validation(study.metrics)
    lines = [
        f"  {one_line(each.label)}: left at {rung.name}, {_value(each, first)}"
        for rung in reversed(rungs)
        for each in rung.candidates
        if each.goes_on is False
    ]
    more = [f"  … and {len(lines) - MAX_LINES:,} more"] if len(lines) > MAX_LINES else []
    return "\n".join(["candidates that did not reach the last rung:", *lines[:MAX_LINES], *more]) if lines else ""


def validation(metrics: Sequence[Metric]) -> Metric:
    """Returns the metric by which candidates are selected: the first one, on validation."""
    return meaning(f"{VAL}{metrics[0].name}", metrics)


def _rank(metric: Metric) -> Any:
    return lambda each: -metric.sign * each.value


def _few(candidates: Sequence[Candidate], metric: Metric) -> str:
    shown = "; ".join(f"{one_line(each.label)} ({_value(each, metric)})" for each in candidates[:AT_MOST])
    return shown if len(candidates) <= AT_MOST else f"{shown} and {len(candidates) - AT_MOST} more"


def _value(each: Candidate, metric: Metric) -> str:
    return one_line(each.why) if each.value is None else f"{metric.shown} {each.value:.{metric.digits}f}"


def _listed(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def trials_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the trials of the rungs before the last, in the form of the rows of the plan's record."""
    return [
        {
            "label": f"{each['label']} {rung['key']}={rung['budget']}",
            "role": "variant",
            "values": {**each["values"], rung["key"]: rung["budget"]},
            "seed": seed,
            "position": None,
            "identity": identity,
            "normalised": [],
            "dropped": None,
        }
        for rung in record.get(SELECTION) or []
        for each in rung["candidates"]
        for seed, identity in each["trials"]
    ]


def is_continued_by(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Returns whether the rungs that two records of a plan both have selected the same candidates."""
    rungs = ([each for each in record.get(SELECTION) or [] if _is_taken(each)] for record in (old, new))
    return all(_kept(one) == _kept(other) for one, other in zip(*rungs, strict=False))


def joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the rungs of a plan that is continued: those of the new record, and later ones of the old."""
    mine, theirs = (list(record.get(SELECTION) or []) for record in (new, old))
    done = [rung for rung in mine if _is_taken(rung)]
    return [*done, *theirs[len(done) :]] if len(theirs) > len(done) else mine


def _is_taken(rung: Mapping[str, Any]) -> bool:
    return all(each["goes_on"] is not None for each in rung["candidates"])


def _kept(rung: Mapping[str, Any]) -> list[Any]:
    return [rung["budget"], *(each["label"] for each in rung["candidates"] if each["goes_on"])]
