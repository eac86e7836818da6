from __future__ import annotations

from types import SimpleNamespace

import pytest

from src import registry
from src.config.settings import checked, edited
from src.models.encoder_decoder import Design, encoder_decoder
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
def test_the_graph_lists_every_layer_with_its_inputs_and_counts_all_parameters(changes):
    small = {key: value for key, value in SMALL.items() if "task" not in changes or key != "vocab_size"}
    settings = checked({**small, **changes})
    model = registry.task(settings.task).model(settings, SimpleNamespace(classes=["a", "b"]))
    listed = layers(model)

    names = [layer["name"] for layer in listed]
    assert set(names) >= {layer.name for layer in model.layers} and len(names) == len(set(names))
    for layer in listed:
        assert set(layer["inputs"]) <= set(names) and bool(layer["inputs"]) == (layer["kind"] != "InputLayer")
    assert sum(layer["parameters"] for layer in listed) == model.count_params()


def test_the_graph_gives_kind_and_shape_of_a_layer():
    model = classifier(edited(Settings(), SMALL), classes=2)
    by_name = {layer["name"].rstrip("_0123456789"): layer for layer in layers(model)}

    assert by_name["ids"]["shape"] == "(B, T)" and by_name["encoding"]["shape"] == "(B, T, 4)"
    mask, lstm = by_name["not_equal"]["name"], by_name["recurrent"]
    assert lstm["inputs"] == ["encoding", mask]
    assert (lstm["kind"], lstm["shape"], lstm["parameters"]) == ("LSTM", "(B, 3)", 4 * (4 + 3 + 1) * 3)
    assert by_name["head"]["inputs"] == ["recurrent_1"]


def test_a_model_without_masking_has_no_mask_in_its_graph():
    listed = layers(classifier(edited(Settings(), {**SMALL, "masking": False}), classes=2))
    assert [layer["name"] for layer in listed] == ["ids", "encoding", "recurrent_1", "head"]


def test_the_outputs_of_a_layer_may_be_nested():
    listed = {layer["name"]: layer for layer in layers(encoder_decoder(Design(12, 12, units=4, cell="lstm")))}

    assert listed["encoder"]["shape"] == "(B, T, 4), (B, 4), (B, 4)"
    assert listed["decoder"]["inputs"] == ["target", "labels", "source", "encoder"]
