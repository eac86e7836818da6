"""The runs and pages that TensorBoard shows for journals of every kind."""

from __future__ import annotations

import io
import json
import shutil
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.custom_scalar import layout_pb2

from src import paths, sync
from src.artifacts import Artifacts
from src.parts.words.samples import markdown
from src.spec.metric import LOSS, Metric, as_records
from src.spec.record import (
    EPOCH_SAMPLES,
    EVALUATION,
    FILES,
    GRAPH,
    HISTOGRAMS,
    METRICS,
    PICTURES,
    SAMPLES,
    START,
    STEP,
    Record,
)
from src.tracking import replay_state, tensorboard_replay
from src.tracking.journal import FAILED, FINISHED, Journal, end
from src.tracking.tensorboard_replay import LONGEST, folder_name
from src.training.histograms import of_all


def start(name="cell=gru seed=0", attempt="one"):
    tags = {"ablation.kind": "trial", "ablation.identity": "cafe", "ablation.study": "s"}
    return Record(
        START, 0, detail={"attempt": attempt, "name": name, "tags": tags, "params": {"cell": "gru", "clip_norm": None}}
    )


def step(number):
    metrics = {"train/loss": 1 / number, "train/accuracy": 0.5, "time/batch_ms": 3.0}
    return Record(STEP, number, metrics, {"is_sent": True, "gradient_norm": 2.0})


def finish(status=FINISHED):
    return end(
        step=1, status=status, metrics={"test/accuracy": 0.8, "model/parameters": 9.0}, tags={"ablation.health": "ok"}
    )


def write(identity, *records, study="s"):
    folder = paths.study_folder(study) / identity
    with Journal(folder) as book:
        for record in records:
            book.append(record)
    tensorboard_replay.replay(folder)
    return folder


def shown():
    """Loads the runs as `tensorboard --logdir outputs` does."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(paths.outputs()))
    multiplexer.Reload()
    return multiplexer


def runs():
    return sorted(shown().Runs())


def steps(run):
    return [event.step for event in shown().Scalars(run, "train/loss")]


def test_runs_are_named_by_their_study_and_trial(home):
    write("cafe", start(), step(1), finish())
    write("beef", start("reference seed=1"), finish(), study="t")

    assert runs() == ["s/cell=gru seed=0", "t/reference seed=1"]


def test_two_trials_of_one_name_are_two_runs(home):
    for identity in ("cafe000000000000", "beef000000000000"):
        write(identity, start(attempt=identity), step(1))
    for identity in ("beef000000000000", "cafe000000000000"):
        write(identity, step(2), finish())

    assert runs() == ["s/cell=gru seed=0", "s/cell=gru seed=0 beef00"]
    assert steps("s/cell=gru seed=0") == steps("s/cell=gru seed=0 beef00") == [1, 2]


def test_attempts_that_start_at_the_same_time_have_different_files(home, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_000_000.5)
    first = write("cafe", start(), step(1), finish(FAILED))
    file = replay_state.load(first / "tensorboard.json")["file"]

    write("cafe", start(attempt="two"), step(1), step(2))

    assert replay_state.load(first / "tensorboard.json")["file"] != file
    assert steps("s/cell=gru seed=0") == [1, 2]


def test_a_renamed_trial_moves_and_leaves_nothing_behind(home):
    write("cafe", start(), step(1), finish(FAILED))
    write("cafe", start("cell=gru masking=true seed=0", attempt="two"), step(1))

    assert runs() == ["s/cell=gru masking=true seed=0"]


def test_a_deleted_folder_is_created_again(home):
    folder = write("cafe", start(), step(1))
    shutil.rmtree(folder.parent / "cell=gru seed=0")
    write("cafe", step(2))

    assert steps("s/cell=gru seed=0") == [1, 2]


def old(identity, *records):
    """Writes a trial as an older version did, with the event file in the trial's folder."""
    folder = write(identity, *records)
    shutil.rmtree(folder.parent / "cell=gru seed=0")
    place = folder / "cell=gru,seed=0"
    place.mkdir()
    (place / "events.out.tfevents.123.journal").write_bytes(b"old")
    state = replay_state.load(folder / "tensorboard.json")
    del state["run"]
    replay_state.save(
        folder / "tensorboard.json", {**state, "form": 2, "file": "cell=gru,seed=0/events.out.tfevents.123.journal"}
    )
    return folder


@pytest.mark.parametrize("is_known", [True, False])
def test_syncing_moves_the_event_files_of_an_older_version(home, is_known, monkeypatch):
    folder = old("cafe", start(), step(1), finish())
    if not is_known:
        (folder / "tensorboard.json").unlink()
    monkeypatch.setattr(sync, "_connected", lambda *_: pytest.fail("no store is needed"))

    sync._replay_to_tensorboard(folder)

    assert runs() == ["s/cell=gru seed=0"] and steps("s/cell=gru seed=0") == [1]
    assert not list(folder.glob("*/"))


