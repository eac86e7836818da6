"""Successive halving: rungs, what they keep, resuming, refusals, and its error; a launcher writes the journals."""

from __future__ import annotations

import itertools
import json
import shutil
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis import figures, findings, load, rungs, tables, written
from analysis.looks import QUIET
from analysis.store import connect
from src import paths, status
from src.config.settings import checked, edited
from src.spec.metric import as_records
from src.spec.record import EVALUATION, METRICS, START, Record
from src.spec.section import SettingsError
from src.spec.settings import Interval
from src.study import designs, halving, planning
from src.tracking import provenance
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, end
from tests.conftest import write_table
from tests.study.conftest import trained

UNITS = {"units": [8, 1, 2, 3, 4, 5, 6, 7, 9, 10]}  # the reference is 8; nine candidates


class Launcher:
    """Writes the journals of trials without training; `value` gives the validation accuracy of a row."""

    def __init__(self, value=lambda row: row.values["units"] / 100, outcome=lambda row: FINISHED):
        self.value, self.outcome, self.launched = value, outcome, []

    def __call__(self, rows):
        for row in rows:
            if self.sweep.why_stopped(row.trial.folder.parent):
                continue
            self.launched.append((row.values["units"], row.trial.settings.epochs, row.seed))
            ended = self.outcome(row)
            if ended == "power cut":
                raise KeyboardInterrupt
            with Journal(row.trial.folder) as book:
                tags = {"ablation.kind": "trial", "ablation.identity": row.trial.identity, **provenance.tags()}
                detail = {"attempt": f"{row.trial.identity} {time.time_ns()}", "name": row.label, "tags": tags}
                metrics = as_records(row.trial.task.metrics_of(row.trial.settings))
                book.append(Record(START, 0, detail={**detail, "params": {}, "process": "", METRICS: metrics}))
                book.append(Record(EVALUATION, 1, {"val/accuracy": self.value(row)}, {"epoch": 1}))
                of_test = {"test/accuracy": -row.values["units"] / 100, "time/batch_ms_median": 10.0}
                last = {"ablation.health": "ok", "ablation.weights": row.trial.identity}
                error = None if ended == FINISHED else "no memory"
                book.append(end(step=1, status=ended, error=error, metrics=of_test, tags=last))
        return {}

    def at(self, epochs):
        return sorted({units for units, trained, _ in self.launched if trained == epochs})


def planned(base, changes=None, swept=UNITS, **settings):
    values = {"epochs": 9, "plan.design": "halving", "plan.seeds": [0, 1]} | {
        f"plan.{key}": value for key, value in (changes or {}).items()
    }
    return planning.study({}, swept, compose=lambda _: edited(base, values | settings))


def run(base, launcher, changes=None, swept=UNITS, **settings):
    return trained(planned(base, changes, swept, **settings), launcher, 400)


def records(study="s"):
    return json.loads((paths.study_folder(study) / "plan.json").read_text())


def test_each_rung_keeps_the_best_third_by_validation_and_the_last_has_the_reference_and_all_seeds(base):
    launcher = Launcher()  # larger is better on validation, worse on test
    failed, text = run(base, launcher)

    assert not failed
    assert launcher.at(1) == list(range(1, 11)) and launcher.at(3) == [7, 8, 9, 10] and launcher.at(9) == [8, 10]
    assert {seed for _, epochs, seed in launcher.launched if epochs < 9} == {1_000}
    assert {seed for _, epochs, seed in launcher.launched if epochs == 9} == {0, 1}
    assert "\n  rung 2 of 3 (epochs=3)\n" in text and "\n  the last rung, which is judged\n" in text
    assert "rung 1 of 3 (epochs=1): 3 of 9 candidates go on, by validation accuracy\n  go on: units=10" in text
    assert "units=9: left at rung 2 of 3 (epochs=3), validation accuracy 0.090" in text
    assert "units=3: left at rung 1 of 3 (epochs=1), validation accuracy 0.030" in text


