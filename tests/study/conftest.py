from __future__ import annotations

import io
import uuid

import pytest
from rich.console import Console

from src.config.settings import checked
from src.study import TrialsFailed, sweep
from src.study.job import Sweep


def trained(study, launcher, width):
    """Trains a study with a launcher; returns whether it failed, and what was printed."""
    console, failed = Console(record=True, width=width, file=io.StringIO()), False
    try:
        launcher.sweep = Sweep(workers=1, name=uuid.uuid4().hex, parent=0)
        sweep.run(study, launch=launcher, sweep=launcher.sweep, console=console)
    except TrialsFailed:
        failed = True
    return failed, console.export_text()


@pytest.fixture
def base(home, table):
    values = {
        "data": {"name": "table", "path": str(table)},
        "tracking": {"name": "offline"},
        "max_length": 20,
        "study": "s",
    }
    return checked(values)
