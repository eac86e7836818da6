"""A model made of Keras' own layers is read by Keras alone."""

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
    """Settings whose models have no layer of ours."""
    for cell, both, start in itertools.product(
        ("lstm", "gru", "simple_rnn"), (False, True), ("orthogonal", "identity")
    ):
        yield {"cell": cell, "bidirectional": both, "recurrent_initializer": start, "depth": 2}
    for bias in (0.0, 1.0, 2.5, -1.0):
        yield {"cell": "lstm", "forget_bias": bias, "masking": False}
    yield {"cell": "lstm", "dropout": 0.5, "head": "softmax", "bidirectional": True, "forget_bias": 3.0}


def test_keras_reads_models_of_its_own_layers_without_our_package(tmp_path):
    ids, paths, wanted = np.array([[1, 5, 6, 0], [1, 7, 8, 9]], "int32"), [], []
    for number, changes in enumerate(varied()):
        model = classifier(edited(Settings(), {**SMALL, **changes}), classes=2)
        paths.append(str(tmp_path / f"{number}.keras"))
        model.save(paths[-1])
        wanted.append(np.asarray(model(ids)))

    done = subprocess.run(
        [sys.executable, "-c", ALONE, *paths], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    found = [np.array(json.loads(line)) for line in done.stdout.splitlines()]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("bias", [None, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("both", [False, True])
def test_the_forget_gate_begins_with_its_bias_and_the_other_gates_with_zero(bias, both):
    model = classifier(edited(Settings(), {**SMALL, "forget_bias": bias, "bidirectional": both}), classes=2)

    found = [weight.numpy() for weight in model.weights if weight.path.endswith("lstm_cell/bias")]
    assert len(found) == 1 + both
    for one in found:
        np.testing.assert_array_equal(one, ForgetBias(1.0 if bias is None else bias)((12,)))


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_identity_is_the_start_of_every_gate_in_keras_layers_too(cell):
    model = classifier(edited(Settings(), {**SMALL, "cell": cell, "recurrent_initializer": "identity"}), classes=2)

    (found,) = [weight.numpy() for weight in model.weights if weight.path.endswith("recurrent_kernel")]
    np.testing.assert_array_equal(found, GateIdentity()(found.shape))
