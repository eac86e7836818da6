"""Networks of images, with TensorFlow: against counts and plain computations, and one real training of each kind."""

from __future__ import annotations

import json
import threading

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src import paths, run, use
from src.config.settings import checked, edited
from src.parts.classes import errors
from src.parts.classes import figures as of_classes
from src.parts.classes.measures import measure_softmax
from src.tasks.images import figures, learning, sizes
from src.tasks.images.networks import classifier
from src.tasks.images.settings import Settings
from src.tasks.images.task import TASK
from src.training import diagnosis
from src.training.diagnosis import Evidence
from src.training.phase import Learner
from src.trial.prepare import prepare

pytestmark = pytest.mark.training
SHAPE = (7, 6, 2)
IMAGES = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
NETWORKS = ("linear", "mlp", "cnn", "densenet")


def built(shape=SHAPE, outputs=3, **changes):
    return classifier(
        edited(Settings(), {"width": 5, "growth_rate": 2, "blocks": 2, **changes}), shape=shape, outputs=outputs
    )


def relu(x):
    return np.maximum(x, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "linear"},
        {"network": "mlp", "depth": 3},
        {"network": "mlp", "batch_norm": True, "dropout": 0.5},
        {"network": "cnn"},
        {"network": "cnn", "kernel_size": 4, "pooling": "stride"},
        {"network": "cnn", "batch_norm": True, "pooling": "none", "dropout": 0.5},
        {"network": "cnn", "pooling": "average", "depth": 1},
        {"network": "densenet"},
        {"network": "densenet", "bottleneck": False, "compression": 1.0, "depth": 3, "dropout": 0.5},
        {"network": "densenet", "batch_norm": False, "pooling": "stride", "kernel_size": 2},
        {"network": "densenet", "blocks": 3, "pooling": "none", "compression": 0.01},
    ],
)
def test_the_number_of_parameters_is_known_before_tensorflow(changes):
    model = built(**changes)

    settings = edited(Settings(), {"width": 5, "growth_rate": 2, "blocks": 2, **changes})
    counted = sizes.size(settings, shape=SHAPE, outputs=3)
    assert counted.trained == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert counted.trained + counted.moving == model.count_params()


def test_the_linear_model_is_softmax_regression():
    model = built(network="linear")
    weights, biases = model.get_weights()

    np.testing.assert_allclose(model(IMAGES), IMAGES.reshape(4, -1) @ weights + biases, atol=1e-5)


def test_the_mlp_is_what_its_equation_says():
    model = built(network="mlp", depth=2)
    rng = np.random.default_rng(1)
    model.set_weights(weights := [rng.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()])

    x = IMAGES.reshape(4, -1)
    for layer in range(2):
        x = relu(x @ weights[2 * layer] + weights[2 * layer + 1])
    np.testing.assert_allclose(model(IMAGES), x @ weights[4] + weights[5], rtol=1e-4)


@pytest.mark.parametrize(("pooling", "reduce"), [("max", np.max), ("average", np.mean)])
def test_the_cnn_is_what_its_equation_says(pooling, reduce):
    model = built(network="cnn", depth=1, pooling=pooling)
    kernel, bias, head, of_head = model.get_weights()

    padded = np.pad(IMAGES, [(0, 0), (1, 1), (1, 1), (0, 0)])
    maps = np.empty((4, 7, 6, 5))
    for row, column in np.ndindex(7, 6):
        maps[:, row, column] = relu(
            np.einsum("bijc,ijcf->bf", padded[:, row : row + 3, column : column + 3], kernel) + bias
        )
    pooled = reduce(maps[:, :6].reshape(4, 3, 2, 3, 2, 5), axis=(2, 4))  # the last of 7 lines is dropped
    np.testing.assert_allclose(model(IMAGES), pooled.reshape(4, -1) @ head + of_head, atol=1e-4)


def test_each_layer_of_a_dense_block_reads_all_before_it():
    model = built(network="densenet", blocks=1, depth=3, bottleneck=False)
    parts = ["first", "block_1_layer_1", "block_1_layer_2", "block_1_layer_3"]

    outputs = [model.get_layer(name).output for name in [*parts, "block_1_layer_3_joined"]]
    *each, joined = keras.Model(model.input, outputs)(IMAGES)

    assert [one.shape[-1] for one in each] == [16, 2, 2, 2]
    np.testing.assert_array_equal(joined, np.concatenate(each, axis=-1))
    assert model.get_layer("block_1_layer_3").kernel.shape == (3, 3, 16 + 2 + 2, 2)


def test_a_transition_halves_the_image_and_the_channels():
    model = built(network="densenet", depth=2)

    assert model.get_layer("block_1_layer_2_joined").output.shape[1:] == (7, 6, 4 + 2 + 2)
    assert model.get_layer("transition_1_pooling").output.shape[1:] == (3, 3, 4)


