"""What `src.predict` answers, with models that are functions: TensorFlow is not imported."""

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
from src.data.files import MOST, DataError
from src.data.texts import Line
from src.parts.words.preprocessing import FILE, Loaded, Preprocessing
from src.paths import REPOSITORY
from src.tasks.sentiment import predicting
from src.tasks.sentiment.settings import Settings

FILES = (SETTINGS, FILE, MODEL)
GOOD = 4  # the id of the word `good`


def counting(ids, training):
    """A model that says how often a text has the word `good`, minus one for other words; padding counts a tenth."""
    return ((ids == GOOD) * 2.0 - (ids > 1) - (ids == 0) * 0.1).sum(axis=1, keepdims=True).astype(np.float32)


def three(ids, training):
    good = (ids == GOOD).sum(axis=1)
    return np.stack([good, 0 * good, 0 * good - 1], axis=1).astype(np.float32)


def trained(model=counting, classes=("bad", "good"), *, tokens="word", padding=None, **settings):
    head = "sigmoid" if len(classes) == 2 else "softmax"
    of = Settings.model_validate({"implementation": "eager_loop", "head": head, **settings})
    return Loaded(
        of, model, Preprocessing(["good", "film"], list(classes), padding or Padding((4, 8), False, "post"), tokens)
    )


