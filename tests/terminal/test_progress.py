from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from src.spec.metric import LOSS, Metric
from src.spec.record import EVALUATION, STEP, Record
from src.terminal.progress import TrialProgress, fitted, say, waiting


def step(number, *, is_first=False):
    metrics = {"train/loss": 0.5, "train/accuracy": 0.75, "time/batch_ms": 900.0 if is_first else 40.0}
    return Record(STEP, number, metrics, {"is_first": is_first})


def evaluation(epoch):
    return Record(EVALUATION, 4, {"val/loss": 0.4, "val/accuracy": 0.8, "time/epoch_s": 1.5}, {"epoch": epoch})


def shown(*, is_terminal):
    text = io.StringIO()
    with TrialProgress(
        "cell=[b]gru", steps=8, epochs=2, console=Console(file=text, force_terminal=is_terminal, width=200)
    ) as progress:
        for record in (step(1), step(2), step(3, is_first=True), step(4), evaluation(1), step(5, is_first=True)):
            progress.show(record)
    return text.getvalue()


def test_without_a_terminal_progress_is_one_plain_line_per_epoch():
    assert shown(is_terminal=False).splitlines() == [
        "cell=[b]gru: 8 steps",
        "  epoch 1/2: val_loss 0.400  val_accuracy 0.800  1.5 s",
    ]


def test_on_a_terminal_the_bar_shows_loss_accuracy_time_per_batch_and_time_left():
    last = shown(is_terminal=True)

    for part in ("5/8", "loss 0.500", "accuracy 0.750", "val_accuracy 0.800", "40 ms/batch", "left"):
        assert part in last
    assert "900 ms/batch" not in last


def test_the_end_of_a_trial_says_what_stopped_it():
    text = io.StringIO()
    with TrialProgress("cell=gru", steps=1, epochs=9, console=Console(file=text, width=200)) as progress:
        progress.show(Record("end", 1, {}, {"tags": {"ablation.stopped": "after epoch 2 of 9: val/accuracy was best"}}))

    assert text.getvalue() == "cell=gru: 1 step\n  stopped after epoch 2 of 9: val/accuracy was best\n"


def test_names_are_not_markup_and_move_no_cursor():
    for is_terminal in (False, True):
        text = io.StringIO()
        with TrialProgress(
            "path=[/old]x\x1b[31m\n\u202e",
            steps=8,
            epochs=2,
            console=Console(file=text, force_terminal=is_terminal, width=200),
        ):
            pass
        assert r"path=[/old]x\x1b[31m\n\u202e" in text.getvalue()


def test_steps_of_an_earlier_process_count_as_done_and_do_not_affect_the_time_left(monkeypatch):
    now, text = [0.0], io.StringIO()
    monkeypatch.setattr("src.terminal.progress.time.monotonic", lambda: now[0])
    console = Console(file=text, force_terminal=False, width=200)
    with TrialProgress("gru", steps=60, epochs=3, done=40, console=console) as progress:
        now[0] = 100.0
        progress.show(step(50))

    assert "step 50/60  " in text.getvalue() and " 1:40 left" in text.getvalue()  # 10 steps took 100 seconds


@pytest.mark.parametrize("width", [80, 60, 40])
def test_the_bar_fits_the_terminal_and_omits_the_least_informative_parts(width):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=width, color_system=None)
    name = (
        "implementation=packed_loop padding=batch vocab_size=10000 data.path=a_rather_long_name_of_a_file.csv seed=12"
    )
    with TrialProgress(name, steps=12_345, epochs=2, console=console) as progress:
        for record in (step(1), evaluation(1), step(12_344)):
            progress.show(record)

    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text.getvalue()))
    assert max(map(len, lines)) <= width and lines[0].endswith("… seed=12")
    last = lines[-2]
    assert "12344/12345" in last and "left" in last
    assert [part in last for part in ("val_accuracy", "loss", "ms/batch")] == [width > 40, width > 60, width > 60]


