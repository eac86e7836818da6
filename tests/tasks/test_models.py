from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.config.settings import edited
from src.models.onehot import OneHot
from src.tasks.integration import model as of_noise
from src.tasks.integration import sizes as sizes_of_noise
from src.tasks.integration.settings import Settings as Noise
from src.tasks.sentiment import sizes
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.tasks.sentiment.task import TASK

B, T, V, D, H = 3, 7, 12, 5, 4
SMALL = {"vocab_size": V, "embedding_dim": D, "units": H}
rng = np.random.default_rng(0)
LENGTHS = np.array([3, 7, 5])
IDS = np.where(np.arange(T) < LENGTHS[:, None], rng.integers(1, V, (B, T)), 0).astype(np.int32)


def build(**changes):
    return classifier(edited(Settings(), {**SMALL, **changes}), classes=2)


def randomised(model):
    model.set_weights(
        [np.random.default_rng(i).normal(0, 0.5, weight.shape) for i, weight in enumerate(model.get_weights())]
    )
    return model


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def simple_rnn_step(x, states, weights):
    kernel, recurrent, bias = weights
    return (np.tanh(x @ kernel + states[0] @ recurrent + bias),)


def gru_step(x, states, weights):
    kernel, recurrent, (input_bias, recurrent_bias) = weights
    (h,) = states
    xz, xr, xh = np.split(x @ kernel + input_bias, 3, axis=-1)
    hz, hr, hh = np.split(h @ recurrent + recurrent_bias, 3, axis=-1)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    return (z * h + (1 - z) * np.tanh(xh + r * hh),)


def lstm_step(x, states, weights):
    kernel, recurrent, bias = weights
    h, c = states
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


STEPS = {"simple_rnn": (simple_rnn_step, 1), "gru": (gru_step, 1), "lstm": (lstm_step, 2)}


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize("masking", [True, False])
@pytest.mark.parametrize("side", ["post", "pre"])
def test_a_masked_layer_keeps_its_state_at_padded_steps(cell, masking, side):
    """new_state = mask * new_state + (1 - mask) * old_state, in plain NumPy."""
    ids = IDS if side == "post" else np.array([np.roll(row, T - n) for row, n in zip(IDS, LENGTHS, strict=True)])
    model = randomised(build(cell=cell, masking=masking, padding_side=side))
    table, *weights, head, head_bias = model.get_weights()
    step, count = STEPS[cell]

    states = (np.zeros((B, H)),) * count
    for t in range(T):
        mask = (ids[:, t] != 0)[:, None].astype(float) if masking else 1.0
        new = step(table[ids[:, t]], states, weights)
        states = tuple(mask * after + (1 - mask) * before for after, before in zip(new, states, strict=True))

    np.testing.assert_allclose(model(ids), states[0] @ head + head_bias, atol=1e-5)


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("depth", "initial_state"), [(1, "learned"), (2, "zeros")])
def test_padding_never_changes_a_masked_result(cell, bidirectional, depth, initial_state):
    model = randomised(build(cell=cell, bidirectional=bidirectional, depth=depth, initial_state=initial_state))
    bare = IDS[:1, :3]

    for before, after in ((0, 1), (0, 9), (6, 0), (2, 3)):
        np.testing.assert_allclose(model(np.pad(bare, ((0, 0), (before, after)))), model(bare), atol=1e-5)


@pytest.mark.parametrize("encoding", ["onehot", "onehot_projected"])
def test_padding_never_changes_a_masked_result_of_any_encoding(encoding):
    model = randomised(build(encoding=encoding))

    np.testing.assert_allclose(model(np.pad(IDS[:1, :3], ((0, 0), (2, 6)))), model(IDS[:1, :3]), atol=1e-5)


@pytest.mark.parametrize("readout", ["last", "mean_state", "sum_logit", "mean_probability", "max_state"])
def test_padding_never_changes_a_masked_result_of_any_readout(readout):
    model = randomised(build(readout=readout))
    bare = IDS[:1, :3]

    np.testing.assert_allclose(model(np.pad(bare, ((0, 0), (0, 6)))), model(bare), atol=1e-5)


def test_padding_changes_an_unmasked_result():
    model = randomised(build(masking=False))

    assert np.abs(model(np.pad(IDS[1:2], ((0, 0), (0, 5)))) - model(IDS[1:2])).max() > 1e-3


def test_a_onehot_layer_times_a_matrix_is_the_embedding_lookup():
    matrix = rng.normal(size=(V, D)).astype(np.float32)

    product = np.asarray(OneHot(V)(IDS)) @ matrix

    np.testing.assert_array_equal(product, matrix[IDS])


