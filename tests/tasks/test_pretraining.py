"""The task of pre-training: labels, pretexts, networks, what stays frozen, baselines and refusals."""

from __future__ import annotations

import hashlib
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from src import use
from src.config.settings import edited
from src.data import images
from src.data.image_batches import Scaling
from src.data.image_options import Digits
from src.data.images import Stored
from src.parts.classes import figures as of_classes
from src.parts.classes import labelled
from src.parts.images import reading
from src.spec.metric import LOSS
from src.spec.record import START, Record
from src.tasks.pretraining import (
    baselines,
    commands,
    drawn,
    figures,
    learning,
    networks,
    pictures,
    pretexts,
    sizes,
    toggles,
)
from src.tasks.pretraining.first import first
from src.tasks.pretraining.settings import FITTED, TRAINED, Settings, frozen_layers
from src.tasks.pretraining.task import TASK
from src.tracking.journal import FINISHED, Journal, end
from src.training.phase import Learner
from src.training.update import new_optimizer, updater
from src.trial.rules import without_inert

SHAPE = (8, 8, 1)
SMALL = {"width": 3, "code_size": 4, "batch_size": 6, "pretext_batch_size": 6, "steps_per_epoch": 3}
RNG = np.random.default_rng(0)
PRETEXTS = ["none", "random", *TRAINED]
LABELS = np.arange(60) % 3


def settings(**changes):
    return edited(Settings(), {**SMALL, **changes})


def normalised(**changes):
    return without_inert(settings(**changes), TASK.inert)[0]


@pytest.fixture(scope="module")
def stored(shared_home):
    """Returns 200 training digits, and held-out ones."""
    return images.load(Digits(limit=200))


# Labels


def test_labels_are_drawn_from_each_class_alike_and_few_are_among_more():
    few, more = (labelled.rows(settings(labels=count), LABELS) for count in (2, 7))

    assert np.bincount(LABELS[few]).tolist() == [2, 2, 2] and np.bincount(LABELS[more]).tolist() == [7, 7, 7]
    assert set(few) < set(more)
    assert labelled.rows(settings(), LABELS).tolist() == list(range(60))


def test_labels_have_a_seed_of_their_own_which_is_by_default_that_of_the_trial():
    def rows(**seeds):
        return labelled.rows(settings(labels=3, **seeds), LABELS).tolist()

    assert rows(seed=0) != rows(seed=1)
    assert rows(seed=0, label_seed=5) == rows(seed=1, label_seed=5) == rows(seed=5)


def test_an_epoch_with_labels_has_its_steps_and_repeats_few_images_in_new_orders():
    chosen = settings(labels=3, steps_per_epoch=4)
    first_epoch, second = (list(learning.labelled_batches(chosen, LABELS, epoch)) for epoch in (1, 2))

    assert [len(batch) for batch in first_epoch] == [6] * 4
    counts = np.unique(np.concatenate(first_epoch), return_counts=True)
    assert counts[0].tolist() == labelled.rows(chosen, LABELS).tolist() and set(counts[1]) <= {2, 3}
    assert np.concatenate(first_epoch).tolist() != np.concatenate(second).tolist()
    tiny = list(learning.labelled_batches(settings(labels=1), LABELS, 1))
    assert [sorted(LABELS[batch]) for batch in tiny] == [[0, 1, 2]] * 3


# What the pretext sees


@pytest.mark.parametrize("pretext", TRAINED)
def test_a_pretext_reads_no_validation_or_test_image(stored, monkeypatch, pretext):
    asked, split = [], Stored.split
    monkeypatch.setattr(Stored, "split", lambda self, name: asked.append(name) or split(self, name))
    chosen = first(normalised(pretext=pretext)).settings

    phase = learning.without_labels(chosen, stored)
    batches = [*phase.training(1), *phase.held_out["validation"](), *phase.held_out["test"]()]

    assert set(asked) == {"train"} and len(batches) > 3
    if pretext == "autoencoder":
        known = {image.tobytes() for image in learning.scale(stored)(split(stored, "train").images)}
        assert {image.numpy().tobytes() for inputs, _, _ in batches for image in inputs} <= known


