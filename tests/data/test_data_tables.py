from __future__ import annotations

import csv
import datetime
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.corpora import CORPORA, DataError
from src.data.options import Table
from src.data.splits import SPLITS


def corpus(path, **more):
    return CORPORA["table"].read(Table.model_validate({"path": str(path), **more}))


def refusal(path, **more):
    with pytest.raises(DataError) as caught:
        corpus(path, **more)
    return str(caught.value)


def everything(path, **more):
    """All texts with their classes, in no order."""
    read = corpus(path, **more)
    return sorted(
        (text, read.classes[label]) for part in read.splits.values() for text, label in zip(*part, strict=True)
    )


def rows(count=40, names=("pos", "neg")):
    return [(f"text number {row}", names[row % len(names)]) for row in range(count)]


def lines(of=None, *, header="text,label"):
    return [header, *(f"{text},{label}" for text, label in of or rows())]


def write(path, content, *, encoding="utf-8", end="\n"):
    path.write_bytes((end.join(content) + end).encode(encoding))
    return path


# Columns that slip


@pytest.mark.parametrize(
    ("place", "row", "message"),
    [
        (3, "fine dull cold day,pos,1", "row 3: it has 3 fields, the header has 2 (text, label)"),
        (3, "a fine, warm day,pos", "row 3: it has 3 fields, the header has 2 (text, label)"),
        (
            3,
            "a fine day,pos,",
            "row 3: it has 3 fields, the header has 2 (text, label). Leave out the comma at its end",
        ),
        (3, "a fine day", "row 3: it has 1 field, the header has 2 (text, label)"),
        (3, "   ", "row 3: it has 1 field, the header has 2"),
        (3, 'a "fine, warm" day,pos', "row 3: it has 3 fields, the header has 2"),
        (3, '"fine" day,pos', "not a CSV (row 3, from line 4: text follows a closing quote"),
        (3, '"he said \\"fine\\" day",pos', "not a CSV (row 3, from line 4: text follows a closing quote"),
        (40, '"a fine day,pos', "not a CSV (row 40, from line 41: it opens a quote that is never closed)"),
        (3, '"a fine day,pos', "not a CSV (row 3, from line 4: it opens a quote that is never closed)"),
        (3, "text,label", "row 3: it repeats the header; leave it out"),
        (0, "text,label,", "40 rows have 2 fields, the header has 3 (text, label, ): rows 1, 2"),
        (0, "text,label,text", "it has the column 'text' 2 times; give each a name of its own"),
        (0, "text,label, text", "it has the column 'text' 2 times"),
        (0, '"text,label', "not a CSV (the header, from line 1: it opens a quote that is never closed)"),
    ],
)
def test_a_row_whose_columns_slip_is_refused_with_its_number(tmp_path, place, row, message):
    content = lines()
    content[place] = row

    found = refusal(write(tmp_path / "t.csv", content))

    assert message in found and str(tmp_path / "t.csv") in found


def test_rows_that_are_all_longer_than_the_header_are_refused(tmp_path):
    content = [lines()[0], *(f"{line},{number}" for number, line in enumerate(lines()[1:]))]

    assert "40 rows have 3 fields, the header has 2 (text, label): rows 1, 2, 3" in refusal(
        write(tmp_path / "t.csv", content)
    )


def test_a_quote_that_swallows_rows_is_refused(tmp_path):
    content = lines()
    content[3] = f'"{content[3]}'  # never closed …
    content[6] = 'he said "yes",pos'.replace('"yes"', 'yes"')  # … until here

    assert "row 3: the column 'text' holds 4 lines, and some look like rows of their own" in refusal(
        write(tmp_path / "t.csv", content)
    )


