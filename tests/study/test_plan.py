from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from src import registry
from src.config.settings import checked, edited
from src.parts import sizes
from src.spec.metric import LOSS, Metric, of_plan
from src.spec.section import SettingsError
from src.spec.settings import Interval
from src.study import looks, plan, plan_record, planning
from src.trial.prepare import prepare

CELL_AND_MASKING = {"cell": ["lstm", "gru"], "masking": [True, False]}
PAIRS = {**CELL_AND_MASKING, "learning_rate": [0.001, 0.01]}


@pytest.fixture
def base(home, table):
    return edited(checked({"data": {"name": "table", "path": str(table)}}), {"max_length": 20})


def study(base, fixed=(), plan_keys=None, **swept):
    composed = []

    def compose(overrides):
        composed.append(overrides)
        return edited(base, {f"plan.{key}": value for key, value in (plan_keys or {}).items()})

    return planning.study(dict(fixed) or {"fixed": "fixed=1"}, swept, compose=compose), composed


def rows(base, **options):
    planned, _ = study(base, **options)
    return planned.rows(next(planned.rounds()))


def test_every_cell_is_a_row_and_hydra_composes_once(base):
    planned, composed = study(base, masking=[True, False], cell=["lstm", "gru"])
    planned_rows = planned.rows(next(planned.rounds()))

    assert [row.label for row in planned_rows] == [
        "masking=true cell=lstm",
        "masking=true cell=gru",
        "masking=false cell=lstm",
        "masking=false cell=gru",
    ]
    assert [row.is_reference for row in planned_rows] == [True, False, False, False]
    assert planned_rows[3].overrides == ["fixed=1", "masking=false", "cell=gru", "seed=0"]
    assert composed == [["fixed=1"]]


def test_hydra_composes_once_for_every_choice_of_a_group(base):
    planned, composed = study(base, data=["table", "movie_reviews"], cell=["lstm", "gru", "simple_rnn"])
    variants = next(planned.rounds())
    rows_of = [planned._settings(variant) for variant in variants]

    assert composed == [["fixed=1"], ["fixed=1", "data=table"], ["fixed=1", "data=movie_reviews"]]
    assert [settings.cell for settings in rows_of] == ["lstm", "gru", "simple_rnn"] * 2


def test_a_variant_differs_from_the_reference_only_in_the_keys_that_it_names(base):
    planned_rows = rows(base, cell=["lstm", "gru"], depth=[1, 2])
    reference = planned_rows[0].trial.settings.model_dump()

    for row in planned_rows[1:]:
        changed = {key for key, value in row.trial.settings.model_dump().items() if reference[key] != value}
        assert changed <= {"cell", "depth"}


def test_all_variants_of_a_seed_come_before_the_next_seed(base):
    planned_rows = rows(base, cell=["lstm", "gru"], seed=[3, 4])

    assert [(row.seed, row.values["cell"], row.is_reference) for row in planned_rows] == [
        (3, "lstm", True),
        (3, "gru", False),
        (4, "lstm", True),
        (4, "gru", False),
    ]
    assert [row.trial.settings.seed for row in planned_rows] == [3, 3, 4, 4]


def test_within_a_seed_variants_are_trained_in_a_random_order_drawn_from_the_seed(base):
    cells, seeds = ["lstm", "gru", "simple_rnn"], list(range(40))
    planned_rows = rows(base, cell=cells, seed=seeds)
    again = rows(base, cell=cells, seed=seeds)
    orders = [
        [row.values["cell"] for row in sorted(planned_rows, key=lambda row: row.position) if row.seed == seed]
        for seed in seeds
    ]

    assert [row.position for row in planned_rows] == [row.position for row in again]
    assert sorted(row.position for row in planned_rows) == list(range(1, 121))
    assert [row.seed for row in sorted(planned_rows, key=lambda row: row.position)] == [
        seed for seed in seeds for _ in cells
    ]
    assert {tuple(order) for order in orders} == set(itertools.permutations(cells))
    firsts = [order[0] for order in orders]
    assert all(5 <= firsts.count(cell) <= 22 for cell in cells)  # of 40 seeds; the expected number is 13