def test_the_images_that_validate_a_pretext_do_not_train_it_and_smaller_draws_are_within_larger_ones():
    train, validation = drawn.unlabelled(settings(unlabelled=50), 60)
    fewer, _ = drawn.unlabelled(settings(unlabelled=20), 60)

    assert (len(train), len(validation)) == (45, 5) and not set(train) & set(validation)
    assert set(fewer) <= set(train) | set(validation)
    assert drawn.unlabelled(settings(seed=1, unlabelled=50), 60)[0].tolist() != train.tolist()


def test_the_changes_of_a_pretext_are_new_in_each_epoch_and_fixed_in_validation(stored):
    phase = learning.without_labels(first(normalised(pretext="denoising")).settings, stored)

    def inputs(batches):
        return [batch[0].numpy().tobytes() for batch in batches]

    assert inputs(phase.training(1)) == inputs(phase.training(1)) != inputs(phase.training(2))
    assert inputs(phase.held_out["validation"]()) == inputs(phase.held_out["validation"]())


# Pretexts


def test_denoising_blackens_whole_pixels_of_about_the_share():
    x = np.ones((50, 8, 8, 3), np.float32)
    inputs, (targets, counted) = pretexts.corrupted(x, settings(corruption=0.3), np.random.default_rng(1))

    assert abs(float((inputs == 0).mean()) - 0.3) < 0.03 and (targets == x).all() and (counted == 1).all()
    assert (inputs.min(axis=3) == inputs.max(axis=3)).all()


@pytest.mark.parametrize("hole_loss", ["hole", "all"])
def test_inpainting_has_one_square_hole_and_counts_it_or_everything(hole_loss):
    x = np.ones((40, 8, 6, 1), np.float32)
    inputs, (_, counted) = pretexts.holed(x, settings(hole=3, hole_loss=hole_loss), np.random.default_rng(1))

    for image in inputs[..., 0]:
        rows, columns = np.nonzero(image == 0)
        assert len(rows) == 9 and np.ptp(rows) == np.ptp(columns) == 2
    assert (counted == ((inputs == 0) if hole_loss == "hole" else 1)).all()
    assert len({image.tobytes() for image in inputs}) > 10


def test_rotations_are_quarter_turns_and_all_occur():
    x = RNG.random((30, 5, 5, 1), np.float32)
    inputs, turns = pretexts.turned(x, settings(), np.random.default_rng(1))

    for image, turned, turn in zip(x, inputs, turns, strict=True):
        np.testing.assert_array_equal(turned, np.rot90(image, turn))
    assert set(turns) == {0, 1, 2, 3}


@pytest.mark.parametrize("reconstruction", ["sigmoid_bce", "sigmoid_mse", "linear_mse", "relu_mse"])
def test_the_loss_of_a_reconstruction_is_that_of_numpy(reconstruction):
    outputs, targets = RNG.normal(size=(4, 3, 3, 2)).astype(np.float32), RNG.random((4, 3, 3, 2), np.float32)
    counted = (RNG.random((4, 3, 3, 1)) < 0.5).astype(np.float32)
    measured = pretexts.of_pixels(settings(reconstruction=reconstruction))(outputs, (targets, counted))

    sigmoid = 1 / (1 + np.exp(-outputs.astype(np.float64)))
    made = {"sigmoid": sigmoid, "linear": outputs, "relu": np.maximum(outputs, 0)}[reconstruction.split("_")[0]]
    squared = (made - targets) ** 2
    crossed = -targets * np.log(sigmoid) - (1 - targets) * np.log(1 - sigmoid)
    chosen = np.broadcast_to(counted == 1, targets.shape)
    for name, expected in ((LOSS.name, crossed if reconstruction == "sigmoid_bce" else squared), ("mse", squared)):
        values, weights = (np.asarray(part) for part in measured[name])
        np.testing.assert_allclose(values.sum() / weights.sum(), expected[chosen].mean(), rtol=1e-5)


