"""Sequential studies: what each look decides, which variants train more seeds, and what a design can detect."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from src.inference import contrasts, racing, sequential
from src.inference.sequential import DIFFERENT, EQUIVALENT, FUTILE, Decisions, Rule
from src.inference.student import are_alike, grid, hidden
from src.inference.verdicts import CHANGED_NOTHING, INTERACT, NO_DIFFERENCE, direction
from src.spec.metric import best_name
from src.spec.record import NO_LEARNING
from src.spec.section import SettingsError, as_typed
from src.study.designs import FACTORIAL, MAX_TRIALS, Variant
from src.study.plan import Row, Study
from src.terminal.visible import counted, one_line
from src.tracking.journal import FINISHED
from src.tracking.outcome import Outcome

OPEN, SET_ASIDE, NO_VERDICT, SAME = "open", "set aside as futile", "no verdict", "the same trials"
IDLE = "no verdict, as most trials learnt nothing"
AT_MOST = 4  # names in a sentence
SHARES = (0.25, 0.5, 0.75, 1.0, 1.25)  # of the detectable change, for which a plan shows the power


@dataclass(frozen=True)
class Look:
    """What the variants and effects of a study show at one look.

    Attributes:
      number: of the look, from 1.
      seeds: number of seeds n.
      verdicts: variant → its verdict so far, or `open`, `set aside as futile`, or why there is none.
      decided_at: variant → seeds at which it was decided or set aside.
      effects: effect of a factorial design → the same words.
      continues: variants that train the seeds up to the next look; empty at the last one.
    """

    number: int
    seeds: int
    verdicts: dict[str, str]
    decided_at: dict[str, int] = field(default_factory=dict)
    effects: dict[str, str] = field(default_factory=dict)
    continues: tuple[str, ...] = ()

    def as_record(self, *, time: str) -> dict[str, Any]:
        """Returns the look as plain values for the plan's record."""
        return {
            "n": self.seeds,
            "time": time,
            "verdicts": self.verdicts,
            "decided_at": self.decided_at,
            "effects": self.effects,
            "continues": list(self.continues),
        }


class Family(NamedTuple):
    """Comparisons that Holm's correction counts together.

    Attributes:
      names: of the comparisons.
      weights: float64[k, V], the weight of each variant in each comparison.
    """

    names: list[str]
    weights: np.ndarray


def rows(
    study: Study, variants: Sequence[Variant], number: int, earlier: Sequence[Row], look: Look | None
) -> list[Row]:
    """Returns the rows of the seeds between two looks, of the variants that go on, numbered after the earlier rows.

    Args:
      study: the study.
      variants: all variants of the design.
      number: place of the look that these rows lead to.
      earlier: the rows so far.
      look: the look before; None for the first rows.
    """
    planned = study.rule
    assert planned is not None
    first = planned.looks[number - 1] if number else 0
    every = study.rows(variants, seeds=study.seeds[first : planned.looks[number]])
    kept = [row for row in every if look is None or row.label in look.continues]
    places = {row.position: place for place, row in enumerate(sorted(kept, key=_position), len(earlier) + 1)}
    return [replace(row, position=places[row.position]) for row in kept]


def _position(row: Row) -> int:
    return row.position