def test_initial_weights_come_from_the_seed_and_the_name_of_their_layer_alone():
    first, again, deeper, other = (built(network="mlp", **changes) for changes in ({}, {}, {"depth": 4}, {"seed": 1}))

    def kernel(model, name):
        return model.get_layer(name).get_weights()[0]

    np.testing.assert_array_equal(kernel(first, "hidden_2"), kernel(again, "hidden_2"))
    for name in ("hidden_1", "hidden_2", "head"):
        np.testing.assert_array_equal(kernel(first, name), kernel(deeper, name))
        assert (kernel(first, name) != kernel(other, name)).all()
    assert (kernel(deeper, "hidden_2") != kernel(deeper, "hidden_3")).all()


def test_initialisers_give_what_they_say():
    kernels = {
        name: built(network="mlp", initializer=name, width=400).get_layer("hidden_1").get_weights()[0]
        for name in sizes_of()
    }

    assert not kernels["zeros"].any()
    assert 0.099 < np.abs(kernels["uniform"]).max() <= 0.1
    inputs, outputs = 84, 400
    np.testing.assert_allclose(np.abs(kernels["glorot"]).max(), np.sqrt(6 / (inputs + outputs)), rtol=0.01)
    np.testing.assert_allclose(kernels["he"].std(), np.sqrt(2 / inputs), rtol=0.02)


def sizes_of():
    return ("zeros", "uniform", "glorot", "he")


def test_from_zeros_no_gradient_reaches_a_hidden_layer():
    import tensorflow as tf

    model = built(network="mlp", initializer="zeros")
    with tf.GradientTape() as tape:
        lost, _ = measure_softmax(model(IMAGES), tf.constant([0, 1, 2, 0]))["loss"]
    gradients = dict(
        zip(
            [weight.path for weight in model.trainable_weights],
            tape.gradient(lost, model.trainable_weights),
            strict=True,
        )
    )

    assert [path for path, gradient in gradients.items() if np.any(gradient)] == ["head/bias"]


@pytest.mark.parametrize(("initializer", "told"), [("zeros", True), ("glorot", False)])
def test_a_network_whose_units_are_all_alike_is_told_so(initializer, told):
    model, untrained = (built(network="mlp", initializer=initializer) for _ in range(2))
    evidence = Evidence(Learner(model, None, TASK.metrics, Settings()), lambda: untrained, [])

    found = list(diagnosis.identical_units(evidence))

    expected = "identical units: all 5 units of hidden_1 have the same weights (zeros), before training and after it"
    assert found == [f"{expected}; draw initial weights at random"] * told


def test_dropout_and_batch_normalisation_differ_in_training_alone():
    model = built(network="cnn", dropout=0.5, batch_norm=True)

    assert np.abs(model(IMAGES, training=True) - model(IMAGES, training=False)).max() > 1e-3
    np.testing.assert_array_equal(model(IMAGES, training=False), model(IMAGES, training=False))


