from __future__ import annotations

import numpy as np
import pytest

from src.parts.words import samples as module
from src.parts.words.samples import COUNT, LENGTH, Reading, samples

READING = Reading(["a", "film"], ["neg", "pos"], is_masked=True)


def split(*texts):
    rows = np.arange(len(texts))
    return lambda: (
        (np.array([text]), None, np.array([row])) for row, text in reversed(list(enumerate(texts)))
    ), rows % 2


def test_a_text_is_shown_as_the_model_reads_it():
    (sample,) = samples(*split([1, 4, 2, 5, 0, 0]), np.array([[0.25]]), READING)

    assert sample == {
        **{"text": "[start] a [unknown] film", "more": 0, "padding": 2, "side": "post", "is_masked": True},
        **{"class": "neg", "prediction": "neg", "probability": 0.75},
    }


@pytest.mark.parametrize(
    ("ids", "side", "padding"), [([0, 0, 4], "pre", 2), ([4, 0, 0], "post", 2), ([4, 5], "post", 0)]
)
def test_a_sample_shows_the_amount_and_the_side_of_its_padding(ids, side, padding):
    (sample,) = samples(*split(ids), np.array([[0.25, 0.5, 0.25]]), READING._replace(classes=["x", "y", "z"]))

    assert (sample["side"], sample["padding"], sample["prediction"]) == (side, padding, "y")
    assert sample["probability"] == 0.5


def test_samples_are_a_few_shortened_texts_spread_over_the_split():
    shown = samples(
        *split(*([4] * (LENGTH + number) for number in range(1, 101))), np.linspace(0, 1, 100)[:, None], READING
    )

    assert len(shown) == COUNT and [sample["more"] for sample in shown] == [1, 26, 51, 75, 100]
    assert all(sample["text"].count("a") == LENGTH for sample in shown)


def test_samples_of_a_long_split_come_from_its_first_rows(monkeypatch):
    monkeypatch.setattr(module, "FIRST_ROWS", 10)
    read_rows = []

    def batches():
        for row in range(1_000):
            read_rows.append(row)
            yield np.array([[4] * (LENGTH + row)]), None, np.array([row])

    shown = samples(batches, np.zeros(1_000, int), np.full((1_000, 1), 0.5), READING)

    assert [sample["more"] for sample in shown] == [0, 2, 4, 7, 9] and len(read_rows) == 10


def test_characters_of_a_text_are_shown_without_spaces_between_them():
    (sample,) = samples(*split([4, 5]), np.array([[0.5]]), READING._replace(gap=""))
    assert sample["text"] == "afilm"
