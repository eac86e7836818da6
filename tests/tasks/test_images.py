"""The task of images, without TensorFlow."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.config.settings import checked, edited
from src.data.image_options import Folder
from src.data.images import Split, Stored
from src.parts.classes import errors
from src.parts.classes import figures as of_classes
from src.parts.images import reading
from src.streams import generator
from src.tasks.images import learning, sizes, toggles, worst
from src.tasks.images.settings import Settings
from src.tasks.images.task import TASK
from src.trial.identity import identity
from src.trial.prepare import prepare
from src.trial.rules import without_inert

PIPELINES = ["_".join(steps) for steps in itertools.permutations(("shuffle", "batch", "repeat"))]
OF_HUANG = {"optimizer": "sgd", "network": "densenet"}


def settings(**changes):
    return edited(Settings(), changes)


class Known:
    """What the rules ask of a collection."""

    def __init__(self, shape=(28, 28, 1), classes=10, train=3_500):
        self.shape, self.classes = shape, [str(one) for one in range(classes)]
        self.rows = {"train": train, "validation": 500, "test": 1_000}


def refusals(changes, **of_data):
    used, _ = without_inert(settings(**changes), TASK.inert)
    used, _ = TASK.resolve(used, Known(**of_data))
    return TASK.refusals(used, Known(**of_data))


def test_the_default_trial_keeps_its_identity():
    assert identity(Settings(), TASK, data_digest="d") == "5a79ef83a6be4581"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        *(
            ({"network": "linear", key: value}, key)
            for key, value in {"width": 7, "depth": 3, "activation": "tanh", "dropout": 0.5}.items()
        ),
        ({"network": "linear", "batch_norm": True}, "batch_norm"),
        ({"network": "linear", "parameters": 10_000}, "parameters"),
        *(
            ({"network": "mlp", key: value}, key)
            for key, value in {"kernel_size": 5, "pooling": "stride", "growth_rate": 3}.items()
        ),
        *(
            ({"network": "cnn", key: value}, key)
            for key, value in {"blocks": 2, "bottleneck": False, "compression": 1.0}.items()
        ),
        ({"network": "densenet", "width": 7}, "width"),
        ({"network": "densenet", "blocks": 1, "compression": 1.0}, "compression"),
        ({"network": "densenet", "blocks": 1, "pooling": "max"}, "pooling"),
        ({"network": "densenet", "pooling": "average"}, "pooling"),
        ({"network": "densenet", "batch_norm": True}, "batch_norm"),
        ({"network": "cnn", "pooling": "max"}, "pooling"),
        ({"network": "mlp", "batch_norm": False}, "batch_norm"),
    ],
)
def test_a_toggle_without_effect_is_set_to_its_default_and_says_why(changes, key):
    used, changed = without_inert(settings(**changes), TASK.inert)

    assert getattr(used, key) == Settings.model_fields[key].default and used.network == changes["network"]
    assert key in {change.key for change in changed} and all(change.reason for change in changed)


@pytest.mark.parametrize("network", ["linear", "mlp", "cnn", "densenet"])
def test_exactly_the_toggles_without_effect_on_the_size_of_the_network_are_inert(network):
    """A second look at the same rules: what is not inert changes the counted size."""
    changes = {
        "width": 9,
        "depth": 3,
        "batch_norm": network != "densenet",
        "kernel_size": 5,
        "pooling": "none",
        "growth_rate": 3,
    }
    changes |= {"blocks": 2, "bottleneck": False, "compression": 1.0}

    def counted(**one):
        return sizes.size(settings(network=network, **one), shape=(28, 28, 1), outputs=10)

    for key, value in changes.items():
        is_inert = network not in toggles.HAVE[key]
        assert (counted(**{key: value}) == counted()) == is_inert, key


def test_what_has_an_effect_is_left_alone():
    changes = {"pooling": "average", "batch_norm": True, "kernel_size": 5, "dropout": 0.5, "width": 7}

    used, changed = without_inert(settings(network="cnn", **changes), TASK.inert)

    assert not changed and used == settings(network="cnn", **changes)


def test_the_counts_of_huangs_table_are_reproduced():
    """Huang et al., CVPR 2017, table 2: millions of parameters on CIFAR-10 (32 x 32 x 3), L layers in 3 blocks."""
    table = [
        (40, 12, False, 1.0),
        (100, 12, False, 7.0),
        (100, 24, False, 27.2),
        (100, 12, True, 0.8),
        (250, 24, True, 15.3),
        (190, 40, True, 25.6),
    ]
    for layers, growth, is_bc, millions in table:
        depth = (layers - 4) // (6 if is_bc else 3)
        changes = {"depth": depth, "growth_rate": growth, "bottleneck": is_bc, "compression": 0.5 if is_bc else 1.0}
        counted = sizes.size(settings(**OF_HUANG, **changes), shape=(32, 32, 3), outputs=10)
        assert round(counted.trained / 1e6, 1) == millions, (layers, growth)


def test_the_products_of_small_networks_are_those_counted_by_hand():
    shape = (4, 4, 1)
    assert sizes.size(settings(network="linear"), shape=shape, outputs=3).products == 16 * 3
    assert sizes.size(settings(width=5, depth=1), shape=shape, outputs=3).products == 16 * 5 + 5 * 3
    cnn = sizes.size(settings(network="cnn", width=2, depth=1), shape=shape, outputs=3)
    assert cnn.products == 16 * 9 * 2 + 2 * 2 * 2 * 3  # 16 places, then a head over 2 x 2 x 2


@pytest.mark.parametrize(("network", "key"), [("mlp", "width"), ("cnn", "width"), ("densenet", "growth_rate")])
def test_parameters_choose_the_width_that_comes_nearest(network, key):
    used, changes = TASK.resolve(settings(network=network, parameters=40_000), Known())

    def distance(value):
        return abs(sizes.trained_at(used, value, shape=(28, 28, 1), outputs=10) - 40_000)

    chosen = getattr(used, key)
    assert used.parameters is None and distance(chosen) == min(map(distance, range(1, 200)))
    assert f"{key}={chosen} is used: then " in str(changes[-1]) and "closest to parameters=40000" in str(changes[-1])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"network": "cnn", "kernel_size": 29},
            "kernel_size=29 is larger than the images, which have 28 x 28 pixels; set kernel_size=28",
        ),
        ({"network": "densenet", "kernel_size": 30}, "kernel_size=30 is larger than the images"),
        (
            {"network": "cnn", "depth": 5},
            "depth=5 halves the images 5 times, but 28 x 28 pixels allow 4; set depth=4 or less, or pooling=none",
        ),
        (
            {"network": "cnn", "depth": 6, "pooling": "stride"},
            "halves the images 6 times, but 28 x 28 pixels allow 5; set depth=5",
        ),
        (
            {"network": "densenet", "blocks": 6},
            "blocks=6 halves the images 5 times, but 28 x 28 pixels allow 4; set blocks=5 or less",
        ),
        ({"parameters": 500}, "parameters=500 cannot be reached: network=mlp has 807 to"),
        (
            {"network": "densenet", "parameters": 10**12},
            "with growth_rate from 1 to 1,024; set parameters to one of these",
        ),
        (
            {"batch_size": 4_000, "drop_remainder": True},
            "drop_remainder=true leaves no batch of 4000: there are 3500 training images",
        ),
        (
            {"pipeline": "repeat_batch_shuffle", "shuffle_buffer": 20_000},
            "would hold 1,280,000 images, at most 1,000,000 are allowed; set shuffle_buffer=15625 or less",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_its_fix(changes, text):
    (reason,) = refusals(changes)

    assert text in reason


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": "cnn", "kernel_size": 28},
        {"network": "cnn", "depth": 4},
        {"network": "cnn", "depth": 5, "pooling": "stride"},
        {"network": "cnn", "depth": 10, "pooling": "none", "width": 4},
        {"network": "densenet", "blocks": 5},
        {"kernel_size": 40},
        {"depth": 40},
        {"pipeline": "repeat_batch_shuffle", "shuffle_buffer": 15_625},
        {"pipeline": "repeat_shuffle_batch", "shuffle_buffer": 1_000_000},
        {"pipeline": "batch_shuffle_repeat", "shuffle_buffer": 1_000_000},
    ],
)
def test_what_can_run_is_not_refused(changes):
    assert refusals(changes) == []


def test_a_network_that_is_larger_than_the_memory_is_refused_with_its_megabytes(monkeypatch):
    from src.parts import sizes as of_machine

    monkeypatch.setattr(of_machine, "memory_mb", lambda: 4_096.0)

    (reason,) = refusals({"network": "cnn", "width": 4_096, "batch_size": 512})
    assert reason.startswith("network=cnn width=4096 depth=2 batch_size=512 with images of 28 x 28 x 1 needs about ")
    assert "this machine has 4,096 MB; set a smaller batch_size or width" in reason


def test_a_full_last_batch_makes_drop_remainder_inert():
    used, changes = TASK.resolve(settings(drop_remainder=True, batch_size=50), Known())

    assert not used.drop_remainder and [change.key for change in changes] == ["drop_remainder"]


def test_one_output_unit_cannot_tell_ten_classes_apart():
    used, (change,) = TASK.resolve(settings(head="sigmoid"), Known())

    assert used.head == "softmax" and "the data have 10 classes" in str(change)
    assert TASK.resolve(settings(head="sigmoid"), Known(classes=2)) == (settings(head="sigmoid"), [])


FULL = "every batch is full"
WHOLE = "one pass has"


@pytest.mark.parametrize(
    ("changes", "used", "reason"),
    [
        ({"shuffle_buffer": 3_500}, {"shuffle_buffer": None}, "one pass has 3,500 images, and null holds them all"),
        ({"shuffle_buffer": 9_999}, {"shuffle_buffer": None}, WHOLE),
        ({"shuffle_buffer": 3_499}, {}, ""),
        ({"pipeline": "batch_shuffle_repeat", "shuffle_buffer": 55}, {"shuffle_buffer": None}, "55 batches"),
        ({"pipeline": "batch_shuffle_repeat", "shuffle_buffer": 54}, {}, ""),
        (
            {"pipeline": "batch_shuffle_repeat", "shuffle_buffer": 54, "drop_remainder": True},
            {"shuffle_buffer": None},
            WHOLE,
        ),
        ({"pipeline": "batch_repeat_shuffle", "shuffle_buffer": 55}, {"shuffle_buffer": None}, WHOLE),
        ({"pipeline": "batch_repeat_shuffle", "shuffle_buffer": 56}, {}, ""),  # more than a pass is another order
        ({"pipeline": "repeat_shuffle_batch", "shuffle_buffer": 9_999}, {}, ""),
        ({"pipeline": "shuffle_repeat_batch", "batch_size": 50}, {"pipeline": "shuffle_batch_repeat"}, FULL),
        ({"pipeline": "repeat_batch_shuffle", "batch_size": 50}, {"pipeline": "batch_repeat_shuffle"}, FULL),
        ({"pipeline": "shuffle_repeat_batch"}, {}, ""),
        ({"pipeline": "repeat_batch_shuffle"}, {}, ""),
        ({"pipeline": "repeat_shuffle_batch", "batch_size": 50}, {}, ""),
        ({"pipeline": "batch_repeat_shuffle", "batch_size": 50}, {}, ""),
    ],
)
def test_what_changes_nothing_about_the_order_is_normalised_and_says_why(changes, used, reason):
    found, made = TASK.resolve(settings(**changes), Known())

    assert found == settings(**{**changes, **used}) and [change.key for change in made] == [*used]
    assert all(reason in change.reason for change in made)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_orders_that_a_buffer_of_one_makes_equal_are_one(pipeline, digits):
    given = settings(pipeline=pipeline, shuffle_buffer=1, batch_size=15)
    used, changed = without_inert(given, TASK.inert)
    is_batched = pipeline.index("batch") < pipeline.index("repeat")

    assert used.pipeline == ("shuffle_batch_repeat" if is_batched else "shuffle_repeat_batch")
    assert all("shuffle_buffer=1 does not shuffle" in change.reason for change in changed)
    for number in (1, 2):
        one, other = ([*learning.training_batches(some, digits, number)] for some in (given, used))
        assert [rows.tolist() for *_, rows in one] == [rows.tolist() for *_, rows in other]


@pytest.mark.parametrize("pipeline", ["shuffle_repeat_batch", "repeat_batch_shuffle"])
def test_orders_that_full_batches_make_equal_are_the_same(pipeline, digits):
    given = settings(pipeline=pipeline, batch_size=20)
    used, _ = TASK.resolve(given, digits)

    assert used.pipeline != pipeline
    for number in (1, 2):
        one, other = ([*learning.training_batches(some, digits, number)] for some in (given, used))
        assert [rows.tolist() for *_, rows in one] == [rows.tolist() for *_, rows in other]


def test_a_trial_records_what_its_first_epochs_hold(digits):
    found = TASK.measures(settings(pipeline="batch_shuffle_repeat", batch_size=15), digits)

    names = ("seen_fraction", "seen_once_fraction", "straddling_batches", "repeated_batches_fraction")
    assert [found[f"data/{name}"] for name in names] == [1, 1, 0, 1]
    assert (
        found["data/class_entropy"] < 0.3 < 0.7 < TASK.measures(settings(batch_size=15), digits)["data/class_entropy"]
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(tmp_path_factory.mktemp("images")))
        yield TASK.load(settings(**{"data.limit": 100}))


def epoch(data, number=1, **changes):
    found = learning.training_batches(settings(**changes), data, number)
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def test_an_epoch_holds_every_training_image_once_in_an_order_of_its_own(digits):
    orders = [epoch(digits, number, seed=seed)[2] for seed, number in ((0, 1), (0, 1), (0, 2), (1, 1))]

    assert all(sorted(order) == list(range(100)) for order in orders)
    np.testing.assert_array_equal(orders[0], orders[1])
    for one, other in itertools.combinations(orders[1:], 2):
        assert (one != other).any()


@pytest.mark.parametrize("drop", [False, True])
def test_by_default_an_epoch_is_one_permutation_of_its_own_as_it_always_was(digits, drop):
    for number in (1, 2, 7):
        order = generator(3, "order", number).permutation(100)

        rows = epoch(digits, number, seed=3, drop_remainder=drop, batch_size=64)[2]

        np.testing.assert_array_equal(rows, order[:64] if drop else order)


@pytest.mark.parametrize("augment", ["none", "shift"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_images_and_labels_follow_their_rows_in_every_order(digits, pipeline, augment):
    split = digits.split("train")
    stored = learning.CHANGES.get(augment, lambda rng, count: lambda images, rows: images)
    changed = stored(generator(0, "augment", 2), 100)(np.array(split.images), np.arange(100)) / np.float32(255)

    pixels, labels, rows = epoch(digits, 2, pipeline=pipeline, augment=augment, shuffle_buffer=9, batch_size=15)

    np.testing.assert_allclose(pixels, changed[rows], rtol=1e-6)
    np.testing.assert_array_equal(labels, split.labels[rows])


@pytest.mark.parametrize("augment", ["shift", "flip"])
def test_changed_images_come_in_the_same_order_and_are_drawn_anew_each_epoch(digits, augment):
    plain, first, again, second = (
        epoch(digits, number, augment=how) for how, number in (("none", 1), (augment, 1), (augment, 1), (augment, 2))
    )

    np.testing.assert_array_equal(plain[2], first[2])
    np.testing.assert_array_equal(first[0], again[0])
    by_row = [found[0][np.argsort(found[2])] for found in (plain, first, second)]
    assert all((one != other).any() for one, other in itertools.combinations(by_row, 2))


def test_the_seed_changes_no_split(home):
    one, other = (
        prepare(checked({"task": "images", "seed": seed, "data": {"name": "digits", "limit": 50}})) for seed in (0, 1)
    )

    assert one.data == other.data and one.identity != other.identity


def test_the_plan_says_what_was_read(digits):
    lines = TASK.summary([Settings()], digits)

    assert lines[0] == "data digits: 10 classes, grey images of 28 x 28"
    assert lines[2].split() == ["images", "100", "100", "100"] and lines[3].split() == [
        "of",
        "each",
        "class",
        "10",
        "10",
        "10",
    ]


def test_the_plan_warns_about_images_that_have_several_classes(home, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "pets"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / name / f"{number}.png")
    settings = Settings(data=Folder(path=str(folder), size=8))
    apart = TASK.summary([settings], TASK.load(settings))
    for number in range(2):
        (folder / "dog" / f"{number}.png").write_bytes((folder / "cat" / f"{number}.png").read_bytes())

    lines = TASK.summary([settings], TASK.load(settings))

    assert not any("more than one class" in line for line in apart)
    said = "2 different images have more than one class, such as 'cat' and 'dog'; no model can tell which is right"
    assert f"warning: {said}" in lines


def test_the_worst_images_are_those_whose_own_class_has_the_least_probability():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])

    assert worst.worst(probabilities, np.array([0, 0, 1, 1]), 3).tolist() == [1, 2, 0]


def test_the_worst_images_are_shown_with_their_classes_and_kept_with_their_pixels(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 3, 2, 1)).astype(np.uint8)
    split = Split(pixels, np.array([0, 1, 1, 0, 1], np.int32), np.arange(5))
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]])

    data = SimpleNamespace(split=lambda name: split, names=list, classes=["cat", "dog"], shape=(3, 2, 1))
    worst.write(tmp_path, data, probabilities)

    frame = pd.read_parquet(tmp_path / errors.FILE)
    assert frame["source_row"].tolist() == [3, 4, 5, 2, 1] and set(frame["source"]) == {""}
    assert frame["row"].tolist() == [2, 3, 4, 1, 0] and frame["is_wrong"].tolist() == [True, True, True, False, False]
    assert frame.loc[0, ["class", "prediction", "probability"]].tolist() == ["dog", "cat", 0.7]
    np.testing.assert_array_equal(np.frombuffer(frame.loc[0, "pixels"], np.uint8).reshape(3, 2, 1), pixels[2])


def test_samples_say_which_image_was_taken_for_what(digits):
    probabilities = np.full((100, 10), 0.1)
    probabilities[7] = [0.99, *[0.01 / 9] * 9] if digits.split("test").labels[7] else [0.01 / 9] * 9 + [0.99]

    found = worst.samples(digits, "test", probabilities)

    assert found[0]["row"] == 7 and found[0]["image"] == f"row {digits.split('test').rows[7] + 1:,} of the data"
    assert found[0]["prediction"] != found[0]["class"] and len(found) == worst.SHOWN
    text = worst.markdown(found)
    assert "Worst-classified images of the test split" in text and "(**wrong**)" in text and "0.990" in text


def test_a_confusion_matrix_counts_predictions_by_class():
    frame = pd.DataFrame(
        {"label": [0, 0, 0, 2], "probability_0": [0.8, 0.8, 0.1, 0], "probability_1": [0.1, 0.1, 0.7, 0]}
    )
    frame["probability_2"] = 1 - frame["probability_0"] - frame["probability_1"]
    frame["prediction"] = [0, 0, 1, 2]

    np.testing.assert_allclose(of_classes.matrix(frame), [[2 / 3, 1 / 3, 0], [0, 0, 0], [0, 0, 1]])


def test_how_images_are_read_is_read_again(tmp_path):
    known = reading.Reading(["a", "b"], [4, 5, 3], [0.5, 1.0, 2.0], [0.0, 0.0, 1.0])
    reading.write(tmp_path, known)

    assert reading.load(tmp_path) == known and known.mode == "rgb"


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"classes": ["a"], "shape": [1, 1, 1], "factor": [1], "offset": [0]}'),
        '{"classes": ["a", "b"], "shape": [-1, 1, 1], "factor": [1], "offset": [0]}',
        '{"classes": ["a", "b"], "shape": [1, 1.5, 1], "factor": [1], "offset": [0]}',
    ],
)
def test_a_broken_record_of_how_images_are_read_is_refused(tmp_path, text):
    (tmp_path / reading.FILE).write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match="it does not say how a model reads images"):
        reading.load(tmp_path)
    with pytest.raises(ValueError, match="has the trial finished"):
        reading.load(tmp_path / "x")


def test_a_toggle_of_texts_is_refused_with_the_tasks_that_have_it():
    with pytest.raises(ValueError, match="sentiment"):
        checked({"task": "images", "vocab_size": 7})


def test_growth_of_zero_is_refused():
    with pytest.raises(ValueError, match="growth_rate: got 0"):
        settings(growth_rate=0)


def test_a_collection_is_found_by_what_it_is(digits):
    assert isinstance(digits, Stored) and TASK.measures(Settings(), digits)["data/leaked_fraction"] == 0.0
    assert TASK.dataset(Settings(), digits)["rows"] == {"train": 100, "validation": 100, "test": 100}
