"""An installed task of another package: trained, swept, resumed, reported, compared and used without changes to src."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from src import paths, registry, run, use
from src.config.settings import checked
from src.trial.prepare import prepare

pytestmark = pytest.mark.training
PLUGIN = Path(__file__).parent / "plugin"
WORDS = ["district=false,true", "seed=0,1,2", "houses=128", "epochs=30", "learning_rate=2.0", "study=prices"]


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """Returns the folder into which the package is installed."""
    copy, target = tmp_path_factory.mktemp("plugin") / "plugin", tmp_path_factory.mktemp("installed")
    shutil.copytree(PLUGIN, copy)
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(copy)], check=True)
    return target


@pytest.fixture(scope="module")
def trained(package, empty, tmp_path_factory):
    """Trains a study of the installed task; yields its home."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(package))
        patch.setenv("ABLATION_HOME", str(home))
        forget()
        assert run.main(["-m", "task=prices", *WORDS]) == 0
        yield home
    sys.modules.pop("ablation_prices", None)
    forget()


def forget() -> None:
    """Makes the registry search for tasks again."""
    importlib.invalidate_caches()
    for function in (registry.origins, registry.usable, registry._loaded):
        function.cache_clear()


def best() -> str:
    """Returns the identity of a trial with a good result."""
    settings = {"task": "prices", "district": True, "houses": 128, "epochs": 30, "learning_rate": 2.0}
    return prepare(checked(settings)).identity


def test_the_package_has_at_most_eighty_lines():
    lines = (PLUGIN / "ablation_prices.py").read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 80 and max(map(len, lines)) <= 120


def test_help_lists_the_task_and_its_toggles(trained, capsys):
    assert run.main(["--help", "task=prices"]) == 0

    text = capsys.readouterr().out
    assert "task=prices                    prices of houses from size and district" in text
    assert "  district=true  " in text and "masking" not in text.split("Settings of task=prices")[1]


def test_finished_trials_are_not_trained_again(trained, capsys):
    assert run.main(["-m", "task=prices", *WORDS, "plan_only=true"]) == 0

    assert "2 variants × 3 seeds = 6 trials, 6 already done" in capsys.readouterr().out


def test_the_best_epoch_has_the_lowest_error(trained):
    journal = paths.study_folder("prices") / best() / "journal.jsonl"
    records = list(map(json.loads, journal.read_text(encoding="utf-8").splitlines()))

    errors = [record["metrics"]["val/rmse"] for record in records if record["kind"] == "evaluation"]
    end = records[-1]
    assert end["metrics"]["best/val_rmse"] == min(errors)
    assert end["detail"]["tags"]["ablation.best_epoch"] == f"{errors.index(min(errors)) + 1} of 30"
    assert "data/padding_fraction" not in end["metrics"]


def test_the_table_counts_a_lower_error_as_an_improvement(trained):
    result = CliRunner().invoke(app, ["table", "prices"])

    assert result.exit_code == 0, result.output
    assert "test rmse" in result.output and "| helps " in result.output and "accuracy" not in result.output


def test_the_report_shows_the_figure_of_the_task(trained):
    result = CliRunner().invoke(app, ["report", "prices"])

    assert result.exit_code == 0, result.output
    assert "Mean error of each variant." in (trained / "reports" / "prices" / "report.html").read_text(encoding="utf-8")


def test_two_variants_are_compared_over_examples(trained):
    result = CliRunner().invoke(app, ["compare", "prices", "district=false", "district=true"])

    assert result.exit_code == 0, result.output
    assert "Better, by rmse at 5 %" in result.output and "district=true in 3, district=false in 0" in result.output


def test_the_tasks_command_uses_a_trained_model(trained, capsys):
    assert use.main([best(), "quote", "120", "--district", "2"]) == 0

    assert capsys.readouterr().out.endswith(" k€\n")


def test_the_same_file_works_as_module_and_name(trained, capsys):
    words = ["task=ablation_prices:TASK", *WORDS[:-1], "study=by_place", "plan_only=true"]

    assert run.main(["-m", *words]) == 0
    by_place = prepare(checked({"task": "ablation_prices:TASK", "houses": 128, "epochs": 30, "learning_rate": 2.0}))
    assert by_place.identity == best()
