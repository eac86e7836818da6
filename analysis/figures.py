"""What a study found as figures: each is a function from a frame to axes; what the study varied decides which are drawn.

One style for all: colour-blind safe colours, and beside every colour a mark or a dash that survives grey print; every axis has its
unit; every interval is Student's over seeds, 95 %.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import factorial
from analysis.effects import better, pairs
from analysis.factorial import CONDITIONS, INTERACTION, MAIN
from analysis.findings import Findings, caution
from analysis.inference import interval
from analysis.load import DROPPED, PER_EPOCH, Study
from analysis.tables import digits, title, verdict
from src.settings import as_typed
from src.visible import one_line

MAX_VARIANTS = 10  # that colours, dashes and marks tell apart
INK = "#1c1e21"
QUIET = "#8a8f98"
DASHES = ["-", "--", "-.", ":"]
UNITS = {"max_length": "steps", "vocab_size": "words", "units": "width of the state", "embedding_dim": "width", "batch_size": "sequences"}
MARKS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]
VERDICTS = {"helps": ("#0173b2", "^"), "hurts": ("#d55e00", "v"), "no difference": ("#029e73", "o")}
UNDECIDED = (QUIET, "D")
STYLE: Any = {
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "grid.color": "#d9dce1",
    "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11, "axes.titleweight": "bold",
    "legend.frameon": False, "font.size": 10, "figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "path",
    "svg.hashsalt": "ablation", "savefig.facecolor": "none", "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A figure with what it shows, in words."""

    name: str
    caption: str
    figure: Figure


def forest(axes: Axes, compared: pd.DataFrame, differences: pd.DataFrame, *, metric: str, margin: float | None) -> None:
    """Draws every change with its interval, and the single seeds as points.

    Args:
      axes: to draw on.
      compared: as `effects.paired` returns it.
      differences: as `effects.pairs` returns it.
      metric: that was compared.
      margin: half the width of the band that is too small to matter, or None.
    """
    shown = compared[~compared["is_reference"]].reset_index(drop=True)
    if margin is not None:
        axes.axvspan(-margin, margin, color=QUIET, alpha=0.18, lw=0)
    axes.axvline(0, color=INK, lw=1)
    for place, row in enumerate(shown.to_dict("records")):
        points = differences.loc[(differences["within"] == row["within"]) & (differences["label"] == row["label"]), "difference"].dropna()
        height = place + 0.22 * np.linspace(-1, 1, len(points)) if len(points) > 1 else np.full(len(points), float(place))
        axes.plot(points, height, "o", color=QUIET, ms=4, alpha=0.6, mew=0, zorder=1)
        colour, mark = VERDICTS.get(row["verdict"], UNDECIDED)
        if not math.isnan(row["low"]):
            axes.plot([row["low"], row["high"]], [place, place], color=colour, lw=2.4, solid_capstyle="butt", zorder=2)
        axes.plot([row["change"]], [place], mark, color=colour, ms=8, zorder=3, mec="white", mew=0.8)
    names = [" | ".join(filter(None, (row["within"], row["label"]))) for row in shown.to_dict("records")]
    axes.set_yticks(
        range(len(shown)), [f"{_short(name)}\n{_short(verdict(row))}" for name, row in zip(names, shown.to_dict("records"), strict=True)]
    )
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    side = {1: " (higher is better)", -1: " (lower is better)", 0: ""}[better(metric)]
    axes.set(xlabel=f"change in {title(metric)}{side}", ylabel="")


def accuracy_by_time(axes: Axes, points: pd.DataFrame, *, metric: str, unit: str) -> None:
    """Draws each variant's metric against its time per batch, with intervals, and the front that no other variant beats in both.

    Args:
      axes: to draw on.
      points: one row a variant: `label`, `time`, `time_low`, `time_high`, `value`, `low`, `high`.
      metric: of the values.
      unit: of the time, for the axis.
    """
    colours = sns.color_palette("colorblind", MAX_VARIANTS)
    for place, row in enumerate(points.to_dict("records")):
        colour, mark = colours[place % MAX_VARIANTS], MARKS[place % len(MARKS)]
        for x, y in (([row["time_low"], row["time_high"]], [row["value"]] * 2), ([row["time"]] * 2, [row["low"], row["high"]])):
            axes.plot(x, y, color=colour, lw=1.2, alpha=0.7)
        axes.plot([row["time"]], [row["value"]], mark, color=colour, ms=8, mec="white", mew=0.8, label=_short(row["label"]), zorder=3)
    if better(metric):
        front = _front(points, better(metric))
        axes.plot(front["time"], front["value"], color=INK, lw=1, ls=":", drawstyle="steps-post", label="Pareto front", zorder=0)
    axes.set(xlabel=unit, ylabel=f"{title(metric)}, mean over seeds")