def test_variants_that_share_a_first_phase_begin_with_one_of_them_and_end_with_the_others(base):
    planned = rows(base, pretext=["none", "word_vectors"], dropout=[0.1, 0.2, 0.3], seed=list(range(12)))
    planned.sort(key=lambda row: row.position)
    orders = [
        [(row.values["pretext"], row.values["dropout"]) for row in planned[at : at + 6]] for at in range(0, 72, 6)
    ]

    assert [row.seed for row in planned] == [seed for seed in range(12) for _ in range(6)]
    assert all(
        [name for name, _ in order] == ["word_vectors", *3 * ["none"], *2 * ["word_vectors"]] for order in orders
    )
    assert {order[0][1] for order in orders} == {0.1, 0.2, 0.3} and len({order[1][1] for order in orders}) > 1


def test_a_single_variant_with_a_first_phase_has_a_random_place(base):
    planned = rows(base, pretext=["none", "word_vectors"], seed=list(range(12)))
    firsts = {row.values["pretext"] for row in planned if row.position % 2 == 1}

    assert firsts == {"none", "word_vectors"}


def test_added_seeds_do_not_change_the_order_of_earlier_seeds(base):
    fewer, more = (rows(base, cell=["lstm", "gru"], seed=list(range(count))) for count in (5, 8))

    assert [row.position for row in more[:10]] == [row.position for row in fewer]


def test_variants_with_equal_resolved_settings_share_an_identity_and_the_plan_has_the_reason(base):
    planned_rows = rows(base, padding=["dataset"], bucketing=[False, True])

    assert planned_rows[0].trial.identity == planned_rows[1].trial.identity
    assert [str(change) for change in planned_rows[1].trial.changes] == [
        "bucketing=false is used: with padding=dataset every sequence has the same length"
    ]


def test_a_cell_that_cannot_run_is_kept_with_its_reason(base, monkeypatch):
    monkeypatch.setattr(sizes, "memory_mb", lambda: 4_096)
    planned_rows = rows(base, encoding=["embedding", "onehot"], vocab_size=[100, 1_000_000])

    assert [row.trial is None for row in planned_rows] == [False, False, False, True]
    assert "this machine has 4,096 MB" in planned_rows[3].dropped


def test_the_trial_of_every_seed_equals_the_one_prepared_from_its_settings(base):
    data = ["table", "movie_reviews"]
    planned_rows = rows(
        base,
        data=data,
        padding=["dataset", "batch"],
        bucketing=[True, False],
        parameters=[None, 5_000],
        seed=[3, 0, 2**32 - 1],
    )

    assert {row.trial.settings.seed for row in planned_rows} == {3, 0, 2**32 - 1} and len(planned_rows) == 48
    for row in planned_rows:
        alone = prepare(
            edited(base, {**row.values, "data": {"name": "table", "path": base.data.path}, "seed": row.seed})
        )
        assert (row.trial.settings, row.trial.identity, row.trial.changes) == (
            alone.settings,
            alone.identity,
            alone.changes,
        )
        assert row.overrides[-1] == f"seed={row.seed}"


@pytest.mark.parametrize("seeds", [[-1], [0, "x"], [0, 1.5]])
def test_an_invalid_seed_is_an_error(base, seeds):
    with pytest.raises(SettingsError, match="seed: got"):
        rows(base, cell=["lstm", "gru"], seed=seeds)


def test_an_invalid_value_is_an_error_and_not_a_dropped_cell(base):
    with pytest.raises(SettingsError, match="cell: got 'foo'"):
        rows(base, cell=["lstm", "foo"])


def test_without_levels_the_plan_is_one_row(base):
    assert [(row.label, row.is_reference) for row in rows(base)] == [
        ("data=table data.path=table.csv max_length=20", True)
    ]


FILE = {"design": "leave_one_out", "levels": {"cell": ["lstm", "gru"], "masking": [True, False]}, "seeds": [0, 1]}


def test_a_study_file_gives_design_levels_and_seeds(base):
    planned_rows = rows(base, plan_keys=FILE)

    assert [(row.label, row.seed) for row in planned_rows] == [
        (label, seed) for seed in (0, 1) for label in ("reference", "cell=gru", "masking=false")
    ]


LISTED = {
    "design": "listed",
    "variants": [{"batch_size": 1, "accumulate": 64}, {"padding": "equal"}, {"padding": "equal", "cell": "gru"}],
}


