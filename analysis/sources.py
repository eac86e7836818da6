"""Runs that somebody else recorded, as a frame: a table in a file, an MLflow experiment, or TensorBoard's event files.

Nothing here writes to a source, and nothing that a source contains is executed. Values stay as they are until
`adoption` reads them, so that a column of a table means what its file says.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.store import ClientStore, StoreError, connect, nearest
from src.paths import shown
from src.spec.section import as_typed
from src.terminal.errors import first_line
from src.terminal.visible import counted

PARENT = "mlflow.parentRunId"
EVENTS = "*tfevents*"
STATUS, STARTED, NAME = "status", "start_time", "run name"  # columns that every source but a table has
SNIFFED = 65_536  # bytes of a CSV file that show its delimiter
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Source:
    """Recorded runs.

    Attributes:
      frame: one row per run, texts or numbers by the source's own names; None or an empty text where a value is
        missing. The index says where a row is: lines of a file, or ids of runs.
      place: what the index is: `line` or `run`.
      about: what was read, in words.
      settings: the columns that are settings; None if the source does not tell settings from measurements.
      notes: what was left out, and why.
    """

    frame: pd.DataFrame
    place: str
    about: str
    settings: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def read(name: str, *, uri: str | None = None, pattern: str | None = None) -> Source:
    """Returns the runs of a source.

    Args:
      name: a CSV, TSV, JSONL or Parquet file, a folder of TensorBoard's event files, a folder `mlruns`, or the name of
        an MLflow experiment.
      uri: MLflow store of the experiment; None for the default one.
      pattern: regular expression whose named groups are the settings in a TensorBoard run's folder name.

    Raises:
      StoreError: the source is missing or cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _table(path)
    if path.is_dir():
        if any(path.rglob(EVENTS)):
            return _events(path, pattern)
        raise StoreError(f"{name} is a folder without TensorBoard's event files; name a file or an MLflow experiment")
    if path.suffix.lower() in READERS or "/" in name or os.sep in name:
        raise StoreError(f"{name}: no such file or folder")
    return _experiment(name, uri)


def _table(path: Path) -> Source:
    read_file = READERS.get(path.suffix.lower())
    if read_file is None:
        raise StoreError(f"{path}: unknown kind of file; allowed endings: {', '.join(READERS)}")
    try:
        frame = read_file(path)
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not UTF-8 (byte {error.start:,}); save it as UTF-8") from None
    except (OSError, ValueError, ImportError, csv.Error) as error:
        raise StoreError(f"{path} cannot be read: {first_line(error)}") from None
    frame.columns = [str(column).strip() for column in frame.columns]
    if twice := sorted({column for column in frame.columns if list(frame.columns).count(column) > 1}):
        raise StoreError(f"{path} has two columns {twice[0]!r}; rename one")
    if frame.empty:
        raise StoreError(f"{path} has no rows")
    return Source(frame, "line", f"{path.name}: {counted(len(frame), 'row')}, {counted(len(frame.columns), 'column')}")


def of_frame(frame: pd.DataFrame) -> Source:
    """Returns the runs of a frame with one row per run; its index says where a row is."""
    if frame.empty:
        raise StoreError("the frame has no rows")
    if not frame.index.is_unique:
        raise StoreError("the frame's index has duplicates; call frame.reset_index(drop=True) first")
    plain = frame.astype(object).rename(columns=str)
    return Source(plain, "row", f"a frame: {counted(len(frame), 'row')}, {counted(len(plain.columns), 'column')}")