TOGGLES = {"epochs": 10, "learning_rate": 0.005, "width": 16, "batch_size": 25, "growth_rate": 8, "blocks": 2}
NAMES = ["study=images", "tracking=offline", "tracking.histograms=false", "data.limit=300"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A home with a study of every network on 300 digits."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("images")
        patch.setenv("ABLATION_HOME", str(home))
        patch.chdir(home)
        toggles = [f"{key}={value}" for key, value in TOGGLES.items()]
        assert run.main(["-m", "task=images", *NAMES, *toggles, f"network={','.join(NETWORKS)}"]) == 0
        yield home


def folder_of(network):
    values = {"task": "images", "network": network, "data": {"name": "digits", "limit": 300}, **TOGGLES}
    return paths.study_folder("images") / prepare(checked(values)).identity


def end_of(network):
    return json.loads((folder_of(network) / "journal.jsonl").read_text(encoding="utf-8").splitlines()[-1])


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_learns_to_read_digits(trained, network):
    end = end_of(network)

    assert end["metrics"]["test/accuracy"] > 0.4 and end["detail"]["tags"]["ablation.health"] == "ok"
    assert end["metrics"]["data/leaked_fraction"] == 0


def test_the_files_of_a_trial_agree_with_its_accuracy(trained):
    folder = folder_of("mlp")
    frame = pd.read_parquet(folder / "test_probabilities.parquet")
    names = [f"probability_{number}" for number in range(10)]

    assert (frame[names].to_numpy().argmax(1) == frame["label"]).mean() == end_of("mlp")["metrics"]["test/accuracy"]
    assert len(pd.read_parquet(folder / errors.FILE)) == errors.KEPT


def test_the_worst_errors_name_the_rows_of_the_collection(trained, capsys):
    data = TASK.load(checked({"task": "images", "data": {"name": "digits", "limit": 300}}))
    rows = pd.read_parquet(folder_of("mlp") / errors.FILE)
    capsys.readouterr()

    assert use.main([str(folder_of("mlp")), "errors", "--count", "1"]) == 0

    heading, line = capsys.readouterr().out.splitlines()
    first = rows.iloc[0]
    place = f"row {data.split('test').rows[first['row']] + 1:,} of the data"
    assert heading.split("\t")[-1] == "source" and first["is_wrong"]
    assert line.split("\t") == ["1", first["class"], first["prediction"], f"{first['probability']:.3f}", place]


def test_a_image_is_classified_as_in_the_test(trained, capsys, tmp_path):
    data = TASK.load(checked({"task": "images", "data": {"name": "digits", "limit": 300}}))
    probabilities = pd.read_parquet(folder_of("cnn") / "test_probabilities.parquet")
    row = int(probabilities["probability_0"].argmax())
    Image.fromarray(data.split("test").images[row, ..., 0]).save(tmp_path / "zero.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    capsys.readouterr()

    code = use.main([str(folder_of("cnn")), "predict", str(tmp_path / "zero.png"), str(tmp_path / "bad.png")])

    out, err = capsys.readouterr()
    expected = f"{tmp_path / 'zero.png'}: 0 {probabilities['probability_0'].max():.3f}, "
    assert code == 1 and out.startswith(expected) and out.endswith("(28 x 28 L, read as 28 x 28 grey)\n")
    assert f"error: {tmp_path / 'bad.png'}: not a PNG or JPEG image" in err


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("pipeline", ["shuffle_batch_repeat", "repeat_shuffle_batch", "batch_repeat_shuffle"])
def test_training_in_an_epoch_depends_neither_on_earlier_epochs_nor_on_prefetch(trained, pipeline, prefetch):
    used = checked({"task": "images", "pipeline": pipeline, "data": {"name": "digits", "limit": 300}})
    data = TASK.load(used)
    phase = TASK.phase(used.model_copy(update={"prefetch": prefetch}), data)

    for epoch in (1, 2, 3, 2):
        given = list(phase.training(epoch))

        assert len(given) == phase.batches_per_epoch == 5
        for batch, alone in zip(given, learning.training_batches(used, data, epoch), strict=True):
            for one, other in zip(batch, alone, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("prefetch", [0, 1])
def test_a_thread_prepares_batches_only_with_prefetch(trained, prefetch):
    used = checked({"task": "images", "prefetch": prefetch, "data": {"name": "digits", "limit": 300}})
    batches = TASK.phase(used, TASK.load(used)).training(1)

    next(batches)
    assert any(thread.name.startswith("prefetch") for thread in threading.enumerate()) == (prefetch > 0)
    batches.close()


class Study:
    """What figures ask of a study: its finished trials and their files."""

    def __init__(self, *networks):
        self.finished = pd.DataFrame(
            {"run_id": networks, "label": networks, "seed": 0, "is_reference": [True, *[False] * (len(networks) - 1)]}
        )
        self.store = self

    def artifact(self, run_id, name):
        return folder_of(run_id) / name


def test_the_figures_of_the_task_show_every_variant_and_the_worst_images_of_the_reference(trained):
    confusion, caption = of_classes.confusion(Study("mlp", "cnn"))
    assert [axes.get_title() for axes in confusion.axes] == ["mlp (n = 1)", "cnn (n = 1)"] and "percent" in caption
    diagonal = np.diag(confusion.axes[1].images[0].get_array())
    assert diagonal.mean() == pytest.approx(end_of("cnn")["metrics"]["test/accuracy"])  # of 30 images of each class

    images, caption = figures.misclassified(Study("mlp", "cnn"))
    assert len(images.axes) == errors.KEPT and caption.endswith("mlp, seed 0.")
    assert all("→" in axes.get_title() for axes in images.axes)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_trial_records_pictures_before_and_after_training(trained, network):
    lines = [
        json.loads(line) for line in (folder_of(network) / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    before, after = (line for line in lines if line["kind"] == "pictures")
    maps = ["feature_maps_first", "feature_maps_last"] if network in ("cnn", "densenet") else []

    assert before["step"] == 0 and list(before["detail"]["files"]) == ["inputs", "filters", *maps]
    assert after["step"] > 0 and list(after["detail"]["files"]) == ["filters", *maps, "misclassified", "confusion"]
    for line in (before, after):
        assert all((folder_of(network) / file).is_file() for file in line["detail"]["files"].values())


def test_the_filters_of_the_reference_are_a_figure(trained):
    for network, count, side in (("mlp", 16, 28), ("cnn", 16, 3)):
        figure, caption = figures.filters(Study(network))
        images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
        assert len(images) == count and images[0].shape == (side, side)
        assert caption.startswith(f"The first {count} filters") and caption.endswith(f"{network}, seed 0.")


def test_variants_beyond_the_panels_are_counted(trained):
    study = Study(*NETWORKS)
    study.finished = pd.concat([study.finished, study.finished.assign(label="more", is_reference=False).head(1)])

    assert "1 more variant is not shown" in of_classes.confusion(study)[1]
