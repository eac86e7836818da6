"""If most trials learnt nothing, no table has the verdict "no difference" or a best mean."""

from __future__ import annotations

import pytest

from analysis import answer, findings, load, report, store, tables
from benchmarks import generated

SEEDS = list(range(8))


def find(path, idle, *, spread=0.001, gap=0.0, margin=0.02, levels=None, **options):
    """A study whose cells differ by `gap`; the trials for which `idle(values, seed)` is true learnt nothing."""

    def outcome(values, seed):
        place = values["cell"] == "gru"
        accuracy = 0.5 + gap * place + spread * ((3 * seed + 5 * place) % 7)
        return {"test/accuracy": accuracy, "tags": {"health": "no_learning" if idle(values, seed) else "ok"}}

    generated.study(path, "s", levels or {"cell": ["lstm", "gru"]}, outcome, seeds=SEEDS, steps=3, margin=margin)
    return findings.find(load.study("s", store.connect(f"sqlite:///{path}")), **options)


def verdicts(found):
    return found.compared.loc[~found.compared["is_reference"], "verdict"].tolist()


def everywhere(values, seed):
    return True


def test_two_variants_that_learnt_nothing_have_no_verdict_and_the_reason(own):
    assert verdicts(find(own, everywhere)) == ["no verdict: 8 of 8 seeds learnt nothing, and 8 of the reference's"]


def test_no_variant_is_the_best_of_those_that_learnt_nothing(own):
    found = find(own, everywhere)

    assert tables.ablation(found).bold == frozenset() and "**" not in tables.ablation(found).markdown()


def test_a_difference_between_two_variants_that_learnt_nothing_has_no_verdict(own):
    assert verdicts(find(own, everywhere, gap=0.1)) == [
        "no verdict: 8 of 8 seeds learnt nothing, and 8 of the reference's"
    ]


def test_a_variant_that_learns_nothing_where_its_reference_learns_hurts(own):
    assert verdicts(find(own, lambda values, seed: values["cell"] == "gru", gap=-0.1)) == ["hurts"]


def test_a_variant_that_learns_where_its_reference_does_not_helps(own):
    assert verdicts(find(own, lambda values, seed: values["cell"] == "lstm", gap=0.1)) == ["helps"]


@pytest.mark.parametrize(
    ("idle", "expected"),
    [(4, "no difference"), (5, "no verdict: 5 of 8 seeds learnt nothing, and 5 of the reference's")],
)
def test_most_is_more_than_half_of_the_trials(own, idle, expected):
    assert verdicts(find(own, lambda values, seed: seed < idle)) == [expected]


def test_no_difference_is_not_claimed_if_most_trials_of_the_comparison_learnt_nothing(own):
    idle = {"gru": 8, "lstm": 2}
    assert verdicts(find(own, lambda values, seed: seed < idle[values["cell"]])) == [
        "no verdict: 8 of 8 seeds learnt nothing, and 2 of the reference's"
    ]


def test_no_difference_is_not_claimed_if_most_trials_of_the_table_learnt_nothing(own):
    levels = {"cell": ["lstm", "gru", "simple_rnn", "minimal"]}
    found = find(own, lambda values, seed: values["cell"] in ("simple_rnn", "minimal") or seed == 0, levels=levels)

    assert verdicts(found)[0] == "no verdict: 18 of 32 trials learnt nothing"
    assert "no difference" not in verdicts(found)
    assert tables.ablation(found).bold == frozenset()


def test_times_of_trials_that_learnt_nothing_are_still_compared(own):
    found = find(own, everywhere, metric="time/epoch_s", margin=None)

    assert not verdicts(found)[0].startswith("no verdict: 8")


def test_main_effects_of_cells_that_learnt_nothing_have_no_verdict(own):
    found = find(own, everywhere, levels={"cell": ["lstm", "gru"], "masking": [True, False]})

    assert set(found.factorial["verdict"]) == {"no verdict: 32 of 32 trials learnt nothing"}


def test_main_effects_with_one_learning_cell_have_verdicts_but_never_no_difference(own):
    def idle(values, seed):
        return values != {"cell": "gru", "masking": True}

    found = find(own, idle, gap=0.2, levels={"cell": ["lstm", "gru"], "masking": [True, False]})

    assert found.factorial.set_index("effect")["verdict"].to_dict() == {
        "cell=gru": "helps",
        "masking=false": "no verdict: 24 of 32 trials learnt nothing",
        "cell=gru × masking=false": "no verdict: 24 of 32 trials learnt nothing",
    }


def test_the_answer_and_the_page_give_the_reason(own):
    found = find(own, everywhere)
    said = answer.sentences(found)

    assert said[0].startswith("16 of 16 trials learnt nothing")
    assert any("No verdict on cell=gru, where most trials learnt nothing" in sentence for sentence in said)
    assert "no difference" not in " ".join(said).lower()
    assert "no verdict: 8 of 8 seeds learnt nothing" in report.page(found, [])