def curves(axes: Axes, points: pd.DataFrame, *, x: str, unit: str) -> None:
    """Draws validation accuracy, mean and interval over seeds, one line a group.

    Args:
      axes: to draw on.
      points: one row a group and validation: `group`, `x` (its mean over seeds), `mean`, `low`, `high`.
      x: column of the horizontal axis.
      unit: its label.
    """
    colours = sns.color_palette("colorblind", MAX_VARIANTS)
    dashes = itertools.cycle(DASHES)
    for place, (name, part) in enumerate(points.groupby("group", sort=False)):
        colour = colours[place % MAX_VARIANTS]
        mark = MARKS[place % len(MARKS)] if len(part) <= 30 else None
        axes.plot(part[x], part["mean"], color=colour, ls=next(dashes), marker=mark, ms=5, lw=1.8, label=_short(str(name)))
        if part["low"].notna().any():
            axes.fill_between(part[x], part["low"], part["high"], color=colour, alpha=0.15, lw=0)
    axes.set(xlabel=unit, ylabel="validation accuracy")
    axes.set_xlim(left=0)


def time_per_batch(axes: Axes, steps: pd.DataFrame) -> None:
    """Draws the distribution of the time per batch of every variant: median, quartiles, and 5 to 95 % of the steps.

    Args:
      axes: to draw on.
      steps: one row a step: `group`, `time/batch_ms`; steps that traced left out.
    """
    groups = [(str(name), part["time/batch_ms"].to_numpy(float)) for name, part in steps.groupby("group", sort=False)]
    for place, (_, values) in enumerate(groups):
        low, quarter, median, three, high = np.percentile(values, [5, 25, 50, 75, 95])
        axes.plot([low, high], [place, place], color=QUIET, lw=1.5)
        axes.barh(place, three - quarter, left=quarter, height=0.5, color=sns.color_palette("colorblind")[0], alpha=0.55, lw=0)
        axes.plot([median], [place], "|", color=INK, ms=16, mew=2)
    axes.set_yticks(range(len(groups)), [_short(name) for name, _ in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}" if str(f"{value:g}")[0] in "25" else ""))
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="ms per batch (log scale): median, quartiles, 5 to 95 %", ylabel="")


def heat_map(axes: Axes, rows: pd.DataFrame, x: str, y: str, *, metric: str) -> None:
    """Draws the mean of a metric for two numeric toggles, each cell with half its interval over seeds.

    Args:
      axes: to draw on.
      rows: one row a finished trial.
      x: toggle of the columns.
      y: toggle of the rows.
      metric: of the cells.
    """
    cells = over_seeds(rows, [y, x], metric)
    means = cells.pivot(index=y, columns=x, values="mean").astype(float)
    cells["text"] = [_with_half(row, digits(metric)) for row in cells.to_dict("records")]
    texts = cells.pivot(index=y, columns=x, values="text")
    sns.heatmap(means, annot=texts, fmt="", cmap="cividis", ax=axes, cbar_kws={"label": title(metric)}, linewidths=1, annot_kws={"size": 9})
    axes.invert_yaxis()
    axes.set(xlabel=_with_unit(x), ylabel=_with_unit(y))


