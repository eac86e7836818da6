from __future__ import annotations

import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest

from src.data import encoded
from src.data.corpora import CORPORA, DataError
from src.data.options import AclImdb, KerasImdb, MovieReviews, Table
from src.data.splits import SPLITS
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
    assert corpus.splits["validation"].texts == [
        f"train/{kind} review {number}" for kind in ("neg", "pos") for number in (18, 19)
    ]
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


def test_keras_imdb_is_decoded_to_texts(tmp_path):
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
def test_an_error_names_a_broken_keras_archive(tmp_path, content):
    (tmp_path / "imdb.npz").write_bytes(content)
    (tmp_path / "imdb_word_index.json").write_text("{}", encoding="utf-8")

    with pytest.raises(DataError, match=r"not Keras' imdb\.npz"):
        read(KerasImdb(path=str(tmp_path)))


def test_an_error_names_a_keras_archive_without_its_arrays(tmp_path):
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
def test_every_format_of_a_table_gives_the_same_corpus(tmp_path, suffix):
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


def test_a_column_splits_a_table(tmp_path):
    frame = pd.DataFrame(
        {"t": list("abcdef"), "y": [0, 1] * 3, "part": ["train", "train", "validation", "validation", "test", "test"]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)

    corpus = read(options(tmp_path / "t.csv", text_column="t", label_column="y", split_column="part"))

    assert {name: part.texts for name, part in corpus.splits.items()} == {
        "train": ["a", "b"],
        "validation": ["c", "d"],
        "test": ["e", "f"],
    }
    assert corpus.classes == ["0", "1"]


def test_three_files_are_the_three_splits(tmp_path):
    paths = [write_table(tmp_path / f"{name}.csv", rows=rows) for name, rows in (("a", 20), ("b", 10), ("c", 12))]

    corpus = read(options(paths[0], validation_path=str(paths[1]), test_path=str(paths[2])))

    assert [len(corpus.splits[name].texts) for name in SPLITS] == [20, 10, 12]


def test_a_group_stays_in_one_split(tmp_path):
    frame = pd.DataFrame(
        {"text": [f"t{i}" for i in range(200)], "label": [0, 1] * 100, "film": [i // 5 for i in range(200)]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)

    corpus = read(options(tmp_path / "t.csv", group_column="film"))

    films = [{int(text[1:]) // 5 for text in part.texts} for part in corpus.splits.values()]
    assert sum(map(len, films)) == 40


@pytest.mark.parametrize(
    ("name", "content", "more", "message"),
    [
        ("t.csv", b"text,klass\na,1\n", {}, "t.csv: no column 'label'; it has text, klass. Set data.label_column=NAME"),
        (
            "t.csv",
            b"text;label\na;1\n",
            {},
            "it has text;label. Its header is separated by semicolons; set data.delimiter=semicolon",
        ),
        ("t.csv", b"text\tlabel\na, b, c\t1\n", {}, "Its header is separated by tabs; set data.delimiter=tab"),
        ("t.csv", b"text,label\na,1\n,0\n", {}, "t.csv, row 2: the column 'text' is empty"),
        (
            "t.csv",
            b'text,label\na,1\n"  ",0\n',
            {},
            "t.csv, row 2: the column 'text' is empty. Set data.drop_empty=true to drop it",
        ),
        ("t.csv", b"text,label\na,1\nb,\n", {}, "t.csv, row 2: the column 'label' is empty"),
        ("t.csv", b"text,label\na,1\n\xff,0\n", {}, "t.csv, line 3: byte 0xff is not UTF-8"),
        ("t.csv", b"", {}, "t.csv: not a CSV"),
        ("t.csv", b'text,label\n"a,1\n', {}, "t.csv: not a CSV"),
        ("t.txt", b"x", {}, "t.txt: a table ends in .csv, .tsv, .jsonl, .parquet; got '.txt'"),
        ("t.jsonl", b'{"text": "a", "label": 1}\nnonsense\n', {}, "t.jsonl, row 2: not JSON"),
        (
            "t.jsonl",
            b'{"text": "a", "label": 1}\n[1]\n',
            {},
            "t.jsonl, row 2: got '[1]'; every row must be a JSON object",
        ),
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
        (
            "t.csv",
            b"text,label,s\na,1,1\n",
            {"split_column": "s", "group_column": "s"},
            "cannot be combined; set one of them",
        ),
    ],
)
def test_an_error_names_a_broken_table_and_its_row(tmp_path, name, content, more, message):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError) as caught:
        read(options(tmp_path / name, **more))

    assert message in str(caught.value)


def test_an_error_names_a_missing_table(home, tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        encoded.load(options(tmp_path / "gone.csv"))


def test_a_table_with_only_one_class_is_refused(home, tmp_path):
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


INDEX = {word: rank for rank, word in enumerate("the and a of to film good bad odd long".split(), 1)}
RAW = [[6, 1, rank, 3, 8 - row % 2, 2] for row, rank in enumerate([9, 10] * 10)]


def saved(folder, x, *, y=None, x_test=None, index=None):
    """Writes an archive with 20 reviews each for training and test."""

    def array(reviews):
        objects = np.empty(len(reviews), object)
        objects[:] = reviews
        return objects

    labels = np.array([0, 1] * 10) if y is None else np.array(y)
    test_reviews = array(x if x_test is None else x_test)
    np.savez(folder / "imdb.npz", x_train=array(x), y_train=labels, x_test=test_reviews, y_test=np.array([0, 1] * 10))
    (folder / "imdb_word_index.json").write_text(json.dumps(index or INDEX), encoding="utf-8")
    return KerasImdb(path=str(folder))


def as_loaded(reviews, *, start=1, shift=3, limit=None):
    """Returns raw reviews as `load_data(start_char=start, index_from=shift, num_words=limit)` does."""
    shifted = [[start] * (start is not None) + [rank + shift for rank in review] for review in reviews]
    return [[number if limit is None or number < limit else 2 for number in review] for review in shifted]


@pytest.mark.parametrize("is_array", [False, True])
def test_what_load_data_returns_is_shifted_back(tmp_path, is_array):
    raw, loaded = tmp_path / "raw", tmp_path / "loaded"
    for folder in (raw, loaded):
        folder.mkdir()

    texts = [read(saved(raw, RAW)).splits[name].texts for name in SPLITS]

    x = as_loaded(RAW)
    assert [
        read(saved(loaded, [np.array(review) for review in x] if is_array else x)).splits[name].texts for name in SPLITS
    ] == texts
    assert texts[0][0] == "film the odd a bad and"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (as_loaded(RAW, start=None), "it is neither Keras' raw archive nor what load_data() returns with its defaults"),
        (as_loaded(RAW, start=None, shift=1), "it is neither Keras' raw archive nor"),
        (as_loaded(RAW, start=None, shift=2), "it is neither Keras' raw archive nor"),
        (as_loaded(RAW, shift=0), "it is neither Keras' raw archive nor"),
        (as_loaded(RAW, shift=2), "it is neither Keras' raw archive nor"),
        (as_loaded(RAW, shift=4), "it is neither Keras' raw archive nor"),
        (as_loaded(RAW, start=5), "it is neither Keras' raw archive nor"),
        (as_loaded(RAW, limit=11), "load_data() omitted 30 of 140 words; save it without num_words and skip_top"),
        ([[0, 0, *review] for review in as_loaded(RAW)], "it contains the id 0, which is padding"),
        ([[review[0], 900, *review[1:]] for review in RAW], "20 of 140 ids are not in imdb_word_index.json"),
        (
            [[float(rank) for rank in review] for review in RAW],
            "review 1 of x_train contains values that are not integers",
        ),
        ([*RAW[:-1], []], "review 20 of x_train is not a list of ids"),
        ([*RAW, RAW[0]], "x_train has 21 reviews, y_train has 20 labels; every review needs one label"),
        (RAW[:-1], "x_train has 19 reviews, y_train has 20 labels; every review needs one label"),
    ],
)
def test_a_keras_archive_whose_words_would_be_wrong_is_refused(tmp_path, x, message):
    with pytest.raises(DataError) as caught:
        read(saved(tmp_path, x, x_test=x if len(x) == 20 else RAW))
    assert message in str(caught.value)


def test_a_keras_archive_with_raw_and_shifted_reviews_is_refused(tmp_path):
    with pytest.raises(DataError, match="x_train and x_test differ: one is raw, the other is what load_data"):
        read(saved(tmp_path, RAW, x_test=as_loaded(RAW)))


@pytest.mark.parametrize(
    ("y", "wrong"), [([-1, 1], "-1"), ([1, 2], "2"), ([0.0, 0.5], "0.5"), (["neg", "pos"], "neg, pos")]
)
def test_a_keras_archive_with_labels_other_than_0_and_1_is_refused(tmp_path, y, wrong):
    with pytest.raises(DataError) as caught:
        read(saved(tmp_path, RAW, y=y * 10))
    assert f"y_train holds {wrong}; allowed: 0 for negative and 1 for positive" in str(caught.value)


def test_an_error_names_the_class_that_a_held_out_split_lacks(home, tmp_path):
    whole = [f"text {row},{'abc'[row % 3]},{part}" for part in SPLITS for row in range(6)]
    for part in SPLITS[1:]:
        (tmp_path / "t.csv").write_text(
            "text,label,s\n" + "\n".join(line for line in whole if f"c,{part}" not in line) + "\n", encoding="utf-8"
        )
        with pytest.raises(DataError, match=rf"t\.csv: no {part} example of class 'c'; every split needs every class"):
            encoded.load(options(tmp_path / "t.csv", split_column="s"))


def test_an_error_names_the_held_out_file_that_lacks_a_class(home, tmp_path):
    for name, classes in (("a", "pn"), ("b", "pn"), ("c", "p")):
        lines = [f"text {row} of {name},{classes[row % len(classes)]}" for row in range(20)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"c\.csv: no test example of class 'n'"):
        encoded.load(
            options(tmp_path / "a.csv", validation_path=str(tmp_path / "b.csv"), test_path=str(tmp_path / "c.csv"))
        )


def test_a_corpus_without_any_word_is_refused(home, tmp_path):
    frame = pd.DataFrame(
        {"text": ["!" * (row + 1) for row in range(40)], "label": list("ab") * 20, "s": [*SPLITS, "train"] * 10}
    )
    frame["label"] = ["ab"[row // 4 % 2] for row in range(40)]
    frame.to_csv(tmp_path / "t.csv", index=False)

    with pytest.raises(DataError, match="no training text contains a word"):
        encoded.load(options(tmp_path / "t.csv", split_column="s"))
