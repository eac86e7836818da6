from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.models.nt_asgd import NTASGD, has_stalled

OPTIONS = {"learning_rate": 0.5, "momentum": 0.9, "global_clipnorm": 1.0}
HOW = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True),
}


def variables():
    return [keras.Variable(np.full(shape, 0.5, np.float32)) for shape in ((2, 3), (4,))]


def gradients(step):
    rng = np.random.default_rng(step)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in ((2, 3), (4,))]


def trained(optimizer, steps, *, how="graph", begin=None):
    """Returns the variables after some steps, and their values after each; averaging begins after step `begin`."""
    weights, seen = variables(), []
    optimizer.build(weights)
    apply = HOW[how](lambda one: optimizer.apply(one, weights))
    for step in range(1, steps + 1):
        apply(gradients(step))
        seen.append([weight.numpy() for weight in weights])
        if step == begin:
            optimizer.trigger([1.0, 2.0, 3.0])
    return weights, seen


@pytest.mark.parametrize("how", HOW)
def test_the_average_is_that_of_all_weights_since_validation_stalled(how):
    optimizer = NTASGD(**OPTIONS, interval=1)

    weights, seen = trained(optimizer, 9, how=how, begin=4)

    with optimizer.applied():
        for place, weight in enumerate(weights):
            expected = np.mean([values[place] for values in seen[3:]], axis=0, dtype=np.float64)
            np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert optimizer.count == 6


def test_the_steps_are_those_of_sgd_bit_for_bit():
    _, averaged = trained(NTASGD(**OPTIONS, interval=1), 9, begin=4)
    _, plain = trained(keras.optimizers.SGD(**OPTIONS), 9)

    for ours, theirs in zip(averaged, plain, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_before_averaging_begins_the_model_keeps_its_weights():
    optimizer = NTASGD(**OPTIONS, interval=1)

    weights, seen = trained(optimizer, 3)

    assert optimizer.count == 0
    with optimizer.applied():
        np.testing.assert_array_equal(weights[0].numpy(), seen[-1][0])


def test_averaging_goes_on_whatever_validation_does_later():
    optimizer = NTASGD(**OPTIONS, interval=1)
    weights, seen = trained(optimizer, 1, begin=1)
    seen = [seen[0][0]]

    for step in range(2, 6):
        optimizer.apply(gradients(step), weights)
        optimizer.trigger([1.0, 2.0, 3.0, 0.5] if step % 2 else [1.0, 2.0, 3.0, 4.0])
        seen.append(weights[0].numpy())

    with optimizer.applied():
        np.testing.assert_allclose(weights[0].numpy(), np.mean(seen, axis=0), rtol=1e-6)


def test_the_trained_weights_return_also_after_an_error():
    optimizer = NTASGD(**OPTIONS, interval=1)
    weights, seen = trained(optimizer, 5, begin=1)

    with optimizer.applied():
        pass
    np.testing.assert_array_equal(weights[0].numpy(), seen[-1][0])
    with pytest.raises(KeyError), optimizer.applied():
        assert not np.array_equal(weights[0].numpy(), seen[-1][0])
        raise KeyError

    np.testing.assert_array_equal(weights[0].numpy(), seen[-1][0])


def test_all_of_its_state_is_variables_of_the_optimizer():
    whole = NTASGD(**OPTIONS, interval=1)
    weights, _ = trained(whole, 5, begin=3)
    resumed, copies = NTASGD(**OPTIONS, interval=1), variables()
    resumed.build(copies)
    for ours, theirs in zip([*copies, *resumed.variables], [*weights, *whole.variables], strict=True):
        ours.assign(theirs)

    for optimizer, model in ((whole, weights), (resumed, copies)):
        optimizer.apply(gradients(6), model)

    with whole.applied(), resumed.applied():
        for ours, theirs in zip(copies, weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    ("values", "interval", "expected"),
    [
        ([3.0], 1, False),
        ([3.0, 4.0], 1, False),  # one earlier value, which is left out
        ([3.0, 4.0, 5.0], 1, True),
        ([3.0, 2.0, 2.5], 1, False),  # worse than the latest value, which is left out, and better than the first
        ([3.0, 2.0, 2.5, 2.2], 1, True),  # worse than 2.0
        ([3.0, 2.0, 2.5, 2.0], 1, False),  # as good as the best one is not worse
        ([3.0, 2.0, 2.5, 2.2], 2, False),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0], 5, False),
        ([3.0, 4.0, 4.0, 4.0, 4.0, 4.0], 5, False),  # five earlier values, all left out
        ([3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.1], 5, True),
        ([3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.9], 5, False),  # only the first value counts
    ],
)
def test_validation_has_stalled_if_it_is_worse_than_the_best_value_but_the_latest_ones(values, interval, expected):
    assert has_stalled(values, interval) is expected


def step_of_trigger(validations, n):
    """Returns T with a logging interval of one step, None if it is never set: lines 4 to 11 of Algorithm 1."""
    logs, t, found = [], 0, None
    for k, v in enumerate(validations):
        if found is None:
            if t > n and v > min(logs[index] for index in range(t - n)):
                found = k
            logs.append(v)
            t += 1
    return found


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_the_trigger_is_that_of_the_algorithm(interval):
    found = set()
    for seed in range(200):
        values = np.random.default_rng(seed).integers(0, 30, 12) - seed % 15 * np.arange(12)  # improves, with noise
        stalled = [has_stalled(values[: end + 1].tolist(), interval) for end in range(len(values))]
        first = stalled.index(True) if any(stalled) else None
        assert first == step_of_trigger(values, interval)
        found.add(first)
    assert None in found and len(found) > 4
