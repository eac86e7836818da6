from __future__ import annotations

import io
import itertools
from types import SimpleNamespace

import pytest
from rich.console import Console

from src.config.settings import checked
from src.data.encoded import load
from src.data.options import Table
from src.data.splits import SPLITS
from src.spec.metric import IMPLIED, Metric, meaning
from src.spec.task import Command
from src.study import table as tables
from src.study.planning import study


def test_the_name_of_a_model_is_no_emoji(capsys):
    tables.console().print("model=own:bug: dropped", markup=False)
    assert capsys.readouterr().out == "model=own:bug: dropped\n"


def test_a_cause_is_printed_once_with_its_variants_and_says_what_became_of_them():
    causes = {
        ("reference", 0): ("no_learning", "too few steps: 8"),
        ("reference", 1): ("no_learning", "too few steps: 8"),
        ("cell=gru", 0): ("no_learning", "too few steps: 9"),
        ("reference", 2): ("diverged", "learning rate too high: 9"),
        ("reference", 3): ("ok", "softmax applied twice: 1"),
    }
    rows = [
        SimpleNamespace(label=label, seed=seed, trial=SimpleNamespace(identity=f"{label} {seed}"))
        for label, seed in causes
    ]
    rows += [
        SimpleNamespace(label="healthy", seed=0, trial=SimpleNamespace(identity="healthy")),
        SimpleNamespace(label="dropped", trial=None),
    ]
    known = {
        f"{label} {seed}": SimpleNamespace(tags={"ablation.health": health, "ablation.diagnosis": cause})
        for (label, seed), (health, cause) in causes.items()
    }
    known["healthy"] = SimpleNamespace(tags={})

    assert tables.diagnoses(rows, known).splitlines() == [
        "3 trials learnt nothing; likely cause: too few steps: 8",
        "  reference seed=0, 1",
        "  cell=gru seed=0",
        "1 trial diverged; likely cause: learning rate too high: 9",
        "  reference seed=2",
        "1 trial with a fault: softmax applied twice: 1",
        "  reference seed=3",
    ]
    assert tables.diagnoses(rows[-2:], known) == ""


NOISE = {"task": "integration"}


def plan_text(values):
    asked = study({}, {}, compose=lambda _: checked(values))
    rows = asked.rows(next(asked.rounds()))
    return tables.plan_text(asked, rows, {}, todo=rows, seconds=None, workers=1).splitlines()


def test_a_plan_describes_its_data(home, table):
    lines = plan_text({"data": {"name": "table", "path": str(table)}, "max_length": 10, "vocab_size": 12})

    begin = lines.index(f"  data table {table}: 2 classes, 20 different words in training")
    assert [line.split() for line in lines[begin + 1 :]] == [
        "train validation test".split(),
        "texts 140 20 40".split(),
        "bad 70 10 20".split(),
        "good 70 10 20".split(),
        "duplicates within the split 0 0 0".split(),
        "also in an earlier split 0 0".split(),
        [*"truncated at max_length=10".split(), *shares(table, lambda ids: [len(ids) > 10], vocab_size=12)],
        [
            *"words within vocab_size=12".split(),
            *shares(table, lambda ids: [id < 12 for id in ids[-9:]], vocab_size=12),
        ],
    ]
    assert max(map(len, lines[begin + 1 :])) <= 80


def shares(table, are, *, vocab_size):
    """Returns the share of ids for which `what` is true in each split, with a plain loop over all texts."""
    data = load(Table(path=str(table)))
    found = []
    for name in SPLITS:
        split = data.split(name)
        texts = [split.ids[begin:end].tolist() for begin, end in itertools.pairwise(split.starts.tolist())]
        values = [value for ids in texts for value in are(ids if len(ids) > 10 else ids[1:])]
        found.append(f"{sum(values) / len(values):.1%}")
    return found


