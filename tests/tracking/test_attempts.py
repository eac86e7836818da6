from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.spec.record import START, STEP, Record
from src.tracking import attempts
from src.tracking.attempts import Run
from src.tracking.journal import FINISHED, Journal


def run(name, *, journal=None, number=None, started=0, status=FINISHED, took=10, **tags):
    of_journal = {} if journal is None else {attempts.JOURNAL: journal, attempts.NUMBER: str(number)}
    return Run(
        name,
        name,
        status,
        started,
        None if took is None else started + took,
        {"ablation.attempt": name, **of_journal, **tags},
    )


def test_the_last_attempt_of_a_journal_counts_after_the_clock_went_back():
    first, second = run("a", journal="j", number=0, started=1_000), run("b", journal="j", number=1, started=500)

    assert attempts.latest([first, second]) is attempts.latest([second, first]) is second


def test_the_tenth_attempt_is_later_than_the_ninth():
    assert attempts.latest([run(str(n), journal="j", number=n) for n in range(11)]).run_id == "10"


def test_among_journals_the_last_attempt_with_the_latest_start_counts():
    went_back = [run("a", journal="j", number=0, started=9_000), run("b", journal="j", number=1, started=500)]
    other = run("c", journal="k", number=0, started=1_000)

    assert attempts.latest([*went_back, other]) is other


def test_attempts_without_a_journal_are_ordered_by_their_starts():
    runs = [run("a", started=3), run("c", started=9), run("b", started=5)]

    assert attempts.latest(runs).run_id == "c"


@pytest.mark.parametrize("number", ["", "x", "-1", "1" * 5_000, "²", "1e3"])
def test_an_invalid_tag_breaks_nothing(number):
    odd = run("a", journal="j", number=number, started=5)

    assert attempts.latest([odd, run("b", journal="j", number=1)]).run_id == "b"


runs_of_a_trial = st.lists(
    st.tuples(
        st.sampled_from([None, "j", "k"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from([FINISHED, "FAILED"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(runs_of_a_trial, st.randoms())
def test_the_order_of_the_runs_does_not_change_the_result(drawn, random):
    runs = [
        run(
            str(n),
            journal=journal,
            number=number,
            started=started,
            status=status,
            **({attempts.SUPERSEDED: "true"} if is_old else {}),
        )
        for n, (journal, number, started, status, is_old) in enumerate(drawn)
    ]
    shuffled = random.sample(runs, len(runs))

    assert attempts.latest(shuffled) is attempts.latest(runs)
    assert attempts.counting(shuffled) is attempts.counting(runs)


def test_a_finished_attempt_counts_first_and_a_superseded_one_never():
    finished, failed = run("a", journal="j", number=0), run("b", journal="j", number=1, status="FAILED")
    old = run("c", journal="j", number=2, **{attempts.SUPERSEDED: "true"})

    assert attempts.counting([finished, failed, old]) is finished
    assert attempts.counting([failed, old]) is failed
    assert attempts.counting([old]) is None


def test_wrong_clocks_matter_only_if_nothing_else_orders_the_attempts():
    back = [run("a", journal="j", number=0, started=9_000), run("b", journal="j", number=1, started=500)]
    ends_early, fine = run("c", journal="k", took=-5), run("d", journal="l", started=1)

    assert not attempts.depends_on_wrong_clocks(back)  # the journal tells
    assert not attempts.depends_on_wrong_clocks([fine, run("e", journal="m", started=2)])
    assert not attempts.depends_on_wrong_clocks([fine, run("e", journal="m", took=None)])
    assert attempts.depends_on_wrong_clocks([*back, fine])
    assert attempts.depends_on_wrong_clocks([ends_early, fine])


def test_a_journal_numbers_its_attempts_and_is_named_by_its_first(tmp_path):
    with Journal(tmp_path) as book:
        for attempt, kind in itertools.product(["one", "two", "three"], [START, STEP]):
            book.append(Record(kind, 0, detail={"attempt": attempt, "is_sent": True}))

    places = attempts.places_in_journal(tmp_path)
    numbers = [(tags[attempts.JOURNAL], tags[attempts.NUMBER]) for tags in places.values()]
    assert numbers == [("one", "0"), ("one", "1"), ("one", "2")]


def test_runs_of_an_older_version_get_their_places_from_the_journal(tmp_path):
    with Journal(tmp_path) as book:
        for attempt in ("one", "two"):
            book.append(Record(START, 0, detail={"attempt": attempt}))
    old, new, foreign = run("one", started=9_000), run("two", journal="one", number=1, started=5), run("x", started=1)

    assert attempts.latest(attempts.with_places([old, new, foreign], tmp_path)).run_id == "two"