def interaction(axes: Axes, means: pd.DataFrame, toggle: str, by: str, *, metric: str) -> None:
    """Draws the mean of a metric at the values of one toggle, one line a value of another: parallel lines do not interact.

    Args:
      axes: to draw on.
      means: as `factorial.means` returns it.
      toggle: of the horizontal axis.
      by: of the lines.
      metric: of the vertical axis.
    """
    values = [as_typed(value) for value in _in_order(means[toggle])]
    colours = sns.color_palette("colorblind", MAX_VARIANTS)
    names = list(dict.fromkeys(as_typed(value) for value in means[by]))
    for place, name in enumerate(names):
        part = means[[as_typed(value) == name for value in means[by]]]
        found = part.set_index(part[toggle].map(as_typed)).reindex(values)
        at = np.arange(len(values)) + 0.06 * (place - (len(names) - 1) / 2)
        heights, half = found["mean"].to_numpy(float), (found["high"] - found["mean"]).to_numpy(float)
        axes.errorbar(
            at, heights, yerr=np.nan_to_num(half), color=colours[place % MAX_VARIANTS], marker=MARKS[place % len(MARKS)],
            ls=DASHES[place % 4], capsize=3, lw=1.6, label=_short(f"{by}={name}"),
        )  # fmt: skip
    axes.set_xticks(range(len(values)), list(map(_short, values)))
    axes.set(xlabel=_with_unit(toggle), ylabel=title(metric))
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16))  # below, where no line can be


def _in_order(values: Iterable[Any]) -> list[Any]:
    """Returns the distinct values: numbers in their order, others in that of the plan."""
    distinct = list(dict.fromkeys(values))
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    return sorted(distinct) if are_numbers else distinct


def padding_by_batch(axes: Axes, steps: pd.DataFrame) -> None:
    """Draws the share of padding in each batch of the first epoch, in rising order, one line a group.

    Args:
      axes: to draw on.
      steps: one row a step: `group`, `batch` (examples), `length` (padded steps), `tokens` (real steps).
    """
    colours = sns.color_palette("colorblind", MAX_VARIANTS)
    for place, (name, part) in enumerate(steps.groupby("group", sort=False)):
        share = np.sort(1 - part["tokens"].to_numpy(float) / (part["batch"] * part["length"]).to_numpy(float))
        at = np.linspace(0, 100, len(share)) if len(share) > 1 else np.array([50.0])
        axes.plot(at, share, color=colours[place % MAX_VARIANTS], ls=DASHES[place % 4], lw=1.8, label=_short(str(name)))
    axes.set(xlabel="batches of the first epoch, by their share of padding (%)", ylabel="padded steps / all steps")
    axes.set_ylim(bottom=0)


def waterfall(axes: Axes, steps: pd.DataFrame, *, metric: str) -> None:
    """Draws what each step of a cumulative design or a path gained over the one before, with its interval.

    Args:
      axes: to draw on.
      steps: as `Findings.summary`: the reference first, then the steps in order.
      metric: that was compared.
    """
    rows = steps.to_dict("records")
    for place, row in enumerate(rows):
        if row["is_reference"]:
            axes.plot([place - 0.4, place + 0.4], [row["mean"]] * 2, color=INK, lw=2)
        else:
            colour, mark = VERDICTS.get(row["verdict"], UNDECIDED)
            begin = row["reference_mean"]
            axes.bar(place, row["mean"] - begin, bottom=begin, width=0.6, color=colour, alpha=0.75, lw=0)
            axes.plot([place], [row["mean"]], mark, color=colour, ms=8, mec="white", mew=0.8, zorder=3)
            if not math.isnan(row["low"]):
                axes.plot([place, place], [begin + row["low"], begin + row["high"]], color=INK, lw=1.2)
        if place + 1 < len(rows):
            axes.plot([place - 0.3, place + 1.3], [row["mean"]] * 2, color=QUIET, lw=0.8, ls=":")
    axes.set_xticks(range(len(rows)), [_short(row["label"]) for row in rows], rotation=20, ha="right")
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.15)
    axes.set(ylabel=f"{title(metric)}, change from the step before", xlabel="")


def over_seeds(rows: pd.DataFrame, keys: list[str], metric: str) -> pd.DataFrame:
    """Returns the mean of a metric for each combination of values, with Student's interval over seeds.

    All that else varies is averaged within a seed first: it is no noise. A trial that serves several cells of a combination counts once.

    Args:
      rows: one row a variant and seed: `identity`, `seed`, the keys and the metric.
      keys: columns of the combination.
      metric: name of a metric.

    Returns:
      One row a combination: the keys, `mean`, `low`, `high`.
    """
    found = []
    for values, part in rows.groupby(keys, sort=False, dropna=False):
        of_seed = part.drop_duplicates("identity").groupby("seed")[metric].mean().dropna()
        known = interval(of_seed.to_numpy(float))
        found.append({**dict(zip(keys, values, strict=True)), "mean": known.mean, "low": known.low, "high": known.high})
    return pd.DataFrame(found)