def test_the_mask_of_a_onehot_layer_excludes_padding():
    assert OneHot(V).compute_mask(IDS) is None
    np.testing.assert_array_equal(OneHot(V, mask_zero=True).compute_mask(IDS), IDS != 0)


def test_projected_onehot_and_embedding_start_as_the_same_function():
    embedding, projected = build(encoding="embedding"), build(encoding="onehot_projected")

    assert embedding.count_params() == projected.count_params()
    np.testing.assert_allclose(embedding(IDS), projected(IDS), atol=1e-6)


def test_layers_that_two_variants_share_start_with_equal_weights():
    first, second = build(depth=1), build(depth=2, head="softmax", dropout=0.5)

    for name in ("encoding", "recurrent_1"):
        for a, b in zip(first.get_layer(name).get_weights(), second.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_initial_weights_depend_on_the_seed_alone():
    a, b, c = (build(seed=seed).get_weights() for seed in (0, 0, 1))

    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert not (a[0] == c[0]).all() and not (a[1] == c[1]).all() and not (a[2] == c[2]).all()


def test_the_two_directions_and_the_layers_start_with_different_weights():
    layer = build(bidirectional=True, depth=2)

    kernels = [
        weight
        for name in ("recurrent_1", "recurrent_2")
        for weight in layer.get_layer(name).get_weights()
        if weight.shape == (H, 4 * H)
    ]
    assert len({kernel.tobytes() for kernel in kernels}) == 4


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("depth", "initial_state", "head"), [(1, "zeros", "sigmoid"), (3, "learned", "softmax")])
@pytest.mark.parametrize("encoding", ["embedding", "onehot"])
def test_the_number_of_parameters_is_known_before_tensorflow(cell, bidirectional, depth, initial_state, head, encoding):
    changes = {**SMALL, "cell": cell, "bidirectional": bidirectional, "depth": depth, "initial_state": initial_state}
    settings = edited(Settings(), {**changes, "head": head, "encoding": encoding})

    assert sizes.parameters(settings, classes=3) == classifier(settings, classes=3).count_params()


def test_dropout_acts_only_in_training():
    model = randomised(build(dropout=0.5))

    assert np.abs(model(IDS, training=True) - model(IDS, training=False)).max() > 1e-3
    np.testing.assert_array_equal(model(IDS, training=False), model(IDS, training=False))


@pytest.mark.parametrize(
    ("changes", "gpus", "expected"),
    [
        ({}, 0, "while_loop"),
        ({}, 1, "cudnn"),
        ({"padding_side": "pre"}, 1, "while_loop"),
        ({"padding_side": "pre", "masking": False}, 1, "cudnn"),
        ({"cell": "simple_rnn"}, 1, "while_loop"),
        ({"execution": "xla"}, 1, "xla"),
        ({"execution": "xla"}, 0, "xla"),
        ({"execution": "graph_epoch"}, 0, "while_loop"),
        ({"execution": "eager"}, 0, "python"),
        ({"execution": "eager"}, 1, "cudnn"),
        ({"implementation": "eager_loop"}, 0, "python"),
    ],
)
def test_the_kernel_depends_on_settings_and_gpus(changes, gpus, expected):
    assert TASK.kernel(edited(Settings(), changes), gpus=gpus) == expected


def test_cudnn_is_not_used_with_a_mask_that_it_does_not_support():
    assert build(padding_side="pre").get_layer("recurrent_1").use_cudnn is False
    assert build(padding_side="post").get_layer("recurrent_1").use_cudnn == "auto"


@pytest.mark.parametrize(
    "changes",
    [{}, {"encoding": "onehot", "bidirectional": True, "initial_state": "learned", "readout": "mean_probability"}],
)
@pytest.mark.filterwarnings("ignore:__array__")
def test_a_saved_model_reloads_with_its_layers_and_mask(changes, tmp_path):
    model = randomised(build(**changes))
    model.save(tmp_path / "model.keras")

    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(IDS), model(IDS))


OURS = ["cell_loop", "graph_loop", "packed_loop", "eager_loop", "fused_loop"]


@pytest.mark.parametrize("implementation", OURS)
@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize("masking", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"depth": 2, "readout": "mean_state"},
        {"bidirectional": True},
        {"bidirectional": True, "depth": 2, "readout": "max_state", "initial_state": "learned"},
        {"forget_bias": 0.0, "initial_state": "learned"},
    ],
    ids=str,
)
def test_every_implementation_computes_the_same_model(implementation, cell, masking, changes):
    options = {"cell": cell, "masking": masking, **changes}
    theirs, ours = build(**options), build(**options, implementation=implementation)

    for before, after in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)  # the initial weights
    np.testing.assert_allclose(randomised(ours)(IDS), randomised(theirs)(IDS), atol=1e-5)


