"""The output of notebook cells that run our commands or call our functions."""

from __future__ import annotations

import re

import pytest

from src.paths import REPOSITORY
from tests.conftest import tiny_trial, write_table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # warnings from Jupyter's packages
]

NOTEBOOK = REPOSITORY / "docs" / "notebook.ipynb"
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
    "[figure.name for figure in figures.draw(found)]",
    "table": "from analysis.__main__ import app\napp(['table', 'adhoc'], standalone_mode=False)",
    "plot": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nplt.get_backend()",
    "loop": "import asyncio\nawait asyncio.sleep(0)\nasyncio.get_running_loop().is_running()",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Runs a notebook once; returns name of a cell → its output."""
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
    """Returns the whole output of a cell as text."""
    texts = []
    for output in cell.outputs:
        data = output.get("data", {})
        texts += [output.get("text", ""), *output.get("traceback", []), data.get("text/plain", ""), *data.keys()]
    return "\n".join(texts)


def test_the_kernel_exports_its_matplotlib_backend(outputs):
    assert "module://matplotlib_inline.backend_inline" in outputs["start"]


def test_a_command_in_a_cell_trains(outputs):
    assert "ended with 0" in outputs["train"] and "Traceback" not in outputs["train"], outputs["train"]
    assert len(re.findall("finished .* test accuracy", outputs["train"])) == 2


def test_the_progress_of_a_command_in_a_cell_is_plain_lines(outputs):
    epochs = [line for line in outputs["train"].splitlines() if re.match(r"  epoch \d/2: .*val_accuracy", line)]

    assert len(epochs) == 4 and "\x1b" not in outputs["train"] and "\r" not in outputs["train"].replace("\r\n", "\n")


def test_a_command_in_a_cell_draws_figures(outputs):
    assert "ended with 0" in outputs["figure"] and "curves" in outputs["figure"] and "\x1b" not in outputs["figure"], (
        outputs["figure"]
    )


def test_an_error_of_a_command_in_a_cell_is_one_line(outputs):
    assert "error: cell: got 'foo'; allowed: one of" in outputs["wrong"] and "ended with 2" in outputs["wrong"]
    assert len(outputs["wrong"].strip().splitlines()) <= 4


@pytest.mark.parametrize("name", ["call", "again", "workers"])
def test_a_cell_may_call_the_training(outputs, name):
    assert "Error" not in outputs[name] and re.search(r"^0$", outputs[name], re.MULTILINE), outputs[name]


def test_the_next_cell_does_not_train_finished_trials_again(outputs):
    assert "seed=2: " in outputs["call"] and "epoch 1/2" in outputs["call"] and "epoch 1/2" not in outputs["again"]


def test_a_cell_may_call_the_analysis(outputs):
    assert "curves" in outputs["analyse"] and "| variant |" in outputs["table"], (outputs["analyse"], outputs["table"])


def test_a_notebook_still_shows_its_own_plots(outputs):
    assert "module://matplotlib_inline.backend_inline" in outputs["plot"] and "image/png" in outputs["plot"]


def test_the_event_loop_of_the_kernel_still_runs(outputs):
    assert "True" in outputs["loop"]


@pytest.mark.timeout(1800)  # 80 s of one core; more on a machine that does other work
def test_the_notebook_of_the_documents_trains_compares_and_predicts(tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("ABLATION_HOME", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}  # where Jupyter starts its kernel

    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()

    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    last = {name: cell.outputs[-1].data for name, cell in cells.items() if cell.outputs}
    assert "FINISHED" in last["naive"]["text/html"]
    assert "12 trials, 1 already done" in _text(cells["steps"]) and "+ cell=lstm" in last["steps"]["text/html"]
    assert re.findall(r"\+ \w+=\w+", last["effects"]["text/html"]) == [
        "+ encoding=embedding",
        "+ masking=true",
        "+ cell=lstm",
    ]
    assert "12 trials, 6 already done" in _text(cells["parts"]) and "masking=false" in last["parts"]["text/html"]
    assert "image/png" in last["waterfall"] and "image/png" in last["forest"]
    assert (tmp_path / "reports" / "notebook" / "report.html").is_file() and "report.html" in _text(cells["report"])
    assert last["predict"]["text/html"].count("wonderful") == 1 and "positive" in last["predict"]["text/html"]


def test_the_page_about_notebooks_runs_as_a_notebook(tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("ABLATION_HOME", str(tmp_path))
    page = (REPOSITORY / "docs" / "notebooks.md").read_text(encoding="utf-8")
    sources = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    resources = {"metadata": {"path": str(REPOSITORY)}}

    nbclient.NotebookClient(notebook, timeout=280, kernel_name="python3", resources=resources).execute()

    outputs = [cell.outputs[-1].data if cell.outputs else {} for cell in notebook.cells]
    shown, trials, effects, table, figure, report = outputs[1:]
    assert "<table" in shown["text/html"] and "test accuracy" in shown["text/html"]
    assert "model=cnn lr=0.1" in effects["text/html"] and "0.03" in effects["text/html"]
    assert "seed" in trials["text/html"] and "<table" in table["text/html"] and "image/png" in figure
    assert (tmp_path / "reports" / "from_a_frame" / "report.html").is_file() and "report.html" in report["text/plain"]
