"""The figures of a study: the built-in ones that fit what it varied, and those of its task."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import causes, contrasts, drawing, effects, factorial, rungs
from analysis.factorial import CONDITIONS, INTERACTION, MAIN
from analysis.findings import Findings
from analysis.groups import differs_too, grouped, looks_of, mean_curves, means_of_variants, seeds, whole_seeds, within
from analysis.load import Study
from analysis.looks import MAX_VARIANTS, break_labels, in_lines, looks, style
from analysis.provenance import caution
from analysis.rows import DROPPED, PADDED, PARAMETERS, STEP_TIME, is_steps_to, title
from analysis.texts import number_of
from src.inference import racing
from src.inference.student import interval
from src.inference.verdicts import CANNOT_TELL
from src.spec.metric import TRAIN, VAL, Metric
from src.spec.section import as_typed
from src.terminal.errors import first_line
from src.terminal.visible import one_line

HEIGHT = 3.6  # inches; the same for every figure except the forest, so that they fit side by side
PADDING_DIFFERS = (
    0.01  # least difference in the share of padded steps between two values of a toggle for it to be drawn
)
LEAST_SIZES = 3  # different numbers of parameters that a figure of ratios by size needs
MAX_PATHS = 6  # variants in a figure with a panel for each
MAX_ROWS = 60  # variants in a figure with a row for each
MAX_POINTS = 200  # of a curve
TIMES_SEEDS = (1, 2, 4)  # numbers of seeds for which the power is drawn, as multiples of the study's
Picture = tuple[Figure, str]  # with its caption


@dataclass(frozen=True)
class Drawn:
    """A figure with its caption."""

    name: str
    caption: str
    figure: Figure


def draw(findings: Findings, names: Sequence[str] = ()) -> Iterator[Drawn]:
    """Yields the figures that fit this study, in the order of a report; only the named ones if names are given."""
    for name in names or FIGURES:
        drawn = one(findings, name)
        if drawn is not None:
            yield drawn


def one(findings: Findings, name: str) -> Drawn | None:
    """Returns one figure by its name (`FIGURES`), or None if it does not fit the study."""
    with style():
        picture = FIGURES[name](findings)
        if picture is not None:
            break_labels(picture[0])
    return None if picture is None else Drawn(name, picture[1], picture[0])


def _forest(findings: Findings) -> Picture | None:
    shown = findings.compared[~findings.compared["is_reference"]]
    if not 0 < len(shown) <= MAX_ROWS or shown["change"].isna().all():
        return None
    has_times = bool(shown["time_ratio"].notna().any())
    longer = sum(in_lines(label).count("\n") for label in shown["label"])  # lines of names after the first
    height = max(2.2, 1.2 + 0.5 * len(shown) + 0.17 * longer)
    figure = Figure(figsize=(11 if has_times else 8, height), layout="constrained")
    both = figure.subplots(
        1, 2 if has_times else 1, sharey=has_times, width_ratios=[5, 3] if has_times else None, squeeze=False
    )[0]
    drawing.forest(
        both[0],
        findings.compared,
        effects.single(findings.rows, findings.metric),
        metric=findings.metric,
        margin=findings.margin,
    )
    against = "the step before" if findings.is_stepwise else "the reference"
    dots = "95 % intervals, single seeds as dots" if (shown["n"] > 1).any() else "single seed, no intervals"
    counts = f" over {seeds(shown['n'])}" if (shown["n"] > 1).any() else ""
    caption = f"Change in {title(findings.metric)} from {against}, paired by seed{counts}: {dots}"
    caption += f"; the band is the margin of ±{findings.margin:g}." if findings.margin is not None else "."
    if has_times:
        time = title(findings.study.meaning(findings.time))
        drawing.cost(both[1], findings.compared, unit=time)
        caption += f" Right: {time} as a multiple of {against}'s. {findings.caution}".rstrip()
    filled = (
        f" Filled marks have a verdict{' (right: p below 0.05 after Holm)' if has_times else ''}."
        if (shown["n"] > 1).any()
        else ""
    )
    return figure, f"{caption}{filled}"


def _waterfall(findings: Findings) -> Picture | None:
    if not findings.is_stepwise or len(findings.summary) < 2:
        return None
    figure, axes = _figure(max(6.0, 1.3 * len(findings.summary)))
    drawing.waterfall(
        axes, findings.summary.replace({"mean": {math.inf: math.nan}}), looks_of(findings), metric=findings.metric
    )
    has_intervals = findings.summary["low"].notna().any()
    with_what = f", with the 95 % interval of its change over {seeds(findings.summary['n'])}" if has_intervals else ""
    single = "" if has_intervals or findings.seeds > 1 else " Single seed: no intervals."
    return figure, f"What each step changed in {title(findings.metric)} from the step before{with_what}.{single}"


def _metric_by_time(findings: Findings) -> Picture | None:
    is_other = findings.metric.ratio or is_steps_to(findings.metric)
    metric = findings.study.first if is_other else findings.metric
    time, done = findings.time, findings.study.finished
    if time not in done or metric.name not in done:
        return None
    change = findings.compared["change"].abs().fillna(0.0).mask(findings.compared["is_reference"], math.inf)
    far = findings.compared.assign(size=change).sort_values("size", ascending=False, kind="stable")
    shown = far.drop_duplicates("label")["label"].head(MAX_VARIANTS)
    left_out = done["label"].nunique() - len(shown)
    points = _points(findings, done[done["label"].isin(shown)], metric)
    if len(points) < 2:
        return None
    figure, axes = _figure(6.5)
    unit = title(findings.study.meaning(time))
    drawing.metric_by_time(axes, points, looks_of(findings, points["label"]), metric=metric, unit=unit)
    drawing.legend_beside(figure, axes)
    over = "single seed, no intervals"
    if points["seeds"].max() > 1:
        over = f"means over {seeds(points['seeds'])} (of times geometric), 95 % intervals of each variant alone"
    are = f"{number_of(left_out, 'variant')} nearer to the reference {'is' if left_out == 1 else 'are'}"
    limits = " ".join(filter(None, (f"{are} left out." if left_out > 0 else "", caution(findings.rows))))
    what = title(metric)
    return figure, f"{_sentence(what)} against {unit}: {over}. {limits}".strip()


def _points(findings: Findings, done: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Returns metric and time of each variant, both with intervals, its seeds, and whether all of them finished."""
    planned = findings.rows.groupby("label")["seed"].nunique()
    rows = []
    for name, part in done.groupby("label", sort=False):
        values = part[metric.name].to_numpy(float)
        finite = values[np.isfinite(values)]
        value, log = within(interval(finite), metric), interval(np.log(part[findings.time].dropna().to_numpy(float)))
        if math.isnan(value.mean) or math.isnan(log.mean):
            continue
        count, is_finite = part["seed"].nunique(), len(finite) == len(values)
        rows.append({
            "label": name, "value": value.mean, "low": value.low, "high": value.high,
            "time": math.exp(log.mean), "time_low": math.exp(log.low), "time_high": math.exp(log.high),
            "seeds": count, "is_whole": is_finite and count == planned.get(name, count),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _curves(findings: Findings) -> Picture | None:
    found = _first_curve(findings.study)
    rows, groups = grouped(findings)
    if rows.empty or found is None:
        return None
    metric, history = found
    steps = findings.study.steps
    seconds = steps.assign(seconds=steps.groupby("run_id")[STEP_TIME].cumsum() / 1_000)[["run_id", "step", "seconds"]]
    points = (
        rows[["run_id", "group", "seed"]]
        .drop_duplicates()
        .merge(history, on="run_id")
        .merge(seconds, on=["run_id", "step"], how="left")
    )
    points["number"] = points.groupby(["group", "run_id"]).cumcount()
    points = points[points["number"] % math.ceil((points["number"].max() + 1) / MAX_POINTS) == 0]
    points = points.sort_values("number", kind="stable")  # the groups stay in the plan's order
    table, look = mean_curves(points, metric), looks_of(findings, rows)
    has_times = bool(table["seconds"].notna().any())
    figure, both = _figure(9.5 if has_times else 6.5, columns=2 if has_times else 1)
    both = np.atleast_1d(both)
    unit = "optimizer steps" if len(steps) else "steps"  # what a program calls a step may be an epoch
    drawing.curves(both[0], table, look, x="step", unit=unit, metric=metric)
    if has_times:
        drawing.curves(both[1], table, look, x="seconds", unit="training time (s)", metric=metric)
        both[1].set_ylabel("")
    drawing.legend_beside(figure, both[0])
    counts = rows.groupby("group")["seed"].nunique()
    over = f"mean and 95 % interval over {seeds(counts)}" if counts.max() > 1 else "single seed, no intervals"
    what = title(metric)
    by = f"by step{' and by training time' if has_times else ''}"
    return figure, f"{_sentence(what)} {by}, {groups}: {over}."


def _first_curve(study: Study) -> tuple[Metric, pd.DataFrame] | None:
    """Returns the first metric with two values over time in a trial, and its values; None if there is none.

    Validation comes before training, and the study's first metric before the others.
    """
    for split in (VAL, TRAIN):
        for each in study.metrics:
            history = study.history(f"{split}{each.name}")
            if len(history) and history["run_id"].value_counts().max() > 1:
                return study.meaning(f"{split}{each.name}"), history
    return None


def _ranges(findings: Findings) -> Picture | None:
    plan = findings.study.plan
    if not plan["intervals"] or plan["selection"]:  # the few that rungs keep are no sample of the interval
        return None
    keys = findings.study.toggles[:MAX_PATHS]
    done = findings.study.finished
    if not keys or findings.metric.name not in done:
        return None
    points = means_of_variants(done, keys, findings.metric)
    if len(points[~points["is_reference"]]) < 2:
        return None
    figure, several = _figure(max(4.5, 3.3 * len(keys)), columns=len(keys))
    for axes, key in zip(np.atleast_1d(several), keys, strict=True):
        levels, bounds = plan["levels"][key], plan["intervals"].get(key)
        drawing.range_of(axes, points, key, bounds, levels=levels, metric=findings.metric)
    for axes in np.atleast_1d(several)[1:]:
        axes.set_ylabel("")
    of_seeds = done.groupby("label")["seed"].nunique()
    over = f"mean over {seeds(of_seeds)}" if of_seeds.max() > 1 else "single seed"
    what = (
        f"{_sentence(title(findings.metric))} of each variant ({over}) against each toggle, while all others vary, too"
    )
    return figure, (
        f"{what}. Bars are means of neighbouring variants, equally many in each, with 95 % intervals over these "
        "variants; the cross is the reference, which was not drawn."
    )


def _time_per_batch(findings: Findings) -> Picture | None:
    steps = findings.study.steps
    rows, groups = grouped(findings)
    steps = rows[["run_id", "group"]].drop_duplicates().merge(steps, on="run_id")
    steps = steps[~steps["is_first"].astype(bool)] if len(steps) else steps
    if steps.empty:
        return None
    figure, axes = _figure(6.5)
    drawing.time_per_batch(axes, steps, looks_of(findings, rows))
    over = seeds(rows.groupby("group")["seed"].nunique())
    what = f"Time per batch, {groups}: the steps of {over} but for those that traced or compiled"
    return figure, f"{what}. {caution(findings.rows)}".strip()


def _heat_map(findings: Findings) -> Picture | None:
    numeric = [key for key in findings.study.toggles if _is_numeric(findings.study.finished[key])]
    rows, left_out = whole_seeds(findings.study)
    if len(numeric) != 2 or rows.empty or not np.isfinite(rows[findings.metric.name].to_numpy(float)).all():
        return None
    places = rows[numeric].drop_duplicates()
    if not all(places[key].duplicated().any() for key in numeric):  # no row or column has two cells
        return None
    figure, axes = _figure(5.8)
    drawing.heat_map(axes, rows, numeric[1], numeric[0], metric=findings.metric)
    what = f"{_sentence(title(findings.metric))} by {numeric[0]} and {numeric[1]}"
    else_too = differs_too(rows, numeric, findings.study.toggles)
    count = rows["seed"].nunique()
    over = (
        f"mean over {seeds([count])} and all else, with half its 95 % interval"
        if count > 1
        else "single seed, no intervals"
    )
    return figure, f"{what}: {over}.{else_too}{left_out}"


def _interaction(findings: Findings) -> Picture | None:
    if findings.factorial is None:
        return None
    unclear = set(
        findings.factorial.loc[(findings.factorial["kind"] == MAIN) & (findings.factorial["aliased"] != ""), "term"]
    )
    estimable = findings.factorial[findings.factorial["share"].notna() & (findings.factorial["kind"] == INTERACTION)]
    is_clear = [
        row["aliased"] == "" and not unclear & set(row["term"].split(":")) for row in estimable.to_dict("records")
    ]
    terms = estimable[np.array(is_clear, bool)]
    strongest = terms.drop_duplicates("term").sort_values("share", ascending=False)["term"].head(3).tolist()
    if not strongest:
        return None
    rows, left_out = whole_seeds(findings.study)
    levels = rows.astype(str).nunique()
    pairs = [sorted(term.split(":"), key=lambda key: levels[key]) for term in strongest]
    figure, several = _figure(3.4 * len(pairs) + 1.2, columns=len(pairs))
    trials = findings.study.rows[findings.study.rows["status"] != DROPPED]
    for axes, (by, toggle) in zip(np.atleast_1d(several), pairs, strict=True):
        means = factorial.means(trials, findings.study.factors, toggle=toggle, by=by, metric=findings.metric)
        drawing.interaction(axes, means, toggle, by, metric=findings.metric)
        if axes is not np.atleast_1d(several)[0]:
            axes.set_ylabel("")
    if len(pairs) == 1:
        drawing.legend_beside(figure, np.atleast_1d(several)[0])
    else:
        for axes in several:
            axes.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    over = seeds([int(findings.factorial["seeds"].iloc[0])])
    what = f"Means of {title(findings.metric)} with 95 % intervals over {over}, for equal shares of all else"
    condition = _condition(terms[terms["term"].isin(strongest)])
    pair = "This pair of toggles has" if len(pairs) == 1 else "These pairs of toggles have"
    share = (
        f" {pair} the largest share{'' if len(pairs) == 1 else 's'} of variance."
        if estimable["term"].nunique() > len(pairs)
        else ""
    )
    return figure, f"{what}; lines that are not parallel interact{condition}.{share}{left_out}"


def _padding(findings: Findings) -> Picture | None:
    keys = [key for key in findings.study.toggles if _changes_padding(findings.study, key)]
    if not keys:
        return None
    rows, _ = grouped(findings, keys)
    rows = rows[rows["seed"] == rows["seed"].min()].drop_duplicates("group")
    steps = rows[["run_id", "group"]].merge(findings.study.steps, on="run_id")
    steps = steps[steps["epoch"] == 1] if len(steps) else steps
    if steps.empty:
        return None
    figure, axes = _figure(6.5)
    drawing.padding_by_batch(axes, steps, looks_of(findings, rows))
    drawing.legend_beside(figure, axes)
    what = "Padded steps of each batch of the first epoch, as a share of all its steps, for one seed"
    return figure, f"{what}; the batches stand in rising order."


def _changes_padding(study: Study, toggle: str) -> bool:
    """Returns whether the share of padded steps depends on a toggle, all else being equal."""
    done, toggles = study.finished, study.toggles
    if PADDED not in done:
        return False
    means = done[PADDED].groupby([done[key].map(as_typed) for key in toggles]).mean().dropna()
    others = [key for key in toggles if key != toggle]
    alike = means.groupby(level=others) if others else means.groupby(lambda _: 0)
    return bool((alike.max() - alike.min() >= PADDING_DIFFERS).any())


def _ratio_by_parameters(findings: Findings) -> Picture | None:
    toggle = _without_parameters(findings.study)
    if toggle is None:
        return None
    planned = findings.study.rows[findings.study.rows["status"] != DROPPED]
    rows = contrasts.within_toggle(planned, toggle, findings.study.toggles)
    compared = effects.paired(rows, metric=findings.metric, margin=None, ratios=findings.ratios(rows))
    compared["parameters"] = compared["within"].map(rows.groupby("within")[PARAMETERS].mean())
    reference = compared.loc[compared["is_reference"], "label"].iloc[0]
    points = compared[~compared["is_reference"] & compared["time_ratio"].notna()].sort_values("parameters")
    if points.empty:
        return None
    figure, axes = _figure(6.5)
    time = title(findings.study.meaning(findings.time))
    drawing.ratio_by_parameters(axes, points, looks([reference, *dict.fromkeys(compared["label"])]), unit=time)
    drawing.legend_beside(figure, axes)
    over = f"over {seeds(points['n'])}, paired by seed" if (points["n"] > 1).any() else "single seed, no intervals"
    limits = "" if (points["n"] <= 1).all() else " with 95 % intervals"
    what = f"{_sentence(time)} as a multiple of that with {reference}, by the parameters of the model"
    return figure, f"{what}: geometric means{limits} {over}. {findings.caution}".strip()


def _without_parameters(study: Study) -> str | None:
    """Returns the first toggle of a grid that leaves the number of parameters, while others change it; else None."""
    done, toggles = study.finished, study.toggles
    if not study.factors or PARAMETERS not in done or done[PARAMETERS].nunique() < LEAST_SIZES:
        return None
    for toggle in toggles:
        others = [done[key].map(as_typed) for key in toggles if key != toggle]
        if others and len(set(done[toggle].map(as_typed))) > 1:
            of_others = done.groupby(others)[PARAMETERS]
            if (of_others.max() == of_others.min()).all():
                return toggle
    return None


def _causes(findings: Findings) -> Picture | None:
    rows = findings.study.rows
    if not causes.has_any(rows):
        return None
    table = causes.counts(rows)
    if not 1 < len(table) <= MAX_ROWS:
        return None
    figure = drawing.counts(table)
    over = seeds(table.sum(axis=1))
    return figure, f"Trials of each variant by the cause that was named from their records alone, over {over}."


def _paths(findings: Findings) -> Picture | None:
    rule = findings.study.rule
    if rule is None or is_steps_to(findings.metric):
        return None
    count = int(findings.compared["comparisons"].max())
    paths = effects.over_looks(findings.rows, metric=findings.metric, rule=rule, comparisons=count)
    shown = list(dict.fromkeys(zip(paths["within"], paths["label"], strict=True)))[:MAX_PATHS]
    if not shown or paths["low"].isna().all():
        return None
    figure, several = _figure(max(4.5, 2.6 * len(shown)), columns=len(shown))
    look = looks_of(findings)
    for axes, (of_within, label) in zip(np.atleast_1d(several), shown, strict=True):
        path = paths[(paths["within"] == of_within) & (paths["label"] == label)]
        drawing.path_of_looks(axes, path, look[label], title_of=label, margin=findings.margin)
    np.atleast_1d(several)[0].set_ylabel(f"change in {title(findings.metric)}")
    comparisons = number_of(count, "comparison")
    what = f"Change in {title(findings.metric)} at each look, with intervals that cover at all looks together"
    return figure, f"{what}; outside the dashed bounds it is decided while all of {comparisons} are open."


def _power(findings: Findings) -> Picture | None:
    """Shows what the declared looks can find, or, if a fixed study left something undecided, what more seeds would."""
    rule, metric = findings.study.rule, findings.metric
    spreads = findings.compared.loc[~findings.compared["is_reference"], "spread"].dropna()
    count = int(findings.compared["comparisons"].max())
    is_open = rule is not None or (findings.compared["verdict"] == CANNOT_TELL).any()
    if not is_open or not count or not (spreads > 0).any() or is_steps_to(metric):
        return None
    spread = float(spreads[spreads > 0].median())
    numbers = [rule.horizon] if rule is not None else [findings.seeds * times for times in TIMES_SEEDS]
    far = [racing.detectable(rule, seeds=n, comparisons=count) for n in numbers]
    if not math.isfinite(far[0]):
        return None
    changes = np.linspace(0, 1.6 * far[0], 25)
    chances = {
        n: [racing.power(float(change), rule, seeds=n, comparisons=count) for change in changes] for n in numbers
    }
    figure, axes = _figure(5.8)
    curves = pd.DataFrame(chances, index=changes * spread)
    drawing.power(axes, curves, unit=title(metric), margin=findings.margin)
    places = metric.digits + 1
    of = ", ".join(map(str, numbers[:-1])) + " or " if numbers[:-1] else "up to "
    family = f"{of}{numbers[-1]} seeds and {number_of(count, 'comparison')}"
    assumed = f"for differences with a standard deviation of {spread:.{places}f} (the median of this study)"
    found = ", ".join(f"of {size * spread:.{places}f} with {n}" for size, n in zip(far, numbers, strict=True))
    what = f"Chance of a verdict with {family}, by the size of the true change, {assumed}"
    return figure, f"{what}. Found in 80 of 100 studies: a change {found} seeds."


def _spent(findings: Findings) -> Picture | None:
    rule, study = findings.study.rule, findings.study
    if rule is None or study.plan["max_seeds"] is None:
        return None
    trained = study.rows[study.rows["status"] != DROPPED].groupby("label", sort=False)["seed"].nunique()
    if not 1 < len(trained) <= MAX_ROWS:
        return None
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(trained)), layout="constrained")
    table = pd.DataFrame({"label": trained.index, "n": trained.to_numpy()})
    drawing.spent(figure.subplots(), table, looks(list(trained.index)), horizon=rule.horizon)
    share = trained.sum() / (len(trained) * rule.horizon)
    return figure, f"Seeds that each variant trained, of at most {rule.horizon}: {share:.0%} of all trials."


