"""The timing pass of a trained study, as a command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from analysis import load, report
from analysis.findings import find
from analysis.store import connect
from src import paths, run, sync, timing
from src.artifacts import SETTINGS
from src.study import stopwatch
from src.study.timing import FILE, read

pytestmark = pytest.mark.training
WORDS = ["task=images", "width=4,8", "data.limit=100", "epochs=1", "study=widths", "tracking.histograms=false"]
IDLE = (0.0, [])


@pytest.fixture(scope="module")
def trained(empty, tmp_path_factory):
    """Trains a study and times its variants; yields the folder of the study."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(home))
        patch.setattr(stopwatch, "load", lambda: IDLE)
        assert run.main(["-m", *WORDS, "tracking.pictures=false"]) == 0
        assert timing.main(["widths", "--rounds", "3", "--steps", "2"]) == 0
        yield paths.study_folder("widths")


def test_the_pass_times_real_steps_of_every_variant(trained: Path):
    found = read(trained / FILE)
    assert [one.label for one in found.variants] == ["width=4", "width=8"]
    assert found.again.identity == found.variants[0].identity
    assert {one.kernel for one in found.variants} == {"graph"} and found.left_out == {}
    assert all(one.steps_per_epoch == 2 and one.left_out >= 2 for one in found.variants)  # 100 images: 64 and 36
    assert all(0.0 < one.p10 <= one.median <= one.p90 and one.tokens_per_s is None for one in found.variants)


def test_the_table_and_the_report_show_the_pass(trained: Path):
    found = find(load.study("widths", connect(f"sqlite:///{paths.home() / 'mlflow.db'}")))
    assert found.timing is not None and "The reference against itself" in found.caution
    page = report.page(found, [])
    assert "ratio of ms per batch (timing pass)" in page and "The reference against itself" in page


def test_a_terminal_names_each_variant_its_ratio_and_the_next_command(trained: Path, capsys, monkeypatch):
    monkeypatch.setattr(stopwatch, "load", lambda: IDLE)
    assert timing.main(["widths", "--rounds", "2", "--steps", "1", "--only", "width=8"]) == 0
    text = capsys.readouterr().out
    assert "timing 2 variants, 2 rounds of 1 step of each" in text
    assert "width=4 again" in text and "next: python -m analysis table widths" in text


def test_a_pass_reaches_mlflow_later_through_sync(trained: Path, capsys, monkeypatch):
    attached = []
    monkeypatch.setattr(sync.Store, "attach", lambda self, file, tags: attached.append(file.name))
    assert sync.main(["widths"]) == 0
    assert attached == ["plan.json", FILE]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["widhts"], "no study 'widhts' in"),
        (["widhts"], "did you mean widths?"),
        (["../widths"], "no study '../widths'"),
    ],
)
def test_an_unknown_study_is_answered_with_the_known_ones(trained, words, told, capsys):
    assert timing.main(words) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--rounds", "1"], ["--rounds", "x"], ["--steps", "0"], ["--threads", "-1"]])
def test_a_wrong_count_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        timing.main(["widths", *words])
    assert "allowed: a whole number from" in capsys.readouterr().err


def test_a_busy_machine_is_refused_with_the_busy_programs(trained, capsys, monkeypatch):
    monkeypatch.setattr(stopwatch, "load", lambda: (1.5, ["python (process 7: 150 %)"]))
    before = (trained / FILE).read_bytes()
    assert timing.main(["widths"]) == 1
    told = capsys.readouterr().err
    assert "other programs use 1.5 of its" in told and "process 7" in told and "--busy" in told
    assert (trained / FILE).read_bytes() == before


@pytest.fixture
def copied(trained: Path, tmp_path: Path, monkeypatch) -> Path:
    """Returns a copy of the study that a test may break."""
    home = tmp_path / "home"
    shutil.copytree(trained.parent, home / "outputs")
    monkeypatch.setenv("ABLATION_HOME", str(home))
    monkeypatch.setattr(stopwatch, "load", lambda: IDLE)
    monkeypatch.setattr(stopwatch, "measure", lambda *args, **options: pytest.fail("it measured"))
    return paths.study_folder("widths")


def identity_of(study: Path, label: str) -> str:
    rows = json.loads((study / "plan.json").read_text(encoding="utf-8"))[-1]["rows"]
    return next(row["identity"] for row in rows if row["label"] == label)


def test_a_reference_without_a_trial_is_an_error(copied: Path, capsys):
    (copied / identity_of(copied, "width=4") / SETTINGS).unlink()
    assert timing.main(["widths"]) == 2
    told = capsys.readouterr().err
    assert "the reference, width=4, cannot be timed: no trial of it was trained in this folder" in told


def test_a_plan_that_cannot_be_read_is_an_error(copied: Path, capsys):
    (copied / "plan.json").write_text("[]", encoding="utf-8")
    assert timing.main(["widths"]) == 2
    assert "not a valid plan" in capsys.readouterr().err


def test_a_variant_without_a_trial_is_left_out_with_the_reason(copied: Path):
    (copied / identity_of(copied, "width=8") / SETTINGS).unlink()
    variants, left_out = timing._variants(timing._rows("widths", copied, only=None), copied)
    assert [label for label, _ in variants] == ["width=4"]
    assert left_out == {"width=8": "no trial of it was trained in this folder; run the study first"}


def test_settings_that_no_longer_give_the_same_trial_are_not_timed(copied: Path):
    path = copied / identity_of(copied, "width=8") / SETTINGS
    values = json.loads(path.read_text(encoding="utf-8")) | {"width": 9}
    path.write_text(json.dumps(values), encoding="utf-8")
    _, left_out = timing._variants(timing._rows("widths", copied, only=None), copied)
    assert "have changed since it was trained" in left_out["width=8"]


def test_too_many_variants_are_refused_with_a_way_to_choose(copied: Path, capsys, monkeypatch):
    monkeypatch.setattr(timing, "MOST", 1)
    assert timing.main(["widths"]) == 2
    assert "has 2 variants" in (told := capsys.readouterr().err) and "--only 'width=8'" in told


def test_a_task_of_another_package_is_imported_only_if_it_is_named(copied: Path, capsys):
    path = copied / identity_of(copied, "width=4") / SETTINGS
    values = json.loads(path.read_text(encoding="utf-8")) | {"task": "others.code:TASK"}
    path.write_text(json.dumps(values), encoding="utf-8")
    assert timing.main(["widths"]) == 2
    assert "it was trained with task=others.code:TASK; add --task others.code:TASK" in capsys.readouterr().err
