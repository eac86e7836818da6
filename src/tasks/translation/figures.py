"""Figures of this task, in addition to the usual ones of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from analysis.looks import short
from src.tasks.translation import attended, pictures
from src.tasks.translation.pictures import Attention

if TYPE_CHECKING:
    from analysis.load import Study

MOST = 6  # variants, one below the other
LINE = 24  # characters of a title's line


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