def _rungs(findings: Findings) -> Picture | None:
    if not rungs.has_any(findings.study):
        return None
    points, study = rungs.values(findings.study), findings.study
    shown = points[np.isfinite(points["value"])]
    if shown["budget"].nunique() < 2:
        return None
    figure, axes = _figure(6.5)
    judged = list(dict.fromkeys(points.loc[points["number"] == points["of"], "label"]))
    look = looks_of(findings, pd.Series(judged, dtype=object))
    drawing.rungs(axes, shown, look, key=rungs.key(study), metric=study.validation)
    drawing.legend_beside(figure, axes)
    without = points.loc[~points["is_reference"] & points["value"].isna(), "label"].nunique()
    lost = f" Without a value: {number_of(without, 'candidate')}." if without else ""
    over = seeds(study.finished.groupby("label")["seed"].nunique())
    what = f"{_sentence(title(study.validation))} of each candidate at each rung; grey lines end where one left"
    last = f"The last rung has means over {over} with 95 % intervals, and is judged on test" if judged else ""
    return figure, f"{'. '.join(filter(None, (what, last)))}.{lost}"


FIGURES: dict[str, Callable[[Findings], Picture | None]] = {
    "forest": _forest,
    "waterfall": _waterfall,
    "interaction": _interaction,
    "heatmap": _heat_map,
    "pareto": _metric_by_time,
    "curves": _curves,
    "ranges": _ranges,
    "rungs": _rungs,
    "times": _time_per_batch,
    "padding": _padding,
    "ratio_by_parameters": _ratio_by_parameters,
    "causes": _causes,
    "looks": _paths,
    "power": _power,
    "seeds": _spent,
}


