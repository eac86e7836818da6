from __future__ import annotations

import itertools

import numpy as np
import pytest

from src.settings import Settings, checked, edited
from src.tasks import integration
from src.trial import _data, prepare

SMALL = {"batch_size": 64}


def settings(**task):
    return edited(edited(Settings(), {"task": {"name": "integration", "num_samples": 200, **task}}), SMALL)


def drawn(asked, epoch=1):
    problem = integration.problem(asked, integration.corpus(asked))
    return [[part.numpy() for part in batch] for batch in problem.training(epoch)], problem


def test_an_example_is_noise_and_its_sum():
    blocks = list(integration.integration_task(30, 2_500, rng=np.random.default_rng(0)))

    assert [len(noise) for noise, _ in blocks] == [1_000, 1_000, 500]
    noise, sums = (np.concatenate(part) for part in zip(*blocks, strict=True))
    np.testing.assert_array_equal(noise[:, :, 0], np.random.default_rng(0).standard_normal((2_500, 30), np.float32))
    assert (noise.shape, sums.shape, noise.dtype) == ((2_500, 30, 1), (2_500, 1), np.float32)
    np.testing.assert_allclose(sums, noise.sum(1), atol=1e-4)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


def test_the_class_says_whether_the_sum_is_above_the_threshold():
    batches, problem = drawn(settings(threshold=2.0))

    for noise, labels, _ in batches:
        np.testing.assert_array_equal(labels, noise.sum((1, 2)) > 2)
        assert labels.dtype == np.int32 and noise.shape[1:] == (25, 1)
    assert [len(labels) for _, labels, _ in batches] == [64, 64, 64, 8] and problem.batches_per_epoch == 4
    assert problem.loss == "sigmoid"


def test_the_integral_is_how_far_the_sum_is_above_the_threshold():
    batches, problem = drawn(settings(threshold=2.0, target="integral"))

    for noise, targets, _ in batches:
        np.testing.assert_allclose(targets, noise.sum((1, 2)) - 2, atol=1e-4)
    assert problem.loss == "squared"


def test_every_epoch_and_seed_draws_anew_and_the_same_again():
    first, again, next_epoch, other_seed = (
        drawn(edited(settings(), {"seed": seed}), epoch)[0][0][0] for seed, epoch in ((0, 1), (0, 1), (0, 2), (1, 1))
    )

    np.testing.assert_array_equal(first, again)
    for one, other in itertools.combinations((first, next_epoch, other_seed), 2):
        assert not np.isin(one, other).any()


def test_validation_and_test_are_the_same_for_all_seeds_and_nothing_of_training():
    (_, problem), (_, other) = drawn(settings()), drawn(edited(settings(), {"seed": 1}))

    seen = {}
    for name in ("validation", "test"):
        noise, targets, rows = (np.concatenate(parts) for parts in zip(*problem.held_out[name].batches(), strict=True))
        assert noise.shape == (10_000, 25, 1)
        np.testing.assert_array_equal(rows, np.arange(10_000))
        np.testing.assert_array_equal(targets, problem.held_out[name].labels)
        np.testing.assert_array_equal(next(iter(other.held_out[name].batches()))[0], noise[:64])
        seen[name] = noise
    assert len(np.unique(np.concatenate([*seen.values()])[:, :3, 0], axis=0)) == 20_000
    assert 0.48 < problem.held_out["test"].labels.mean() < 0.52


def test_a_smaller_last_batch_can_be_left_out():
    batches, problem = drawn(edited(settings(), {"drop_remainder": True}))

    assert [len(labels) for _, labels, _ in batches] == [64] * 3 and problem.batches_per_epoch == 3


def test_noise_has_no_padding_and_long_noise_is_drawn_in_smaller_blocks():
    blocks = integration.integration_task(400_000, 3, rng=np.random.default_rng(0))

    assert [len(noise) for noise, _ in blocks] == [2, 1]
    assert integration.problem(settings(), integration.corpus(settings())).padding is None


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"num_samples": 63}, "task.num_samples=63 is less than one batch of 64; raise task.num_samples, or lower batch_size"),
        ({"threshold": 16.0}, "task.threshold=16: sums of 25 steps have a standard deviation of 5, and almost all would"),
        ({"threshold": -16.0}, "set a threshold from -15 to 15"),
    ],
)
def test_noise_that_cannot_be_trained_on_is_refused(task, message):
    asked = settings(**task)

    assert message in integration.refusals(asked, integration.corpus(asked))[0]
    assert integration.refusals(settings(), integration.corpus(settings())) == []


@pytest.mark.training
@pytest.mark.parametrize("target", ["class", "integral"])
def test_the_task_is_learnt_whatever_the_target(target):
    from src.models.build import classifier
    from src.training.fit import Fit, evaluators, train
    from src.training.startup import fresh_session

    asked = edited(
        settings(sequence_length=5, num_samples=6_400, target=target),
        {"epochs": 1, "learning_rate": 0.02, "units": 16, "tracking.histograms": False, "implementation": "graph_loop"},
    )
    fresh_session(0)
    problem, model = integration.problem(asked, integration.corpus(asked)), classifier(asked, classes=2)
    measure = evaluators(model, problem, settings=asked)

    records = list(train(model, problem, measure["validation"], Fit(), settings=asked))

    result = measure["test"]()
    noise = np.concatenate([batch[0] for batch in problem.held_out["test"].batches()])
    outputs = model.predict(noise, verbose=0)[:, 0]
    assert result.accuracy == ((outputs > 0) == (noise.sum((1, 2)) > 0)).mean() > 0.9
    assert records[-1].metrics["val/accuracy"] > 0.9
    if target == "integral":
        assert result.loss == pytest.approx(np.mean((outputs - noise.sum((1, 2))) ** 2), rel=1e-3)


def test_noise_of_another_number_is_other_data_to_mlflow_and_has_its_own_rows():
    few, many = (_data(prepare(checked({"task": {"name": "integration", "num_samples": number}}))) for number in (200, 300))

    assert (few["rows"]["train"], many["rows"]["train"]) == (200, 300)
    assert few["digest"] != many["digest"]