def test_listed_variants_change_only_the_settings_that_they_name(base):
    planned_rows = rows(base, plan_keys=LISTED)

    assert [row.label for row in planned_rows] == [
        "reference",
        "batch_size=1 accumulate=64",
        "padding=equal",
        "padding=equal cell=gru",
    ]
    assert [(row.trial.settings.batch_size, row.trial.settings.accumulate) for row in planned_rows] == [
        (64, 1),
        (1, 64),
        (64, 1),
        (64, 1),
    ]
    assert [row.trial.settings.cell for row in planned_rows] == ["lstm"] * 3 + ["gru"]


def test_a_toggle_of_listed_variants_cannot_be_fixed(base):
    with pytest.raises(
        SettingsError, match=r"batch_size=64 applies to all trials, but plan\.variants change batch_size; remove it"
    ):
        rows(base, plan_keys=LISTED, fixed={"batch_size": "batch_size=64"})


def test_an_old_plan_without_a_newer_key_is_continued(base):
    study_of, _ = study(base, plan_keys=FILE)
    record = plan_record.of_plan(study_of, study_of.rows(next(study_of.rounds())), command="c", time="t")
    old = {key: value for key, value in record.items() if key != "variants"}

    assert plan_record.is_continued_by(old, record)
    without = [{key: value for key, value in row.items() if key != "position"} for row in record["rows"]]
    assert plan_record.is_continued_by({**record, "rows": without}, record)
    assert not plan_record.is_continued_by({**old, "threshold": 0.7}, record)


@pytest.mark.parametrize(
    ("plan_keys", "swept", "message"),
    [
        ({"design": "listed"}, {}, "plan.design=listed: plan.variants and plan.design=listed need each other"),
        ({**LISTED, "design": "grid"}, {}, "plan.design=grid: plan.variants and plan.design=listed need each other"),
        (LISTED, {"depth": [1, 2]}, "plan.design=listed: depth also has levels; move its values to plan.variants"),
        (
            {**LISTED, "reference": {"masking": False}},
            {},
            "replace plan.reference by masking=false outside of plan",
        ),
        ({**LISTED, "variants": [{"sell": 1}]}, {}, "unknown key 'sell'"),
        ({**LISTED, "variants": [{"task.nonsense": 1}]}, {}, "unknown key 'task.nonsense'"),
        ({**LISTED, "variants": [{"seed": 1}]}, {}, "seed is not a toggle; use plan.seeds"),
        ({**LISTED, "variants": [{"cell": "foo"}]}, {}, "cell: got 'foo'; allowed: one of simple_rnn, gru, lstm"),
    ],
)
def test_an_invalid_list_of_variants_is_refused(base, plan_keys, swept, message):
    with pytest.raises(SettingsError, match=message):
        rows(base, plan_keys=plan_keys, **swept)


def test_a_list_on_the_command_line_replaces_the_levels_of_the_file(base):
    planned_rows = rows(
        base, plan_keys={**FILE, "design": "one_at_a_time"}, cell=["gru", "lstm", "simple_rnn"], seed=[7]
    )

    assert [row.label for row in planned_rows] == ["reference", "cell=lstm", "cell=simple_rnn", "masking=false"]
    assert planned_rows[0].values == {"cell": "gru", "masking": True} and planned_rows[0].seed == 7


def test_a_toggle_with_a_single_value_on_the_command_line_is_no_longer_varied(base):
    planned_rows = rows(base, plan_keys=FILE, fixed={"cell": "cell=gru", "seed": "seed=0"})

    assert [row.label for row in planned_rows] == ["reference", "masking=false"]


def test_the_reference_may_differ_from_the_first_level(base):
    planned_rows = rows(base, plan_keys={**FILE, "reference": {"masking": False}})

    assert [row.label for row in planned_rows[:3]] == ["reference", "cell=gru", "masking=true"]
    assert planned_rows[0].trial.settings.masking is False


