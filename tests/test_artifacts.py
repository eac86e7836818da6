from __future__ import annotations

import resource
import tempfile

import pytest

from src.artifacts import PATCH, Artifacts, Preprocessing
from src.data.batching import Padding
from src.tasks.sentiment.settings import Settings

ROOM = 30_000  # bytes: enough for the model's configuration, too few for its weights


@pytest.fixture
def small_disk():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.training
def test_a_model_that_has_no_room_leaves_no_temporary_files(tmp_path, monkeypatch, request):
    from src.tasks.sentiment.model import classifier

    folder, temporary = tmp_path / "trial", tmp_path / "tmp"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    model = classifier(Settings(units=2, embedding_dim=32, vocab_size=2_000, max_length=4), classes=2)

    request.getfixturevalue("small_disk")
    with pytest.raises(OSError, match="too large"):
        Artifacts(folder).write_model(model, Preprocessing(["good"], ["a", "b"], Padding((4,), False, "post")))

    assert list(temporary.iterdir()) == [] and tempfile.tempdir == str(temporary)


def test_half_a_file_leaves_its_room_to_the_journal_and_the_file_of_before_in_its_place(tmp_path, small_disk):
    files = Artifacts(tmp_path)
    files.write_patch("of before")

    with pytest.raises(OSError, match="too large"):
        files.write_patch("x" * 2 * ROOM)

    assert [path.name for path in tmp_path.iterdir()] == [PATCH] and (tmp_path / PATCH).read_text(encoding="utf-8") == "of before"
