from __future__ import annotations

import errno
import logging
import os
import random

import numpy as np
import pytest

from src.spec.record import EVALUATION, HISTOGRAMS, START, STEP, Record
from src.tracking import journal, provenance
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, end
from src.trial import checkpoint
from src.trial.checkpoint import NOTHING, Checkpoint, Unusable

VARIABLES = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array([7, 8], np.int32),
    np.array(3, np.int64),
    np.zeros((0, 2), np.float32),
]
BEST = [np.full(4, 0.5, np.float32)]


def devices():
    return ["CPU"]


def start(attempt="one", resumed=()):
    return Record(START, 0, detail={"attempt": attempt, "resumed": list(resumed)})


def epoch(number, *, steps=3):
    """The records of an epoch of three steps."""
    first = (number - 1) * steps
    return [
        *(Record(STEP, first + step, {"train/loss": 1 / 3}, {"epoch": number}) for step in range(1, steps + 1)),
        Record(HISTOGRAMS, first + steps),
        Record(EVALUATION, first + steps, {"val/accuracy": 0.5}, {"epoch": number}),
    ]


def write(folder, *records):
    with Journal(folder) as book:
        for record in records:
            book.append(record)


def keep(folder, attempt="one", number=1, best=()):
    Checkpoint(folder, "cafe", devices).write(attempt, number, variables=VARIABLES, best=best, peak_mb=12.5)


def killed(folder):
    """A trial that was killed in its second epoch."""
    write(folder, start(), *epoch(1), *epoch(2)[:2])
    keep(folder, best=BEST)
    return Checkpoint(folder, "cafe", devices)


def with_tag(patch, name):
    """Changes one of the tags that describe where a trial ran."""
    tags = {**provenance.tags(), name: "other"}
    patch.setattr(provenance, "tags", lambda: tags)


def equal(ours, theirs):
    return len(ours) == len(theirs) and all(
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        for one, other in zip(ours, theirs, strict=True)
    )


def test_a_killed_trial_resumes_from_the_state_and_records_of_its_last_complete_epoch(tmp_path):
    found = killed(tmp_path).earlier()

    assert equal(found.variables, VARIABLES) and equal(found.best, BEST)
    assert found.records == epoch(1) and (found.epochs, found.peak_mb) == ([1], 12.5)
    lines = journal.last_attempt(tmp_path)
    assert [entry.time_ms for entry in found.entries] == [entry.time_ms for entry in lines[1:6]]


def test_a_trial_without_a_checkpoint_starts_from_the_beginning(tmp_path):
    write(tmp_path, start(), *epoch(1))

    assert Checkpoint(tmp_path, "cafe", devices).earlier() is NOTHING


@pytest.mark.parametrize(("status", "goes_on"), [(KILLED, True), (FAILED, False), (FINISHED, False)])
def test_only_killed_trials_resume(tmp_path, status, goes_on):
    kept = killed(tmp_path)
    write(tmp_path, end(step=5, status=status))

    assert (kept.earlier() is not NOTHING) == goes_on


def test_an_attempt_that_was_killed_before_its_first_epoch_keeps_the_earlier_checkpoint(tmp_path):
    kept = killed(tmp_path)
    write(tmp_path, end(step=5, status=KILLED), start("two", [1]), *epoch(1))

    assert (kept.earlier().epochs, kept.earlier().records) == ([1], epoch(1))

    write(tmp_path, *epoch(2), end(step=6, status=KILLED), start("three"))
    keep(tmp_path, "two", 2)

    assert (kept.earlier().epochs, kept.earlier().records) == ([1, 2], [*epoch(1), *epoch(2)])


def test_validations_within_epochs_are_among_the_earlier_records(tmp_path):
    between = Record(EVALUATION, 2, {"val/accuracy": 0.4}, {"epoch": None})
    records = [*epoch(1)[:2], between, *epoch(1)[2:]]
    write(tmp_path, start(), *records)
    keep(tmp_path)

    assert Checkpoint(tmp_path, "cafe", devices).earlier().records == records


