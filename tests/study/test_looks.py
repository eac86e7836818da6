"""Sequential studies: looks, races, resuming, and what a plan says beforehand; a launcher writes the journals."""

from __future__ import annotations

import json
import math
import re
import time

import numpy as np
import pytest
from scipy import stats

from analysis import answer, figures, findings, load, tables
from analysis.store import connect
from src import paths
from src.config.settings import checked, edited
from src.inference import racing
from src.spec.record import EVALUATION, START, Record
from src.spec.section import SettingsError
from src.study import planning
from src.tracking import provenance
from src.tracking.journal import FAILED, FINISHED, KILLED, Journal, end
from tests.study.conftest import trained

pytestmark = pytest.mark.usefixtures("fewer_paths")


class Launcher:
    """Writes the journals of trials without training; `value` gives the test accuracy of each row."""

    def __init__(self, value, outcome=lambda row: FINISHED):
        self.value, self.outcome, self.launched, self.health = value, outcome, [], "ok"

    def __call__(self, rows):
        for row in rows:
            if self.sweep.why_stopped(row.trial.folder.parent):
                continue
            self.launched.append((row.label, row.seed))
            status = self.outcome(row)
            if status == "power cut":
                raise KeyboardInterrupt
            with Journal(row.trial.folder) as book:
                tags = {"ablation.kind": "trial", "ablation.identity": row.trial.identity, **provenance.tags()}
                detail = {"attempt": f"{row.trial.identity} {time.time_ns()}", "name": row.label, "tags": tags}
                book.append(Record(START, 0, detail={**detail, "params": {}, "process": ""}))
                book.append(Record(EVALUATION, 1, {"val/accuracy": 0.8}, {"epoch": 1}))
                metrics = {"test/accuracy": self.value(row), "time/batch_ms_median": 10.0}
                weights = {"ablation.health": self.health, "ablation.weights": self.weights(row)}
                error = None if status == FINISHED else "no memory"
                book.append(end(step=1, status=status, error=error, metrics=metrics, tags=weights))
        return {}

    def weights(self, row):
        return row.trial.identity

    def seeds(self, label):
        return sorted({seed for name, seed in self.launched if name == label})


def noise(row):
    return float(np.random.default_rng([row.seed, *map(ord, row.label)]).normal(0, 0.01))


def of_effects(**effects):
    """Returns values of rows: 0.8, the effect of each toggle's value, and noise."""
    return lambda row: 0.8 + sum(effects.get(str(value), 0.0) for value in row.values.values()) + noise(row)


def planned(base, plan_changes, swept, **changes):
    settings = edited(base, changes)
    settings = settings.model_copy(update={"plan": settings.plan.model_copy(update=plan_changes)})
    return planning.study({}, swept, compose=lambda _: settings)


def run(base, launcher, plan_changes=None, swept=None, **changes):
    swept = swept or {"cell": ["lstm", "gru", "simple_rnn"]}
    study = planned(base, plan_changes or {"max_seeds": 16}, swept, **changes)
    return trained(study, launcher, 400)


def records(study="s"):
    return json.loads((paths.study_folder(study) / "plan.json").read_text())


def test_decided_variants_stop_and_the_reference_runs_with_the_last(base):
    launcher = Launcher(of_effects(gru=0.05, simple_rnn=0.008))
    failed, text = run(base, launcher, {"max_seeds": 16, "margin": 0.001})

    assert not failed
    assert launcher.seeds("cell=gru") == [0, 1, 2, 3]
    last = len(launcher.seeds("cell=simple_rnn"))
    assert launcher.seeds("cell=lstm") == list(range(last)) and last > 4
    assert "look 1 of 4, at 4 seeds:\n  helps: cell=gru\n  open: cell=simple_rnn\n  4 more seeds of" in text
    assert f"{4 + 2 * last} of at most 48 trials" in text and "cell=gru: helps, at 4 seeds" in text


