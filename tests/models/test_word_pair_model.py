from __future__ import annotations

import keras
import numpy as np
import pytest

from src.data.word_pairs import NONE
from src.models import ppmi
from src.models.word_pairs import WordPairs

R, D = 7, 4


def layer_of(loss, **options):
    layer = WordPairs(R, D, loss=loss, **options)
    layer(np.zeros((1, 1), np.int32), np.zeros((1, 2), np.int32))
    rng = np.random.default_rng(0)
    layer.set_weights([*rng.normal(size=(2, R, D)).astype("float32"), *rng.normal(size=(2, R)).astype("float32")])
    return layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


CONTEXTS = np.array([[0], [3], [6]], np.int32)
CANDIDATES = np.array([[1, 2, 2], [4, NONE, 5], [0, 6, NONE]], np.int32)


@pytest.mark.parametrize("loss", ["full", "negative", "sampled"])
def test_losses_are_those_of_plain_formulas(loss):
    layer = layer_of(loss)
    table, output, expected, offset = (np.asarray(weight, np.float64) for weight in layer.get_weights())

    outputs = layer(CONTEXTS, CANDIDATES, training=False)

    for row, ((word,), (true, *negatives)) in enumerate(zip(CONTEXTS.tolist(), CANDIDATES.tolist(), strict=True)):
        scores = output @ table[word]
        drawn = [one for one in negatives if one != NONE]
        plain = {
            "full": -np.log(np.exp(scores[true]) / np.exp(scores).sum()),
            "negative": -np.log(sigmoid(scores[true])) - sum(np.log(sigmoid(-scores[one])) for one in drawn),
            "sampled": -np.log(
                np.exp(scores[true] - expected[true])
                / sum(np.exp(scores[one] - expected[one]) for one in (true, *drawn))
            ),
        }[loss]
        judged = -np.log(np.exp(scores + offset)[true] / np.exp(scores + offset).sum())
        np.testing.assert_allclose(outputs["losses"][row], plain, rtol=1e-4)
        np.testing.assert_allclose(outputs["cross_entropy"][row], judged, rtol=1e-4)
    assert not np.any(layer(CONTEXTS, CANDIDATES, training=True)["cross_entropy"])


@pytest.mark.parametrize("is_mean", [True, False])
def test_a_bag_of_words_is_the_mean_or_the_sum_of_its_vectors(is_mean):
    layer = layer_of("full", is_mean=is_mean)
    table, output = layer.get_weights()[:2]
    bag = np.array([[2, NONE, 5, 1]], np.int32)

    (loss,) = np.asarray(layer(bag, np.array([[3]], np.int32))["losses"])

    hidden = table[[2, 5, 1]].mean(axis=0) if is_mean else table[[2, 5, 1]].sum(axis=0)
    scores = output @ hidden
    np.testing.assert_allclose(loss, np.log(np.exp(scores).sum()) - scores[3], rtol=1e-4)


def test_a_model_file_keeps_the_layer(tmp_path):
    layer = layer_of("sampled", is_mean=False, name="words")
    inputs = keras.Input((1,), dtype="int32"), keras.Input((3,), dtype="int32")
    model = keras.Model(inputs, layer(*inputs))
    model.save(tmp_path / "model.keras")

    again = keras.saving.load_model(tmp_path / "model.keras")

    for one, other in zip(again([CONTEXTS, CANDIDATES]).values(), model([CONTEXTS, CANDIDATES]).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_counts_and_information_are_those_of_plain_loops():
    rng = np.random.default_rng(0)
    words, others = rng.integers(5, size=(2, 200))

    counts = ppmi.pair_counts([(words[:90], others[:90]), (words[90:], others[90:])], 5)
    information = ppmi.ppmi(counts, exponent=0.75).toarray()

    plain = np.zeros((5, 5))
    for word, other in zip(words, others, strict=True):
        plain[word, other] += 1
    np.testing.assert_array_equal(counts.toarray(), plain)
    share = plain.sum(axis=0) ** 0.75 / (plain.sum(axis=0) ** 0.75).sum()
    for i in range(5):
        for j in range(5):
            expected = np.log(plain[i, j] / plain[i].sum() / share[j]) if plain[i, j] else 0
            np.testing.assert_allclose(information[i, j], max(0, expected), atol=1e-9)


def test_the_factors_multiply_to_the_nearest_matrix_of_their_rank():
    matrix = np.random.default_rng(0).random((6, 6))

    left, right = ppmi.factors(ppmi.scipy.sparse.csr_array(matrix), 3, seed=0)

    u, s, v = np.linalg.svd(matrix)
    np.testing.assert_allclose(left @ right.T, u[:, :3] * s[:3] @ v[:3], atol=1e-5)
    assert ppmi.factors(ppmi.scipy.sparse.csr_array(matrix), 9, seed=0)[0].shape == (6, 9)