def take(study: Study, planned: Sequence[Row], latest: Mapping[str, Outcome], number: int) -> Look:
    """Returns what the trials up to a look show.

    A comparison with a trial that failed, or without a finite value, gets no verdict, and its variant stops: a verdict
    from the other seeds alone would be biased. Variants made of the same trials are one comparison. One that ends with
    the weights and values of what it is compared with is none.

    Args:
      study: the study.
      planned: all rows up to this look.
      latest: identity → outcome of the trial's latest attempt.
      number: place of the look.
    """
    used = study.rule
    assert used is not None
    seen = _Seen.of(study, planned, latest, used.looks[number])
    verdicts, twins = _without_test(seen)
    family = comparisons(seen.labels, seen.baselines, tested=[name for name in seen.baselines if name not in verdicts])
    made = _decided(seen, family, used, study)
    words = _words(family.names, made, study.compared.sign)
    idle = [name for name in words if words[name] == NO_DIFFERENCE and seen.is_idle(name)]
    words |= dict.fromkeys(idle, IDLE)
    verdicts |= words
    verdicts |= {name: verdicts[first] for name, first in twins.items()}
    decided_at = _decided_at(family.names, made, used) | {
        name: _seeds(seen, name) for name in verdicts if name not in words
    }
    of_effects = effects(study, planned, seen.labels) if seen.is_whole else Family([], np.empty((0, len(seen.labels))))
    made_effects = _decided(seen, of_effects, used, study)
    effect_words = _words(of_effects.names, made_effects, study.compared.sign, of_effects=True)
    continues = () if number + 1 == len(used.looks) else _continuing(seen, family, made, of_effects, made_effects)
    decided_at = {name: n for name, n in decided_at.items() if verdicts[name] != OPEN}
    return Look(number + 1, used.looks[number], verdicts, decided_at, effect_words, continues)


@dataclass(frozen=True)
class _Seen:
    """The trials of a study up to a look.

    Attributes:
      labels: variants that have trials, in the order of the design.
      baselines: variant → the variant that it is compared with.
      outcomes: variant → the outcome of each of its seeds.
      identities: variant → identities of its trials.
      values: float64[V, n]; nan where there is no trial or no value.
    """

    labels: list[str]
    baselines: dict[str, str]
    outcomes: dict[str, list[Outcome | None]]
    identities: dict[str, tuple[str, ...]]
    values: np.ndarray

    @classmethod
    def of(cls, study: Study, planned: Sequence[Row], latest: Mapping[str, Outcome], n: int) -> _Seen:
        of_label: dict[str, list[Row]] = {}
        for row in planned:
            if row.trial:
                of_label.setdefault(row.label, []).append(row)
        labels = list(of_label)
        identities = {name: tuple(row.trial.identity for row in mine if row.trial) for name, mine in of_label.items()}
        outcomes = {name: [latest.get(one) for one in mine] for name, mine in identities.items()}
        values = np.full((len(labels), n), math.nan)
        for place, name in enumerate(labels):
            found = [_value(outcome, study) for outcome in outcomes[name]]
            values[place, : len(found)] = found
        return cls(labels, baselines(study, planned), outcomes, identities, values)

    def is_idle(self, name: str) -> bool:
        """Whether more than half of the trials of a variant and of what it is compared with learnt nothing."""
        trials = [*self.outcomes[name], *self.outcomes[self.baselines[name]]]
        health = [outcome.tags.get("ablation.health") for outcome in trials if outcome]
        return health.count(NO_LEARNING) > len(health) / 2

    @property
    def is_whole(self) -> bool:
        """Whether every trained seed of every variant has a finite value."""
        return all(
            np.isfinite(self.values[place, : len(self.outcomes[name])]).all() for place, name in enumerate(self.labels)
        )


def baselines(study: Study, planned: Sequence[Row]) -> dict[str, str]:
    """Returns variant → the one that it is compared with: the reference, the step before, or by `plan.within`."""
    has_trial = {row.label: row.trial is not None for row in planned}
    if study.plan.design == "cumulative":
        names = list(has_trial)
        pairs = dict(zip(names[1:], names, strict=False))
    elif study.plan.within:
        values = {row.label: row.values for row in planned}
        pairs = {}
        for name, of in values.items():
            own = study.reference | {key: of[key] for key in study.plan.within}
            same = next((other for other, values_of in values.items() if values_of == own), name)
            pairs |= {name: same} if same != name else {}
    else:
        first = next((row.label for row in planned if row.is_reference), None)
        pairs = {name: first for name in has_trial if name != first} if first else {}
    return {name: first for name, first in pairs.items() if has_trial[name] and has_trial[first]}