def test_the_loss_of_views_is_that_of_the_papers_equation():
    one, two = (RNG.normal(size=(5, 4)).astype(np.float32) for _ in range(2))
    values, weights = pretexts.of_views(settings(temperature=0.3))((one, two), None)[LOSS.name]

    z = np.concatenate([one, two]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similar = np.exp(z @ z.T / 0.3)
    own = [-np.log(similar[i, (i + 5) % 10] / (similar[i].sum() - similar[i, i])) for i in range(10)]
    np.testing.assert_allclose(values, [(own[i] + own[i + 5]) / 2 for i in range(5)], rtol=1e-4)
    assert np.asarray(weights).tolist() == [1] * 5


# Networks


@pytest.mark.parametrize("encoder", ["mlp", "cnn"])
def test_encoder_and_classifier_are_the_same_for_every_pretext(encoder):
    def described(pretext, **changes):
        model = networks.classifier(normalised(pretext=pretext, encoder=encoder, **changes), shape=SHAPE, outputs=3)
        return [(weight.path, weight.shape, weight.numpy().tobytes()) for weight in model.weights]

    for pretext in PRETEXTS[1:]:
        assert described(pretext) == described("none"), pretext
    assert described("autoencoder", tune="all") == described("none")
    for pretext in TRAINED:
        of_pretext = networks.pretext(normalised(pretext=pretext, encoder=encoder), shape=SHAPE).get_layer("encoder")
        alone = [(weight.path, weight.shape, weight.numpy().tobytes()) for weight in of_pretext.weights]
        assert alone == described("none")[: len(alone)], pretext


@pytest.mark.parametrize("encoder", ["mlp", "cnn"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_number_of_parameters_is_known_before_tensorflow(encoder, batch_norm):
    chosen = settings(encoder=encoder, batch_norm=batch_norm, tune="all", depth=3, dropout=0.1)
    model = networks.classifier(chosen, shape=SHAPE, outputs=3)

    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert sizes.classifier(chosen, shape=SHAPE, outputs=3).trained == trained


@pytest.mark.parametrize("encoder", ["mlp", "cnn"])
@pytest.mark.parametrize("decoder", ["transpose", "upsample"])
def test_a_reconstruction_has_the_shape_of_the_image(encoder, decoder):
    model = networks.pretext(settings(encoder=encoder, decoder=decoder, depth=3), shape=(16, 8, 3))

    assert model.output.shape == (None, 16, 8, 3)


def hashes(model):
    return {variable.path: hashlib.sha256(variable.numpy().tobytes()).hexdigest() for variable in model.variables}


@pytest.mark.parametrize("encoder", ["mlp", "cnn"])
@pytest.mark.parametrize(
    ("tune", "learning"),
    [
        ({"tune": "head"}, {"standardised", "head"}),
        ({"tune": "last_n"}, {"code", "standardised", "head"}),
        ({"tune": "last_n", "tuned_layers": 2}, {"hidden_2", "code", "standardised", "head"}),
        ({"tune": "all"}, {"hidden_1", "hidden_2", "code", "standardised", "head"}),
    ],
)
def test_training_changes_what_is_tuned_and_no_bit_of_what_is_frozen(encoder, tune, learning):
    chosen = settings(encoder=encoder, batch_norm=True, dropout=0.3, execution="eager", **tune)
    model = networks.classifier(chosen, shape=SHAPE, outputs=3)
    phase = type("Phase", (), {"is_eager": True, "signature": None, "minimises_sum": False, "real_positions": None})()
    phase.measure = pretexts.measure_softmax
    learner, before = Learner(model, phase, TASK.metrics, chosen), hashes(model)
    update = updater(learner, on_trace=lambda: None, optimizer=new_optimizer(model, chosen))
    x, y = tf.constant(RNG.random((6, *SHAPE), np.float32)), tf.constant([0, 1, 2, 0, 1, 2])

    for _ in range(3):
        update(x, y, True)

    changed = {path.split("/")[0] for path, digest in hashes(model).items() if digest != before[path]}
    changed = {name for name in changed if not name.startswith("seed_generator")}  # of the tuned dropout, see below
    assert {name.removesuffix("_norm").removesuffix("_dropout") for name in changed} == learning
    frozen = frozen_layers(chosen)
    assert [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [
        f"hidden_{number}_dropout" for number in (1, 2) if number > frozen
    ]


def test_a_classifier_takes_over_every_weight_of_the_encoder():
    of_pretext = networks.pretext(settings(batch_norm=True, dropout=0.1), shape=SHAPE)
    of_pretext.set_weights([RNG.random(weight.shape) for weight in of_pretext.get_weights()])
    model = networks.classifier(settings(batch_norm=True), shape=SHAPE, outputs=3)
    networks.take_over(model, of_pretext)

    x = RNG.random((2, *SHAPE), np.float32)
    encoder = keras.Model(model.input, model.get_layer("code").output)
    np.testing.assert_allclose(encoder(x), of_pretext.get_layer("encoder")(x), rtol=1e-5)


# Baselines


@pytest.mark.parametrize("pretext", FITTED)
def test_a_baseline_is_scikit_learns_regression_with_the_best_strength_in_validation(stored, pretext):
    chosen = normalised(pretext=pretext, labels=5)
    assert learning.with_labels(chosen, stored).is_fitted  # its steps change nothing, and their times mean nothing
    assert not learning.with_labels(normalised(pretext="none", labels=5), stored).is_fitted
    model = TASK.model(chosen, stored)
    parts = {name: stored.split(name) for name in ("train", "validation", "test")}
    flat = {name: part.images.reshape(len(part.images), -1) / 255 for name, part in parts.items()}
    if pretext == "pca":
        fitted = PCA(4, svd_solver="full").fit(flat["train"])
        flat = {name: fitted.transform(values) for name, values in flat.items()}
    rows = labelled.rows(chosen, parts["train"].labels)
    best, score = None, -1.0
    for strength in baselines.STRENGTHS:
        one = LogisticRegression(C=strength, max_iter=1_000, tol=1e-3).fit(
            flat["train"][rows], parts["train"].labels[rows]
        )
        if (value := one.score(flat["validation"], parts["validation"].labels)) > score:
            best, score = one, value

    outputs = np.asarray(model(learning.scale(stored)(parts["test"].images)))

    assert (outputs.argmax(axis=1) == best.predict(flat["test"])).mean() > 0.99
    assert float(TASK.optimizer(model, chosen).learning_rate) == 0


# Rules


class Known:
    """What the rules ask of a collection."""

    def __init__(self, shape=(28, 28, 1), counts=(350,) * 10):
        self.shape, self.classes = shape, [str(one) for one in range(len(counts))]
        self.counts = {"train": list(counts)}
        self.rows = {"train": sum(counts)}


def refusals(changes, **of_data):
    used = without_inert(edited(Settings(), changes), TASK.inert)[0]
    used, _ = TASK.resolve(used, Known(**of_data))
    return TASK.refusals(used, Known(**of_data))


@pytest.mark.parametrize(
    ("changes", "of_data", "text"),
    [
        ({"labels": 400}, {}, "labels=400: class '0' has 350 training images; set labels=350 or less, or labels=null"),
        ({"labels": 9}, {"counts": (10, 8)}, "class '1' has 8 training images; set labels=8 or less"),
        ({"unlabelled": 4_000}, {}, "unlabelled=4000: there are 3,500 training images; set unlabelled=3500 or less"),
        (
            {"tune": "last_n", "tuned_layers": 5},
            {},
            "tuned_layers=5: the encoder has 3 layers, depth=2 and the code; set tuned_layers=3 or less, or tune=all",
        ),
        (
            {"depth": 3},
            {},
            "depth=3 halves 28 x 28 pixels to 4 x 4, rounding up, from which the decoder makes 32 x 32; set depth=1 or "
            "2, or resize the images: images of 24 or 32 pixels work, as all multiples of 8 do",
        ),
        (
            {"depth": 1},
            {"shape": (27, 27, 1)},
            "to 14 x 14, rounding up, from which the decoder makes 28 x 28; set encoder",
        ),
        ({"depth": 6, "pretext": "none"}, {}, "depth=6 halves the images 6 times, but 28 x 28 pixels allow 5"),
        (
            {"kernel_size": 30},
            {},
            "kernel_size=30 is larger than the images, which have 28 x 28 pixels; set kernel_size=28",
        ),
        ({"pretext": "inpainting", "hole": 28}, {}, "hole=28 leaves nothing of the images"),
        ({"pretext": "rotation"}, {"shape": (28, 24, 1)}, "turns images by 90 degrees, but they have 28 x 24 pixels"),
        ({"pretext": "simclr", "accumulate": 2}, {}, "accumulate=2 does not work with pretext=simclr"),
        ({"pretext": "pca", "code_size": 800}, {}, "code_size=800: images have 784 numbers; set code_size=784 or less"),
    ],
)
def test_what_cannot_run_is_refused_with_its_fix(changes, of_data, text):
    (reason,) = refusals(changes, **of_data)

    assert text in reason


def test_what_can_run_is_not_refused():
    for changes in ({}, {"depth": 3, "pretext": "simclr"}, {"depth": 3, "encoder": "mlp"}, {"labels": 350}):
        assert refusals(changes) == []
    assert refusals({"depth": 3}, shape=(32, 32, 3)) == []


def test_a_code_as_large_as_the_image_is_allowed_without_noise_and_warned_about():
    (line,) = toggles.warnings(settings(code_size=784), shape=(28, 28, 1))

    assert "warning: code_size=784 is no smaller than an image of 784 numbers" in line
    assert toggles.warnings(settings(code_size=784, pretext="denoising"), shape=(28, 28, 1)) == []
    assert refusals({"code_size": 784}) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"pretext": "denoising", "corruption": 0.0}, {"pretext": "autoencoder"}),
        ({"pretext": "none", "tune": "head", "pretext_epochs": 5}, {"pretext": "none"}),
        ({"pretext": "random", "tune": "all", "unlabelled": 50}, {"pretext": "random"}),
        ({"tune": "last_n", "tuned_layers": 3}, {"tune": "all"}),
        ({"labels": None, "label_seed": 3}, {}),
        ({"pretext": "pixels", "learning_rate": 0.5, "width": 9, "epochs": 3}, {"pretext": "pixels"}),
        ({"pretext": "rotation", "reconstruction": "relu_mse", "hole": 3}, {"pretext": "rotation"}),
    ],
)
def test_equal_trials_have_equal_settings(one, other):
    assert normalised(**one) == normalised(**other)


