"""From a trial's journal to TensorBoard's event file, without TensorFlow.

The event file is made from the journal alone. After every replay the file's size is remembered beside the journal's byte; what
a process wrote and did not live to remember is cut off by the next replay, so nothing is there twice.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from src.settings import as_typed, type_of
from src.tracking import journal, replay_state
from src.tracking.journal import Entry
from src.tracking.stored import fitting
from src.training.records import END, START

FORM = 2  # of event files; those of another are made anew, from the journal
NAME = 120  # of a folder


def replay(folder: Path) -> None:
    """Appends to the event file what a trial's journal has and the file has not.

    A new attempt begins a new file; the earlier attempt's is removed, its record stays in the journal.
    """
    if not (folder / journal.FILE).is_file():
        return
    with FileLock(folder / "replay.lock"):
        state_path = folder / "tensorboard.json"
        state = {"offset": 0, "file": None, "size": 0, "form": None, **replay_state.load(state_path)}
        is_other = not journal.is_same(folder, state["offset"], state.get("mark"))
        if state["file"] is None or is_other or state["form"] != FORM or not (folder / state["file"]).is_file():
            state |= {"offset": 0, "form": FORM}
        found = list(journal.entries(folder, offset=state["offset"]))
        starts = [i for i, entry in enumerate(found) if entry.record.kind == START]
        if starts:  # only the latest attempt is shown
            found = found[starts[-1] :]
            if state["file"]:
                shutil.rmtree((folder / state["file"]).parent, ignore_errors=True)
            state |= {"file": _event_file(found[0]), "size": 0}
        if not found or state["file"] is None:
            return
        path = folder / state["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        state |= {"size": _write(path, found, size=state["size"]), "offset": found[-1].offset}
        state["mark"] = journal.mark(folder, state["offset"])
        replay_state.save(state_path, state)


def _write(path: Path, found: list[Entry], *, size: int) -> int:
    """Appends events behind the byte `size`; returns the new size."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    with path.open("ab") as file:
        os.truncate(path, size)
        writer = RecordWriter(file)
        if size == 0:
            writer.write(Event(wall_time=found[0].time_ms / 1e3, file_version="brain.Event:2").SerializeToString())
        for entry in found:
            for summary in _summaries(entry):
                event = Event(wall_time=entry.time_ms / 1e3, step=entry.record.step, summary=summary)
                writer.write(event.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    return path.stat().st_size


def _summaries(entry: Entry) -> list[Any]:
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

    record, values = entry.record, []
    if journal.is_sent(entry):
        values += [Summary.Value(tag=name, simple_value=value) for name, value in record.metrics.items()]
        if "gradient_norm" in record.detail:
            values.append(Summary.Value(tag="gradient/norm", simple_value=record.detail["gradient_norm"]))
    if record.kind == "histograms":
        for name, one in record.detail.items():
            parts = {key: one[key] for key in ("min", "max", "num", "sum", "sum_squares")}
            values.append(Summary.Value(tag=name, histo=HistogramProto(bucket_limit=one["edges"], bucket=one["counts"], **parts)))
    summaries = [Summary(value=values)] if values else []
    if record.kind in (START, END):
        summaries.append(_hparams(entry))
    return summaries


def _hparams(entry: Entry) -> Any:
    """The session records of TensorBoard's HParams page: the toggles at the start, the outcome at the end."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData()
    detail = entry.record.detail
    if entry.record.kind == START:
        info = plugin_data_pb2.SessionStartInfo(start_time_secs=entry.time_ms / 1e3)  # a group of its own, called as its folder
        for key, value in detail["params"].items():
            _set(info.hparams, key, value)
        data.session_start_info.CopyFrom(info)
        tag = metadata.SESSION_START_INFO_TAG
    else:
        outcome = api_pb2.STATUS_SUCCESS if detail["status"] == journal.FINISHED else api_pb2.STATUS_FAILURE
        data.session_end_info.CopyFrom(plugin_data_pb2.SessionEndInfo(status=outcome, end_time_secs=entry.time_ms / 1e3))
        tag = metadata.SESSION_END_INFO_TAG
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)])


def _set(hparams: Any, key: str, value: Any) -> None:
    """Sets one toggle, of the type that it has in every trial: a column of two types would have none of its filters work.

    A number that is null is left out: TensorBoard shows it as missing, keeps the range of the others for its filter, and asks there
    whether to include what is missing. A text of a number would turn the column into one of texts, whose filter hides all numbers.
    """
    kind = type_of(key) or (type(value) if isinstance(value, bool | int | float) else str)
    if kind is str:
        hparams[key].string_value = as_typed(value)
    elif kind is bool and value is not None:
        hparams[key].bool_value = bool(value)
    elif isinstance(value, int | float) and math.isfinite(value):  # the server answers in JSON, which has no others
        hparams[key].number_value = value


def _event_file(start: Entry) -> str:
    """Returns the file's place in the trial's folder: TensorBoard shows the folder's name as the run's."""
    name = fitting(re.sub(r"[^A-Za-z0-9=_.,-]+", ",", start.record.detail["name"]).strip(","), NAME, gap=",")
    return f"{name}/events.out.tfevents.{start.time_ms // 1_000}.journal"
