from __future__ import annotations

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
