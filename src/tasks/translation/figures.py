"""Figures of this task, in addition to the usual ones of a report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import drawing
from analysis.groups import seeds as seeds_of
from analysis.looks import MAX_VARIANTS, QUIET, looks, short
from src.inference.student import interval
from src.spec.metric import Metric
from src.tasks.translation import attended, pictures, translations
from src.tasks.translation.by_length import Range, by_range
from src.tasks.translation.pictures import Attention
from src.tasks.translation.task import BLEU

if TYPE_CHECKING:
    from analysis.load import Study

MOST = 6  # variants, one below the other
LINE = 24  # characters of a title's line
RANGES = 5  # of length, with about equally many test sources
CHANGE = Metric("change", None, title="change in BLEU", digits=1)


def attention(study: Study) -> tuple[Figure, str]:
    """Draws the attention of the same test sentences for each variant of one seed, with one colour scale."""
    seed, panels = _panels(study)
    rows = dict(list(panels.items())[:MOST])
    sentences = min(map(len, rows.values()))
    titles = [short(label, LINE) for label in rows for _ in range(sentences)]
    figure = pictures.figure([of_variant[:sentences] for of_variant in rows.values()], titles)
    text = f"Attention while each variant translates {sentences} test sentences greedily, for seed {seed}"
    left = study.finished["label"].nunique() - len(rows)
    more = f" {left} more variant{'s are' if left > 1 else ' is'} not shown." if left else ""
    return figure, f"{text}: the weights of the source tokens (columns) for each written token (rows).{more}"


def by_length(study: Study) -> tuple[Figure, str]:
    """Draws the BLEU of each variant by the length of the source, and its difference from the first variant."""
    tables = _by_seed(study)
    reference = next(iter(tables))
    look = looks(tables)
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    for axes, metric, against in zip(figure.subplots(1, 2), (BLEU, CHANGE), (None, tables[reference]), strict=True):
        points = pd.concat([_points(each, against).assign(group=label) for label, each in tables.items()])
        drawing.curves(axes, points, look, x="words", unit="words of the source", metric=metric)
    axes.axhline(0, color=QUIET, lw=1.4)
    drawing.legend_beside(figure, axes)
    counts = [len(each) for each in tables.values()]
    intervals = f"Means with 95 % intervals over {seeds_of(counts)}" if max(counts) > 1 else "Single seed, no intervals"
    left = study.finished["label"].nunique() - len(tables)
    more = f" {left} more variant{'s are' if left > 1 else ' is'} not shown." if left else ""
    text = f"BLEU of the test by the length of the source, and its difference from {reference}, paired by seed"
    return figure, f"{text}. {intervals}; each mark is about a fifth of the test.{more}"


def _by_seed(study: Study) -> dict[str, dict[int, list[Range]]]:
    """Returns label → seed → scores by range of length, the reference first, of at most `MAX_VARIANTS` variants.

    Raises:
      LookupError: no trial has translations.
    """
    tables: dict[str, dict[int, list[Range]]] = {}
    finished = study.finished.sort_values("is_reference", ascending=False, kind="stable")
    for run_id, label, seed in finished[["run_id", "label", "seed"]].itertuples(index=False):
        file = study.store.artifact(str(run_id), translations.FILE)
        if file is not None and (label in tables or len(tables) < MAX_VARIANTS):
            values = json.loads(file.read_text(encoding="utf-8"))
            is_lower = "case:lc" in values["signatures"]["bleu"]
            tables.setdefault(str(label), {})[int(seed)] = by_range(values["pairs"], RANGES, lowercase=is_lower)
    if not tables:
        raise LookupError(f"no finished trial has {translations.FILE}")
    return tables


def _points(of_seeds: dict[int, list[Range]], against: dict[int, list[Range]] | None) -> pd.DataFrame:
    """Returns one row per range: its middle in `words`, and the `mean`, `low` and `high` of BLEU over seeds.

    Args:
      of_seeds: seed → the ranges, which are the same for every seed of one test.
      against: those of another variant, to get the differences over the seeds that both have.
    """
    seeds = sorted(of_seeds if against is None else of_seeds.keys() & against.keys())
    rows = []
    for place, each in enumerate(of_seeds[seeds[0]] if seeds else []):
        own = np.array([of_seeds[seed][place].bleu for seed in seeds])
        other = 0.0 if against is None else np.array([against[seed][place].bleu for seed in seeds])
        found = interval(own - other)
        rows.append({"words": (each.least + each.most) / 2, "mean": found.mean, "low": found.low, "high": found.high})
    return pd.DataFrame(rows, columns=["words", "mean", "low", "high"])


def _panels(study: Study) -> tuple[int, dict[str, list[Attention]]]:
    """Returns the lowest seed with attention, and label → its sentences, the reference first.

    Raises:
      LookupError: no trial has attention.
    """
    finished = study.finished.sort_values(["seed", "is_reference"], ascending=[True, False], kind="stable")
    first: int | None = None
    panels: dict[str, list[Attention]] = {}
    for run_id, label, seed in finished[["run_id", "label", "seed"]].itertuples(index=False):
        if first is not None and seed != first:
            break
        file = study.store.artifact(str(run_id), attended.FILE)
        if file is not None:
            first = int(seed)
            panels[str(label)] = attended.read(file)
    if first is None:
        raise LookupError(f"no finished trial has {attended.FILE}")
    return first, panels
