"""Encoders of texts without recurrence, against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from src.config.settings import checked, edited
from src.spec.record import END
from src.spec.section import SettingsError
from src.spec.task import Trial
from src.tasks.sentiment import fitted, sizes, toggles
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.tasks.sentiment.task import TASK
from src.training import model_file
from src.trial.prepare import prepare
from tests.conftest import write_table

B, T, V, D, U = 3, 7, 12, 6, 5
SMALL = {"vocab_size": V, "embedding_dim": D, "units": U, "heads": 2}
NETWORKS = ("bag", "cnn", "transformer")
rng = np.random.default_rng(0)
LENGTHS = np.array([3, 7, 5])
IDS = np.where(np.arange(T) < LENGTHS[:, None], rng.integers(1, V, (B, T)), 0).astype(np.int32)


def built(**changes):
    return classifier(edited(Settings(), {**SMALL, **changes}), classes=2)


def randomised(model):
    model.set_weights([np.random.default_rng(i).normal(0, 0.5, w.shape) for i, w in enumerate(model.get_weights())])
    return model


def softmax(x):
    return np.exp(x - x.max(-1, keepdims=True)) / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)


def normalised(x, scale, shift):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * scale + shift


@pytest.mark.parametrize("encoder", [*NETWORKS, "tfidf"])
@pytest.mark.parametrize("encoding", ["embedding", "onehot", "onehot_projected"])
def test_padding_never_changes_a_masked_result(encoder, encoding):
    model = randomised(built(encoder=encoder, encoding=encoding, depth=2))
    bare = IDS[:1, :3]
    if encoder == "tfidf":
        model.get_layer("encoding").idf.assign(np.r_[0, 0, np.ones(V - 2)])

    for before, after in ((0, 1), (0, 9), (6, 0), (2, 3)):
        np.testing.assert_allclose(model(np.pad(bare, ((0, 0), (before, after)))), model(bare), atol=1e-5)


@pytest.mark.parametrize("encoder", NETWORKS)
def test_padding_changes_an_unmasked_result(encoder):
    model = randomised(built(encoder=encoder, masking=False))

    assert np.abs(model(np.pad(IDS[1:2], ((0, 0), (0, 5)))) - model(IDS[1:2])).max() > 1e-3


@pytest.mark.parametrize("encoder", NETWORKS)
def test_gradients_of_padded_steps_are_exactly_zero_with_a_mask(encoder):
    model = randomised(built(encoder=encoder))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(tf.constant(IDS)))
    slices = tape.gradient(total, model.get_layer("encoding").embeddings)

    assert np.abs(tf.reshape(slices.values, (B, T, D)))[IDS == 0].max() == 0


def test_a_bag_is_the_mean_of_its_words():
    model = randomised(built(encoder="bag"))
    table, kernel, bias = model.get_weights()

    means = [table[row[row > 0]].mean(axis=0) for row in IDS]

    np.testing.assert_allclose(model(IDS), means @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize(("kernel_size", "branches"), [(3, 3), (2, 1)])
def test_convolutions_are_what_their_equation_says(kernel_size, branches):
    model = randomised(built(encoder="cnn", kernel_size=kernel_size, branches=branches))
    table, *weights, kernel, bias = model.get_weights()

    features = []
    for row in IDS:
        x, of_text = table[row[row > 0]], []
        for weight, shift in zip(weights[::2], weights[1::2], strict=True):
            width = len(weight)
            padded = np.pad(x, (((width - 1) // 2, width // 2), (0, 0)))
            windows = [np.tensordot(padded[t : t + width], weight, 2) + shift for t in range(len(x))]
            of_text.append(np.maximum(windows, 0).max(axis=0))
        features.append(np.concatenate(of_text))
    assert [len(weight) for weight in weights[::2]] == [kernel_size + more for more in range(branches)]
    np.testing.assert_allclose(model(IDS), features @ kernel + bias, atol=1e-4)


@pytest.mark.parametrize("positions", ["sinusoidal", "none"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_transformer_is_what_its_equations_say(positions, depth):
    model = randomised(built(encoder="transformer", positions=positions, depth=depth))
    table, *blocks, kernel, bias = model.get_weights()

    means = []
    for row in IDS:
        x = table[row[row > 0]] * np.sqrt(D)
        for t, i in np.ndindex(x.shape) if positions != "none" else ():
            x[t, i] += (np.cos if i % 2 else np.sin)(t / 10_000 ** ((i - i % 2) / D))
        for block in np.arange(depth) * 16:
            wq, bq, wk, bk, wv, bv, wo, bo, scale, shift, w1, b1, w2, b2, scale2, shift2 = blocks[block : block + 16]
            heads = []
            for head in range(2):
                q, k, v = (x @ w[:, head] + b[head] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
                heads.append(softmax(q @ k.T / np.sqrt(D / 2)) @ v @ wo[head])
            x = normalised(x + sum(heads) + bo, scale, shift)
            x = normalised(x + np.maximum(x @ w1 + b1, 0) @ w2 + b2, scale2, shift2)
        means.append(x.mean(axis=0))
    np.testing.assert_allclose(model(IDS), means @ kernel + bias, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "sees_order"),
    [
        ({"encoder": "bag"}, False),
        ({"encoder": "cnn", "kernel_size": 1, "branches": 1}, False),
        ({"encoder": "cnn"}, True),
        ({"encoder": "transformer", "positions": "none"}, False),
        ({"encoder": "transformer"}, True),
    ],
)
def test_some_encoders_see_the_order_of_words(changes, sees_order):
    model = randomised(built(**changes))

    difference = float(np.abs(model(IDS[1:2]) - model(IDS[1:2, ::-1])).max())

    assert (difference > 1e-3) if sees_order else (difference < 1e-5)


def test_every_matrix_of_the_attention_has_its_own_weights_of_a_matrixs_spread():
    model = built(encoder="transformer", embedding_dim=64, heads=4, depth=2)
    drawn = [w for block in (1, 2) for w in model.get_layer(f"block_{block}_attention").get_weights() if w.ndim == 3]

    assert len({weights.tobytes() for weights in drawn}) == 8
    assert np.std(drawn[0]) == pytest.approx(np.sqrt(2 / 128), rel=0.05)


@pytest.mark.parametrize("encoder", NETWORKS)
def test_initial_weights_depend_on_the_seed_and_the_name_of_the_layer_alone(encoder):
    a, b, c = (built(encoder=encoder, seed=seed, dropout=drop) for seed, drop in ((0, 0.0), (0, 0.5), (1, 0.0)))

    assert all((x == y).all() for x, y in zip(a.get_weights(), b.get_weights(), strict=True))
    drawn = [(x, y) for x, y in zip(a.get_weights(), c.get_weights(), strict=True) if x.std() > 0]
    assert drawn and not any((x == y).all() for x, y in drawn)
    recurrent = built().get_layer("encoding").get_weights()[0]
    np.testing.assert_array_equal(a.get_layer("encoding").get_weights()[0], recurrent)


@pytest.mark.parametrize("encoder", NETWORKS)
def test_dropout_acts_only_in_training(encoder):
    model = randomised(built(encoder=encoder, dropout=0.5))

    assert np.abs(model(IDS, training=True) - model(IDS, training=False)).max() > 1e-3
    np.testing.assert_array_equal(model(IDS, training=False), model(IDS, training=False))


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "bag"},
        {"encoder": "bag", "encoding": "onehot", "head": "softmax"},
        {"encoder": "cnn", "kernel_size": 2, "branches": 4},
        {"encoder": "transformer", "depth": 2, "head": "softmax"},
        {"encoder": "transformer", "encoding": "onehot"},
        {"encoder": "tfidf"},
        {"encoder": "largest_class", "head": "softmax"},
    ],
)
def test_the_number_of_parameters_is_known_before_tensorflow_and_a_saved_model_reloads(changes, tmp_path):
    settings = edited(Settings(), {**SMALL, **changes})
    model = randomised(classifier(settings, classes=3))
    model_file.write(tmp_path, model)

    counted = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert sizes.parameters(settings, classes=3) == counted
    np.testing.assert_array_equal(model_file.load(tmp_path)(IDS), model(IDS))


@pytest.mark.parametrize("encoder", NETWORKS)
def test_parameters_chooses_the_width_of_any_encoder(encoder):
    settings = edited(Settings(), {"encoder": encoder, "vocab_size": 1_000, "parameters": 90_000, "embedding_dim": 64})

    change = sizes.sized(settings, classes=2)

    assert change.key == ("embedding_dim" if encoder == "bag" else "units")
    counts = [sizes.parameters(settings.model_copy(update={change.key: change.used + more})) for more in (-1, 0, 1)]
    assert np.argmin(np.abs(np.array(counts) - 90_000)) == 1 and f"{counts[1]:,} parameters" in change.reason


@pytest.fixture
def trial(home, tmp_path):
    """Returns a function from changes to a trial of 200 short texts."""

    def made(classes=2, **changes):
        path = write_table(tmp_path / f"{classes}.csv", classes=classes)
        words = {"vocab_size": 40, "embedding_dim": 8, "units": 4, "heads": 2, "batch_size": 20, "bucketing": False}
        settings = checked(
            {"data": {"name": "table", "path": str(path)}, "tracking": {"histograms": False}, **words, **changes}
        )
        prepared = prepare(settings)
        (folder := tmp_path / prepared.identity).mkdir(exist_ok=True)
        return Trial(prepared.settings, prepared.data, folder, "trial", True, "attempt", prepared.identity)

    return made


def test_toggles_of_other_encoders_have_no_effect(trial):
    recurrent = {"cell": "gru", "bidirectional": True, "readout": "max_state", "implementation": "eager_loop"}
    recurrent |= {"forget_bias": 0.5, "bptt_steps": 5, "initial_state": "learned", "padding_side": "pre"}
    of_others = {"heads": 4, "positions": "none", "kernel_size": 9, "branches": 1, "depth": 3, "units": 9}

    assert trial(encoder="bag", **recurrent, **of_others).identity == trial(encoder="bag").identity
    assert trial(encoder="cnn", **recurrent, heads=4).identity == trial(encoder="cnn").identity
    assert trial(encoder="cnn", kernel_size=9).identity != trial(encoder="cnn").identity
    assert trial(encoder="transformer", **recurrent).identity == trial(encoder="transformer").identity
    assert trial(encoder="transformer", depth=3).identity != trial(encoder="transformer").identity
    of_training = {"learning_rate": 0.5, "epochs": 9, "batch_size": 7, "dropout": 0.5, "masking": False}
    assert trial(encoder="tfidf", **of_training, **recurrent).identity == trial(encoder="tfidf").identity
    assert trial(encoder="cnn", masking=False, padding_side="pre").settings.padding_side == "pre"
    assert len({trial(encoder=each).identity for each in ("recurrent", *NETWORKS, "tfidf", "largest_class")}) == 6


def test_heads_that_do_not_divide_the_embedding_are_refused():
    settings = edited(Settings(), {"encoder": "transformer", "heads": 5})

    (reason,) = toggles.refusals(settings, width=64)

    assert reason == (
        "heads=5 does not divide embedding_dim=64 into equal parts; set heads=4, or embedding_dim to a multiple of 5"
    )
    assert toggles.refusals(settings, width=65) == []
    with pytest.raises(SettingsError, match="heads: got 0"):
        edited(Settings(), {"heads": 0})


@pytest.mark.training
@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "bag", "learning_rate": 0.1},
        {"encoder": "cnn", "learning_rate": 0.02},
        {"encoder": "transformer", "learning_rate": 0.01, "execution": "graph_epoch"},
    ],
)
def test_every_encoder_learns_a_simple_table(trial, changes):
    *_, end = TASK.records(trial(epochs=8, **changes))

    assert end.kind == END and end.metrics["test/accuracy"] > 0.9, end


@pytest.mark.training
@pytest.mark.parametrize(("classes", "head"), [(2, "sigmoid"), (2, "softmax"), (3, "softmax")])
def test_tfidf_is_the_best_of_scikit_learns_regressions(trial, classes, head):
    made = trial(classes, encoder="tfidf", head=head)
    splits = {name: fitted.word_counts(made.data.split(name), 40) for name in ("train", "validation", "test")}
    labels = {name: made.data.split(name).labels for name in splits}
    weights = TfidfTransformer().fit(splits["train"])
    x = {name: weights.transform(counts) for name, counts in splits.items()}
    regressions = [LogisticRegression(C=c, max_iter=2_000).fit(x["train"], labels["train"]) for c in fitted.STRENGTHS]
    best = max(regressions, key=lambda each: each.score(x["validation"], labels["validation"]))

    *_, end = TASK.records(made)

    rows = pd.read_parquet(made.folder / "test_probabilities.parquet")
    found = rows[[f"probability_{number}" for number in range(classes)]]
    np.testing.assert_allclose(found, best.predict_proba(x["test"]), atol=1e-4)
    assert end.metrics["test/accuracy"] == pytest.approx(best.score(x["test"], labels["test"]))
    assert end.detail["tags"]["ablation.health"] == "ok" and end.step == 1
    assert [name for name in end.metrics if name.startswith("time/")] == ["time/train_s"]


@pytest.mark.training
def test_the_largest_class_has_the_shares_of_training(trial):
    made = trial(3, encoder="largest_class", head="softmax")

    *_, end = TASK.records(made)

    shares = np.bincount(made.data.split("train").labels) / made.data.rows["train"]
    rows = pd.read_parquet(made.folder / "test_probabilities.parquet")
    np.testing.assert_allclose(rows.filter(like="probability_"), np.tile(shares, (len(rows), 1)), atol=1e-6)
    assert end.metrics["test/accuracy"] == pytest.approx((rows["label"] == shares.argmax()).mean())
    assert "ablation.diagnosis" not in end.detail["tags"]