def test_the_plan_says_what_the_rungs_cost_at_most_beside_all_candidates(base):
    _, text = run(base, Launcher(), plan_only=True)

    assert "study s: 10 variants × 1 seed = 10 trials" in text and "design: halving" in text
    assert "rungs: 9 candidates: 9 with epochs=1, 3 with epochs=3, 1 with epochs=9; the best by" in text
    assert "have seed 1000, which judges nothing; the last has 2 seeds and is judged by test accuracy" in text
    assert "at most 18 trials and 58 epochs, each trial from its start; all candidates" in text
    assert "with all seeds: 20 trials and 180 epochs" in text


def test_the_reference_and_equal_trials_do_not_compete_and_what_cannot_run_is_named(base):
    levels = {"units": [8, 1, 2, 3, 4], "drop_remainder": [False, True]}
    launcher = Launcher(lambda row: 0.5 + row.values["units"] / 100)
    _, text = run(base, launcher, {"rungs": [3]}, levels, batch_size=1)

    assert "10 variants × 1 seed, of which 5 equal others: 5 trials" in text  # with batch_size=1 every batch is full
    (rung,) = records()[0]["selection"]
    why = {each["label"]: each["why"] for each in rung["candidates"]}
    assert (
        why["units=3 drop_remainder=true"] == "the same trials as another variant"
        and why["units=3 drop_remainder=false"] == ""
    )
    assert [each["label"] for each in rung["candidates"] if each["goes_on"]] == [
        "units=8 drop_remainder=false", "units=4 drop_remainder=false",
    ]  # fmt: skip


def test_each_rung_is_in_the_record_of_the_plan_whose_rows_are_those_of_the_last(base):
    run(base, Launcher())

    (record,) = records()
    first, second = record["selection"]
    assert (first["key"], first["budget"], second["budget"], second["next_budget"]) == ("epochs", 1, 3, 9)
    by_label = {each["label"]: each for each in first["candidates"]}
    assert len(by_label) == 10 and by_label["units=7"]["value"] == 0.07 and by_label["units=7"]["goes_on"]
    assert by_label["units=3"]["goes_on"] is False and by_label["units=3"]["trials"][0][0] == 1_000
    assert by_label["units=8"]["is_reference"] and by_label["units=8"]["goes_on"]
    assert [each["label"] for each in second["candidates"]] == ["units=8", "units=7", "units=9", "units=10"]
    assert [(row["label"], row["seed"]) for row in record["rows"]] == [
        ("units=8", 0), ("units=8", 1), ("units=10", 0), ("units=10", 1),
    ]  # fmt: skip
    assert sorted(row["position"] for row in record["rows"]) == [15, 16, 17, 18]


@pytest.mark.parametrize("after", [0, 12, 16])
def test_a_study_that_was_killed_in_any_rung_ends_as_one_that_was_not_and_trains_nothing_twice(base, after):
    whole, count = Launcher(), []
    run(base, whole, study="whole")

    def cut(row):
        count.append(row)
        return "power cut" if len(count) > after else FINISHED

    killed, again, last = Launcher(outcome=cut), Launcher(), Launcher()
    with pytest.raises(KeyboardInterrupt):
        run(base, killed)
    failed, _ = run(base, again)

    assert not failed
    done = killed.launched[:after]
    assert {*done, *again.launched} == {*whole.launched} and not {*done} & {*again.launched}
    (ours,), (theirs,) = records(), records("whole")
    assert [row["label"] for row in ours["rows"]] == [row["label"] for row in theirs["rows"]]
    kept = [
        [each["goes_on"] for each in rung["candidates"]] for record in (ours, theirs) for rung in record["selection"]
    ]
    assert kept[:2] == kept[2:]
    assert run(base, last)[0] is False and last.launched == [] and len(records()) == 1


