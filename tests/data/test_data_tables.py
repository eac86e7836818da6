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


def read_all(path, **more):
    """Returns all texts with their classes, sorted."""
    read = corpus(path, **more)
    return sorted(
        (text, read.classes[label]) for part in read.splits.values() for text, label in zip(*part, strict=True)
    )


def rows(count=40, names=("pos", "neg")):
    return [(f"text number {row}", names[row % len(names)]) for row in range(count)]


def lines(table_rows=None, *, header="text,label"):
    return [header, *(f"{text},{label}" for text, label in table_rows or rows())]


def write(path, content, *, encoding="utf-8", end="\n"):
    path.write_bytes((end.join(content) + end).encode(encoding))
    return path


# Rows with more or fewer fields than the header


@pytest.mark.parametrize(
    ("place", "row", "message"),
    [
        (3, "fine dull cold day,pos,1", "row 3: it has 3 fields, the header has 2 (text, label)"),
        (3, "a fine, warm day,pos", "row 3: it has 3 fields, the header has 2 (text, label)"),
        (
            3,
            "a fine day,pos,",
            "row 3: it has 3 fields, the header has 2 (text, label). Remove the comma at its end",
        ),
        (3, "a fine day", "row 3: it has 1 field, the header has 2 (text, label)"),
        (3, "   ", "row 3: it has 1 field, the header has 2"),
        (3, 'a "fine, warm" day,pos', "row 3: it has 3 fields, the header has 2"),
        (3, '"fine" day,pos', "not a CSV (row 3, from line 4: text follows a closing quote"),
        (3, '"he said \\"fine\\" day",pos', "not a CSV (row 3, from line 4: text follows a closing quote"),
        (40, '"a fine day,pos', "not a CSV (row 40, from line 41: it opens a quote that is never closed)"),
        (3, '"a fine day,pos', "not a CSV (row 3, from line 4: it opens a quote that is never closed)"),
        (3, "text,label", "row 3: it repeats the header; remove it"),
        (0, "text,label,", "40 rows have 2 fields, the header has 3 (text, label, ): rows 1, 2"),
        (0, "text,label,text", "it has the column 'text' 2 times; rename all but one"),
        (0, "text,label, text", "it has the column 'text' 2 times"),
        (0, '"text,label', "not a CSV (the header, from line 1: it opens a quote that is never closed)"),
    ],
)
def test_the_error_about_a_row_with_misplaced_fields_names_the_row(tmp_path, place, row, message):
    content = lines()
    content[place] = row

    error = refusal(write(tmp_path / "t.csv", content))

    assert message in error and str(tmp_path / "t.csv") in error


def test_a_table_is_refused_if_all_rows_are_longer_than_the_header(tmp_path):
    content = [lines()[0], *(f"{line},{number}" for number, line in enumerate(lines()[1:]))]

    assert "40 rows have 3 fields, the header has 2 (text, label): rows 1, 2, 3" in refusal(
        write(tmp_path / "t.csv", content)
    )


def test_a_quote_that_swallows_rows_is_refused(tmp_path):
    content = lines()
    content[3] = f'"{content[3]}'  # never closed …
    content[6] = 'he said "yes",pos'.replace('"yes"', 'yes"')  # … until here

    assert "row 3: the column 'text' holds 4 lines, and some look like separate rows" in refusal(
        write(tmp_path / "t.csv", content)
    )