def comparisons(labels: Sequence[str], pairs: Mapping[str, str], *, tested: Sequence[str]) -> Family:
    """Returns the comparisons of variants with what they are compared with."""
    weights = np.zeros((len(tested), len(labels)))
    for row, name in enumerate(tested):
        weights[row, labels.index(name)] += 1
        weights[row, labels.index(pairs[name])] -= 1
    return Family(list(tested), weights)


def effects(study: Study, planned: Sequence[Row], labels: Sequence[str]) -> Family:
    """Returns the main effects and two-way interactions of a factorial design that are not aliased."""
    none = Family([], np.empty((0, len(labels))))
    if study.plan.design not in FACTORIAL or study.plan.intervals or len(study.factors) < 2:
        return none
    values = {row.label: row.values for row in planned if row.trial}
    present = {key: {as_typed(values[name][key]) for name in labels} for key in study.factors}
    ordered = {key: [study.reference[key], *levels] for key, levels in study.factors.items()}
    varied = {
        key: [name for name in dict.fromkeys(map(as_typed, levels)) if name in present[key]]
        for key, levels in ordered.items()
    }
    varied = {key: names for key, names in varied.items() if len(names) > 1}
    if len(varied) < 2:
        return none
    model = contrasts.model_of([tuple(as_typed(values[name][key]) for key in varied) for name in labels], varied)
    weights = np.array([contrasts.weights_of(model, *effect) for effect in model.effects])
    names = [
        " × ".join(f"{key}={varied[key][value]}" for key, value in zip(term, chosen, strict=True))
        for term, chosen in model.effects
    ]
    kept = [
        place
        for place, mixed in enumerate(contrasts.aliased(model, weights))
        if not mixed and np.isfinite(weights[place]).all()
    ]
    return Family([names[place] for place in kept], weights[kept])


def _value(outcome: Outcome | None, study: Study) -> float:
    if outcome is None or outcome.status != FINISHED:
        return math.nan
    value = outcome.metrics.get(study.metric)
    if value is None and study.metric == best_name(study.metrics[0]):
        value = outcome.best_validation
    return math.nan if value is None or not math.isfinite(value) else float(value)


def _without_test(seen: _Seen) -> tuple[dict[str, str], dict[str, str]]:
    """Returns variant → why it is not tested, and variant → an earlier one with the same trials."""
    verdicts: dict[str, str] = {}
    twins: dict[str, str] = {}
    first_of: dict[Any, str] = {}
    for name, first in seen.baselines.items():
        count = min(len(seen.outcomes[name]), len(seen.outcomes[first]))
        ours, theirs = (seen.values[seen.labels.index(one), :count] for one in (name, first))
        twin = first_of.setdefault((seen.identities[name], first), name)
        if seen.identities[name][:count] == seen.identities[first][:count]:
            verdicts[name] = SAME
        elif twin != name:
            verdicts[name], twins[name] = SAME, twin
        elif not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
            verdicts[name] = NO_VERDICT
        elif None not in _weights(seen, name, count) == _weights(seen, first, count) and are_alike(ours, theirs):
            verdicts[name] = CHANGED_NOTHING
    return verdicts, twins


def _weights(seen: _Seen, name: str, count: int) -> tuple[str | None, ...]:
    """Returns the hashes of the trained weights of the first seeds of a variant."""
    return tuple(outcome.tags.get("ablation.weights") if outcome else None for outcome in seen.outcomes[name][:count])


def _decided(seen: _Seen, family: Family, used: Rule, study: Study) -> Decisions:
    """Returns what the looks so far decide about the comparisons of a family."""
    by_seed = racing.differences(seen.values, family.weights)
    scale = float(np.nanmax(np.abs(seen.values), initial=0.0))
    finest = grid(seen.values.ravel())
    sizes = np.sqrt((family.weights**2).sum(axis=1))[:, None] / math.sqrt(2)  # 1 for a difference of two variants
    coarse = sizes * np.array([hidden(finest, n) for n in used.looks]) if math.isfinite(finest) else math.inf
    return sequential.decide(
        sequential.estimates(by_seed, used.looks, scale=scale), used, margin=margin(study), hidden=coarse
    )


