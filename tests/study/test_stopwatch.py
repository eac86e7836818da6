import itertools
from collections import Counter

import numpy as np
import pytest

from src.spec.record import START, STEP, Record
from src.study import stopwatch, timing
from src.study.stopwatch import Variant
from src.study.timing import Pass


def training(ms, *, first=2, tokens=30, log=None, name=""):
    """Returns a training whose steps take `ms` on paper, and whose first steps trace."""

    def records(every):
        yield Record(START, 0, detail={"tags": {"ablation.kernel": "xla"}, "steps_per_epoch": 7})
        for number in itertools.count(1):
            if log is not None:
                log.append(name)
            detail = {"batch": 4, "length": 10, "tokens": tokens, "wait_ms": ms / 4, "is_first": number <= first}
            yield Record(STEP, number, {"time/batch_ms": 1_000.0 if number <= first else ms}, detail)

    return records


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(stopwatch, "TURN_S", 0.0)


def measured(**variants):
    lanes = [Variant(name, f"id of {name}", train) for name, train in variants.items()]
    return stopwatch.measure(lanes, rounds=4, steps=3, show=lambda text: None)


def test_times_leave_out_steps_that_trace():
    (a, b), left_out = measured(a=training(2.0), b=training(6.0, first=5))
    assert (a.turns, b.turns) == ([2.0] * 4, [6.0] * 4)
    assert (a.median, a.p10, a.p90, a.left_out, b.left_out) == (2.0, 2.0, 2.0, 2, 5)
    assert (a.kernel, a.steps_per_epoch, a.wait) == ("xla", 7, 0.25)
    assert left_out == {}


def test_tokens_per_second_count_real_positions_and_padding_apart():
    (a,), _ = measured(a=training(2.0))
    assert (a.tokens_per_s, a.positions_per_s) == (30 / 0.002, 40 / 0.002)


def test_each_round_times_every_variant_in_an_order_of_its_own():
    log = []
    lanes = {name: training(1.0, log=log, name=name) for name in "abcdef"}
    timed, _ = measured(**lanes)
    places = np.array([one.places for one in timed])
    assert {tuple(sorted(places_of_round)) for places_of_round in places.T} == {(1, 2, 3, 4, 5, 6)}
    assert len({tuple(order) for order in places.T}) == 4
    assert Counter(log) == dict.fromkeys("abcdef", 2 + 4 + 4 * 4)  # traced, warm-up, four turns


def test_the_first_step_of_a_turn_is_not_timed():
    """A training whose step is slow after every change of the variant, as caches are cold."""
    last = [""]

    def records_of(name):
        def records(every):
            yield Record(START, 0, detail={"tags": {}, "steps_per_epoch": 1})
            while True:
                ms = 9.0 if last[0] != name else 1.0
                last[0] = name
                detail = {"batch": 1, "length": 1, "tokens": 1, "wait_ms": 0.0, "is_first": False}
                yield Record(STEP, 1, {"time/batch_ms": ms}, detail)

        return records

    timed, _ = measured(a=records_of("a"), b=records_of("b"))
    assert {turn for one in timed for turn in one.turns} == {1.0}
    assert timed[0].tokens_per_s is None


def test_a_variant_whose_every_step_traces_is_left_out_with_the_reason():
    (a,), left_out = measured(a=training(1.0), b=training(1.0, first=10**9))
    assert a.label == "a"
    assert "each of 100 steps traced" in left_out["b"]


def test_the_load_of_the_machine_counts_other_programs_alone():
    others = stopwatch.Others()
    total = sum(number * number for number in range(2_000_000))  # our own work
    assert total > 0
    assert others.cores() >= 0.0


@pytest.mark.parametrize(("least_s", "is_more"), [(0.0, False), (0.05, True)])
def test_short_steps_are_timed_in_more_rounds(least_s, is_more, monkeypatch):
    monkeypatch.setattr(stopwatch, "ROUNDS", 3)
    monkeypatch.setattr(stopwatch, "LEAST_S", least_s)
    (a,), _ = stopwatch.measure([Variant("a", "a", training(1.0))], rounds=None, steps=2, show=lambda text: None)
    assert (len(a.turns) > 3) == is_more and len(a.turns) == len(a.places) >= 3


@pytest.fixture
def whole():
    (reference, other, again), _ = measured(a=training(2.0), b=training(6.0), c=training(2.0))
    return Pass("s", "2026-11-26", 4, 3, {"threads": "1"}, 0.0, 0.1, [reference, other], again, {"d": "why"})


def test_a_pass_is_read_as_it_was_written(whole, tmp_path):
    whole.write(tmp_path / timing.FILE)
    assert timing.read(tmp_path / timing.FILE) == whole
    assert whole.disturbance == ""


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 1}', '{"version": 99}', '{"version": 1, "variants": [], "again": {}}']
)
def test_another_file_is_refused(text, tmp_path):
    (tmp_path / timing.FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"timing\.json is not the record of a"):
        timing.read(tmp_path / timing.FILE)


def test_a_pass_with_a_missing_turn_is_refused(whole, tmp_path):
    whole.again.turns.pop()
    whole.write(tmp_path / timing.FILE)
    with pytest.raises(ValueError, match="not the record of a whole timing pass"):
        timing.read(tmp_path / timing.FILE)