def draw(found: Findings, names: Sequence[str] = ()) -> Iterator[Drawn]:
    """Yields the figures that this study calls for, in the order of a report; of those that are named, if any are."""
    for name in names or FIGURES:
        drawn = one(found, name)
        if drawn is not None:
            yield drawn


def one(found: Findings, name: str) -> Drawn | None:
    """Returns one figure by its name (`FIGURES`), or None if the study has nothing to show in it."""
    mpl.use("agg")
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        made = FIGURES[name](found)
    return None if made is None else Drawn(name, made[1], made[0])


Made = tuple[Figure, str] | None


def _forest(found: Findings) -> Made:
    count = int((~found.compared["is_reference"]).sum())
    if not 0 < count <= 60 or found.compared["change"].isna().all():
        return None
    figure, axes = _figure(8, 1.2 + 0.5 * count)
    forest(axes, found.compared, pairs(found.rows, found.metric), metric=found.metric, margin=found.margin)
    band = f"; the band is the margin of {found.margin:g}" if found.margin is not None else ""
    against = "the step before" if found.is_stepwise else "the reference"
    return figure, f"Change in {title(found.metric)} from {against}, paired by seed: 95 % intervals, single seeds as dots{band}."


def _waterfall(found: Findings) -> Made:
    if not found.is_stepwise or len(found.summary) < 2:
        return None
    figure, axes = _figure(max(6.0, 1.3 * len(found.summary)), 4.2)
    waterfall(axes, found.summary, metric=found.metric)
    return figure, f"What each step changed in {title(found.metric)}, with the 95 % interval of its change from the step before."


def _accuracy_by_time(found: Findings) -> Made:
    metric = "test/accuracy" if found.metric.startswith(("time/", "steps_to/")) else found.metric
    time, done = found.time, found.study.finished
    if time not in done or metric not in done:
        return None
    far = found.compared.assign(size=found.compared["change"].abs().fillna(0.0).mask(found.compared["is_reference"], math.inf))
    shown = far.sort_values("size", ascending=False, kind="stable").drop_duplicates("label")["label"].head(MAX_VARIANTS)
    done, left_out = done[done["label"].isin(shown)], done["label"].nunique() - len(shown)
    rows = []
    for name, part in done.groupby("label", sort=False):
        value, log = interval(part[metric].dropna().to_numpy(float)), interval(np.log(part[time].dropna().to_numpy(float)))
        if math.isnan(value.mean) or math.isnan(log.mean):
            continue
        times = {"time": math.exp(log.mean), "time_low": math.exp(log.low), "time_high": math.exp(log.high)}
        rows.append({"label": name, **times, "value": value.mean, "low": value.low, "high": value.high})
    if len(rows) < 2:
        return None
    figure, axes = _figure(8, 4.4)
    unit = "seconds per epoch" if time == PER_EPOCH else "ms per batch"
    accuracy_by_time(axes, pd.DataFrame(rows), metric=metric, unit=f"{unit}, geometric mean over seeds")
    _legend(figure, axes)
    limits = " ".join(
        filter(None, (f"{left_out} variants nearer to the reference are left out." if left_out > 0 else "", caution(found.rows)))
    )
    return figure, f"{title(metric).capitalize()} against {unit}, 95 % intervals over seeds of each variant alone. {limits}".strip()


def _curves(found: Findings) -> Made:
    history = found.study.history("val/accuracy")
    rows, groups = _grouped(found)
    if rows.empty or history.empty or history["run_id"].value_counts().max() < 2:  # one validation a trial is no curve
        return None
    steps = found.study.steps
    seconds = steps.assign(seconds=steps.groupby("run_id")["time/batch_ms"].cumsum() / 1_000)[["run_id", "step", "seconds"]]
    points = (
        rows[["run_id", "group", "seed"]].drop_duplicates().merge(history, on="run_id").merge(seconds, on=["run_id", "step"], how="left")
    )
    points["number"] = points.groupby(["group", "run_id"]).cumcount()
    points = points.sort_values("number", kind="stable")  # the groups stay in the plan's order
    table = _mean_curves(points)
    figure, both = _figure(10, 4.2, columns=2)
    curves(both[0], table, x="step", unit="optimizer steps")
    curves(both[1], table, x="seconds", unit="training time (s)")
    both[1].set_ylabel("")
    _legend(figure, both[0])
    return figure, f"Validation accuracy by step and by training time, {groups}: mean and 95 % interval over seeds."


