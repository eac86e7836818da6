from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest

from src.data import encoded
from src.data.corpora import CORPORA, DataError
from src.data.splits import SPLITS
from src.settings import AclImdb, KerasImdb, MovieReviews, Table
from tests.conftest import write_table


def read(options):
    return CORPORA[options.name].read(options)


def options(path, **more):
    return Table.model_validate({"path": str(path), **more})


def test_movie_reviews_are_split_by_position_within_each_class():
    corpus = read(MovieReviews())

    assert {name: np.bincount(part.labels).tolist() for name, part in corpus.splits.items()} == {
        "train": [8_750, 8_750],
        "validation": [1_250, 1_250],
        "test": [2_500, 2_500],
    }
    texts = [set(part.texts) for part in corpus.splits.values()]
    assert len(texts[0] & texts[2]) < 0.01 * 5_000  # the corpus itself repeats a few reviews


def test_aclimdb_reads_the_files_in_the_order_of_their_numbers(tmp_path):
    for part in ("train/neg", "train/pos", "test/neg", "test/pos"):
        (tmp_path / part).mkdir(parents=True)
        for number in range(20):
            (tmp_path / part / f"{number}_7.txt").write_text(f"{part} review {number}", encoding="utf-8")

    corpus = read(AclImdb(path=str(tmp_path)))

    assert [len(corpus.splits[name].texts) for name in SPLITS] == [36, 4, 40]
    assert corpus.splits["validation"].texts == [f"train/{kind} review {number}" for kind in ("neg", "pos") for number in (18, 19)]
    assert corpus.splits["train"].texts[9:11] == ["train/neg review 9", "train/neg review 10"]
    assert corpus.splits["test"].labels.tolist() == [0] * 20 + [1] * 20


def test_aclimdb_names_the_folder_or_file_that_is_wrong(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read(AclImdb(path=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match=r"train/neg: no \.txt files"):
        read(AclImdb(path=str(tmp_path)))
    for part in ("train/neg", "train/pos", "test/neg", "test/pos"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "0_1.txt").write_text("x", encoding="utf-8")
    (tmp_path / "train/pos/0_1.txt").write_text(" \n", encoding="utf-8")
    with pytest.raises(DataError, match=r"train/pos/0_1\.txt: the text is empty"):
        read(AclImdb(path=str(tmp_path)))
    (tmp_path / "train/pos/0_1.txt").write_bytes(b"ok\n\xff\xfe")
    with pytest.raises(DataError, match=r"train/pos/0_1\.txt, line 2: byte 0xff is not UTF-8"):
        read(AclImdb(path=str(tmp_path)))


def keras_files(folder, x):
    np.savez(folder / "imdb.npz", x_train=x, y_train=np.array([0, 1] * 10), x_test=x, y_test=np.array([0, 1] * 10))
    (folder / "imdb_word_index.json").write_text(json.dumps({"the": 1, "film": 2}), encoding="utf-8")


def test_keras_imdb_becomes_text_again(tmp_path):
    x = np.empty(20, object)
    x[:] = [[1, 2, 2]] * 20
    keras_files(tmp_path, x)

    corpus = read(KerasImdb(path=str(tmp_path)))

    assert corpus.splits["test"].texts[0] == "the film film"
    assert [len(corpus.splits[name].texts) for name in SPLITS] == [18, 2, 20]


class Harm:
    def __reduce__(self):
        return (print, ("this was executed",))


def test_a_keras_archive_that_would_run_code_is_refused(tmp_path, capsys):
    x = np.empty(20, object)
    x[:] = [[1]] * 20
    keras_files(tmp_path, x)
    x[3] = Harm()
    np.savez(tmp_path / "imdb.npz", x_train=x, y_train=np.array([0, 1] * 10), x_test=x, y_test=np.array([0, 1] * 10))

    with pytest.raises(DataError, match=r"not Keras' imdb\.npz .*builtins\.print"):
        read(KerasImdb(path=str(tmp_path)))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps([1])])
def test_a_broken_keras_archive_is_named(tmp_path, content):
    (tmp_path / "imdb.npz").write_bytes(content)
    (tmp_path / "imdb_word_index.json").write_text("{}", encoding="utf-8")

    with pytest.raises(DataError, match=r"not Keras' imdb\.npz"):
        read(KerasImdb(path=str(tmp_path)))


def test_a_keras_archive_without_its_arrays_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "imdb.npz", "w"):
        pass
    (tmp_path / "imdb_word_index.json").write_text("{}", encoding="utf-8")

    with pytest.raises(DataError, match=r"not Keras' imdb\.npz"):
        read(KerasImdb(path=str(tmp_path)))


def test_a_jsonl_text_may_hold_any_character(tmp_path):
    rows = [json.dumps({"text": f"a\u2028b {i}", "label": i % 2}, ensure_ascii=False) for i in range(40)]
    (tmp_path / "t.jsonl").write_text("\n".join(rows) + "\n\n", encoding="utf-8")

    assert len(read(options(tmp_path / "t.jsonl")).splits["train"].texts) == 28


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_table_reads_the_same_from_every_format(tmp_path, suffix):
    frame = pd.read_csv(write_table(tmp_path / "table.csv", rows=60, classes=3))
    path = tmp_path / f"other.{suffix}"
    {
        "csv": lambda: frame.to_csv(path, index=False),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }[suffix]()

    corpus = read(options(path))

    assert corpus.classes == ["bad", "good", "plain"]
    assert {name: len(part.texts) for name, part in corpus.splits.items()} == {"train": 42, "validation": 6, "test": 12}
    expected = read(options(tmp_path / "table.csv"))
    assert all(corpus.splits[name].texts == expected.splits[name].texts for name in SPLITS)


