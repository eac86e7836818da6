from __future__ import annotations

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.config.settings import edited
from src.data.batching import Padding, batch_count, batches
from src.data.encoded import Sequences
from src.parts.classes import measures as classes
from src.parts.recurrent.diagnosis import shown_layers
from src.spec.metric import LOSS
from src.spec.record import Diverged
from src.streams import generator
from src.tasks.sentiment.model import classifier
from src.tasks.sentiment.settings import Settings
from src.training.evaluation import Evaluated, evaluators
from src.training.fit import Fit, train, weights_digest
from src.training.phase import Learner, Phase
from src.training.startup import fresh_session

N, V = 40, 12
METRICS = (classes.ACCURACY, LOSS)
SMALL = {"vocab_size": V, "embedding_dim": 4, "units": 4, "batch_size": 16, "epochs": 2, "tracking.histograms": False}


def examples(n=N, seed=0):
    """Sequences of class 1 if they contain the word 5, of class 0 if they contain the word 6."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, n)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = rng.integers(7, V, starts[-1]).astype(np.int32)
    labels = rng.integers(0, 2, n).astype(np.int32)
    ids[starts[:-1]], ids[starts[:-1] + 1] = 1, np.where(labels == 1, 5, 6)
    return Sequences(ids, starts, labels)


def phase_of(split, settings, padding=None):
    """Returns a phase that trains and validates on the same split."""
    padding = padding or Padding((9,), True, settings.padding_side)
    size, drop_remainder = settings.batch_size, settings.drop_remainder
    held_out = batches(split, padding, size)
    in_order = batches(split, padding, size, drop_remainder=drop_remainder)
    return Phase(
        training=lambda epoch: in_order(generator(settings.seed, "order", epoch).permutation(len(split.labels))),
        batches_per_epoch=batch_count(split.lengths, padding, size, drop_remainder=drop_remainder),
        held_out={"validation": lambda: held_out(np.arange(len(split.labels)))},
        signature=(tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)),
        measure=classes.MEASURES[settings.head],
        predictions=classes.predictions,
        shape=lambda ids: (int(ids.shape[0]), int(ids.shape[1])),
        real_positions=tf.math.count_nonzero,
        is_eager=settings.implementation == "eager_loop",
    )


def learner_of(model, phase, settings):
    return Learner(model, phase, METRICS, settings)


@functools.cache  # no test changes the result
def trained(n=N, count=2, *, is_graph=False, **changes):
    """Trains a small model. By default without graphs, because tracing takes seconds."""
    tf.config.run_functions_eagerly(not is_graph)
    try:
        return _trained(n, count, **changes)
    finally:
        tf.config.run_functions_eagerly(False)


def _trained(n, count, **changes):
    settings = edited(Settings(), {**SMALL, **changes})
    fresh_session(settings.seed)
    model, fit = classifier(settings, classes=count), Fit()
    learner = learner_of(model, phase_of(examples(n), settings), settings)
    evaluate = evaluators(learner)["validation"]
    return model, fit, list(train(learner, evaluate, fit, layers=shown_layers(model))), evaluate


def measured(accuracy):
    """Returns an evaluation of one example."""
    return Evaluated(
        {"loss": np.ones(1), "accuracy": np.array([accuracy])}, {"loss": np.ones(1), "accuracy": np.ones(1)}
    )


def metrics(records, name):
    return [record.metrics[name] for record in records if name in record.metrics]


def test_the_same_seed_gives_the_same_dropout_bit_for_bit():
    (a, _, first, _), (b, _, second, _) = (_trained(N, 2, dropout=0.2, epochs=1) for _ in range(2))

    assert metrics(first, "train/loss") == metrics(second, "train/loss")
    assert weights_digest(a) == weights_digest(b)


def test_the_order_of_the_data_does_not_depend_on_the_model():
    _, lstm, _, _ = trained()
    _, gru, _, _ = trained(cell="gru", dropout=0.3)

    assert [(step.shapes, step.tokens) for step in lstm.timings] == [(step.shapes, step.tokens) for step in gru.timings]


def test_every_epoch_has_another_order():
    _, fit, _, _ = trained()

    tokens = [step.tokens for step in fit.timings]
    assert tokens[:3] != tokens[3:]
    assert sum(tokens[:3]) == sum(tokens[3:]) == examples().lengths.sum()


def test_one_update_equals_that_of_keras_on_the_same_batch():
    """Keras trains the equivalent one-hot model: its optimizers treat the slices of an embedding differently."""
    split, settings = examples(16), edited(Settings(), {**SMALL, "epochs": 1, "encoding": "onehot_projected"})
    model, _, _, _ = trained(16, epochs=1)

    theirs = classifier(settings, classes=2)
    theirs.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    ids, labels, _ = next(iter(batches(split, Padding((9,), True, "post"), 16)(np.arange(16))))
    theirs.train_on_batch(ids, labels)

    for ours, expected in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_clipping_does_not_count_a_repeated_word_twice():
    """An embedding and a one-hot vector times a matrix are the same function, so gradient and norm are equal."""
    (a, _, first, _), (b, _, second, _) = (
        trained(encoding=encoding, clip_norm=0.01, optimizer="sgd", learning_rate=10.0)
        for encoding in ("embedding", "onehot_projected")
    )

    norms = [
        [record.detail["gradient_norm"] for record in records if record.kind == "step"] for records in (first, second)
    ]
    np.testing.assert_allclose(*norms, rtol=1e-4)
    for of_a, of_b in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(of_a, of_b, atol=1e-5)


def test_only_steps_that_trace_are_marked_as_first():
    _, fit, _, _ = trained(batch_size=3, is_graph=True)

    first = [i for i, step in enumerate(fit.timings) if step.is_first]
    assert first == [0, 13]  # the first full batch, and the smaller one at the end of the epoch


def test_running_accuracy_and_loss_are_means_over_the_epoch_so_far():
    _, fit, records, _ = trained(learning_rate=1e-9)
    losses, accuracies = metrics(records, "train/loss"), metrics(records, "train/accuracy")
    validation = metrics(records, "val/loss"), metrics(records, "val/accuracy")

    assert [len(fit.timings), len(losses)] == [6, 6]
    # The model does not change, so the mean of the epoch equals the evaluation.
    assert losses[2] == pytest.approx(validation[0][0], abs=1e-5)
    assert accuracies[2] == pytest.approx(validation[1][0], abs=1e-6)


def test_evaluation_agrees_with_numpy():
    model, _, _, evaluate = trained()
    split, result = examples(), evaluate()

    chance = 1 / (
        1
        + np.exp(
            -np.array([model(split.ids[None, a:b])[0, 0] for a, b in zip(split.starts, split.starts[1:], strict=False)])
        )
    )
    np.testing.assert_allclose(result.predictions["probability"][:, 0], chance, atol=1e-5)
    assert result.mean("accuracy") == ((chance > 0.5) == split.labels).mean()
    assert result.mean("loss") == pytest.approx(
        -np.log(np.where(split.labels == 1, chance, 1 - chance)).mean(), abs=1e-5
    )


def test_the_weights_of_the_best_epoch_are_restored_and_ties_go_to_the_earliest():
    settings = edited(Settings(), {**SMALL, "epochs": 4})
    model, fit, digests = classifier(settings, classes=2), Fit(), []
    accuracies = iter([0.5, 0.8, 0.8, 0.7])

    def evaluate():
        digests.append(weights_digest(model))
        return measured(next(accuracies))

    list(train(learner_of(model, phase_of(examples(), settings), settings), evaluate, fit))

    assert fit.best_epoch == 2
    assert weights_digest(model) == digests[1] != digests[2]


def test_a_loss_that_is_not_finite_stops_training_at_its_step():
    records = []
    settings = edited(
        Settings(),
        {**SMALL, "optimizer": "sgd", "learning_rate": 1e3, "cell": "simple_rnn", "readout": "sum_logit", "epochs": 50},
    )
    model = classifier(settings, classes=2)
    model.get_layer("encoding").set_weights([np.full((V, 4), np.nan, np.float32)])

    with pytest.raises(
        Diverged, match=r"the loss is not finite at step 1; try a smaller learning_rate, or set clip_norm=1"
    ) as caught:
        for record in train(learner_of(model, phase_of(examples(), settings), settings), lambda: None, Fit()):
            records.append(record)
    assert caught.value.step == len(records) == 1


def test_evaluating_between_epochs_does_not_change_training():
    model, _, records, _ = trained(evaluate_every=2)
    plain, _, _, _ = trained()

    assert [record.step for record in records if record.kind == "evaluation"] == [2, 3, 4, 6]
    assert weights_digest(model) == weights_digest(plain)


class Doubled:
    """In place of averages, twice the weights."""

    def __init__(self, model):
        self.model, self.values, self.ended, self.is_applied = model, [], [], False

    def epoch_ended(self, epoch):
        assert not self.is_applied and len(self.values) == epoch - 1  # the epoch is not validated yet
        self.ended.append(epoch)

    def trigger(self, values):
        assert not self.is_applied
        self.values.append(list(values))

    @contextlib.contextmanager
    def applied(self):
        self.is_applied, trained = True, self.model.get_weights()
        self.model.set_weights([2 * weight for weight in trained])
        yield
        self.is_applied = False
        self.model.set_weights(trained)


def test_validation_and_the_best_weights_are_those_of_the_averages_and_training_is_not():
    _, _, plain, _ = trained(evaluate_every=2)
    tf.config.run_functions_eagerly(True)
    settings = edited(Settings(), {**SMALL, "evaluate_every": 2})
    fresh_session(settings.seed)
    model = classifier(settings, classes=2)
    averaging, kept = Doubled(model), []
    learner = Learner(model, phase_of(examples(), settings), METRICS, settings, averaging)
    evaluate = evaluators(learner)["validation"]

    def evaluated():
        kept.append(model.get_weights() if averaging.is_applied else None)
        return evaluate()

    fit = Fit()
    records = list(train(learner, evaluated, fit, samples=lambda: [{"is_applied": averaging.is_applied}]))
    tf.config.run_functions_eagerly(False)

    assert fit.samples == [{"epoch": epoch, "is_applied": True} for epoch in (1, 2)]
    assert len(kept) == 4 and all(weights is not None for weights in kept)
    assert metrics(records, "train/loss") == metrics(plain, "train/loss")
    assert averaging.values == [fit.validations[:1], fit.validations] and averaging.ended == [1, 2]
    of_best = kept[2 * fit.best_epoch - 1]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), of_best, strict=True))


def test_histograms_include_all_weights_gradients_and_layers_and_can_be_disabled():
    model, _, records, _ = trained(**{"tracking.histograms": True})
    _, _, without, _ = trained()

    last = [record for record in records if record.kind == "histograms"][-1]
    paths = {variable.path for variable in model.trainable_variables}
    assert {f"weights/{path}" for path in paths} | {f"gradients/{path}" for path in paths} < set(last.detail)
    assert {"activations/encoding", "activations/recurrent_1", "activations/head"} < set(last.detail)
    assert not [record for record in without if record.kind == "histograms"]


@pytest.mark.parametrize(
    "changes",
    [{"initial_state": "learned", "readout": "max_state"}, {"encoding": "onehot", "bidirectional": True, "depth": 2}],
)
def test_histograms_work_for_every_kind_of_layer(changes):
    _, _, records, _ = trained(epochs=1, **changes, **{"tracking.histograms": True})

    first, last = (record for record in records if record.kind == "histograms")
    assert {name.split("/")[0] for name in first.detail} == {"weights"} and first.step == 0
    assert [name for name in last.detail if name.startswith("activations/")]


def test_new_lengths_do_not_retrace_and_a_smaller_batch_traces_once():
    _, fit, _, _ = trained(batch_size=3, is_graph=True)

    assert len({step.shapes for step in fit.timings}) > 2
    assert fit.traces == 2


def test_a_softmax_head_learns_several_classes():
    _, _, records, evaluate = trained(200, 3, head="softmax", learning_rate=0.05, epochs=4, is_graph=True)

    assert metrics(records, "val/accuracy")[-1] > 0.9
    probabilities = evaluate().predictions["probability"]
    assert probabilities.shape == (200, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("readout", ["last", "mean_state", "sum_logit", "mean_probability", "max_state"])
def test_a_sigmoid_head_learns_from_every_readout(readout):
    _, _, records, _ = trained(200, readout=readout, learning_rate=0.05, epochs=4, is_graph=True)

    assert metrics(records, "val/accuracy")[-1] > 0.9


@pytest.mark.parametrize("execution", ["graph", "graph_epoch", "xla"])
def test_ten_steps_with_a_fused_loop_have_the_losses_of_keras(execution):
    changes = {"epochs": 5, "is_graph": True, "initial_state": "learned", "readout": "mean_state"}
    (_, _, fused, _), (_, _, plain, _) = (
        trained(24, **changes, implementation="fused_loop", execution=execution),
        trained(24, **changes),
    )

    losses = metrics(plain, "train/loss")
    assert len(losses) == 10
    np.testing.assert_allclose(metrics(fused, "train/loss"), losses, atol=1e-5)


@pytest.mark.parametrize("implementation", ["keras", "graph_loop"])
def test_xla_gives_the_same_losses_and_a_step_that_compiles_a_shape_is_marked_as_first(implementation):
    changes = {"epochs": 1, "implementation": implementation, "is_graph": True}
    (_, fit, compiled, _), (_, _, plain, _) = (
        trained(24, execution=execution, **changes) for execution in ("xla", "graph")
    )

    np.testing.assert_allclose(metrics(compiled, "train/loss"), metrics(plain, "train/loss"), atol=1e-5)
    assert sum(step.is_first for step in fit.timings) == len({step.shapes for step in fit.timings}) == 2


def test_an_epoch_that_max_steps_ends_early_is_validated_and_has_no_epoch_time():
    _, fit, whole, _ = trained(is_graph=True)  # without a graph every step would count as traced, and have no time
    _, cut_fit, cut, _ = trained(is_graph=True, max_steps=4, evaluate_every=4)

    assert len(metrics(whole, "train/loss")) == 6 and metrics(cut, "train/loss") == metrics(whole, "train/loss")[:4]
    evaluations = [record for record in cut if record.kind == "evaluation"]
    assert [(record.step, record.detail["epoch"]) for record in evaluations] == [(3, 1), (4, 2)]
    assert ["time/epoch_s" in record.metrics for record in evaluations] == [True, False]
    (first,) = {
        record.metrics["time/epoch_s"]
        for record in whole
        if record.kind == "evaluation" and record.detail["epoch"] == 1
    }
    assert first == pytest.approx(sum(step.batch_ms for step in fit.timings if step.epoch == 1) / 1_000)
    assert len(cut_fit.validations) == len(fit.validations) == 2


def test_max_steps_can_end_training_at_the_end_of_an_epoch():
    _, fit, records, _ = trained(is_graph=True, max_steps=3)

    assert len(metrics(records, "train/loss")) == 3 and len(fit.validations) == 1
    assert "time/epoch_s" in records[-2].metrics or "time/epoch_s" in records[-1].metrics


def test_histograms_start_with_the_initial_weights_and_do_not_change_training():
    model, _, records, _ = trained(epochs=1)
    with_histograms, _, all_records, _ = trained(epochs=1, **{"tracking.histograms": True})
    histograms = [record for record in all_records if record.kind == "histograms"]

    assert [record.step for record in histograms] == [0, 3] and all_records[0] == histograms[0]
    assert {name.split("/")[0] for name in histograms[0].detail} == {"weights"}
    untrained = {
        variable.path: variable.numpy()
        for variable in classifier(edited(Settings(), SMALL), classes=2).trainable_variables
    }
    assert {name: histogram["sum"] for name, histogram in histograms[0].detail.items()} == {
        f"weights/{path}": pytest.approx(values.astype(float).sum()) for path, values in untrained.items()
    }
    assert weights_digest(model) == weights_digest(with_histograms)
    assert metrics(records, "train/loss") == metrics(all_records, "train/loss")
