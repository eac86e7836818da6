"""The findings of a study: its trials, compared as its design requires. Tables, figures and the report show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import contrasts, effects, factorial, times
from analysis.load import Study
from analysis.provenance import caution
from analysis.rows import (
    BATCHES,
    DROPPED,
    FINISHED,
    MEMORY,
    PADDED,
    PARAMETERS,
    PER_BATCH,
    PER_EPOCH,
    STEADY_EPOCH,
    TRACES,
    TRACING,
    TRAINING,
)
from analysis.store import StoreError, nearest
from src.spec.metric import STEPS_TO, TEST, Metric
from src.study.designs import STEPWISE
from src.study.timing import Pass

TIMES = (PER_BATCH, PER_EPOCH, STEADY_EPOCH)
COSTS = (PADDED, PARAMETERS, MEMORY, TRACES, TRACING)
USUAL_TRACES = 2  # of the training step: one for full batches, one for the smaller last batch
SHORT = "steps_to"  # name on the command line of the number of steps to the plan's threshold


@dataclass(frozen=True, eq=False)
class Findings:
    """A study with its comparisons.

    Attributes:
      study: the loaded study.
      metric: the metric that variants are compared by, under its full name.
      margin: difference that is too small to matter; None if no margin is set.
      time: the metric that times are compared by: the time of a steady batch, or of a whole epoch where variants differ
        in their steps per epoch or where some trace more than usual.
      timing: the timing pass that the ratios of times come from; None if they come from the times while training.
      is_stepwise: each variant is compared with the step before, not with the reference.
      within: toggles at whose values variants are compared, each with the reference's other values; empty for none.
      rows: the study's rows that were not dropped, with `within` where there are several references.
      compared: the frame that `effects.paired` returns for them.
      summary: one row per variant: the columns of `compared`, every varied toggle, and the mean costs over its finished
        seeds.
      factorial: the frame that `factorial.fit` returns, or None.
      no_factorial: the reason why `factorial` is None; None if it is not, or if the design is not factorial.
      unchanged: variants whose trained weights equal their reference's, seed for seed → whether all that the test
        measured is equal, too.
      rejected: variants that a path tried and did not keep.
      also: full names of further metrics that tables show.
    """

    study: Study
    metric: Metric
    margin: float | None
    time: str
    timing: Pass | None
    is_stepwise: bool
    within: list[str]
    rows: pd.DataFrame
    compared: pd.DataFrame
    summary: pd.DataFrame
    factorial: pd.DataFrame | None
    no_factorial: str | None
    unchanged: dict[str, bool]
    rejected: list[str]
    also: list[str]

    @property
    def caution(self) -> str:
        """How far the ratios of times can be believed; empty if nothing speaks against them."""
        return times.check(self.timing) if self.timing else caution(self.rows)

    @property
    def times_mark(self) -> str:
        """What stands after the name of a time in a heading: `(timing pass)`, `(rough)` or nothing."""
        return " (timing pass)" if self.timing else self.training_mark

    @property
    def training_mark(self) -> str:
        """The same for times that were taken while training."""
        return " (rough)" if caution(self.rows) else ""

    def ratios(self, rows: pd.DataFrame) -> times.Ratios:
        """Returns the ratios of times between the variants of rows, as `effects.paired` takes them."""
        return _ratios(rows, self.time, self.timing)

    @property
    def seeds(self) -> int:
        """The largest number of pairs of any variant."""
        return int(self.compared["n"].max())


def find(
    study: Study,
    *,
    metric: str | None = None,
    margin: float | None = None,
    toggle: str | None = None,
    within: Sequence[str] | None = None,
    also: Sequence[str] | None = None,
) -> Findings:
    """Returns the findings of a study.

    Args:
      study: the loaded study.
      metric: name of a metric (`perplexity` is short for `test/perplexity`), or `steps_to`; default: the study's.
      margin: difference that is too small to matter; default: the study's, for its own metric.
      toggle: compare the values of this toggle, all else being equal; default: all variants with the reference, or in a
        cumulative design and a path every step with the one before.
      within: compare at each value of these toggles, with the variant that has the reference's other values; default:
        those of the plan.
      also: names of further metrics that tables show; default: those of the plan.

    Raises:
      StoreError: nothing has finished, there is no such metric or toggle, or no two variants can be compared so.
    """
    if study.finished.empty:
        raise StoreError(
            f"study {study.name!r} has no finished trial yet ({study.counts}); run its command again to resume"
        )
    compared_by = metric_of(study, metric)
    margin = default_margin(study, compared_by) if margin is None else margin
    held = _held(study, toggle, within)
    is_stepwise = toggle is None and study.plan["design"] in STEPWISE
    rows, rejected = _steps(study) if is_stepwise else (_unchained(study, toggle, held), [])
    time, timing = _compared_time(study)
    ratios = _ratios(rows, time, timing)
    compared = effects.paired(rows, metric=compared_by, margin=margin, ratios=ratios, rule=study.rule)
    if (toggle or held) and not (compared.loc[~compared["is_reference"], "pairs"] > 0).any():
        what = f"differ in {toggle} alone; leave --toggle out, or see table --factorial"
        if held:
            same = " and ".join(held)
            what = f"with the same {same} differ from each other by what the reference has; leave --within out"
        raise StoreError(f"no two variants of {study.name} {what}")
    table, why_not = _factorial(study, compared_by, margin)
    shown = _also(study, also)
    return Findings(
        study=study,
        metric=compared_by,
        margin=margin,
        time=time,
        timing=timing,
        is_stepwise=is_stepwise,
        within=held,
        rows=rows,
        compared=compared,
        summary=_summary(study, rows, compared, is_stepwise=is_stepwise, also=shown, timing=timing),
        factorial=table,
        no_factorial=why_not,
        unchanged=effects.equal_weights(rows),
        rejected=rejected,
        also=shown,
    )


def _check_toggle(study: Study, toggle: str) -> None:
    """Raises `StoreError` if the values of a toggle cannot be compared within the study."""
    _check_varied(study, toggle)
    if toggle not in study.factors:
        linked: list[str] = next((group for group in study.plan["linked"] if toggle in group), [])
        if linked and study.factors:
            raise StoreError(
                f"--toggle {toggle}: it changes together with {linked[0]} (plan.linked), so that no two variants "
                f"differ in {toggle} alone; leave --toggle out"
            )
        raise StoreError(
            f"--toggle needs a grid, and the design of {study.name} is {study.plan['design']}: it compares every "
            "variant with one reference; leave --toggle out"
        )


def _held(study: Study, toggle: str | None, within: Sequence[str] | None) -> list[str]:
    """Returns the toggles at whose values variants are compared: those asked for, or the plan's if nothing is asked.

    Raises:
      StoreError: variants cannot be compared as asked.
    """
    if toggle is not None:
        _check_toggle(study, toggle)
    if within:
        _check_within(study, within, toggle)
    if within is None and toggle is None:
        within = study.plan.get("within")
    return list(within or [])


def _check_within(study: Study, within: Sequence[str], toggle: str | None) -> None:
    """Raises `StoreError` if variants cannot be compared at each value of these toggles."""
    if toggle is not None:
        raise StoreError("--toggle compares with all else being equal, so --within adds nothing; leave one of them out")
    for key in within:
        _check_varied(study, key)
    design = study.plan["design"]
    if design in STEPWISE:
        raise StoreError(f"the design {design} compares every step with the one before; leave --within out")
    if set(study.toggles) <= set(within):
        raise StoreError(f"--within {','.join(within)} leaves no toggle to compare; leave one of them out")


def _check_varied(study: Study, toggle: str) -> None:
    if toggle not in study.toggles:
        raise StoreError(f"{toggle!r} was not varied in {study.name}; varied: {', '.join(study.toggles) or 'nothing'}")


def _steps(study: Study) -> tuple[pd.DataFrame, list[str]]:
    """Returns the rows of a stepwise design, each step compared with the one before, and the rejected steps."""
    rows = study.seen
    steps = contrasts.chain(rows, study.plan["design"], study.toggles, validation=study.validation)
    return contrasts.stepwise(rows, steps), [label for label in dict.fromkeys(rows["label"]) if label not in steps]


def _unchained(study: Study, toggle: str | None, within: Sequence[str]) -> pd.DataFrame:
    """Returns the rows that are compared with one reference, for a toggle all else being equal, or within values."""
    rows = study.seen[study.seen["status"] != DROPPED]
    if within:
        return contrasts.within_values(rows, within, study.toggles)
    return contrasts.within_toggle(rows, toggle, study.toggles) if toggle else rows.assign(within="")


def _also(study: Study, asked: Sequence[str] | None) -> list[str]:
    """Returns the full names of the further metrics: those asked for, which some trial must have, or the plan's.

    The number of steps to the target is left out: tables show its median.
    """
    names = study.plan["also"] if asked is None else [metric_of(study, name).name for name in asked]
    return [name for name in (full_name(study, name) for name in names) if not name.startswith(STEPS_TO)]


def metric_of(study: Study, asked: str | None) -> Metric:
    """Returns a metric by its name on the command line; the study's own for None.

    Raises:
      StoreError: no trial has the metric.
    """
    name = full_name(study, asked)
    steps_to = study.steps_to
    if name.startswith(STEPS_TO) and (steps_to is None or name != steps_to.name):
        raise StoreError(_of_target(study, asked or name))
    columns = [column for column in study.rows.columns if "/" in column and column not in study.toggles]
    is_waiting = steps_to is not None and name == steps_to.name
    if name not in columns or (study.rows[name].isna().all() and not is_waiting):
        available = sorted(column for column in columns if study.rows[column].notna().any())
        there = [*available, *([SHORT] if steps_to else [])]
        raise StoreError(f"no trial of {study.name} has the metric {asked or name!r}; {nearest(asked or name, there)}")
    return study.meaning(name)


def full_name(study: Study, asked: str | None) -> str:
    """Returns the full name of a metric (`perplexity` → `test/perplexity`); the study's own metric for None."""
    name = asked or str(study.plan["metric"])
    if name in {metric.name for metric in study.metrics}:
        return f"{TEST}{name}"
    steps_to = study.steps_to
    return (steps_to.name if steps_to else STEPS_TO) if name == SHORT else name