def _time_per_batch(found: Findings) -> Made:
    steps = found.study.steps
    rows, groups = _grouped(found)
    steps = rows[["run_id", "group"]].drop_duplicates().merge(steps, on="run_id")
    steps = steps[~steps["is_first"].astype(bool)] if len(steps) else steps
    if steps.empty:
        return None
    figure, axes = _figure(8, 1.2 + 0.42 * steps["group"].nunique())
    time_per_batch(axes, steps)
    return figure, f"Time per batch, {groups}; steps that traced or compiled are left out. {caution(found.rows)}".strip()


def _heat_map(found: Findings) -> Made:
    numeric = [key for key in found.study.toggles if _is_numeric(found.study.finished[key])]
    rows, left_out = _whole_seeds(found.study)
    if len(numeric) != 2 or rows.empty or rows[found.metric].isna().any():
        return None
    figure, axes = _figure(6.4, 4.2)
    heat_map(axes, rows, numeric[1], numeric[0], metric=found.metric)
    what = f"{title(found.metric).capitalize()} by {numeric[0]} and {numeric[1]}"
    else_too = _differs_too(rows, numeric, found.study.toggles)
    return figure, f"{what}: mean over seeds and all else, with half its 95 % interval.{else_too}{left_out}"


def _interaction(found: Findings) -> Made:
    if found.factorial is None:
        return None
    unclear = set(found.factorial.loc[(found.factorial["kind"] == MAIN) & (found.factorial["aliased"] != ""), "term"])
    known = found.factorial[found.factorial["share"].notna() & (found.factorial["kind"] == INTERACTION)]
    is_clear = [row["aliased"] == "" and not unclear & set(row["term"].split(":")) for row in known.to_dict("records")]
    terms = known[np.array(is_clear, bool)]
    strongest = terms.drop_duplicates("term").sort_values("share", ascending=False)["term"].head(3).tolist()
    if not strongest:
        return None
    rows, left_out = _whole_seeds(found.study)
    levels = rows.astype(str).nunique()
    pairs = [sorted(term.split(":"), key=lambda key: levels[key]) for term in strongest]
    figure, several = _figure(4.2 * len(pairs) + 0.8, 3.7 + 0.2 * max(levels[by] for by, _ in pairs), columns=len(pairs))
    trials = found.study.rows[found.study.rows["status"] != DROPPED]
    for axes, (by, toggle) in zip(np.atleast_1d(several), pairs, strict=True):
        means = factorial.means(trials, found.study.plan["levels"], toggle=toggle, by=by, metric=found.metric)
        interaction(axes, means, toggle, by, metric=found.metric)
    what = f"Means of {title(found.metric)} with 95 % intervals over seeds, for equal shares of all else"
    condition = _condition(terms[terms["term"].isin(strongest)])
    return figure, f"{what}; lines that are not parallel interact{condition}. The pairs with the largest shares of variance.{left_out}"


def _padding(found: Findings) -> Made:
    if not {"padding", "bucketing", "max_length", "batch_size", "truncation", "data"} & set(found.study.toggles):
        return None
    rows, _ = _grouped(found, ("padding", "bucketing", "max_length", "batch_size", "truncation", "data"))
    rows = rows[rows["seed"] == rows["seed"].min()].drop_duplicates("group")
    steps = rows[["run_id", "group"]].merge(found.study.steps, on="run_id")
    steps = steps[steps["epoch"] == 1] if len(steps) else steps
    if steps.empty:
        return None
    figure, axes = _figure(8, 4)
    padding_by_batch(axes, steps)
    _legend(figure, axes)
    return figure, "Share of padding in the batches of the first epoch (one seed), the batches in rising order."


FIGURES: dict[str, Callable[[Findings], Made]] = {
    "forest": _forest,
    "waterfall": _waterfall,
    "interaction": _interaction,
    "heatmap": _heat_map,
    "pareto": _accuracy_by_time,
    "curves": _curves,
    "times": _time_per_batch,
    "padding": _padding,
}


def _condition(effects: pd.DataFrame) -> str:
    """Returns on what effects depend, decided or not; empty if on nothing."""
    if (effects["three_way"] != "").any():
        return f", {CONDITIONS[0]}"
    return f", {CONDITIONS[1]}" if (effects["condition"] != "").any() else ""