def test_all_labels_are_null():
    used, changes = TASK.resolve(edited(Settings(), {"labels": 350, "label_seed": 1}), Known())

    assert (used.labels, used.label_seed) == (None, None) and len(changes) == 2


@pytest.mark.parametrize(
    "key", ["labels", "label_seed", "tune", "tuned_layers", "steps_per_epoch", "epochs", "batch_size"]
)
def test_what_only_the_classifier_reads_does_not_change_the_pretext(key):
    value = {"labels": 3, "label_seed": 4, "tune": "all"}.get(key, 2)

    assert first(settings(**{key: value})).settings == first(settings()).settings
    assert first(settings(pretext_epochs=2)).settings.epochs == 2 and first(settings(pretext="none")) is None


# Pictures, figures, commands


@pytest.mark.parametrize("pretext", TRAINED)
def test_every_pretext_has_a_picture(stored, pretext):
    chosen = first(normalised(pretext=pretext)).settings
    found = pictures.of_pretext(chosen, stored, networks.pretext(chosen, shape=stored.shape))

    (picture,) = found.values()
    assert picture.dtype == np.uint8 and picture.shape[1:] == (348, 3) and picture.std() > 5


def test_codes_are_drawn_by_their_two_principal_components(stored):
    model = networks.classifier(settings(), shape=stored.shape, outputs=10)
    found, labels = pictures.codes(model, stored)

    points = pictures.flat(found)
    np.testing.assert_allclose(np.abs(points), np.abs(PCA(2).fit_transform(found)), atol=1e-4)
    picture = pictures.scatter(points, labels, stored.classes, caption="codes")
    assert {tuple(colour) for colour in picture.reshape(-1, 3).tolist()} >= set(pictures.COLOURS)
    assert pictures.flat(found[:, :1]).shape == (len(found), 2)