def test_a_reference_may_come_with_the_list_on_the_command_line(base):
    planned_rows = rows(base, plan_keys={"reference": {"cell": "gru"}}, cell=["lstm", "gru"])

    assert [(row.label, row.is_reference) for row in planned_rows] == [("cell=gru", True), ("cell=lstm", False)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"reference": {"masking": 3}},
            r"plan.reference: masking=3 is not among plan.levels \(masking=true,false\); add it there",
        ),
        ({"reference": {"depth": 3}}, r"plan.reference: depth=3 is not among plan.levels \(no levels\)"),
        ({"levels": {"sell": ["lstm", "gru"]}}, "unknown key 'sell'; did you mean cell"),
        ({"reference": {"cell": "simple_rnn"}}, r"cell=simple_rnn is not among plan.levels \(cell=lstm,gru\)"),
        ({"levels": {"seed": [1, 2]}}, "plan.levels: seed is not a toggle; use plan.seeds"),
        ({"levels": {"study": ["a", "b"]}}, "plan.levels: study is not a toggle; it has one value for all trials"),
        (
            {"levels": {"cell": ["lstm"]}},
            r"plan.design=leave_one_out: cell has 1 values, \['lstm'\]; this design needs two",
        ),
        ({"levels": {"cell": ["lstm", "foo"]}}, "cell: got 'foo'; allowed: one of simple_rnn, gru, lstm"),
        ({"levels": {"cell": []}}, "plan.levels: cell has no values"),
    ],
)
def test_an_invalid_study_file_is_refused(base, keys, message):
    with pytest.raises(SettingsError, match=message):
        rows(base, plan_keys={**FILE, **keys})


@pytest.mark.parametrize(
    ("design", "labels"),
    [
        ("cumulative", ["reference", "+ cell=gru", "+ masking=false"]),
        ("add_one_in", ["reference", "cell=gru", "masking=false"]),
        (
            "grid",
            ["cell=lstm masking=true", "cell=lstm masking=false", "cell=gru masking=true", "cell=gru masking=false"],
        ),
        (
            "fractional",
            ["cell=lstm masking=true", "cell=lstm masking=false", "cell=gru masking=true", "cell=gru masking=false"],
        ),
    ],
)
def test_labels_have_the_changes_against_the_reference(base, design, labels):
    assert [row.label for row in rows(base, plan_keys={**FILE, "design": design, "seeds": [0]})] == labels


RATES = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "integer": False}}


def test_a_random_study_draws_values_between_bounds_the_same_for_every_seed(base):
    keys = {"design": "random", "intervals": RATES, "sample": 6}
    planned, _ = study(base, plan_keys=keys, cell=["lstm", "gru"], seed=[0, 1])
    planned_rows = planned.rows(next(planned.rounds()))
    record = plan_record.of_plan(planned, planned_rows, command="x", time="now")

    assert planned.reference == {"cell": "lstm", "learning_rate": 1e-3} and planned_rows[0].is_reference
    by_seed = [[row.values for row in planned_rows if row.seed == seed] for seed in (0, 1)]
    assert by_seed[0] == by_seed[1] and len(by_seed[0]) == 6
    rates = [values["learning_rate"] for values in by_seed[0]]
    assert len(set(rates)) == 6 and all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert [row.trial.settings.learning_rate for row in planned_rows[:6]] == rates
    assert record["intervals"] == RATES and record["levels"]["learning_rate"] == rates
    again, _ = study(base, plan_keys={**keys, "sample": 9}, cell=["lstm", "gru"], seed=[0, 1])
    assert next(again.rounds())[:6] == by_seed[0]