@pytest.mark.parametrize("header", ["text,label", "label,text"])
def test_a_text_may_hold_lines_commas_and_quotes(tmp_path, header):
    texts = ['He said: "no, never".\nThen\r\n\r\nhe left, and came back', "pos, neg and so on", '5" tall', "a\nb,c"]
    frame = pd.DataFrame(
        [(f"{text} {row}", label) for row, (_, label) in enumerate(rows()) for text in texts], columns=["text", "label"]
    )
    frame[header.split(",")].to_csv(tmp_path / "t.csv", index=False)

    assert everything(tmp_path / "t.csv") == sorted(frame.itertuples(index=False, name=None))


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
    )
)
def test_what_pandas_and_the_csv_module_write_is_read_as_it_was(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    written = [(text, f"class {number % 2}") for number in range(20) for text in texts]
    pd.DataFrame(written, columns=["text", "label"]).to_csv(folder / "a.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
    with (folder / "b.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *written])

    from src.data import tables

    for name in ("a.csv", "b.csv"):
        found = tables.read(folder / name, {"text": "text", "label": "label"})
        assert list(zip(found.texts, found.labels, strict=True)) == written


def test_row_numbers_that_pandas_wrote_are_no_texts(tmp_path):
    pd.DataFrame(rows(), columns=["text", "label"]).to_csv(tmp_path / "t.csv")  # the first column has no name

    assert everything(tmp_path / "t.csv") == sorted(rows())


@pytest.mark.parametrize(
    ("header", "row", "field"),
    [("text,label,", "a fine, warm day,pos", "3 is 'pos'"), (",text,label", "fine, warm day,pos", "1 is 'fine'")],
)
def test_content_in_a_column_without_a_name_is_refused(tmp_path, header, row, field):
    whole = (
        [f"{line}," for line in lines()[1:]]
        if header.endswith(",")
        else [f"{i},{line}" for i, line in enumerate(lines()[1:])]
    )

    assert f"field {field}, and the header has no name for it" in refusal(
        write(tmp_path / "t.csv", [header, *whole, row])
    )


def test_a_text_column_that_is_the_label_column_is_refused(tmp_path):
    assert "are both 'label'; set two different columns" in refusal(
        write(tmp_path / "t.csv", lines()), text_column="label"
    )


def test_a_text_longer_than_the_csv_modules_limit_is_read(tmp_path):
    long = "word " * 50_000

    assert everything(write(tmp_path / "t.csv", lines([(f"{long}{row}", "ab"[row % 2]) for row in range(20)])))[0][
        0
    ].startswith(long)


# Bytes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_byte_order_mark_says_how_to_read_and_is_no_part_of_a_name(tmp_path, name, encoding):
    of = [(f"{text} é", label) for text, label in rows()]
    content = lines(of) if name == "t.csv" else [json.dumps({"text": text, "label": label}) for text, label in of]

    assert everything(write(tmp_path / name, content, encoding=encoding)) == sorted(of)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_utf_16_without_a_mark_is_named(tmp_path, name):
    content = lines() if name == "t.csv" else [json.dumps({"text": "a", "label": "b"})]

    assert "line 1: it holds a zero byte, as UTF-16 without a byte-order mark does" in refusal(
        write(tmp_path / name, content, encoding="utf-16-le")
    )


def test_bytes_that_are_not_what_their_mark_says_are_named(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfeabc")

    assert "its byte-order mark says UTF-16, but it is not" in refusal(tmp_path / "t.csv")


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_all_ends_of_lines_are_read_alike(tmp_path, end):
    assert everything(write(tmp_path / "t.csv", lines(), end=end)) == sorted(rows())


def test_windows_lines_of_jsonl_are_read_alike(tmp_path):
    content = [json.dumps({"text": text, "label": label}) for text, label in rows()]

    assert everything(write(tmp_path / "t.jsonl", content, end="\r\n")) == sorted(rows())


def test_spaces_after_the_commas_of_header_and_rows_are_no_part_of_names_and_values(tmp_path):
    content = [
        "text , label",
        *(f'"{text}, it is", {label}' if row % 2 else f"{text}, {label}" for row, (text, label) in enumerate(rows())),
    ]

    found = everything(write(tmp_path / "t.csv", content))

    assert {label for _, label in found} == {"pos", "neg"} and ("text number 1, it is", "neg") in found


# Classes


@pytest.mark.parametrize(
    "names",
    [
        ["3.1", "3.10", "3.9"],
        ["01", "1", "+1"],
        ["1e3", "1000"],
        ["true", "True"],
        ["NA", "null", "None", "nan"],
        ["1", "1.0"],
        ["2024-01-02", "2024-1-2"],
        ["1_000", "1000"],
        ["inf", "Infinity"],
    ],
)
def test_classes_are_what_is_written(tmp_path, names):
    of = rows(30 * len(names), names)
    frame = pd.DataFrame(of, columns=["text", "label"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "t.parquet")

    for name in ("t.csv", "t.jsonl", "t.parquet"):
        assert corpus(tmp_path / name).classes == sorted(names)
        assert everything(tmp_path / name) == sorted(of)


def test_numbers_and_truth_values_of_json_are_classes_digit_for_digit(tmp_path):
    written = ["1", "1.0", "1e3", "true", "false", "-0", "1000", "0.10"]
    content = [f'{{"text": "text {row}", "label": {written[row % len(written)]}}}' for row in range(20 * len(written))]

    assert corpus(write(tmp_path / "t.jsonl", content)).classes == sorted(written)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.array([1, 2]), ["1", "2"]),
        (np.array([1.0, 2.5]), ["1.0", "2.5"]),
        (np.array([0.1, 0.2], np.float32), ["0.1", "0.2"]),
        (np.array([True, False]), ["false", "true"]),
        (pd.Categorical(["b", "a"]), ["a", "b"]),
        (pd.array([1, 2], dtype="Int64"), ["1", "2"]),
        ([datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)], ["2024-01-02", "2024-01-03"]),
    ],
)
def test_values_of_parquet_have_one_name_each(tmp_path, values, names):
    frame = pd.DataFrame(
        {"text": [f"t {row}" for row in range(40)], "label": [value for _ in range(20) for value in values]}
    )
    if isinstance(values, pd.Categorical):
        frame["label"] = pd.Categorical(list(values) * 20)
    elif hasattr(values, "dtype"):
        frame["label"] = frame["label"].astype(values.dtype)
    frame.to_parquet(tmp_path / "t.parquet")

    assert corpus(tmp_path / "t.parquet").classes == names


def test_a_missing_class_does_not_rename_the_others(tmp_path):
    pd.DataFrame({"text": ["a", "b"], "label": pd.array([1, None], dtype="Int64")}).to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "b", "label": null}\n', encoding="utf-8")

    for name in ("t.parquet", "t.jsonl"):
        assert "row 2: the column 'label' is empty" in refusal(tmp_path / name)