class Study:
    """What the figures ask of a study."""

    def __init__(self, rows, folder=Path(), toggles=("pretext", "labels", "epochs")):
        self.finished, self.toggles, self.store = pd.DataFrame(rows), list(toggles), self
        self._folder = folder

    def artifact(self, run_id, name):
        path = self._folder / name
        return path if path.is_file() else None


def test_the_figure_of_accuracy_has_a_line_with_intervals_for_each_pretext():
    rows = [
        {
            "pretext": pretext,
            "labels": labels,
            "epochs": 100 // labels,
            "data/labels": 10 * labels,
            "seed": seed,
            "test/accuracy": 0.5 + 0.01 * seed,
        }
        for pretext in ("none", "denoising")
        for labels in (1, 10, 100)
        for seed in range(3)
    ]
    figure, caption = of_classes.accuracy_by_labels(Study(rows))

    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "denoising"]
    for container in axes.containers:
        np.testing.assert_allclose(container[0].get_ydata().astype(float), [0.51] * 3)
        low, high = container[2][0].get_segments()[0][:, 1]
        np.testing.assert_allclose([low, high], 0.51 + np.array([-1, 1]) * 4.302653 * 0.01 / np.sqrt(3), rtol=1e-5)
    assert "95 % interval over 3 seeds" in caption
    assert of_classes.accuracy_by_labels(Study(rows[:3])) is None