def test_all_looks_are_in_the_record_of_the_plan(base):
    run(base, Launcher(of_effects(gru=0.05)), {"max_seeds": 16})

    (record,) = records()
    first, *others = record["looked"]
    assert first["n"] == 4 and first["verdicts"]["cell=gru"] == "helps" and first["decided_at"] == {"cell=gru": 4}
    assert first["continues"] == ["cell=lstm", "cell=simple_rnn"] and others
    assert record["max_seeds"] == 16 and record["seeds"] == list(range(16))
    assert len(record["rows"]) == len({(row["label"], row["seed"]) for row in record["rows"]})
    assert [row["position"] for row in record["rows"]] != sorted(row["position"] for row in record["rows"])
    assert sorted(row["position"] for row in record["rows"]) == list(range(1, len(record["rows"]) + 1))


def test_a_variant_that_will_not_be_decided_is_set_aside(base):
    launcher = Launcher(lambda row: 0.8 + (0.01 if (row.seed + (row.label == "cell=gru")) % 2 else 0.0))
    _, text = run(base, launcher, {"max_seeds": 16, "margin": 0.0005}, {"cell": ["lstm", "gru"]})

    assert launcher.seeds("cell=gru") == list(range(8))
    assert "set aside as futile: cell=gru\n  nothing is open: 8 of 16 seeds are not needed" in text


def test_the_decision_of_a_look_is_that_of_a_plain_computation(base):
    values = of_effects(gru=0.012)
    run(base, Launcher(values), {"max_seeds": 8, "looks": [4, 8], "margin": None}, {"cell": ["lstm", "gru"]})

    rows = {(row["label"], row["seed"]): row for row in records()[0]["rows"]}
    assert max(seed for _, seed in rows) in (3, 7)
    study = planned(base, {"max_seeds": 8, "looks": [4, 8]}, {"cell": ["lstm", "gru"]})
    made = {(row.label, row.seed): values(row) for row in study.rows(next(study.rounds()))}
    differences = np.array([made["cell=gru", seed] - made["cell=lstm", seed] for seed in range(4)])
    is_found = stats.ttest_1samp(differences, 0).pvalue <= 0.025
    assert (records()[0]["looked"][0]["verdicts"]["cell=gru"] == "helps") == is_found


@pytest.mark.parametrize("after", [2, 14, 17])
def test_a_study_that_was_killed_within_or_between_looks_ends_as_one_that_was_not(base, after):
    values = of_effects(gru=0.05, simple_rnn=0.008)
    whole = Launcher(values)
    run(base, whole, {"max_seeds": 16}, study="whole")
    count = []

    def cut(row):
        count.append(row)
        return "power cut" if len(count) > after else FINISHED

    killed = Launcher(values, cut)
    with pytest.raises(KeyboardInterrupt):
        run(base, killed, {"max_seeds": 16})
    again = Launcher(values)
    failed, _ = run(base, again, {"max_seeds": 16})

    assert not failed
    finished = {*killed.launched[:after], *again.launched}
    assert finished == {*whole.launched} and not {*killed.launched[:after]} & {*again.launched}
    ours, theirs = records()[-1], records("whole")[-1]
    assert [look["verdicts"] for look in ours["looked"]] == [look["verdicts"] for look in theirs["looked"]]
    assert [row["label"] for row in ours["rows"]] == [row["label"] for row in theirs["rows"]]


def test_a_look_waits_for_trials_that_are_missing(base):
    launcher = Launcher(of_effects(), lambda row: KILLED if row.seed == 3 and row.label == "cell=gru" else FINISHED)
    failed, text = run(base, launcher)

    assert failed and "the look at these seeds waits for 1 trial" in text and "look 1" not in text
    assert records()[0]["looked"] == [] and {seed for _, seed in launcher.launched} == {0, 1, 2, 3}


def test_a_variant_whose_seeds_all_fail_stops_without_a_verdict_and_the_others_go_on(base):
    values = of_effects(simple_rnn=0.008)
    launcher = Launcher(values, lambda row: FAILED if row.label == "cell=gru" else FINISHED)
    failed, text = run(base, launcher, {"max_seeds": 8, "margin": 0.001})

    assert failed and launcher.seeds("cell=gru") == [0, 1, 2]
    assert "no verdict: cell=gru" in text and len(launcher.seeds("cell=simple_rnn")) > 3


