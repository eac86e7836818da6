from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from src.config.settings import checked, edited
from src.parts.classes import measures as classes
from src.tasks.integration import noise as noise_module
from src.tasks.integration.noise import integration_task
from src.tasks.integration.settings import Settings
from src.tasks.integration.task import TASK
from src.trial.prepare import prepare

SMALL = {"batch_size": 64}


def settings(**changes):
    return edited(Settings(), {"num_samples": 200, **SMALL, **changes})


def drawn(used, epoch=1):
    phase = TASK.phase(used, TASK.load(used))
    return [[part.numpy() for part in batch] for batch in phase.training(epoch)], phase


def test_an_example_is_noise_and_its_sum():
    blocks = list(integration_task(30, 2_500, rng=np.random.default_rng(0)))

    assert [len(noise) for noise, _ in blocks] == [1_000, 1_000, 500]
    noise, sums = (np.concatenate(part) for part in zip(*blocks, strict=True))
    np.testing.assert_array_equal(noise[:, :, 0], np.random.default_rng(0).standard_normal((2_500, 30), np.float32))
    assert (noise.shape, sums.shape, noise.dtype) == ((2_500, 30, 1), (2_500, 1), np.float32)
    np.testing.assert_allclose(sums, noise.sum(1), atol=1e-4)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


def test_the_class_is_1_if_the_sum_is_above_the_threshold():
    batches, phase = drawn(settings(threshold=2.0))

    for noise, labels, _ in batches:
        np.testing.assert_array_equal(labels, noise.sum((1, 2)) > 2)
        assert labels.dtype == np.int32 and noise.shape[1:] == (25, 1)
    assert [len(labels) for _, labels, _ in batches] == [64, 64, 64, 8] and phase.batches_per_epoch == 4
    assert phase.measure is classes.measure_sigmoid


def test_the_integral_is_the_sum_minus_the_threshold():
    batches, phase = drawn(settings(threshold=2.0, target="integral"))

    for noise, targets, _ in batches:
        np.testing.assert_allclose(targets, noise.sum((1, 2)) - 2, atol=1e-4)
    assert phase.measure is classes.measure_squared


def test_noise_depends_on_epoch_and_seed_alone():
    first, repeated, next_epoch, other_seed = (
        drawn(edited(settings(), {"seed": seed}), epoch)[0][0][0] for seed, epoch in ((0, 1), (0, 1), (0, 2), (1, 1))
    )

    np.testing.assert_array_equal(first, repeated)
    for noise, other_noise in itertools.combinations((first, next_epoch, other_seed), 2):
        assert not np.isin(noise, other_noise).any()


def test_validation_and_test_are_distinct_and_the_same_for_all_seeds():
    (_, phase), (_, of_other_seed) = drawn(settings()), drawn(edited(settings(), {"seed": 1}))

    seen = {}
    for name in ("validation", "test"):
        noise, targets, rows = (np.concatenate(parts) for parts in zip(*phase.held_out[name](), strict=True))
        assert noise.shape == (10_000, 25, 1)
        np.testing.assert_array_equal(rows, np.arange(10_000))
        np.testing.assert_array_equal(targets, noise_module.labels(settings(), name))
        np.testing.assert_array_equal(next(iter(of_other_seed.held_out[name]()))[0], noise[:64])
        seen[name] = noise
    assert len(np.unique(np.concatenate([*seen.values()])[:, :3, 0], axis=0)) == 20_000
    assert 0.48 < noise_module.labels(settings(), "test").mean() < 0.52


def test_a_smaller_last_batch_can_be_left_out():
    batches, phase = drawn(edited(settings(), {"drop_remainder": True}))

    assert [len(labels) for _, labels, _ in batches] == [64] * 3 and phase.batches_per_epoch == 3


def test_long_noise_is_drawn_in_smaller_blocks_and_noise_has_no_padding():
    blocks = integration_task(400_000, 3, rng=np.random.default_rng(0))

    assert [len(noise) for noise, _ in blocks] == [2, 1]
    assert TASK.phase(settings(), TASK.load(settings())).real_positions is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 63}, "num_samples=63 is less than one batch of 64; raise num_samples, or lower batch_size"),
        ({"threshold": 16.0}, "threshold=16: sums of 25 steps have a standard deviation of 5, and almost all would"),
        ({"threshold": -16.0}, "set a threshold from -15 to 15"),
    ],
)
def test_noise_that_cannot_be_trained_on_is_refused(changes, message):
    used = settings(**changes)

    assert message in TASK.refusals(used, TASK.load(used))[0]
    assert TASK.refusals(settings(), TASK.load(settings())) == []


@pytest.mark.training
@pytest.mark.parametrize("target", ["class", "integral"])
def test_the_task_is_learnt_with_both_targets(target):
    from src.training.evaluation import evaluators
    from src.training.fit import Fit, train
    from src.training.phase import Learner
    from src.training.startup import fresh_session

    used = edited(
        settings(sequence_length=5, num_samples=6_400, target=target),
        {"epochs": 1, "learning_rate": 0.02, "units": 16, "tracking.histograms": False, "implementation": "graph_loop"},
    )
    fresh_session(0)
    phase, model = TASK.phase(used, TASK.load(used)), TASK.model(used, TASK.load(used))
    learner = Learner(model, phase, TASK.metrics, used)
    measure = evaluators(learner)

    records = list(train(learner, measure["validation"], Fit()))

    result = measure["test"]()
    noise = np.concatenate([batch[0] for batch in phase.held_out["test"]()])
    outputs = model.predict(noise, verbose=0)[:, 0]
    assert result.mean("accuracy") == ((outputs > 0) == (noise.sum((1, 2)) > 0)).mean() > 0.9
    assert records[-1].metrics["val/accuracy"] > 0.9
    if target == "integral":
        assert result.mean("loss") == pytest.approx(np.mean((outputs - noise.sum((1, 2))) ** 2), rel=1e-3)


def test_another_number_of_examples_is_another_dataset_in_mlflow():
    trials = [prepare(checked({"task": "integration", "num_samples": number})) for number in (200, 300)]
    few, many = (TASK.dataset(trial.settings, trial.data) for trial in trials)

    assert (few["rows"]["train"], many["rows"]["train"]) == (200, 300)
    assert few["digest"] != many["digest"]


def test_the_digest_of_the_noise_in_mlflow_never_changes():
    used = checked({"task": "integration", "num_samples": 200})

    assert TASK.dataset(used, TASK.load(used))["digest"] == "beeebb17fd124bad"


def test_a_trial_that_learnt_nothing_is_not_told_to_check_a_text_column(monkeypatch):
    from src.parts.recurrent import diagnosis as recurrence
    from src.training import diagnosis

    for module, name in (
        (diagnosis, "learning_rate_too_high"),
        (diagnosis, "learning_rate_too_low"),
        (diagnosis, "too_few_steps"),
        (recurrence, "saturated_gates"),
        (recurrence, "gradient_and_units"),
    ):
        monkeypatch.setattr(module, name, lambda evidence, **_: iter(()))
    batches = [(np.ones((2, 25, 1), np.float32), np.zeros(2, np.int32))]
    learner = SimpleNamespace(settings=SimpleNamespace(model=None))
    identical = SimpleNamespace(batches=batches, has_learnt=False, learner=learner)

    assert list(diagnosis.identical_inputs(identical)) == [
        "identical inputs: all of 2 examples are the same; check the data"
    ]
    assert list(TASK.causes(identical)) == []