def test_a_column_divides_a_table(tmp_path):
    frame = pd.DataFrame({"t": list("abcdef"), "y": [0, 1] * 3, "part": ["train", "train", "validation", "validation", "test", "test"]})
    frame.to_csv(tmp_path / "t.csv", index=False)

    corpus = read(options(tmp_path / "t.csv", text_column="t", label_column="y", split_column="part"))

    assert {name: part.texts for name, part in corpus.splits.items()} == {"train": ["a", "b"], "validation": ["c", "d"], "test": ["e", "f"]}
    assert corpus.classes == ["0", "1"]


def test_three_files_are_the_three_splits(tmp_path):
    paths = [write_table(tmp_path / f"{name}.csv", rows=rows) for name, rows in (("a", 20), ("b", 10), ("c", 12))]

    corpus = read(options(paths[0], validation_path=str(paths[1]), test_path=str(paths[2])))

    assert [len(corpus.splits[name].texts) for name in SPLITS] == [20, 10, 12]


def test_a_group_is_never_divided(tmp_path):
    frame = pd.DataFrame({"text": [f"t{i}" for i in range(200)], "label": [0, 1] * 100, "film": [i // 5 for i in range(200)]})
    frame.to_csv(tmp_path / "t.csv", index=False)

    corpus = read(options(tmp_path / "t.csv", group_column="film"))

    films = [{int(text[1:]) // 5 for text in part.texts} for part in corpus.splits.values()]
    assert sum(map(len, films)) == 40


@pytest.mark.parametrize(
    ("name", "content", "more", "message"),
    [
        ("t.csv", b"text,klass\na,1\n", {}, "t.csv: no column 'label'; it has text, klass. Set data.label_column=NAME"),
        ("t.csv", b"text;label\na;1\n", {}, "it has text;label. Its first line is separated by semicolons: save it with commas"),
        ("t.csv", b"text\tlabel\na, b, c\t1\n", {}, "Its first line is separated by tabs: save it with commas"),
        ("t.csv", b"text,label\na,1\n,0\n", {}, "t.csv, row 2: the column 'text' is empty"),
        ("t.csv", b'text,label\na,1\n"  ",0\n', {}, "t.csv, row 2: the text is empty"),
        ("t.csv", b"text,label\na,1\nb,\n", {}, "t.csv, row 2: the column 'label' is empty"),
        ("t.csv", b"text,label\na,1\n\xff,0\n", {}, "t.csv, line 3: byte 0xff is not UTF-8"),
        ("t.csv", b"", {}, "t.csv: not a CSV"),
        ("t.csv", b'text,label\n"a,1\n', {}, "t.csv: not a CSV"),
        ("t.txt", b"x", {}, "t.txt: a table ends in .csv, .jsonl, .parquet; got '.txt'"),
        ("t.jsonl", b'{"text": "a", "label": 1}\nnonsense\n', {}, "t.jsonl, row 2: not JSON"),
        ("t.jsonl", b'{"text": "a", "label": 1}\n[1]\n', {}, "t.jsonl, row 2: got '[1]'; every row must be a JSON object"),
        ("t.jsonl", b'{"text": "a", "label": 1}\n\xff\n', {}, "t.jsonl, line 2: byte 0xff"),
        ("t.parquet", b"nonsense", {}, "t.parquet: cannot be read"),
        (
            "t.csv",
            b"text,label,s\na,1,train\nb,0,dev\n",
            {"split_column": "s"},
            "t.csv, row 2: s is 'dev'; allowed: train, validation, test",
        ),
        ("t.csv", b"text,label\na,1\nb,0\n", {}, "the rarest class has 1 rows"),
        ("t.csv", b"text,label\n", {}, "t.csv: no rows"),
        ("t.csv", b"text,label\na,1\n", {"test_path": "x"}, "data.validation_path and data.test_path go together"),
        ("t.csv", b"text,label,s\na,1,1\n", {"split_column": "s", "group_column": "s"}, "two ways to divide"),
    ],
)
def test_a_broken_table_is_named_with_its_row(tmp_path, name, content, more, message):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError) as caught:
        read(options(tmp_path / name, **more))

    assert message in str(caught.value)


def test_a_missing_table_is_named(home, tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        encoded.load(options(tmp_path / "gone.csv"))


def test_one_class_only_is_refused(home, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "a,1\n" * 30, encoding="utf-8")

    with pytest.raises(DataError, match=r"t\.csv: only one class, '1'; at least 2"):
        encoded.load(options(tmp_path / "t.csv"))


def test_an_empty_split_and_a_class_without_training_examples_are_refused(home, tmp_path):
    (tmp_path / "a.csv").write_text("text,label,s\na,1,train\nb,0,train\nc,0,test\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("text,label,s\na,1,train\nb,1,validation\nc,0,test\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"a\.csv: the validation split is empty"):
        encoded.load(options(tmp_path / "a.csv", split_column="s"))
    with pytest.raises(DataError, match=r"b\.csv: no training example of class '0'"):
        encoded.load(options(tmp_path / "b.csv", split_column="s"))