def test_more_seeds_judge_the_same_candidates_and_select_nothing_again(base):
    run(base, Launcher())
    more = Launcher()
    run(base, more, {"seeds": [0, 1, 2, 3]})

    assert sorted(more.launched) == [(8, 9, 2), (8, 9, 3), (10, 9, 2), (10, 9, 3)]


def test_a_candidate_that_fails_ranks_last_and_is_named(base):
    launcher = Launcher(outcome=lambda row: FAILED if row.values["units"] > 8 else FINISHED)
    failed, text = run(base, launcher)

    assert failed and launcher.at(3) == [5, 6, 7, 8] and launcher.at(9) == [7, 8]
    assert "units=10: left at rung 1 of 3 (epochs=1), failed: no memory" in text
    assert "2 trials did not finish:\n  units=9 epochs=1 seed=1000: no memory" in text


def test_a_value_that_is_not_finite_never_goes_on(base):
    bad = Launcher(lambda row: {10: float("nan"), 9: float("inf")}.get(row.values["units"], row.values["units"] / 100))
    _, text = run(base, bad)

    assert bad.at(3) == [5, 6, 7, 8] and "units=10: left at rung 1 of 3 (epochs=1), no finite validation value" in text


def test_a_rung_of_which_every_candidate_fails_is_the_last(base):
    launcher = Launcher(outcome=lambda row: FINISHED if row.values["units"] == 8 else FAILED)
    failed, text = run(base, launcher)

    assert failed and launcher.at(3) == launcher.at(9) == []
    assert "no candidate goes on, so that the last rung has nothing to judge and is not trained" in text
    assert "units=8 seed=0: not started" in text


def test_a_rung_waits_for_trials_that_were_stopped(base):
    launcher = Launcher(outcome=lambda row: KILLED if row.values["units"] == 4 else FINISHED)
    failed, text = run(base, launcher)

    assert failed and launcher.at(3) == []
    assert "the choice at rung 1 of 3 (epochs=1) waits for 1 trial" in text
    (rung,) = records()[0]["selection"]
    assert {each["goes_on"] for each in rung["candidates"]} == {None}


def test_another_choice_after_a_retry_is_another_plan(base):
    run(base, Launcher(outcome=lambda row: FAILED if row.values["units"] == 10 else FINISHED))
    again = Launcher()
    run(base, again, retry_failed=True)

    old, new = records()
    assert old["rows"][-1]["label"] == "units=9" and new["rows"][-1]["label"] == "units=10"
    assert sorted(again.launched) == [(10, 1, 1_000), (10, 3, 1_000), (10, 9, 0), (10, 9, 1)]


def test_several_seeds_select_by_their_mean(base):
    values = {(1, 7): 0.9, (1, 8): 0.1, (2, 7): 0.6, (2, 8): 0.6}
    launcher = Launcher(lambda row: values.get((row.values["units"], row.seed), 0.3))
    run(base, launcher, {"selection_seeds": [7, 8], "rungs": [3]}, {"units": [8, 1, 2, 3]})

    assert launcher.at(9) == [2, 8] and {seed for _, epochs, seed in launcher.launched if epochs == 3} == {7, 8}
    (rung,) = records()[0]["selection"]
    assert [each["value"] for each in rung["candidates"]] == pytest.approx([0.3, 0.5, 0.6, 0.3])


def test_candidates_may_be_draws_from_intervals(base):
    bounds = {"learning_rate": Interval(low=1e-4, high=1e-2, log=True)}
    study = planning.study(
        {}, {"units": [4, 8]}, intervals=bounds,
        compose=lambda _: edited(base, {"epochs": 9, "plan.design": "halving", "plan.sample": 10}),
    )  # fmt: skip
    drawn = next(study.rounds())
    made = halving.ladder(study, drawn)

    assert drawn == designs.random({"units": 4, "learning_rate": 1e-3}, {"units": [4, 8]}, sample=10, intervals=bounds)
    assert (made.budgets, made.sizes) == ([1, 3, 9], [9, 3, 1])
    rows = made.rows(0, drawn, after=0)
    assert {row.trial.settings.learning_rate for row in rows} == {each["learning_rate"] for each in drawn}


