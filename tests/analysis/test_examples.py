from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import examples, load, store
from src.spec.metric import IMPLIED
from tests.analysis.conftest import ACCURACY


def frame(one, labels):
    return pd.DataFrame(
        {"row": range(len(labels)), "label": labels, "probability_0": 1 - np.array(one), "probability_1": one}
    )


def compared(ours, theirs):
    return examples.compared(examples.of_classes(ours), examples.of_classes(theirs), IMPLIED[0])


def test_mcnemar_counts_the_examples_that_only_one_model_gets_right():
    labels = [1] * 10 + [0] * 10
    ours = frame([0.9] * 10 + [0.1] * 10, labels)
    theirs = frame([0.4] * 7 + [0.9] * 3 + [0.1] * 8 + [0.7] * 2, labels)
    found = compared(ours, theirs)

    assert (found["only_ours"], found["only_theirs"], found["value"], found["other_value"]) == (9, 0, 1.0, 11 / 20)
    assert found["p"] == pytest.approx(stats.binomtest(9, 9).pvalue)
    assert compared(ours, ours)["p"] == 1.0


def test_of_three_classes_the_most_probable_counts():
    three = pd.DataFrame(
        {
            "row": [0, 1],
            "label": [2, 0],
            "probability_0": [0.2, 0.2],
            "probability_1": [0.3, 0.5],
            "probability_2": [0.5, 0.3],
        }
    )
    assert compared(three, three)["value"] == 0.5


def test_different_examples_are_refused():
    with pytest.raises(ValueError, match="not tested on the same examples"):
        compared(frame([0.5], [1]), frame([0.5], [0]))


def test_every_seed_that_both_finished_has_its_test(uri):
    study = load.study("whole", store.connect(uri))
    over_seeds, over_examples = examples.variants(
        study, "masking=true cell=lstm", "masking=true cell=gru", metric=ACCURACY
    )

    assert over_seeds["change"] == pytest.approx(0.05, abs=0.001)
    assert over_examples["seed"].tolist() == list(range(8))
    assert (over_examples["only_theirs"] == 0).all()  # the same examples, as far as the lower accuracy goes


def drawn(seeds, count, *, of_seeds, of_examples, rest, rng):
    parts = of_seeds * rng.normal(size=(seeds, 1)) + of_examples * rng.normal(size=(1, count))
    return parts + rest * rng.normal(size=(seeds, count))


def test_the_crossed_interval_has_the_variance_of_a_plain_analysis_of_variance():
    values = drawn(4, 7, of_seeds=1, of_examples=0.5, rest=1, rng=np.random.default_rng(0))
    n, m, grand = 4, 7, values.mean()
    of_seeds = m * sum((values[s].mean() - grand) ** 2 for s in range(n)) / (n - 1)
    of_examples = n * sum((values[:, e].mean() - grand) ** 2 for e in range(m)) / (m - 1)
    rest = sum(
        (values[s, e] - values[s].mean() - values[:, e].mean() + grand) ** 2 for s in range(n) for e in range(m)
    ) / ((n - 1) * (m - 1))

    found = examples.crossed(values)

    assert found.mean == pytest.approx(grand)
    assert found.error == pytest.approx(np.sqrt((of_seeds + of_examples - rest) / (n * m)))
    free = (of_seeds + of_examples - rest) ** 2 / (
        of_seeds**2 / (n - 1) + of_examples**2 / (m - 1) + rest**2 / ((n - 1) * (m - 1))
    )
    half = stats.t.ppf(0.975, free) * found.error
    assert (found.low, found.high) == pytest.approx((grand - half, grand + half))


@pytest.mark.parametrize(("of_seeds", "of_examples"), [(0.1, 1.0), (0.05, 0.3), (0.3, 1.0), (0.0, 0.5)])
def test_the_crossed_interval_covers_other_seeds_and_other_examples_together(of_seeds, of_examples):
    rng = np.random.default_rng(7)
    spans = [
        examples.crossed(drawn(6, 100, of_seeds=of_seeds, of_examples=of_examples, rest=1.0, rng=rng))
        for _ in range(1_500)
    ]
    covered = np.mean([span.low <= 0 <= span.high for span in spans])

    assert 0.935 <= covered <= 0.985


def test_the_interval_over_both_is_that_of_the_examples_of_each_seed(database):
    study = load.study("whole", store.connect(f"sqlite:///{database}"))
    one, other = list(dict.fromkeys(study.rows["label"]))[:2]

    found = examples.over_both(study, "reference", other)

    done = study.finished.pivot(index="seed", columns="label", values="run_id")
    kept = [
        [examples._kept(study.store, run_id, "accuracy").sums for run_id in pair]
        for pair in done[[other, one]].to_numpy()
    ]
    values = np.array([ours - theirs for ours, theirs in kept])
    assert found == examples.crossed(values) and values.shape == (8, 200)
    assert np.isnan(examples.over_both(load.study("one_seed", study.store), "reference", other).low)
