"""Unusable rows: errors count all of them and name the first; `data.drop_empty` drops rows without a text."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest

from src import run
from src.config.settings import edited
from src.data import encoded
from src.data.corpora import CORPORA, DataError
from src.data.options import Table
from src.data.splits import SPLITS
from src.spec.section import SettingsError
from src.tasks.sentiment.settings import Settings


def corpus(path, **more):
    return CORPORA["table"].read(Table.model_validate({"path": str(path), **more}))


def summary(data):
    return data.contents.lines(data.origin, data.classes)


def refusal(path, **more):
    with pytest.raises(DataError) as caught:
        corpus(path, **more)
    return str(caught.value)


def rows(count=60, names=("pos", "neg")):
    return [(f"text number {row}", names[row % len(names)]) for row in range(count)]


def write(path, table_rows, *, sign=",", header=("text", "label")):
    path.write_text("".join(f"{sign.join(row)}\n" for row in (header, *table_rows)), encoding="utf-8")
    return path


def read_all(path, **more):
    read = corpus(path, **more)
    return sorted(
        (text, read.classes[label]) for part in read.splits.values() for text, label in zip(*part, strict=True)
    )


# Errors count all rows


def test_an_error_counts_all_rows_with_an_extra_comma_and_names_the_first(tmp_path):
    table_rows = [(f"text, number {row}" if row % 3 == 2 else f"text number {row}", "pos") for row in range(60)]

    assert refusal(write(tmp_path / "t.csv", table_rows)) == (
        f"{tmp_path / 't.csv'}: 20 rows have 3 fields, the header has 2 (text, label): "
        "rows 3, 6, 9, 12, 15 and 15 more. "
        "Put quotes around texts that contain commas or line breaks"
    )


def test_rows_with_different_numbers_of_extra_fields_are_one_fault(tmp_path):
    table_rows = [(f"text{', and' * (row % 4)}", "pos") for row in range(12)]

    assert ": 9 rows have 3 to 5 fields, the header has 2 (text, label): rows 2, 3, 4, 6, 7 and 4 more. " in refusal(
        write(tmp_path / "t.csv", table_rows)
    )


def test_an_error_recognises_commas_at_the_end_of_rows(tmp_path):
    table_rows = [(text, f"{label},") if row > 57 else (text, label) for row, (text, label) in enumerate(rows())]

    assert (
        "2 rows have 3 fields, the header has 2 (text, label): rows 59, 60. Remove the comma at their end"
        in refusal(write(tmp_path / "t.csv", table_rows))
    )


def test_an_error_also_counts_rows_with_other_faults(tmp_path):
    table_rows = rows()
    table_rows[2], table_rows[5], table_rows[6] = ("a fine, warm day", "pos"), ("", "pos"), ("text", " ")
    table_rows[20:22] = [("only a text",), ("only a text",)]

    assert refusal(write(tmp_path / "t.csv", table_rows)) == (
        f"{tmp_path / 't.csv'}, row 3: it has 3 fields, the header has 2 (text, label). "
        "Put quotes around texts that contain commas or line breaks. "
        "4 more rows cannot be used: rows 6, 7, 21, 22 (row 6: the column 'text' is empty)"
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"text": "a"', "x", '{"text": "a", "label": "b"}'], ": 2 rows are not JSON: rows 1, 2"),
        (
            ["[1]", '"a"', '{"text": "a", "label": "b"}'],
            ": 2 rows are not JSON objects; every row must be one: rows 1, 2",
        ),
        (
            ['{"text": 1, "label": "b"}', '{"text": 2, "label": "b"}'],
            ": 2 rows hold a number in the column 'text', such as 1: rows 1, 2. Allowed: a text",
        ),
        (
            ['{"text": 1, "label": "b"}', '{"text": true, "label": "b"}'],
            ", row 1: the column 'text' holds a number (1). Allowed: ",
        ),
        (['{"text": "", "label": "b"}', '{"label": "b"}'], ": 2 rows are empty in the column 'text': rows 1, 2"),
        (['{"text": "a", "label": ""}', '{"text": "a"}'], ": 2 rows are empty in the column 'label': rows 1, 2"),
        (
            ['{"text": "a", "label": [1]}', '{"text": "a", "label": []}'],
            ": 2 rows hold a list in the column 'label': rows 1, 2",
        ),
        (
            ['{"text": "a", "label": 1}', '{"text": ["a"], "label": 1}', '{"text": ["b"], "label": 1}'],
            ": 2 rows hold a list of words, and",
        ),
        (
            ['{"text": "a", "text": "a"}', '{"label": 1, "label": "a"}'],
            ": 2 rows have a key twice: rows 1, 2. Keep one",
        ),
    ],
)
def test_an_error_counts_all_bad_rows_of_jsonl(tmp_path, lines, message):
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")

    assert f"{tmp_path / 't.jsonl'}{message}" in refusal(tmp_path / "t.jsonl")


def test_an_error_counts_all_empty_texts_of_parquet(tmp_path):
    pd.DataFrame({"text": ["a", None, " ", ""] * 5, "label": list("ab") * 10}).to_parquet(tmp_path / "t.parquet")

    assert "15 rows are empty in the column 'text': rows 2, 3, 4, 6, 7 and 10 more. " in refusal(tmp_path / "t.parquet")


def test_an_error_counts_all_rows_of_an_unknown_split(tmp_path):
    table_rows = [(*row, "dev" if number % 2 else "train") for number, row in enumerate(rows(8))]

    error = refusal(write(tmp_path / "t.csv", table_rows, header=("text", "label", "s")), split_column="s")

    assert (
        "4 rows have a value other than train, validation, test in the column 's', such as 'dev': rows 2, 4, 6, 8"
        in error
    )


def test_hundreds_of_thousands_of_bad_rows_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "a,b,c\n" * 300_000, encoding="utf-8")

    assert "300,000 rows have 3 fields" in refusal(tmp_path / "t.csv")


# Rows without a text


EMPTY = ["", " ", "\u3000"]


def with_gaps():
    return [(EMPTY[row // 4 % 3] if row % 4 == 3 else f"text number {row}", "ab"[row // 2 % 2]) for row in range(80)]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_rows_without_a_text_are_refused_and_drop_empty_drops_them(tmp_path, name):
    frame = pd.DataFrame(with_gaps(), columns=["text", "label"])
    if name != "t.csv":
        frame.loc[frame["text"] == "", "text"] = None
    write_frame(frame, tmp_path / name)

    error = refusal(tmp_path / name)

    assert (
        "20 rows are empty in the column 'text': rows 4, 8, 12, 16, 20 and 15 more. "
        "Set data.drop_empty=true to drop them" in error
    )
    assert read_all(tmp_path / name, drop_empty=True) == sorted(row for row in with_gaps() if row[0].strip())


def write_frame(frame, path):
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }[path.suffix]()


def test_drop_empty_drops_empty_lists_of_words_and_refuses_empty_words(tmp_path):
    frame = pd.DataFrame({"text": [[] if row % 5 == 4 else [f"w{row}"] for row in range(50)], "label": list("ab") * 25})
    frame.to_parquet(tmp_path / "t.parquet")

    assert len(read_all(tmp_path / "t.parquet", drop_empty=True)) == 40
    frame["text"] = [[""], *frame["text"][1:]]
    frame.to_parquet(tmp_path / "t.parquet")
    assert "row 1: the column 'text' holds a list with an empty word" in refusal(
        tmp_path / "t.parquet", drop_empty=True
    )


def test_other_columns_of_dropped_rows_are_ignored(tmp_path):
    table_rows = [*rows(), ("", ""), (" ", "another")]

    assert read_all(write(tmp_path / "t.csv", table_rows), drop_empty=True) == sorted(rows())


def test_dropped_rows_do_not_change_the_numbers_of_later_rows(tmp_path):
    table_rows = [("", "pos"), *rows(), ("text", "pos ")]

    assert f"row 62: class 'pos ' and class 'pos' ({tmp_path / 't.csv'}, row 2)" in refusal(
        write(tmp_path / "t.csv", table_rows), drop_empty=True
    )
    assert "row 62: the column 'label' is empty" in refusal(
        write(tmp_path / "t.csv", [*table_rows[:-1], ("text", "")]), drop_empty=True
    )


def test_a_file_without_any_text_is_refused(tmp_path):
    error = refusal(write(tmp_path / "t.csv", [("", "a"), ("", "b")]), drop_empty=True)

    assert (
        f"{tmp_path / 't.csv'}: none of its 2 rows has a text in the column 'text'; set data.text_column=NAME" in error
    )


def test_the_plan_counts_dropped_rows_and_drop_empty_changes_the_digest(home, tmp_path):
    path = write(tmp_path / "t.csv", [*with_gaps(), *(("", "a"),) * 1_000])
    whole = write(tmp_path / "whole.csv", [row for row in with_gaps() if row[0].strip()])

    data = encoded.load(Table(path=str(path), drop_empty=True))

    assert "  1,020 rows without a text are dropped (data.drop_empty=true)" in summary(data)
    assert "  every row has a text (data.drop_empty=true)" in summary(
        encoded.load(Table(path=str(whole), drop_empty=True))
    )
    assert not [line for line in summary(encoded.load(Table(path=str(whole)))) if "drop_empty" in line]
    assert encoded.load(Table(path=str(whole))).digest != encoded.load(Table(path=str(whole), drop_empty=True)).digest


def test_all_three_files_may_have_rows_without_a_text(home, tmp_path):
    paths = [
        write(
            tmp_path / f"{name}.csv", [(f"{text} {name}" if text.strip() else "", label) for text, label in with_gaps()]
        )
        for name in SPLITS
    ]

    data = encoded.load(
        Table(path=str(paths[0]), validation_path=str(paths[1]), test_path=str(paths[2]), drop_empty=True)
    )

    assert "  60 rows without a text are dropped (data.drop_empty=true)" in summary(data)
    assert [len(data.split(name).labels) for name in SPLITS] == [60, 60, 60]


# Delimiters


@pytest.mark.parametrize(("sign", "name"), [("\t", "tab"), (";", "semicolon"), ("|", "pipe"), (",", "comma")])
def test_a_table_is_read_with_the_chosen_delimiter(tmp_path, sign, name):
    path = tmp_path / "t.csv"
    table_rows = [(f'{text}, and; \t "{label}" | so on', label) for text, label in rows()]
    pd.DataFrame(table_rows, columns=["text", "label"]).to_csv(path, index=False, sep=sign)

    assert read_all(path, delimiter=name) == sorted(table_rows)
    assert read_all(path, delimiter=sign) == sorted(table_rows)


def test_tabs_are_read_in_a_file_that_ends_in_tsv(tmp_path):
    for name in ("t.tsv", "T.TSV"):
        assert read_all(write(tmp_path / name, rows(), sign="\t")) == sorted(rows())


def test_a_quote_that_swallows_rows_is_refused_with_any_delimiter(tmp_path):
    table_rows = rows()
    table_rows[2], table_rows[5] = (f'"{table_rows[2][0]}', "pos"), ('he said yes"', "pos")

    assert "row 3: the column 'text' holds 4 lines, and some look like separate rows" in refusal(
        write(tmp_path / "t.tsv", table_rows, sign="\t")
    )


@pytest.mark.parametrize(
    ("name", "sign", "given", "fix"),
    [
        ("t.csv", ";", None, "Its header is separated by semicolons; set data.delimiter=semicolon"),
        ("t.csv", "\t", None, "Its header is separated by tabs; set data.delimiter=tab"),
        ("t.csv", "|", None, "Its header is separated by pipes; set data.delimiter=pipe"),
        ("t.tsv", ",", None, "Its header is separated by commas; set data.delimiter=comma"),
        ("t.csv", ",", "semicolon", "Its header is separated by commas; set data.delimiter=comma"),
        ("t.tsv", "\t", "comma", "Its header is separated by tabs; set data.delimiter=tab"),
        (
            "t.csv",
            "^",
            None,
            "Set data.delimiter to its delimiter (comma, tab, semicolon, pipe), or data.text_column=NAME",
        ),
    ],
)
def test_a_wrong_delimiter_is_recognised_by_the_header(tmp_path, name, sign, given, fix):
    assert refusal(write(tmp_path / name, rows(), sign=sign), delimiter=given).endswith(fix)


def test_a_wrong_delimiter_is_recognised_if_other_columns_contain_commas(tmp_path):
    table_rows = [(*row, "a, b") for row in rows()]

    error = refusal(write(tmp_path / "t.csv", table_rows, sign=";", header=("text", "label", "source, date")))

    assert "Its header is separated by semicolons; set data.delimiter=semicolon" in error


def test_a_wrong_delimiter_is_recognised_if_names_are_in_quotes(tmp_path):
    pd.DataFrame(rows(), columns=["text", "label"]).to_csv(
        tmp_path / "t.csv", index=False, sep=";", quoting=csv.QUOTE_ALL
    )

    assert refusal(tmp_path / "t.csv").endswith("Its header is separated by semicolons; set data.delimiter=semicolon")
    assert read_all(tmp_path / "t.csv", delimiter="semicolon") == sorted(rows())


def test_a_missing_column_is_not_reported_as_a_wrong_delimiter(tmp_path):
    error = refusal(write(tmp_path / "t.csv", rows(), header=("text; or so", "label")))

    assert error.endswith("no column 'text'; it has text; or so, label. Set data.text_column=NAME")


def test_rows_with_another_delimiter_than_the_header_are_recognised(tmp_path):
    table_rows = [(f"{text};{label}",) for text, label in rows()]

    message = "60 rows have 1 field, the header has 2 (text, label): rows 1, 2, 3, 4, 5 and 55 more. "
    message += "Semicolons separate their fields, and commas those of the header; use one delimiter"

    assert refusal(write(tmp_path / "t.csv", table_rows)).endswith(message)


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_a_delimiter_is_refused_for_formats_without_one(tmp_path, name):
    write_frame(pd.DataFrame(rows(), columns=["text", "label"]), tmp_path / name)

    assert refusal(tmp_path / name, delimiter="tab").endswith(
        f"{name}: data.delimiter=tab is for .csv and .tsv; remove it"
    )


@pytest.mark.parametrize("got", ["", "::", "space", ",,"])
def test_the_error_about_another_delimiter_lists_the_allowed_ones(got):
    with pytest.raises(SettingsError, match="allowed: one of comma, tab, semicolon, pipe or null"):
        edited(Settings(data=Table(path="t.csv")), {"data.delimiter": got})


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08\0\0", "it is compressed (gzip); unpack it with `gunzip` or another program"),
        (
            b"PK\x03\x04\x14\0",
            "it is a zip archive, as Excel's .xlsx files are; unpack it, or save the sheet as CSV UTF-8",
        ),
        (b"PAR1\x15\x04", "it is Parquet; give it a name that ends in .parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "it is an old Excel file (.xls); save the sheet as CSV UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_an_error_names_the_format_of_a_file_with_a_wrong_ending(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content)

    assert refusal(tmp_path / name) == f"{tmp_path / name}: {what}"


def test_an_error_names_the_ending_of_a_compressed_table(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(b"\x1f\x8b\x08\0\0")

    assert "a table ends in .csv, .tsv, .jsonl, .parquet; got '.gz'. Unpack it first" in refusal(tmp_path / "t.csv.gz")


# Identities


def test_the_defaults_of_later_options_keep_the_digest_of_a_table(home, tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "_versions", lambda *_: ["1"])
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"text {row},{'ab'[row % 2]}\n" for row in range(40)), encoding="utf-8")

    assert encoded.load(Table(path=str(path))).digest == "97e174d6ff967d59"
    assert encoded.load(Table(path=str(path), delimiter="comma")).digest == "97e174d6ff967d59"


def test_equal_delimiters_give_equal_digests_and_another_delimiter_gives_another(home, tmp_path):
    table_rows = [(f"{text};x", label) for text, label in rows()]
    by_ending = encoded.load(Table(path=str(write(tmp_path / "t.tsv", table_rows, sign="\t"))))
    by_name = encoded.load(Table(path=str(write(tmp_path / "t.csv", table_rows, sign="\t")), delimiter="tab"))
    both = write(tmp_path / "both.csv", rows(), sign=",", header=("text", "label"))

    assert by_ending.digest == by_name.digest
    assert encoded.load(Table(path=str(both))).digest != by_name.digest


# Classes


@pytest.mark.parametrize(
    "value",
    [
        lambda row: f"{row / 7:.3f}",
        lambda row: f"{row / 7:.3f}".replace(".", ","),
        lambda row: f"{row / 7:e}",
        lambda row: -row / 8,
    ],
)
def test_numbers_on_a_scale_are_refused_as_classes_and_the_error_says_the_fix(tmp_path, value):
    table_rows = [(f"text {row}", str(value(row % 70))) for row in range(700)]

    error = refusal(write(tmp_path / "t.csv", table_rows, sign="|"), delimiter="pipe")

    assert "the column 'label' holds numbers on a scale, 70 different numbers in 700 rows (" in error
    assert "Classes are needed: write ranges of the numbers, such as low and high, to a new column" in error
    assert "write a letter before each number if it is a class" in error


def test_a_different_number_in_each_row_is_refused_as_classes(tmp_path):
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        write_frame(
            pd.DataFrame([(f"t {row}", row / 8) for row in range(12)], columns=["text", "label"]), tmp_path / name
        )

        assert "holds numbers on a scale, 12 different numbers in 12 rows (0.0, 0.125, 0.25, …)" in refusal(
            tmp_path / name
        )


@pytest.mark.parametrize(
    "names", [[str(n / 2) for n in range(11)], [str(n) for n in range(60)], [f"v{n / 8}" for n in range(60)]]
)
def test_ratings_integers_and_names_are_accepted_as_classes(tmp_path, names):
    assert corpus(write(tmp_path / "t.csv", rows(len(names) * 12, names))).classes == sorted(names)


@pytest.mark.parametrize("label", [lambda row: f"id{row}", str])
def test_a_column_that_differs_in_every_row_is_refused_as_classes(tmp_path, label):
    table_rows = [(f"text {row}", label(row)) for row in range(100)]

    error = refusal(write(tmp_path / "t.csv", table_rows))

    assert "the column 'label' holds 100 different values in 100 rows; does it hold the classes?" in error
    assert error.endswith("Set data.label_column=NAME")


def test_an_error_counts_all_classes_that_look_alike(tmp_path):
    table_rows = [*rows(), ("a", "pos "), ("b", " pos"), ("c", "neg "), ("d", "neg ")]

    error = refusal(write(tmp_path / "t.csv", table_rows))

    assert "row 61: class 'pos ' and class 'pos'" in error
    assert error.endswith("use one spelling. In all, 4 rows have such a name: rows 61, 62, 63, 64")


OR_SPACE = "differ only in upper and lower case, white space or the form of their letters"


@pytest.mark.parametrize(
    ("names", "warning"),
    [
        (["pos", "Pos", "neg"], "the classes 'Pos' and 'pos' differ only in upper and lower case"),
        (
            ["pos ", "Pos", "neg"],
            f"the classes 'Pos' and 'pos ' {OR_SPACE}",
        ),
        (
            ["pos", "\uff30os", "neg"],
            f"the classes 'pos' and '\uff30os' {OR_SPACE}",
        ),
        (["1", "1.0", "2"], "the classes '1' and '1.0' are the same number"),
        (["01", "1", "2"], "the classes '01' and '1' are the same number"),
        (["pos", "nan", "neg"], "the class 'nan' looks like a missing value"),
        (["pos", "None", "neg"], "the class 'None' looks like a missing value"),
        (["0.5", "1.5", "2.5"], "the classes are numbers with decimals; training does not use their order"),
    ],
)
def test_the_plan_warns_about_class_names_that_may_be_a_mistake(home, tmp_path, names, warning):
    data = encoded.load(Table(path=str(write(tmp_path / "t.csv", rows(40 * len(names), names)))))

    assert [line for line in summary(data) if warning in line], summary(data)
    assert len([line for line in summary(data) if "class" in line and "warning" in line]) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["0", "1"],
        ["pos", "neg"],
        ["1.0", "2.0"],
        ["a", "b"],
        ["na\u00efve", "plain"],
        ["1e3", "high"],
        ["9" * 400 + "1", "9" * 400 + "2"],
        ["9007199254740992", "9007199254740993"],
        ["1e400", "-1e400"],
        ["1e-999999999", "1e999999999", "x"],
    ],
)
def test_usual_class_names_give_no_warning(home, tmp_path, names):
    data = encoded.load(Table(path=str(write(tmp_path / "t.csv", rows(40 * len(names), names)))))

    assert not [line for line in summary(data) if "warning" in line and "class" in line]


# The command line


def test_the_options_are_set_on_the_command_line(home, tmp_path, capsys):
    path = write(tmp_path / "t.csv", [*rows(), ("", "pos")], sign=";")
    words = ["data=table", f"data.path={path}", "plan_only=true", "tracking=offline"]

    for given in ("semicolon", '";"'):
        assert run.main([*words, f"data.delimiter={given}", "data.drop_empty=true"]) == 0
        assert "1 row without a text is dropped (data.drop_empty=true)" in capsys.readouterr().out
    assert run.main([*words, "data.delimiter=semicolon"]) == 2
    assert "Set data.drop_empty=true to drop it" in capsys.readouterr().err


def test_the_error_about_a_broken_json_line_names_the_position(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "a", "label": "b"}) + "\nnonsense\n", encoding="utf-8")

    assert "t.jsonl, row 2: not JSON (Expecting value: line 1 column 1 (char 0))" in refusal(tmp_path / "t.jsonl")
