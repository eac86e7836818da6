"""A user's own tags and notes on the command line, and the name of a registered model."""

from __future__ import annotations

import pytest

from src.config.command_line import with_quotes
from src.config.settings import checked
from src.spec.section import SettingsError
from src.tasks.sentiment.settings import Settings
from src.tasks.sentiment.task import TASK
from src.trial.identity import identity


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("tracking.tags.owner=ada", "++tracking.tags.owner=ada"),
        ("tracking.tags.x=true", '++tracking.tags.x="true"'),
        ("tracking.tags.x=1e3", '++tracking.tags.x="1e3"'),
        ("tracking.tags.a-b=1", '++tracking.tags.a-b="1"'),
        ("tracking.note=12", 'tracking.note="12"'),
    ],
)
def test_tags_and_notes_are_text_and_tags_may_have_any_name(typed, read):
    assert with_quotes([typed]) == [read]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"tags": {"mlflow.user": "x"}}, "tracking.tags.mlflow.user: the name of a tag is up to 200 letters"),
        ({"tags": {"ablation.kind": "study"}}, "begins with neither mlflow. nor ablation."),
        ({"tags": {"mlflow": {"user": "x"}}}, "tracking.tags.mlflow: the name of a tag"),
        ({"tags": {"a=b": "x"}}, "tracking.tags.a=b: the name of a tag"),
        ({"tags": {"a": 1}}, "tracking.tags.a: got 1, which is not text"),
        (
            {"register": "a/b"},
            "tracking.register: got 'a/b'; allowed: text of letters, digits, spaces, ., _ and - or null",
        ),
        ({"note": "x" * 2_001}, "allowed: text of at most 2,000 characters or null"),
    ],
)
def test_tags_that_stores_refuse_are_refused_with_the_allowed_form(values, says):
    with pytest.raises(SettingsError) as refused:
        checked({"tracking": values})

    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_tags_and_notes_do_not_change_the_identity_of_a_trial():
    given = checked(
        {"tracking": {"tags": {"owner": "ada"}, "note": "again", "register": "reviews", "system_metrics": True}}
    )

    assert identity(given, TASK, data_digest="d") == identity(Settings(), TASK, data_digest="d")
