from __future__ import annotations

import re
import shutil

import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus

from src import run
from src.config.settings import from_hydra


class Elsewhere:
    """A launcher whose workers run in another folder than the command; it trains nothing."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch, self.seen = folder, monkeypatch, []

    def instantiate(self, *, hydra_context, task_function, config):
        self.compose = lambda words: from_hydra(hydra_context.config_loader.load_sweep_config(config, words))
        return self

    def launch(self, job_overrides, initial_job_idx):
        with self.monkeypatch.context() as there:
            there.chdir(self.folder)
            self.seen += [self.compose(list(words)) for words in job_overrides]
        failed = JobReturn(status=JobStatus.FAILED)
        failed.return_value = RuntimeError("nobody trains here")
        return [failed for _ in job_overrides]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "worker").mkdir()
    launcher = Elsewhere(tmp_path / "worker", monkeypatch)
    monkeypatch.setattr(Plugins, "instantiate_launcher", launcher.instantiate)
    return launcher


@pytest.mark.parametrize("address", ["sqlite:///mine.db", "sqlite:////{folder}/mine.db"])
def test_workers_in_other_folders_get_the_same_database(elsewhere, home, empty, tmp_path, tiny, address):
    shutil.copy(empty, tmp_path / "mine.db")
    uri = address.format(folder=str(tmp_path).lstrip("/"))

    assert run.main(["-m", *tiny, f"tracking.uri={uri}", "seed=0,1", "study=s"]) == 1

    assert {settings.tracking.uri for settings in elsewhere.seen} == {f"sqlite:///{tmp_path}/mine.db"}
    assert len(elsewhere.seen) == 2 and list(elsewhere.folder.iterdir()) == []


def test_workers_get_an_absolute_address_unchanged(elsewhere, home, tmp_path, tiny):
    assert run.main(["-m", *tiny, "tracking=offline", "seed=0,1", "study=s"]) == 1

    assert {settings.tracking.uri for settings in elsewhere.seen} == {None} and len(elsewhere.seen) == 2


PROGRAM = ["-m", "task=program", "tracking=offline", "plan_only=true", "command=true {lr} {units} {seed}"]
RANDOM = ["plan.design=random", "plan.sample=5"]


def planned(capsys, *words):
    code = run.main([*PROGRAM, *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_intervals_in_hydras_words_are_drawn_from(home, capsys):
    words = ["toggles.lr=tag(log,interval(1e-4,1e-2))", "toggles.units=int(interval(16,512))", "seed=0,1"]
    code, out, err = planned(capsys, *words, *RANDOM)

    variants = dict.fromkeys(re.findall(r"toggles\.lr=(\S+) toggles\.units=(\d+)", out))
    assert code == 0 and "5 variants × 2 seeds = 10 trials" in out, err
    assert next(iter(variants)) == ("0.001", "264") and len(variants) == 5
    assert all(1e-4 <= float(rate) <= 1e-2 and 16 <= int(units) <= 512 for rate, units in variants)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toggles.lr=interval(1,2)", "toggles.units=1"], "toggles.lr has an interval, from which only"),
        (["toggles.lr=tag(log,interval(0,2))", "toggles.units=1", *RANDOM], "from 0 to 2 with log; the bounds"),
        (["toggles.lr=tag(sqrt,interval(1,2))", "toggles.units=1", *RANDOM], "unknown tag 'sqrt'; allowed: tag(log, "),
        (["toggles.lr=interval(1,inf)", "toggles.units=1", *RANDOM], "write both bounds, as in interval(1e-4, 1e-2)"),
        (["plan.sample=interval(1,2)"], "write the list in brackets"),
        (["toggles.lr=1,2", "toggles.units=1,2,3", "plan.linked=[[toggles.lr,toggles.units]]"], "got toggles.lr 2"),
        (["toggles.lr=1,2", "toggles.units=1", "plan.exclude=[{toggles.lr:2}]"], "leaves nothing but the reference"),
    ],
)  # fmt: skip
def test_intervals_links_and_exclusions_of_the_command_line_are_checked(home, capsys, words, message):
    code, _, err = planned(capsys, *words)

    assert code == 2 and message in err and len(err.splitlines()) == 1, err


def test_links_and_exclusions_of_the_command_line_are_planned(home, capsys):
    words = ["toggles.lr=1,2,3", "toggles.units=7,8,9", "plan.linked=[[toggles.lr,toggles.units]]"]
    assert "toggles.lr=2 toggles.units=8" in planned(capsys, *words)[1]

    code, out, err = planned(
        capsys, "toggles.lr=1,2", "toggles.units=7,8", "plan.exclude=[{toggles.lr:2,toggles.units:8}]"
    )
    assert code == 0 and "3 variants" in out and "toggles.lr=2 toggles.units=8" not in out, err
