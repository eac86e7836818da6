"""Links into MLflow's pages: the runs of a study, with the columns that the study is about.

What a link cannot say stands in a saved view: a tag of the experiment which MLflow lists under `Views`. The names of its parts are those of
MLflow 3.17's page (`server/js/build/static/js`, modules `ExperimentPageUIState` and `ExperimentPageSearchFacets`).
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from typing import Any

from src import paths
from src.spec.metric import LOSS, TEST, TRAIN, VAL, Metric, best_name
from src.tracking.stored import VALUE

LOCAL = "http://127.0.0.1:5000"  # of `mlflow ui`, where the store is a database
VIEW = "study"  # key of the study's saved view
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
KIND_TAG, KIND = (
    "mlflow.experimentKind",
    "custom_model_development",
)  # the experiments' list opens the runs, and no page about chats
SECONDS, BATCH_MS = "time/train_s", "time/batch_ms_median"
SECTION = "outcomes"  # of charts; no metric of ours begins with it
LINE = {
    "xAxisKey": "step",
    "yAxisKey": "metric",
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
    "scaleType": "linear",
}
NARROW, WIDE = 80, 120  # pixels of a column of a toggle, and of a metric
TESTED_WIDTH, BEST_WIDTH, SECONDS_WIDTH = 105, 128, 88  # and more for a long name
SIGN = 6  # pixels


def study_link(base: str, experiment_id: str, *, sorted_by: Metric | None = None) -> str:
    """Returns the address of a study's runs in MLflow's view of model training.

    Args:
      base: address of MLflow's pages, as `pages_of` returns it.
      experiment_id: of the study.
      sorted_by: metric by whose best validation value the trials are sorted, the best first, in MLflow's own columns; None for an
        experiment with the tag `VIEW_TAG`, which gives the order and the columns.
    """
    if sorted_by is None:
        shown = {"viewStateShareKey": VIEW}
    else:
        column = _column("metrics", best_name(sorted_by))
        shown = {"searchFilter": "", "orderByKey": column, "orderByAsc": str(sorted_by.sign < 0).lower()}
    query = urllib.parse.urlencode({"workflowType": "machine_learning", **shown})
    return f"{base}/#/experiments/{experiment_id}/runs?{query}"


def run_link(base: str, experiment_id: str, run_id: str) -> str:
    """Returns the address of the page of one run."""
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def pages_of(uri: str) -> str:
    """Returns where the pages of a store are: at the address of its server, without user and password, or where `mlflow ui` has them."""
    split = urllib.parse.urlsplit(uri)
    if paths.is_database(uri) or split.scheme not in ("http", "https"):
        return LOCAL
    return urllib.parse.urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path.rstrip("/"), "", ""))


def view(varied: Sequence[str], *, first: Metric, compared: str, study: str, time_ms: int) -> dict[str, str]:
    """Returns the experiment's tags for which its runs are shown flat, the best first, with what the study is about in the first columns.

    The best is chosen by validation: a choice by the test split would bias the test result. Sorted by a metric, MLflow shows the trials
    without a click on the run that they are children of.

    Args:
      varied: keys of the toggles that the study varies.
      first: first metric of the study's task.
      compared: full name of the metric by which the variants are compared.
      study: its name.
      time_ms: since 1970, when it was planned.
    """
    tested, best = f"{TEST}{first.name}", best_name(first)
    leading = compared if "/" in compared and compared not in (f"{VAL}{first.name}", best) else tested
    shown = list(dict.fromkeys([leading, best, SECONDS]))
    last = [name for name in (BATCH_MS,) if name not in shown]
    known = {tested: TESTED_WIDTH, best: BEST_WIDTH, SECONDS: SECONDS_WIDTH}
    for count in range(len(varied), -1, -1):  # a tag has room for so many columns
        params = [_column("params", name) for name in (*varied[:count], "seed")]
        columns = [*(_column("metrics", name) for name in shown), *params, *(_column("metrics", name) for name in last)]
        widths = {_column("metrics", name): max(known.get(name, WIDE), SIGN * len(name)) for name in (*shown, *last)}
        widths |= dict.fromkeys(params, NARROW)
        charts = _charts(varied[:count], first=first, compared=leading)
        state = _state(columns, best_first=first, widths=widths) | charts
        tag = json.dumps(
            {
                "name": study,
                "createdAt": time_ms,
                "updatedAt": time_ms,
                "state": json.dumps(state, separators=(",", ":")),
            }
        )
        if len(tag.encode()) <= VALUE:
            return {VIEW_TAG: tag, KIND_TAG: KIND}
    return {KIND_TAG: KIND}


def _charts(varied: Sequence[str], *, first: Metric, compared: str) -> dict[str, Any]:
    """Returns a first section of charts: what the trials came to, toggles against it, and the curves. MLflow adds one a metric below."""
    shared = {"metricSectionId": SECTION, "deleted": False, "isGenerated": False, "runsCountToCompare": 100}
    of_bars, of_lines = (compared, best_name(first)), (f"{VAL}{first.name}", f"{TRAIN}{LOSS.name}")
    bars: list[dict[str, Any]] = [{"type": "BAR", "metricKey": name, "displayName": name} for name in of_bars]
    lines = [{"type": "LINE", "metricKey": name, "displayName": name, **LINE} for name in of_lines]
    across: dict[str, Any] = {
        "type": "PARALLEL",
        "selectedParams": list(varied),
        "selectedMetrics": [compared],
        "showAllRuns": True,
    }
    cards = [*bars, *([across] if varied else []), *lines]
    return {
        "compareRunCharts": [{"uuid": f"{SECTION}-{number}", **shared, **card} for number, card in enumerate(cards)],
        "compareRunSections": [{"uuid": SECTION, "name": SECTION, "display": True, "isReordered": True}],
        "isAccordionReordered": True,
        "runsHiddenMode": "SHOWALL",
    }


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _state(columns: list[str], *, best_first: Metric, widths: dict[str, int]) -> dict[str, Any]:
    return {
        "searchFilter": "",
        "orderByKey": _column("metrics", best_name(best_first)),
        "orderByAsc": best_first.sign < 0,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [_column("attributes", "Run Name"), *columns],
        "columnWidths": widths,
    }