def test_the_lines_of_the_figure_have_the_values_of_commands_and_none_of_toggles_that_follow_others():
    kinds = [("none", None, True), ("simclr", 30, True), ("simclr", 30, False)]
    rows = [
        {"pretext": pretext, "pretext_epochs": epochs, "trainable": is_trainable, "rate": rate, "labels": labels}
        | {"data/labels": 10 * labels, "seed": seed, "test/accuracy": 0.5 + 0.01 * seed}
        for pretext, epochs, is_trainable in kinds
        for rate in (0.5, None)
        for labels in (1, 10)
        for seed in range(2)
    ]
    figure, _ = of_classes.accuracy_by_labels(
        Study(rows, toggles=("pretext_epochs", "pretext", "trainable", "rate", "labels"))
    )

    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        f"{kind}, {rate}" for kind in ("none, true", "simclr, true", "simclr, false") for rate in ("0.5", "null")
    ]
    assert figure.legends[0].get_title().get_text() == "pretext, trainable, rate"


def test_reconstruct_writes_image_input_and_output(stored, tmp_path, capsys):
    chosen = normalised(pretext="inpainting")
    model = networks.pretext(chosen, shape=stored.shape)
    model.save(tmp_path / commands.FILE)
    (tmp_path / "settings.json").write_text(chosen.model_dump_json(), encoding="utf-8")
    scale = Scaling(np.array([1 / 255], np.float32), np.zeros(1, np.float32))
    reading.write(tmp_path, reading.Reading(stored.classes, [*stored.shape], scale.factor.tolist(), [0.0]))
    digit = stored.split("test").images[0]
    Image.fromarray(digit[..., 0]).save(tmp_path / "digit.png")

    commands.reconstruct(tmp_path, tmp_path / "digit.png", to=tmp_path / "out.png")

    shown = np.asarray(Image.open(tmp_path / "out.png"))[::4, ::4]
    image, read, made = np.split(shown, 3, axis=1)
    np.testing.assert_array_equal(image, digit[..., 0])
    assert ((read == image) | (read == 0)).all() and (read != image).any()
    expected = np.asarray(pretexts.finished(model(read[None, ..., None] / np.float32(255)), chosen))[0, ..., 0]
    np.testing.assert_allclose(made, expected * 255, atol=1)
    assert "squared error" in capsys.readouterr().out
    (tmp_path / "settings.json").write_text(settings(pretext="rotation").model_dump_json(), encoding="utf-8")


