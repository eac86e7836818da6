"""n-gram models and their mixture with a model count the same words as its perplexity; files and figures show both."""

from __future__ import annotations

import collections
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from src.data.tokens import words
from src.models import ngrams
from src.spec.record import END as LAST
from src.spec.record import EVALUATION, PICTURES
from src.spec.task import Trial
from src.tasks.language_model import baselines, figures, losses, texts
from src.tasks.language_model.model import language_model
from src.tasks.language_model.task import TASK
from src.training.evaluation import evaluators
from src.training.phase import Learner
from tests.tasks.test_language_model import V, file, of_file, randomised

__all__ = ["file"]  # a fixture
UNKNOWN, END, FIRST = 2, 3, 4
SPLITS = {"train": slice(42), "validation": slice(42, 48), "test": slice(48, None)}


@pytest.fixture
def streams(file):
    """Returns split → its texts as lists of ids, each with the end, by a plain computation from the file."""
    lines = [words(line) for line in file.read_text(encoding="utf-8").splitlines()]
    counts = collections.Counter(word for line in lines[SPLITS["train"]] for word in line)
    _, data = of_file(file)
    known = data.words(V)
    assert sorted(counts.values(), reverse=True)[: len(known)] == [counts[word] for word in known]
    ids = {word: FIRST + rank for rank, word in enumerate(known)}
    return {
        name: [[*(ids.get(word, UNKNOWN) for word in line), END] for line in lines[at]] for name, at in SPLITS.items()
    }


def joined(parts):
    return np.array([word for part in parts for word in part])


def evaluated(settings, data):
    """Returns a model with random weights, and the results of a trial with it."""
    model = randomised(language_model(settings))
    evaluate = evaluators(Learner(model, TASK.phase(settings, data), TASK.metrics, settings))
    return model, SimpleNamespace(validation=evaluate["validation"](), test=evaluate["test"]())


# The same words


@pytest.mark.parametrize(
    "changes",
    [
        {"length": 7},
        {"text_mode": "documents"},
        {"text_mode": "documents", "padding": "dataset", "padding_side": "pre", "max_length": 6},
    ],
    ids=str,
)
def test_a_model_and_the_n_grams_give_a_probability_to_the_same_words_in_the_same_order(file, streams, changes):
    settings, data = of_file(file, **changes)
    model, trained = evaluated(settings, data)

    found = baselines.of_corpus(settings, data)

    for name, results, of_ngrams in (
        ("validation", trained.validation, found.validation),
        ("test", trained.test, found.test),
    ):
        alone = [model(np.array([[1, *text]], np.int32))["losses"].numpy()[0] for text in streams[name]]
        np.testing.assert_allclose(results.positions["losses"], np.concatenate(alone), rtol=1e-4)
        assert len(of_ngrams) == len(joined(streams[name])) == texts.word_counts(data)[name]
        assert results.positions["losses"].sum() == pytest.approx(results.mean("loss") * len(of_ngrams), rel=1e-5)


def test_the_perplexities_are_those_of_n_grams_of_the_whole_texts(file, streams):
    settings, data = of_file(file, text_mode="documents", max_length=5)

    found = baselines.of_corpus(settings, data)

    counts = ngrams.count(joined(streams["train"]), vocab_size=V, end=END, order=5)
    expected = {
        order: ngrams.KneserNey(counts, order=order).log_probabilities(joined(streams["test"])) for order in range(1, 6)
    }
    assert found.perplexities == pytest.approx({n: np.exp(-values.mean()) for n, values in expected.items()})
    np.testing.assert_allclose(found.test, expected[5], rtol=1e-6)
    assert texts.longest_steps(settings, data) < max(map(len, streams["train"]))


def test_n_grams_are_counted_once_for_all_networks_and_seeds_but_again_for_another_vocabulary(file, monkeypatch):
    counted = []
    count = ngrams.count
    monkeypatch.setattr(ngrams, "count", lambda *args, **options: counted.append(options) or count(*args, **options))

    for changes in ({}, {"seed": 3, "units": 9}, {"text_mode": "documents", "max_length": 4}, {"vocab_size": 8}):
        settings, data = of_file(file, **changes)
        baselines.of_corpus(settings, data)

    assert [options["vocab_size"] for options in counted] == [V, 8]