def test_values_that_only_tie_are_no_difference_or_open_but_no_error(base):
    launcher = Launcher(lambda row: 0.8)
    failed, text = run(base, launcher, {"max_seeds": 8, "margin": None})

    assert not failed and "open: cell=gru, cell=simple_rnn" in text


def test_a_variant_that_ends_with_the_weights_of_the_reference_stops(base):
    def value(row):
        return of_effects()(row) if row.label == "cell=simple_rnn" else 0.8 + 0.001 * row.seed

    launcher = Launcher(value)
    launcher.weights = lambda row: f"{row.seed}" if row.label != "cell=simple_rnn" else row.trial.identity
    run(base, launcher, {"max_seeds": 8, "margin": 0.001})

    assert launcher.seeds("cell=gru") == [0, 1, 2]
    assert records()[0]["looked"][0]["verdicts"]["cell=gru"] == "changed nothing"


def test_equal_weights_with_other_values_are_compared_by_the_values(base):
    launcher = Launcher(lambda row: 0.8 + 0.1 * (row.label == "cell=gru") + noise(row))
    launcher.weights = lambda row: f"{row.seed}"
    run(base, launcher, {"max_seeds": 8, "margin": 0.001})

    assert records()[0]["looked"][0]["verdicts"]["cell=gru"] == "helps"


def test_trials_that_learnt_nothing_are_never_no_difference(base):
    launcher = Launcher(lambda row: 0.5 + 0.01 * noise(row))
    launcher.health = "no_learning"
    run(base, launcher, {"max_seeds": 8, "margin": 0.01}, {"cell": ["lstm", "gru"]})

    assert records()[0]["looked"][0]["verdicts"] == {"cell=gru": "no verdict, as most trials learnt nothing"}


def test_a_step_of_a_cumulative_design_needs_the_step_before(base):
    value = {"reference": 0.8, "+ cell=gru": 0.9, "+ bidirectional=true": 0.908}
    launcher = Launcher(lambda row: value[row.label] + noise(row))
    run(
        base,
        launcher,
        {"max_seeds": 16, "design": "cumulative", "margin": 0.001},
        {"cell": ["lstm", "gru"], "bidirectional": [False, True]},
    )

    last = len(launcher.seeds("+ bidirectional=true"))
    assert last > 4 and launcher.seeds("+ cell=gru") == list(range(last))
    assert launcher.seeds("reference") == [0, 1, 2, 3]


def test_an_effect_keeps_the_cells_that_it_needs(base):
    value = {"cell=gru": 0.05}
    launcher = Launcher(
        lambda row: (
            0.8
            + value.get(f"cell={row.values['cell']}", 0.0)
            + 0.008 * (row.values["bidirectional"] == (row.values["cell"] == "gru"))
            + noise(row)
        )
    )
    run(base, launcher, {"max_seeds": 16, "margin": 0.0001}, {"cell": ["lstm", "gru"], "bidirectional": [False, True]})

    first = records()[0]["looked"][0]
    assert first["effects"]["cell=gru"] == "helps" and first["effects"]["cell=gru × bidirectional=true"] == "open"
    assert len(first["continues"]) == 4