def test_every_varied_length_and_vocabulary_has_a_line(home, table):
    levels = {"max_length": [10, 20], "vocab_size": [30, 12], "truncation": ["pre", "remove"]}
    values = {"data": {"name": "table", "path": str(table)}, "plan": {"levels": levels}}

    lines = [line.split("  ")[2] for line in plan_text(values) if "max_length=" in line or "vocab_size=" in line]
    titles = [
        "truncated at max_length=10",
        "longer than max_length=10",
        "truncated at max_length=20",
        "longer than max_length=20",
    ]
    assert lines == [*titles, "words within vocab_size=12", "words within vocab_size=30"]


def test_the_first_line_has_variants_times_seeds_and_the_number_of_finished_trials(home):
    swept = {"cell": ["lstm", "gru"], "drop_remainder": [True, False], "seed": [0, 1, 2]}
    asked = study({}, swept, compose=lambda _: checked({**NOISE, "batch_size": 1}))
    rows = asked.rows(next(asked.rounds()))
    known = {rows[0].trial.identity: SimpleNamespace(status="FINISHED", tags={})}

    first = tables.plan_text(asked, rows, known, todo=rows[1:], seconds=None, workers=1).splitlines()[0]

    assert first == "study adhoc: 4 variants × 3 seeds, of which 2 equal others: 6 trials, 1 already done"
    assert plan_text(NOISE)[0] == "study adhoc: 1 trial"


@pytest.mark.parametrize("is_plan_only", [True, False])
def test_a_shortened_list_names_the_file_with_the_whole_list(home, is_plan_only):
    asked = study(
        {},
        {"units": list(range(1, 30)), "cell": ["lstm", "gru"]},
        compose=lambda _: checked({"plan_only": is_plan_only}),
    )
    rows = [SimpleNamespace(label=str(number), trial=None, is_reference=False, dropped="why") for number in range(25)]

    *_, last = tables.plan_text(asked, rows, {}, todo=[], seconds=None, workers=1).splitlines()

    where = f"listed in {home}/outputs/adhoc/plan.json"
    assert (
        last
        == f"  … and 5 more, {f'{where} once the command runs without plan_only' if is_plan_only else f'all {where}'}"
    )


def test_a_plan_with_generated_data_has_no_description_of_data(home):
    assert not [line for line in plan_text(NOISE) if "data" in line or "class" in line]


ODD = "data.path=rev[v2].csv [/old] \x1b[31m\r\n\u202e"
SPELT = r"data.path=rev[v2].csv [/old] \x1b[31m\r\n\u202e"


ACCURACY = meaning("test/accuracy", IMPLIED)


def printed(what, *, is_terminal=False):
    text = io.StringIO()
    Console(file=text, width=200, force_terminal=is_terminal).print(what, markup=False, highlight=False)
    return text.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_table_shows_names_as_they_are_written(is_terminal):
    rows = [SimpleNamespace(label=ODD, seed=0, is_reference=True, trial=SimpleNamespace(identity="a"))]
    rows += [SimpleNamespace(label=f"{ODD} b", seed=0, is_reference=False, trial=None)]
    ended = SimpleNamespace(status="FINISHED", metrics={"test/accuracy": 0.5}, tags={"ablation.health": "[/x]\x1b"})

    found = printed(tables.outcomes(rows, {"a": ended}, metric=ACCURACY), is_terminal=is_terminal)

    assert f"{SPELT} (reference)" in found and f"{SPELT} b" in found and r"[/x]\x1b" in found


def test_lists_of_trials_show_each_name_on_one_line(tmp_path):
    trial = SimpleNamespace(identity="a", folder=tmp_path)
    row = SimpleNamespace(label=ODD, name=f"{ODD} seed=0", seed=0, trial=trial)
    found = SimpleNamespace(tags={"ablation.diagnosis": "x"})

    for text in (
        tables.failures([row], {"a": "why"}),
        tables.diagnoses([row], {"a": found}),
        tables.unchanged_text({ODD: True}),
        tables.unchanged_text({ODD: False}),
    ):
        assert SPELT in text and "\x1b" not in text


