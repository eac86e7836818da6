"""Keras alone can load a model that consists of Keras' own layers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from src.config.settings import edited
from src.models.cells import ForgetBias, GateIdentity
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings

SMALL = {"units": 3, "embedding_dim": 3, "vocab_size": 20}
ALONE = """
import json, sys, numpy, keras
ids = numpy.array([[1, 5, 6, 0], [1, 7, 8, 9]], "int32")
for path in sys.argv[1:]:
    print(json.dumps(numpy.asarray(keras.saving.load_model(path, compile=False)(ids)).tolist()))
assert "src" not in sys.modules
"""


def varied():
    """Yields settings whose models contain only Keras' own layers."""
    for cell, both, start in itertools.product(
        ("lstm", "gru", "simple_rnn"), (False, True), ("orthogonal", "identity")
    ):
        yield {"cell": cell, "bidirectional": both, "recurrent_initializer": start, "depth": 2}
    for bias in (0.0, 1.0, 2.5, -1.0):
        yield {"cell": "lstm", "forget_bias": bias, "masking": False}
    yield {"cell": "lstm", "dropout": 0.5, "head": "softmax", "bidirectional": True, "forget_bias": 3.0}


def test_keras_loads_models_of_its_own_layers_without_our_package(tmp_path):
    ids, paths, expected = np.array([[1, 5, 6, 0], [1, 7, 8, 9]], "int32"), [], []
    for number, changes in enumerate(varied()):
        model = classifier(edited(Settings(), {**SMALL, **changes}), classes=2)
        paths.append(str(tmp_path / f"{number}.keras"))
        model.save(paths[-1])
        expected.append(np.asarray(model(ids)))

    done = subprocess.run(
        [sys.executable, "-c", ALONE, *paths], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    outputs = [np.array(json.loads(line)) for line in done.stdout.splitlines()]
    for output, expected_output in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, expected_output, atol=1e-6)


@pytest.mark.parametrize("bias", [None, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("both", [False, True])
def test_the_forget_gate_starts_with_its_bias_and_the_other_gates_with_zero(bias, both):
    model = classifier(edited(Settings(), {**SMALL, "forget_bias": bias, "bidirectional": both}), classes=2)

    biases = [weight.numpy() for weight in model.weights if weight.path.endswith("lstm_cell/bias")]
    assert len(biases) == 1 + both
    for initial in biases:
        np.testing.assert_array_equal(initial, ForgetBias(1.0 if bias is None else bias)((12,)))


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_keras_layers_too_start_with_the_identity_in_every_gate(cell):
    model = classifier(edited(Settings(), {**SMALL, "cell": cell, "recurrent_initializer": "identity"}), classes=2)

    (initial,) = [weight.numpy() for weight in model.weights if weight.path.endswith("recurrent_kernel")]
    np.testing.assert_array_equal(initial, GateIdentity()(initial.shape))