def _csv(path: Path) -> pd.DataFrame:
    """Returns a table of texts; the first line names the columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.read(SNIFFED)
        try:
            delimiter = csv.Sniffer().sniff(head.splitlines()[0] if head else "", DELIMITERS).delimiter
        except csv.Error:
            delimiter = ","  # one column
        file.seek(0)
        rows = csv.reader(file, delimiter=delimiter)
        names = next(rows, [])
        values, lines = [], []
        for row in rows:
            if not any(map(str.strip, row)):
                continue
            if len(row) != len(names):
                entries = f"line {rows.line_num} has {len(row)} entries, and the first line {len(names)}"
                raise ValueError(f"{entries}; quote entries that contain {delimiter!r}")
            values.append(row)
            lines.append(rows.line_num)
    return pd.DataFrame(values, index=lines, columns=names, dtype=object)


def _jsonl(path: Path) -> pd.DataFrame:
    """Returns a table of plain values; keys of nested objects are joined by dots."""
    rows, lines = [], []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                raise ValueError(f"line {number} is no JSON") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object")
            rows.append(dict(_flat(row)))
            lines.append(number)
    return pd.DataFrame(rows, index=lines, dtype=object)


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", json.dumps(value) if isinstance(value, list) else value


def _parquet(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path).reset_index(drop=True)
    return frame.set_axis(range(1, len(frame) + 1)).astype(object)


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _csv, ".tsv": _csv, ".txt": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet,
}  # fmt: skip


def _experiment(name: str, uri: str | None) -> Source:
    """Returns the runs of an MLflow experiment; parents of other runs and deleted runs are left out."""
    folder = Path(uri.removeprefix("file://")) if uri else None
    if folder is not None and folder.is_dir():  # mlruns, the store of earlier versions of MLflow
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        store: Any = ClientStore(folder.absolute().as_uri())
    else:
        store = connect(uri)
    experiments = store.experiments()
    if name not in experiments:
        fix = f"--uri names another store; {nearest(name, list(experiments))}"
        raise StoreError(f"no file and no MLflow experiment {name!r} in {shown(store.uri)}; {fix}")
    runs = store.runs(experiments[name])
    parents = {run.tags[PARENT] for run in runs if PARENT in run.tags}
    kept = [run for run in runs if run.run_id not in parents]
    if not kept:
        raise StoreError(f"the MLflow experiment {name!r} has no runs")
    params = tuple(dict.fromkeys(key for run in kept for key in run.params))
    both = {key for run in kept for key in run.metrics} & {*params}
    if both:
        raise StoreError(
            f"{sorted(both)[0]!r} is a param and a metric of {name!r}; such an experiment is not supported"
        )
    frame = pd.DataFrame(
        [{STATUS: run.status, STARTED: run.started, NAME: run.name, **run.params, **run.metrics} for run in kept],
        index=[run.run_id for run in kept],
        dtype=object,
    )
    notes = (f"{counted(len(parents), 'parent run')} of other runs left out",) if parents else ()
    about = f"MLflow experiment {name!r} in {shown(store.uri)}: {counted(len(kept), 'run')}"
    return Source(frame, "run", about, params, notes)


def _events(folder: Path, pattern: str | None) -> Source:
    """Returns one row per folder with event files: its HParams, the named groups, and the last value of each scalar."""
    try:
        compiled = re.compile(pattern) if pattern else None
    except re.error as error:
        raise StoreError(f"--pattern: {pattern!r} is no regular expression: {error}") from None
    rows, places, unmatched = [], [], []
    settings: dict[str, None] = {}
    for run in sorted({path.parent for path in folder.rglob(EVENTS)}):
        name = run.relative_to(folder).as_posix()
        found = compiled.search(name) if compiled else None
        if compiled and found is None:
            unmatched.append(name)
            continue
        hparams, scalars = _of_run(run)
        own = {**hparams, **(found.groupdict() if found else {})}
        settings |= dict.fromkeys(own)
        started = min(path.stat().st_mtime for path in run.glob(EVENTS))
        rows.append({STATUS: "FINISHED", STARTED: int(started * 1e3), NAME: name, **own, **scalars})
        places.append(name)
    if not rows:
        why = f"no folder matches --pattern {pattern!r}: {', '.join(unmatched[:3])}" if unmatched else "no runs"
        raise StoreError(f"{folder}: {why}")
    if not settings:
        fix = r"--pattern 'lr(?P<lr>[\d.]+)_seed(?P<seed>\d+)' takes them from names such as " + repr(places[0])
        raise StoreError(f"{folder}: the event files have no HParams; {fix}")
    frame = pd.DataFrame(rows, index=places, dtype=object)
    notes = [f"{counted(len(unmatched), 'folder')} without a match of --pattern left out"] if unmatched else []
    about = f"event files in {folder}: {counted(len(rows), 'run')}"
    return Source(frame, "run", about, tuple(settings), tuple(notes))


def _of_run(folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns the HParams and the last value of each scalar of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util import tensor_util

    events = EventAccumulator(str(folder), size_guidance={"scalars": 1, "tensors": 1})  # the last value of each
    events.Reload()
    tags = events.Tags()
    scalars = {tag: float(events.Scalars(tag)[-1].value) for tag in tags["scalars"]}
    for tag in tags["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            scalars[tag] = float(tensor_util.make_ndarray(events.Tensors(tag)[-1].tensor_proto))
    try:
        content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        sent = metadata.parse_session_start_info_plugin_data(content).hparams
    except KeyError:
        return {}, scalars
    return {key: _plain(value) for key, value in sent.items()}, scalars


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    return getattr(value, kind) if kind and kind != "null_value" else None


def is_missing(value: Any) -> bool:
    """Returns whether a cell has no value."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def places(source: Source, rows: pd.Series, *, most: int = 3) -> str:
    """Returns where some rows are, in words: `lines 2, 5 and 7`, `lines 2, 3, 4 and 17 more`.

    Args:
      source: the runs.
      rows: bool[N], the rows.
      most: number of places that are named.
    """
    names = [*map(str, rows.index[rows])]
    many = source.place + ("s" if len(names) > 1 else "")
    if len(names) > most:
        return f"{many} {', '.join(names[:most])} and {len(names) - most:,} more"
    return f"{many} {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"


def value(entry: Any) -> bool | int | float | str | None:
    """Returns a setting from a cell: a number, true or false (as the command line and Python write them), or a text."""
    if is_missing(entry):
        return None
    if hasattr(entry, "item"):
        entry = entry.item()
    if isinstance(entry, bool | int | float):
        return int(entry) if isinstance(entry, float) and entry.is_integer() else entry
    text = str(entry).strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("none", "null"):
        return None
    try:
        number = float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text.lower()) else None
    except ValueError:
        return text
    if number is None or not math.isfinite(number):
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def distinct(values: Sequence[Any]) -> list[Any]:
    """Returns different settings in the order of their first appearance; 0.1 and 0.10 are one."""
    return list({as_typed(each): each for each in values}.values())