@pytest.mark.parametrize("header", ["text,label", "label,text"])
def test_a_text_may_contain_lines_commas_and_quotes(tmp_path, header):
    texts = ['He said: "no, never".\nThen\r\n\r\nhe left, and came back', "pos, neg and so on", '5" tall', "a\nb,c"]
    frame = pd.DataFrame(
        [(f"{text} {row}", label) for row, (_, label) in enumerate(rows()) for text in texts], columns=["text", "label"]
    )
    frame[header.split(",")].to_csv(tmp_path / "t.csv", index=False)

    assert read_all(tmp_path / "t.csv") == sorted(frame.itertuples(index=False, name=None))


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
    )
)
def test_files_of_pandas_and_the_csv_module_are_read_unchanged(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    written = [(text, f"class {number % 2}") for number in range(20) for text in texts]
    pd.DataFrame(written, columns=["text", "label"]).to_csv(folder / "a.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
    with (folder / "b.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *written])

    from src.data import tables

    for name in ("a.csv", "b.csv"):
        table = tables.read(folder / name, {"text": "text", "label": "label"})
        assert list(zip(table.texts, table.labels, strict=True)) == written


def test_row_numbers_of_pandas_are_ignored(tmp_path):
    pd.DataFrame(rows(), columns=["text", "label"]).to_csv(tmp_path / "t.csv")  # the first column has no name

    assert read_all(tmp_path / "t.csv") == sorted(rows())


@pytest.mark.parametrize(
    ("header", "row", "field"),
    [("text,label,", "a fine, warm day,pos", "3 is 'pos'"), (",text,label", "fine, warm day,pos", "1 is 'fine'")],
)
def test_values_in_a_column_without_a_name_are_refused(tmp_path, header, row, field):
    whole = (
        [f"{line}," for line in lines()[1:]]
        if header.endswith(",")
        else [f"{i},{line}" for i, line in enumerate(lines()[1:])]
    )

    assert f"field {field}, and the header has no name for it" in refusal(
        write(tmp_path / "t.csv", [header, *whole, row])
    )


def test_equal_text_and_label_columns_are_refused(tmp_path):
    assert "are both 'label'; set two different columns" in refusal(
        write(tmp_path / "t.csv", lines()), text_column="label"
    )


def test_a_text_longer_than_the_csv_modules_limit_is_read(tmp_path):
    long = "word " * 50_000

    assert read_all(write(tmp_path / "t.csv", lines([(f"{long}{row}", "ab"[row % 2]) for row in range(20)])))[0][
        0
    ].startswith(long)


# Bytes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_byte_order_mark_decides_the_encoding_and_is_removed(tmp_path, name, encoding):
    table_rows = [(f"{text} é", label) for text, label in rows()]
    content = (
        lines(table_rows)
        if name == "t.csv"
        else [json.dumps({"text": text, "label": label}) for text, label in table_rows]
    )

    assert read_all(write(tmp_path / name, content, encoding=encoding)) == sorted(table_rows)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_an_error_recognises_utf_16_without_a_mark(tmp_path, name):
    content = lines() if name == "t.csv" else [json.dumps({"text": "a", "label": "b"})]

    assert "line 1: it contains a zero byte, as UTF-16 without a byte-order mark does" in refusal(
        write(tmp_path / name, content, encoding="utf-16-le")
    )


def test_bytes_that_contradict_their_byte_order_mark_are_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfeabc")

    assert "its byte-order mark is that of UTF-16, but its bytes are not" in refusal(tmp_path / "t.csv")


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_all_line_endings_give_the_same_rows(tmp_path, end):
    assert read_all(write(tmp_path / "t.csv", lines(), end=end)) == sorted(rows())


def test_windows_line_endings_of_jsonl_are_read(tmp_path):
    content = [json.dumps({"text": text, "label": label}) for text, label in rows()]

    assert read_all(write(tmp_path / "t.jsonl", content, end="\r\n")) == sorted(rows())


def test_spaces_after_commas_are_removed_if_the_header_has_them(tmp_path):
    content = [
        "text , label",
        *(f'"{text}, it is", {label}' if row % 2 else f"{text}, {label}" for row, (text, label) in enumerate(rows())),
    ]

    examples = read_all(write(tmp_path / "t.csv", content))

    assert {label for _, label in examples} == {"pos", "neg"} and ("text number 1, it is", "neg") in examples


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
def test_classes_are_the_strings_in_the_file(tmp_path, names):
    table_rows = rows(30 * len(names), names)
    frame = pd.DataFrame(table_rows, columns=["text", "label"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "t.parquet")

    for name in ("t.csv", "t.jsonl", "t.parquet"):
        assert corpus(tmp_path / name).classes == sorted(names)
        assert read_all(tmp_path / name) == sorted(table_rows)


def test_numbers_of_json_keep_their_digits_as_classes(tmp_path):
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
def test_each_value_of_parquet_has_one_class_name(tmp_path, values, names):
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


def test_the_files_of_the_three_splits_share_their_classes(tmp_path):
    """Alone, the digits of one file look like numbers, and those of another do not."""
    for name, extra in (("a", "x"), ("b", "y"), ("c", "z")):
        write(tmp_path / f"{name}.csv", lines([(f"{text} {extra}", label) for text, label in rows(40, ("01", "1"))]))

    read = corpus(tmp_path / "a.csv", validation_path=str(tmp_path / "b.csv"), test_path=str(tmp_path / "c.csv"))

    assert read.classes == ["01", "1"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("pos", "pos "),
        ("pos", " pos"),
        ("a b", "a  b"),
        ("caf\u00e9", "cafe\u0301"),
        ("pos", "pos\u200b"),
        ("pos", "\ufeffpos"),
    ],
)
def test_classes_that_look_alike_are_refused(tmp_path, first, second):
    content = [json.dumps({"text": text, "label": label}) for text, label in rows(40, (first, second, "neg"))]
    pair = f"row 2: class {second!r} and class {first!r} ({tmp_path / 't.jsonl'}, row 1)"

    error = refusal(write(tmp_path / "t.jsonl", content))

    assert f"{pair} differ only in white space or invisible characters" in error


def test_classes_that_look_alike_in_two_files_are_refused(tmp_path):
    for name, label in (("a", "pos"), ("b", "pos "), ("c", "pos")):
        write(
            tmp_path / f"{name}.csv",
            lines([(f"{text} {name}", row_label) for text, row_label in rows(40, (label, "neg"))]),
        )

    assert "b.csv, row 1: class 'pos '" in refusal(
        tmp_path / "a.csv", validation_path=str(tmp_path / "b.csv"), test_path=str(tmp_path / "c.csv")
    )


def test_groups_that_look_alike_are_one_group(tmp_path):
    table_rows = [(f"t {row}", "ab"[row % 2], f"film {row // 4}" + " " * (row % 4 == 0)) for row in range(200)]
    pd.DataFrame(table_rows, columns=["text", "label", "film"]).to_csv(tmp_path / "t.csv", index=False)

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
        ("[1, 2]", "a list with a number (1) at position 1"),
        ('["a", null]', "a list with nothing at position 2"),
        ('["a", ["b"]]', "a list with a list at position 2"),
        ('["a", ""]', "a list with an empty word at position 2"),
    ],
)
def test_the_error_about_an_invalid_json_text_names_row_and_kind(tmp_path, value, what):
    content = ['{"text": "a", "label": "b"}', f'{{"text": {value}, "label": "b"}}']

    assert f"row 2: the column 'text' holds {what}" in refusal(write(tmp_path / "t.jsonl", content))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (b"bytes", "bytes"),
        (5, "a number (5)"),
        (1.5, "a number (1.5)"),
        ({"a": "b"}, "an object"),
        ([1, 2], "a list with a number (1) at position 1"),
        (datetime.date(2024, 1, 2), "a value of type date"),
        (True, "true or false"),
    ],
)
def test_the_error_about_an_invalid_parquet_text_names_row_and_kind(tmp_path, value, what):
    pd.DataFrame({"text": [value], "label": ["a"]}).to_parquet(tmp_path / "t.parquet")

    assert f"row 1: the column 'text' holds {what}" in refusal(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_lists_of_words_are_read_unchanged(tmp_path, name):
    texts = [["New York", "IS", "n't", f"w{row}", *["x"] * 1_500] for row in range(40)]
    frame = pd.DataFrame({"text": texts, "label": list("ab") * 20})
    frame.to_parquet(tmp_path / name) if name == "t.parquet" else frame.to_json(
        tmp_path / name, orient="records", lines=True
    )

    read = corpus(tmp_path / name)

    assert sorted(text for part in read.splits.values() for text in part.texts) == sorted(texts)


def test_a_mix_of_texts_and_lists_is_refused(tmp_path):
    content = ['{"text": ["a"], "label": "b"}', '{"text": "a", "label": "c"}']

    assert "row 2: it holds a text, and row 1 holds a list of words" in refusal(write(tmp_path / "t.jsonl", content))


def test_a_duplicate_json_key_is_refused(tmp_path):
    content = ['{"text": "a", "label": "b", "text": "c"}']

    assert "row 1: the key 'text' occurs twice; keep one" in refusal(write(tmp_path / "t.jsonl", content))


# Equal texts


@pytest.mark.parametrize("other", ["t.csv", "copy.csv", "shuffled.csv", "as.jsonl", "as.parquet"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_two_splits_with_the_same_rows_are_refused(tmp_path, other, split):
    frame = pd.DataFrame(rows(), columns=["text", "label"])
    for name in ("t.csv", "copy.csv"):
        frame.to_csv(tmp_path / name, index=False)
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "shuffled.csv", index=False)
    frame.to_json(tmp_path / "as.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "as.parquet")
    write(tmp_path / "different.csv", lines([(f"different {text}", label) for text, label in rows()]))
    paths = {"validation_path": str(tmp_path / "different.csv"), "test_path": str(tmp_path / "different.csv")} | {
        f"{split}_path": str(tmp_path / other)
    }

    error = refusal(tmp_path / "t.csv", **paths)

    assert f"t.csv and {tmp_path / other} hold the same texts; train and {split} need different texts" in error


def test_one_file_for_validation_and_test_is_refused(tmp_path):
    write(tmp_path / "t.csv", lines())
    write(tmp_path / "different.csv", lines([(f"different {text}", label) for text, label in rows()]))

    error = refusal(
        tmp_path / "t.csv", validation_path=str(tmp_path / "different.csv"), test_path=str(tmp_path / "different.csv")
    )

    assert "validation and test need different texts" in error


def test_a_draw_keeps_equal_words_together(tmp_path):
    table_rows = [
        (text.upper() if row % 2 else f"{text}!", "ab"[number % 2])
        for number, (text, _) in enumerate(rows(100))
        for row in range(4)
    ]

    parts = [
        {text.lower().strip("!") for text in part.texts}
        for part in corpus(write(tmp_path / "t.csv", lines(table_rows))).splits.values()
    ]

    assert sum(map(len, parts)) == 100 and all(parts)


def test_a_draw_of_few_different_texts_is_refused(tmp_path):
    table_rows = [(f"text {row % 2}", "ab"[row % 2]) for row in range(100)]

    assert "class 'a' has 1 different texts in 50 rows" in refusal(write(tmp_path / "t.csv", lines(table_rows)))


def test_every_split_of_a_grouped_draw_has_every_class(tmp_path):
    table_rows = [(f"text {row}", "rare" if row // 10 < 4 else "usual", row // 10) for row in range(300)]
    pd.DataFrame(table_rows, columns=["text", "label", "film"]).to_csv(tmp_path / "t.csv", index=False)

    read = corpus(tmp_path / "t.csv", group_column="film")

    assert all(set(read.splits[name].labels.tolist()) == {0, 1} for name in SPLITS)


def test_a_grouped_draw_that_leaves_a_split_without_a_class_is_refused(tmp_path):
    table_rows = [(f"text {row}", "rare" if row // 10 < 2 else "usual", row // 10) for row in range(300)]
    pd.DataFrame(table_rows, columns=["text", "label", "film"]).to_csv(tmp_path / "t.csv", index=False)

    error = refusal(tmp_path / "t.csv", group_column="film")

    assert (
        "class 'rare' has 2 groups in 20 rows, but train, validation and test need one each; give data.split_column"
        in error
    )


def test_printed_numpy_arrays_are_refused(tmp_path):
    texts = [str(np.array([f"word{row}"] * 1_500)) for row in range(40)]
    pd.DataFrame({"text": texts, "label": list("ab") * 20}).to_csv(tmp_path / "t.csv", index=False)

    assert "40 rows hold a printed NumPy array, with ... for omitted words; save lists" in refusal(tmp_path / "t.csv")


def test_texts_in_brackets_are_accepted(tmp_path):
    table_rows = [(f"[scene {row}] he waits ... and waits", "ab"[row % 2]) for row in range(40)]

    assert read_all(write(tmp_path / "t.csv", lines(table_rows))) == sorted(table_rows)
