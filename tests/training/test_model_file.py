from __future__ import annotations

import tempfile

import keras
import pytest

from src.training import model_file

pytestmark = pytest.mark.training


def test_a_model_that_does_not_fit_on_the_disk_leaves_no_temporary_files(tmp_path, monkeypatch, request):
    folder, temporary = tmp_path / "trial", tmp_path / "tmp"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(400)])

    request.getfixturevalue("small_disk")
    with pytest.raises(OSError, match="too large"):
        model_file.write(folder, model)

    assert list(folder.iterdir()) == list(temporary.iterdir()) == [] and tempfile.tempdir == str(temporary)