def test_an_interval_of_the_command_line_replaces_levels_and_a_single_value_replaces_an_interval(base):
    def compose(overrides):
        return edited(base, {"plan.design": "random", "plan.sample": 3, "plan.levels": {"learning_rate": [0.1, 0.2]}})

    given = planning.study({}, {}, compose=compose, intervals={"learning_rate": Interval(low=0.5, high=1.5)})
    assert given.reference == {"learning_rate": 1.0} and len(given.levels["learning_rate"]) == 3
    fixed, _ = study(base, fixed={"learning_rate": "learning_rate=0.5"}, plan_keys={"intervals": RATES})
    assert not fixed.levels and not fixed.plan.intervals


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"intervals": RATES}, "plan.design=grid: learning_rate has an interval, from which only plan.design=random"),
        (
            {"design": "random", "intervals": {"dropout": {"low": 0.0, "high": 0.5, "log": True}}},
            "plan.intervals: dropout has an interval from 0 to 0.5 with log; the bounds of a logarithm must be above 0",
        ),
        (
            {"design": "random", "intervals": {"dropout": {"low": 0}}},
            "plan.intervals.*allowed: {toggle: {low, high, lo",
        ),
        (
            {"design": "random", "intervals": RATES, "levels": {"learning_rate": [0.1]}},
            "plan.intervals: learning_rate also has levels; remove one of them",
        ),
        (
            {"design": "random", "intervals": RATES, "reference": {"learning_rate": 1.0}},
            "plan.reference: learning_rate=1.0; allowed: a number from 0.0001 to 0.01, its interval",
        ),
        ({"design": "random", "intervals": {"lerning_rate": RATES["learning_rate"]}}, "unknown key 'lerning_rate'"),
        ({"design": "random", "intervals": {"units": {"low": 2.0, "high": 9.0}}}, "units: got .*; allowed: an integer"),
        ({"exclude": [{"cell": "gru", "masking": False}, {"cell": "gru"}, {"masking": False}]}, "leaves nothing but"),
        ({"exclude": [{"cell": "lstm"}]}, "plan.exclude leaves out the reference .cell=lstm.; set another plan.ref"),
        ({"exclude": [{"depth": 1}]}, "plan.exclude: depth is not varied; varied: cell, masking"),
        ({"exclude": [{"cell": "rnn"}]}, "plan.exclude: cell=rnn is not among its levels .lstm,gru"),
        ({"exclude": [{}]}, "plan.exclude: got {}; name values"),
        (
            {"linked": [["cell", "depth"]], "levels": {**CELL_AND_MASKING, "depth": [1, 2, 3]}},
            "plan.linked: the lists of linked toggles have equal lengths; got cell 2, depth 3",
        ),
        ({"linked": [["cell", "depth"]]}, "plan.linked: depth has no levels; add plan.levels.depth"),
        ({"linked": [["cell"]]}, r"plan.linked: got \[cell\]; a group has two different toggles or more"),
        ({"linked": [["cell", "masking"], ["masking", "cell"]]}, "plan.linked: cell is in two groups"),
        (
            {"linked": [["cell", "masking"]], "reference": {"cell": "gru", "masking": True}},
            "plan.reference: cell=gru masking=true are not linked with each other",
        ),
        ({"within": ["depth"]}, r"plan.within=\[depth\]: depth is not varied; varied: cell, masking"),
        ({"within": ["masking", "cell"]}, r"plan.within=\[masking,cell\] leaves no toggle to compare"),
        ({"within": ["cell"], "design": "cumulative"}, "plan.design=cumulative compares with the step before; remove"),
        ({"within": ["cell"], "max_seeds": 8}, "with plan.max_seeds=8 every variant is compared with one reference"),
        ({"within": ["cell"], "design": "halving"}, "with plan.design=halving every variant is compared with one ref"),
    ],
)
def test_intervals_exclusions_links_and_strata_that_do_not_fit_are_refused(base, keys, message):
    with pytest.raises(SettingsError, match=message):
        rows(base, plan_keys={"levels": CELL_AND_MASKING, **keys})


def test_within_values_a_variant_is_compared_with_that_of_the_references_other_values(base):
    variants = [{"depth": 2}, {"cell": "gru"}, {"cell": "gru", "depth": 2}, {"cell": "simple_rnn", "units": 8}]
    planned, _ = study(base, plan_keys={"design": "listed", "variants": variants, "within": ["cell"]})
    planned_rows = planned.rows(next(planned.rounds()))

    assert looks.baselines(planned, planned_rows) == {"depth=2": "reference", "depth=2 cell=gru": "cell=gru"}
    everything, _ = study(base, plan_keys={"design": "listed", "variants": variants})
    assert set(looks.baselines(everything, everything.rows(next(everything.rounds()))).values()) == {"reference"}


