"""Converts the records of a journal to TensorBoard events, without TensorFlow.

TensorBoard's first page sorts groups of charts by name and opens the first two. The names here put `train` and `val`
first, then the times, then the distributions. A number with one value per trial is not a chart: it is in the HParams
table and in a text.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.config.explain import type_of
from src.spec import metric
from src.spec.metric import LOSS, TEST, TRAIN, VAL, Metric
from src.spec.record import (
    END,
    EPOCH_SAMPLES,
    EVALUATION,
    FILES,
    FIRST_PHASE,
    GRADIENT_NORM,
    GRAPH,
    HISTOGRAMS,
    METRICS,
    PICTURES,
    SAMPLES,
    START,
    STEP,
)
from src.spec.section import as_typed
from src.terminal.visible import in_markdown
from src.tracking import journal
from src.tracking.journal import Entry

# Recorded prefix → shown prefix, which sorts after `val`.
GROUPS = {"time/": "wall_time/", "activations/": "values/", "gradients/": "weights_gradients/"}
PICTURE = "visual/"  # before the name of a picture; it sorts after `val` too
PNG, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"  # first and last bytes of a PNG file
CHARTS = {  # custom scalars after those of the task's metrics: title → names of the curves
    "time per batch (ms)": ["wall_time/batch_ms"],
    "norm of the gradient": [GRADIENT_NORM],
}
PREFIX = " "  # before a name: HParams sorts columns by name and shows the first five


def of_entry(entry: Entry, start: Entry, folder: Path) -> Iterator[Any]:
    """Yields the events of one line of a journal.

    Args:
      entry: the line.
      start: the start of its attempt; used only for an end.
      folder: the trial's folder, which holds the files of pictures.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    record = entry.record
    values: list[Any] = []
    if record.kind in (STEP, EVALUATION, FIRST_PHASE) and journal.is_sent(entry):
        values = [
            Summary.Value(tag=_tag(name), simple_value=value)
            for name, value in _scalars(record.metrics, record.detail).items()
        ]
    elif record.kind == HISTOGRAMS:
        values = [_histogram(_tag(name), histogram) for name, histogram in record.detail.items()]
    elif record.kind == SAMPLES:
        values = [_text("samples", record.detail.get("markdown") or _samples(record.detail["samples"]))]
    elif record.kind == EPOCH_SAMPLES:
        values = [_text("samples_by_epoch", _rows(record.detail["samples"]))]
    elif record.kind == PICTURES:
        values = list(_pictures(record.detail[FILES], folder))
    elif record.kind == START:
        values = [_layout(metric.of_records(record.detail.get(METRICS)))]
    elif record.kind == END:
        values = [*_hparams(start, entry), _text("summary", _summary(start, entry))]
    elif record.kind == GRAPH:
        yield Event(wall_time=entry.time_ms / 1e3, graph_def=_graph(record.detail["layers"]))
    if values:
        yield Event(wall_time=entry.time_ms / 1e3, step=record.step, summary=Summary(value=values))


@functools.cache
def _tag(name: str) -> str:
    return next(
        (shown + name.removeprefix(recorded) for recorded, shown in GROUPS.items() if name.startswith(recorded)), name
    )


def _scalars(metrics: Mapping[str, float], detail: Mapping[str, Any]) -> dict[str, float]:
    norm = {GRADIENT_NORM: detail["gradient_norm"]} if "gradient_norm" in detail else {}
    return {**metrics, **norm}


def _histogram(tag: str, histogram: Mapping[str, Any]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

    parts = {key: histogram[key] for key in ("min", "max", "num", "sum", "sum_squares")}
    return Summary.Value(
        tag=tag, histo=HistogramProto(bucket_limit=histogram["edges"], bucket=histogram["counts"], **parts)
    )


def _pictures(files: Mapping[str, str], folder: Path) -> Iterator[Any]:
    """Yields the pictures whose PNG files still exist and are whole."""
    from tensorboard.plugins.image.metadata import PLUGIN_NAME

    for name, file in files.items():
        try:
            content = (folder / file).read_bytes()
        except OSError:
            continue
        if not content.startswith(PNG) or not content.endswith(PNG_END):
            continue
        width, height = struct.unpack(">II", content[16:24])  # of the header, which is the first part of a PNG file
        yield _tensor(f"{PICTURE}{name}", str(width).encode(), str(height).encode(), content, plugin=PLUGIN_NAME)


def _text(tag: str, markdown: str) -> Any:
    return _tensor(tag, markdown.encode(errors="backslashreplace"), plugin="text")


def _layout(metrics: Sequence[Metric]) -> Any:
    """Returns the charts of the custom scalars: the loss, the task's other metrics, the time and the gradient norm."""
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    shown = [LOSS, *(each for each in metric.on_validation(metrics) if each.name != LOSS.name)]
    curves = {each.shown: [f"{TRAIN}{each.name}", f"{VAL}{each.name}"] for each in shown} | CHARTS
    charts = [
        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{name}$" for name in names]))
        for title, names in curves.items()
    ]
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="training", chart=charts)])
    return _tensor(metadata.CONFIG_SUMMARY_TAG, layout.SerializeToString(), plugin=metadata.PLUGIN_NAME)


