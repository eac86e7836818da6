"""The figures of a task stand beside the built-in ones, and their failures do not stop the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from typer.testing import CliRunner

from analysis import figures, load, store
from analysis.__main__ import app
from benchmarks import generated
from src import registry
from src.paths import REPOSITORY
from tests.analysis.conftest import GRID, usual


def samples(study):
    figure = Figure()
    figure.subplots().plot(study.finished["seed"], study.finished[study.first.name])
    return figure, f"{study.first.shown} by seed\x1b[31m."


def broken(study):
    raise RuntimeError("no samples\nare there")


def other(study):
    return "no figure"


def unfitting(study):
    return None


class Bad(Artist):
    def draw(self, renderer):
        raise ValueError("nothing to draw")


def unwritable(study):
    figure = Figure()
    figure.add_artist(Bad())
    return figure, "One that cannot be written."


@pytest.fixture
def uri(own, monkeypatch):
    generated.study(own, "s", GRID, usual, steps=3, record={"task": "drawn"})
    generated.study(own, "old", GRID, usual, steps=3, record={"task": None})
    names = ("samples", "broken", "other", "unfitting", "unwritable", "missing")
    figures = {name: f"{__name__}:{name}" for name in names} | {"forest": "nobody:forest"}

    def task(name):
        if name != "drawn":
            raise ValueError(f"no task {name}")
        return SimpleNamespace(figures=figures)

    registry = ModuleType("src.registry")
    registry.task = task
    registry.is_importable = lambda name: True
    monkeypatch.setitem(sys.modules, "src.registry", registry)
    return f"sqlite:///{own}"


def run(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.output


def test_the_report_has_a_tasks_figures_and_says_in_a_line_each_which_failed(uri, tmp_path):
    code, output = run("report", "s", "--uri", uri, "--out", tmp_path, "--no-attach")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    notes = [line for line in output.splitlines() if line.startswith("note: figure")]

    assert code == 0 and (tmp_path / "figures" / "samples.png").is_file()
    assert 'id="figure-samples"' in page and "test accuracy by seed" in page and "\x1b" not in page + output
    assert [line.split(" ")[2] for line in notes] == ["forest", "broken", "other", "missing", "unwritable"]
    assert not list((tmp_path / "figures").glob("unwritable*"))
    assert "no samples" in notes[1] and "it returned str; return a matplotlib Figure and its caption" in notes[2]
    assert "figure broken" in page


def test_a_tasks_figure_is_drawn_by_name_and_in_the_common_style(uri, tmp_path):
    code, output = run("figures", "s", "samples", "--uri", uri, "--out", tmp_path / "out")
    assert code == 0 and {path.name for path in Path(tmp_path / "out").iterdir()} == {
        "samples.png",
        "samples.svg",
        "samples.pdf",
    }
    assert output.splitlines()[1].startswith("samples: test accuracy by seed")


def test_an_unknown_figure_is_an_error_that_lists_the_tasks_figures_too(uri):
    code, output = run("figure", "s", "sample", "--uri", uri)
    assert code == 2 and "no figure 'sample'; did you mean 'samples'?" in output


def test_the_figures_of_the_task_are_listed_beside_the_usual_ones(uri, tmp_path):
    code, output = run("figure", "s", "--list", "--uri", uri, "--out", tmp_path / "out")
    lines = output.splitlines()

    assert code == 0 and not (tmp_path / "out").exists()
    assert f"usual figures: {', '.join(figures.FIGURES)}" in lines
    assert "figures of the study's task: samples, broken, other, unfitting, unwritable, missing" in lines
    assert "--list" in run("figure", "--help")[1]


SYNONYMS = {"by_seed": "samples", "gone": "nothing"}


@pytest.mark.parametrize(("name", "fix"), [("By-Seed", "did you mean 'samples'?"), ("gone", "")])
def test_another_name_of_a_tasks_figure_suggests_it(uri, name, fix):
    code, output = run("figure", "s", name, "--uri", uri)

    assert code == 2 and f"no figure {name!r}; {fix}" in output and "'nothing'" not in output


def test_every_synonym_of_a_built_in_task_is_that_of_one_of_its_figures():
    every = [registry.task(name).figures for name in registry.BUILT_IN]
    names = set().union(*every)

    found = figures.synonyms(place for each in every for place in each.values())

    assert found["calibration"] == "reliability" and set(found.values()) <= names and not names & found.keys()


def test_a_task_that_is_not_installed_is_reported_in_one_line(uri, tmp_path, own):
    generated.study(own, "gone", GRID, usual, steps=3, record={"task": "theirs.module:TASK"})
    code, output = run("report", "gone", "--uri", uri, "--out", tmp_path, "--no-attach")

    assert code == 0
    assert (
        "note: the figures of task theirs.module:TASK are not drawn: no task theirs.module:TASK" in output.splitlines()
    )


def test_a_plan_that_names_no_task_asks_for_none(uri):
    assert figures.draw_of_task(load.study("old", store.connect(uri))) == ([], [])


def test_no_figure_of_a_built_in_task_imports_tensorflow():
    program = (
        "import importlib, sys\nfrom src import registry\n"
        "places = [place for name in registry.BUILT_IN for place in registry.task(name).figures.values()]\n"
        "[importlib.import_module(place.partition(':')[0]) for place in places]\n"
        "print(len(places), sorted({'tensorflow', 'keras'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    count, _, imported = done.stdout.strip().partition(" ")

    assert done.returncode == 0, done.stderr
    assert int(count) > 5 and imported == "[]"