def test_a_damaged_copy_in_the_cache_is_counted_again(file, monkeypatch):
    settings, data = of_file(file)
    first = baselines.of_corpus(settings, data)
    expected = np.array(first.test)
    [stored] = data.folder.parent.glob("ngrams-*/test.npy")
    content = stored.read_bytes()
    stored.write_bytes(content[:-4] + b"\0\0\0\0")

    np.testing.assert_array_equal(baselines.of_corpus(settings, data).test, expected)


# The mixture


def trained_with(found, seed):
    """Returns the results of a model that has the losses of the n-grams, but at other words."""
    draw = np.random.default_rng(seed).permutation
    return SimpleNamespace(
        validation=SimpleNamespace(positions={"losses": draw(-found.validation)}),
        test=SimpleNamespace(positions={"losses": draw(-found.test)}),
    )


def test_the_weight_of_the_mixture_is_the_best_in_validation_and_its_perplexity_is_of_the_test(file):
    settings, data = of_file(file)
    of_ngrams = baselines.of_corpus(settings, data)
    trained = trained_with(of_ngrams, 0)

    found = baselines.test_values(settings, data, trained)

    p, q = np.exp(-trained.validation.positions["losses"].astype(float)), np.exp(of_ngrams.validation.astype(float))
    grid = np.linspace(0, 1, 2_001)
    best = grid[np.argmin([-np.log(w * p + (1 - w) * q).mean() for w in grid])]
    assert 0.05 < best < 0.95 and found["mixture_weight"] == pytest.approx(best, abs=1e-3)
    p, q = np.exp(-trained.test.positions["losses"].astype(float)), np.exp(of_ngrams.test.astype(float))
    w = found["mixture_weight"]
    assert found["perplexity_mixture"] == pytest.approx(np.exp(-np.log(w * p + (1 - w) * q).mean()), rel=1e-5)


def test_a_model_without_finite_losses_has_no_weight(file):
    settings, data = of_file(file)
    trained = trained_with(baselines.of_corpus(settings, data), 0)
    for results in (trained.validation, trained.test):
        results.positions["losses"][::2], results.positions["losses"][1::2] = np.nan, np.inf

    found = baselines.test_values(settings, data, trained)

    assert found["mixture_weight"] == 0
    assert found["perplexity_mixture"] == pytest.approx(found["perplexity_5gram"], rel=1e-5)


def test_the_first_metric_is_the_perplexity_and_only_the_test_has_those_of_n_grams():
    assert [metric.name for metric in TASK.metrics if not metric.test_only] == ["perplexity", "loss"]
    assert TASK.metrics[0].name == "perplexity"


# Losses by frequency and position


def test_the_position_of_a_word_is_counted_in_its_own_text():
    np.testing.assert_array_equal(losses.places(np.array([5, 6, END, END, 7, END, 8])), [1, 2, 3, 1, 1, 2, 1])


def test_means_of_a_trial_are_those_of_a_loop_over_its_words(file, streams):
    settings, data = of_file(file, length=7)
    _, trained = evaluated(settings, data)
    model, of_ngrams = trained.test.positions["losses"], -baselines.of_corpus(settings, data).test
    counts = collections.Counter(joined(streams["train"]).tolist())

    found = losses.of_trial(settings, data, trained)

    at = itertools.count()
    each = [(next(at), word, place) for text in streams["test"] for place, word in enumerate(text, 1)]
    assert found["length"] == 7 and 7 in [one["high"] for one in found["position"]]
    groups = [
        *((one, lambda w, p: w >= FIRST, lambda w, p: counts[w]) for one in found["frequency"]),
        *((one, lambda w, p: True, lambda w, p: p) for one in found["position"]),
        *((one, lambda w, p, n=one["name"]: (w == END) == (n == "end of a text") and w < FIRST, lambda w, p: counts[w])
          for one in found["others"]),
    ]  # fmt: skip
    for one, is_meant, value in groups:
        rows = [
            i for i, word, place in each if is_meant(word, place) and one["low"] <= value(word, place) <= one["high"]
        ]
        assert one["words"] == len(rows) > 0
        assert one["model"] == pytest.approx(model[rows].mean(), rel=1e-5)
        assert one["ngrams"] == pytest.approx(of_ngrams[rows].mean(), rel=1e-5)
    assert sum(one["words"] for one in found["position"]) == len(each)
    assert sum(one["words"] for one in (*found["frequency"], *found["others"])) == len(each)
    assert {one["name"]: one["low"] for one in found["others"]} == {
        name: counts[word] for word, name in losses.OTHERS.items()
    }


