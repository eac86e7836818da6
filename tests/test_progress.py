from __future__ import annotations

import io

from rich.console import Console

from src.progress import TrialProgress
from src.training.records import EVALUATION, STEP, Record


def step(number, *, is_first=False):
    metrics = {"train/loss": 0.5, "train/accuracy": 0.75, "time/batch_ms": 900.0 if is_first else 40.0}
    return Record(STEP, number, metrics, {"is_first": is_first})


def evaluation(epoch):
    return Record(EVALUATION, 4, {"val/loss": 0.4, "val/accuracy": 0.8, "time/epoch_s": 1.5}, {"epoch": epoch})


def shown(*, is_terminal):
    text = io.StringIO()
    with TrialProgress("cell=[b]gru", steps=8, epochs=2, console=Console(file=text, force_terminal=is_terminal, width=200)) as progress:
        for record in (step(1), step(2), step(3, is_first=True), step(4), evaluation(1), step(5, is_first=True)):
            progress.show(record)
    return text.getvalue()


def test_without_a_terminal_there_are_plain_lines_an_epoch():
    assert shown(is_terminal=False).splitlines() == [
        "cell=[b]gru: 8 steps",
        "  epoch 1/2: val_loss 0.400  val_accuracy 0.800  1.5 s",
    ]


def test_with_a_terminal_a_bar_has_loss_accuracy_time_per_batch_and_time_left():
    last = shown(is_terminal=True)

    for part in ("5/8", "loss 0.500", "accuracy 0.750", "val_accuracy 0.800", "40 ms/batch", "left"):
        assert part in last
    assert "900 ms/batch" not in last


def test_names_are_no_markup_and_move_no_cursor():
    for is_terminal in (False, True):
        text = io.StringIO()
        with TrialProgress(
            "path=[/old]x\x1b[31m\n\u202e", steps=8, epochs=2, console=Console(file=text, force_terminal=is_terminal, width=200)
        ):
            pass
        assert r"path=[/old]x\x1b[31m\n\u202e" in text.getvalue()


def test_steps_of_an_earlier_process_are_done_and_not_in_the_time_left(monkeypatch):
    now, text = [0.0], io.StringIO()
    monkeypatch.setattr("src.progress.time.monotonic", lambda: now[0])
    console = Console(file=text, force_terminal=False, width=200)
    with TrialProgress("gru", steps=60, epochs=3, done=40, console=console) as progress:
        now[0] = 100.0
        progress.show(step(50))

    assert "step 50/60: " in text.getvalue() and " 1:40 left" in text.getvalue()  # 10 steps took 100 seconds