def test_linked_levels_go_together_and_have_one_factor(base):
    levels = {"cell": ["lstm", "gru", "simple_rnn"], "masking": [True, False], "learning_rate": [1e-3, 1e-3, 1e-4]}
    keys = {"levels": levels, "linked": [["cell", "learning_rate"]], "exclude": [{"cell": "gru", "masking": False}]}
    planned, _ = study(base, plan_keys={**keys, "reference": {"cell": "simple_rnn"}})
    planned_rows = planned.rows(next(planned.rounds()))

    assert planned.reference == {"cell": "simple_rnn", "learning_rate": 1e-4, "masking": True}
    assert [tuple(row.values.values()) for row in planned_rows] == [
        ("simple_rnn", 1e-4, True), ("simple_rnn", 1e-4, False), ("lstm", 1e-3, True), ("lstm", 1e-3, False),
        ("gru", 1e-3, True),
    ]  # fmt: skip
    assert list(planned.factors) == ["cell", "masking"]
    stepwise, _ = study(base, plan_keys={**keys, "exclude": [], "design": "cumulative", "levels": PAIRS})
    assert [row.label for row in stepwise.rows(next(stepwise.rounds()))] == [
        "reference", "+ cell=gru learning_rate=0.01", "+ masking=false",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "k=true"),
        (None, "k=null"),
        (0.001, "k=0.001"),
        ("lstm", "k=lstm"),
        ("true", "k='true'"),
        ("1e5", "k='1e5'"),
        ("a b.csv", "k='a b.csv'"),
        ("it's", r"k='it\'s'"),
        ("a\\b.csv", r"k='a\b.csv'"),
        ("end\\", r"k='end\\'"),
        ("q\\'uote", r"k='q\\\'uote'"),
    ],
)
def test_hydra_reads_written_values_back(value, text):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert plan.override("k", value) == text
    assert OverridesParser.create().parse_override(text).value() == value


def test_a_plan_is_recorded_as_plain_values(base):
    planned, _ = study(base, padding=["dataset"], bucketing=[False, True])
    planned_rows = planned.rows(next(planned.rounds()))

    record = plan_record.of_plan(planned, planned_rows, command="x", time="now")

    assert [row["role"] for row in record["rows"]] == ["reference", "variant"]
    assert sorted(row["position"] for row in record["rows"]) == [1, 2]
    assert record["rows"][1]["values"] == {"padding": "dataset", "bucketing": True}
    assert [len(row["normalised"]) for row in record["rows"]] == [0, 1]
    assert record["reference"] == {"padding": "dataset", "bucketing": False}


def test_a_plan_with_added_rows_continues_the_old_plan(base):
    planned, _ = study(base, cell=["lstm", "gru"])
    planned_rows = planned.rows(next(planned.rounds()))
    whole, part = (
        plan_record.of_plan(planned, some, command="x", time="now") for some in (planned_rows, planned_rows[:1])
    )
    other, _ = study(base, cell=["lstm", "simple_rnn"])

    assert plan_record.is_continued_by(part, whole) and plan_record.is_continued_by(whole, part)
    assert not plan_record.is_continued_by(
        whole, plan_record.of_plan(other, other.rows(next(other.rounds())), command="x", time="now")
    )


def test_a_plan_with_an_old_name_of_a_toggle_is_continued(base):
    planned, _ = study(base, execution=["graph", "xla"])
    record = plan_record.of_plan(planned, planned.rows(next(planned.rounds())), command="x", time="now")
    old = json.loads(
        json.dumps(record).replace("execution=graph", "jit_compile=false").replace('"execution"', '"jit_compile"')
    )
    for values in (old["reference"], *(row["values"] for row in old["rows"])):
        values["jit_compile"] = values["jit_compile"] == "xla"
    old["levels"]["jit_compile"] = [False, True]

    assert plan_record.is_continued_by(old, record)
    old["reference"]["jit_compile"] = True
    assert not plan_record.is_continued_by(old, record)


def test_a_fraction_whose_old_plan_listed_fewer_aliases_is_continued(base):
    swept = {"cell": ["lstm", "gru"], "masking": [True, False], "units": [4, 8], "embedding_dim": [4, 8]}
    planned, _ = study(base, plan_keys={"design": "fractional"}, **swept)
    record = plan_record.of_plan(planned, planned.rows(next(planned.rounds())), command="x", time="now")

    assert ["embedding_dim", "cell:masking:units"] in record["aliases"]
    assert plan_record.is_continued_by({**record, "aliases": [["cell:masking", "units:embedding_dim"]]}, record)


