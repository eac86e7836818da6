from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, TEMPORARILY_UNAVAILABLE

from src import paths, sync
from src.spec.record import START, Record
from src.tracking.journal import FINISHED, Journal, end
from src.tracking.mlflow_replay import Store

PLAN = [{"rows": [{"label": "defaults"}], "commands": [{"command": "x", "time": "now"}]}]


@pytest.fixture
def attached(home, monkeypatch):
    """The files attached to the run of a study with one offline trial."""
    names = []

    class Store:
        def __init__(self, uri, study):
            self.uri, self.moved = "store", None

        def delete_duplicates(self):
            return 0

        def replay(self, folder):
            return 2

        def attach(self, file, *, tags):
            names.append(file.name)

        def end_study_if_running(self, status):
            pass

        def deleted_trials(self):
            return {}

    monkeypatch.setattr(sync, "Store", Store)
    with Journal(paths.study_folder("s") / "cafe") as book:
        book.append(
            Record(START, 0, detail={"attempt": "a", "name": "x", "tags": {}, "params": {}, "tracking_uri": None})
        )
        book.append(end(step=0, status=FINISHED))
    return names


def test_a_plan_is_attached_to_its_study(attached, capsys):
    (paths.study_folder("s") / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")

    assert sync.main([]) == 0
    assert attached == ["plan.json"] and "s: 2 records sent to store" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "", "null", "[1]", "[{}]", '[{"rows": 1, "commands": []}]', "\udcff"])
def test_a_broken_plan_is_reported_and_not_attached(attached, capsys, content):
    path = paths.study_folder("s") / "plan.json"
    path.write_bytes(content.encode(errors="surrogateescape"))

    assert sync.main([]) == 1

    out, err = capsys.readouterr()
    assert not attached and "s: 2 records sent to store" in out
    assert f"error: {path}: not a valid plan and not sent; move it away" in err


def offline(study, name, **detail):
    """Writes the journal of a trial that was not sent."""
    with Journal(paths.study_folder(study) / name) as book:
        tags = {"ablation.kind": "trial", "ablation.identity": name}
        book.append(
            Record(
                START,
                0,
                detail={"attempt": f"{study} {name}", "name": "cell=gru seed=0", "tags": tags, "params": {}, **detail},
            )
        )
        book.append(end(step=0, status=FINISHED))
    return paths.study_folder(study) / name


@pytest.fixture
def fake(home, monkeypatch):
    """Fake stores: records their addresses, studies and records, without a server."""
    fake = SimpleNamespace(stores=[], sent=[], answers=True, fails=lambda place, folder: None)

    class Store:
        def __init__(self, uri, study):
            fake.fails("connect", study)
            fake.stores.append((uri, study))
            self.uri, self.moved = str(uri), None

        def replay(self, folder):
            fake.fails("replay", folder.name)
            fake.sent.append(folder.name)
            return 2

        def attach(self, file, *, tags):
            fake.fails("attach", file)

        def end_study_if_running(self, status):
            fake.fails("end", status)

        def answers(self):
            return fake.answers

        def delete_duplicates(self):
            return 0

        def deleted_trials(self):
            fake.fails("deleted", None)
            return {}

    monkeypatch.setattr(sync, "Store", Store)
    return fake


def test_a_trial_is_sent_to_the_store_of_its_latest_attempt(fake):
    offline("s", "cafe", tracking_uri="http://first")
    folder = offline("s", "cafe", tracking_uri="http://me:secret@latest")
    (folder / "settings.json").write_text(json.dumps({"tracking": {"uri": "http://other"}}), encoding="utf-8")

    assert sync.main([]) == 0
    assert fake.stores == [("http://me:secret@latest", "s")]


@pytest.mark.parametrize("uri", ["http://there", None])
def test_an_older_journal_is_sent_to_the_store_in_its_settings(fake, uri):
    (offline("s", "cafe") / "settings.json").write_text(json.dumps({"tracking": {"uri": uri}}), encoding="utf-8")

    assert sync.main([]) == 0
    assert fake.stores == [(uri, "s")]


@pytest.mark.parametrize(
    "content",
    [None, "[]", '{"tracking": 3}', "{", '{"tracking": {"uri": 3}}', '{"tracking": {"uri": "http://…@host"}}'],
)
def test_a_trial_without_a_recorded_store_is_sent_only_with_uri(fake, capsys, content):
    folder = offline("s", "cafe")
    if content:
        (folder / "settings.json").write_text(content, encoding="utf-8")

    assert sync.main([]) == 1
    assert not fake.sent and "set it with --uri" in capsys.readouterr().err
    assert sync.main(["--uri", "http://here"]) == 0 and fake.sent == ["cafe"]


