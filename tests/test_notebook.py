"""What a notebook's cells show: commands that they start, and functions that they call."""

from __future__ import annotations

import re

import pytest

from src.paths import REPOSITORY
from tests.conftest import tiny_trial, write_table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # of Jupyter's own packages
]

CELLS = {
    "start": "import os, sys, time\nwords = {words!r}\nos.environ.get('MPLBACKEND')",
    "train": "!{sys.executable} -m src.run -m {words} seed=0,1; echo ended with $?",
    "figure": "!{sys.executable} -m analysis figure adhoc; echo ended with $?",
    "wrong": "!{sys.executable} -m src.run cell=foo; echo ended with $?",
    "call": "from src import run\nrun.main([*words.split(), 'seed=2'])",
    "again": "run.main([*words.split(), 'seed=2'])",
    "workers": "run.main(['-m', 'hydra/launcher=joblib', 'hydra.launcher.n_jobs=2', *words.split(), 'seed=3,4'])",
    "analyse": "from analysis import figures, findings, load, store\n"
    "found = findings.find(load.study('adhoc', store.connect(None)))\n"
    "[one.name for one in figures.draw(found)]",
    "table": "from analysis.__main__ import app\napp(['table', 'adhoc'], standalone_mode=False)",
    "plot": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nplt.get_backend()",
    "loop": "import asyncio\nawait asyncio.sleep(0)\nasyncio.get_running_loop().is_running()",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Name of a cell → what it shows, of a notebook that was run once."""
    import nbclient
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    (folder / "home").mkdir()
    words = " ".join([*tiny_trial(write_table(folder / "table.csv")), "epochs=2"])
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source.replace("{words!r}", repr(words))) for source in CELLS.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(folder / "home"))
        for name in ("MPLBACKEND", "TTY_COMPATIBLE"):
            patch.delenv(name, raising=False)
        resources = {"metadata": {"path": str(REPOSITORY)}}
        nbclient.NotebookClient(
            notebook, timeout=280, kernel_name="python3", resources=resources, allow_errors=True
        ).execute()
    return dict(zip(CELLS, map(_text, notebook.cells), strict=True))


def _text(cell):
    """Everything that a cell shows, as text."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        found += [output.get("text", ""), *output.get("traceback", []), data.get("text/plain", ""), *data.keys()]
    return "\n".join(found)


def test_the_kernel_exports_what_breaks_others(shown):
    assert "module://matplotlib_inline.backend_inline" in shown["start"]


def test_a_command_that_a_cell_starts_trains(shown):
    assert "ended with 0" in shown["train"] and "Traceback" not in shown["train"], shown["train"]
    assert len(re.findall("finished .* test accuracy", shown["train"])) == 2


def test_its_progress_is_plain_lines(shown):
    epochs = [line for line in shown["train"].splitlines() if re.match(r"  epoch \d/2: .*val_accuracy", line)]

    assert len(epochs) == 4 and "\x1b" not in shown["train"] and "\r" not in shown["train"].replace("\r\n", "\n")


def test_a_command_that_a_cell_starts_draws(shown):
    assert "ended with 0" in shown["figure"] and "curves" in shown["figure"] and "\x1b" not in shown["figure"], shown[
        "figure"
    ]


def test_an_error_is_one_line_in_a_cell(shown):
    assert "error: cell: got 'foo'; allowed: one of" in shown["wrong"] and "ended with 2" in shown["wrong"]
    assert len(shown["wrong"].strip().splitlines()) <= 4


@pytest.mark.parametrize("name", ["call", "again", "workers"])
def test_training_may_be_called_in_a_cell(shown, name):
    assert "Error" not in shown[name] and re.search(r"^0$", shown[name], re.MULTILINE), shown[name]


def test_what_was_trained_is_not_trained_again_in_the_next_cell(shown):
    assert "seed=2: " in shown["call"] and "epoch 1/2" in shown["call"] and "epoch 1/2" not in shown["again"]


def test_the_analysis_may_be_called_in_a_cell(shown):
    assert "curves" in shown["analyse"] and "| variant |" in shown["table"], (shown["analyse"], shown["table"])


def test_a_notebooks_own_plots_are_shown_after_all_this(shown):
    assert "module://matplotlib_inline.backend_inline" in shown["plot"] and "image/png" in shown["plot"]


def test_the_kernels_event_loop_runs_on(shown):
    assert "True" in shown["loop"]