@pytest.mark.parametrize(
    ("plan_changes", "swept", "message"),
    [
        (
            {"max_seeds": 16, "looks": [4, 4]},
            {},
            r"plan.looks=\[4,4\]: the looks must increase, as in plan.looks=\[4,8",
        ),
        ({"max_seeds": 16, "looks": [8, 4]}, {}, "the looks must increase"),
        ({"max_seeds": 16, "looks": [4, 20]}, {}, "looks end at plan.max_seeds=16"),
        ({"max_seeds": 16, "looks": [2, 8]}, {}, "a look at 2 seeds has no useful interval; begin at 3"),
        ({"looks": [4, 8]}, {}, r"plan.looks=\[4,8\] needs the largest number of seeds; add plan.max_seeds=N"),
        ({"stopping": "spending"}, {}, "plan.stopping=spending needs the largest number of seeds"),
        ({"max_seeds": 16, "stopping": "fixed"}, {}, "a fixed study is judged once"),
        ({"max_seeds": 16}, {"seed": [0, 1]}, "a sequential study takes seeds 0 to 15 as it needs them"),
        ({"max_seeds": 16, "seeds": [0, 1, 2]}, {}, "plan.max_seeds=16 and the seeds 0,1,2"),
        ({"max_seeds": 16, "design": "path"}, {}, "plan.design=path with plan.max_seeds=16"),
        ({"max_seeds": 16, "metric": "steps_to", "threshold": 0.7}, {}, "looks need a value that each trial records"),
    ],
)
def test_bad_looks_are_refused_with_a_fix(base, plan_changes, swept, message):
    with pytest.raises(SettingsError, match=message):
        planned(base, plan_changes, {"cell": ["lstm", "gru"], **swept})


def test_a_sequential_study_that_varies_nothing_is_refused(base):
    with pytest.raises(SettingsError, match="the study varies nothing"):
        planned(base, {"max_seeds": 8}, {})


def test_another_horizon_after_a_look_is_refused(base):
    run(base, Launcher(of_effects(gru=0.05)))

    for changes in ({"max_seeds": 24}, {"max_seeds": 16, "looks": [3, 16]}):
        with pytest.raises(
            SettingsError, match=r"was looked at with plan.max_seeds=16 \(looks at 4, .* name a new study"
        ):
            run(base, Launcher(of_effects()), changes)


def test_the_same_command_again_trains_nothing_and_keeps_the_times_of_its_looks(base):
    run(base, Launcher(of_effects(gru=0.05)))
    before = records()
    launcher = Launcher(of_effects(gru=0.05))
    failed, _ = run(base, launcher)

    assert not failed and launcher.launched == []
    assert records()[0]["looked"] == before[0]["looked"] and len(records()) == 1


def test_the_always_valid_rule_races_too(base):
    launcher = Launcher(of_effects(gru=0.1))
    _, text = run(base, launcher, {"max_seeds": 16, "stopping": "always_valid"}, {"cell": ["lstm", "gru"]})

    assert "plan.stopping=always_valid" in text and launcher.seeds("cell=gru") == list(range(8))


def test_a_plan_says_how_many_trials_and_what_it_can_detect(base):
    text = run(base, Launcher(of_effects()), {"max_seeds": 16, "spread": 0.031}, plan_only=True)[1]

    assert "looks at 4, 8, 12 and 16 seeds (plan.stopping=spending), false verdicts 5 % in all" in text
    assert "at most 48 trials, about " in text and "expected for effects of the margin's size (±0.01)" in text
    assert "with a power of 80 %: up to 16 seeds, 2 comparisons" in text
    assert (
        "warning: the margin 0.01 is out of reach; a change of its size needs about 94 seeds" in text
    )  # statsmodels: 93.1


def test_a_plan_says_the_chance_of_a_verdict_by_the_size_of_the_change(base):
    levels = {"cell": ["lstm", "gru"]}
    text = run(base, Launcher(of_effects()), {"seeds": list(range(8)), "spread": 0.02}, levels, plan_only=True)[1]
    (line,) = [line for line in text.splitlines() if "chance of a verdict" in line]
    shown = [(float(share), float(size)) for share, size in re.findall(r"(\d+)% for ([\d.]+)", line)]
    critical = stats.t.ppf(0.975, 7)

    assert [share for share, _ in shown][3] == 80 and len(shown) == 5
    for share, size in shown:
        shift = size / 0.02 * math.sqrt(8)
        power = stats.nct.sf(critical, 7, shift) + stats.nct.cdf(-critical, 7, shift)
        assert share / 100 == pytest.approx(power, abs=0.01)