def of_study(*tables):
    """Returns a study whose trials, one for each table (label, seed, means or None), have their file."""
    rows = pd.DataFrame(
        [
            {"run_id": str(place), "label": label, "seed": seed, "is_reference": label == "reference"}
            for place, (label, seed, _) in enumerate(tables)
        ]
    )
    found = {str(place): values for place, (_, _, values) in enumerate(tables) if values}

    def artifact(run_id, name):
        assert name == losses.FILE
        return SimpleNamespace(read_text=lambda **_: json.dumps(found[run_id])) if run_id in found else None

    return SimpleNamespace(finished=rows, store=SimpleNamespace(artifact=artifact))


def means(shift, length=7):
    ranges = [
        {"low": low, "high": high, "words": 5, "model": 4 + shift - 0.1 * low, "ngrams": 4.5}
        for low, high in ((1, 1), (2, 2), (3, 7), (8, 8))
    ]
    others = [{**ranges[0], "name": "end of a text", "low": 50, "high": 50}]
    return {"length": length, "frequency": ranges, "position": ranges, "others": others}


@pytest.mark.parametrize("draw", [figures.frequency, figures.position])
def test_a_figure_shows_means_over_seeds_and_the_difference_from_the_n_grams(draw):
    study = of_study(
        ("a=1", 0, means(1.0)), ("reference", 0, means(0.0)), ("reference", 1, means(0.2)), ("a=2", 0, None)
    )

    figure, caption = draw(study)

    left, right = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in left.get_lines()}
    np.testing.assert_allclose(lines["reference"], [4.0, 3.9, 3.8, 3.3])
    np.testing.assert_allclose(lines["a=1"], [4.9, 4.8, 4.7, 4.2])
    np.testing.assert_allclose(lines["5-gram"], [4.5] * 4)
    of_right = {line.get_label(): line.get_ydata() for line in right.get_lines()}
    np.testing.assert_allclose(of_right["reference"], [-0.5, -0.6, -0.7, -1.2])
    assert "over 1 to 2 seeds" in caption and "1 more variant is not shown" in caption


def test_the_training_length_of_each_variant_is_a_line():
    same, _ = figures.position(of_study(("reference", 0, means(0, 5)), ("b", 0, means(0, 5))))
    differing, _ = figures.position(of_study(("reference", 0, means(0, 5)), ("b", 0, means(0, 6))))

    def dotted(figure):
        return [line.get_xdata()[0] for line in figure.axes[0].get_lines() if line.get_linestyle() == ":"]

    assert dotted(same) == [5] and dotted(differing) == [5, 6]


def test_a_study_without_the_file_has_no_such_figure():
    with pytest.raises(LookupError, match=r"no finished trial has losses\.json"):
        figures.position(of_study(("reference", 0, None)))


# A whole trial


@pytest.mark.training
def test_a_trial_records_its_baselines_in_its_end_and_keeps_their_figures(file, tmp_path):
    settings, data = of_file(file, length=8, epochs=2, batch_size=8, learning_rate=0.01)
    folder = tmp_path / "trial"
    folder.mkdir()

    records = list(TASK.records(Trial(settings, data, folder, "t", True, "a", "i")))

    end = records[-1]
    assert end.kind == LAST and "losses.json" in end.detail["artifacts"]
    tested = {name for name in end.metrics if name.startswith("test/")}
    assert tested == {f"test/{metric.name}" for metric in TASK.metrics}
    assert all(set(one.metrics) >= {"val/perplexity"} for one in records if one.kind == EVALUATION)
    assert not any("gram" in name or "mixture" in name for one in records[:-1] for name in one.metrics)
    stored = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
    mean = sum(one["words"] * one["model"] for one in stored["position"]) / texts.word_counts(data)["test"]
    assert end.metrics["test/perplexity"] == pytest.approx(np.exp(mean), rel=1e-5)
    [pictures] = [one.detail["files"] for one in records if one.kind == PICTURES]
    assert set(pictures) == {"loss_by_frequency", "loss_by_position"}