def _sentence(text: str) -> str:
    """Returns a title with a capital first letter, for the start of a sentence; a unit is unchanged."""
    return text if text.startswith(("s ", "ms ")) else text[0].upper() + text[1:]


def _condition(effects: pd.DataFrame) -> str:
    """Returns the condition on which the effects depend, decided or not; empty if there is none."""
    if (effects["three_way"] != "").any():
        return f", {CONDITIONS[0]}"
    return f", {CONDITIONS[1]}" if (effects["condition"] != "").any() else ""


def _figure(width: float, *, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, HEIGHT), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=columns > 1)


def _is_numeric(values: pd.Series) -> bool:
    return (
        all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) and len(set(values)) > 1
    )


def places_of_task(study: Study) -> tuple[Mapping[str, str], list[str]]:
    """Returns the figures of a study's task, name → `module:function`, and notes on those that cannot be drawn.

    A plan without a task, as older versions wrote it, has no such figures.
    """
    name = study.plan.get("task")
    if not name:
        return {}, []
    try:
        registry = importlib.import_module("src.registry")
        if not registry.is_importable(str(name)):
            return {}, [f"the figures of task {one_line(name)} are not drawn; add --task {one_line(name)} to import it"]
        figures = dict(registry.task(name).figures)
    except Exception as error:  # importing a third party's package can raise anything
        return {}, [f"the figures of task {one_line(str(name))} are not drawn: {first_line(error)}"]
    taken = [figure for figure in figures if figure in FIGURES]
    notes = [f"figure {figure} of task {name} is not drawn, as there is a usual one of that name" for figure in taken]
    return {figure: place for figure, place in figures.items() if figure not in taken}, notes


