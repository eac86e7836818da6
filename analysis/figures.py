"""What a study found as figures: each is a function from a frame to axes; what the study varied decides which are drawn.

One style for all: colour-blind safe colours, and beside every colour a mark or a dash that survives grey print; a variant has the same
in every figure. Every axis has its unit; every interval is Student's over seeds, 95 %. All figures but the forest have one height. In
SVG, what a reader points at says its name and its numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from analysis.inference import LEVEL, Interval, grid, interval, quantile
from analysis.load import DROPPED, PER_EPOCH, STEADY_EPOCH, Study
from analysis.tables import digits, number_of, title, verdict
from src import environment
from src.spec.section import as_typed
from src.terminal.visible import one_line

MAX_VARIANTS = 10  # that colours, dashes and marks tell apart
INK = "#1c1e21"
QUIET = "#8a8f98"
DASHES = ["-", "--", "-.", ":"]
UNITS = {"max_length": "steps", "vocab_size": "words", "units": "width of the state", "embedding_dim": "width", "batch_size": "sequences"}
MARKS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]
DECIDED = ("helps", "hurts", "higher", "lower", "no difference", "changed nothing")
HEIGHT = 3.6  # inches, of every figure but the forest, so that they stand side by side
RATIOS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100]
MAX_DOTS = 400  # that say their numbers where a reader points at them
HOVER = "hover: "  # what an artist's id begins with that says something
STYLE: Any = {
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "grid.color": "#d9dce1",
    "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11, "axes.titleweight": "bold",
    "legend.frameon": False, "font.size": 10, "figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "path",
    "svg.hashsalt": "ablation", "savefig.facecolor": "none", "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What tells a variant from others, in every figure."""

    colour: Any
    mark: str
    dash: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Returns a look for each name, the first in ink; from the eleventh on they repeat."""
    colours = [INK, *sns.color_palette("colorblind", MAX_VARIANTS)[: MAX_VARIANTS - 1]]
    return {
        name: Look(colours[place % MAX_VARIANTS], MARKS[place % MAX_VARIANTS], DASHES[place % len(DASHES)])
        for place, name in enumerate(dict.fromkeys(names))
    }


@dataclass(frozen=True)
class Drawn:
    """A figure with what it shows, in words."""

    name: str
    caption: str
    figure: Figure


def forest(axes: Axes, compared: pd.DataFrame, differences: pd.DataFrame, *, metric: str, margin: float | None) -> None:
    """Draws every change with its interval, and the single seeds as points; a mark is filled where there is a verdict.

    Args:
      axes: to draw on.
      compared: as `effects.paired` returns it.
      differences: as `effects.pairs` returns it.
      metric: that was compared.
      margin: half the width of the band that is too small to matter, or None.
    """
    shown, look = _rows_of_forest(axes, compared)
    if margin is not None:
        axes.axvspan(-margin, margin, color=QUIET, alpha=0.18, lw=0, gid=_hover(f"margin: ±{margin:g}"))
    axes.axvline(0, color=INK, lw=1)
    for place, row in enumerate(shown):
        _dots(axes, differences[(differences["within"] == row["within"]) & (differences["label"] == row["label"])], place, metric=metric)
        text = f"{_row_name(row)}: {_numbers(row['change'], row['low'], row['high'], digits(metric), sign='+')}; {verdict(row)}"
        _bar(axes, place, (row["change"], row["low"], row["high"]), look[row["label"]], text, is_filled=row["verdict"] in DECIDED)
    side = {1: " (higher is better)", -1: " (lower is better)", 0: ""}[better(metric)]
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6))
    axes.set(xlabel=f"change in {title(metric)}{side}", ylabel="")


def cost(axes: Axes, compared: pd.DataFrame, *, unit: str) -> None:
    """Draws the ratio of times of every row of a forest, with its interval.

    Args:
      axes: to draw on.
      compared: as `effects.paired` returns it.
      unit: of the times, in words.
    """
    shown, look = _rows_of_forest(axes, compared)
    axes.axvline(1, color=INK, lw=1)
    for place, row in enumerate(shown):
        text = f"{_row_name(row)}: {unit} × {_numbers(row['time_ratio'], row['time_low'], row['time_high'], 2)}"
        is_decided = bool(row["time_holm"] < LEVEL)
        _bar(axes, place, (row["time_ratio"], row["time_low"], row["time_high"]), look[row["label"]], text, is_filled=is_decided)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.9), max(high, 1.1))
    axes.set_xticks(_around_one([tick for tick in RATIOS if min(low, 0.9) <= tick <= max(high, 1.1)]))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.tick_params(labelleft=False)
    axes.set(xlabel=f"ratio of {unit} (lower is faster)", ylabel="")


def _around_one(ticks: list[float]) -> list[float]:
    """Returns the ticks that stand apart on a log axis, 1 among them."""
    least = math.log(ticks[-1] / ticks[0]) / 7
    shown = [1.0]
    for tick in sorted(ticks, key=lambda one: abs(math.log(one))):
        if all(abs(math.log(tick / other)) >= least for other in shown):
            shown.append(tick)
    return sorted(shown)


def _hover(text: str) -> str:
    """Returns the id of an artist that says a text where a reader points at it; SVG allows no noncharacters."""
    return HOVER + re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", _short(text, 200))


def _rows_of_forest(axes: Axes, compared: pd.DataFrame) -> tuple[list[dict[Any, Any]], dict[str, Look]]:
    """Returns the rows of a forest with their looks, and gives each its line with name and verdict."""
    shown = compared[~compared["is_reference"]].to_dict("records")
    names = list(dict.fromkeys([*compared.loc[compared["is_reference"], "label"], *compared["label"]]))
    plain = Look(INK, "o", "-")
    look = looks(names) if len(names) <= MAX_VARIANTS else dict.fromkeys(names, plain)
    axes.set_yticks(range(len(shown)), [f"{_short(_row_name(row))}\n{_short(verdict(row))}" for row in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    return shown, look


def _row_name(row: dict[Any, Any]) -> str:
    return " | ".join(filter(None, (row["within"], row["label"])))


def _dots(axes: Axes, differences: pd.DataFrame, place: int, *, metric: str) -> None:
    """Draws the differences of single seeds, each a little higher or lower, so that all are seen."""
    known = differences.dropna(subset=["difference"])
    height = place + 0.22 * np.linspace(-1, 1, len(known)) if len(known) > 1 else np.full(len(known), float(place))
    style: Any = {"color": QUIET, "ms": 4, "alpha": 0.6, "mew": 0, "zorder": 1}
    if len(axes.lines) > MAX_DOTS:
        axes.plot(known["difference"], height, "o", **style)
        return
    for row, y in zip(known.to_dict("records"), height, strict=True):
        axes.plot([row["difference"]], [y], "o", gid=_hover(f"seed {row['seed']}: {row['difference']:+.{digits(metric) + 1}f}"), **style)


def _bar(axes: Axes, place: float, numbers: tuple[float, float, float], look: Look, text: str, *, is_filled: bool) -> None:
    """Draws an estimate with its interval, across."""
    middle, low, high = numbers
    if not math.isnan(low):
        axes.plot([low, high], [place, place], color=look.colour, lw=2.4, solid_capstyle="butt", zorder=2, gid=_hover(text))
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
        gid=_hover(text),
    )


def accuracy_by_time(axes: Axes, points: pd.DataFrame, look: dict[str, Look], *, metric: str, unit: str) -> None:
    """Draws each variant's metric against its time per batch, with intervals, and the front that no other variant beats in both.

    Args:
      axes: to draw on.
      points: one row a variant: `label`, `time`, `time_low`, `time_high`, `value`, `low`, `high`.
      look: of each variant.
      metric: of the values.
      unit: of the time.
    """
    for row in points.to_dict("records"):
        mine = look[row["label"]]
        for x, y in (([row["time_low"], row["time_high"]], [row["value"]] * 2), ([row["time"]] * 2, [row["low"], row["high"]])):
            axes.plot(x, y, color=mine.colour, lw=1.2, alpha=0.7)
        value = _numbers(row["value"], row["low"], row["high"], digits(metric))
        text = f"{row['label']}: {title(metric)} {value}, {unit} {_numbers(row['time'], row['time_low'], row['time_high'], 1)}"
        axes.plot(
            [row["time"]], [row["value"]], mine.mark, color=mine.colour, ms=8, mec="white", mew=0.8, label=_short(row["label"]), zorder=3,
            gid=_hover(text),
        )  # fmt: skip
    if better(metric):
        front = _front(points, better(metric))
        axes.plot(front["time"], front["value"], color=INK, lw=1, ls=":", drawstyle="steps-post", label="Pareto front", zorder=0)
    axes.set(xlabel=unit, ylabel=title(metric))


def curves(axes: Axes, points: pd.DataFrame, look: dict[str, Look], *, x: str, unit: str) -> None:
    """Draws validation accuracy, mean and interval over seeds, one line a group.

    Args:
      axes: to draw on.
      points: one row a group and validation: `group`, `x` (its mean over seeds), `mean`, `low`, `high`.
      look: of each group.
      x: column of the horizontal axis.
      unit: its label.
    """
    for name, part in points.groupby("group", sort=False):
        mine, few = look[str(name)], len(part) <= 30
        axes.plot(
            part[x], part["mean"], color=mine.colour, ls=mine.dash, marker=mine.mark if few else None, ms=5, lw=1.8, label=_short(str(name))
        )
        if part["low"].notna().any():  # the edge keeps a band in sight where all seeds have one value
            axes.fill_between(part[x], part["low"], part["high"], facecolor=(mine.colour, 0.15), edgecolor=(mine.colour, 0.45), lw=0.8)
        for row in part.to_dict("records") if len(part) <= 12 else []:
            text = f"{_short(str(name))}, {x.removesuffix('s')} {row[x]:.4g}: {_numbers(row['mean'], row['low'], row['high'], 3)}"
            axes.plot([row[x]], [row["mean"]], "o", color=mine.colour, ms=9, alpha=0.01, mew=0, zorder=4, gid=_hover(text))
    axes.set(xlabel=unit, ylabel="validation accuracy")
    axes.set_xlim(left=0)


def time_per_batch(axes: Axes, steps: pd.DataFrame, look: dict[str, Look]) -> None:
    """Draws the distribution of the time per batch of every variant: median, quartiles, and 5 to 95 % of the steps.

    Args:
      axes: to draw on.
      steps: one row a step: `group`, `time/batch_ms`; steps that traced left out.
      look: of each group.
    """
    groups = [(str(name), part["time/batch_ms"].to_numpy(float)) for name, part in steps.groupby("group", sort=False)]
    for place, (name, values) in enumerate(groups):
        low, quarter, median, three, high = np.percentile(values, [5, 25, 50, 75, 95])
        text = f"{_short(name)}: median {median:.1f} ms, quartiles {quarter:.1f} and {three:.1f}, 5 to 95 %: {low:.1f} to {high:.1f}"
        axes.plot([low, high], [place, place], color=look[name].colour, lw=1.5, alpha=0.7)
        axes.barh(
            place, three - quarter, left=quarter, height=0.5, facecolor=(look[name].colour, 0.45), edgecolor=look[name].colour, lw=1,
            gid=_hover(text),
        )  # fmt: skip
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
    names = list(dict.fromkeys(as_typed(value) for value in means[by]))
    look, [low, high] = looks(names), _range(metric)
    for place, name in enumerate(names):
        part = means[[as_typed(value) == name for value in means[by]]]
        found = part.set_index(part[toggle].map(as_typed)).reindex(values)
        found[toggle] = values
        at = np.arange(len(values)) + 0.06 * (place - (len(names) - 1) / 2)
        heights = found["mean"].to_numpy(float)
        half = [np.nan_to_num(heights - found["low"].clip(low, high)), np.nan_to_num(found["high"].clip(low, high) - heights)]
        axes.errorbar(
            at, heights, yerr=half, color=look[name].colour, marker=look[name].mark, ls=look[name].dash, capsize=3, lw=1.6,
            label=_short(f"{by}={name}"),
        )  # fmt: skip
        for x, row in zip(at, found.to_dict("records"), strict=True):
            text = f"{by}={name}, {toggle}={as_typed(row[toggle])}: {_numbers(row['mean'], row['low'], row['high'], digits(metric))}"
            axes.plot([x], [row["mean"]], "o", color=look[name].colour, ms=9, alpha=0.01, mew=0, gid=_hover(text))
    axes.set_xticks(range(len(values)), list(map(_short, values)))
    axes.set(xlabel=_with_unit(toggle), ylabel=title(metric))


def _in_order(values: Iterable[Any]) -> list[Any]:
    """Returns the distinct values: numbers in their order, others in that of the plan."""
    distinct = list(dict.fromkeys(values))
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    return sorted(distinct) if are_numbers else distinct


def padding_by_batch(axes: Axes, steps: pd.DataFrame, look: dict[str, Look]) -> None:
    """Draws the share of padding in each batch of the first epoch, in rising order, one line a group.

    Args:
      axes: to draw on.
      steps: one row a step: `group`, `batch` (examples), `length` (padded steps), `tokens` (real steps).
      look: of each group.
    """
    for name, part in steps.groupby("group", sort=False):
        share = np.sort(1 - part["tokens"].to_numpy(float) / (part["batch"] * part["length"]).to_numpy(float))
        at = np.linspace(0, 100, len(share)) if len(share) > 1 else np.array([50.0])
        mine, text = look[str(name)], f"{_short(str(name))}: {share.mean():.1%} of a batch on average"
        axes.plot(at, share, color=mine.colour, ls=mine.dash, lw=1.8, label=_short(str(name)), gid=_hover(text))
    axes.set(xlabel="batches of the first epoch, by their share of padding (%)", ylabel="padded steps / all steps")
    axes.set_ylim(bottom=0)


def waterfall(axes: Axes, steps: pd.DataFrame, look: dict[str, Look], *, metric: str) -> None:
    """Draws what each step of a cumulative design or a path gained over the one before, with its interval.

    Args:
      axes: to draw on.
      steps: as `Findings.summary`: the reference first, then the steps in order.
      look: of each step.
      metric: that was compared.
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
                gid=_hover(f"{row['label']}: {row['mean']:.{digits(metric)}f}"),
            )
        else:
            begin = row["reference_mean"]
            text = f"{row['label']}: {_numbers(row['change'], row['low'], row['high'], digits(metric), sign='+')}; {verdict(row)}"
            face = (mine.colour, 0.75 if row["verdict"] in DECIDED else 0.2)
            axes.bar(
                place, row["mean"] - begin, bottom=begin, width=0.6, facecolor=face, edgecolor=mine.colour, lw=1,
                gid=_hover(text),
            )  # fmt: skip
            axes.plot([place], [row["mean"]], mine.mark, color=mine.colour, ms=8, mec="white", mew=0.8, zorder=3)
            if not math.isnan(row["low"]):
                axes.plot([place, place], [begin + row["low"], begin + row["high"]], color=INK, lw=1.2)
        if place + 1 < len(rows):
            axes.plot([place - 0.3, place + 1.3], [row["mean"]] * 2, color=QUIET, lw=0.8, ls=":")
    axes.set_xticks(range(len(rows)), [_short(row["label"]) for row in rows], rotation=20, ha="right")
    axes.grid(visible=False, axis="x")
    axes.use_sticky_edges = False  # the lowest bar begins where the reference's line is
    axes.margins(y=0.15)
    axes.set(ylabel=title(metric), xlabel="")


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
    if not environment.is_in_kernel():  # whose own plots would not be shown any more
        mpl.use("agg")
    with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
        made = FIGURES[name](found)
    return None if made is None else Drawn(name, made[1], made[0])