@pytest.mark.parametrize("implementation", OURS)
def test_a_saved_model_with_our_layers_reloads(implementation, tmp_path):
    model = randomised(build(implementation=implementation, bidirectional=True, cell="gru"))
    model.save(tmp_path / "model.keras")

    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(IDS), model(IDS), atol=1e-6)


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize("initial_state", ["zeros", "learned"])
def test_the_number_of_parameters_of_the_integration_model_is_known_before_tensorflow(cell, initial_state):
    settings = edited(Noise(), {"embedding_dim": D, "units": H, "cell": cell, "initial_state": initial_state})

    assert sizes_of_noise.parameters(settings) == of_noise.classifier(settings).count_params()


@pytest.mark.parametrize("implementation", ["keras", *OURS])
def test_every_implementation_computes_the_same_integration_model(implementation):
    settings = edited(Noise(), {"embedding_dim": D, "units": H, "implementation": implementation})
    x = np.random.default_rng(0).normal(size=(B, T, 1)).astype(np.float32)
    model = randomised(of_noise.classifier(settings))
    kernel_in, bias_in, *weights, head, head_bias = model.get_weights()

    states = (np.zeros((B, H)), np.zeros((B, H)))
    for t in range(T):
        states = lstm_step(x[:, t] @ kernel_in + bias_in, states, weights)
    np.testing.assert_allclose(model(x), states[0] @ head + head_bias, atol=1e-5)


@pytest.mark.parametrize("readout", ["last", "mean_state", "mean_logit", "sum_logit", "mean_probability", "max_state"])
@pytest.mark.parametrize(
    ("implementation", "bidirectional"),
    [("keras", True), ("graph_loop", False), ("packed_loop", True), ("fused_loop", False)],
)
def test_gradients_of_padded_steps_are_exactly_zero_with_a_mask(readout, implementation, bidirectional):
    by_step = {}
    for masking in (True, False):
        model = randomised(
            build(readout=readout, implementation=implementation, bidirectional=bidirectional, masking=masking)
        )
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model(tf.constant(IDS)))
        slices = tape.gradient(total, model.get_layer("encoding").embeddings)
        by_step[masking] = np.abs(tf.reshape(slices.values, (B, T, D)))[IDS == 0]
    assert by_step[True].max() == 0
    assert by_step[False].max() > 0


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
@pytest.mark.parametrize("masking", [True, False])
def test_the_mean_of_logits_is_the_logit_of_the_mean_state(head, masking):
    """The head is linear, so both readouts are the same function, and a rule merges them into one trial."""
    of_logits, of_states = (
        randomised(build(readout=readout, head=head, masking=masking)) for readout in ("mean_logit", "mean_state")
    )

    np.testing.assert_allclose(of_logits(IDS), of_states(IDS), atol=1e-5)


SPREADS = {
    "he_normal": (2 / D) ** 0.5,
    "glorot_uniform": (2 / (D + 4 * H)) ** 0.5,
    "random_normal": 0.05,
    "random_uniform": 0.05 / 3**0.5,
}


@pytest.mark.parametrize(("name", "spread"), SPREADS.items())
@pytest.mark.parametrize("implementation", ["keras", "graph_loop"])
def test_input_weights_have_the_spread_of_their_initializer(name, spread, implementation):
    drawn = [
        build(kernel_initializer=name, seed=s, implementation=implementation).get_layer("recurrent_1").get_weights()[0]
        for s in range(9)
    ]

    assert np.std(drawn) == pytest.approx(spread, rel=0.1)
    assert len({kernel.tobytes() for kernel in drawn}) == 9


@pytest.mark.parametrize("implementation", ["keras", "graph_loop"])
def test_recurrent_weights_have_the_form_of_their_initializer(implementation):
    def recurrent(name, cell="lstm"):
        return (
            build(recurrent_initializer=name, cell=cell, implementation=implementation)
            .get_layer("recurrent_1")
            .get_weights()[1]
        )

    np.testing.assert_array_equal(recurrent("identity"), np.tile(np.eye(H), 4))
    np.testing.assert_array_equal(recurrent("identity", "simple_rnn"), np.eye(H))
    np.testing.assert_allclose(
        recurrent("orthogonal", "simple_rnn") @ recurrent("orthogonal", "simple_rnn").T, np.eye(H), atol=1e-5
    )
    assert np.abs(recurrent("random_uniform")).max() <= 0.05
