from __future__ import annotations

import json

import pytest

from src import paths, sync
from src.tracking.journal import FINISHED, Journal, end
from src.training.records import START, Record

PLAN = [{"rows": [{"label": "defaults"}], "commands": [{"command": "x", "time": "now"}]}]


@pytest.fixture
def attached(home, monkeypatch):
    """What is attached to the study run of a study with one offline trial."""
    names = []

    class Store:
        def __init__(self, uri, study):
            self.uri, self.moved = "store", None

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
        book.append(Record(START, 0, detail={"attempt": "a", "name": "x", "tags": {}, "params": {}}))
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
    assert f"error: {path}: this is no plan, and is not sent; move it away" in err


@pytest.mark.parametrize("content", ["[]", '{"tracking": 3}', "{"])
def test_a_trial_with_broken_settings_is_sent_to_the_default_store(attached, content):
    (paths.study_folder("s") / "cafe" / "settings.json").write_text(content, encoding="utf-8")

    assert sync.main([]) == 0