def test_an_epoch_without_a_duration_is_shown_without_it():
    text = io.StringIO()
    with TrialProgress("x", steps=8, epochs=2, console=Console(file=text, width=200)) as progress:
        progress.show(Record(EVALUATION, 4, {"val/loss": 0.4, "val/accuracy": 0.8}, {"epoch": 1}))

    assert text.getvalue().splitlines()[-1] == "  epoch 1/2: val_loss 0.400  val_accuracy 0.800"


class Stream(io.StringIO):
    def __init__(self, *, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.mark.parametrize(("is_terminal", "is_alone"), [(True, True), (True, False), (False, True)])
def test_the_waiting_text_is_shown_on_a_terminal_and_removed_afterwards(monkeypatch, is_terminal, is_alone):
    monkeypatch.setattr(sys, "stdout", stream := Stream(is_terminal=is_terminal))
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(ValueError, match="x"), waiting("importing", is_alone=is_alone):
        during = stream.getvalue()
        raise ValueError("x")

    assert during == ("importing …" if is_terminal and is_alone else "")
    assert stream.getvalue() == during + ("\r\x1b[2K" if during else "")


def test_long_lines_are_wrapped_between_words_only_on_a_terminal():
    line = "  warning: " + "some words and " * 10 + "/a/path/that/" + "stays/whole/" * 8
    for is_terminal in (True, False):
        text = io.StringIO()
        say(Console(file=text, width=60, force_terminal=is_terminal, color_system=None), line)
        lines = text.getvalue().splitlines()
        assert " ".join(part.strip() for part in lines) == line.strip() and (len(lines) > 1) == is_terminal
        assert not is_terminal or all(len(part) <= 60 or " " not in part.strip() for part in lines)
        assert all(part.startswith("    ") for part in lines[1:])


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (60, "cell=gru learning_rate=1000 data.path=a.csv seed=12"),
        (40, "cell=gru learning_rate=1000 … seed=12"),
        (36, "cell=gru … seed=12"),
        (16, "cell=gr… seed=12"),
    ],
)
def test_a_long_name_keeps_its_seed_and_whole_values(width, shown):
    name = fitted("cell=gru learning_rate=1000 data.path=a.csv seed=12", width)

    assert name == shown and len(name) <= width


def test_lines_show_the_loss_and_the_first_metric_with_title_unit_and_digits():
    metrics = (
        Metric("ppl", "lower", title="perplexity", digits=1, of="loss", finish="exp"),
        Metric("loss", "lower", "nats", digits=2),
    )
    values = {"loss": 3.14159, "ppl": 23.1406}
    for is_terminal, parts in (
        (False, ["val_loss 3.14 nats", "val_perplexity 23.1"]),
        (True, ["loss 3.14 nats", "perplexity 23.1"]),
    ):
        text = io.StringIO()
        console = Console(file=text, force_terminal=is_terminal, width=200)
        with TrialProgress("x", steps=8, epochs=2, metrics=metrics, console=console) as progress:
            evaluated = {f"val/{name}": value for name, value in values.items()}
            progress.show(Record(EVALUATION, 4, evaluated, {"epoch": 1}))
            trained = {f"train/{name}": value for name, value in values.items()}
            progress.show(Record(STEP, 5, {**trained, "time/batch_ms": 40.0}, {"is_first": False}))
        assert all(part in text.getvalue() for part in parts)


def test_a_loss_that_is_the_first_metric_is_shown_once():
    text = io.StringIO()
    with TrialProgress("x", steps=8, epochs=2, metrics=(LOSS,), console=Console(file=text, width=200)) as progress:
        progress.show(Record(EVALUATION, 4, {"val/loss": 0.4}, {"epoch": 1}))

    assert text.getvalue().splitlines()[-1] == "  epoch 1/2: val_loss 0.400"
