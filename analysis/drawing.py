"""Functions that draw a frame on axes; they do not depend on a study.

Every axis has a unit; every interval is Student's 95 % interval over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.groups import binned, front, over_seeds, within
from analysis.looks import INK, MAX_VARIANTS, QUIET, Look, estimate, hover, in_lines, looks, short
from analysis.rows import STEP_TIME, title
from analysis.texts import number_of, verdict
from src.inference.student import LEVEL, interval
from src.inference.verdicts import CHANGED_NOTHING, NO_DIFFERENCE, SHOWN
from src.spec.metric import Metric
from src.spec.section import as_typed

DECIDED = (*SHOWN, NO_DIFFERENCE, CHANGED_NOTHING)
RATIOS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100]
WIDEST = 3  # a scale of ratios ends at this multiple of the largest ratio, even if an interval is wider
MEANS = looks(("reference", "means"))["means"].colour
NARROW, WIDE = 5, 100  # ratios of the bounds of a logarithmic axis between which it has ticks at 1, 2 and 5
MAX_DOTS = 400  # with more dots, they have no tooltips


def forest(
    axes: Axes, compared: pd.DataFrame, differences: pd.DataFrame, *, metric: Metric, margin: float | None
) -> None:
    """Draws every change with its interval, and the single seeds as points; a mark is filled where there is a verdict.

    Args:
      axes: to draw on.
      compared: as `effects.paired` returns it.
      differences: as `effects.single` returns it.
      metric: the compared metric.
      margin: half the width of the band of changes that are too small to matter, or None.
    """
    shown, look = _rows_of_forest(axes, compared)
    if margin is not None:
        axes.axvspan(-margin, margin, color=QUIET, alpha=0.18, lw=0, gid=hover(f"margin: ±{margin:g}"))
    axes.axvline(0, color=INK, lw=1)
    for place, row in enumerate(shown):
        _dots(
            axes,
            differences[(differences["within"] == row["within"]) & (differences["label"] == row["label"])],
            place,
            metric=metric,
        )
        changed = estimate(row["change"], row["low"], row["high"], metric.digits, sign="+")
        text = f"{_row_name(row)}: {changed}; {verdict(row)}"
        _bar(
            axes,
            place,
            (row["change"], row["low"], row["high"]),
            look[row["label"]],
            text,
            is_filled=row["verdict"] in DECIDED,
        )
    side = {1: " (higher is better)", -1: " (lower is better)", 0: ""}[metric.sign]
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6))
    axes.set(xlabel=f"change in {title(metric)}{side}", ylabel="")


def cost(axes: Axes, compared: pd.DataFrame, *, unit: str) -> None:
    """Draws the ratio of times of every row of a forest, with its interval.

    Args:
      axes: to draw on.
      compared: as `effects.paired` returns it.
      unit: unit of the times, in words.
    """
    shown, look = _rows_of_forest(axes, compared)
    axes.axvline(1, color=INK, lw=1)
    for place, row in enumerate(shown):
        text = f"{_row_name(row)}: {unit} × {estimate(row['time_ratio'], row['time_low'], row['time_high'], 2)}"
        is_decided = bool(row["time_holm"] < LEVEL)
        _bar(
            axes,
            place,
            (row["time_ratio"], row["time_low"], row["time_high"]),
            look[row["label"]],
            text,
            is_filled=is_decided,
        )
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.9), max(high, 1.1))
    axes.set_xticks(around_one([tick for tick in RATIOS if min(low, 0.9) <= tick <= max(high, 1.1)]))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.tick_params(labelleft=False)
    axes.set(xlabel=f"ratio of {unit} (lower is faster)", ylabel="")


def around_one(ticks: list[float]) -> list[float]:
    """Returns ticks that do not overlap on a log axis; 1 is always among them."""
    least = math.log(ticks[-1] / ticks[0]) / 7
    shown = [1.0]
    for tick in sorted(ticks, key=lambda one: abs(math.log(one))):
        if all(abs(math.log(tick / other)) >= least for other in shown):
            shown.append(tick)
    return sorted(shown)


def _rows_of_forest(axes: Axes, compared: pd.DataFrame) -> tuple[list[dict[Any, Any]], dict[str, Look]]:
    """Returns the rows of a forest with their looks, and labels each row with its name and verdict."""
    shown = compared[~compared["is_reference"]].to_dict("records")
    names = list(dict.fromkeys([*compared.loc[compared["is_reference"], "label"], *compared["label"]]))
    plain = Look(INK, "o", "-")
    look = looks(names) if len(names) <= MAX_VARIANTS else dict.fromkeys(names, plain)
    axes.set_yticks(range(len(shown)), [f"{in_lines(_row_name(row))}\n{short(verdict(row))}" for row in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    return shown, look


def _row_name(row: dict[Any, Any]) -> str:
    return " | ".join(filter(None, (row["within"], row["label"])))


def _dots(axes: Axes, differences: pd.DataFrame, place: int, *, metric: Metric) -> None:
    """Draws the differences of single seeds, with small vertical offsets so that all are visible."""
    finite = differences.dropna(subset=["difference"])
    height = place + 0.22 * np.linspace(-1, 1, len(finite)) if len(finite) > 1 else np.full(len(finite), float(place))
    style: Any = {"color": QUIET, "ms": 4, "alpha": 0.6, "mew": 0, "zorder": 1}
    if len(axes.lines) > MAX_DOTS:
        axes.plot(finite["difference"], height, "o", **style)
        return
    for row, y in zip(finite.to_dict("records"), height, strict=True):
        axes.plot(
            [row["difference"]],
            [y],
            "o",
            gid=hover(f"seed {row['seed']}: {row['difference']:+.{metric.digits + 1}f}"),
            **style,
        )


def _bar(
    axes: Axes, place: float, numbers: tuple[float, float, float], look: Look, text: str, *, is_filled: bool
) -> None:
    """Draws an estimate with its horizontal interval."""
    middle, low, high = numbers
    if not math.isnan(low):
        axes.plot(
            [low, high], [place, place], color=look.colour, lw=2.4, solid_capstyle="butt", zorder=2, gid=hover(text)
        )
    face = look.colour if is_filled else "white"
    axes.plot(
        [middle],
        [place],
        look.mark,
        color=look.colour,
        ms=8,
        zorder=3,
        mfc=face,
        mec=look.colour,
        mew=1.6,
        gid=hover(text),
    )


def metric_by_time(axes: Axes, points: pd.DataFrame, look: dict[str, Look], *, metric: Metric, unit: str) -> None:
    """Draws each variant's metric against its time per batch, with intervals, and the Pareto front.

    A variant is on the front if no other variant is better in both.

    Args:
      axes: to draw on.
      points: one row per variant: `label`, `time`, `time_low`, `time_high`, `value`, `low`, `high`.
      look: look of each variant.
      metric: metric of the values.
      unit: unit of the time.
    """
    for row in points.to_dict("records"):
        mine = look[row["label"]]
        for x, y in (
            ([row["time_low"], row["time_high"]], [row["value"]] * 2),
            ([row["time"]] * 2, [row["low"], row["high"]]),
        ):
            axes.plot(x, y, color=mine.colour, lw=1.2, alpha=0.7)
        value = estimate(row["value"], row["low"], row["high"], metric.digits)
        time = estimate(row["time"], row["time_low"], row["time_high"], 1)
        text = f"{row['label']}: {title(metric)} {value}, {unit} {time}"
        axes.plot(
            [row["time"]], [row["value"]], mine.mark, color=mine.colour, ms=8, mec="white", mew=0.8,
            label=in_lines(row["label"]), zorder=3, gid=hover(text),
        )  # fmt: skip
    if metric.sign:
        best = front(points, metric.sign)
        axes.plot(
            best["time"], best["value"], color=INK, lw=1, ls=":", drawstyle="steps-post", label="Pareto front", zorder=0
        )
    axes.set(xlabel=unit, ylabel=title(metric))


def curves(axes: Axes, points: pd.DataFrame, look: dict[str, Look], *, x: str, unit: str, metric: Metric) -> None:
    """Draws a metric's validations, one line per group: mean and interval over seeds.

    Args:
      axes: to draw on.
      points: one row per group and validation: `group`, `x` (its mean over seeds), `mean`, `low`, `high`.
      look: look of each group.
      x: column of the horizontal axis.
      unit: its label.
      metric: of the values.
    """
    for name, part in points.groupby("group", sort=False):
        mine, few = look[str(name)], len(part) <= 30
        axes.plot(
            part[x],
            part["mean"],
            color=mine.colour,
            ls=mine.dash,
            marker=mine.mark if few else None,
            ms=5,
            lw=1.8,
            label=in_lines(str(name)),
        )
        if part["low"].notna().any():  # the edge keeps a band visible where all seeds have one value
            axes.fill_between(
                part[x], part["low"], part["high"], facecolor=(mine.colour, 0.15), edgecolor=(mine.colour, 0.45), lw=0.8
            )
        for row in part.to_dict("records") if len(part) <= 12 else []:
            value = estimate(row["mean"], row["low"], row["high"], metric.digits)
            text = f"{short(str(name))}, {x.removesuffix('s')} {row[x]:.4g}: {value}"
            axes.plot(
                [row[x]], [row["mean"]], "o", color=mine.colour, ms=9, alpha=0.01, mew=0, zorder=4, gid=hover(text)
            )
    axes.set(xlabel=unit, ylabel=title(metric))
    axes.set_xlim(left=0)


def range_of(
    axes: Axes,
    points: pd.DataFrame,
    key: str,
    bounds: Mapping[str, Any] | None,
    *,
    levels: Sequence[Any],
    metric: Metric,
) -> None:
    """Draws a metric against the values of a toggle: one dot per variant, and means of bins or of the values.

    Args:
      axes: to draw on.
      points: as `groups.means_of_variants` returns them.
      key: the toggle.
      bounds: `low`, `high` and `log` of its interval; None for a toggle with levels.
      levels: its values in the order of the plan.
      metric: metric of the vertical axis.
    """
    present = set(map(as_typed, points[key]))
    names = [] if bounds else [name for value in in_order(levels) if (name := as_typed(value)) in present]
    at = [names.index(as_typed(value)) for value in points[key]] if names else points[key].astype(float)
    points = points.assign(at=at)
    drawn = points[~points["is_reference"]]
    axes.plot(drawn["at"], drawn["value"], "o", color=QUIET, ms=4, alpha=0.8)
    own = points[points["is_reference"]]
    axes.plot(own["at"], own["value"], "X", color=INK, ms=7)
    parts = [drawn] if bounds else [part for _, part in drawn.groupby("at")]
    bins = pd.concat([binned(part, metric) if bounds else _one_bin(part, metric) for part in parts])
    for row in bins.to_dict("records"):
        ends, middle = [row["begin"], row["end"]], _middle(row, is_log=bool(bounds and bounds["log"]))
        text = f"{key} from {ends[0]:.4g} to {ends[1]:.4g}" if bounds else f"{key}={names[int(middle)]}"
        value = estimate(row["mean"], row["low"], row["high"], metric.digits)
        shown = hover(f"{text}: {value} ({number_of(row['n'], 'variant')})")
        axes.plot([middle, middle], [row["low"], row["high"]], color=MEANS, lw=1.6, solid_capstyle="butt")
        axes.plot(ends if bounds else [middle], [row["mean"]] * (2 if bounds else 1), "-" if bounds else "_",
                  color=MEANS, lw=2.4, ms=18, mew=2.4, gid=shown)  # fmt: skip
    for row in points.to_dict("records") if len(points) <= MAX_DOTS else []:
        text = f"{row['label']}: {row['value']:.{metric.digits}f}"
        axes.plot([row["at"]], [row["value"]], "o", ms=8, alpha=0.01, mew=0, gid=hover(text))
    if bounds:
        _scale(axes, bounds)
    else:
        axes.set_xticks(range(len(names)), [in_lines(name, 16) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set(xlabel=short(key), ylabel=title(metric))


def _scale(axes: Axes, bounds: Mapping[str, Any]) -> None:
    """Shows a whole interval, with a few labels that do not run into those of the next axes."""
    low, high = bounds["low"], bounds["high"]
    if not bounds["log"]:
        axes.set_xlim(low - 0.04 * (high - low), high + 0.04 * (high - low))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
        return
    axes.set_xscale("log")
    axes.set_xlim(low * (low / high) ** 0.04, high * (high / low) ** 0.04)
    if high / low < WIDE:  # powers of ten would label less than three places
        few = mpl.ticker.LogLocator(subs=(1, 2, 5)) if high / low > NARROW else mpl.ticker.MaxNLocator(4)
        axes.xaxis.set_major_locator(few)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))


def _one_bin(part: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    found = within(interval(part["value"].to_numpy(float)), metric)
    return pd.DataFrame([{"begin": part["at"].min(), "end": part["at"].max(), "n": len(part), **found._asdict()}])


def _middle(row: Mapping[Any, Any], *, is_log: bool) -> float:
    return math.sqrt(row["begin"] * row["end"]) if is_log else (row["begin"] + row["end"]) / 2


def time_per_batch(axes: Axes, steps: pd.DataFrame, look: dict[str, Look]) -> None:
    """Draws the distribution of the time per batch of every variant: median, quartiles, and 5 to 95 % of the steps.

    Args:
      axes: to draw on.
      steps: one row per step, without the steps that traced: `group`, `time/batch_ms`.
      look: look of each group.
    """
    groups = [(str(name), part[STEP_TIME].to_numpy(float)) for name, part in steps.groupby("group", sort=False)]
    for place, (name, values) in enumerate(groups):
        low, quarter, median, three, high = np.percentile(values, [5, 25, 50, 75, 95])
        middle = f"median {median:.1f} ms, quartiles {quarter:.1f} and {three:.1f}"
        text = f"{short(name)}: {middle}, 5 to 95 %: {low:.1f} to {high:.1f}"
        axes.plot([low, high], [place, place], color=look[name].colour, lw=1.5, alpha=0.7)
        axes.barh(
            place, three - quarter, left=quarter, height=0.5, facecolor=(look[name].colour, 0.45),
            edgecolor=look[name].colour, lw=1, gid=hover(text),
        )  # fmt: skip
        axes.plot([median], [place], "|", color=INK, ms=16, mew=2)
    axes.set_yticks(range(len(groups)), [in_lines(name) for name, _ in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(
        mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}" if str(f"{value:g}")[0] in "25" else "")
    )
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="ms per batch (log scale): median, quartiles, 5 to 95 %", ylabel="")


def heat_map(axes: Axes, rows: pd.DataFrame, x: str, y: str, *, metric: Metric) -> None:
    """Draws the mean of a metric for two numeric toggles, each with half its interval over seeds.

    Args:
      axes: to draw on.
      rows: one row per finished trial.
      x: toggle of the columns.
      y: toggle of the rows.
      metric: metric of the means.
    """
    cells = over_seeds(rows, [y, x], metric.name)
    means = cells.pivot(index=y, columns=x, values="mean").astype(float)
    cells["text"] = [_with_half(row, metric.digits) for row in cells.to_dict("records")]
    texts = cells.pivot(index=y, columns=x, values="text")
    sns.heatmap(
        means,
        annot=texts,
        fmt="",
        cmap="cividis",
        ax=axes,
        cbar_kws={"label": title(metric)},
        linewidths=1,
        annot_kws={"size": 9},
    )
    axes.invert_yaxis()
    axes.set(xlabel=short(x), ylabel=short(y))


def counts(table: pd.DataFrame) -> Figure:
    """Draws a table of counts, with the share of its row as the colour of a cell; zeros stay empty.

    The figure is as large as the names of rows and columns need.

    Args:
      table: int[rows, columns].
    """
    shares = table.div(table.sum(axis=1), axis="index")
    texts = table.astype(str).mask(table == 0, "")
    rows, columns = [in_lines(str(name)) for name in table.index], [in_lines(str(name), 28) for name in table.columns]
    lines = sum(name.count("\n") + 1 for name in rows)
    cells = (max(1.8, 0.6 * len(columns)), 0.12 * len(rows) + 0.2 * lines)
    beside, below = (0.09 * max(len(line) for name in names for line in name.split("\n")) for names in (rows, columns))
    figure = Figure(figsize=(cells[0] + beside + 0.5, cells[1] + below + 0.7), layout="constrained")
    axes = figure.subplots()
    sns.heatmap(
        shares.set_axis(rows).set_axis(columns, axis="columns"),
        annot=texts.to_numpy(),
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=1,
        cbar=False,
        linewidths=1,
        ax=axes,
    )
    axes.tick_params(axis="x", rotation=90)
    axes.tick_params(axis="y", rotation=0)
    axes.set(xlabel="cause that was named", ylabel="")
    return figure


def interaction(axes: Axes, means: pd.DataFrame, toggle: str, by: str, *, metric: Metric) -> None:
    """Draws the mean of a metric at the values of one toggle, with one line per value of another toggle.

    Parallel lines mean that the toggles do not interact.

    Args:
      axes: to draw on.
      means: as `factorial.means` returns it.
      toggle: toggle of the horizontal axis.
      by: toggle of the lines.
      metric: metric of the vertical axis.
    """
    values = [as_typed(value) for value in in_order(means[toggle])]
    names = list(dict.fromkeys(as_typed(value) for value in means[by]))
    look = looks(names)
    for place, name in enumerate(names):
        part = means[[as_typed(value) == name for value in means[by]]]
        line = part.set_index(part[toggle].map(as_typed)).reindex(values)
        line[toggle] = values
        at = np.arange(len(values)) + 0.06 * (place - (len(names) - 1) / 2)
        heights = line["mean"].to_numpy(float)
        half = [
            np.nan_to_num(heights - line["low"].clip(metric.least, metric.most)),
            np.nan_to_num(line["high"].clip(metric.least, metric.most) - heights),
        ]
        axes.errorbar(
            at, heights, yerr=half, color=look[name].colour, marker=look[name].mark, ls=look[name].dash,
            capsize=3, lw=1.6, label=in_lines(f"{by}={name}"),
        )  # fmt: skip
        for x, row in zip(at, line.to_dict("records"), strict=True):
            value = estimate(row["mean"], row["low"], row["high"], metric.digits)
            text = f"{by}={name}, {toggle}={as_typed(row[toggle])}: {value}"
            axes.plot([x], [row["mean"]], "o", color=look[name].colour, ms=9, alpha=0.01, mew=0, gid=hover(text))
    axes.set_xticks(range(len(values)), [in_lines(value, 16) for value in values])
    axes.set(xlabel=short(toggle), ylabel=title(metric))


def legend_beside(figure: Figure, axes: Axes) -> None:
    """Adds one legend beside the figure and widens the figure to fit it; only a very long one makes it higher."""
    handles, labels = axes.get_legend_handles_labels()
    lines = [line for label in labels for line in label.split("\n")]
    figure.set_figwidth(figure.get_figwidth() + 0.6 + 0.068 * max(map(len, lines)))
    figure.set_figheight(max(figure.get_figheight(), 0.3 + 0.16 * len(lines)))
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")


def in_order(values: Iterable[Any]) -> list[Any]:
    """Returns the distinct values: numbers in ascending order, other values in the order of the plan."""
    distinct = list(dict.fromkeys(values))
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    return sorted(distinct) if are_numbers else distinct


def padding_by_batch(axes: Axes, steps: pd.DataFrame, look: dict[str, Look]) -> None:
    """Draws the share of padded steps in each batch of the first epoch, in ascending order, one line per group.

    Args:
      axes: to draw on.
      steps: one row per step: `group`, `batch` (examples), `length` (steps with padding), `tokens` (real steps).
      look: look of each group.
    """
    for name, part in steps.groupby("group", sort=False):
        share = np.sort(1 - part["tokens"].to_numpy(float) / (part["batch"] * part["length"]).to_numpy(float))
        at = np.linspace(0, 100, len(share)) if len(share) > 1 else np.array([50.0])
        mine, text = look[str(name)], f"{short(str(name))}: {share.mean():.1%} of a batch on average"
        axes.plot(at, share, color=mine.colour, ls=mine.dash, lw=1.8, label=in_lines(str(name)), gid=hover(text))
    axes.set(xlabel="batches of the first epoch, by their padded steps (%)", ylabel="padded steps (share of all steps)")
    axes.set_ylim(bottom=0)


def ratio_by_parameters(axes: Axes, points: pd.DataFrame, look: dict[str, Look], *, unit: str) -> None:
    """Draws the ratio of times against the number of parameters, one line per value of a toggle, both on log scales.

    Args:
      axes: to draw on.
      points: one row per value and size, by size: `label`, `parameters`, `time_ratio`, `time_low`, `time_high`.
      look: look of each label.
      unit: unit of the times, in words.
    """
    axes.axhline(1, color=INK, lw=1)
    labels = list(dict.fromkeys(points["label"]))
    for place, label in enumerate(labels):
        mine, name = look[str(label)], short(str(label))
        aside = 1.06 ** (place - (len(labels) - 1) / 2)  # so that no interval hides another
        part = points[points["label"] == label].assign(at=lambda rows: rows["parameters"] * aside)  # noqa: B023
        style: Any = {"color": mine.colour, "ls": mine.dash, "marker": mine.mark, "lw": 1.6, "ms": 6}
        style["label"] = in_lines(str(label))
        axes.plot(part["at"], part["time_ratio"], **style)
        for row in part.to_dict("records"):
            ends = [row["time_low"], row["time_high"]]
            axes.plot([row["at"]] * 2, ends, color=mine.colour, lw=1.4, solid_capstyle="butt")
            ratio = estimate(row["time_ratio"], row["time_low"], row["time_high"], 2)
            text = f"{name}, {row['parameters']:,.0f} parameters: {unit} × {ratio}"
            axes.plot(
                [row["at"]], [row["time_ratio"]], "o", color=mine.colour, ms=9, alpha=0.01, mew=0, gid=hover(text)
            )
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel=f"ratio of {unit}")
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _scale_of_ratios(axes, points)


def _scale_of_ratios(axes: Axes, points: pd.DataFrame) -> None:
    """Sets the vertical scale so that a very wide interval is cut off instead of flattening all others."""
    ratios = points["time_ratio"]
    low = max(points["time_low"].fillna(ratios).min(), ratios.min() / WIDEST)
    high = min(points["time_high"].fillna(ratios).max(), ratios.max() * WIDEST)
    low, high = min(low, 1) / 1.1, max(high, 1) * 1.1
    axes.set_ylim(low, high)
    axes.set_yticks(around_one([tick for tick in RATIOS if low <= tick <= high]))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def path_of_looks(axes: Axes, path: pd.DataFrame, look: Look, *, title_of: str, margin: float | None) -> None:
    """Draws the interval of one variant at each look, with the bounds that decide.

    Args:
      axes: to draw on.
      path: the rows of one variant of `effects.over_looks`.
      look: of the variant.
      title_of: name of the variant.
      margin: half the width of the band of changes that are too small to matter, or None.
    """
    if margin is not None:
        axes.axhspan(-margin, margin, color=QUIET, alpha=0.18, lw=0)
    axes.axhline(0, color=INK, lw=1)
    bound = path["bound"].where(np.isfinite(path["bound"]))
    for side in (-1, 1):
        axes.plot(path["n"], side * bound, color=INK, lw=1, ls="--")
    shown = path[np.isfinite(path["low"])]
    axes.errorbar(
        shown["n"], shown["change"], yerr=shown["change"] - shown["low"], color=look.colour, fmt="none", capsize=3
    )
    axes.plot(path["n"], path["change"], color=look.colour, marker=look.mark, lw=1)
    axes.set_title(in_lines(title_of, 28), fontsize="small")
    axes.set(xlabel="seeds", xticks=path["n"])


def power(axes: Axes, curves: pd.DataFrame, *, unit: str, margin: float | None) -> None:
    """Draws the chance of a verdict by the true change.

    Args:
      axes: to draw on.
      curves: the chance, one column per number of seeds, by the change in the index.
      unit: of the change, in words.
      margin: the difference that is too small to matter, or None.
    """
    for seeds, width in zip(curves, np.linspace(2.4, 1.0, len(curves.columns)), strict=True):
        axes.plot(curves.index, curves[seeds], color=INK, lw=width, label=f"{seeds} seeds")
    if len(curves.columns) > 1:
        axes.legend(frameon=False)
    axes.axhline(0.8, color=QUIET, lw=1, ls="--")
    if margin is not None:
        axes.axvline(margin, color=QUIET, lw=1)
        axes.text(margin, 1.02, "margin", ha="center", va="bottom", fontsize="small")
    axes.set(xlabel=f"true change in {unit}", ylabel="chance of a verdict", ylim=(0, 1), xlim=(0, None))


def spent(axes: Axes, seeds: pd.DataFrame, look: dict[str, Look], *, horizon: int) -> None:
    """Draws the seeds that each variant trained, and those that it did not need.

    Args:
      axes: to draw on.
      seeds: `label` and `n`.
      look: variant → its look.
      horizon: largest number of seeds.
    """
    places = np.arange(len(seeds))
    axes.barh(places, horizon, color=QUIET, alpha=0.25)
    axes.barh(places, seeds["n"], color=[look[label].colour for label in seeds["label"]])
    axes.set_yticks(places, [in_lines(label) for label in seeds["label"]])
    axes.invert_yaxis()
    axes.set(xlabel="seeds", xlim=(0, horizon))


def rungs(axes: Axes, points: pd.DataFrame, look: dict[str, Look], *, key: str, metric: Metric) -> None:
    """Draws a metric against the budget, one line per candidate of successive halving.

    Args:
      axes: to draw on.
      points: as `rungs.values` returns them, with finite values.
      look: look of each variant that reached the last rung; the others are grey.
      key: the key whose value is the budget.
      metric: metric of the vertical axis.
    """
    for label, part in points.groupby("label", sort=False):
        mine, name = look.get(str(label)), short(str(label))
        colour = QUIET if mine is None else mine.colour
        axes.plot(
            part["budget"], part["value"], color=colour, ls="-" if mine is None else mine.dash,
            marker="o" if mine is None else mine.mark, ms=3 if mine is None else 6, lw=0.9 if mine is None else 1.8,
            alpha=0.8 if mine is None else 1, zorder=1 if mine is None else 3,
            label=None if mine is None else in_lines(str(label)),
        )  # fmt: skip
        for row in part.to_dict("records"):
            value = estimate(row["value"], row["low"], row["high"], metric.digits)
            if not math.isnan(row["low"]):
                axes.plot([row["budget"]] * 2, [row["low"], row["high"]], color=colour, lw=1.4, zorder=2)
            text = f"{name}, {key}={row['budget']}: {value}"
            axes.plot([row["budget"]], [row["value"]], "o", color=colour, ms=9, alpha=0.01, mew=0, gid=hover(text))
    if any(label not in look for label in points["label"]):
        axes.plot([], [], color=QUIET, lw=0.9, marker="o", ms=3, label="left at a rung")
    budgets = sorted(set(points["budget"]))
    axes.set_xscale("log")
    axes.set_xticks(budgets, list(map(str, budgets)))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set(xlabel=short(key), ylabel=title(metric))


def waterfall(axes: Axes, steps: pd.DataFrame, look: dict[str, Look], *, metric: Metric) -> None:
    """Draws the change that each step of a cumulative design or a path made to the step before, with its interval.

    Args:
      axes: to draw on.
      steps: as `Findings.summary`: the reference first, then the steps in order.
      look: look of each step.
      metric: the compared metric.
    """
    rows = steps.to_dict("records")
    for place, row in enumerate(rows):
        mine = look[row["label"]]
        if row["is_reference"]:
            axes.plot(
                [place - 0.4, place + 0.4],
                [row["mean"]] * 2,
                color=INK,
                lw=2,
                gid=hover(f"{row['label']}: {row['mean']:.{metric.digits}f}"),
            )
        else:
            begin = row["reference_mean"]
            changed = estimate(row["change"], row["low"], row["high"], metric.digits, sign="+")
            text = f"{row['label']}: {changed}; {verdict(row)}"
            face = (mine.colour, 0.75 if row["verdict"] in DECIDED else 0.2)
            axes.bar(
                place, row["mean"] - begin, bottom=begin, width=0.6, facecolor=face, edgecolor=mine.colour, lw=1,
                gid=hover(text),
            )  # fmt: skip
            axes.plot([place], [row["mean"]], mine.mark, color=mine.colour, ms=8, mec="white", mew=0.8, zorder=3)
            if not math.isnan(row["low"]):
                axes.plot([place, place], [begin + row["low"], begin + row["high"]], color=INK, lw=1.2)
        if place + 1 < len(rows):
            axes.plot([place - 0.3, place + 1.3], [row["mean"]] * 2, color=QUIET, lw=0.8, ls=":")
    axes.set_xticks(range(len(rows)), [in_lines(row["label"], 28) for row in rows], rotation=20, ha="right")
    axes.grid(visible=False, axis="x")
    axes.use_sticky_edges = False  # else the margin below the lowest bar would vanish
    axes.margins(y=0.15)
    axes.set(ylabel=title(metric), xlabel="")


def _with_half(row: dict[Any, Any], decimals: int) -> str:
    half = "" if math.isnan(row["low"]) else f"\n± {row['high'] - row['mean']:.{decimals}f}"
    return f"{row['mean']:.{decimals}f}{half}"
