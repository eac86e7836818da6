"""Attention computes the scores of the papers: compared with plain NumPy, position by position."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.models.attention import SCORES, Attention

B, S, H, A = 3, 5, 4, 6
RNG = np.random.default_rng(0)
QUERY, VALUES = RNG.normal(size=(B, H)), RNG.normal(size=(B, S, H))
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)


def score_of(score, weights, query, value, place):
    """Returns the score of one query and one value, from the equations of the papers."""
    if score == "dot":
        return query @ value
    if score == "general":  # q^T W v, where the layer keeps W^T
        return query @ weights["matrix"].T @ value
    if score == "concat":
        return weights["vector"] @ np.tanh(np.concatenate([query, value]) @ weights["matrix"])
    if score == "additive":
        return weights["vector"] @ np.tanh(query @ weights["query_matrix"] + value @ weights["value_matrix"])
    return (query @ weights["matrix"])[place]


def attended(score, weights, query, values, mask):
    """Returns contexts and attention weights in float64, one sentence and one position at a time."""
    contexts, shares = np.zeros((len(query), values.shape[2])), np.zeros(values.shape[:2])
    for row in range(len(query)):
        places = np.flatnonzero(mask[row])
        fits = np.exp([score_of(score, weights, query[row], values[row, place], place) for place in places])
        shares[row, places] = fits / fits.sum()
        contexts[row] = sum(shares[row, place] * values[row, place] for place in places)
    return contexts, shares


def built(score, *, longest=S, width=H):
    layer = Attention(score, A, longest=longest if score == "location" else None, seed=1)
    layer.build(H, width)
    return layer


def numbers(layer):
    return {weight.name: weight.numpy().astype(np.float64) for weight in layer.weights}


def floats(*arrays):
    return [tf.constant(array, tf.float32) for array in arrays]


@pytest.mark.parametrize("score", SCORES)
def test_context_and_weights_are_those_of_the_papers(score):
    layer = built(score)
    query, values = floats(QUERY, VALUES)

    context, weights = layer(query, layer.memory(values, tf.constant(MASK)))

    expected = attended(score, numbers(layer), QUERY, VALUES, MASK)
    np.testing.assert_allclose(context, expected[0], atol=1e-5)
    np.testing.assert_allclose(weights, expected[1], atol=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_gradients_are_the_slopes_of_the_plain_computation(score):
    layer, direction = built(score), RNG.normal(size=(B, H))
    query, values = floats(QUERY, VALUES)
    with tf.GradientTape() as tape:
        tape.watch([query, values])
        context, _ = layer(query, layer.memory(values, tf.constant(MASK)))
        total = tf.reduce_sum(context * tf.constant(direction, tf.float32))
    weights = {weight.name: weight for weight in layer.weights}
    gradients = tape.gradient(total, {"query": query, "values": values, **{k: w.value for k, w in weights.items()}})

    plain = {"query": QUERY.copy(), "values": VALUES.copy(), **numbers(layer)}
    for name, array in plain.items():
        for place in list(np.ndindex(array.shape))[:: max(1, array.size // 10)]:
            sides = []
            for change in (1e-5, -1e-5):
                array[place] += change
                context, _ = attended(score, plain, plain["query"], plain["values"], MASK)
                sides.append((context * direction).sum())
                array[place] -= change
            slope = (sides[0] - sides[1]) / 2e-5
            found = 0.0 if gradients[name] is None else tf.convert_to_tensor(gradients[name]).numpy()[place]
            np.testing.assert_allclose(found, slope, atol=1e-4, err_msg=f"{name}{place}")


@pytest.mark.parametrize("score", SCORES)
def test_weights_sum_to_one_and_padding_has_exactly_none(score):
    layer = built(score)
    query, values = floats(QUERY * 5, VALUES * 5)

    _, weights = layer(query, layer.memory(values, tf.constant(MASK)))

    np.testing.assert_allclose(np.sum(weights, axis=1), 1, atol=1e-6)
    assert (weights.numpy()[~MASK] == 0).all()


@pytest.mark.parametrize("score", SCORES)
def test_what_stands_at_the_padding_changes_nothing(score):
    layer = built(score)
    other = np.where(MASK[:, :, None], VALUES, 100.0)

    results = [layer(*floats(QUERY), layer.memory(*floats(values), tf.constant(MASK))) for values in (VALUES, other)]

    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("score", SCORES)
def test_a_source_of_padding_alone_has_weights_of_zero_and_finite_gradients(score):
    layer = built(score)
    query, values = floats(QUERY, VALUES)

    with tf.GradientTape() as tape:
        tape.watch([query, values])
        context, weights = layer(query, layer.memory(values, tf.zeros((B, S), tf.bool)))
        total = tf.reduce_sum(context) + tf.reduce_sum(weights)
    gradients = tape.gradient(total, [query, values], unconnected_gradients="zero")

    assert (context.numpy() == 0).all() and (weights.numpy() == 0).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_without_a_mask_padding_gets_weight():
    layer = built("additive")
    query, values = floats(QUERY, VALUES)

    _, weights = layer(query, layer.memory(values))

    assert (weights.numpy() > 0).all()
    np.testing.assert_allclose(np.sum(weights, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_many_queries_at_once_give_what_each_gives_alone(score):
    layer = built(score)
    queries = RNG.normal(size=(B, 7, H)).astype(np.float32)
    memory = layer.memory(*floats(VALUES), tf.constant(MASK))

    together = layer(tf.constant(queries), memory)

    for step in range(7):
        for alone, all_of_them in zip(layer(tf.constant(queries[:, step]), memory), together, strict=True):
            np.testing.assert_allclose(alone, all_of_them[:, step], atol=1e-6)


def test_the_keys_are_projected_once_for_all_steps():
    layer = built("additive")
    memory = layer.memory(*floats(VALUES))
    before = layer(*floats(QUERY), memory)[1]

    layer.value_matrix.assign(np.zeros((H, A)))  # a step that projected again would notice

    np.testing.assert_array_equal(layer(*floats(QUERY), memory)[1], before)


def test_concat_and_additive_are_one_function_of_query_and_values():
    additive, concat = built("additive"), built("concat")
    weights = numbers(additive)
    concat.set_weights([np.concatenate([weights["query_matrix"], weights["value_matrix"]]), weights["vector"]])
    query, values = floats(QUERY, VALUES)

    results = [layer(query, layer.memory(values))[1] for layer in (additive, concat)]

    np.testing.assert_allclose(*results, atol=1e-6)


def test_keras_layers_are_other_functions():
    """Its additive score has no projections; its multiplicative one is `dot`, and there is no general score."""
    query, values = floats(QUERY[:, None], VALUES)
    weights = {}
    for name, layer in {"additive": keras.layers.AdditiveAttention(), "dot": keras.layers.Attention()}.items():
        weights[name] = layer([query, values], return_attention_scores=True)[1].numpy()[:, 0]
        assert len(layer.weights) == (1 if name == "additive" else 0)

    ours = built("dot")
    np.testing.assert_allclose(weights["dot"], ours(query[:, 0], ours.memory(values))[1], atol=1e-6)
    ours = built("additive")
    assert not np.allclose(weights["additive"], ours(query[:, 0], ours.memory(values))[1], atol=1e-3)


def test_location_ignores_positions_after_the_longest():
    layer = built("location", longest=3)

    @tf.function(input_signature=[tf.TensorSpec([B, None, H])], autograph=False)
    def weights(values):
        return layer(*floats(QUERY), layer.memory(values))[1]

    found = weights(*floats(VALUES)).numpy()

    assert (found[:, 3:] == 0).all()
    np.testing.assert_allclose(found[:, :3].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weights(*floats(VALUES[:, :2])).numpy().sum(axis=1), 1, atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"the source has 5 positions, the location score knows 3"):
        built("location", longest=3).memory(*floats(VALUES))
    with pytest.raises(ValueError, match="give longest, at least 1"):
        Attention("location", A)
    with pytest.raises(ValueError, match="they have 4 and 7; the general score has a matrix between them"):
        built("dot", width=7)
    with pytest.raises(ValueError, match="score is 'multiplicative'; allowed: dot, general, concat, additive"):
        Attention("multiplicative", A)


def test_values_may_be_wider_than_queries():
    for score in SCORES:
        if score != "dot":
            layer = built(score, width=7)
            context, _ = layer(*floats(QUERY), layer.memory(*floats(RNG.normal(size=(B, S, 7)))))
            assert context.shape == (B, 7)


def test_initial_weights_depend_on_the_seed_alone():
    first, same, other = (Attention("general", A, name="attention", seed=seed) for seed in (1, 1, 2))
    for layer in (first, same, other):
        layer.build(H, H)

    np.testing.assert_array_equal(first.matrix, same.matrix)
    assert not np.array_equal(first.matrix, other.matrix)
