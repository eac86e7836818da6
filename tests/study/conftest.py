from __future__ import annotations

import pytest

from src.config.settings import checked


@pytest.fixture
def base(home, table):
    values = {
        "data": {"name": "table", "path": str(table)},
        "tracking": {"name": "offline"},
        "max_length": 20,
        "study": "s",
    }
    return checked(values)
