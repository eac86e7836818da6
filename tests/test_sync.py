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
    """What is attached to the study run of a study with one offline trial."""
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
def test_a_broken_plan_is_named_and_not_attached(attached, capsys, content):
    path = paths.study_folder("s") / "plan.json"
    path.write_bytes(content.encode(errors="surrogateescape"))

    assert sync.main([]) == 1

    out, err = capsys.readouterr()
    assert not attached and "s: 2 records sent to store" in out
    assert f"error: {path}: not a valid plan and not sent; move it away" in err


def offline(study, name, **detail):
    """A trial's journal that nobody has sent."""
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
def asked(home, monkeypatch):
    """The address and the name of the study of every store that is asked for, and what becomes of the records; no server is needed."""
    found = SimpleNamespace(stores=[], sent=[], answers=True, fails=lambda place, folder: None)

    class Store:
        def __init__(self, uri, study):
            found.fails("connect", study)
            found.stores.append((uri, study))
            self.uri, self.moved = str(uri), None

        def replay(self, folder):
            found.fails("replay", folder.name)
            found.sent.append(folder.name)
            return 2

        def attach(self, file, *, tags):
            found.fails("attach", file)

        def end_study_if_running(self, status):
            found.fails("end", status)

        def answers(self):
            return found.answers

        def delete_duplicates(self):
            return 0

        def deleted_trials(self):
            found.fails("deleted", None)
            return {}

    monkeypatch.setattr(sync, "Store", Store)
    return found


def test_a_trial_goes_to_the_store_that_its_latest_attempt_names(asked):
    offline("s", "cafe", tracking_uri="http://first")
    folder = offline("s", "cafe", tracking_uri="http://me:secret@latest")
    (folder / "settings.json").write_text(json.dumps({"tracking": {"uri": "http://other"}}), encoding="utf-8")

    assert sync.main([]) == 0
    assert asked.stores == [("http://me:secret@latest", "s")]


@pytest.mark.parametrize("uri", ["http://there", None])
def test_a_journal_of_before_goes_to_the_store_of_its_settings(asked, uri):
    (offline("s", "cafe") / "settings.json").write_text(json.dumps({"tracking": {"uri": uri}}), encoding="utf-8")

    assert sync.main([]) == 0
    assert asked.stores == [(uri, "s")]


@pytest.mark.parametrize(
    "content",
    [None, "[]", '{"tracking": 3}', "{", '{"tracking": {"uri": 3}}', '{"tracking": {"uri": "http://…@host"}}'],
)
def test_a_trial_of_which_nobody_knows_the_store_is_sent_nowhere_without_one(asked, capsys, content):
    folder = offline("s", "cafe")
    if content:
        (folder / "settings.json").write_text(content, encoding="utf-8")

    assert sync.main([]) == 1
    assert not asked.sent and "set it with --uri" in capsys.readouterr().err
    assert sync.main(["--uri", "http://here"]) == 0 and asked.sent == ["cafe"]


