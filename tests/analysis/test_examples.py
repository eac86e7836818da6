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