def margin(study: Study) -> float | None:
    """Returns the difference that is too small to matter: the plan's, else the metric's own."""
    return study.compared.margin if study.plan.margin is None else study.plan.margin


def _words(names: Sequence[str], made: Decisions, sign: int, *, of_effects: bool = False) -> dict[str, str]:
    words = {}
    for name, kind, change in zip(names, made.kind, made.sign, strict=True):
        is_interaction = of_effects and " × " in name
        shown = INTERACT if is_interaction else direction(float(change), sign)
        words[name] = {DIFFERENT: shown, EQUIVALENT: NO_DIFFERENCE, FUTILE: SET_ASIDE}.get(int(kind), OPEN)
    return words


def _decided_at(names: Sequence[str], made: Decisions, used: Rule) -> dict[str, int]:
    return {name: used.looks[look] for name, look in zip(names, made.look, strict=True)}


def _seeds(seen: _Seen, name: str) -> int:
    return len(seen.outcomes[name])


def _continuing(
    seen: _Seen, family: Family, made: Decisions, of_effects: Family, made_effects: Decisions
) -> tuple[str, ...]:
    """Returns the variants that an open comparison or effect needs, and those that are the same trials anyway."""
    is_needed = np.zeros(len(seen.labels), bool)
    for part, decisions in ((family, made), (of_effects, made_effects)):
        if part.names:
            is_needed |= racing.needed(part.weights, decisions.kind == sequential.UNDECIDED)
    going = {seen.identities[name] for name, is_one in zip(seen.labels, is_needed, strict=True) if is_one}
    return tuple(name for name in seen.labels if seen.identities[name] in going)


def text(look: Look, study: Study) -> str:
    """Returns what a look decided, as lines for the terminal."""
    planned = study.rule
    assert planned is not None
    lines = [f"look {look.number} of {len(planned.looks)}, at {look.seeds} seeds:"]
    by_word: dict[str, list[str]] = {}
    for name, word in {**look.verdicts, **look.effects}.items():
        by_word.setdefault(word, []).append(one_line(name))
    lines += [f"  {word}: {_listed(names)}" for word, names in by_word.items()]
    if look.continues:
        rest = planned.looks[look.number] - look.seeds
        lines.append(f"  {counted(rest, 'more seed')} of {_listed(look.continues)}")
    elif look.number < len(planned.looks):
        lines.append(f"  nothing is open: {planned.horizon - look.seeds} of {planned.horizon} seeds are not needed")
    return "\n".join(lines)


