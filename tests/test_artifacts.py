from __future__ import annotations

import pytest

from src.artifacts import PATCH, Artifacts


def test_an_incomplete_file_frees_its_space_and_leaves_the_old_file(tmp_path, small_disk):
    files = Artifacts(tmp_path)
    files.write_patch("of before")

    with pytest.raises(OSError, match="too large"):
        files.write_patch("x" * 60_000)

    assert [path.name for path in tmp_path.iterdir()] == [PATCH] and (tmp_path / PATCH).read_text(
        encoding="utf-8"
    ) == "of before"