def save(figure: Figure, stem: Path) -> Path:
    """Writes a figure as PNG, SVG and PDF, and returns the path of the SVG."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(stem.with_suffix(".png"), dpi=150, facecolor="white")
    figure.savefig(stem.with_suffix(".pdf"), facecolor="white")
    svg = stem.with_suffix(".svg")
    figure.savefig(svg, metadata={"Date": None})
    svg.write_text(with_titles(svg.read_text(encoding="utf-8")), encoding="utf-8")
    return svg


def with_titles(svg: str) -> str:
    """Returns an SVG in which the artists that have something to say say it as titles, which browsers show where one points."""
    return re.sub(rf'<g id="{HOVER}([^"]*)">', lambda found: f"<g><title>{found[1].replace(chr(39), '&#39;')}</title>", svg)


Made = tuple[Figure, str] | None


def _forest(found: Findings) -> Made:
    shown = found.compared[~found.compared["is_reference"]]
    if not 0 < len(shown) <= 60 or shown["change"].isna().all():
        return None
    has_times = bool(shown["time_ratio"].notna().any())
    figure = Figure(figsize=(11 if has_times else 8, max(2.2, 1.2 + 0.5 * len(shown))), layout="constrained")
    both = figure.subplots(1, 2 if has_times else 1, sharey=has_times, width_ratios=[5, 3] if has_times else None, squeeze=False)[0]
    forest(both[0], found.compared, pairs(found.rows, found.metric), metric=found.metric, margin=found.margin)
    against = "the step before" if found.is_stepwise else "the reference"
    dots = "95 % intervals, single seeds as dots" if (shown["n"] > 1).any() else "single seed, no intervals"
    counts = f" over {seeds(shown['n'])}" if (shown["n"] > 1).any() else ""
    caption = f"Change in {title(found.metric)} from {against}, paired by seed{counts}: {dots}"
    caption += f"; the band is the margin of ±{found.margin:g}." if found.margin is not None else "."
    if has_times:
        cost(both[1], found.compared, unit=title(found.time))
        caption += f" Right: {title(found.time)} as a multiple of {against}'s. {caution(found.rows)}".rstrip()
    filled = f" Filled marks have a verdict{' (right: p below 0.05 after Holm)' if has_times else ''}." if (shown["n"] > 1).any() else ""
    return figure, f"{caption}{filled}"


def _waterfall(found: Findings) -> Made:
    if not found.is_stepwise or len(found.summary) < 2:
        return None
    figure, axes = _figure(max(6.0, 1.3 * len(found.summary)))
    waterfall(axes, found.summary, _looks(found), metric=found.metric)
    has_intervals = found.summary["low"].notna().any()
    with_what = f", with the 95 % interval of its change over {seeds(found.summary['n'])}" if has_intervals else ""
    single = "" if has_intervals or found.seeds > 1 else " Single seed: no intervals."
    return figure, f"What each step changed in {title(found.metric)} from the step before{with_what}.{single}"


def _accuracy_by_time(found: Findings) -> Made:
    metric = "test/accuracy" if found.metric.startswith(("time/", "steps_to/")) else found.metric
    time, done = found.time, found.study.finished
    if time not in done or metric not in done:
        return None
    far = found.compared.assign(size=found.compared["change"].abs().fillna(0.0).mask(found.compared["is_reference"], math.inf))
    shown = far.sort_values("size", ascending=False, kind="stable").drop_duplicates("label")["label"].head(MAX_VARIANTS)
    done, left_out = done[done["label"].isin(shown)], done["label"].nunique() - len(shown)
    rows, counts = [], []
    for name, part in done.groupby("label", sort=False):
        value, log = _within(interval(part[metric].dropna().to_numpy(float)), metric), interval(np.log(part[time].dropna().to_numpy(float)))
        if math.isnan(value.mean) or math.isnan(log.mean):
            continue
        times = {"time": math.exp(log.mean), "time_low": math.exp(log.low), "time_high": math.exp(log.high)}
        rows.append({"label": name, **times, "value": value.mean, "low": value.low, "high": value.high})
        counts.append(part["seed"].nunique())
    if len(rows) < 2:
        return None
    points = pd.DataFrame(rows)
    figure, axes = _figure(6.5)
    unit = "seconds per epoch" if time in (PER_EPOCH, STEADY_EPOCH) else "ms per batch"
    accuracy_by_time(axes, points, _looks(found, points["label"]), metric=metric, unit=unit)
    _legend(figure, axes)
    single = max(counts) == 1
    over = (
        "single seed, no intervals" if single else f"means over {seeds(counts)} (of times geometric), 95 % intervals of each variant alone"
    )
    near = f"{number_of(left_out, 'variant')} nearer to the reference {'is' if left_out == 1 else 'are'} left out." if left_out > 0 else ""
    limits = " ".join(filter(None, (near, caution(found.rows))))
    what = title(metric)
    return figure, f"{what[0].upper()}{what[1:]} against {unit}: {over}. {limits}".strip()


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
    table, look = _mean_curves(points), _looks(found, rows)
    has_times = bool(table["seconds"].notna().any())
    figure, both = _figure(9.5 if has_times else 6.5, columns=2 if has_times else 1)
    both = np.atleast_1d(both)
    curves(both[0], table, look, x="step", unit="optimizer steps")
    if has_times:
        curves(both[1], table, look, x="seconds", unit="training time (s)")
        both[1].set_ylabel("")
    _legend(figure, both[0])
    counts = rows.groupby("group")["seed"].nunique()
    over = f"mean and 95 % interval over {seeds(counts)}" if counts.max() > 1 else "single seed, no intervals"
    return figure, f"Validation accuracy by step{' and by training time' if has_times else ''}, {groups}: {over}."


def _time_per_batch(found: Findings) -> Made:
    steps = found.study.steps
    rows, groups = _grouped(found)
    steps = rows[["run_id", "group"]].drop_duplicates().merge(steps, on="run_id")
    steps = steps[~steps["is_first"].astype(bool)] if len(steps) else steps
    if steps.empty:
        return None
    figure, axes = _figure(6.5)
    time_per_batch(axes, steps, _looks(found, rows))
    over = seeds(rows.groupby("group")["seed"].nunique())
    return figure, f"Time per batch, {groups}: the steps of {over} but for those that traced or compiled. {caution(found.rows)}".strip()


def _heat_map(found: Findings) -> Made:
    numeric = [key for key in found.study.toggles if _is_numeric(found.study.finished[key])]
    rows, left_out = _whole_seeds(found.study)
    if len(numeric) != 2 or rows.empty or rows[found.metric].isna().any():
        return None
    figure, axes = _figure(5.8)
    heat_map(axes, rows, numeric[1], numeric[0], metric=found.metric)
    what = f"{title(found.metric).capitalize()} by {numeric[0]} and {numeric[1]}"
    else_too = _differs_too(rows, numeric, found.study.toggles)
    count = rows["seed"].nunique()
    over = f"mean over {seeds([count])} and all else, with half its 95 % interval" if count > 1 else "single seed, no intervals"
    return figure, f"{what}: {over}.{else_too}{left_out}"


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
    figure, several = _figure(3.4 * len(pairs) + 1.2, columns=len(pairs))
    trials = found.study.rows[found.study.rows["status"] != DROPPED]
    for axes, (by, toggle) in zip(np.atleast_1d(several), pairs, strict=True):
        means = factorial.means(trials, found.study.plan["levels"], toggle=toggle, by=by, metric=found.metric)
        interaction(axes, means, toggle, by, metric=found.metric)
        if axes is not np.atleast_1d(several)[0]:
            axes.set_ylabel("")
    if len(pairs) == 1:
        _legend(figure, np.atleast_1d(several)[0])
    else:
        for axes in several:
            axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=2)
    over = seeds([int(found.factorial["seeds"].iloc[0])])
    what = f"Means of {title(found.metric)} with 95 % intervals over {over}, for equal shares of all else"
    condition = _condition(terms[terms["term"].isin(strongest)])
    pair = "This pair of toggles has" if len(pairs) == 1 else "These pairs of toggles have"
    share = f" {pair} the largest share{'' if len(pairs) == 1 else 's'} of variance." if known["term"].nunique() > len(pairs) else ""
    return figure, f"{what}; lines that are not parallel interact{condition}.{share}{left_out}"


def _padding(found: Findings) -> Made:
    if not {"padding", "bucketing", "max_length", "batch_size", "truncation", "data"} & set(found.study.toggles):
        return None
    rows, _ = _grouped(found, ("padding", "bucketing", "max_length", "batch_size", "truncation", "data"))
    rows = rows[rows["seed"] == rows["seed"].min()].drop_duplicates("group")
    steps = rows[["run_id", "group"]].merge(found.study.steps, on="run_id")
    steps = steps[steps["epoch"] == 1] if len(steps) else steps
    if steps.empty:
        return None
    figure, axes = _figure(6.5)
    padding_by_batch(axes, steps, _looks(found, rows))
    _legend(figure, axes)
    return figure, "Share of padding in each batch of the first epoch, for one seed; the batches stand in rising order."


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


def seeds(counts: Iterable[int]) -> str:
    """Returns over how many seeds something is: `8 seeds`, `3 to 8 seeds`."""
    known = [int(count) for count in counts]
    low, high = min(known, default=0), max(known, default=0)
    return number_of(high, "seed") if low == high else f"{low} to {high} seeds"


def _figure(width: float, *, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, HEIGHT), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=columns > 1)


def _legend(figure: Figure, axes: Axes) -> None:
    """One legend beside the figure, which is wider by what that takes: all figures have one height."""
    handles, labels = axes.get_legend_handles_labels()
    figure.set_figwidth(figure.get_figwidth() + min(3.2, 0.6 + 0.068 * max(map(len, labels))))
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")


def _looks(found: Findings, groups: pd.DataFrame | pd.Series | None = None) -> dict[str, Look]:
    """Returns the look of each variant, or of each group: that of its first variant, where a study has few enough to tell apart.

    Args:
      found: of the study.
      groups: rows with `label` and `group`, or labels; default: all variants.
    """
    rows = found.study.rows
    labels = [*rows.loc[rows["is_reference"], "label"].head(1), *rows["label"]]
    is_few = len(set(labels)) <= MAX_VARIANTS
    if not isinstance(groups, pd.DataFrame):
        return looks(labels if is_few or groups is None else groups)
    firsts = groups.drop_duplicates("group")
    known = looks(labels)
    return {row["group"]: known[row["label"]] for row in firsts.to_dict("records")} if is_few else looks(firsts["group"])


def _numbers(middle: float, low: float, high: float, decimals: int, *, sign: str = "") -> str:
    """Returns an estimate with its interval, where it has one."""
    text = f"{middle:{sign}.{decimals}f}"
    return text if math.isnan(low) else f"{text} [{low:{sign}.{decimals}f}, {high:{sign}.{decimals}f}]"


def _range(metric: str) -> tuple[float, float]:
    """Returns the least and the greatest value that a metric can have."""
    return (0.0, 1.0) if metric.endswith("/accuracy") else (-math.inf, math.inf)


def _within(known: Interval, metric: str) -> Interval:
    """Returns an interval that leaves out what the metric cannot be."""
    low, high = _range(metric)
    return known._replace(
        low=max(known.low, low) if known.low == known.low else math.nan,
        high=min(known.high, high) if known.high == known.high else math.nan,
    )


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
    """Returns one row a group and validation: mean step and time over its trials, mean and interval over seeds of the accuracy.

    Where all seeds have one value the interval is that of what the grid of the accuracies may hide; none leaves what can be.
    """
    rows = []
    finest = grid(points["value"].to_numpy(float))
    for (group, _), part in points.groupby(["group", "number"], sort=False):
        of_seeds = part.groupby("seed")["value"].mean().dropna().to_numpy(float)
        found = interval(of_seeds)
        if len(of_seeds) > 1 and math.isnan(found.low):
            hidden = finest / math.sqrt(12 * len(of_seeds)) if math.isfinite(finest) else 0.0
            half = quantile(1 - LEVEL / 2, len(of_seeds) - 1) * hidden
            found = found._replace(low=found.mean - half, high=found.mean + half)
        found = _within(found, "val/accuracy")
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
