from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from src.tasks.word_vectors import course, figures

FEW = ["king", "queen", "man", "woman", "paris", "france", "other"]


class Store:
    def __init__(self, folder):
        self.folder = folder

    def artifact(self, run_id, name):
        path = self.folder / run_id / name
        return path if path.is_file() else None


@pytest.fixture
def study(tmp_path):
    """Returns a study of two losses, three vocabularies and two seeds, whose times are powers of the vocabulary."""
    rows = []
    for loss, power in (("negative", 0.0), ("full", 1.0)):
        for words in (100, 1_000, 10_000):
            for seed in (0, 1):
                run_id = f"{loss}{words}{seed}"
                (tmp_path / run_id).mkdir()
                vectors = np.random.default_rng(seed).normal(size=(len(FEW), 5))
                course.write(tmp_path / run_id, course.places(vectors, FEW))
                times = {"time/batch_ms_median": (3 + seed) * words**power}
                named = {"run_id": run_id, "label": f"{loss} {words}", "seed": seed, "is_reference": words == 100}
                rows.append({**named, "loss": loss, "vocab_size": words, **times})
    return SimpleNamespace(finished=pd.DataFrame(rows), store=Store(tmp_path))


def test_the_figure_of_costs_has_the_slope_of_each_loss(study):
    figure, text = figures.softmax_costs(study)

    shown = [label.get_text() for label in figure.axes[0].get_legend().get_texts()]
    assert shown in (
        ["loss=negative: slope 0.00", "loss=full: slope 1.00"],
        ["loss=negative: slope -0.00", "loss=full: slope 1.00"],
    )
    assert "slope of 1" in text


def test_times_are_medians_over_seeds(study):
    words, times = figures.medians(study.finished[study.finished["loss"] == "full"])

    assert words.tolist() == [100, 1_000, 10_000]
    np.testing.assert_allclose(times, [350, 3_500, 35_000])


def test_a_study_of_one_vocabulary_has_no_figure_of_costs(study):
    study.finished = study.finished[study.finished["vocab_size"] == 100]

    with pytest.raises(LookupError, match="does not vary vocab_size"):
        figures.softmax_costs(study)


def test_the_figure_of_pairs_shows_each_variant_of_the_lowest_seed(study):
    figure, text = figures.pairs(study)

    assert [axes.get_title() for axes in figure.axes] == [
        *("negative 100", "full 100", "negative 1000", "negative 10000", "full 1000", "full 10000"),
    ]
    assert "seed 0" in text
    words = [one.get_text() for one in figure.axes[0].texts if one.get_text()]
    assert sorted(words) == sorted(FEW[:-1])


def test_words_have_the_places_of_their_principal_components():
    vectors = np.random.default_rng(0).normal(size=(len(FEW), 5))

    places = course.places(vectors, FEW)

    units = vectors[:-1] / np.linalg.norm(vectors[:-1], axis=1, keepdims=True)
    values, directions = np.linalg.eigh(np.cov(units.T))
    flat = (units - units.mean(axis=0)) @ directions[:, ::-1][:, :2]
    found = np.array([places[word] for word in FEW[:-1]])
    np.testing.assert_allclose(np.abs(found), np.abs(flat), atol=2e-5)
    assert (np.diff(values) > 0).all()
    assert course.places(vectors, ["a", "b"]) == {}
