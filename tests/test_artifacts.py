from __future__ import annotations

import resource

import pytest

from src.artifacts import PATCH, Artifacts

ROOM = 30_000  # bytes


@pytest.fixture
def small_disk():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_incomplete_file_frees_its_space_and_leaves_the_old_file(tmp_path, small_disk):
    files = Artifacts(tmp_path)
    files.write_patch("of before")

    with pytest.raises(OSError, match="too large"):
        files.write_patch("x" * 2 * ROOM)

    assert [path.name for path in tmp_path.iterdir()] == [PATCH] and (tmp_path / PATCH).read_text(
        encoding="utf-8"
    ) == "of before"