@pytest.fixture
def ask(home, tmp_path, monkeypatch, capsys):
    """Returns a function that has models answer, and gives exit code, output and errors."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it would raise

    def asked(*arguments, models=None):
        models = models or {"run": trained()}
        for name in models:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            (folder / SETTINGS).touch()
            (folder / MODEL).write_text(name.partition("_copy")[0], encoding="utf-8")
        monkeypatch.setattr(predicting, "_loaded", lambda folder: models[folder.name])
        names = ",".join(str(tmp_path / name) for name in models)
        code = predicting.main([names, *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return asked


def chance(*outputs):
    return [1 / (1 + np.exp(-output)) for output in outputs]


# Rows


def test_every_line_of_a_file_has_its_row_blank_ones_too(ask, tmp_path):
    (tmp_path / "t.txt").write_text("good\n\nfilm\n \n?!\ngood film\n\n", encoding="utf-8")

    code, out, err = ask("--file", str(tmp_path / "t.txt"))

    assert code == 1
    assert [line.split("\t")[0] for line in out.split("\n")] == ["good", "na", "bad", "na", "na", "bad", "na", ""]
    assert err == "error: 4 of 7 texts have no answer: rows 2, 4, 5, 7 (row 2: it is blank)\n"


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\0", codec="utf-8")), max_size=20), st.integers(1, 7))
def test_lines_are_those_of_the_file_whatever_the_size_of_the_reads(tmp_path_factory, given, size):
    content = "".join(f"{line}\n" for line in given).encode()
    stream = io.BytesIO(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "SIZE", size)
        found = [line for batch in texts.lines(stream, "t") for line in batch]

    given = [given[0].removeprefix("\ufeff"), *given[1:]] if given else []  # the mark of the file
    assert [line.text for line in found] == given
    assert [line.fault for line in found] == [None if line.strip() else "it is blank" for line in given]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["", "\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_file_of_texts_is_read_whatever_its_bytes_and_ends_of_lines(tmp_path, encoding, end, size, monkeypatch):
    monkeypatch.setattr(texts, "SIZE", size)
    (tmp_path / "t.txt").write_bytes(f"schön\r\n\r\ngut \u2028 so{end}".encode(encoding))

    with texts.opened(str(tmp_path / "t.txt")) as stream:
        found = [line for batch in texts.lines(stream, "t.txt") for line in batch]

    assert found == [Line("schön"), Line("", "it is blank"), Line("gut \u2028 so")]


def test_bytes_that_are_no_text_are_a_fault_of_their_own_line(ask, tmp_path):
    (tmp_path / "t.txt").write_bytes(b"good\nsch\xf6n\ngo\0od\nfilm")

    code, out, _ = ask("--file", str(tmp_path / "t.txt"))

    lines = out.splitlines()
    assert code == 1 and len(lines) == 4
    assert lines[1].startswith("na\tna\tbyte 0xf6 is not UTF-8; convert the file to UTF-8\t")
    assert lines[2].startswith("na\tna\tit holds a zero byte, as UTF-16 without")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfea\0\n", "its byte-order mark says UTF-16, but it is not"),
        (b"\x1f\x8b\x08\0\0\0", "it is compressed (gzip)"),
        (b"PK\x03\x04\0\0", "it is a zip archive"),
    ],
)
def test_a_file_that_is_no_text_at_all_is_refused(ask, tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)

    code, out, err = ask("--file", str(tmp_path / "t.txt"))

    assert code == 2 and out == "" and f"error: {tmp_path / 't.txt'}: {message}" in err and len(err.splitlines()) == 1


def test_a_line_as_long_as_a_library_is_a_fault_of_its_own_and_is_not_held(ask, tmp_path):
    with (tmp_path / "t.txt").open("w", encoding="utf-8") as file:
        file.write("good\n")
        file.writelines("word " * 200_000 for _ in range(100))  # 100 MB
        file.write("\ngood\n")
    tracemalloc.start()

    code, out, err = ask("--file", str(tmp_path / "t.txt"), "--format", "jsonl")

    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (tmp_path / "t.txt").unlink()
    assert code == 1 and [json.loads(line)["class"] for line in out.splitlines()] == ["good", None, "good"]
    assert f"row 2: it has more than {MOST:,} characters; divide it" in err and held < 90_000_000


def test_of_a_large_file_only_a_part_is_held(ask, tmp_path):
    (tmp_path / "t.txt").write_text("a good film\n" * 300_000, encoding="utf-8")
    tracemalloc.start()

    with texts.opened(str(tmp_path / "t.txt")) as stream:
        first = predicting.answers([predicting.Classifier(trained())], next(texts.lines(stream, "t")))

    assert 10_000 < len(first) < 200_000
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("arguments", [[], ["--file", "empty.txt"]])
def test_no_text_at_all_is_a_usage_error(ask, tmp_path, arguments):
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
    found = json.loads(ask("good", "--format", "jsonl", models=models)[1])

    assert {name: float(rows[0][f"probability_{name}"]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert (
        rows[0]["class"] == "a"
        and float(rows[0]["probability"]) == pytest.approx(expected["a"], rel=1e-5)
        and rows[0]["error"] == ""
    )
    assert found == {
        "row": 1,
        "text": "good",
        "class": "a",
        "probabilities": pytest.approx(expected, rel=1e-5),
        "error": None,
    }
    assert ask("good", models=models)[1] == "a\t0.665\tb 0.245, c 0.090\tgood\n"


def test_of_many_classes_the_text_format_shows_the_first(ask):
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


def test_a_row_without_an_answer_says_why_in_every_format(ask):
    rows = list(csv.DictReader(io.StringIO(ask("?!", "good", "--format", "csv")[1])))
    found = [json.loads(line) for line in ask("?!", "good", "--format", "jsonl")[1].splitlines()]

    assert rows[0] == {
        "row": "1",
        "text": "?!",
        "class": "",
        "probability": "",
        "probability_bad": "",
        "probability_good": "",
    } | {"error": "it has no words (no letter and no digit)"}
    assert found[0] == {"row": 1, "text": "?!", "class": None, "probabilities": None, "error": rows[0]["error"]}
    assert rows[1]["class"] == found[1]["class"] == "good"


def test_options_may_stand_anywhere_among_the_texts(ask):
    for words in (
        ["--format", "csv", "good", "film"],
        ["good", "--format", "csv", "film"],
        ["good", "film", "--format", "csv"],
    ):
        assert ask(*words)[1].count("\n") == 3


def test_cells_are_no_formulas(ask):
    cells = ["=1+1 good", "@good", "+good", "\tgood", "-5 good", "good"]

    out = ask("--format", "csv", "--", *cells, models={"run": trained(classes=("=a", "b"))})[1]

    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["text"] for row in rows] == ["'=1+1 good", "'@good", "'+good", "'\tgood", "'-5 good", "good"]
    assert {row["class"] for row in rows} == {"'=a", "b"} and "probability_=a" in rows[0]


@pytest.mark.parametrize("format", ["text", "csv", "jsonl"])
def test_a_text_with_line_ends_quotes_and_escapes_stays_one_row(ask, format):
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
def test_a_text_has_the_same_answer_alone_and_among_others(padding, split):
    classifier = predicting.Classifier(trained(padding=padding, max_length=9, batch_size=2))
    given = [" ".join(words) for words in split]

    together = classifier.probabilities(given)

    np.testing.assert_array_equal(together, np.concatenate([classifier.probabilities([text]) for text in given]))


@pytest.mark.parametrize("side", ["post", "pre"])
def test_a_text_is_padded_to_its_bucket_on_its_side(side):
    seen = []

    def model(ids, training):
        seen.extend(ids.tolist())
        return np.zeros((len(ids), 1), np.float32)

    predicting.probabilities(
        trained(model, padding=Padding((2, 4), False, side)), ["good", "good film", "good good good good film"]
    )

    padded = [1, GOOD, 5, 0] if side == "post" else [0, 1, GOOD, 5]
    assert seen == [[1, GOOD], padded, [1, GOOD, GOOD, GOOD, GOOD, 5]]


def test_texts_of_which_the_model_knows_no_word_are_counted(ask):
    code, out, err = ask("good plot", "a plot", "?!", "很好看的电影")

    assert code == 1 and len(out.splitlines()) == 4
    assert err.splitlines()[0] == "warning: no word is known to the model in 2 of 4 texts: rows 2, 4"


def test_outputs_that_are_no_numbers_are_refused(ask):
    code, _, err = ask(
        "good", models={"run": trained(lambda ids, training: np.full((len(ids), 1), np.nan, np.float32))}
    )

    assert code == 2 and "the model's outputs are no numbers" in err


# Several trials


def other(ids, training):
    return 3 * counting(ids, training)


def test_several_trials_answer_with_the_mean_of_their_probabilities(ask):
    code, out, err = ask("good good film", "--format", "jsonl", models={"one": trained(), "two": trained(other)})

    assert code == 0 and err == "each probability is the mean of 2 trials\n"
    first, second = chance(*(model(np.array([[1, GOOD, GOOD, 5]]), False)[0, 0] for model in (counting, other)))
    assert json.loads(out)["probabilities"]["good"] == pytest.approx((first + second) / 2, rel=1e-5)


def test_trials_of_other_classes_are_refused(ask):
    code, out, err = ask("good", models={"one": trained(), "two": trained(classes=("neg", "pos"))})

    assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert (
        "one has the classes bad, good and " in err
        and "two has the classes neg, pos; only trials with the same classes can" in err
    )


def test_one_trial_twice_is_refused(ask, tmp_path):
    code, _, err = ask("good", models={"one": trained(), "one_copy": trained()})
    assert (
        code == 2 and f"RUN: {tmp_path / 'one'} and {tmp_path / 'one_copy'} are the same trial; name each once" in err
    )

    assert predicting.main([f"{tmp_path / 'one'},{tmp_path / 'one'}", "good"]) == 2


def test_a_text_that_one_of_several_cannot_read_has_no_answer(ask):
    code, out, _ = ask("?!", "good", models={"one": trained(tokens="list"), "two": trained(other)})

    assert code == 1 and [line.split("\t")[0] for line in out.splitlines()] == ["na", "good"]


def test_a_folder_with_a_comma_in_its_name_is_one_trial(ask):
    assert ask("good", models={"a,b": trained()})[:1] == (0,)


# Standard input


def test_a_line_is_answered_before_the_next_one_comes(home, tmp_path, monkeypatch):
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
    with (tmp_path / "out").open(encoding="utf-8") as out, (tmp_path / "in").open("w", encoding="utf-8") as asked:
        for line, label in (("good", "good"), ("film", "bad"), ("", "na"), ("good", "good")):
            asked.write(f"{line}\n")
            asked.flush()
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


def test_standard_input_is_a_file_named_by_a_dash(tmp_path):
    said = "warning: no word is known to the model in 1 of 3 texts: row 2\n"
    said += "error: 1 of 3 texts has no answer: row 3: byte 0xff is not UTF-8; convert the file to UTF-8\n"

    done = program(tmp_path, "--file", "-", "--format", "jsonl", input="\ufeffgood\r\nschön\n".encode() + b"\xff\n")

    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert done.returncode == 1, done.stderr
    assert [one["text"] for one in found[:2]] == ["good", "schön"] and [one["class"] for one in found] == [
        "good",
        "bad",
        None,
    ]
    assert done.stderr.decode() == said


def test_whoever_has_read_enough_is_no_error(tmp_path):
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