def test_a_checkpoint_with_a_flipped_byte_is_not_used(tmp_path):
    kept = killed(tmp_path)
    path, rng = tmp_path / checkpoint.FILE, random.Random(0)
    whole = path.read_bytes()
    refused = 0
    for place in rng.sample(range(len(whole)), 300):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        try:
            found = kept.earlier()
        except Unusable:
            refused += 1
        else:  # a date, or another field that does not change the contents
            assert equal(found.variables, VARIABLES) and equal(found.best, BEST) and found.epochs == [1]
    assert refused > 150


@pytest.mark.parametrize(
    "change", [lambda whole: b"", lambda whole: whole[:-30], lambda whole: bytes(len(whole)), lambda whole: b"hello\n"]
)
def test_a_file_that_is_not_an_archive_is_called_damaged(tmp_path, change):
    kept = killed(tmp_path)
    path = tmp_path / checkpoint.FILE
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(Unusable, match="it is damaged"):
        kept.earlier()


def test_an_archive_with_other_contents_is_called_damaged(tmp_path):
    kept = killed(tmp_path)
    for held in (
        {"x": np.zeros(3)},
        {"about_0": np.array("{}")},
        {"about_0": np.array("[1]")},
        {"about_0": np.array([{}], object)},
    ):
        np.savez(tmp_path / checkpoint.FILE, **held)
        with pytest.raises(Unusable, match="it is damaged"):
            kept.earlier()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda patch: patch.setattr(checkpoint, "FORM", "0"), "another version of the framework wrote it"),
        (lambda patch: patch.setattr(checkpoint, "code", lambda: "other"), r"the code in src/ has changed since"),
        (lambda patch: with_tag(patch, "ablation.versions"), "with other versions of packages"),
        (lambda patch: with_tag(patch, "ablation.processor"), "on another processor"),
        (lambda patch: with_tag(patch, "ablation.environment"), "in another environment"),
    ],
)
def test_a_checkpoint_of_other_code_packages_or_hardware_is_not_used(tmp_path, monkeypatch, change, why):
    kept = killed(tmp_path)
    change(monkeypatch)

    with pytest.raises(Unusable, match=why):
        kept.earlier()


def test_a_checkpoint_of_other_devices_is_not_used(tmp_path):
    killed(tmp_path)

    with pytest.raises(Unusable, match="with other devices"):
        Checkpoint(tmp_path, "cafe", lambda: ["GPU"]).earlier()


def test_a_checkpoint_of_another_trial_is_not_used(tmp_path):
    killed(tmp_path)

    with pytest.raises(Unusable, match="it belongs to another trial"):
        Checkpoint(tmp_path, "beef", devices).earlier()


@pytest.mark.parametrize("lines", [0, 3, 5])
def test_a_checkpoint_whose_records_are_lost_is_not_used(tmp_path, lines):
    kept = killed(tmp_path)
    path = tmp_path / journal.FILE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))

    with pytest.raises(Unusable, match=r"journal\.jsonl has lost records before it"):
        kept.earlier()


def test_a_checkpoint_with_a_broken_journal_is_not_used(tmp_path):
    kept = killed(tmp_path)
    path = tmp_path / journal.FILE
    path.write_bytes(path.read_bytes().replace(b"0.333", b"0.334", 1))

    with pytest.raises(Unusable, match="invalid line"):
        kept.earlier()


def test_a_checkpoint_that_cannot_be_written_warns_once_and_keeps_the_previous_one(tmp_path, monkeypatch, caplog):
    kept = killed(tmp_path)
    write(tmp_path, *epoch(2)[2:])

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with caplog.at_level(logging.DEBUG, "src"):
        for number in (2, 3):
            kept.write("one", number, variables=VARIABLES, best=[], peak_mb=1.0)

    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"]
    assert "the checkpoint after epoch 2 cannot be written (No space left on device)" in caplog.text
    assert kept.earlier().epochs == [1]
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.FILE, journal.FILE, "journal.lock"}


def test_removing_a_checkpoint_removes_a_partly_written_one_too(tmp_path):
    kept = killed(tmp_path)
    (tmp_path / f"new-{checkpoint.FILE}").write_bytes(b"half")

    kept.remove()
    kept.remove()

    assert {path.name for path in tmp_path.iterdir()} == {journal.FILE, "journal.lock"}
