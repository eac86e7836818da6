"""The commands and numbers in the README and the other documents are correct."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from docs import generated
from src import predict, run, status, studies
from src.paths import REPOSITORY

RESULTS = REPOSITORY / "experiments" / "results"
DOCUMENTS = {str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8") for path in generated.documents()}
BLOCKS = [block for text in DOCUMENTS.values() for block in re.findall(r"```(?:bash)?\n(.*?)```", text, re.DOTALL)]
LINES = list(
    dict.fromkeys(
        shlex.join(shlex.split(line, comments=True))
        for block in BLOCKS
        for line in block.replace("\\\n", " ").replace("\n!", "\n").removeprefix("!").splitlines()  # ! in a notebook
        if line.startswith(("make ", "python -m "))
    )
)


PLANNED = [
    line
    for line in LINES
    if line.startswith("python -m src.run") and not any(word.startswith("--") for word in shlex.split(line))
]


@pytest.mark.parametrize("line", PLANNED)
def test_every_study_in_the_documents_can_be_planned(line, home, capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests" / "plugin"))  # the module of docs/tasks.md
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests" / "own"))  # that of docs/own_model.md
    (tmp_path / "book.txt").write_text("A paragraph.\n\n" * 20, encoding="utf-8")
    (tmp_path / "mine.csv").write_text(
        "text,label\n" + "".join(f"a{i} b,x\nc d{i},y\n" for i in range(20)), encoding="utf-8"
    )

    (tmp_path / "train.py").write_text("", encoding="utf-8")  # a program of the reader
    (tmp_path / "experiments").symlink_to(REPOSITORY / "experiments")

    line = line.replace(",RUN", "")  # a trial that the reader has
    is_small = "data=table" in line or re.search(r"\btask=(?!language_model|sentiment)", line)
    limit = "data.limit=600" if "labels=" in line else "data.limit=20"
    code = run.main([*shlex.split(line)[3:], "plan_only=true", *([] if is_small else [limit])])

    assert (code, capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_every_make_target_in_the_documents_exists(line):
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

    assert all(f"\n{target}:" in makefile for target in line.split()[1:] if "=" not in target)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_in_the_documents_are_up_to_date(name):
    text = DOCUMENTS[name]

    assert generated.with_tables(text, (REPOSITORY / name).parent) == text, "run `make docs`"


def test_commands_write_the_tables_of_getting_started_and_of_the_studies():
    assert len(generated.TABLE.findall(DOCUMENTS["docs/getting-started.md"])) == 2
    assert len(generated.TABLE.findall(DOCUMENTS["experiments/sentiment.md"])) > 0


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python -m analysis")])
def test_every_analysis_command_in_the_documents_is_valid(line, place):
    words = shlex.split(line)[3:]
    study = next((word for word in words[1:2] if not word.startswith("-")), None)
    result = CliRunner().invoke(app, words)

    assert result.exit_code == (0 if study is None else 2), result.output
    missing = ("no such file", "no MLflow database") if words[0] == "adopt" else (f"no study '{study}'",)
    assert study is None or any(text in result.stderr for text in missing)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python -m src.predict")])
def test_every_prediction_command_in_the_documents_is_valid(line, home, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.txt").write_text("a film\n", encoding="utf-8")

    with open("reviews.txt", encoding="utf-8") as file:
        monkeypatch.setattr("sys.stdin", file)

        assert predict.main(shlex.split(line)[3:]) == 2
    assert "RUN: got 'RUN" in capsys.readouterr().err  # the one placeholder


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python -m src.studies")])
def test_every_command_about_whole_studies_in_the_documents_is_valid(line, home, capsys):
    words = shlex.split(line)[3:]

    assert studies.main(words) == 2
    assert f"no study {words[1]!r}" in capsys.readouterr().err


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python -m src.status")])
def test_every_status_command_in_the_documents_is_valid(line, home, capsys):
    words = shlex.split(line)[3:]
    names_a_study = bool(words) and not words[0].startswith("-")

    assert status.main(words) == (2 if names_a_study else 0)
    assert ("no study" in capsys.readouterr().err) == names_a_study


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_contain_no_other_comments_than_those_of_tables(name):
    comments = re.findall(r"<!--(.*?)-->", re.sub(r"`[^`\n]*`", "", DOCUMENTS[name]), re.DOTALL)

    assert [text for text in comments if not text.startswith((" table: ", " end of table ", " Made from "))] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_numbers_quoted_in_the_documents_are_in_tables_of_results(name):
    for section in re.split(r"^## ", DOCUMENTS[name], flags=re.MULTILINE):
        studies = re.findall(r"\(`(\w+)`\)", section.splitlines()[0]) or ["*"]  # without one, any study may be quoted
        tables = [path for study in studies for path in sorted(RESULTS.glob(f"{study}/*.md"))]
        folders = [REPOSITORY / "docs" / "samples", REPOSITORY / "benchmarks" / "results"]
        samples = [path for folder in folders for path in sorted(folder.glob("*.md"))]
        written = "".join(path.read_text(encoding="utf-8") for path in [*tables, *samples])
        assert [number for number in _intervals(section) if number.replace("−", "-") not in written] == []


def test_the_readme_and_the_studies_quote_numbers():
    assert len(_intervals(DOCUMENTS["README.md"])) >= 3
    assert len(_intervals(DOCUMENTS["experiments/sentiment.md"])) > 100


def _intervals(text: str) -> list[str]:
    return re.findall(r"[−+-]\d+\.\d+ \[[−+-]\d+\.\d+, [−+-]\d+\.\d+\]|\d+\.\d+ \[\d+\.\d+, \d+\.\d+\]", text)
