from __future__ import annotations

import pytest

from src.spec.record import EVALUATION, STEP, Record
from src.training import profile
from src.training.clock import Timing, summary


def trained(timings, steps, *, begin=0):
    for number in range(begin + 1, steps + 1):
        timings.append(Timing(1, 1.0, 0.0, ((2, 3),), 6, int(number == begin + 1)))
        yield Record(STEP, number, detail={"is_first": number == begin + 1})
    yield Record(EVALUATION, steps, detail={"epoch": 1})


@pytest.fixture
def calls(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(profile.tf.profiler.experimental, "start", lambda folder: made.append("start"))

    def stop():
        made.append("stop")
        (tmp_path / "plugins" / "profile" / "now").mkdir(parents=True)

    monkeypatch.setattr(profile.tf.profiler.experimental, "stop", stop)
    return made


@pytest.mark.parametrize(
    ("count", "steps", "expected"),
    [(True, 30, list(range(11, 21))), (3, 30, [11, 12, 13]), (3, 12, [10, 11, 12]), (9, 5, [2, 3, 4, 5]), (1, 2, [2])],
)
def test_steps_after_the_first_ten_are_profiled_and_do_not_count_as_steady(tmp_path, calls, count, steps, expected):
    timings = []
    records = list(profile.profiled(trained(timings, steps), count, tmp_path, of=steps, timings=timings))

    assert [number for number, timing in enumerate(timings, 1) if timing.is_profiled] == expected
    assert [record.step for record in records if record.kind == STEP and record.detail["is_first"]] == [1, *expected]
    assert (
        calls == ["start", "stop"]
        and (tmp_path / "profile" / "now").is_dir()
        and not list((tmp_path / "plugins").iterdir())
    )
    assert summary(timings)["data/traces"] == 1


def test_a_trial_that_ends_early_closes_its_profile(tmp_path, calls):
    timings = []
    for record in profile.profiled(trained(timings, 30), 5, tmp_path, of=30, timings=timings):
        if record.step == 12:
            break

    assert calls == ["start", "stop"]


def test_nothing_is_profiled_by_default(tmp_path, calls):
    timings = []
    assert len(list(profile.profiled(trained(timings, 30), None, tmp_path, of=30, timings=timings))) == 31
    assert calls == [] and not any(timing.is_profiled for timing in timings)


def resumed(folder, *, done, steps=30, count=3):
    """Returns the steps that a process profiles if it resumes after `done` steps."""
    timings = [Timing(1, 1.0, 0.0, ((2, 3),), 6, int(number == 1)) for number in range(1, done + 1)]
    list(profile.profiled(trained(timings, steps, begin=done), count, folder, of=steps, timings=timings))
    return [number for number, timing in enumerate(timings, 1) if timing.is_profiled]


def test_a_profile_that_a_killed_process_left_behind_is_replaced(tmp_path, calls):
    (tmp_path / "profile" / "killed").mkdir(parents=True)

    assert resumed(tmp_path, done=7) == [11, 12, 13]
    assert [path.name for path in (tmp_path / "profile").iterdir()] == ["now"]


RESUMED = [(10, [12, 13, 14]), (11, [13, 14, 15]), (20, [22, 23, 24]), (27, [29, 30]), (29, []), (30, [])]


@pytest.mark.parametrize(("done", "expected"), RESUMED)
def test_a_trial_that_resumes_after_the_planned_steps_profiles_the_next_ones(tmp_path, calls, done, expected):
    assert resumed(tmp_path, done=done) == expected


def test_a_resumed_trial_keeps_a_finished_profile(tmp_path, calls):
    (tmp_path / "profile" / "killed").mkdir(parents=True)

    assert resumed(tmp_path, done=13) == [] and [path.name for path in (tmp_path / "profile").iterdir()] == ["killed"]


@pytest.mark.parametrize("count", [None, False])
def test_without_a_count_no_step_is_profiled(tmp_path, calls, count):
    timings = []
    list(profile.profiled(trained(timings, 30), count, tmp_path, of=30, timings=timings))

    assert not calls and not any(timing.is_profiled for timing in timings)