def _tensor(tag: str, *parts: bytes, plugin: str) -> Any:
    """Returns a text, or several as a vector."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    shape = {"dim": [{"size": len(parts)}]} if len(parts) > 1 else {}
    return Summary.Value(
        tag=tag, metadata=metadata, tensor=TensorProto(dtype=DT_STRING, string_val=parts, tensor_shape=shape)
    )


def _graph(layers: list[dict[str, Any]]) -> bytes:
    """Returns the model as a graph of layers, each with its class, output shape and number of parameters."""
    from tensorboard.compat.proto.attr_value_pb2 import AttrValue
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.node_def_pb2 import NodeDef

    nodes = [
        NodeDef(
            name=layer["name"],
            op=layer["kind"],
            input=layer["inputs"],
            attr={"output": AttrValue(s=layer["shape"].encode()), "parameters": AttrValue(i=layer["parameters"])},
        )
        for layer in layers
    ]
    return bytes(GraphDef(node=nodes).SerializeToString())


def _samples(samples: list[dict[str, Any]]) -> str:
    """Returns examples as a list of their values; used if the task has not written its own text."""
    return "\n\n".join(
        "  \n".join(f"{in_markdown(key)}: {in_markdown(_plain(value))}" for key, value in sample.items())
        for sample in samples
    )


def _rows(samples: list[dict[str, Any]]) -> str:
    """Returns examples as a table with one row each, so that the examples of several epochs fit on a page."""
    columns = list(dict.fromkeys(key for sample in samples for key in sample))
    cells = [columns, *([_plain(sample.get(key, "")) for key in columns] for sample in samples)]
    head, *rows = ["| " + " | ".join(map(in_markdown, row)) + " |" for row in cells]
    return "\n".join([head, "|---" * len(columns) + "|", *rows])


def _plain(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else as_typed(value)


def _summary(start: Entry, end: Entry) -> str:
    """Returns a text with the trial's name, its metrics, its outcome and its settings."""
    started, ended = start.record.detail, end.record.detail
    tags = {**started["tags"], **ended["tags"]}
    words = ("health", "diagnosis", "best_epoch", "study", "identity", "git_commit")
    facts = {"outcome": ended["status"].lower(), "error": ended["error"]} | {
        name: tags.get(f"ablation.{name}") for name in words
    }
    head = {name.replace("_", " "): value for name, value in facts.items() if value}
    order = sorted(end.record.metrics, key=lambda name: (not name.startswith(TEST), name))
    numbers = {name: f"{end.record.metrics[name]:.6g}" for name in order}
    settings = {key: as_typed(value) for key, value in started["params"].items()}
    tables = [_table("result", numbers), _table("trial", head), _table("setting", settings)]
    return "\n\n".join([f"**{in_markdown(started['name'])}**", *filter(None, tables)])


def _table(title: str, values: Mapping[str, str]) -> str:
    rows = [f"| {in_markdown(name)} | {in_markdown(str(value))} |" for name, value in values.items()]
    return "\n".join([f"| {title} | |", "|---|---|", *rows]) if rows else ""


def _hparams(start: Entry, end: Entry) -> Iterator[Any]:
    """Yields a row of TensorBoard's HParams page: the toggles, the results and the outcome.

    TensorBoard takes metrics only from charts, and a result would be a chart with one point per trial. Results are
    therefore stored as hyperparameters. An open page never updates these values, so they are written at the end.
    """
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    detail = end.record.detail
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=start.time_ms / 1e3)
    for key, value in (start.record.detail["params"] | _results(end.record.metrics)).items():
        _set(info.hparams, key, value)
    outcome = api_pb2.STATUS_SUCCESS if detail["status"] == journal.FINISHED else api_pb2.STATUS_FAILURE
    ended = plugin_data_pb2.SessionEndInfo(status=outcome, end_time_secs=end.time_ms / 1e3)
    yield _session(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=info))
    yield _session(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=ended))


def _session(tag: str, data: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)


def _results(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the results for the HParams page; a prefix puts test metrics other than the loss in the first columns."""
    tested_loss = f"{TEST}{LOSS.name}"
    last = {name: metrics[name] for name in (tested_loss, "time/batch_ms_median") if name in metrics}
    return {
        f"{PREFIX}{name}": value for name, value in metrics.items() if name.startswith(TEST) and name != tested_loss
    } | last


def _set(hparams: Any, key: str, value: Any) -> None:
    """Sets one toggle, with the same type in every trial: the filters of a column with two types do not work.

    A number that is null is left out: TensorBoard shows it as missing, and its filter has an option to include missing
    values. As a text, it would turn the column into one of texts, whose filter hides all numbers.
    """
    kind = type_of(key) or (type(value) if isinstance(value, bool | int | float) else str)
    if kind is str:
        hparams[key].string_value = as_typed(value)
    elif kind is bool and value is not None:
        hparams[key].bool_value = bool(value)
    elif isinstance(value, int | float) and math.isfinite(value):  # the server's JSON cannot hold other numbers
        hparams[key].number_value = value
