"""A study as one folder or zip file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import bundle, written
from analysis.__main__ import app
from analysis.written import Written
from benchmarks import generated
from src.artifacts import PATCH, SETTINGS
from src.paths import REPOSITORY
from src.tracking import provenance


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def few_figures(monkeypatch):
    from analysis import figures

    monkeypatch.setattr(figures, "FIGURES", {"forest": figures.FIGURES["forest"]})
    monkeypatch.setattr(figures, "draw_of_task", lambda study, names: ([], []))


@pytest.fixture
def quick(monkeypatch):
    """Replaces the report, which takes seconds, by one table."""

    def report_(found, folder, *, is_shared):
        assert is_shared
        (folder / "report.html").write_text("<p>report</p>", encoding="utf-8")
        (folder / "table.csv").write_text("label\n", encoding="utf-8")
        return Written([], 0, [])

    monkeypatch.setattr(written, "report", report_)


@pytest.fixture
def shared(place, few_figures):
    """A home with a study whose trials have settings, a patch, and paths of this machine in many places."""
    commit = provenance._git("rev-parse", "HEAD")
    secret = {
        "git_commit": commit,
        "git_dirty": "true",
        "git_diff": "c0ffee",
        "environment": "XLA_FLAGS=/root/me/flags",
    }

    def outcome(values, seed):
        if seed == 2 and values["data.path"] == "/root/me/b/x.csv":
            return {"status": "FAILED", "tags": {**secret, "error": "no such file: /root/me/b/x.csv"}}
        return {"test/accuracy": 0.8 + 0.01 * seed + 0.05 * (values["data.path"] == "/root/me/b/x.csv"), "tags": secret}

    levels = {"data.path": ["/root/me/a/x.csv", "/root/me/b/x.csv"]}
    command = "python -m src.run -m +experiments=leave_one_out study=p tracking.uri=http://me:pw@host.example:5000"
    record = {"commands": [{"command": command, "time": "now"}]}
    generated.study(place / "mlflow.db", "p", levels, outcome, seeds=[0, 1, 2], record=record, steps=3)
    for run in (place / "mlartifacts" / "p").iterdir():
        artifacts = run / "artifacts"
        if not (artifacts / "plan.json").is_file():
            artifacts.mkdir(exist_ok=True)
            settings = {
                "seed": 0,
                "data": {"name": "table", "path": "/root/me/a/x.csv"},
                "tracking": {"uri": "sqlite:////root"},
            }
            (artifacts / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
            (artifacts / PATCH).write_text("+ x = 1\n", encoding="utf-8")
    return place


def test_a_bundle_has_what_a_reader_needs(shared, tmp_path):
    done = invoke("bundle", "p", "--out", tmp_path / "b")

    assert done.exit_code == 0, done.output
    assert "note: code/ has uncommitted changes as they were recorded; read them" in done.output
    names = {path.relative_to(tmp_path / "b").as_posix() for path in (tmp_path / "b").rglob("*") if path.is_file()}
    assert names >= {
        "README.md", "report.html", "trials.csv", "plan.json", "settings.json", "SHA256SUMS", "tables/table.md",
        "figures/forest.svg", "environment/versions.txt", "environment/requirements.lock", "code/c0ffee.patch",
        "experiments/leave_one_out.yaml",
    }  # fmt: skip
    readme = (tmp_path / "b" / "README.md").read_text(encoding="utf-8")
    commit = provenance._git("rev-parse", "HEAD")
    assert (
        f"git checkout {commit}\ngit apply code/c0ffee.patch\npip install -r environment/requirements.lock\n" in readme
    )
    assert "python -m src.run -m +experiments=leave_one_out study=p\n" in readme
    assert "git apply code/c0ffee.patch" in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "b" / "settings.json").read_text(encoding="utf-8"))) == 6
    for line in (tmp_path / "b" / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "b" / name).read_bytes()).hexdigest() == digest
        names.discard(name)
    assert names == {"SHA256SUMS"}


def test_a_bundle_tells_nothing_of_the_machine(shared, tmp_path):
    invoke("bundle", "p", "--out", tmp_path / "b")

    texts = {path.name: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()}
    leaks = [
        b"/root/me",
        b"me:pw",
        b"host.example",
        b"sqlite",
        b"127.0.0.1",
        str(shared).encode(),
        str(REPOSITORY).encode(),
    ]
    assert [(name, leak) for name, text in texts.items() for leak in leaks if leak in text] == []
    assert "…/a/x.csv".encode() in texts["table.csv"] and "…/b/x.csv".encode() in texts["report.html"]


def test_the_same_study_gives_the_same_bytes(shared, tmp_path):
    invoke("bundle", "p", "--out", tmp_path / "one.zip")
    invoke("bundle", "p", "--out", tmp_path / "two.zip")

    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == sorted(archive.namelist()) and archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {name.split("/")[0] for name in archive.namelist()} == {"p"}


def test_the_trials_of_a_bundle_give_the_same_table_when_they_are_adopted(place, few_figures, tmp_path, monkeypatch):
    assert invoke("bundle", "s", "--zip").exit_code == 0
    with zipfile.ZipFile(place / "bundles" / "s.zip") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path / "s")
    readme = Path("README.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^python -m analysis (adopt .*)", readme, flags=re.MULTILINE)

    assert invoke(*shlex.split(command)).exit_code == 0
    assert invoke("table", "s_adopted", "--out", tmp_path / "again").exit_code == 0

    columns = ["masking", "cell", "n", "mean", "change", "low", "high", "p", "p_holm"]
    tables = [pd.read_csv(path)[columns] for path in (Path("tables/table.csv"), tmp_path / "again" / "table.csv")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)


def test_a_failure_leaves_no_half_bundle_and_keeps_the_earlier_one(place, quick, tmp_path, monkeypatch):
    invoke("bundle", "s", "--out", tmp_path / "b.zip")
    before = (tmp_path / "b.zip").read_bytes()
    monkeypatch.setattr(bundle, "_write_sums", lambda folder: (_ for _ in ()).throw(OSError(28, "No space left")))

    for name in ("b.zip", "new.zip", "folder"):
        done = invoke("bundle", "s", "--out", tmp_path / name)
        assert done.exit_code == 1 and "No space left" in done.output

    assert (tmp_path / "b.zip").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "home"]


@pytest.mark.parametrize("name", ["thesis", "thesis.zip"])
def test_only_a_bundle_is_replaced(place, quick, tmp_path, name):
    target = tmp_path / name
    if target.suffix:
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("thesis.tex", "text")
    else:
        target.mkdir()
        (target / "thesis.tex").write_text("text", encoding="utf-8")

    done = invoke("bundle", "s", "--out", target)

    assert done.exit_code == 2 and "exists and is no bundle; it is not replaced" in done.output
    os.remove(target) if target.is_file() else shutil.rmtree(target)
    assert [invoke("bundle", "s", "--out", target).exit_code for _ in range(2)] == [0, 0]
    assert bundle._has_mark(target) if target.suffix else (target / "README.md").is_file()
