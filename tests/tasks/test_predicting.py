"""The answers of `src.predict`. The models are functions, so TensorFlow is not imported."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.artifacts import MODEL, SETTINGS
from src.data import texts
from src.data.batching import Padding
from src.data.files import MAX_CHARACTERS, DataError
from src.data.texts import Line
from src.parts.words.preprocessing import FILE, Loaded, Preprocessing
from src.paths import REPOSITORY
from src.tasks.sentiment import predicting
from src.tasks.sentiment.settings import Settings

FILES = (SETTINGS, FILE, MODEL)
GOOD = 4  # the id of the word `good`


def counting(ids, training):
    """A model that adds 1 for each `good`, and subtracts 1 for any other word and 0.1 for a padded step."""
    return ((ids == GOOD) * 2.0 - (ids > 1) - (ids == 0) * 0.1).sum(axis=1, keepdims=True).astype(np.float32)


def three(ids, training):
    good = (ids == GOOD).sum(axis=1)
    return np.stack([good, 0 * good, 0 * good - 1], axis=1).astype(np.float32)


def trained(model=counting, classes=("bad", "good"), *, tokens="word", padding=None, **settings):
    head = "sigmoid" if len(classes) == 2 else "softmax"
    of_trial = Settings.model_validate({"implementation": "eager_loop", "head": head, **settings})
    padding = padding or Padding((4, 8), False, "post")
    return Loaded(of_trial, model, Preprocessing(["good", "film"], list(classes), padding, tokens))


@pytest.fixture
def ask(home, tmp_path, monkeypatch, capsys):
    """Returns a function that lets models answer, and returns exit code, output and errors."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it would raise

    def call(*arguments, models=None):
        models = models or {"run": trained()}
        for name in models:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            (folder / SETTINGS).touch()
            (folder / MODEL).write_text(name.partition("_copy")[0], encoding="utf-8")
        monkeypatch.setattr(predicting, "_loaded", lambda folder: models[folder.name])
        names = ",".join(str(tmp_path / name) for name in models)
        code = predicting.main([names, *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def chance(*outputs):
    return [1 / (1 + np.exp(-output)) for output in outputs]


# Rows


def test_every_line_of_a_file_has_a_row_even_if_it_is_blank(ask, tmp_path):
    (tmp_path / "t.txt").write_text("good\n\nfilm\n \n?!\ngood film\n\n", encoding="utf-8")

    code, out, err = ask("--file", str(tmp_path / "t.txt"))

    assert code == 1
    assert [line.split("\t")[0] for line in out.split("\n")] == ["good", "na", "bad", "na", "na", "bad", "na", ""]
    assert err == "error: 4 of 7 texts have no answer: rows 2, 4, 5, 7 (row 2: it is blank)\n"


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\0", codec="utf-8")), max_size=20), st.integers(1, 7))
def test_lines_do_not_depend_on_the_size_of_the_reads(tmp_path_factory, written, size):
    content = "".join(f"{line}\n" for line in written).encode()
    stream = io.BytesIO(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "SIZE", size)
        read = [line for batch in texts.lines(stream, "t") for line in batch]

    written = [written[0].removeprefix("\ufeff"), *written[1:]] if written else []  # the byte-order mark of the file
    assert [line.text for line in read] == written
    assert [line.fault for line in read] == [None if line.strip() else "it is blank" for line in written]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["", "\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_file_of_texts_may_have_any_unicode_encoding_and_line_ends(tmp_path, encoding, end, size, monkeypatch):
    monkeypatch.setattr(texts, "SIZE", size)
    (tmp_path / "t.txt").write_bytes(f"schön\r\n\r\ngut \u2028 so{end}".encode(encoding))

    with texts.opened(str(tmp_path / "t.txt")) as stream:
        read = [line for batch in texts.lines(stream, "t.txt") for line in batch]

    assert read == [Line("schön"), Line("", "it is blank"), Line("gut \u2028 so")]


def test_invalid_bytes_are_a_fault_of_their_line_alone(ask, tmp_path):
    (tmp_path / "t.txt").write_bytes(b"good\nsch\xf6n\ngo\0od\nfilm")

    code, out, _ = ask("--file", str(tmp_path / "t.txt"))

    lines = out.splitlines()
    assert code == 1 and len(lines) == 4
    assert lines[1].startswith("na\tna\tbyte 0xf6 is not UTF-8; convert the file to UTF-8\t")
    assert lines[2].startswith("na\tna\tit contains a zero byte, as UTF-16 without")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfea\0\n", "its byte-order mark is that of UTF-16, but its bytes are not"),
        (b"\x1f\x8b\x08\0\0\0", "it is compressed (gzip)"),
        (b"PK\x03\x04\0\0", "it is a zip archive"),
    ],
)
def test_a_file_that_is_not_text_is_refused(ask, tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)

    code, out, err = ask("--file", str(tmp_path / "t.txt"))

    assert code == 2 and out == "" and f"error: {tmp_path / 't.txt'}: {message}" in err and len(err.splitlines()) == 1


def test_a_line_of_100_megabytes_is_a_fault_and_is_not_kept_in_memory(ask, tmp_path):
    with (tmp_path / "t.txt").open("w", encoding="utf-8") as file:
        file.write("good\n")
        file.writelines("word " * 200_000 for _ in range(100))  # 100 MB
        file.write("\ngood\n")
    tracemalloc.start()

    code, out, err = ask("--file", str(tmp_path / "t.txt"), "--format", "jsonl")

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (tmp_path / "t.txt").unlink()
    assert code == 1 and [json.loads(line)["class"] for line in out.splitlines()] == ["good", None, "good"]
    assert f"row 2: it has more than {MAX_CHARACTERS:,} characters; split it" in err and peak < 90_000_000


def test_a_large_file_is_read_in_parts(ask, tmp_path):
    (tmp_path / "t.txt").write_text("a good film\n" * 300_000, encoding="utf-8")
    tracemalloc.start()

    with texts.opened(str(tmp_path / "t.txt")) as stream:
        first = predicting.answers([predicting.Classifier(trained())], next(texts.lines(stream, "t")))

    assert 10_000 < len(first) < 200_000
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("arguments", [[], ["--file", "empty.txt"]])
def test_a_call_without_any_text_is_a_usage_error(ask, tmp_path, arguments):
    (tmp_path / "empty.txt").touch()

    code, _, err = ask(*arguments)

    assert code == 2 and "no text" in err


def test_texts_of_the_command_line_come_before_those_of_the_file(ask, tmp_path):
    (tmp_path / "t.txt").write_text("film\n", encoding="utf-8")

    code, out, _ = ask("good", "", "--file", str(tmp_path / "t.txt"), "--format", "csv")

    assert code == 1 and [row["row"] + row["class"] for row in csv.DictReader(io.StringIO(out))] == [
        "1good",
        "2",
        "3bad",
    ]


# Answers


def test_the_probabilities_of_all_classes_are_given_in_every_format(ask):
    exp = np.exp([1.0, 0.0, -1.0])
    expected = dict(zip(("a", "b", "c"), exp / exp.sum(), strict=True))
    models = {"run": trained(three, ("a", "b", "c"))}

    rows = list(csv.DictReader(io.StringIO(ask("good", "--format", "csv", models=models)[1])))
    as_json = json.loads(ask("good", "--format", "jsonl", models=models)[1])

    assert {name: float(rows[0][f"probability_{name}"]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert (
        rows[0]["class"] == "a"
        and float(rows[0]["probability"]) == pytest.approx(expected["a"], rel=1e-5)
        and rows[0]["error"] == ""
    )
    assert as_json == {
        "row": 1,
        "text": "good",
        "class": "a",
        "probabilities": pytest.approx(expected, rel=1e-5),
        "error": None,
    }
    assert ask("good", models=models)[1] == "a\t0.665\tb 0.245, c 0.090\tgood\n"


def test_the_text_format_shows_only_the_most_likely_of_many_classes(ask):
    names = tuple(f"c{number}" for number in range(40))

    def model(ids, training):
        return np.tile(np.linspace(3, 0, 40, dtype=np.float32), (len(ids), 1))

    out = ask("good", models={"run": trained(model, names)})[1]

    assert (
        out.split("\t")[2].startswith("c1 ")
        and out.split("\t")[2].endswith(", … (40 classes)")
        and "c5 " in out
        and "c6 " not in out
    )


def test_a_row_without_an_answer_gives_the_reason_in_every_format(ask):
    rows = list(csv.DictReader(io.StringIO(ask("?!", "good", "--format", "csv")[1])))
    as_json = [json.loads(line) for line in ask("?!", "good", "--format", "jsonl")[1].splitlines()]

    assert rows[0] == {
        "row": "1",
        "text": "?!",
        "class": "",
        "probability": "",
        "probability_bad": "",
        "probability_good": "",
    } | {"error": "it has no words (no letter and no digit)"}
    assert as_json[0] == {"row": 1, "text": "?!", "class": None, "probabilities": None, "error": rows[0]["error"]}
    assert rows[1]["class"] == as_json[1]["class"] == "good"


def test_options_may_come_anywhere_among_the_texts(ask):
    for words in (
        ["--format", "csv", "good", "film"],
        ["good", "--format", "csv", "film"],
        ["good", "film", "--format", "csv"],
    ):
        assert ask(*words)[1].count("\n") == 3


def test_a_spreadsheet_reads_no_cell_as_a_formula(ask):
    cells = ["=1+1 good", "@good", "+good", "\tgood", "-5 good", "good"]

    out = ask("--format", "csv", "--", *cells, models={"run": trained(classes=("=a", "b"))})[1]

    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["text"] for row in rows] == ["'=1+1 good", "'@good", "'+good", "'\tgood", "'-5 good", "good"]
    assert {row["class"] for row in rows} == {"'=a", "b"} and "probability_=a" in rows[0]


@pytest.mark.parametrize("format", ["text", "csv", "jsonl"])
def test_a_text_with_line_ends_quotes_and_escapes_remains_one_row(ask, format):
    text = 'good\n"film"\t\x1b[31m,\r\u2028 \u202e'

    code, out, _ = ask(text, "good", "--format", format)

    assert code == 0
    if format == "csv":
        assert [row["text"] for row in csv.DictReader(io.StringIO(out, newline=""))] == [text, "good"]
    elif format == "jsonl":
        assert [json.loads(line)["text"] for line in out.split("\n") if line] == [text, "good"]
    else:
        assert len(out.splitlines()) == 2 and "\x1b" not in out and "\u202e" not in out


@pytest.mark.parametrize(
    "padding", [Padding((4, 8), False, "post"), Padding((8,), True, "post"), Padding((3, 5), False, "pre")]
)
@given(st.lists(st.lists(st.sampled_from(["good", "film", "other"]), min_size=1, max_size=12), min_size=1, max_size=9))
def test_the_answer_to_a_text_does_not_depend_on_the_other_texts(padding, split):
    classifier = predicting.Classifier(trained(padding=padding, max_length=9, batch_size=2))
    several = [" ".join(words) for words in split]

    together = classifier.probabilities(several)

    np.testing.assert_array_equal(together, np.concatenate([classifier.probabilities([text]) for text in several]))


@pytest.mark.parametrize("side", ["post", "pre"])
def test_a_text_is_padded_to_its_bucket_on_the_side_of_training(side):
    seen = []

    def model(ids, training):
        seen.extend(ids.tolist())
        return np.zeros((len(ids), 1), np.float32)

    predicting.probabilities(
        trained(model, padding=Padding((2, 4), False, side)), ["good", "good film", "good good good good film"]
    )

    padded = [1, GOOD, 5, 0] if side == "post" else [0, 1, GOOD, 5]
    assert seen == [[1, GOOD], padded, [1, GOOD, GOOD, GOOD, GOOD, 5]]


def test_a_warning_counts_the_texts_without_a_known_word(ask):
    code, out, err = ask("good plot", "a plot", "?!", "很好看的电影")

    assert code == 1 and len(out.splitlines()) == 4
    assert err.splitlines()[0] == "warning: the model knows no word in 2 of 4 texts: rows 2, 4"


def test_outputs_that_are_not_finite_are_refused(ask):
    code, _, err = ask(
        "good", models={"run": trained(lambda ids, training: np.full((len(ids), 1), np.nan, np.float32))}
    )

    assert code == 2 and "the model's outputs are not finite numbers" in err


# Several trials


def tripled(ids, training):
    return 3 * counting(ids, training)


def test_several_trials_answer_with_the_mean_of_their_probabilities(ask):
    code, out, err = ask("good good film", "--format", "jsonl", models={"one": trained(), "two": trained(tripled)})

    assert code == 0 and err == "each probability is the mean of 2 trials\n"
    first, second = chance(*(model(np.array([[1, GOOD, GOOD, 5]]), False)[0, 0] for model in (counting, tripled)))
    assert json.loads(out)["probabilities"]["good"] == pytest.approx((first + second) / 2, rel=1e-5)


def test_trials_with_different_classes_are_refused(ask):
    code, out, err = ask("good", models={"one": trained(), "two": trained(classes=("neg", "pos"))})

    assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert (
        "one has the classes bad, good and " in err
        and "two has the classes neg, pos; only trials with the same classes can" in err
    )


def test_a_trial_that_is_named_twice_is_refused(ask, tmp_path):
    code, _, err = ask("good", models={"one": trained(), "one_copy": trained()})
    assert (
        code == 2 and f"RUN: {tmp_path / 'one'} and {tmp_path / 'one_copy'} are the same trial; name each once" in err
    )

    assert predicting.main([f"{tmp_path / 'one'},{tmp_path / 'one'}", "good"]) == 2


def test_a_text_has_no_answer_if_one_of_several_trials_cannot_read_it(ask):
    code, out, _ = ask("?!", "good", models={"one": trained(tokens="list"), "two": trained(tripled)})

    assert code == 1 and [line.split("\t")[0] for line in out.splitlines()] == ["na", "good"]


def test_a_folder_with_a_comma_in_its_name_is_one_trial(ask):
    assert ask("good", models={"a,b": trained()})[:1] == (0,)


# Standard input


def test_a_line_is_answered_before_the_next_line_arrives(home, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "in")
    os.mkfifo(tmp_path / "out")
    (tmp_path / "run").mkdir()
    for name in FILES:
        (tmp_path / "run" / name).touch()
    monkeypatch.setattr(predicting, "_loaded", lambda folder: trained())
    codes = []

    def answer():
        with (tmp_path / "out").open("w", encoding="utf-8") as out:
            monkeypatch.setattr(sys, "stdout", out)
            codes.append(predicting.main([str(tmp_path / "run"), "--file", str(tmp_path / "in")]))

    thread = threading.Thread(target=answer)
    thread.start()
    with (tmp_path / "out").open(encoding="utf-8") as out, (tmp_path / "in").open("w", encoding="utf-8") as input_:
        for line, label in (("good", "good"), ("film", "bad"), ("", "na"), ("good", "good")):
            input_.write(f"{line}\n")
            input_.flush()
            assert out.readline().split("\t")[0] == label
    thread.join(timeout=30)
    assert codes == [1]


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from src.tasks.sentiment import predicting
from test_predicting import trained
predicting._loaded = lambda folder: trained()
sys.exit(predicting.main(sys.argv[1:]))
"""


def program(tmp_path, *arguments, **more):
    for name in FILES:
        (tmp_path / name).touch()
    words = [sys.executable, "-c", PROGRAM.format(tests=str(REPOSITORY / "tests" / "tasks")), str(tmp_path), *arguments]
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, check=False, **more)


def test_a_dash_as_the_file_means_standard_input(tmp_path):
    expected = "warning: the model knows no word in 1 of 3 texts: row 2\n"
    expected += "error: 1 of 3 texts has no answer: row 3: byte 0xff is not UTF-8; convert the file to UTF-8\n"

    done = program(tmp_path, "--file", "-", "--format", "jsonl", input="\ufeffgood\r\nschön\n".encode() + b"\xff\n")

    rows = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert done.returncode == 1, done.stderr
    assert [row["text"] for row in rows[:2]] == ["good", "schön"]
    assert [row["class"] for row in rows] == ["good", "bad", None]
    assert done.stderr.decode() == expected


def test_a_reader_that_stops_early_causes_no_error(tmp_path):
    (tmp_path / "t.txt").write_text("good\n" * 50_000, encoding="utf-8")
    for name in FILES:
        (tmp_path / name).touch()
    words = [
        sys.executable,
        "-c",
        PROGRAM.format(tests=str(REPOSITORY / "tests" / "tasks")),
        str(tmp_path),
        "--file",
        str(tmp_path / "t.txt"),
    ]
    process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.txt: No such file"):
        texts.opened(str(tmp_path / "gone.txt"))