@pytest.mark.parametrize("blank", ['""', '" "', "null", "NaN"])
def test_an_empty_class_is_refused_in_every_format(tmp_path, blank):
    content = [f'{{"text": "a", "label": {blank}}}']

    assert "row 1: the column 'label' is empty" in refusal(write(tmp_path / "t.jsonl", content))
    if blank.startswith('"'):
        assert "row 1: the column 'label' is empty" in refusal(write(tmp_path / "t.csv", ["text,label", f"a,{blank}"]))


def test_the_files_of_the_three_splits_have_the_same_names(tmp_path):
    """Alone, the digits of one file look like numbers, and those of another do not."""
    for name, extra in (("a", "x"), ("b", "y"), ("c", "z")):
        write(tmp_path / f"{name}.csv", lines([(f"{text} {extra}", label) for text, label in rows(40, ("01", "1"))]))

    read = corpus(tmp_path / "a.csv", validation_path=str(tmp_path / "b.csv"), test_path=str(tmp_path / "c.csv"))

    assert read.classes == ["01", "1"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pos", "pos "),
        ("pos", " pos"),
        ("a b", "a  b"),
        ("caf\u00e9", "cafe\u0301"),
        ("pos", "pos\u200b"),
        ("pos", "\ufeffpos"),
    ],
)
def test_classes_that_look_alike_are_refused(tmp_path, one, other):
    content = [json.dumps({"text": text, "label": label}) for text, label in rows(40, (one, other, "neg"))]
    message = f"row 2: class {other!r} and class {one!r} ({tmp_path / 't.jsonl'}, row 1) differ in white space or invisible characters alone"

    assert message in refusal(write(tmp_path / "t.jsonl", content))


