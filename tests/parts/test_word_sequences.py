from __future__ import annotations

import pytest

from src.config.settings import checked
from src.parts.words import sequences
from src.tasks.sentiment.task import TASK
from tests.conftest import write_table


@pytest.mark.parametrize(
    "changes", [{}, {"max_length": 5}, {"max_length": 5, "truncation": "remove"}, {"max_length": None}]
)
def test_lengths_computed_without_the_texts_equal_those_of_the_limited_splits(home, tmp_path, changes):
    write_table(tmp_path / "t.csv")
    settings = checked({"data": {"name": "table", "path": str(tmp_path / "t.csv")}, **changes})
    data = TASK.load(settings)

    lengths = sequences.lengths_of(settings, data)

    limited = sequences.limited_splits(settings, data)
    assert {name: steps.tolist() for name, steps in lengths.items()} == {
        name: split.lengths.tolist() for name, split in limited.items()
    }