LONG = "implementation=packed_loop padding=batch vocab_size=10000 data.path=a_rather_long_name_of_a_file.csv"


def wide_study(rows=3):
    of = [
        SimpleNamespace(label=f"{LONG} units={n}", seed=0, is_reference=not n, trial=SimpleNamespace(identity=str(n)))
        for n in range(rows)
    ]
    of += [SimpleNamespace(label=row.label, seed=1, is_reference=row.is_reference, trial=row.trial) for row in of]
    metrics = {"test/accuracy": 0.51234, "time/batch_ms_median": 12345.6, "data/padding_fraction": 0.5}
    known = {
        str(n): SimpleNamespace(status="FINISHED", metrics=metrics, tags={"ablation.health": "no_learning"})
        for n in range(rows)
    }
    return of, known


def test_every_metric_has_the_same_title_everywhere():
    headings = {str(column.header) for column in tables.outcomes(*wide_study(), metric=ACCURACY).columns}

    recorded = ("test/accuracy", "time/batch_ms_median", "data/padding_fraction")
    assert headings - {"variant", "n", "range", "health"} == {meaning(name, IMPLIED).title for name in recorded}
    assert set(tables.LESS_IMPORTANT) <= headings


@pytest.mark.parametrize(("width", "columns"), [(160, 7), (80, 5), (60, 4)])
def test_the_table_fits_the_terminal_and_omits_the_least_important_columns(width, columns):
    table = tables.outcomes(*wide_study(), metric=ACCURACY, width=width)
    text = io.StringIO()
    Console(file=text, width=width, force_terminal=True, color_system=None).print(table)

    assert len(table.columns) == columns and [column.header for column in table.columns][:3] == [
        "variant",
        "n",
        "test accuracy",
    ]
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width and "0.5123" in text.getvalue() and "no_learning" in text.getvalue()
    end = lines[0].index("  n  ") if width > 60 else lines[0].index("test accuracy") - 3
    name = "".join("".join(line[:end].split()) for line in lines)  # a long name wraps, and no character is lost
    assert f"{LONG}units=2".replace(" ", "") in name


def step_lines(home, monkeypatch, **tracking):
    settings = checked({**NOISE, "study": "s", "tracking": tracking})
    row = SimpleNamespace(trial=SimpleNamespace(identity="a" * 16, settings=settings))
    return tables.next_steps([row], None).splitlines()


def test_the_next_commands_are_short_and_aligned(home, monkeypatch):
    monkeypatch.chdir(home)

    assert step_lines(home, monkeypatch) == [
        "",
        "Next:",
        "  runs     mlflow ui --workers 1",
        "           then open http://127.0.0.1:5000",
        "  curves   tensorboard --logdir outputs",
        "  report   python -m analysis report s",
    ]


@pytest.mark.parametrize(
    "uri",
    ["postgresql://me:secret@host/db", "postgresql://host/db?user=me&password=secret", "http://me:secret@host:5000"],
)
def test_no_password_is_printed(home, monkeypatch, uri):
    lines = step_lines(home, monkeypatch, uri=uri)

    assert "secret" not in "".join(lines) and "host" in lines[2] and "…" in lines[2]
    assert ("(replace … by the user name and password)" in lines[3]) == uri.startswith("postgresql")


PERPLEXITY = Metric("perplexity", "lower", digits=1)


def test_the_headings_and_digits_are_those_of_the_metric():
    rows = [
        SimpleNamespace(label="defaults", seed=seed, is_reference=True, trial=SimpleNamespace(identity=str(seed)))
        for seed in (0, 1)
    ]
    known = {
        str(seed): SimpleNamespace(
            status="FINISHED", metrics={"test/perplexity": 80.0 + seed}, tags={"ablation.health": "ok"}
        )
        for seed in (0, 1)
    }

    shown = tables.outcomes(rows, known, metric=meaning("test/perplexity", [PERPLEXITY]))

    assert [(column.header, str(next(iter(column.cells)))) for column in shown.columns] == [
        ("variant", "defaults"),
        ("n", "2"),
        ("test perplexity", "80.50"),
        ("range", "80.0–81.0"),
        ("ms per batch", "–"),
        ("health", "ok"),
    ]