def test_reconstruct_says_which_trials_it_needs(tmp_path, capsys):
    (tmp_path / "settings.json").write_text(settings(pretext="none").model_dump_json(), encoding="utf-8")
    for name in ("images.json", "model.keras"):
        (tmp_path / name).write_text("", encoding="utf-8")

    with Journal(tmp_path) as book:
        book.append(Record(START, 0, detail={"attempt": "one"}))
        book.append(end(step=1, status=FINISHED, artifacts=[]))

    assert use.main([str(tmp_path), "reconstruct", "digit.png"]) == 2

    says = "the trial has pretext=none, which reconstructs no images; use a trial with pretext=autoencoder, denoising"
    assert says in capsys.readouterr().err


def test_files_of_figures_are_those_of_the_trial(stored, tmp_path):
    chosen = normalised(pretext="denoising")
    model, of_pretext = (
        build(chosen, shape=stored.shape, **more)
        for build, more in ((networks.classifier, {"outputs": 10}), (networks.pretext, {}))
    )

    assert pictures.write(tmp_path, chosen, stored, model, of_pretext) == [pictures.CODES, pictures.RECONSTRUCTIONS]

    rows = [{"run_id": "r", "label": "x", "is_reference": True, "seed": 0}]
    for draw in (figures.codes, figures.reconstructions):
        figure, _ = draw(Study(rows, tmp_path))
        assert figure.axes[0].get_title() == "x"


@pytest.mark.parametrize("state", ["installed", "broken", "missing"])
def test_codes_are_drawn_by_umap_where_it_is_installed(stored, tmp_path, monkeypatch, state, caplog):
    class Umap:
        def __init__(self, **options):
            self.seed = options["random_state"]

        def fit_transform(self, found):
            if state == "broken":
                raise RuntimeError("numba is too old")
            return np.full((len(found), 2), self.seed, np.float32)

    module = types.ModuleType("umap")
    module.UMAP, module.__spec__ = Umap, ModuleSpec("umap", None)
    monkeypatch.setitem(sys.modules, "umap", None if state == "missing" else module)
    monkeypatch.setattr(pictures, "NEIGHBOURS", 3)
    chosen = normalised(pretext="random", seed=5)
    model = networks.classifier(chosen, shape=stored.shape, outputs=10)

    assert pictures.write(tmp_path, chosen, stored, model, None) == [pictures.CODES]

    study = Study([{"run_id": "r", "label": "x", "is_reference": True, "seed": 5}], tmp_path)
    if state == "installed":
        figure, caption = figures.codes_by_umap(study)
        assert (figure.axes[0].collections[0].get_offsets() == 5).all() and "by UMAP" in caption
    else:
        assert figures.codes_by_umap(study) is None
        assert ("no coordinates by UMAP" in caplog.text) == (state == "broken")
    assert figures.codes(study)[0].axes[0].get_title() == "x"
