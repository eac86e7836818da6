"""What the README shows is what the commands do."""

from __future__ import annotations

import re
import shlex

import pytest

from src import run
from src.paths import REPOSITORY

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
    (tmp_path / "mine.csv").write_text("text,label\n" + "a b,x\nc d,y\n" * 20, encoding="utf-8")

    code = run.main([*line.split()[3:], "plan_only=true", *([] if "data=table" in line else ["data.limit=20"])])

    assert (code, capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_every_make_target_of_the_readme_exists(line):
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

    assert all(f"\n{target}:" in makefile for target in line.split()[1:])


@pytest.mark.parametrize("name", ["masking_by_cell", "masking_by_cell_unbucketed"])
def test_tables_are_those_that_a_command_wrote(name):
    folder = REPOSITORY / "experiments" / "results" / name

    assert (folder / "table.md").read_text(encoding="utf-8") in README
    assert f"experiments/results/{name}/curves.png" in README or name == "masking_by_cell"


def test_the_answers_quote_the_table_that_a_command_wrote():
    index = (REPOSITORY / "experiments" / "README.md").read_text(encoding="utf-8")
    table = (REPOSITORY / "experiments" / "results" / "leave_one_out" / "effects.md").read_text(encoding="utf-8")
    quoted = re.findall(r"[−+]\d\.\d{3} \[[−+]\d\.\d{3}, [−+]\d\.\d{3}\]", index)

    assert table.strip() in index and len(quoted) == 3
    assert [change for change in quoted if change.replace("−", "-") not in table] == []


def test_links_to_files_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert links
    assert all((REPOSITORY / link).exists() for link in links)
