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


def test_half_a_file_leaves_its_room_to_the_journal_and_the_file_of_before_in_its_place(tmp_path, small_disk):
    files = Artifacts(tmp_path)
    files.write_patch("of before")

    with pytest.raises(OSError, match="too large"):
        files.write_patch("x" * 2 * ROOM)

    assert [path.name for path in tmp_path.iterdir()] == [PATCH] and (tmp_path / PATCH).read_text(
        encoding="utf-8"
    ) == "of before"
