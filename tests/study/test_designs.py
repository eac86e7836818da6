from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from src.study.designs import DESIGNS, grid


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(st.integers(), min_size=1, max_size=4, unique=True), max_size=4))
def test_a_grid_has_every_combination_once_and_the_reference_first(levels):
    cells = grid(levels)

    assert len(cells) == math.prod(len(values) for values in levels.values())
    assert len({tuple(cell.items()) for cell in cells}) == len(cells)
    assert cells[0] == {key: values[0] for key, values in levels.items()}
    assert all(cell[key] in levels[key] for cell in cells for key in levels)


def test_the_last_key_changes_fastest():
    assert grid({"a": [1, 2], "b": [3, 4]}) == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]


def test_every_design_is_in_the_one_dict():
    assert DESIGNS["grid"] is grid
