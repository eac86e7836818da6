from __future__ import annotations

import pytest

from src.files import replaced


def test_a_finished_block_replaces_the_file_and_leaves_no_other_file(tmp_path):
    (tmp_path / "a.json").write_text("old", encoding="utf-8")

    with replaced(tmp_path / "a.json") as beside:
        beside.write_text("new", encoding="utf-8")
        assert (tmp_path / "a.json").read_text(encoding="utf-8") == "old" and beside.suffix == ".json"

    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "new"


def test_a_failed_block_leaves_the_old_file_and_no_other_file(tmp_path):
    (tmp_path / "a.json").write_text("old", encoding="utf-8")

    with pytest.raises(OSError, match="full"), replaced(tmp_path / "a.json") as beside:
        beside.write_text("half", encoding="utf-8")
        raise OSError("full")

    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("a.json", "old")]
