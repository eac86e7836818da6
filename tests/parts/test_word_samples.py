from __future__ import annotations

import numpy as np
import pytest

from src.parts.words import samples as module
from src.parts.words.samples import COUNT, LENGTH, Reading, samples

HOW = Reading(["a", "film"], ["neg", "pos"], is_masked=True)


def split(*texts):
    rows = np.arange(len(texts))
    return lambda: (
        (np.array([text]), None, np.array([row])) for row, text in reversed(list(enumerate(texts)))
    ), rows % 2


def test_a_text_is_shown_as_the_model_reads_it():
    (one,) = samples(*split([1, 4, 2, 5, 0, 0]), np.array([[0.25]]), HOW)

    assert one == {
        **{"text": "[start] a [unknown] film", "more": 0, "padding": 2, "side": "post", "is_masked": True},
        **{"class": "neg", "prediction": "neg", "probability": 0.75},
    }


@pytest.mark.parametrize(
    ("ids", "side", "padding"), [([0, 0, 4], "pre", 2), ([4, 0, 0], "post", 2), ([4, 5], "post", 0)]
)
def test_the_padding_of_its_batch_is_counted_on_its_side(ids, side, padding):
    (one,) = samples(*split(ids), np.array([[0.25, 0.5, 0.25]]), HOW._replace(classes=["x", "y", "z"]))

    assert (one["side"], one["padding"], one["prediction"], one["probability"]) == (side, padding, "y", 0.5)


def test_long_texts_are_cut_and_only_a_few_are_taken_from_all_over_the_split():
    found = samples(
        *split(*([4] * (LENGTH + number) for number in range(1, 101))), np.linspace(0, 1, 100)[:, None], HOW
    )

    assert len(found) == COUNT and [one["more"] for one in found] == [1, 26, 51, 75, 100]
    assert all(one["text"].count("a") == LENGTH for one in found)


def test_of_a_long_split_only_the_first_rows_are_looked_at(monkeypatch):
    monkeypatch.setattr(module, "FROM", 10)
    made = []

    def batches():
        for row in range(1_000):
            made.append(row)
            yield np.array([[4] * (LENGTH + row)]), None, np.array([row])

    found = samples(batches, np.zeros(1_000, int), np.full((1_000, 1), 0.5), HOW)

    assert [one["more"] for one in found] == [0, 2, 4, 7, 9] and len(made) == 10


def test_signs_of_a_script_without_spaces_stand_side_by_side():
    (one,) = samples(*split([4, 5]), np.array([[0.5]]), HOW._replace(gap=""))
    assert one["text"] == "afilm"
