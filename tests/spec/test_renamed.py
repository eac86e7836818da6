"""Toggles of earlier versions are read with today's names and values, and identities keep the old ones."""

from __future__ import annotations

from src.spec.renamed import as_hashed, as_today, instead_of, plan_today


def test_settings_of_earlier_versions_have_todays_names_and_values():
    assert as_today({"jit_compile": True, "depth": 2}) == {"execution": "xla", "depth": 2}
    assert as_today({"jit_compile": False}) == {"execution": "graph"}
    assert as_today({"execution": "eager", "max_length": None}) == {"execution": "eager", "max_length": None}


def test_a_plan_of_an_earlier_version_has_todays_names_and_values_everywhere():
    old = {
        "levels": {"jit_compile": [False, True], "depth": [1]},
        "reference": {"jit_compile": False, "depth": 1},
        "variants": [{"jit_compile": True}],
        "aliases": [["jit_compile:depth", "cell"]],
        "rows": [{"label": "jit_compile=true depth=1", "values": {"jit_compile": True, "depth": 1}, "seed": 3}],
        "seeds": [3],
    }

    assert plan_today(old) == {
        "levels": {"execution": ["graph", "xla"], "depth": [1]},
        "reference": {"execution": "graph", "depth": 1},
        "variants": [{"execution": "xla"}],
        "aliases": [["execution:depth", "cell"]],
        "rows": [{"label": "execution=xla depth=1", "values": {"execution": "xla", "depth": 1}, "seed": 3}],
        "seeds": [3],
    }
    assert plan_today(plan_today(old)) == plan_today(old)


def test_identities_hash_the_values_that_existed_under_their_old_name():
    assert as_hashed({"execution": "xla", "depth": 2}) == {"jit_compile": True, "depth": 2}
    assert as_hashed({"execution": "graph"}) == {"jit_compile": False}
    assert as_hashed({"execution": "eager"}) == {"jit_compile": False, "execution": "eager"}


def test_the_old_name_is_answered_with_the_new_one():
    assert instead_of("jit_compile") == "write execution=xla for true, execution=graph for false"
    assert instead_of("depth") == ""