def test_foreign_event_files_stay(home):
    place = paths.study_folder("s") / "cell=gru seed=0"
    place.mkdir(parents=True)
    (place / "events.out.tfevents.1.host.2.0.v2").write_bytes(b"mine")
    write("cafe000000000000", start(), step(1))
    write("cafe000000000000", start(attempt="two"), step(1))

    assert (place / "events.out.tfevents.1.host.2.0.v2").read_bytes() == b"mine"
    assert runs() == ["s/cell=gru seed=0", "s/cell=gru seed=0 cafe00"]


@given(st.text(max_size=300))
def test_every_file_system_accepts_the_folder_names(name):
    folder = folder_name(name)

    assert 0 < len(folder.encode()) <= LONGEST and folder not in (".", "..")
    assert not set(folder) & set('/\\:*?"<>|\0\n') and folder == folder.strip(". ")


def test_a_name_with_a_path_is_readable():
    assert folder_name("data.path=../a b/c:d.csv cell=gru seed=1") == "data.path=.._a b_c_d.csv cell=gru seed=1"


def text(tag, run="s/cell=gru seed=0"):
    (event,) = shown().Tensors(run, tag)
    return event.tensor_proto.string_val[0].decode()


def test_values_of_a_whole_trial_are_a_table_and_not_charts(home):
    write("cafe", start(), step(1), finish())

    assert set(shown().GetAccumulator("s/cell=gru seed=0").Tags()["scalars"]) == {
        "train/loss",
        "train/accuracy",
        "train/gradient_norm",
        "wall_time/batch_ms",
    }
    assert "| test/accuracy | 0.8 |" in text("summary") and "| model/parameters | 9 |" in text("summary")
    assert "| clip&#95;norm | null |" in text("summary")


def test_loss_and_accuracy_come_before_all_other_charts(home):
    records = [
        step(1),
        Record(EVALUATION, 1, {"val/loss": 1.0, "val/accuracy": 0.5, "time/epoch_s": 1.0}, {"epoch": 1}),
    ]
    arrays = {"weights": {"k": [1.0]}, "gradients": {"k": [1.0]}, "activations": {"k": [1.0]}}
    write("cafe", start(), *records, Record(HISTOGRAMS, 1, detail=of_all(arrays)), finish())
    tags = shown().GetAccumulator("s/cell=gru seed=0").Tags()

    groups = sorted({tag.split("/")[0] for tag in (*tags["scalars"], *tags["histograms"], "visual/x")})
    assert groups == ["train", "val", "values", "visual", "wall_time", "weights", "weights_gradients"]


def test_texts_are_shown_with_their_padding_and_prediction(home):
    sample = {"text": "<b>a|b</b> *c* [unknown]", "more": 3, "padding": 7, "side": "pre", "is_masked": True}
    sample |= {"class": "neg|", "prediction": "pos", "probability": 0.75}
    write("cafe", start(), Record(SAMPLES, 1, detail={"samples": [sample], "markdown": markdown([sample])}), finish())

    head, _, read = text("samples").splitlines()
    assert head == "class neg&#124;, predicted pos with probability 0.750: **wrong**"
    assert read.startswith("> *7 steps of padding, masked* &#60;b&#62;a&#124;b") and read.endswith(
        "&#91;unknown&#93; *… and 3 steps more*"
    )
    assert "<b>" not in read and "*c*" not in read


def picture(step, value, identity="cafe", name="filters"):
    """Writes a picture of 3 x 2 pixels and returns its record."""
    folder = paths.study_folder("s") / identity
    folder.mkdir(parents=True, exist_ok=True)
    files = Artifacts(folder).write_pictures(step, {name: np.full((3, 2, 3), value, np.uint8)})
    return Record(PICTURES, step, detail={FILES: files})


def test_pictures_are_shown_at_their_steps_with_their_size(home):
    write("cafe", start(), picture(0, 10), step(1), picture(1, 200), finish())

    events = shown().Tensors("s/cell=gru seed=0", "visual/filters")
    assert [event.step for event in events] == [0, 1]
    for event, value in zip(events, (10, 200), strict=True):
        width, height, content = event.tensor_proto.string_val
        assert (width, height) == (b"2", b"3") and [dim.size for dim in event.tensor_proto.tensor_shape.dim] == [3]
        with Image.open(io.BytesIO(content)) as opened:
            assert np.asarray(opened.convert("RGB")).tolist() == np.full((3, 2, 3), value).tolist()
    metadata = shown().GetAccumulator("s/cell=gru seed=0").SummaryMetadata("visual/filters")
    assert metadata.plugin_data.plugin_name == "images"


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-5])])
def test_a_picture_whose_file_is_gone_or_cut_short_is_left_out(home, spoil):
    lost, kept = picture(0, 10), picture(0, 20, name="kept")
    spoil(paths.study_folder("s") / "cafe" / lost.detail[FILES]["filters"])

    write("cafe", start(), lost, kept, step(1), finish())

    tags = shown().GetAccumulator("s/cell=gru seed=0").Tags()["tensors"]
    assert "visual/kept" in tags and "visual/filters" not in tags and steps("s/cell=gru seed=0") == [1]


