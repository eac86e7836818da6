from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from src import predict
from src.artifacts import PREPROCESSING, SETTINGS, Trained
from src.data.batching import Padding
from src.settings import Settings, SettingsError

WHOLE = {
    SETTINGS: Settings().model_dump(),
    PREPROCESSING: {"words": ["good"], "classes": ["a", "b"], "padding": {"edges": [4], "to_longest": True, "side": "post"}},
}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (SETTINGS, "[]", "settings.json: settings: got []; allowed: keys with their values"),
        (SETTINGS, "{", "settings.json: Expecting property name"),
        (SETTINGS, '{"cell": "foo"}', "settings.json: cell: got 'foo'; allowed: one of simple_rnn, gru, lstm"),
        (PREPROCESSING, "[]", "preprocessing.json: Input should be"),
        (PREPROCESSING, "", "preprocessing.json: Invalid JSON"),
        (PREPROCESSING, "{}", "preprocessing.json: words: Field required"),
        (PREPROCESSING, json.dumps(WHOLE[PREPROCESSING] | {"words": 3}), "preprocessing.json: words: Input should be a valid array"),
        (PREPROCESSING, json.dumps(WHOLE[PREPROCESSING] | {"padding": {}}), "preprocessing.json: padding.edges: Field required"),
    ],
)
def test_a_broken_file_of_a_trial_is_named_before_tensorflow_is_imported(home, tmp_path, capsys, monkeypatch, file, content, message):
    monkeypatch.setitem(sys.modules, "keras", None)  # importing it would raise
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for name, values in WHOLE.items():
        (tmp_path / name).write_text(json.dumps(values), encoding="utf-8")
    (tmp_path / file).write_text(content, encoding="utf-8")

    assert predict.main([str(tmp_path), "a text"]) == 2

    err = capsys.readouterr().err
    assert f"error: {tmp_path}: holds no whole trained model ({message}" in err and len(err.splitlines()) == 1


@pytest.mark.training
@pytest.mark.parametrize(
    ("tokens", "text", "ids"),
    [
        ("word", "Good फिल्म", [1, 4, 5]),
        ("list", "good Good फिल्म!", [1, 4, 2, 2]),
        ("character", "ab a", [1, 6, 7, 8, 6]),
        ("word_before_marks", "Good फ", [1, 4, 9]),
    ],
)
def test_a_text_is_divided_as_in_training(tokens, text, ids):
    seen = []

    def model(inputs, training):
        seen.append(inputs.numpy().tolist())
        return np.zeros((len(inputs), 1), np.float32)

    known = ["good", "फिल्म", "a", "b", " ", "फ"]
    trained = Trained(Settings(), model, known, ["x", "y"], Padding((4,), True, "post"), tokens)

    predict.probabilities(trained, [text])

    assert seen == [[ids]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_texts_is_read_whatever_its_bytes_and_ends_of_lines(tmp_path, encoding):
    (tmp_path / "t.txt").write_bytes("schön\r\n\r\ngut\r\n".encode(encoding))

    assert predict._lines(tmp_path / "t.txt") == ["schön", "gut"]


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"ok\n\xe9")

    with pytest.raises(SettingsError, match=r"t\.txt, line 2: byte 0xe9 is not UTF-8"):
        predict._lines(tmp_path / "t.txt")