def test_classes_that_look_alike_in_two_files_are_refused(tmp_path):
    for name, label in (("a", "pos"), ("b", "pos "), ("c", "pos")):
        write(tmp_path / f"{name}.csv", lines([(f"{text} {name}", found) for text, found in rows(40, (label, "neg"))]))

    assert "b.csv, row 1: class 'pos '" in refusal(
        tmp_path / "a.csv", validation_path=str(tmp_path / "b.csv"), test_path=str(tmp_path / "c.csv")
    )


def test_groups_that_look_alike_are_one_group(tmp_path):
    of = [(f"t {row}", "ab"[row % 2], f"film {row // 4}" + " " * (row % 4 == 0)) for row in range(200)]
    pd.DataFrame(of, columns=["text", "label", "film"]).to_csv(tmp_path / "t.csv", index=False)

    parts = [
        {int(text.split()[1]) // 4 for text in part.texts}
        for part in corpus(tmp_path / "t.csv", group_column="film").splits.values()
    ]

    assert sum(map(len, parts)) == 50


# Texts


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("5", "a number (5)"),
        ("1.50", "a number (1.50)"),
        ("true", "true or false"),
        ('{"a": 1}', "an object"),
        ("[1, 2]", "a list with a number (1) in place 1"),
        ('["a", null]', "a list with nothing in place 2"),
        ('["a", ["b"]]', "a list with a list in place 2"),
        ('["a", ""]', "a list with an empty word in place 2"),
    ],
)
def test_a_text_of_json_that_is_none_is_refused_with_row_and_kind(tmp_path, value, what):
    content = ['{"text": "a", "label": "b"}', f'{{"text": {value}, "label": "b"}}']

    assert f"row 2: the column 'text' holds {what}" in refusal(write(tmp_path / "t.jsonl", content))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (b"bytes", "bytes"),
        (5, "a number (5)"),
        (1.5, "a number (1.5)"),
        ({"a": "b"}, "an object"),
        ([1, 2], "a list with a number (1) in place 1"),
        (datetime.date(2024, 1, 2), "a value of type date"),
        (True, "true or false"),
    ],
)
def test_a_text_of_parquet_that_is_none_is_refused_with_row_and_kind(tmp_path, value, what):
    pd.DataFrame({"text": [value], "label": ["a"]}).to_parquet(tmp_path / "t.parquet")

    assert f"row 1: the column 'text' holds {what}" in refusal(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_lists_of_words_are_taken_as_they_are(tmp_path, name):
    texts = [["New York", "IS", "n't", f"w{row}", *["x"] * 1_500] for row in range(40)]
    frame = pd.DataFrame({"text": texts, "label": list("ab") * 20})
    frame.to_parquet(tmp_path / name) if name == "t.parquet" else frame.to_json(
        tmp_path / name, orient="records", lines=True
    )

    read = corpus(tmp_path / name)

    assert sorted(text for part in read.splits.values() for text in part.texts) == sorted(texts)


def test_texts_beside_lists_are_refused(tmp_path):
    content = ['{"text": ["a"], "label": "b"}', '{"text": "a", "label": "c"}']

    assert "row 2: it holds a text, and row 1 a list of words" in refusal(write(tmp_path / "t.jsonl", content))


def test_a_key_that_occurs_twice_is_refused(tmp_path):
    content = ['{"text": "a", "label": "b", "text": "c"}']

    assert "row 1: the key 'text' occurs twice; keep one" in refusal(write(tmp_path / "t.jsonl", content))


# The same texts


@pytest.mark.parametrize("other", ["t.csv", "copy.csv", "shuffled.csv", "as.jsonl", "as.parquet"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_two_splits_of_the_same_rows_are_refused(tmp_path, other, split):
    frame = pd.DataFrame(rows(), columns=["text", "label"])
    for name in ("t.csv", "copy.csv"):
        frame.to_csv(tmp_path / name, index=False)
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "shuffled.csv", index=False)
    frame.to_json(tmp_path / "as.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "as.parquet")
    write(tmp_path / "own.csv", lines([(f"{text} of its own", label) for text, label in rows()]))
    paths = {"validation_path": str(tmp_path / "own.csv"), "test_path": str(tmp_path / "own.csv")} | {
        f"{split}_path": str(tmp_path / other)
    }

    found = refusal(tmp_path / "t.csv", **paths)

    assert f"t.csv and {tmp_path / other} hold the same texts; train and {split} need texts of their own" in found


def test_one_file_for_validation_and_test_is_refused(tmp_path):
    write(tmp_path / "t.csv", lines())
    write(tmp_path / "own.csv", lines([(f"{text} of its own", label) for text, label in rows()]))

    found = refusal(tmp_path / "t.csv", validation_path=str(tmp_path / "own.csv"), test_path=str(tmp_path / "own.csv"))

    assert "validation and test need texts of their own" in found


def test_a_draw_keeps_equal_words_together(tmp_path):
    of = [
        (text.upper() if row % 2 else f"{text}!", "ab"[number % 2])
        for number, (text, _) in enumerate(rows(100))
        for row in range(4)
    ]

    parts = [
        {text.lower().strip("!") for text in part.texts}
        for part in corpus(write(tmp_path / "t.csv", lines(of))).splits.values()
    ]

    assert sum(map(len, parts)) == 100 and all(parts)


def test_a_draw_of_few_different_texts_is_refused(tmp_path):
    of = [(f"text {row % 2}", "ab"[row % 2]) for row in range(100)]

    assert "class 'a' has 1 different texts in 50 rows" in refusal(write(tmp_path / "t.csv", lines(of)))


def test_every_split_of_a_grouped_draw_has_every_class(tmp_path):
    of = [(f"text {row}", "rare" if row // 10 < 4 else "usual", row // 10) for row in range(300)]
    pd.DataFrame(of, columns=["text", "label", "film"]).to_csv(tmp_path / "t.csv", index=False)

    read = corpus(tmp_path / "t.csv", group_column="film")

    assert all(set(read.splits[name].labels.tolist()) == {0, 1} for name in SPLITS)


def test_a_grouped_draw_that_leaves_a_split_without_a_class_is_refused(tmp_path):
    of = [(f"text {row}", "rare" if row // 10 < 2 else "usual", row // 10) for row in range(300)]
    pd.DataFrame(of, columns=["text", "label", "film"]).to_csv(tmp_path / "t.csv", index=False)

    found = refusal(tmp_path / "t.csv", group_column="film")

    assert (
        "class 'rare' has 2 groups in 20 rows, and train, validation and test need one each; give data.split_column"
        in found
    )


def test_arrays_that_numpy_abbreviated_are_no_texts(tmp_path):
    texts = [str(np.array([f"word{row}"] * 1_500)) for row in range(40)]
    pd.DataFrame({"text": texts, "label": list("ab") * 20}).to_csv(tmp_path / "t.csv", index=False)

    assert "40 rows hold an array as NumPy prints it, with ... for what it leaves out; save lists" in refusal(
        tmp_path / "t.csv"
    )


def test_texts_in_brackets_are_texts(tmp_path):
    of = [(f"[scene {row}] he waits ... and waits", "ab"[row % 2]) for row in range(40)]

    assert everything(write(tmp_path / "t.csv", lines(of))) == sorted(of)
