"""Links to MLflow's pages: the runs of a study, with the columns that matter for the study.

A saved view holds what a link cannot: it is a tag of the experiment, which MLflow lists under `Views`. The names of its
parts are those of MLflow 3.17's page (`server/js/build/static/js`, modules `ExperimentPageUIState` and
`ExperimentPageSearchFacets`).
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from typing import Any

from src import paths
from src.spec.metric import LOSS, TEST, TRAIN, VAL, Metric, best_name
from src.tracking.stored import VALUE

LOCAL = "http://127.0.0.1:5000"  # address of `mlflow ui`, for stores that are databases
VIEW = "study"  # key of the study's saved view
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
# With this tag, the list of experiments opens the page of runs, not a page about chats.
KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
SECONDS, BATCH_MS = "time/train_s", "time/batch_ms_median"
SECTION = "outcomes"  # a section of charts; no metric's name begins with it
LINE = {
    "xAxisKey": "step",
    "yAxisKey": "metric",
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
    "scaleType": "linear",
}
PARAM_WIDTH, METRIC_WIDTH = 80, 120  # pixels of a column
TESTED_WIDTH, BEST_WIDTH, SECONDS_WIDTH = 105, 128, 88  # minimum widths in pixels
CHARACTER_WIDTH = 6  # pixels


def study_link(base: str, experiment_id: str, *, sorted_by: Metric | None = None) -> str:
    """Returns the address of a study's runs in MLflow's view of model training.

    Args:
      base: address of MLflow's pages, as `pages_of` returns it.
      experiment_id: of the study.
      sorted_by: the link sorts the trials by the best validation value of this metric, the best first, in MLflow's own
        columns. None for an experiment with the tag `VIEW_TAG`, which sets the order and the columns.
    """
    if sorted_by is None:
        options = {"viewStateShareKey": VIEW}
    else:
        column = _column("metrics", best_name(sorted_by))
        options = {"searchFilter": "", "orderByKey": column, "orderByAsc": str(sorted_by.sign < 0).lower()}
    query = urllib.parse.urlencode({"workflowType": "machine_learning", **options})
    return f"{base}/#/experiments/{experiment_id}/runs?{query}"


def run_link(base: str, experiment_id: str, run_id: str) -> str:
    """Returns the address of the page of one run."""
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def pages_of(uri: str) -> str:
    """Returns the address of a store's pages: its server without user and password, or `mlflow ui` for a database."""
    split = urllib.parse.urlsplit(uri)
    if paths.is_database(uri) or split.scheme not in ("http", "https"):
        return LOCAL
    return urllib.parse.urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path.rstrip("/"), "", ""))


def view(varied: Sequence[str], *, first: Metric, compared: str, study: str, time_ms: int) -> dict[str, str]:
    """Returns the tags that make MLflow list an experiment's runs, the best first, with the study's own columns.

    Validation chooses the best: a choice by the test split would bias the test result. When the list is sorted by a
    metric, MLflow shows the trials without a click on their parent run.

    Args:
      varied: keys of the toggles that the study varies.
      first: first metric of the study's task.
      compared: full name of the metric by which the study compares its variants.
      study: name of the study.
      time_ms: time of the plan, in milliseconds since 1970.
    """
    tested, best = f"{TEST}{first.name}", best_name(first)
    leading = compared if "/" in compared and compared not in (f"{VAL}{first.name}", best) else tested
    shown = list(dict.fromkeys([leading, best, SECONDS]))
    last = [name for name in (BATCH_MS,) if name not in shown]
    minimum = {tested: TESTED_WIDTH, best: BEST_WIDTH, SECONDS: SECONDS_WIDTH}
    for count in range(len(varied), -1, -1):  # a tag has a limited size: leave out toggles until the view fits
        params = [_column("params", name) for name in (*varied[:count], "seed")]
        columns = [*(_column("metrics", name) for name in shown), *params, *(_column("metrics", name) for name in last)]
        widths = {
            _column("metrics", name): max(minimum.get(name, METRIC_WIDTH), CHARACTER_WIDTH * len(name))
            for name in (*shown, *last)
        }
        widths |= dict.fromkeys(params, PARAM_WIDTH)
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


def renamed_view(tag: str, study: str) -> str:
    """Returns the saved view of a renamed study; unchanged if its new name does not fit into the tag."""
    renamed = json.dumps({**json.loads(tag), "name": study})
    return renamed if len(renamed.encode()) <= VALUE else tag


def _charts(varied: Sequence[str], *, first: Metric, compared: str) -> dict[str, Any]:
    """Returns a first section of charts: the results as bars, toggles against results, and the curves.

    MLflow adds a chart for each metric below this section.
    """
    shared = {"metricSectionId": SECTION, "deleted": False, "isGenerated": False, "runsCountToCompare": 100}
    bar_metrics, line_metrics = (compared, best_name(first)), (f"{VAL}{first.name}", f"{TRAIN}{LOSS.name}")
    bars: list[dict[str, Any]] = [{"type": "BAR", "metricKey": name, "displayName": name} for name in bar_metrics]
    lines = [{"type": "LINE", "metricKey": name, "displayName": name, **LINE} for name in line_metrics]
    parallel: dict[str, Any] = {
        "type": "PARALLEL",
        "selectedParams": list(varied),
        "selectedMetrics": [compared],
        "showAllRuns": True,
    }
    cards = [*bars, *([parallel] if varied else []), *lines]
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