def _differs_too(rows: pd.DataFrame, keys: Sequence[str], toggles: Sequence[str]) -> str:
    """Returns a sentence on the toggles whose values are not shared alike by the groups that `keys` make; empty if all are."""
    typed = rows[list(toggles)].map(as_typed)
    groups = typed[list(keys)].agg(" ".join, axis=1)
    shares = {key: pd.crosstab(groups, typed[key], normalize="index") for key in toggles if key not in keys}
    others = [key for key, table in shares.items() if (np.ptp(table.to_numpy(), axis=0) > 1e-9).any()]
    return f" They differ in {', '.join(others)} too, as not all combinations were trained." if others else ""


def _whole_seeds(study: Study) -> tuple[pd.DataFrame, str]:
    """Returns the rows of the seeds that finished every cell that any did, and a sentence on the others: their means would be of others."""
    rows = study.finished
    whole = rows[rows.groupby("seed")["label"].transform("nunique") == rows["label"].nunique()]
    asked = study.rows["seed"].nunique()
    left = asked - whole["seed"].nunique()
    return whole, f" {left} of {asked} seeds lack a cell that others finished and are left out." if left else ""


def _figure(width: float, height: float, *, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=columns > 1)


def _legend(figure: Figure, axes: Axes) -> None:
    """One legend below the figure, in as many columns as its names leave room for, and the figure higher by what that takes."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), max(1, int(figure.get_figwidth() * 11 / (max(map(len, labels)) + 6))), 4)
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, math.ceil(len(labels) / columns) - 2))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small")


def _grouped(found: Findings, keys: Sequence[str] = ()) -> tuple[pd.DataFrame, str]:
    """Returns the finished rows with `group`, few enough to tell apart, and what a group is in words.

    A group is a variant; where there are more than `MAX_VARIANTS`, the values of the toggle with the largest share of variance, or
    of the first where shares are not known.
    """
    rows = found.study.finished
    wanted = [key for key in keys if key in found.study.toggles]
    if wanted:
        named = [" ".join(f"{key}={as_typed(row[key])}" for key in wanted) for row in rows.to_dict("records")]
        if len(set(named)) <= MAX_VARIANTS:
            return rows.assign(group=named), "by what shapes the batches"
    if rows["label"].nunique() <= MAX_VARIANTS:
        return rows.assign(group=rows["label"]), "by variant"
    toggle = found.study.toggles[0]
    if found.factorial is not None:
        main = found.factorial[found.factorial["kind"] == MAIN]
        toggle = str(main.sort_values("share", ascending=False, kind="stable")["term"].iloc[0])
    others = _differs_too(rows, [toggle], found.study.toggles)
    text = f"by {toggle}, over all else" + (", which is not the same for all of them" if others else "")
    return rows.assign(group=[f"{toggle}={as_typed(value)}" for value in rows[toggle]]), text


def _mean_curves(points: pd.DataFrame) -> pd.DataFrame:
    """Returns one row a group and validation: mean step and time over its trials, mean and interval over seeds of the accuracy."""
    rows = []
    for (group, _), part in points.groupby(["group", "number"], sort=False):
        found = interval(part.groupby("seed")["value"].mean().dropna().to_numpy(float))
        at = {"step": part["step"].mean(), "seconds": part["seconds"].mean()}
        rows.append({"group": group, **at, "mean": found.mean, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def _front(points: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Returns the variants that no other beats in time and metric, the fastest first."""
    in_order = points.sort_values(["time", "value"], ascending=[True, sign < 0])
    best = (in_order["value"] * sign).cummax()
    return in_order[(in_order["value"] * sign == best) & ~best.duplicated()]


def _is_numeric(values: pd.Series) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) and len(set(values)) > 1


def _short(text: str, most: int = 60) -> str:
    """Returns a text that leaves room for the picture, its middle left out where it is long."""
    text = one_line(text)  # SVG allows no control characters
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 + 3 :]}"


def _with_half(row: dict[Any, Any], decimals: int) -> str:
    half = "" if math.isnan(row["low"]) else f"\n± {row['high'] - row['mean']:.{decimals}f}"
    return f"{row['mean']:.{decimals}f}{half}"


def _with_unit(toggle: str) -> str:
    return f"{toggle} ({UNITS[toggle]})" if toggle in UNITS else _short(toggle)
