"""What the README shows is what the commands do."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from src import run
from src.paths import REPOSITORY

RESULTS = REPOSITORY / "experiments" / "results"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [
    " ".join(shlex.split(line, comments=True))
    for block in BLOCKS
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python -m src.run")])
def test_every_study_of_the_readme_can_be_planned(line, home, capsys, tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\n" + "".join(f"a{i} b,x\nc d{i},y\n" for i in range(20)), encoding="utf-8")

    code = run.main([*line.split()[3:], "plan_only=true", *([] if "data=table" in line or "task=" in line else ["data.limit=20"])])

    assert (code, capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_every_make_target_of_the_readme_exists(line):
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

    assert all(f"\n{target}:" in makefile for target in line.split()[1:])


@pytest.mark.parametrize("name", ["masking_by_cell", "masking_by_cell_unbucketed", "leave_one_out"])
def test_tables_are_those_that_a_command_wrote(name):
    assert (RESULTS / name / "table.md").read_text(encoding="utf-8") in README


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python -m analysis")])
def test_every_command_of_the_analysis_is_understood(line, place):
    words = shlex.split(line)[3:]
    study = next((word for word in words[1:2]), None)
    done = CliRunner().invoke(app, words)

    assert done.exit_code == (0 if study is None else 2), done.output
    assert study is None or f"no study '{study}'" in done.stderr


@pytest.mark.parametrize("file", ["README.md", "experiments/README.md"])
def test_the_answers_quote_numbers_that_a_command_wrote(file):
    quoted = 0
    for section in re.split(r"^## ", (REPOSITORY / file).read_text(encoding="utf-8"), flags=re.MULTILINE):
        of = re.findall(r"\(`(\w+)`\)", section.splitlines()[0]) or ["*"]  # what is said of all studies may quote any
        written = "".join(path.read_text(encoding="utf-8") for name in of for path in sorted(RESULTS.glob(f"{name}/*.md")))
        numbers = re.findall(r"[−+-]\d+\.\d+ \[[−+-]\d+\.\d+, [−+-]\d+\.\d+\]|\d+\.\d+ \[\d+\.\d+, \d+\.\d+\]", section)
        quoted += len(numbers)
        assert [number for number in numbers if number.replace("−", "-") not in written] == []

    assert quoted > 3


def test_links_to_files_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert links
    assert all((REPOSITORY / link).exists() for link in links)