def _of_target(study: Study, asked: str) -> str:
    first = study.metrics[0]
    if study.steps_to is None:
        why = "no direction" if not first.sign else "no value to reach (plan.threshold)"
        return f"{study.name} counts no steps to a target, as its validation {first.shown} has {why}"
    what = f"a validation {first.shown} of {study.plan['threshold']:g}"
    return f"the target of {study.name} is {what}: write --metric {SHORT}, not {asked!r}"


def default_margin(study: Study, metric: Metric) -> float | None:
    """Returns the difference in a metric that is too small to matter, or None.

    For the study's own metric it is the study's margin, else the metric's.
    """
    if metric.name == full_name(study, None) and study.plan["margin"] is not None:
        return float(study.plan["margin"])
    return metric.margin


def _compared_time(study: Study) -> tuple[str, Pass | None]:
    """Returns the name of the time by which this study's variants can be compared, and the timing pass that has it.

    It is usually the time of a steady step. A step is not the same amount of work where epochs have different numbers
    of steps, and it leaves out the cost of a variant that traces more often than usual. In both cases the variants are
    compared by the time of a whole epoch. A timing pass measures steady steps, and so the epochs that consist of them,
    but no tracing.
    """
    finished = study.finished
    is_trained = finished.reindex(columns=[PER_EPOCH, PER_BATCH]).notna().any(axis=1)  # in steps: not a fitted model
    counts = finished[is_trained].get(BATCHES)
    traces = finished[finished["resumed"].isna()].get(TRACES)  # a resumed trial was traced by two processes
    differ = "accumulate" in study.toggles or (counts is not None and float(counts.max()) > 1.05 * float(counts.min()))
    is_usual = traces is None or not (traces > USUAL_TRACES).any()
    timing = study.timing if is_usual and _is_timed(study) else None
    if timing is None and PER_BATCH not in finished and TRAINING in finished:
        return TRAINING, None  # runs that others recorded have the time of a run
    if not differ and is_usual:
        return PER_BATCH, timing
    if timing is not None:
        return STEADY_EPOCH, timing
    measured = [
        name for name in (PER_EPOCH, STEADY_EPOCH) if name in study.finished and study.finished[name].notna().any()
    ]
    return (measured[0] if measured else PER_BATCH), None