def test_the_model_is_a_graph_of_its_layers(home):
    layers = [
        {"name": "ids", "kind": "InputLayer", "inputs": [], "shape": "(B, T)", "parameters": 0},
        {"name": "head", "kind": "Dense", "inputs": ["ids"], "shape": "(B, 1)", "parameters": 5},
    ]
    write("cafe", start(), Record(GRAPH, 0, detail={"layers": layers}))

    nodes = shown().Graph("s/cell=gru seed=0").node
    assert [(node.name, node.op, list(node.input)) for node in nodes] == [
        ("ids", "InputLayer", []),
        ("head", "Dense", ["ids"]),
    ]


def test_every_kind_of_record_is_shown_after_a_crash_anywhere(home):
    records = [
        start(),
        step(1),
        Record(EVALUATION, 1, {"val/accuracy": 0.5}, {"epoch": 1}),
        Record(SAMPLES, 1, detail={"samples": []}),
    ]
    records += [Record(GRAPH, 1, detail={"layers": []}), Record(HISTOGRAMS, 1, detail={}), finish()]
    records.insert(1, picture(0, 10))
    whole = None
    for known in range(len(records) + 1):
        folder = paths.study_folder("s") / f"cafe{known}"
        picture(0, 10, identity=folder.name)
        write(folder.name, *records[:known])
        before = (
            (folder / "tensorboard.json").read_text(encoding="utf-8")
            if (folder / "tensorboard.json").exists()
            else "{}"
        )
        write(folder.name, *records[known:])
        (folder / "tensorboard.json").write_text(before, encoding="utf-8")
        tensorboard_replay.replay(folder)
        state = json.loads((folder / "tensorboard.json").read_text(encoding="utf-8"))
        whole = whole or state["size"]
        assert abs(state["size"] - whole) <= 8  # times differ in their digits


def test_the_summary_of_a_failed_trial_gives_the_reason_after_any_result(home):
    write(
        "cafe", start(), end(step=3, status=FAILED, error="ValueError: a|b <i>", tags={"ablation.health": "diverged"})
    )
    assert "| outcome | failed |" in text("summary") and "&#58; a&#124;b &#60;i&#62; |" in text("summary")

    metrics = {"time/train_s": 2.0, "test/loss": 1.0, "test/accuracy": 0.8}
    write("cafe", start(attempt="two"), end(step=3, status=FINISHED, metrics=metrics))
    rows = [line.split(" | ")[0] for line in text("summary").splitlines() if line.startswith("| ")]
    assert rows[:4] == ["| result", "| test/accuracy", "| test/loss", "| time/train&#95;s"]


def test_the_charts_show_the_loss_and_the_trials_metrics(home):
    perplexity = Metric("perplexity", "lower", title="words per guess")
    records = [start(), step(1), finish()]
    of_test = Metric("mixture", "lower", test_only=True)
    records[0].detail[METRICS] = as_records([perplexity, of_test, LOSS])
    write("cafe", *records)

    (content,) = [
        event.tensor_proto.string_val[0] for event in shown().Tensors("s/cell=gru seed=0", "custom_scalars__config__")
    ]
    charts = layout_pb2.Layout.FromString(content).category[0].chart
    assert [chart.title for chart in charts] == [
        "loss",
        "words per guess",
        "time per batch (ms)",
        "norm of the gradient",
    ]
    assert list(charts[1].multiline.tag) == ["^train/perplexity$", "^val/perplexity$"]


def test_samples_without_a_text_from_their_task_are_listed(home):
    samples = [{"input": "<b>a|b</b>", "distance": 0.25, "is_near": True}]
    write("cafe", start(), Record(SAMPLES, 1, detail={"samples": samples}), finish())

    assert [line.strip() for line in text("samples").splitlines()] == [
        "input: &#60;b&#62;a&#124;b&#60;/b&#62;",
        "distance: 0.250",
        "is&#95;near: true",
    ]


def test_samples_of_each_epoch_are_one_text_with_a_step_per_epoch(home):
    told = [
        Record(
            EPOCH_SAMPLES,
            step,
            detail={"samples": [{"epoch": epoch, "text": f"*{epoch}* | <b>"}, {"epoch": epoch, "is_near": True}]},
        )
        for epoch, step in ((1, 3), (2, 6))
    ]
    write("cafe", start(), *told, finish())

    events = shown().Tensors("s/cell=gru seed=0", "samples_by_epoch")
    assert [event.step for event in events] == [3, 6]
    assert [event.tensor_proto.string_val[0].decode().splitlines() for event in events] == [
        [
            "| epoch | text | is&#95;near |",
            "|---|---|---|",
            f"| {epoch} | &#42;{epoch}&#42; &#124; &#60;b&#62; |  |",
            f"| {epoch} |  | true |",
        ]
        for epoch in (1, 2)
    ]
