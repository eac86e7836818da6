"""Studies in Python and in notebooks: the functions behind `analysis.study` and `analysis.adopt`."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import adopted, adoption, figures, findings, load, sources, tables, written
from analysis.store import StoreError, nearest
from analysis.table import Table
from src import paths

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Study:
    """A study with its comparisons.

    Attributes:
      name: its name.
      notes: what did not go as planned, in sentences.
      trials: one row per variant and seed, with toggles, status and metrics.
    """

    def __init__(self, found: findings.Findings) -> None:
        """Takes the comparisons."""
        self._found = found
        self.name, self.notes = found.study.name, tuple(found.study.notes)
        self.trials = load.trials_of_tables(found.study)

    def __repr__(self) -> str:
        """Returns its name and its trials, counted."""
        return f"<study {self.name}: {self._found.study.counts}>"

    def _repr_html_(self) -> str:
        return self.table().html()

    def effects(self) -> pd.DataFrame:
        """Returns one row per variant: its change from the reference, interval, p values, verdict and time ratio.

        A reference has a row of its own (`is_reference`); in a cumulative study and on a path, each step has one.
        """
        return self._found.compared.copy()

    def table(self) -> Table:
        """Returns the ablation table, which a notebook shows; it has `markdown()`, `latex(label)` and `csv()`, too."""
        return tables.ablation(self._found)

    def figure(self, name: str = "forest") -> Figure:
        """Returns a figure by its name: one of those of `python -m analysis figure`, the figures of its task included.

        Raises:
          StoreError: there is no such figure, the study has no data for it, or its task cannot draw it.
        """
        study, known = self._found.study, list(figures.FIGURES)
        if name not in known:
            known += figures.places_of_task(study)[0]
        if name not in known:
            raise StoreError(f"no figure {name!r}; {nearest(name, known)}")
        pictures, notes = written.drawn_figures(self._found, [name])
        if not pictures:
            raise StoreError("; ".join(notes) or f"{self.name} has no data for the figure {name!r}")
        drawn = pictures[0]
        figure: Any = drawn.figure
        figure._repr_png_ = lambda: _png(drawn.figure)  # a notebook shows figures of pyplot only
        return drawn.figure

    def report(self, folder: str | Path | None = None) -> Path:
        """Writes the report with its tables and figures; returns the path of the page. Default: reports/NAME."""
        target = Path(folder) if folder is not None else paths.home() / "reports" / self.name
        target.mkdir(parents=True, exist_ok=True)
        written.report(self._found, target)
        return target / "report.html"


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor="white")
    return content.getvalue()


def study(
    name: str,
    *,
    metric: str | None = None,
    margin: float | None = None,
    also: str | Sequence[str] | None = None,
    uri: str | None = None,
) -> Study:
    """Returns a study of the store, or an adopted one.

    Args:
      name: its name; `python -m analysis studies` lists them.
      metric: metric to compare by, such as `test/loss`; None for the study's.
      margin: difference that is too small to matter, in the metric's unit; None for the study's.
      also: a further metric, or several, that the table shows; None for those of the study.
      uri: MLflow store; None for the default one.

    Raises:
      StoreError: there is no such study or metric, nothing has finished, or the store cannot be read.
    """
    if margin is not None and not 0 <= margin < math.inf:
        raise StoreError(f"margin: got {margin}; give a number above 0, in the metric's unit")
    further = [also] if isinstance(also, str) else also
    loaded = load.study(name, adopted.store_of(name, uri))
    return Study(findings.find(loaded, metric=metric, margin=margin, also=further))


def adopt(
    source: str | Path | pd.DataFrame,
    *,
    toggles: Sequence[str],
    seed: str,
    metric: str | Sequence[str],
    name: str,
    reference: Mapping[str, Any] | None = None,
    duplicates: str | None = None,
    status: str | None = None,
    time: str | None = None,
    decimal: str = ".",
    pattern: str | None = None,
    uri: str | None = None,
) -> Study:
    """Makes a study of runs that another program recorded, as `python -m analysis adopt` does, and returns it.

    Args:
      source: a frame with one row per run, or what the command reads: a file, a folder, or an MLflow experiment.
      toggles: columns of the settings that were varied.
      seed: column of the seeds, or `order`.
      metric: `COLUMN:higher` or `COLUMN:lower`, or several; the first compares the variants.
      name: name of the study.
      reference: toggle → value of the variant to compare with.
      duplicates: `latest`, if the latest of several runs of a variant and seed counts; otherwise they are refused.
      status: column of the runs' states.
      time: column with the seconds of a run.
      decimal: decimal point of numbers in texts.
      pattern: named groups are the settings in the names of event folders.
      uri: MLflow store of the experiment.

    Raises:
      StoreError: the source cannot be read, or an option does not fit it.
    """
    if isinstance(source, pd.DataFrame):
        runs = sources.of_frame(source)
    else:
        runs = sources.read(str(source), uri=uri, pattern=pattern)
    asked = tuple(map(adoption.asked_metric, [metric] if isinstance(metric, str) else metric))
    options = adoption.Options(
        tuple(toggles), seed, asked, name, dict(reference or {}), status, time, decimal, duplicates,
    )  # fmt: skip
    adoption.adopt(runs, options, command=f"analysis.adopt(…, name={name!r})")
    return study(name)