def test_the_plan_records_all_aliases_of_a_large_fraction_and_prints_some(base):
    from src.study import table

    numbers = {
        "units": [4, 8],
        "embedding_dim": [4, 8],
        "learning_rate": [0.1, 0.2],
        "dropout": [0.0, 0.1],
        "vocab_size": [50, 60],
    }
    numbers |= {
        "batch_size": [4, 8],
        "clip_norm": [1.0, 2.0],
        "depth": [1, 2],
        "epochs": [1, 2],
        "truncation": ["pre", "post"],
    }
    planned, _ = study(base, plan_keys={"design": "fractional"}, cell=["lstm", "gru"], masking=[True, False], **numbers)
    planned_rows = planned.rows(next(planned.rounds()))
    shown = [
        line
        for line in table.plan_text(planned, planned_rows, {}, todo=(), seconds=None, workers=1).splitlines()
        if line.startswith("  aliased")
    ]

    assert len(planned.aliases()) > len(shown) == table.MAX_LINES and max(map(len, shown)) < 250
    assert (
        sum(map(len, planned.aliases())) > 200
        and plan_record.of_plan(planned, planned_rows, command="x", time="now")["aliases"] == planned.aliases()
    )


def test_the_limit_of_a_plan_counts_every_seed_of_every_variant(base):
    planned, _ = study(base, cell=["lstm", "gru"], units=[4, 8], seed=list(range(25_001)))

    with pytest.raises(
        SettingsError, match=r"4 variants with 25,001 seeds make 100,004 trials; allowed: up to 100,000\. Use fewer"
    ):
        planned.rows(next(planned.rounds()))


def test_a_thousand_cells_compose_once_and_read_the_data_once(base, monkeypatch):
    from src.data import encoded

    read = []
    monkeypatch.setattr(
        encoded, "load", lambda options, load=encoded.load, **more: read.append(options) or load(options, **more)
    )
    planned, composed = study(base, units=list(range(1, 33)), embedding_dim=list(range(1, 33)))

    assert len(planned.rows(next(planned.rounds()))) == 1_024
    assert len(composed) == len(read) == 1


def test_a_plan_with_reasons_in_the_words_of_another_version_is_continued(base):
    planned, _ = study(base, padding=["dataset", "batch"], encoding=["embedding", "onehot"], vocab_size=[50, 9_000_000])
    record = plan_record.of_plan(planned, planned.rows(next(planned.rounds())), command="x", time="now")
    assert any(row["normalised"] for row in record["rows"]) and any(row["dropped"] for row in record["rows"])

    worded = [{**row, "normalised": ["else"], "dropped": row["dropped"] and "else"} for row in record["rows"]]
    runs = [{**row, "dropped": None} for row in record["rows"]]
    assert plan_record.is_continued_by({**record, "rows": worded}, record)
    assert not plan_record.is_continued_by({**record, "rows": runs}, record)


PERPLEXITY = Metric("perplexity", "lower", digits=1)
METRICS_OF = {
    "aimed": (replace(PERPLEXITY, target=100.0), LOSS),
    "plain": (PERPLEXITY,),
    "mute": (Metric("share", None),),
    "tested": (PERPLEXITY, Metric("mixture", "lower", test_only=True)),
}


@pytest.fixture
def measuring(monkeypatch):
    """Gives the task of a study other metrics."""
    of_task = registry.task

    def given(metrics):
        def task(name):
            planned_rows = copy.copy(of_task(name))
            planned_rows.metrics = metrics
            return planned_rows

        monkeypatch.setattr(registry, "task", task)

    return given


def recorded(base, **keys):
    planned, _ = study(base, plan_keys=keys, cell=["lstm", "gru"])
    return plan_record.of_plan(planned, planned.rows(next(planned.rounds())), command="x", time="now")


def test_a_plan_records_the_meaning_of_its_metrics_and_the_compared_metric(base, measuring):
    assert (recorded(base)["metric"], recorded(base)["threshold"]) == ("test/accuracy", 0.8)
    assert of_plan(recorded(base)) == registry.task(base.task).metrics

    measuring(METRICS_OF["aimed"])
    record = recorded(base, threshold=120.5)

    assert (record["metric"], record["threshold"], of_plan(record)) == ("test/perplexity", 120.5, METRICS_OF["aimed"])
    assert recorded(base)["threshold"] == 100.0
    measuring(METRICS_OF["plain"])
    assert recorded(base)["threshold"] is None


