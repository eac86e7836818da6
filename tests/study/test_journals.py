from __future__ import annotations

import os

import pytest

from src.spec.record import EVALUATION, START, STEP, Record
from src.study import journals
from src.study.journals import Journals
from src.tracking import journal, outcome
from src.tracking.journal import FINISHED, KILLED, Journal, JournalError, end


def attempt(folder, name, *, ends=True):
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={"attempt": name, "tags": {"ablation.identity": folder.name}}))
        book.append(Record(STEP, 1, {"train/loss": 0.5}))
        book.append(Record(EVALUATION, 1, {"val/accuracy": 0.75}))
        if ends:
            book.append(end(step=1, status=FINISHED, metrics={"test/accuracy": 0.5, "test/loss": float("nan")}))


def outcomes(study):
    """Returns the outcomes that a command reads; saves the cache for the next command."""
    journals_of_study = Journals(study)
    read = journals_of_study.outcomes()
    journals_of_study.save()
    return read


def replay(study, store, send):
    journals_of_study = Journals(study)
    errors = journals_of_study.replay(store, send)
    journals_of_study.save()
    return errors


@pytest.fixture
def read(monkeypatch):
    """The names of the trials whose journals were read."""
    names, really = [], outcome.of_journal
    monkeypatch.setattr(outcome, "of_journal", lambda folder: names.append(folder.name) or really(folder))
    return names


def test_a_study_without_a_folder_has_no_outcomes_and_no_folder_is_created(tmp_path):
    assert outcomes(tmp_path / "none") == {} and not (tmp_path / "none").exists()


def test_outcomes_from_journals_and_from_the_cache_are_equal(tmp_path):
    attempt(tmp_path / "a", "1")
    attempt(tmp_path / "b", "2", ends=False)
    expected = {name: repr(outcome.of_journal(tmp_path / name)) for name in "ab"}

    for _ in range(2):
        assert {name: repr(found) for name, found in outcomes(tmp_path).items()} == expected


def test_a_journal_is_read_again_only_after_a_change(tmp_path, read):
    for name in "abc":
        attempt(tmp_path / name, "1")
    known = Journals(tmp_path)
    known.outcomes()
    attempt(tmp_path / "b", "2")

    assert known.outcomes()["b"].attempt == "2"
    known.save()
    assert outcomes(tmp_path)["b"].attempt == "2"
    assert read == ["a", "b", "c", "b"]


def test_a_journal_that_was_replaced_by_a_file_of_equal_size_and_time_is_read_again(tmp_path):
    for name in "ab":
        attempt(tmp_path / name, name)
    known = Journals(tmp_path)
    known.outcomes()
    known.save()
    path = tmp_path / "a" / journal.FILE
    before = path.stat()
    os.replace(tmp_path / "b" / journal.FILE, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert known.outcomes()["a"].attempt == "b" == outcomes(tmp_path)["a"].attempt


def test_a_trial_whose_folder_was_removed_is_forgotten(tmp_path):
    attempt(tmp_path / "a", "1")
    known = Journals(tmp_path)
    known.outcomes()
    known.save()
    (tmp_path / "a" / journal.FILE).unlink()

    assert known.outcomes() == {} == outcomes(tmp_path)


def test_reading_writes_nothing(tmp_path):
    attempt(tmp_path / "a", "1")
    Journals(tmp_path).outcomes()

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"fields": null, "trials": 1}', "\x00"])
def test_a_cache_that_is_broken_or_from_another_version_is_ignored(tmp_path, text, read):
    attempt(tmp_path / "a", "1")
    outcomes(tmp_path)
    (tmp_path / journals.FILE).write_text(text, encoding="utf-8")

    assert outcomes(tmp_path)["a"].status == FINISHED
    assert read == ["a", "a"]


def test_every_read_reports_a_broken_journal(tmp_path):
    attempt(tmp_path / "a", "1")
    with (tmp_path / "a" / journal.FILE).open("ab") as file:
        file.write(b"garbage\n")

    for _ in range(2):
        with pytest.raises(JournalError, match="invalid line"):
            outcomes(tmp_path)


def test_an_attempt_without_an_end_is_closed_once_its_process_has_ended(tmp_path):
    attempt(tmp_path / "dead", "1", ends=False)
    attempt(tmp_path / "alive", "1", ends=False)
    known = Journals(tmp_path)
    known.outcomes()
    with Journal(tmp_path / "alive"):
        known.close_dead()

    assert {name: found.status for name, found in known.outcomes().items()} == {"alive": None, "dead": KILLED}


def sender(*, fails=(), deleted=()):
    """Records what it sends in a file next to the journal, as the store does."""
    sent = []

    def send(folder):
        sent.append(folder.name)
        if folder.name in fails:
            raise OSError("away")
        text = '{"store": {"offset": 1, "deleted": ["run"]}}' if folder.name in deleted else '{"store": {"offset": 1}}'
        if not (folder / journals.SENT).exists():
            (folder / journals.SENT).write_text(text, encoding="utf-8")

    return sent, send


def test_a_journal_is_sent_again_only_after_it_grew_or_to_another_store(tmp_path):
    sent, send = sender()
    for name in "ab":
        attempt(tmp_path / name, "1")
    replay(tmp_path, "one", send)
    replay(tmp_path, "one", send)
    attempt(tmp_path / "b", "2")
    replay(tmp_path, "one", send)
    replay(tmp_path, "another", send)

    assert sent == ["a", "b", "b", "a", "b"]


@pytest.mark.parametrize("what", ["could not be sent", "was deleted in the store", "has lost its notes"])
def test_a_trial_that_the_store_may_lack_is_sent_again(tmp_path, what):
    sent, send = sender(
        fails="a" if what == "could not be sent" else "", deleted="a" if what == "was deleted in the store" else ""
    )
    attempt(tmp_path / "a", "1")
    first = replay(tmp_path, "one", send)
    if what == "has lost its notes":
        (tmp_path / "a" / journals.SENT).unlink()
    replay(tmp_path, "one", send)

    assert sent == ["a", "a"]
    assert list(first) == (["a"] if what == "could not be sent" else [])
