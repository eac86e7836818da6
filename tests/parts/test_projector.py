from __future__ import annotations

import numpy as np

from src import paths
from src.parts.words import projector
from src.spec.record import START, Record
from src.tracking import tensorboard_replay
from src.tracking.journal import FINISHED, Journal, end


def test_each_word_is_on_the_line_of_its_vector(tmp_path):
    table = np.arange(14, dtype=np.float32).reshape(7, 2)

    projector.write(tmp_path / "new", table, ["film", "a\tb\n"])

    vectors = np.loadtxt(tmp_path / "new" / "words.tsv", delimiter="\t")
    lines = (tmp_path / "new" / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert dict(zip(lines, vectors.tolist(), strict=True)) == {
        "[start]": [2, 3],
        "[unknown]": [4, 5],
        "film": [8, 9],
        "a\\tb\\n": [10, 11],
    }


def test_only_the_most_frequent_words_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "MOST", 1)
    projector.write(tmp_path, np.zeros((9, 2), np.float32), ["film", "plot"])

    assert (tmp_path / "metadata.tsv").read_text(encoding="utf-8").split() == ["[start]", "[unknown]", "film"]


def test_the_replay_of_a_finished_trial_copies_the_extra_tensorboard_files_into_its_run(home):
    folder = paths.study_folder("s") / "cafe"
    projector.write(folder / "tensorboard", np.zeros((9, 2), np.float32), ["film"])
    (folder / "tensorboard" / "events.out.tfevents.1.profile-empty").touch()
    (folder / "tensorboard" / "profile" / "now").mkdir(parents=True)
    (folder / "tensorboard" / "profile" / "now" / "vm.xplane.pb").touch()
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={"attempt": "a", "name": "seed=0", "tags": {}, "params": {}}))
        book.append(end(step=0, status=FINISHED))

    for _ in range(2):
        tensorboard_replay.replay(folder)

    run = folder.parent / "seed=0"
    assert {path.name for path in run.iterdir()} >= {"projector_config.pbtxt", "words.tsv", "metadata.tsv"}
    assert len(list(run.glob("events*"))) == 1
    assert list(folder.parent.rglob("plugins/profile/*/*")) == [run / "plugins" / "profile" / "now" / "vm.xplane.pb"]


def test_words_with_counts_have_a_header_and_one_row_each(tmp_path):
    table = np.arange(6, dtype=np.float32).reshape(3, 2)

    projector.write_counted(tmp_path, table, ["the", "a\tb", "c"], [9, 5, 1])

    rows = (tmp_path / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "word\tcount"
    assert [row.split("\t")[-1] for row in rows[1:]] == ["9", "5", "1"] and all(row.count("\t") == 1 for row in rows)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "words.tsv"), table)