def test_a_server_that_stops_between_trials_gives_one_line_and_the_next_study_is_sent(fake, capsys):
    for study, name in (("s", "a"), ("s", "b"), ("s", "c"), ("t", "d")):
        offline(study, name, tracking_uri=None)
    (paths.study_folder("s") / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")
    tried = []

    def fails(place, what):
        tried.append((place, what))
        if fake.sent == ["a"] and (place, what) != ("connect", "t") and what != "d":
            raise MlflowException("connection refused", TEMPORARILY_UNAVAILABLE)

    fake.fails, fake.answers = fails, False

    assert sync.main([]) == 1

    out, err = capsys.readouterr()
    assert fake.sent == ["a", "d"] and ("replay", "c") not in tried
    assert "s: 2 records sent to None" in out and "t: 2 records sent to None" in out
    (line,) = err.splitlines()
    assert "cannot be sent now (connection refused); so are 2 more: c, the run of study s; nothing is lost" in line


@pytest.mark.parametrize("place", ["attach", "end", "deleted"])
def test_a_server_that_stops_at_the_end_of_a_study_fails_only_that_study(fake, capsys, place):
    for study in ("s", "t"):
        offline(study, "cafe", tracking_uri=None)
    (paths.study_folder("s") / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")

    def fails(where, what):
        if where == place and len(fake.stores) == 1:
            raise MlflowException("connection reset", TEMPORARILY_UNAVAILABLE)

    fake.fails = fails

    assert sync.main([]) == 1
    out, err = capsys.readouterr()
    assert err == "error: the run of study s cannot be sent now (connection reset); nothing is lost; try again later\n"
    assert "t: 2 records sent" in out


def test_a_trial_that_cannot_be_sent_does_not_stop_the_others(fake, capsys):
    for name in "abc":
        offline("s", name, tracking_uri=None)
    (paths.study_folder("s") / "b" / "journal.jsonl").write_bytes(b"no record\n")

    assert sync.main([]) == 1
    assert fake.sent == ["a", "c"]
    assert "invalid line" in capsys.readouterr().err


def test_an_unknown_study_is_an_error_before_any_study_is_sent(fake, capsys):
    offline("s", "cafe", tracking_uri=None)

    assert sync.main(["s", "typo"]) == 2
    assert not fake.sent and "no study 'typo'" in capsys.readouterr().err


def test_duplicate_runs_are_deleted(sent, capsys):
    (run_id,) = runs(sent)
    sent.client.create_run(sent.experiment_id, tags=sent.client.get_run(run_id).data.tags)
    sent.client.create_run(sent.experiment_id, tags={"ablation.kind": "study"})

    assert sync.main([]) == 0
    assert "s: 2 duplicate runs deleted in MLflow" in capsys.readouterr().out
    assert runs(sent) == [run_id]


@pytest.fixture
def sent(home, blank):
    """The store of a study that was sent to MLflow."""
    with Journal(paths.study_folder("s") / "cafe") as book:
        tags = {"ablation.kind": "trial", "ablation.identity": "cafe"}
        detail = {"attempt": "a", "name": "cell=gru seed=0", "tags": tags, "params": {}, "tracking_uri": None}
        book.append(Record(START, 0, detail=detail))
        book.append(end(step=0, status=FINISHED))
    assert sync.main([]) == 0
    return Store(None, "s")


def runs(store, view=1):
    return [run.info.run_id for run in store._search("tags.`ablation.kind` = 'trial'", view=view)]


def test_a_deleted_run_stays_deleted_and_the_output_says_how_to_restore_it(sent, capsys):
    (run_id,) = runs(sent)
    sent.client.delete_run(run_id)

    for _ in range(2):
        assert sync.main([]) == 0
        out = capsys.readouterr().out
        assert "'cell=gru seed=0' was deleted in MLflow and stays deleted; to restore it, run: " in out
        assert f"run: MLFLOW_TRACKING_URI={sent.uri} mlflow runs" in out
    assert runs(sent) == [] and runs(sent, view=3) == [run_id]


@pytest.mark.parametrize("what", ["experiment", "study run"])
def test_a_deleted_study_stays_deleted_and_the_output_says_how_to_restore_it(sent, capsys, what):
    if what == "experiment":
        sent.client.delete_experiment(sent.experiment_id)
    else:
        sent.client.delete_run(sent.study_run_id)

    assert sync.main([]) == 0

    out = capsys.readouterr().out
    assert "s: nothing sent: " in out and "was deleted in MLflow" in out and " mlflow " in out and "restore" in out
    assert sent.client.get_run(sent.study_run_id).info.lifecycle_stage == "deleted"
    assert len(sent.client.search_runs([sent.experiment_id], "", run_view_type=3)) == 2


def test_the_addresses_of_a_moved_home_are_updated_with_a_note(sent, home, tmp_path, monkeypatch, capsys):
    (home / "mlartifacts" / "s").mkdir(parents=True)
    home.rename(tmp_path / "there")
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "there"))

    assert sync.main([]) == 0

    assert (
        f"s: note: ABLATION_HOME was {home}; MLflow's artifact paths (2 runs) now point to {tmp_path / 'there'}"
        in capsys.readouterr().out
    )
    assert runs(Store(None, "s")) == runs(sent)


def test_a_rejected_record_is_not_announced_for_later(sent, capsys, monkeypatch):
    def refused(*_):
        raise MlflowException("value too long", BAD_REQUEST)

    monkeypatch.setattr(Store, "replay", refused)

    assert sync.main([]) == 1
    err = capsys.readouterr().err
    assert "is rejected (value too long); nothing is lost; fix that and try again" in err and "later" not in err