def joined(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the looks of a plan that is continued: repeated looks keep the time at which they were first taken."""
    times = {look["n"]: look["time"] for look in old}
    repeated = [{**look, "time": times.get(look["n"], look["time"])} for look in new]
    return [*repeated, *(dict(look) for look in old[len(repeated) :])]


def saved_text(study: Study, looks: Sequence[Look], planned: Sequence[Row]) -> str:
    """Returns at which look each variant was decided, and the trials that the race saved."""
    if not looks:
        return ""
    trained = len({row.trial.identity for row in planned if row.trial})
    most = len({row.trial.identity for row in planned if row.trial and row.seed == study.seeds[0]}) * len(study.seeds)
    lines = [f"{trained:,} of at most {most:,} trials ({trained / most:.0%}) after {counted(len(looks), 'look')}"]
    for name, word in looks[-1].verdicts.items():
        at = f", at {looks[-1].decided_at[name]} seeds" if name in looks[-1].decided_at else ""
        lines.append(f"  {one_line(name)}: {word}{at}")
    return "\n".join(lines)


def trials(study: Study, variants: Sequence[Variant]) -> int:
    """Returns the number of trials if every variant trains every seed."""
    first = study.rows(variants, seeds=study.seeds[:1])
    return len({row.trial.identity for row in first if row.trial}) * len(study.seeds)


def check_size(study: Study, variants: Sequence[Variant]) -> None:
    """Raises `SettingsError` if the variants with all seeds are more trials than a plan may have."""
    count = len(variants) * len(study.seeds)
    if count > MAX_TRIALS:
        raise SettingsError(
            f"{len(variants):,} variants with up to {len(study.seeds):,} seeds make {count:,} trials; allowed: up to "
            f"{MAX_TRIALS:,}. Lower plan.max_seeds, or use fewer levels"
        )


def plan_text(
    study: Study, variants: Sequence[Variant], planned: Sequence[Row], spread: tuple[float, str] | None
) -> list[str]:
    """Returns what the design will train and can detect, as lines of the plan.

    Args:
      study: the study.
      variants: all variants of the design.
      planned: rows that have each variant.
      spread: standard deviation of a paired difference, and where it is from; None if unknown.
    """
    used = study.rule
    is_race = study.plan.max_seeds is not None
    pairs = baselines(study, planned)
    labels = list(dict.fromkeys(row.label for row in planned if row.trial))
    family = comparisons(labels, pairs, tested=list(pairs))
    lines = []
    if is_race and used is not None:
        shown = ", ".join(map(str, used.looks[:-1])) + f" and {used.looks[-1]}" * (len(used.looks) > 1)
        lines.append(
            f"  looks at {shown or used.looks[0]} seeds (plan.stopping={used.stopping}), false verdicts 5 % in all"
        )
        lines.append(f"  {_expected(study, variants, planned, family, labels, used, spread)}")
    return lines + _power(study, len(family.names), used if is_race else None, spread)


def _expected(
    study: Study,
    variants: Sequence[Variant],
    planned: Sequence[Row],
    family: Family,
    labels: Sequence[str],
    used: Rule,
    spread: tuple[float, str] | None,
) -> str:
    least = margin(study)
    most = f"at most {counted(trials(study, variants), 'trial')}"
    if spread is None or least is None or not family.names:
        missing = "no margin is set" if least is None else "no earlier study tells the spread; set plan.spread"
        return f"{most} (how many are to be expected is unknown: {missing})"
    means = np.array([0.0 if name not in family.names else least for name in labels])
    if study.plan.design == "cumulative":
        means = np.cumsum(means)
    families = [part.weights for part in (family, effects(study, planned, labels)) if part.names]
    count = racing.expected_trials(families, means, rule=used, margin=least, spread=spread[0])
    return f"{most}, about {count:.0f} expected for effects of the margin's size (±{least:g})"


def _power(study: Study, count: int, used: Rule | None, spread: tuple[float, str] | None) -> list[str]:
    """Returns the smallest change that the design detects, and a warning if that is more than the margin."""
    if spread is None or not count or len(study.seeds) < 2:
        return []
    sd, source = spread
    least, metric = margin(study), study.compared
    smallest = racing.detectable(used, seeds=len(study.seeds), comparisons=count) * sd
    places = metric.digits + 1
    seeds = f"{'up to ' if used else ''}{counted(len(study.seeds), 'seed')}"
    lines = [
        f"  detects a change in {metric.shown} of {smallest:.{places}f} with a power of 80 %: "
        f"{seeds}, {counted(count, 'comparison')}, differences with a standard deviation of {sd:.{places}f} ({source})"
    ]
    if math.isfinite(smallest):
        chances = [
            f"{racing.power(size / sd, used, seeds=len(study.seeds), comparisons=count):.0%} for {size:.{places}f}"
            for size in (share * smallest for share in SHARES)
        ]
        lines.append(f"  chance of a verdict by the size of the true change: {', '.join(chances)}")
    if least is not None and smallest > least:
        enough = racing.seeds_for(least / sd, comparisons=count)
        many = f"about {enough} seeds" if enough else "more than 1,000 seeds"
        lines.append(f"  warning: the margin {least:g} is out of reach; a change of its size needs {many}")
    return lines


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(listed[:AT_MOST])
    return shown if len(listed) <= AT_MOST else f"{shown} and {len(listed) - AT_MOST} more"