def test_the_status_counts_the_rungs(base):
    run(base, Launcher(outcome=lambda row: KILLED if row.trial.settings.epochs == 3 else FINISHED))

    shown = status.of("s")
    assert (shown.count(status.DONE), shown.count(status.STOPPED), shown.count(status.WAITING)) == (10, 4, 2)
    assert "units=10 epochs=1 seed=1000" in {trial.name for trial in shown.trials}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan.rungs": [3, 1]}, r"plan\.rungs=\[3,1\] with epochs=9.*budgets must increase from rung to rung"),
        ({"plan.rungs": [1, 9]}, r"plan\.rungs=\[1,9\] with epochs=9, the budget of the last rung: budgets must"),
        ({"plan.seeds": [5, 1_000]}, r"plan\.selection_seeds=\[1000\]: seed 1000 also judges the last rung"),
        ({"plan.selection_seeds": [7, 7]}, r"plan\.selection_seeds=\[7,7\]: a seed occurs twice"),
        ({"plan.seeds": [], "plan.max_seeds": 8}, r"plan\.design=halving with plan\.max_seeds=8: the last rung is"),
        ({"plan.metric": "steps_to"}, r"with plan\.metric=steps_to: validation selects.*plan\.metric=test/accuracy"),
        ({"plan.metric": "val/accuracy"}, r"with plan\.metric=val/accuracy: validation selects"),
        ({"plan.metric": "best/val_accuracy"}, r"with plan\.metric=best/val_accuracy: validation selects"),
        ({"plan.budget_key": "units"}, r"plan\.budget_key=units: the study also varies units"),
        ({"plan.budget_key": "epoch"}, r"unknown key 'epoch'; did you mean epochs or pretext_epochs\?"),
        ({"plan.budget_key": "max_steps"}, r"plan\.budget_key=max_steps: its value is None, but the last rung needs"),
        ({"plan.budget_key": "dropout"}, r"dropout: got 1; allowed|its value is 0\.0, but the last rung needs"),
        ({"max_steps": 5}, r"max_steps would end the trials of several rungs.*plan\.budget_key=max_steps"),
        ({"plan.design": "grid", "plan.rungs": [1]}, r"plan\.rungs=\[1\] needs plan\.design=halving"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(base, changes, message):
    with pytest.raises(SettingsError, match=f"(?s){message}"):
        planned(base, **changes)


@pytest.mark.parametrize(
    ("units", "changes", "message"),
    [
        ([8, 1, 2], {}, r"2 candidates with epochs=9 leave nothing to halve; it needs 3 candidates"),
        ([8, 1, 2, 3, 4], {"epochs": 2}, r"4 candidates with epochs=2 leave nothing to halve.*epochs=3 or more"),
        ([8, 1, 2, 3, 4], {"plan.rungs": [1]}, r"plan\.rungs=\[1\] with epochs=9 keep none of 4.*9-fold.*give 9"),
        ([8, 1, 2, 3], {"patience": 8}, "plan.design=halving: the reference cannot run: patience=8"),
        ([8, 1, 2, 3], {"patience": 3}, r"rung 1 of 2 \(epochs=3\): nothing can run: patience=3.*plan\.rungs"),
    ],
)  # fmt: skip
def test_rungs_that_cannot_be_trained_are_refused_before_anything_is_trained(base, units, changes, message):
    launcher = Launcher()
    with pytest.raises(SettingsError, match=message):
        run(base, launcher, swept={"units": units}, **changes)
    assert launcher.launched == []


def test_a_budget_that_changes_no_trial_is_refused(base):
    with pytest.raises(SettingsError, match="every_n_batches: it changes no trial of task=sentiment"):
        run(base, Launcher(), {"budget_key": "tracking.every_n_batches"}, **{"tracking.every_n_batches": 9})


def test_a_study_without_toggles_is_refused(base):
    with pytest.raises(SettingsError, match="the study varies nothing, so nothing competes"):
        planned(base, swept={})


@given(st.integers(1, 500), st.lists(st.integers(1, 300), min_size=2, max_size=6, unique=True).map(sorted))
def test_no_rung_costs_more_than_the_first_and_every_rung_is_smaller(candidates, budgets):
    sizes = designs.rung_sizes(candidates, budgets)

    assert len(sizes) == len(budgets) and sizes[0] == candidates
    costs = [size * budget for size, budget in zip(sizes, budgets, strict=True)]
    assert all(cost <= costs[0] for cost in costs) and sizes == sorted(sizes, reverse=True)
    steps = zip(itertools.pairwise(sizes), itertools.pairwise(budgets), strict=True)
    assert all(
        (size + 1) * late > before * early for (before, size), (early, late) in steps
    )  # and as large as it may be


@given(st.integers(0, 500), st.integers(1, 300))
def test_default_rungs_are_thirds_and_keep_a_candidate(candidates, last):
    rungs = designs.default_rungs(candidates, last)

    budgets = [*rungs, last]
    assert all(early == late // 3 for early, late in itertools.pairwise(budgets))
    assert not rungs or designs.rung_sizes(candidates, budgets)[-1] >= 1
    further = [budgets[0] // 3, *budgets]
    assert further[0] == 0 or designs.rung_sizes(candidates, further)[-1] == 0


@given(st.lists(st.integers(-5, 5), max_size=12), st.integers(0, 12), st.sampled_from([1, -1]))
def test_the_best_are_those_that_a_plain_sort_puts_first(values, count, sign):
    chosen = halving.best(dict(enumerate(values)), count, sign)

    kept, left = (
        [values[place] for place in range(len(values)) if (place in chosen) is is_kept] for is_kept in (True, False)
    )
    assert len(kept) == min(count, len(values))
    assert all(sign * one >= sign * other for one in kept for other in left)
    others = set(range(len(values))) - chosen
    assert all(one < other for one in chosen for other in others if values[one] == values[other])


def of_equal_candidates(count, selecting):
    """Returns the share of studies that claim a difference, and the mean change of their last rung.

    27 candidates equal the reference, and seeds 0 to 4 judge. The validation and the test value of a trial share what
    its seed adds to its variant, with a standard deviation of 1.

    Args:
      count: number of simulated studies.
      selecting: seeds of the rungs before the last; seed 5 judges nothing.
    """
    rng, claims, changes = np.random.default_rng(7), 0, []
    for _ in range(count):
        of_trial = rng.normal(size=(6, 28))  # the last variant is the reference
        alive = list(range(27))
        for size in designs.rung_sizes(27, [1, 3, 9])[1:]:
            seen = of_trial[np.ix_(selecting, alive)] + rng.normal(0, 0.5, (len(selecting), len(alive)))
            chosen = halving.best(dict(enumerate(seen.mean(axis=0))), size, 1)
            alive = [one for place, one in enumerate(alive) if place in chosen]
        test = of_trial[:5] + rng.normal(0, 0.5, (5, 28))
        differences = test[:, alive] - test[:, [27]]
        t = differences.mean(axis=0) / (differences.std(axis=0, ddof=1) / np.sqrt(5))
        claims += bool((np.abs(t) > stats.t.ppf(1 - 0.05 / 2 / len(alive), 4)).any())  # the first step of Holm
        changes.append(differences.mean())
    return claims / count, float(np.mean(changes))


def test_equal_candidates_are_called_different_in_one_study_of_twenty_at_most_and_look_equal_on_average():
    count = 2_500
    error = 2.6 * np.sqrt(0.05 * 0.95 / count)
    share, change = of_equal_candidates(count, [5])

    assert share <= 0.05 + error and abs(change) < 0.03
    assert of_equal_candidates(count, [0])[1] > 0.25  # a judging seed that selects favours what it selected
    assert of_equal_candidates(count, range(5))[0] > 0.05 + 2 * error  # all of them make false verdicts, too


@pytest.fixture(scope="module")
def analysed(empty, tmp_path_factory):
    """The findings of a study of nine candidates, of which units=5 failed in the first rung."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty, home / "mlflow.db")
    data = {"name": "table", "path": str(write_table(home / "table.csv"))}
    launcher = Launcher(lambda row: 0.5 + row.values["units"] / 100 + row.seed % 2 / 1_000,
                        lambda row: FAILED if row.values["units"] == 5 else FINISHED)  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_HOME", str(home))
        run(checked({"data": data, "max_length": 20, "study": "s"}), launcher)
        yield findings.find(load.study("s", connect(None)))


def test_the_table_of_rungs_has_every_candidate_with_its_values_and_where_it_left(analysed):
    found = rungs.candidates(analysed.study).set_index("label")

    assert list(found.columns) == ["is_reference", "epochs=1", "epochs=3", "epochs=9", "outcome"]
    assert list(found.index) == [f"units={units}" for units in (8, 10, 9, 7, 6, 4, 3, 2, 1, 5)]
    at = found.loc["units=10", ["epochs=1", "epochs=3", "epochs=9"]].tolist()
    assert at == pytest.approx([0.6, 0.6, 0.6005])  # seed 1000; in the last rung the mean of seeds 0 and 1
    assert found.loc["units=9", "outcome"] == "left at rung 2 of 3"
    assert found.loc["units=5", "outcome"] == "left at rung 1 of 3: failed: no memory"
    shown = tables.selection(analysed)
    assert [row[0].text for row in shown.rows][:2] == ["units=8 (reference)", "units=10"]
    assert (
        "1 of 9 candidates were selected by validation accuracy with epochs=1 and epochs=3 and seed 1000"
        in shown.notes[0]
    )
    assert shown.notes[0] in tables.ablation(analysed).markdown()


def test_the_figure_of_rungs_has_a_line_for_each_candidate_and_those_that_left_are_grey(analysed):
    drawn = figures.one(analysed, "rungs")

    lines = {line.get_label(): line for line in drawn.figure.axes[0].lines if len(line.get_xdata()) == 3}
    assert set(lines) == {"units=8", "units=10"} and list(lines["units=10"].get_xdata()) == [1, 3, 9]
    np.testing.assert_allclose(lines["units=10"].get_ydata(), [0.6, 0.6, 0.6005])
    grey = [line for line in drawn.figure.axes[0].lines if line.get_color() == QUIET and line.get_linewidth() == 0.9]
    assert sorted(len(line.get_xdata()) for line in grey) == [0, 1, 1, 1, 1, 1, 2, 2]  # the first is of the legend
    assert "grey lines end where one left" in drawn.caption and "Without a value: 1 candidate." in drawn.caption


def test_the_report_shows_the_rungs_and_counts_their_trials_to_the_plan(analysed, tmp_path):
    written.report(analysed, tmp_path)

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="selection">Rungs</h2>' in page and "left at rung 1 of 3: failed: no memory" in page
    assert "those that left earlier, after less training and by other seeds, are not shown to be worse" in page
    assert {path.suffix for path in tmp_path.glob("selection.*")} == {".csv", ".md", ".tex", ".html"}
    assert not analysed.study.of_plans and load.listed(analysed.study.store)["in other plans"].tolist() == [0]


def test_every_trial_of_the_rungs_is_among_all_trials_of_the_study(analysed):
    every = load.study("s", analysed.study.store, every=True)

    assert "no plan" not in every.of_plans and every.plan["selection"] == []
    found = every.rows[every.rows["epochs"] == 1]
    assert sorted(found["units"]) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] and set(found["seed"]) == {1_000}
