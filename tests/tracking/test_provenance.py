from __future__ import annotations

import subprocess

import pytest

from src.files import digest
from src.tracking import provenance


def git(folder, *words):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True
    )


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository with one committed file of code."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "fit.py").write_text("rate = 1\n", encoding="utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    for name in provenance.GIT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def uncommitted():
    return provenance.uncommitted.__wrapped__()


@pytest.fixture(autouse=True)
def uncached():
    provenance.tags.cache_clear()
    provenance.uncommitted.cache_clear()
    yield
    provenance.tags.cache_clear()
    provenance.uncommitted.cache_clear()


def test_a_committed_tree_has_no_patch_and_no_tag(tree):
    (tree / "notes.txt").write_text("beside the code", encoding="utf-8")

    assert uncommitted() is None
    assert "ablation.git_diff" not in provenance.tags()


@pytest.mark.parametrize("content", ["rate = 2\n", "rate = '\u00e9'\r\n"])
def test_the_patch_of_a_changed_tree_restores_the_changes_on_its_commit(tree, content):
    file = tree / "src" / "fit.py"
    file.write_bytes(content.encode())
    patch = uncommitted()
    git(tree, "checkout", "-q", ".")
    (tree / "p").write_bytes(patch.encode(errors="surrogateescape"))

    git(tree, "apply", "p")

    assert file.read_bytes() == content.encode()


def test_different_changes_and_different_untracked_files_have_different_hashes(tree):
    seen = set()
    for name, content in (("fit.py", "rate = 2\n"), ("fit.py", "rate = 3\n"), ("new.py", "a\n"), ("new.py", "b\n")):
        (tree / "src" / name).write_text(content, encoding="utf-8")
        provenance.tags.cache_clear()
        provenance.uncommitted.cache_clear()
        seen.add(provenance.tags()["ablation.git_diff"])

    assert len(seen) == 4
    assert provenance.tags()["ablation.git_diff"] == digest(uncommitted())
    assert "not in git: src/new.py" in uncommitted()


def test_bytes_that_are_not_utf_8_are_kept(tree):
    (tree / "src" / "fit.py").write_bytes(b"rate = '\xff\xe9'\n")

    assert b"\xff\xe9" in uncommitted().encode(errors="surrogateescape")


def test_a_long_patch_is_cut_with_a_note_and_a_hash_of_the_whole(tree):
    patches = []
    for end in "ab":
        (tree / "src" / "fit.py").write_text("x\n" * 1_000_000 + end, encoding="utf-8")
        patches.append(uncommitted())

    assert patches[0] != patches[1]
    assert all(len(patch) < 1_000_200 and "[cut: the whole patch has" in patch.splitlines()[-1] for patch in patches)


def test_there_is_no_patch_without_git(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)

    assert uncommitted() is None


def test_mlflow_gets_the_source_and_its_commit(tree):
    tags = provenance.tags()

    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("src.run", "LOCAL")
    assert tags["mlflow.source.git.commit"] == tags["ablation.git_commit"]
