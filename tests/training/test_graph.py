from __future__ import annotations

from types import SimpleNamespace

import pytest

from src import registry
from src.config.settings import checked, edited
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.training.graph import layers

SMALL = {"vocab_size": 12, "embedding_dim": 4, "units": 3}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"initial_state": "learned"},
        {"bidirectional": True, "depth": 2, "readout": "mean_logit", "dropout": 0.1},
        {"implementation": "graph_loop", "bidirectional": True, "encoding": "onehot"},
        {"task": "integration"},
    ],
)
def test_every_layer_stands_with_what_it_reads_and_all_parameters_are_counted(changes):
    small = {key: value for key, value in SMALL.items() if "task" not in changes or key != "vocab_size"}
    settings = checked({**small, **changes})
    model = registry.task(settings.task).model(settings, SimpleNamespace(classes=["a", "b"]))
    found = layers(model)

    names = [one["name"] for one in found]
    assert set(names) >= {layer.name for layer in model.layers} and len(names) == len(set(names))
    assert all(
        set(one["inputs"]) <= set(names) and bool(one["inputs"]) == (one["kind"] != "InputLayer") for one in found
    )
    assert sum(one["parameters"] for one in found) == model.count_params()


def test_a_layer_says_its_kind_and_shape():
    found = {one["name"].rstrip("_0123456789"): one for one in layers(classifier(edited(Settings(), SMALL), classes=2))}

    assert found["ids"]["shape"] == "(B, T)" and found["encoding"]["shape"] == "(B, T, 4)"
    mask, lstm = found["not_equal"]["name"], found["recurrent"]
    assert lstm["inputs"] == ["encoding", mask]
    assert (lstm["kind"], lstm["shape"], lstm["parameters"]) == ("LSTM", "(B, 3)", 4 * (4 + 3 + 1) * 3)
    assert found["head"]["inputs"] == ["recurrent_1"]


def test_a_model_without_masking_has_no_mask_in_its_graph():
    found = layers(classifier(edited(Settings(), {**SMALL, "masking": False}), classes=2))
    assert [one["name"] for one in found] == ["ids", "encoding", "recurrent_1", "head"]
