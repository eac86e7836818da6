"""Tables that mix trials of different code versions have a note in every format."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from analysis import answer, findings, load, provenance, report, store, tables
from analysis.__main__ import app
from benchmarks import generated

OLD, NEW = "a" * 40, "b" * 40
BOTH = "The trials were trained by 2 versions of the code"


def find(name, path, **options):
    return findings.find(load.study(name, store.connect(f"sqlite:///{path}")), **options)


def mixed(path, tags, *, seeds=(0, 1, 2), **asked):
    def outcome(values, seed):
        return {"test/accuracy": 0.8 + 0.01 * ((seed + len(values["cell"])) % 3), "tags": tags(values, seed)}

    generated.study(
        path, "s", {"cell": ["lstm", "gru"], "masking": [True, False]}, outcome, seeds=seeds, steps=3, **asked
    )
    return path


def later(values, seed):
    return {"git_commit": NEW if values["cell"] == "gru" else OLD}


def test_the_commits_are_named_with_their_numbers_of_trials(own):
    text = provenance.different_code(find("s", mixed(own, later)).rows)

    assert text.startswith(f"{BOTH}: commit aaaaaaaaaa (6 trials), commit bbbbbbbbbb (6 trials).")


def test_variants_that_differ_from_their_reference_in_code_are_named(own):
    text = provenance.different_code(find("s", mixed(own, later)).rows)

    assert (
        "may explain the change, in cell=gru masking=true (3 of 3 pairs), cell=gru masking=false (3 of 3 pairs)."
        in text
    )


def test_it_is_reported_if_each_seed_was_trained_by_one_version(own):
    text = provenance.different_code(
        find("s", mixed(own, lambda values, seed: {"git_commit": NEW if seed == 2 else OLD})).rows
    )

    assert text == f"{BOTH}: commit aaaaaaaaaa (8 trials), commit bbbbbbbbbb (4 trials). Each pair is of one version."


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"git_commit": OLD, "git_dirty": "true"}, "commit aaaaaaaaaa with uncommitted changes (6 trials)"),
        (
            {"git_commit": OLD, "git_dirty": "true", "git_diff": "c" * 16},
            "with uncommitted changes (diff cccccccccc) (6 trials)",
        ),
        ({"git_commit": "unknown", "git_dirty": "unknown"}, "an unknown commit (6 trials)"),
        ({"git_commit": None, "git_dirty": None}, "an unknown commit (6 trials)"),
    ],
)
def test_uncommitted_changes_and_unknown_commits_are_different_versions(own, other, name):
    found = find("s", mixed(own, lambda values, seed: other if values["masking"] else {"git_commit": OLD}))

    assert name in provenance.different_code(found.rows)


def test_two_uncommitted_diffs_of_one_commit_are_two_versions(own):
    diffs = {"lstm": "1" * 16, "gru": "2" * 16}
    found = find(
        "s",
        mixed(own, lambda values, seed: {"git_commit": OLD, "git_dirty": "true", "git_diff": diffs[values["cell"]]}),
    )

    assert "(diff 1111111111) (6 trials), commit aaaaaaaaaa with uncommitted changes (diff 2222222222) (6 trials)" in (
        provenance.different_code(found.rows)
    )


@pytest.mark.parametrize("name", ["whole", "one_seed", "steps", "way"])
def test_trials_of_one_version_need_no_note(uri, database, name):
    assert provenance.different_code(find(name, database).rows) == ""


def test_every_table_has_the_note_in_every_format(own):
    found = find("s", mixed(own, later))
    for table in (tables.ablation(found), tables.factorial(found), tables.effects(found)):
        assert all(BOTH in text for text in (table.markdown(), table.latex("x"), table.html()))


def test_the_page_and_the_terminal_have_the_note(own, tmp_path):
    path = mixed(own, later)
    assert any(BOTH in sentence for sentence in answer.sentences(find("s", path)))
    assert BOTH in report.page(find("s", path), [])
    for command in (
        ["report", "s", "--no-attach"],
        ["table", "s"],
        ["compare", "s", "reference", "cell=gru masking=true"],
    ):
        out = [] if command[0] == "compare" else ["--out", str(tmp_path)]
        assert BOTH in CliRunner().invoke(app, [*command, "--uri", f"sqlite:///{path}", *out]).output


def test_a_study_with_a_single_seed_has_the_note_too(own):
    assert any(BOTH in sentence for sentence in answer.sentences(find("s", mixed(own, later, seeds=[0]))))


def test_the_page_warns_that_unrecorded_changes_may_differ(own):
    found = find("s", mixed(own, lambda values, seed: {"git_commit": OLD, "git_dirty": "true"}))

    assert "these trials may differ in code" in dict(report.provenance(found.study.finished))["code"]


def test_the_page_says_how_uncommitted_changes_are_applied_again(own):
    found = find("s", mixed(own, lambda values, seed: {"git_commit": OLD, "git_dirty": "true", "git_diff": "1" * 16}))

    page = report.page(found, [])

    identity = found.study.finished["identity"].iloc[0]
    assert f"git checkout {OLD}\ngit apply outputs/s/{identity}/uncommitted.patch\n" in page


def test_several_uncommitted_versions_are_listed_and_none_is_applied(own):
    diffs = {"lstm": "1" * 16, "gru": "2" * 16}
    found = find(
        "s",
        mixed(own, lambda values, seed: {"git_commit": OLD, "git_dirty": "true", "git_diff": diffs[values["cell"]]}),
    )

    page = report.page(found, [])

    assert "There are 2 versions" in page and "git apply" not in page


def test_two_versions_of_one_package_are_two_versions_of_the_code(own):
    def tags(values, seed):
        return {"git_commit": OLD, "package": "prices 2.0, code b" if values["cell"] == "gru" else "prices 1.0, code a"}

    text = provenance.different_code(find("s", mixed(own, tags)).rows)

    assert "commit aaaaaaaaaa with prices 1.0, code a (6 trials)" in text and "in cell=gru masking=true" in text


def test_tasks_of_different_packages_are_one_version_of_the_code(own):
    def tags(values, seed):
        return {"git_commit": OLD, "package": "prices 2.0, code b" if values["cell"] == "gru" else None}

    assert not provenance.different_code(find("s", mixed(own, tags)).rows)
