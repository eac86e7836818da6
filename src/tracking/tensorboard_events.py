"""What TensorBoard is shown of a trial: each record of a journal as events, without TensorFlow.

TensorBoard's first page opens the first two groups of charts, by name: they are named so that `train` and `val` come first, then the time,
then the distributions. What has one value a trial is no chart: it stands in the HParams table and in a text.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from src.config.explain import type_of
from src.spec import metric
from src.spec.metric import LOSS, TEST, TRAIN, VAL, Metric
from src.spec.record import END, EVALUATION, GRADIENT_NORM, GRAPH, HISTOGRAMS, METRICS, SAMPLES, START, STEP
from src.spec.section import as_typed
from src.terminal.visible import in_markdown
from src.tracking import journal
from src.tracking.journal import Entry

GROUPS = {
    "time/": "wall_time/",
    "activations/": "values/",
    "gradients/": "weights_gradients/",
}  # as recorded → as shown, after `val`
CHARTS = {  # of the page with custom scalars, after those of the task's metrics: title → names of the curves
    "time per batch (ms)": ["wall_time/batch_ms"],
    "norm of the gradient": [GRADIENT_NORM],
}
FIRST = " "  # before a name: HParams shows five columns, by name


def of_entry(entry: Entry, start: Entry) -> Iterator[Any]:
    """Yields the events of one line of a journal.

    Args:
      entry: the line.
      start: with which its attempt began; what is asked of an end alone.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    record = entry.record
    values: list[Any] = []
    if record.kind in (STEP, EVALUATION) and journal.is_sent(entry):
        values = [
            Summary.Value(tag=_tag(name), simple_value=value)
            for name, value in _scalars(record.metrics, record.detail).items()
        ]
    elif record.kind == HISTOGRAMS:
        values = [_histogram(_tag(name), histogram) for name, histogram in record.detail.items()]
    elif record.kind == SAMPLES:
        values = [_text("samples", record.detail.get("markdown") or _samples(record.detail["samples"]))]
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


def _text(tag: str, markdown: str) -> Any:
    return _tensor(tag, markdown.encode(errors="backslashreplace"), plugin="text")


def _layout(metrics: Sequence[Metric]) -> Any:
    """The charts of the custom scalars: the loss, the task's other metrics, and what the core measures."""
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    shown = [LOSS, *(each for each in metrics if each.name != LOSS.name)]
    curves = {each.shown: [f"{TRAIN}{each.name}", f"{VAL}{each.name}"] for each in shown} | CHARTS
    charts = [
        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{name}$" for name in names]))
        for title, names in curves.items()
    ]
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="training", chart=charts)])
    return _tensor(metadata.CONFIG_SUMMARY_TAG, layout.SerializeToString(), plugin=metadata.PLUGIN_NAME)


def _tensor(tag: str, content: bytes, *, plugin: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    return Summary.Value(
        tag=tag, metadata=metadata, tensor=TensorProto(dtype=DT_STRING, string_val=[content], tensor_shape={})
    )


def _graph(layers: list[dict[str, Any]]) -> bytes:
    """The model as a graph of its layers, each with its class, the shape of its output and the number of its parameters."""
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
    """Examples of which the record has no text of the task's own: their values, each below the one before."""
    return "\n\n".join(
        "  \n".join(f"{in_markdown(key)}: {in_markdown(_plain(value))}" for key, value in sample.items())
        for sample in samples
    )


def _plain(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else as_typed(value)


def _summary(start: Entry, end: Entry) -> str:
    """What the trial was and what became of it, each setting and each number of the whole trial."""
    begun, ended = start.record.detail, end.record.detail
    tags = {**begun["tags"], **ended["tags"]}
    words = ("health", "diagnosis", "best_epoch", "study", "identity", "git_commit")
    known = {"outcome": ended["status"].lower(), "error": ended["error"]} | {
        name: tags.get(f"ablation.{name}") for name in words
    }
    head = {name.replace("_", " "): value for name, value in known.items() if value}
    order = sorted(end.record.metrics, key=lambda name: (not name.startswith(TEST), name))
    numbers = {name: f"{end.record.metrics[name]:.6g}" for name in order}
    settings = {key: as_typed(value) for key, value in begun["params"].items()}
    tables = [_table("result", numbers), _table("trial", head), _table("setting", settings)]
    return "\n\n".join([f"**{in_markdown(begun['name'])}**", *filter(None, tables)])


def _table(title: str, values: Mapping[str, str]) -> str:
    rows = [f"| {in_markdown(name)} | {in_markdown(str(value))} |" for name, value in values.items()]
    return "\n".join([f"| {title} | |", "|---|---|", *rows]) if rows else ""


def _hparams(start: Entry, end: Entry) -> Iterator[Any]:
    """Yields what makes a row of TensorBoard's HParams page: the toggles with the result, and how the trial ended.

    TensorBoard would take results from charts alone, and each trial would be a chart of one dot; they stand beside the toggles instead.
    A page that is open knows the first of these values for good, so they come with the end.
    """
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    detail = end.record.detail
    info = plugin_data_pb2.SessionStartInfo(
        start_time_secs=start.time_ms / 1e3
    )  # a group of its own, called as its folder
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
    """Returns the results that stand beside the toggles; the test metrics other than the loss come before all of them."""
    tested_loss = f"{TEST}{LOSS.name}"
    last = {name: metrics[name] for name in (tested_loss, "time/batch_ms_median") if name in metrics}
    return {
        f"{FIRST}{name}": value for name, value in metrics.items() if name.startswith(TEST) and name != tested_loss
    } | last


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
