"""What tells of a machine is removed from a study that is shared."""

from __future__ import annotations

import pytest

from analysis import private


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("data.path=/home/me/data/reviews.csv", "data.path=…/reviews.csv"),
        ("no such file: '/root/x/y.csv' (seed 1)", "no such file: '…/y.csv' (seed 1)"),
        ("~/data/x.csv and C:\\Users\\me\\x.csv", "…/x.csv and …/x.csv"),
        ("sqlite:////root/h/mlflow.db or postgresql://me:secret@host/db", "… or …"),
        ("open file:///root/reports/report.html", "open …"),
        ("test/accuracy and s/epoch of https://example.org/a/b/c, </td></tr>, 1/2", None),
        ("ms per batch / epoch, and/or/not", None),
    ],
)
def test_paths_and_addresses_are_shortened_and_other_texts_stay(text, shown):
    assert private.hiding([])(text) == (text if shown is None else shown)


def test_different_paths_of_a_study_stay_different():
    hide = private.hiding({"levels": {"data.path": ["/root/a/x.csv", "/root/b/x.csv", "/root/my data/y z.csv"]}})

    assert hide("/root/a/x.csv or /root/b/x.csv or /root/my data/y z.csv") == "…/a/x.csv or …/b/x.csv or …/y z.csv"


def test_a_plan_keeps_its_commands_without_the_settings_of_trackers():
    tracking = "tracking.uri=http://me:pw@host:5000 ++tracking.note='a b'"
    command = f"python -m src.run -m 'data.path=/root/a b/x.csv' {tracking} cell=gru"
    record = {"rows": [{"values": {"n": 1, "is": True}}], "commands": [{"command": command, "time": "now"}]}

    [hidden] = private.plans([record], private.hiding([record, {"data.path": "/root/a b/x.csv"}]))

    assert hidden["commands"][0]["command"] == "python -m src.run -m 'data.path=…/x.csv' cell=gru"
    assert hidden["rows"] == record["rows"]
