"""What one does with a trained language model: `python -m src.use RUN generate` and `score`."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from docs import samples, strategies
from src import use
from src.artifacts import MODEL, SETTINGS, Artifacts
from src.config.settings import edited
from src.data.tokens import START, UNKNOWN
from src.models import generation
from src.models.generation import Search
from src.paths import REPOSITORY
from src.tasks.language_model import scoring, stepping, trained, vocabulary
from src.tasks.language_model.settings import Settings
from src.tasks.language_model.stepping import Stepper
from src.tasks.language_model.task import TASK
from src.tasks.language_model.texts import END
from src.training import model_file

V, D, H = 12, 5, 4
SMALL = {"vocab_size": V, "embedding_dim": D, "units": H}
WORDS = ["this", "film", "was", "good", "don't", "bad"]  # ids 4 to 9; no words have the ids 10 and 11
OTHERS = [  # every way in which a model may differ, beside its cell, depth and tied weights
    {"implementation": "keras", "cell": "lstm"},
    {"implementation": "keras", "cell": "gru"},
    {"implementation": "keras", "cell": "simple_rnn"},
    {"implementation": "cell_loop", "depth": 2},
    {"implementation": "eager_loop"},
    {"implementation": "packed_loop", "text_mode": "documents"},
    {"stateful": True, "weight_drop": 0.5, "dropout": 0.5, "dropout_embedding": 0.5},
    {"initial_state": "learned", "depth": 2},
    {"initial_state": "learned", "implementation": "keras"},
    {"encoding": "onehot", "tie_weights": False},
    {"encoding": "onehot_projected"},
    {"units": D},
    {"temporal_penalty": 1.0},
    {"softmax": "sampled", "softmax_samples": 3},
]


def model_of(settings, spread=0.7):
    from src.tasks.language_model.model import language_model

    model, rng = language_model(settings), np.random.default_rng(0)
    model.set_weights([rng.normal(0, spread, weight.shape) for weight in model.get_weights()])
    return model


def log_probabilities(model, ids):
    """Returns log p of each id but the first, by the model that is trained."""
    return -np.asarray(model(np.array([ids], np.int32))["losses"][0], np.float64)


def written(folder, words=WORDS, tokens="word", **changes):
    """Writes the files of a trained trial; returns its settings and its model."""
    settings = edited(Settings(), {**SMALL, **changes})
    folder.mkdir(exist_ok=True)
    Artifacts(folder).write_settings(settings)
    vocabulary.write(folder, words, tokens=tokens)
    model = model_of(settings)
    model_file.write(folder, model)
    return settings, model


def without_tensorflow(folder, monkeypatch, **changes):
    """Writes files that describe a trained trial, but hold no weights; a model that is loaded raises an error."""
    settings = edited(Settings(), {**SMALL, **changes})
    Artifacts(folder).write_settings(settings)
    vocabulary.write(folder, WORDS, tokens="word")
    head = {"module": None, "class_name": "WordLoss", "registered_name": "ablation>WordLoss", "config": {"size": V}}
    with zipfile.ZipFile(folder / MODEL, "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Functional", "config": [head]}))
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)


def called(folder, *words):
    return use.main([str(folder), *words])


def table_of(output):
    header, *rows = (line.split("\t") for line in output.splitlines() if "\t" in line)
    return [dict(zip(header, row, strict=True)) for row in rows]


# One step at a time


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"cell": cell, "depth": depth, "tie_weights": is_tied}
            for cell in ("lstm", "gru", "simple_rnn")
            for depth in (1, 2)
            for is_tied in (True, False)
        ),
        *OTHERS,
    ],
    ids=str,
)
def test_generated_texts_have_the_log_probabilities_of_the_whole_text(changes):
    settings = edited(Settings(), {**SMALL, **changes})
    model = model_of(settings)
    stepper = Stepper(model)
    step = generation.without(stepper.step, {0, 1})
    prompt = [START, 4, 7]
    search = Search(step, generation.read(stepper.step, stepper.start(), prompt[:-1]), prompt[-1], 6, END)

    texts = [generation.greedy(search), *generation.beam(search, size=3), *generation.sample(search, count=5, seed=0)]

    for text in texts:
        expected = log_probabilities(model, [*prompt, *text.words])[len(prompt) - 1 :]
        assert text.log_probability == pytest.approx(expected.sum(), abs=1e-4)
    whole = [np.array([*prompt, *text.words], np.int32) for text in texts]
    np.testing.assert_allclose(
        stepper.log_probabilities(whole), [log_probabilities(model, text).sum() for text in whole], atol=1e-4
    )


def test_a_text_is_scored_in_pieces_whatever_its_length_and_its_neighbours(monkeypatch):
    monkeypatch.setattr(stepping, "PIECE", 4)
    model = model_of(edited(Settings(), {**SMALL, "depth": 2}))
    rng = np.random.default_rng(0)
    texts = [np.array([START, *rng.integers(2, V, size)], np.int32) for size in (1, 30, 4, 5, 8, 3, 30, 9)]

    found = Stepper(model).log_probabilities(texts)

    np.testing.assert_allclose(found, [log_probabilities(model, text).sum() for text in texts], rtol=1e-5)


def test_weights_that_are_not_finite_are_refused():
    model = model_of(edited(Settings(), SMALL))
    model.set_weights([np.full(weight.shape, np.nan) for weight in model.get_weights()])
    stepper = Stepper(model)

    for call in (
        lambda: stepper.step(stepper.start(), np.array([4])),
        lambda: stepper.log_probabilities([np.array([1, 4])]),
    ):
        with pytest.raises(ValueError, match="the model's outputs are not finite numbers; its weights are not those"):
            call()


# Generate


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
@pytest.mark.parametrize("prompt", ["this Film", ""])
def test_the_command_prints_each_text_with_its_log_probability(home, tmp_path, capsys, strategy, prompt):
    _, model = written(tmp_path / "trial")

    assert called(tmp_path / "trial", "generate", "--strategy", strategy, "--prompt", prompt, "--length", "5") == 0

    output, notes = capsys.readouterr()
    rows = table_of(output)
    start = [START, *(4 + WORDS.index(word) for word in prompt.lower().split())]
    assert notes == "" and len(rows) == {"greedy": 1, "sample": 10, "beam": 5}[strategy]
    for number, row in enumerate(rows, 1):
        ids = [4 + WORDS.index(word) for word in row["text"].split()] + [END] * (row["ended"] == "yes")
        expected = log_probabilities(model, [START, *ids])[len(start) - 1 :]
        assert (int(row["words"]), row["text"].startswith(prompt.lower())) == (len(expected), True)
        assert row["number"] == str(number)
        assert float(row["log-probability per word"]) == pytest.approx(expected.mean(), abs=6e-4)
    of_each = [float(row["log-probability per word"]) for row in rows]
    if strategy == "beam":
        assert of_each == sorted(of_each, reverse=True)
    if strategy == "sample":
        best = int(re.search(r"The likeliest of 10 texts is text (\d+)\.", output)[1])
        assert of_each[best - 1] == max(of_each)


def test_the_unknown_word_is_written_only_if_allowed_and_ids_without_a_word_never(home, tmp_path, capsys):
    _, model = written(tmp_path / "trial")
    bias = np.zeros(V, np.float32)
    bias[[UNKNOWN, 10, 4]] = 60, 80, 40
    model.get_layer("head").bias.assign(bias)
    model_file.write(tmp_path / "trial", model)
    command = ("generate", "--strategy", "greedy", "--length", "3")

    assert called(tmp_path / "trial", *command) == called(tmp_path / "trial", *command, "--allow-unknown") == 0

    plain, allowing = table_of(capsys.readouterr().out)[0::2]
    assert (plain["text"], allowing["text"]) == ("this this this", "<unknown> <unknown> <unknown>")
    assert float(plain["log-probability per word"]) < -30  # the probability of the excluded words stays theirs


def test_characters_are_joined_without_spaces(home, tmp_path, capsys):
    written(tmp_path / "trial", words=["a", "b", " ", "é", "c", "d"], tokens="character")

    assert called(tmp_path / "trial", "generate", "--prompt", "AB É", "--strategy", "greedy", "--length", "1") == 0

    (row,) = table_of(capsys.readouterr().out)
    assert row["text"].startswith("ab é") and row["characters"] == "1" and "log-probability per character" in row


@pytest.mark.parametrize(
    ("prompt", "changes", "note"),
    [
        ("Xyz \x1b!", {}, "the model knows 0 of the prompt's 1 word, and reads the unknown word for: xyz"),
        ("xyz film film xyz", {}, "the model knows 2 of the prompt's 4 words, and reads the unknown word for: xyz"),
        ("!?", {}, "the prompt has no words (no letter and no digit); the texts begin at the start of a text"),
        ("film film film", {"length": 2}, "the prompt has 3 words; the model was trained on pieces of 2 (length=2)"),
        (
            "film film film",
            {"text_mode": "documents", "max_length": 3},
            "the prompt has 3 words; the model was trained on texts of at most 2 (max_length=3)",
        ),
    ],
)
def test_a_prompt_that_training_did_not_prepare_for_works_and_is_reported(
    home, tmp_path, capsys, prompt, changes, note
):
    written(tmp_path / "trial", **changes)

    assert called(tmp_path / "trial", "generate", "--prompt", prompt, "--strategy", "greedy") == 0

    output, notes = capsys.readouterr()
    assert notes == f"note: {note}\n" and len(table_of(output)) == 1


def test_a_state_that_training_carries_on_has_no_length(home, tmp_path, capsys):
    written(tmp_path / "trial", stateful=True, length=2)

    assert called(tmp_path / "trial", "generate", "--prompt", "film film film", "--strategy", "greedy") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--strategy beam --beam-size 0", "--beam-size: got 0; allowed: 1 to 7 (7 words can follow a word, the end"),
        ("--strategy beam --beam-size 8", "--beam-size: got 8; allowed: 1 to 7"),
        ("--strategy beam --length-penalty -1", "--length-penalty: got -1.0; allowed: 0 to 10"),
        ("--temperature 0", "--temperature: got 0.0; allowed: above 0, up to 1,000 (the likeliest word alone is --str"),
        ("--temperature -1", "--temperature: got -1.0; allowed: above 0"),
        ("--temperature nan", "--temperature: got nan; allowed: above 0"),
        ("--temperature inf", "--temperature: got inf; allowed: above 0"),
        ("--top-p 0", "--top-p: got 0.0; allowed: above 0, up to 1 (1 leaves all words)"),
        ("--top-p 1.1", "--top-p: got 1.1; allowed: above 0, up to 1"),
        ("--top-k 0", "--top-k: got 0; allowed: 1 or more (1 leaves the likeliest word alone)"),
        ("--length 0", "--length: got 0; allowed: 1 to 10,000 (words after the prompt)"),
        ("--samples 0", "--samples: got 0; allowed: 1 to 1,000"),
        ("--seed -1", "--seed: got -1; allowed: 0 to"),
        ("--strategy greedy --beam-size 3", "--beam-size belongs to --strategy beam, got --strategy greedy; remove it"),
        ("--strategy beam --top-k 3", "--top-k belongs to --strategy sample, got --strategy beam; remove it, or set"),
        ("--prompt \0", "it contains a zero byte"),
    ],
)
def test_a_wrong_option_is_refused_before_tensorflow_is_imported(home, tmp_path, capsys, monkeypatch, words, message):
    without_tensorflow(tmp_path, monkeypatch)

    assert called(tmp_path, "generate", *words.split(" ")) == 2

    error = capsys.readouterr().err
    assert error.startswith("error: --") and message in error and len(error.splitlines()) == 1


def test_a_beam_and_draws_that_the_memory_cannot_hold_are_refused(home, tmp_path, monkeypatch):
    from src.tasks.language_model import generating
    from src.tasks.language_model.generating import Options

    without_tensorflow(tmp_path, monkeypatch)
    monkeypatch.setattr(generating, "MOST_NUMBERS", 3 * V)
    model = trained.load(tmp_path)

    for strategy, name in (("beam", "beam_size"), ("sample", "samples")):
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}: got 4; allowed: 1 to 3"):
            generating.check(Options(strategy, "", 5, False, {name: 4}), model)


@pytest.mark.parametrize("command", ["generate", "score"])
def test_a_trial_of_another_task_says_which_commands_it_has(home, tmp_path, capsys, command):
    (tmp_path / MODEL).write_bytes(b"")
    for task, commands in (("sentiment", "predict, errors"), ("integration", "none")):
        (tmp_path / SETTINGS).write_text(json.dumps({"task": task}), encoding="utf-8")

        assert called(tmp_path, command, "x") == 2
        assert capsys.readouterr().err == f"error: task={task} has no command {command!r}; allowed: {commands}\n"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "vocabulary.json").write_text("[]"), "vocabulary.json: it is no vocabulary"),
        (lambda folder: (folder / "vocabulary.json").write_text('{"words": ["a", "a"], "tokens": "word"}'), "twice"),
        (lambda folder: (folder / "vocabulary.json").write_text('{"words": ["a"], "tokens": "?"}'), "its unit"),
        (lambda folder: vocabulary.write(folder, [*"abcdefghi"], tokens="word"), "vocabulary.json has 9 words"),
        (lambda folder: (folder / MODEL).write_bytes(b"PK"), "model.keras: File is not a zip file"),
        (lambda folder: Artifacts(folder).write_settings(edited(Settings(), {"vocab_size": 13})), "belong to differ"),
    ],
)
def test_files_that_do_not_fit_are_named_before_tensorflow_is_imported(
    home, tmp_path, capsys, monkeypatch, spoil, message
):
    without_tensorflow(tmp_path, monkeypatch)
    spoil(tmp_path)

    for words in (("generate",), ("score", __file__)):
        assert called(tmp_path, *words) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1


def test_every_layer_that_a_model_file_may_name_is_imported_with_it():
    modules = {
        path.stem
        for path in (REPOSITORY / "src" / "models").glob("*.py")
        if "register_keras_serializable" in path.read_text(encoding="utf-8")
    }
    of_translation = {"attention", "encoder_decoder"}
    for file, others in (
        ("tasks/language_model/trained.py", {"readout", "text_encoders", "word_pairs", *of_translation}),
        ("parts/words/preprocessing.py", {"text_loop", "word_loss", "word_pairs", "word_vectors", *of_translation}),
    ):
        imported = re.search(r"from src\.models import ([\w, ]+)", (REPOSITORY / "src" / file).read_text("utf-8"))[1]
        assert modules - others <= set(imported.strip().split(", "))


# Score


def test_every_line_and_the_file_have_their_log_probability_words_and_perplexity(home, tmp_path, capsys):
    _, model = written(tmp_path / "trial")
    file = tmp_path / "x.txt"
    file.write_text("This film was good.\r\n\n \nxyz, don't!\n...\nbad", encoding="utf-8")
    expected = {"1": [4, 5, 6, 7], "4": [UNKNOWN, 8], "5": [], "6": [9]}

    assert called(tmp_path / "trial", "score", str(file)) == 0

    *rows, whole = table_of(capsys.readouterr().out)
    assert [row["line"] for row in rows] == list(expected)
    total, count = 0.0, 0
    for row, ids in zip(rows, expected.values(), strict=True):
        found = log_probabilities(model, [START, *ids, END])
        total, count = total + found.sum(), count + len(found)
        assert float(row["log-probability"]) == pytest.approx(found.sum(), abs=1e-3)
        assert (int(row["words"]), int(row["unknown"])) == (len(ids) + 1, ids.count(UNKNOWN))
        assert float(row["perplexity"]) == pytest.approx(np.exp(-found.mean()), abs=0.06)
    assert (whole["line"], int(whole["words"]), int(whole["unknown"]), whole["text"]) == ("all", count, 1, str(file))
    assert float(whole["log-probability"]) == pytest.approx(total, abs=1e-3)
    assert float(whole["perplexity"]) == pytest.approx(np.exp(-total / count), abs=0.06)


def test_a_text_is_what_it_was_in_training_or_what_the_user_says(tmp_path):
    (tmp_path / "x.txt").write_text("\na\nb\n\n\nc\n", encoding="utf-8")
    plain = {"name": "text", "path": "x"}

    of_trials = [edited(Settings(), {}), *(Settings(data={**plain, "texts": name}) for name in ("line", "paragraph"))]

    assert [scoring.default_texts(settings) for settings in of_trials] == ["line", "line", "paragraph"]
    assert list(scoring.parts(str(tmp_path / "x.txt"), texts="line")) == [(2, "a"), (3, "b"), (6, "c")]
    assert list(scoring.parts(str(tmp_path / "x.txt"), texts="paragraph")) == [(2, "a\nb"), (6, "c")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"good\n\x89PNG\r\n\x1a\n\0\0", "line 2: byte 0x89 is not UTF-8; convert the file to UTF-8"),
        (b"\x7fELF\x02\0\0", "line 1: it contains a zero byte"),
        (b"PK\x03\x04", "it is a zip archive"),
        (b"word " * 10_000_000, "line 1: it has more than 10,000,000 characters; split it"),
        (b"word " * 1_000_000 + b"\n" + b"word " * 1_100_000, "line 1: the paragraph has more than 10,000,000 charact"),
    ],
    ids=["missing", "empty", "blank", "picture", "program", "archive", "one line of 50 MB", "long paragraph"],
)
def test_a_file_that_cannot_be_scored_is_refused_before_tensorflow_is_imported(
    home, tmp_path, capsys, monkeypatch, content, message
):
    (tmp_path / "trial").mkdir()
    without_tensorflow(tmp_path / "trial", monkeypatch)
    if content is not None:
        (tmp_path / "x.txt").write_bytes(content)

    assert called(tmp_path / "trial", "score", "--texts", "paragraph", str(tmp_path / "x.txt")) == 2

    output, error = capsys.readouterr()
    assert output == "" and f"{tmp_path / 'x.txt'}" in error and message in error and len(error.splitlines()) == 1


def test_a_large_file_is_read_in_bounded_memory(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"word " * 10_000_000)
    tracemalloc.start()

    with pytest.raises(ValueError, match="more than 10,000,000 characters"):
        list(scoring.parts(str(tmp_path / "x.txt"), texts="line"))

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45e6


def test_long_texts_are_scored_few_at_a_time():
    long = [scoring.Part(number, "a" * 600_000) for number in range(5)]
    short = [scoring.Part(number, "a") for number in range(70)]

    assert [len(batch) for batch in scoring._batches(iter(long))] == [2, 2, 1]
    assert [len(batch) for batch in scoring._batches(iter(short))] == [64, 6]


def test_a_beam_of_five_writes_a_thousand_words_in_a_minute():
    stepper = Stepper(model_of(Settings(), spread=0.05))
    search = Search(generation.without(stepper.step, {0, 1, 2, END}), stepper.start(), START, 100, END)
    begin = time.perf_counter()

    generation.beam(search, size=5)

    assert time.perf_counter() - begin < 6  # for a tenth of the words


# Documents


def test_the_commands_of_the_documents_work(home, tmp_path, capsys):
    words = [*WORDS, *(letter * 2 for letter in "abcdefghij")]
    written(tmp_path / "trial", words=words, vocab_size=4 + len(words))
    for name in ("reviews.txt", "book.txt"):
        (tmp_path / name).write_text("good film\n", encoding="utf-8")
    page = (REPOSITORY / "docs" / "predicting.md").read_text(encoding="utf-8")
    lines = re.findall(r"^python -m src\.use RUN ((?:generate|score) .*)", page, flags=re.MULTILINE)

    assert len(lines) == 5
    for line in lines:
        assert called(tmp_path / "trial", *shlex.split(line, comments=True)) == 0, capsys.readouterr().err


def test_the_samples_of_the_documents_come_from_a_trial(home, tmp_path, monkeypatch, capsys):
    _, model = written(tmp_path / "trial", depth=2)
    monkeypatch.setattr(samples, "FILE", tmp_path / "x.md")
    monkeypatch.setattr(samples, "LENGTH", 6)

    assert samples.main([str(tmp_path / "trial")]) == 0
    assert samples.main([]) == samples.main([str(tmp_path / "none")]) == 2

    _, _, *rows, _, about = (tmp_path / "x.md").read_text(encoding="utf-8").splitlines()
    assert [row.split("`")[1] for row in rows] == ["greedy", "sample", "beam"]
    for row in rows:
        _, _, shown, text, _ = (cell.strip() for cell in row.split("|"))
        has_ended = not text.endswith("…")
        ids = [4 + WORDS.index(word.replace("&#39;", "'")) for word in text.removesuffix(" …").split()]
        found = log_probabilities(model, [START, *ids, *[END] * has_ended])[2:]
        assert float(shown) == pytest.approx(found.mean(), abs=0.006) and len(found) <= 6
    assert "`vocab_size=12`" in about and "`depth=2`" in about and "seed" not in about


# Strategies compared


def test_repeated_ngrams_and_distinct_words_are_counted_as_by_hand():
    assert strategies.repeated([4, 5, 6, 4, 5, 6, 4], 3) == pytest.approx(2 / 5)  # 456 and 564 come again
    assert strategies.repeated([4, 4, 4, 4], 3) == 0.5 and strategies.repeated([4, 5, 6], 3) == 0
    assert strategies.repeated([4, 5], 3) == 0
    assert strategies.distinct([4, 5, 4, 4]) == 0.5 and strategies.distinct([]) == 1


@pytest.fixture
def compared(home, tmp_path, monkeypatch):
    """Returns a trained model, and sets few and short texts."""
    for name, value in {"FILE": tmp_path / "x.md", "BEGINNINGS": 3, "READ": 2, "LENGTH": 4}.items():
        monkeypatch.setattr(strategies, name, value)
    file = tmp_path / "lines.txt"
    file.write_text("this film was good don't bad this film film\n" * 20, encoding="utf-8")
    _, model = written(tmp_path / "trial", **{"data": {"name": "text", "path": str(file), "texts": "line"}})
    return model


def test_beginnings_are_those_of_long_test_texts(compared, tmp_path):
    settings = trained.load(tmp_path / "trial").settings
    data = TASK.load(settings)
    test = data.split("test")

    begins = strategies.beginnings(settings)

    expected = [test.ids[begin : begin + 7].tolist() for begin in test.starts[[0, 2, 3]]]
    assert [ids.tolist() for ids in begins] == expected and begins[0][0] == START


def test_the_texts_themselves_have_the_log_probability_of_their_words(compared, tmp_path):
    begins = strategies.beginnings(trained.load(tmp_path / "trial").settings)

    found = strategies.originals(begins, Stepper(compared))

    for ids, one in zip(begins, found, strict=True):
        assert one.words == ids[3:].tolist()
        assert one.per_word == pytest.approx(log_probabilities(compared, ids)[2:].mean(), abs=1e-5)


def test_the_strategies_are_compared_in_two_tables(compared, tmp_path, monkeypatch):
    one = strategies.Written([4, 4, 4, 4], -1.0)
    another = strategies.Written([4, 5, 6, 7], -2.0)
    greedy = next(iter(strategies.WAYS))
    monkeypatch.setattr(
        strategies, "continued", lambda title, begins, *_: [one, one, another if title != greedy else one]
    )

    assert strategies.main([str(tmp_path / "trial")]) == 0

    means, changes, about = (tmp_path / "x.md").read_text(encoding="utf-8").split("\n\n")
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in means.splitlines()[2:]]
    assert [row[0] for row in cells] == [*strategies.WAYS, "the texts themselves"]
    assert cells[0][1:] == ["-1.00", "0.50", "0.25", "4.0", "1"]  # without spread there is no interval
    mean, half = -4 / 3, 4.302653 / 3  # Student's t of two degrees of freedom, standard error 1 / 3
    assert cells[1][1] == f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}]" and cells[1][4:] == ["4.0", "4"]
    first = changes.splitlines()[2].split("|")
    assert first[2].strip() == f"-0.33 [{-1 / 3 - half:+.2f}, {-1 / 3 + half:+.2f}]"
    assert "3 test texts, the first 2 words read and 4 generated;" in about and "`vocab_size=12`" in about


def test_every_strategy_continues_every_beginning(compared, tmp_path):
    model = trained.load(tmp_path / "trial")
    begins, stepper = strategies.beginnings(model.settings), model.stepper()

    ways = [title for title in strategies.WAYS if "20" not in title]  # a beam may not be wider than the vocabulary
    found = {title: strategies.continued(title, begins, model, stepper) for title in ways}

    for each in found.values():
        assert len(each) == 3 and all(len(one.words) <= 4 and END not in one.words for one in each)
    whole = [*begins[0][:3], *found["`greedy`"][0].words]
    values = log_probabilities(compared, whole if len(whole) == 7 else [*whole, END])[2:]
    assert found["`greedy`"][0].per_word == pytest.approx(values.mean(), abs=1e-5)


def test_a_corpus_of_short_texts_has_no_beginnings(compared, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(strategies, "LENGTH", 40)

    assert strategies.main([str(tmp_path / "trial")]) == 2
    assert capsys.readouterr().err == "error: no test text has more than 42 words\n"