def test_the_spread_is_that_of_earlier_studies_of_the_task(base):
    run(base, Launcher(of_effects()), {"seeds": [0, 1, 2, 3, 4, 5]}, {"cell": ["lstm", "gru"]}, study="early")
    text = run(base, Launcher(of_effects()), {"max_seeds": 8}, plan_only=True)[1]
    given = run(base, Launcher(of_effects()), {"max_seeds": 8, "spread": "early"}, plan_only=True)[1]

    values = of_effects()
    study = planned(base, {"seeds": [0, 1, 2, 3, 4, 5]}, {"cell": ["lstm", "gru"]})
    made = {(row.label, row.seed): values(row) for row in study.rows(next(study.rounds()))}
    sd = np.std([made["cell=gru", seed] - made["cell=lstm", seed] for seed in range(6)], ddof=1)
    assert f"standard deviation of {sd:.4f} (median of 1 comparison of 1 earlier study)" in text
    assert f"standard deviation of {sd:.4f} (study early)" in given
    with pytest.raises(SettingsError, match=r"plan.spread=late: no study of this name"):
        run(base, Launcher(of_effects()), {"max_seeds": 8, "spread": "late"}, plan_only=True)


def test_the_table_and_the_answer_of_the_analysis_agree_with_the_sweep(base):
    base = base.model_copy(update={"tracking": checked({}).tracking})
    run(base, Launcher(of_effects(gru=0.05, simple_rnn=0.003)), {"max_seeds": 16, "margin": 0.001})

    study = load.study("s", connect(None))
    found = findings.find(study)
    shown = {row["label"]: row for row in found.compared.to_dict("records")}
    last = records()[-1]["looked"][-1]
    for label, n in last["decided_at"].items():
        assert shown[label]["decided_at"] == n
    assert {label: row["verdict"] for label, row in shown.items() if row["verdict"] in ("helps", "hurts")} == {
        label: word for label, word in last["verdicts"].items() if word in ("helps", "hurts")
    }
    table = tables.ablation(found).markdown()
    assert "decided at" in table and "look 1 (n = 4)" in table and "of at most 16 (plan.max_seeds)" in table
    trained = len(records()[-1]["rows"])
    drawn = {one.name: one.caption for one in figures.draw(found, ["looks", "power", "seeds"])}
    assert "outside the dashed bounds it is decided while all of 2 comparisons are open" in drawn["looks"]
    assert "a change of" in drawn["power"] and f"of at most 16: {trained / 48:.0%} of all trials" in drawn["seeds"]
    assert any(f"Trained were {trained} of at most 48 trials" in sentence for sentence in answer.conclusions(found))


def test_more_seeds_after_the_table_are_a_second_look_and_the_sweep_says_what_it_costs(base):
    cells = {"cell": ["lstm", "gru"]}
    first = run(base, Launcher(of_effects()), {"seeds": [0, 1, 2, 3, 4]}, cells)[1]
    second = run(base, Launcher(of_effects()), {"seeds": [0, 1, 2, 3, 4, 5, 6, 7]}, cells)[1]

    assert "judged with" not in first
    assert "this study was judged with 5 and 8 seeds, each time at 5 %" in second and "in up to 8% of" in second


def test_the_sweep_decides_as_the_simulated_races_of_the_calibration_do(base):
    units = [4, 8, 16, 32]
    values = of_effects(**{"8": 0.03, "16": 0.009, "32": 0.004})
    launcher = Launcher(values)
    run(base, launcher, {"max_seeds": 16, "margin": 0.001}, {"units": units})

    study = planned(base, {"max_seeds": 16}, {"units": units})
    rows = study.rows(next(study.rounds()))
    labels = [f"units={count}" for count in units]
    made = np.array([[values(row) for row in rows if row.label == label] for label in labels])
    weights = np.hstack([-np.ones((3, 1)), np.eye(3)])
    race = racing.run(made[None], [weights], study.rule, margin=0.001)

    assert [len(launcher.seeds(label)) for label in labels] == race.seeds[0].tolist()
    last = records()[-1]["looked"][-1]["decided_at"]
    decisions = race.decisions[0]
    expected = {
        label: study.rule.looks[look]
        for label, look, kind in zip(labels[1:], decisions.look[0], decisions.kind[0], strict=True)
        if kind
    }
    assert last == expected
