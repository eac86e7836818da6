from __future__ import annotations

import pytest

from src.settings import SettingsError
from src.study_file import load
from tests.test_settings import TEXTS

ODD = ["2024_01", "1_2", "007", "1e3", "0x10", "0b1", "on", "yes", "No", "true", "1:30", "1.5:30", "2024-01-01"]
ODD += ["12.50", "+1", ".5", ".inf", "="]


def read(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return load(tmp_path / "mine.yaml")


def nested(key, value):
    section, _, name = key.partition(".")
    return f"{section}: {{{name}: {value}}}\n" if name else f"{key}: {value}\n"


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_is_read_as_it_is_written(tmp_path, key):
    for written in ODD:
        found = read(tmp_path, nested(key, written))
        section, _, name = key.partition(".")
        assert (found[section][name] if name else found[section]) == written


@pytest.mark.parametrize("place", ["levels: {data.path: [ODD, b]}", "reference: {data.path: ODD}", "variants: [{data.path: ODD}]"])
def test_the_texts_of_a_plan_are_read_as_they_are_written(tmp_path, place):
    for written in ODD:
        plan = read(tmp_path, f"plan:\n  {place.replace('ODD', written)}\n").plan
        (found,) = [*plan.get("levels", {}).get("data.path", [])[:1], *plan.get("reference", {}).values()] or plan.variants[0].values()
        assert found == written


@pytest.mark.parametrize("written", ["~", "Null", "NULL"])
def test_what_may_be_null_or_a_text_is_refused_with_both_ways(tmp_path, written):
    with pytest.raises(SettingsError, match=rf'data\.path: got {written}; write null for none, or "{written}" in quotes for the text'):
        read(tmp_path, f"data: {{path: {written}}}")


def test_null_is_null_and_quotes_make_a_text(tmp_path):
    assert dict(read(tmp_path, 'data: {path: null, test_path: "null", text_column: "~", label_column: \'1\'}').data) == {
        "path": None,
        "test_path": "null",
        "text_column": "~",
        "label_column": "1",
    }


def test_numbers_and_truth_values_stay_what_they_are(tmp_path):
    found = read(
        tmp_path, "units: 0x10\nmasking: on\nlearning_rate: 1e-3\nplan: {seeds: [0, 1, 1_0], levels: {units: [8, null], cell: [gru]}}"
    )

    assert (found.units, found.masking, found.learning_rate, found.plan.seeds) == (16, True, 1e-3, [0, 1, 10])
    assert found.plan.levels == {"units": [8, None], "cell": ["gru"]}


@pytest.mark.parametrize(("written", "is_read_as"), [("010", 8), ("1:30", 90), ("-017", -15), ("1:30.5", 90.5)])
def test_a_number_that_yaml_reads_as_another_is_refused(tmp_path, written, is_read_as):
    with pytest.raises(SettingsError, match=rf"units: got {written}, which YAML reads as {is_read_as}; write {is_read_as}"):
        read(tmp_path, f"units: {written}")


def test_anchors_and_merges_are_followed(tmp_path):
    found = read(tmp_path, "data: &one {path: 2024_01}\nother:\n  <<: *one\nplan:\n  question: *two\n".replace("*two", "on"))

    assert found.data.path == "2024_01" and found.plan.question == "on"
