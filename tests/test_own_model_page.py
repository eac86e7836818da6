"""The page docs/own_model.md: its code and its commands are run, with small data."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from src import own_code, paths, predict, registry, run
from src.paths import REPOSITORY
from tests.conftest import tiny_trial, write_table

pytestmark = pytest.mark.training
PAGE = (REPOSITORY / "docs" / "own_model.md").read_text(encoding="utf-8")
MODULE = REPOSITORY / "tests" / "own" / "my_module.py"
STUDY, VARIANTS = "encoders", ("reference", "encoder=cnn", "encoder=transformer", "model=my_module:build")
PICTURES = """
import keras

def build(settings, inputs, outputs):
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(outputs)(keras.layers.Dense(settings.width, "relu")(x)))
"""
NOISE = """
import keras

def build(settings, inputs, outputs):
    x = keras.layers.Conv1D(settings.units, 3, padding="same")(inputs)
    return keras.Model(inputs, keras.layers.Dense(outputs)(keras.layers.GlobalAveragePooling1D()(x)))
"""


def forget() -> None:
    """Makes this process like a new one, which has imported no code of the user."""
    sys.modules.pop("my_module", None)
    own_code._allowed.clear()
    registry.code.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    """Returns the command of the page that compares several models, with one seed and small data."""
    line = next(line for line in PAGE.splitlines() if f"study={STUDY}" in line)
    table = write_table(tmp_path_factory.mktemp("data") / "table.csv", rows=100)
    tiny = [word for word in tiny_trial(table) if not word.startswith("epochs")]
    return [word for word in shlex.split(line)[3:] if not word.startswith("seed")] + ["seed=0", "epochs=1", *tiny]


@pytest.fixture(scope="module")
def trained(words, empty, tmp_path_factory):
    """Trains the study of the page; yields the module of the user."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("code")
    shutil.copy(empty, home / "mlflow.db")
    shutil.copy(MODULE, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("ABLATION_HOME", str(home))
        forget()
        assert run.main(words) == 0
        yield folder / MODULE.name
    forget()


@pytest.fixture(autouse=True)
def new_process(trained):
    forget()


def trials() -> dict[str, dict[str, Any]]:
    """Returns variant → tags and folder of each trial of the study."""
    found = {}
    for path in paths.study_folder(STUDY).glob("*/journal.jsonl"):
        tags = json.loads(path.read_text(encoding="utf-8").splitlines()[0])["detail"]["tags"]
        found[tags["ablation.variant"]] = {"tags": tags, "folder": path.parent}
    return found


def test_the_page_shows_the_module_that_is_run():
    assert re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) == [MODULE.read_text(encoding="utf-8")]


def test_one_table_compares_a_model_and_a_cell_of_the_user_with_the_frameworks_own():
    result = CliRunner().invoke(app, ["table", STUDY])

    assert result.exit_code == 0, result.output
    rows = [line for line in result.output.splitlines() if line.startswith("|")]
    for variant in (*VARIANTS, "cell=my_module:MyCell"):
        name = variant.partition("=")[2].replace("_", "\\_") or variant
        assert any(name in row.replace("\\\\", "\\") or variant in row for row in rows), f"{variant}: {result.output}"


def test_a_trial_records_the_code_and_keeps_a_copy():
    of = trials()[VARIANTS[-1]]

    code = of["tags"]["ablation.own_code"]
    assert re.fullmatch(r"model=my_module:build \(my_module\.py, code [0-9a-f]{16}\)", code)
    assert (of["folder"] / "own_code/my_module/my_module.py").read_text(encoding="utf-8") == MODULE.read_text("utf-8")
    assert "ablation.own_code" not in trials()["reference"]["tags"]
    assert not (trials()["reference"]["folder"] / "own_code").exists()


def test_the_report_names_the_code(trained):
    result = CliRunner().invoke(app, ["report", STUDY])

    assert result.exit_code == 0, result.output
    text = (paths.home() / "reports" / STUDY / "report.html").read_text(encoding="utf-8")
    assert "own code" in text and "model=my_module:build (my_module.py, code " in text


def test_only_trials_with_the_users_code_are_trained_again_after_a_change(words, trained, capsys):
    assert run.main([*words, "plan_only=true"]) == 0
    assert "5 already done" in capsys.readouterr().out

    before = trained.read_text(encoding="utf-8")
    trained.write_text(before + "\n# changed\n", encoding="utf-8")
    forget()
    try:
        assert run.main([*words, "plan_only=true"]) == 0
    finally:
        trained.write_text(before, encoding="utf-8")
    assert "3 already done" in capsys.readouterr().out


def test_a_model_of_keras_layers_is_used_without_the_code(trained, capsys):
    assert predict.main([str(trials()[VARIANTS[-1]]["folder"]), "a superb film"]) == 0
    assert "a superb film" in capsys.readouterr().out and "my_module" not in sys.modules


def test_a_model_with_the_users_cell_needs_its_code(trained, capsys):
    trial = str(trials()["cell=my_module:MyCell"]["folder"])

    assert predict.main([trial, "a superb film"]) == 2
    assert "it contains my_module.MyCell, code of your own; add --code my_module:MyCell" in capsys.readouterr().err
    assert predict.main(["--code", "my_module:MyCell", trial, "a superb film"]) == 0
    assert "a superb film" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "overrides"),
    [
        (PICTURES, ["task=images", "data.limit=60", "epochs=1", "width=8"]),
        (NOISE, ["task=integration", "num_samples=64", "epochs=1", "units=8"]),
    ],
)
def test_the_other_tasks_train_a_model_of_the_user(own_module, blank, source, overrides):
    own_module("mine", source)

    assert run.main(["model=mine:build", "tracking.histograms=true", *overrides]) == 0


def test_a_new_value_of_a_toggle_changes_two_files(tmp_path):
    """Makes the changes that the page describes in a copy of the repository."""
    settings, layers = re.findall(r"in `(src/\S+\.py)`: `", PAGE)
    new_type, new_value = re.findall(r"in `src/\S+\.py`: `(.*)`", PAGE)
    shutil.copytree(REPOSITORY / "src", tmp_path / "src")
    for name, old, new in (
        (settings, 'kernel_initializer: Literal["', new_type.removesuffix("…]") + '"'),
        (layers, "INITIALIZERS: dict[str, Callable[[int], Any]] = {", f"\\g<0>{new_value},"),
    ):
        text = (tmp_path / name).read_text(encoding="utf-8")
        changed, count = re.subn(re.escape(old), new, text)
        assert count == 1
        (tmp_path / name).write_text(changed, encoding="utf-8")
    script = (
        "from src.config.settings import checked\nfrom src.parts.recurrent.layers import INITIALIZERS\n"
        "settings = checked({'task': 'integration', 'kernel_initializer': 'lecun_normal'})\n"
        "print(INITIALIZERS[settings.kernel_initializer](settings.seed).__class__.__name__)"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.stdout.split()[-1:] == ["LecunNormal"], done.stderr