def test_a_plan_of_a_version_that_recorded_no_metrics_is_continued(base):
    new = recorded(base)
    for gone in (["metrics"], ["metrics", "metric"], ["metrics", "threshold"]):
        old = {key: value for key, value in new.items() if key not in gone}
        assert plan_record.is_continued_by(old, new) and plan_record.is_continued_by(new, old)
    assert plan_record.is_continued_by({**new, "metric": None, "threshold": None}, new)
    assert not plan_record.is_continued_by({**new, "metric": "test/loss"}, new)


@pytest.mark.parametrize(
    "name", ["test/loss", "val/perplexity", "train/perplexity", "best/val_perplexity", "steps_to", "time/epoch_s"]
)
def test_variants_are_compared_by_any_metric_that_their_trials_have(base, measuring, name):
    measuring(METRICS_OF["aimed"])

    assert recorded(base, metric=name)["metric"] == name


def test_variants_may_be_compared_by_a_metric_that_only_the_test_has(base, measuring):
    measuring(METRICS_OF["tested"])

    assert recorded(base, metric="test/mixture")["metric"] == "test/mixture"


@pytest.mark.parametrize(
    ("metrics", "keys", "message"),
    [
        (
            "plain",
            {"metric": "test/accuracy"},
            r"plan.metric: got test/accuracy; allowed: test/perplexity, val/perplexity, .*time/epoch_s",
        ),
        (
            "tested",
            {"metric": "val/mixture"},
            r"plan.metric: got val/mixture; allowed: test/perplexity, test/mixture, val/p",
        ),
        ("plain", {"metric": "perplexity"}, r"plan.metric: got perplexity; .* Did you mean test/perplexity"),
        (
            "plain",
            {"metric": "steps_to"},
            r"plan.metric=steps_to needs a validation value of perplexity .* add plan.threshold=VALUE",
        ),
        (
            "mute",
            {"metric": "steps_to"},
            r"plan.metric=steps_to: share has no direction, .* set plan.metric=test/share",
        ),
        ("mute", {"threshold": 0.5}, r"plan.threshold=0.5: share has no direction, .* remove it"),
        (
            "mute",
            {"design": "path"},
            r"plan.design=path: share has no direction, so no variant is the best; set plan.design=one_at_a_time",
        ),
    ],
)
def test_an_invalid_metric_or_threshold_is_refused(base, measuring, metrics, keys, message):
    measuring(METRICS_OF[metrics])

    with pytest.raises(SettingsError, match=message):
        recorded(base, **keys)


def test_a_toggle_that_a_corpus_does_not_have_drops_the_cells_of_that_corpus(home, table):
    def compose(overrides):
        data = (
            {"name": "movie_reviews", "limit": 20}
            if "data=movie_reviews" in overrides
            else {"name": "table", "path": str(table)}
        )
        return checked({"data": data, "max_length": 20})

    planned = planning.study(
        {}, {"data": ["table", "movie_reviews"], "data.drop_empty": [True, False]}, compose=compose
    )
    planned_rows = planned.rows(next(planned.rounds()))

    assert [row.trial is None for row in planned_rows] == [False, False, True, True]
    assert "unknown key 'data.drop_empty'" in planned_rows[2].dropped


class Fixed(SimpleNamespace):
    """A task that has these metrics, whatever the settings."""

    settings = SimpleNamespace

    def __init__(self, metrics):
        super().__init__(metrics_of=lambda settings: metrics)


def test_a_study_of_several_tasks_has_the_metrics_of_all_tasks_and_the_references_first(base, monkeypatch):
    of_task = {"a": (Metric("x", "lower"), LOSS), "b": (Metric("x", "higher"), Metric("y", "higher"))}
    monkeypatch.setattr(registry, "task", lambda name: Fixed(of_task[name]))

    planned = plan.Study(base, [], {"task": "b"}, {"task": ["a", "b"]}, [0], lambda _: base)

    assert planned.metrics == (Metric("x", "higher"), Metric("y", "higher"), LOSS)
    assert planned.metrics is planned.metrics  # cached: reports of thousands of rows use them