def synonyms(places: Iterable[str]) -> dict[str, str]:
    """Returns other names of a task's figures → their names: the `SYNONYMS` of the modules that draw them."""
    found: dict[str, str] = {}
    for module in dict.fromkeys(place.partition(":")[0] for place in places):
        try:
            found |= getattr(importlib.import_module(module), "SYNONYMS", {})
        except Exception:  # importing a third party's module can raise anything
            continue
    return found


def draw_of_task(study: Study, names: Sequence[str] | None = None) -> tuple[list[Drawn], list[str]]:
    """Returns the figures of a study's task (only those named, if names are given), and a line on each failure."""
    known, notes = places_of_task(study)
    drawn = []
    for name, place in known.items():
        if names and name not in names:
            continue
        try:
            with style():
                made = _picture(_function(place)(study))
            if made is not None:
                drawn.append(Drawn(name, one_line(made[1]), made[0]))
        except Exception as error:  # a third party's figure must not stop the report
            notes.append(f"figure {name} ({place}) failed: {first_line(error)}")
    return drawn, notes


def _function(place: str) -> Callable[[Study], Any]:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _picture(returned: Any) -> Picture | None:
    """Returns a figure and its caption; None if it does not fit the study.

    Raises:
      TypeError: the task's function returned something else.
    """
    match returned:
        case (Figure() as figure, str() as caption):
            return figure, caption
        case None:
            return None
    raise TypeError(f"it returned {type(returned).__name__}; return a matplotlib Figure and its caption, or None")