def _is_timed(study: Study) -> bool:
    """Returns whether the study's timing pass timed a variant and the reference that the rows have."""
    timed = {one.identity for one in study.timing.variants} if study.timing else set()
    is_timed = study.rows["identity"].isin(timed)
    return bool((is_timed & study.rows["is_reference"]).any() and (is_timed & ~study.rows["is_reference"]).any())


def _ratios(rows: pd.DataFrame, time: str, timing: Pass | None) -> times.Ratios:
    if timing is None:
        return times.while_training(rows, time)
    return times.in_pass(rows, timing, of_epochs=time != PER_BATCH)


def _factorial(study: Study, metric: Metric, margin: float | None) -> tuple[pd.DataFrame | None, str | None]:
    if len(study.factors) < 2:
        return None, None
    rows = study.seen[study.seen["status"] != DROPPED]
    try:
        return factorial.fit(rows, study.factors, metric=metric, margin=margin, rule=study.rule), None
    except factorial.NotEnough as reason:
        return None, f"Main effects and interactions are not shown: {reason}."


def _summary(
    study: Study,
    rows: pd.DataFrame,
    compared: pd.DataFrame,
    *,
    is_stepwise: bool,
    also: Sequence[str],
    timing: Pass | None,
) -> pd.DataFrame:
    keys = ["within", "label"]
    firsts = rows.drop_duplicates(keys)
    costs = firsts[[*keys, *study.toggles]].set_index(keys)
    finished = rows[rows["status"] == FINISHED]
    done = finished.groupby(keys, sort=False)
    places = [done.indices.get(variant, []) for variant in costs.index]
    for name in dict.fromkeys((*(f"{TEST}{metric.name}" for metric in study.metrics), *COSTS, *also)):
        if name in rows:
            costs[f"mean {name}"] = done[name].mean()
    for name in TIMES:
        if name in rows:
            values = finished[name].to_numpy(float)
            costs[f"mean {name}"] = [_geometric(values[mine]) for mine in places]
    if timing is not None:
        medians = {one.identity: one.median for one in timing.variants}
        of_rows = rows.assign(median=rows["identity"].map(medians)).groupby(keys, sort=False)["median"]
        costs[f"mean {PER_BATCH}"] = of_rows.first()
    # a target that was never reached counts as later than any other; a mean would be over only those that reached it
    steps = finished[study.steps_to.name] if study.steps_to else pd.Series(math.nan, finished.index)
    reached = finished[keys].assign(steps=steps.fillna(math.inf), never=steps.isna()).groupby(keys)
    costs["steps_to"], costs["steps_to_never"] = reached["steps"].median(), reached["never"].sum()
    table: pd.DataFrame = compared.merge(costs.reset_index(), on=keys, how="left")
    if is_stepwise:  # a step's reference is the step before, which already has a row
        table = table[~table["is_reference"] | ~table["is_reference"].cummax().shift(fill_value=False)]
    return table.reset_index(drop=True)


def _geometric(values: np.ndarray) -> float:
    """Returns the geometric mean of the values that are not nan; nan if all are."""
    finite = values[~np.isnan(values)]
    with np.errstate(divide="ignore"):  # a time of zero makes a mean of zero
        return float(np.exp(np.log(finite).mean())) if len(finite) else math.nan
