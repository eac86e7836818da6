"""What the trials of each variant were found to suffer from: variants by cause, counted over seeds."""

from __future__ import annotations

import pandas as pd

from analysis.rows import FAILED, FINISHED
from src.spec.record import DIVERGED

NO_CAUSE = "none"


def named(rows: pd.DataFrame) -> pd.Series:
    """Returns the cause of each trial: the text of its diagnosis before the colon, or `none`."""
    return rows["diagnosis"].map(lambda text: text.split(":")[0] if isinstance(text, str) else NO_CAUSE).astype(object)


def counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns int[variants, causes]: the seeds of each variant by the cause that was named.

    Rows are in the plan's order. Columns are in the order in which the rows name them first, so that a study of faults
    has its correct answers on the diagonal. Trials that finished or diverged count.

    Args:
      rows: as `Study.rows`.
    """
    is_ended = (rows["status"] == FINISHED) | ((rows["status"] == FAILED) & (rows["health"] == DIVERGED))
    ended = rows[is_ended].drop_duplicates(["label", "seed"])
    labels = list(dict.fromkeys(ended["label"]))
    table = pd.crosstab(ended["label"], named(ended)).reindex(index=labels)
    table.index.name = table.columns.name = None
    order = [cause for label in labels for cause in table.loc[label].sort_values(ascending=False, kind="stable").index]
    places = {cause: int((table[cause] > 0).to_numpy().argmax()) for cause in table}
    return table[sorted(table, key=lambda cause: (places[cause], order.index(cause)))]


def has_any(rows: pd.DataFrame) -> bool:
    """Returns whether a cause was named for any trial of the study."""
    return bool(rows["diagnosis"].notna().any())