def test_a_server_that_dies_between_two_trials_is_one_line_and_the_next_study_is_sent(asked, capsys):
    for study, name in (("s", "a"), ("s", "b"), ("s", "c"), ("t", "d")):
        offline(study, name, tracking_uri=None)
    (paths.study_folder("s") / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")
    tried = []

    def fails(place, what):
        tried.append((place, what))
        if asked.sent == ["a"] and (place, what) != ("connect", "t") and what != "d":
            raise MlflowException("connection refused", TEMPORARILY_UNAVAILABLE)

    asked.fails, asked.answers = fails, False

    assert sync.main([]) == 1

    out, err = capsys.readouterr()
    assert asked.sent == ["a", "d"] and ("replay", "c") not in tried
    assert "s: 2 records sent to None" in out and "t: 2 records sent to None" in out
    (line,) = err.splitlines()
    assert (
        "cannot be sent now (connection refused); so are 2 more: c, the run of study s; nothing is lost; try again later"
        in line
    )


@pytest.mark.parametrize("place", ["attach", "end", "deleted"])
def test_a_server_that_dies_at_the_end_of_a_study_fails_that_study_alone(asked, capsys, place):
    for study in ("s", "t"):
        offline(study, "cafe", tracking_uri=None)
    (paths.study_folder("s") / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")

    def fails(where, what):
        if where == place and len(asked.stores) == 1:
            raise MlflowException("connection reset", TEMPORARILY_UNAVAILABLE)

    asked.fails = fails

    assert sync.main([]) == 1
    out, err = capsys.readouterr()
    assert err == "error: the run of study s cannot be sent now (connection reset); nothing is lost; try again later\n"
    assert "t: 2 records sent" in out


def test_a_trial_that_cannot_be_sent_keeps_no_other_from_being_sent(asked, capsys):
    for name in "abc":
        offline("s", name, tracking_uri=None)
    (paths.study_folder("s") / "b" / "journal.jsonl").write_bytes(b"no record\n")

    assert sync.main([]) == 1
    assert asked.sent == ["a", "c"]
    assert "invalid line" in capsys.readouterr().err


def test_a_study_that_is_not_there_is_said_before_any_is_sent(asked, capsys):
    offline("s", "cafe", tracking_uri=None)

    assert sync.main(["s", "typo"]) == 2
    assert not asked.sent and "no study 'typo'" in capsys.readouterr().err


def test_runs_that_were_made_twice_are_repaired(sent, capsys):
    (run_id,) = runs(sent)
    sent.client.create_run(sent.experiment_id, tags=sent.client.get_run(run_id).data.tags)
    sent.client.create_run(sent.experiment_id, tags={"ablation.kind": "study"})

    assert sync.main([]) == 0
    assert "s: 2 duplicate runs deleted in MLflow" in capsys.readouterr().out
    assert runs(sent) == [run_id]


@pytest.fixture
def sent(home, blank):
    """A study that was sent to MLflow, and its store."""
    with Journal(paths.study_folder("s") / "cafe") as book:
        tags = {"ablation.kind": "trial", "ablation.identity": "cafe"}
        detail = {"attempt": "a", "name": "cell=gru seed=0", "tags": tags, "params": {}, "tracking_uri": None}
        book.append(Record(START, 0, detail=detail))
        book.append(end(step=0, status=FINISHED))
    assert sync.main([]) == 0
    return Store(None, "s")


def runs(store, view=1):
    return [run.info.run_id for run in store._search("tags.`ablation.kind` = 'trial'", view=view)]


def test_what_was_deleted_in_mlflow_stays_so_and_the_way_back_is_said(sent, capsys):
    (run_id,) = runs(sent)
    sent.client.delete_run(run_id)

    for _ in range(2):
        assert sync.main([]) == 0
        out = capsys.readouterr().out
        assert (
            f"'cell=gru seed=0' was deleted in MLflow and stays deleted; to restore it, run: MLFLOW_TRACKING_URI={sent.uri} mlflow runs"
            in out
        )
    assert runs(sent) == [] and runs(sent, view=3) == [run_id]


@pytest.mark.parametrize("what", ["experiment", "study run"])
def test_a_study_that_was_deleted_in_mlflow_stays_so_and_the_way_back_is_said(sent, capsys, what):
    if what == "experiment":
        sent.client.delete_experiment(sent.experiment_id)
    else:
        sent.client.delete_run(sent.study_run_id)

    assert sync.main([]) == 0

    out = capsys.readouterr().out
    assert "s: nothing sent: " in out and "was deleted in MLflow" in out and " mlflow " in out and "restore" in out
    assert sent.client.get_run(sent.study_run_id).info.lifecycle_stage == "deleted"
    assert len(sent.client.search_runs([sent.experiment_id], "", run_view_type=3)) == 2


def test_a_moved_homes_addresses_are_mended_and_it_is_said(sent, home, tmp_path, monkeypatch, capsys):
    (home / "mlartifacts" / "s").mkdir(parents=True)
    home.rename(tmp_path / "there")
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "there"))

    assert sync.main([]) == 0

    assert (
        f"s: note: ABLATION_HOME was {home}; MLflow's artifact paths (2 runs) now point to {tmp_path / 'there'}"
        in capsys.readouterr().out
    )
    assert runs(Store(None, "s")) == runs(sent)


def test_a_record_that_is_refused_is_not_promised_for_later(sent, capsys, monkeypatch):
    def refused(*_):
        raise MlflowException("value too long", BAD_REQUEST)

    monkeypatch.setattr(Store, "replay", refused)

    assert sync.main([]) == 1
    err = capsys.readouterr().err
    assert "is rejected (value too long); nothing is lost; fix that and try again" in err and "later" not in err
