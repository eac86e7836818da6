from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from src.artifacts import PATCH, Artifacts


def test_an_incomplete_file_frees_its_space_and_leaves_the_old_file(tmp_path, small_disk):
    files = Artifacts(tmp_path)
    files.write_patch("of before")

    with pytest.raises(OSError, match="too large"):
        files.write_patch("x" * 60_000)

    assert [path.name for path in tmp_path.iterdir()] == [PATCH] and (tmp_path / PATCH).read_text(
        encoding="utf-8"
    ) == "of before"


def test_pictures_are_written_as_they_are_and_named_by_their_content(tmp_path):
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (5, 4), np.uint8), rng.integers(0, 256, (2, 3, 3), np.uint8)

    files = Artifacts(tmp_path).write_pictures(7, {"Feature maps/1": grey, "colour": colour})

    assert files["Feature maps/1"].startswith("pictures/feature_maps_1_7_")
    for name, pixels in (("Feature maps/1", grey), ("colour", colour)):
        with Image.open(tmp_path / files[name]) as opened:
            np.testing.assert_array_equal(np.asarray(opened), pixels)
    other = Artifacts(tmp_path).write_pictures(7, {"colour": 255 - colour})
    assert other["colour"] != files["colour"] and (tmp_path / files["colour"]).is_file()
    Artifacts(tmp_path).remove_pictures()
    assert not list(tmp_path.iterdir())


def test_a_picture_of_many_colours_has_one_byte_a_pixel(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)

    (file,) = Artifacts(tmp_path).write_pictures(0, {"noise": noise}).values()

    assert (tmp_path / file).stat().st_size < 1.02 * 300 * 300


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8), np.zeros((1_025, 2), np.uint8)],
)
def test_other_arrays_are_no_pictures(tmp_path, pixels):
    with pytest.raises(ValueError, match=r"the picture 'x' is .*; allowed: uint8\[H, W\] or uint8\[H, W, 3\]"):
        Artifacts(tmp_path).write_pictures(0, {"x": pixels})