def test_metrics_of_the_test_alone_are_said_once_if_all_trials_share_them_and_else_by_variant():
    metrics = (
        PERPLEXITY,
        Metric("floor", "lower", digits=1, title="floor of it", test_only=True),
        Metric("mixture", "lower", digits=2, test_only=True),
    )
    rows = [
        SimpleNamespace(label=label, trial=SimpleNamespace(identity=f"{label}{seed}"))
        for label, seed in itertools.product(("a", "b"), (0, 1))
    ]
    known = {
        row.trial.identity: SimpleNamespace(
            status="FINISHED", metrics={"test/perplexity": 9.0, "test/floor": 7.04, "test/mixture": value}
        )
        for row, value in zip(rows, (5.0, 6.0, 8.0, 9.0), strict=True)
    }
    known["b1"].status = "FAILED"

    assert tables.of_test_only(rows, known, metrics).splitlines() == [
        "also measured in the test: floor of it 7.0",
        "  a: mixture 5.50",
        "  b: mixture 8.00",
    ]
    assert tables.of_test_only(rows[:2], known, metrics) == "also measured in the test: floor of it 7.0, mixture 5.50"
    assert tables.of_test_only(rows, known, [PERPLEXITY]) == tables.of_test_only(rows, {}, metrics) == ""


def test_a_finished_trial_without_the_metric_has_an_empty_cell():
    rows = [SimpleNamespace(label="defaults", seed=0, is_reference=True, trial=SimpleNamespace(identity="a"))]
    known = {"a": SimpleNamespace(status="FINISHED", metrics={}, tags={})}

    assert "–" in printed(tables.outcomes(rows, known, metric=meaning("test/perplexity", [PERPLEXITY])))


def test_the_next_commands_include_those_of_the_task(home, monkeypatch):
    monkeypatch.chdir(home)
    commands = {
        "predict": Command("a:b", "", example="1 2", module="src.predict"),
        "draw": Command("a:c", "", example="--size 3"),
        "list": Command("a:d", ""),
    }
    trial = SimpleNamespace(identity="cafe", settings=checked({"study": "s"}), task=SimpleNamespace(commands=commands))

    lines = tables.next_steps([SimpleNamespace(trial=trial)], "cafe").splitlines()

    assert lines[-2:] == [
        "  predict  python -m src.predict cafe 1 2",
        "  draw     python -m src.use cafe draw --size 3",
    ]
    assert tables.next_steps([SimpleNamespace(trial=trial)], None).splitlines() == lines[:-2]


def test_the_next_commands_are_aligned_whatever_the_length_of_a_name(home):
    commands = {"generate": Command("a:b", "", example="x")}
    trial = SimpleNamespace(identity="cafe", settings=checked({"study": "s"}), task=SimpleNamespace(commands=commands))

    lines = tables.next_steps([SimpleNamespace(trial=trial)], "cafe").splitlines()

    assert lines[-2:] == [
        "  report    python -m analysis report s",
        "  generate  python -m src.use cafe generate x",
    ]


@pytest.mark.parametrize(
    ("plan", "name", "title"),
    [
        ({}, "test/accuracy", "test accuracy"),
        ({"metric": "test/loss"}, "test/loss", "test loss"),
        ({"metric": "steps_to", "threshold": 0.7}, "steps_to/val_accuracy_0.70", "steps to 0.70 validation accuracy"),
    ],
)
def test_the_table_shows_the_metric_by_which_the_study_compares(home, plan, name, title):
    compared = study({}, {}, compose=lambda _: checked({"task": "integration", "plan": plan})).compared

    assert (compared.name, compared.title) == (name, title)
