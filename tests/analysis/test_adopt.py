"""Studies made of runs that somebody else recorded."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import time

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from analysis import adopted, adoption, findings, load, sources
from analysis.__main__ import app
from analysis.store import StoreError

WANDB = ["Name", "State", "Created", "lr", "model", "seed", "gpu", "width", "test_acc", "val_acc", "_runtime"]


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATION_HOME", str(tmp_path / "home"))


def exported(**changes):
    """Returns rows as Weights & Biases exports them: 2 × 2 variants, 5 seeds, in text."""
    rng = np.random.default_rng(0)
    rows = []
    for model, lr, seed in itertools.product(("mlp", "cnn"), ("0.1", "0.01"), range(5)):
        accuracy = 0.9 + 0.03 * (model == "cnn") + rng.normal(0, 0.01)
        width, gpu, time = {"mlp": 64, "cnn": 32}[model], "AT"[seed % 2], 60 * (1 + (model == "cnn"))
        cells = [f"run-{len(rows)}", "finished", f"2024-01-0{seed + 1}T10:00:00Z", lr, model, seed, gpu, width]
        rows.append(dict(zip(WANDB, map(str, [*cells, accuracy, accuracy - 0.01, time]), strict=True)))
    for row, new in changes.get("rows", {}).items():
        rows[row] |= new
    return rows


def write(path, rows, *, sep=","):
    lines = [sep.join(rows[0]), *(sep.join(row.values()) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def options(**changes):
    asked = {
        "toggles": ("lr", "model"), "seed": "seed", "metrics": (adoption.AskedMetric("test_acc", "higher"),),
        "name": "mine", "reference": {},
    }  # fmt: skip
    return adoption.Options(**{**asked, **changes})


def adopted_from(path, **changes):
    """Returns the study and the lines that say what was understood."""
    _, lines = adoption.adopt(sources.read(str(path)), options(**changes), command="adopt")
    return load.study("mine", adopted.AdoptedStore()), lines


def test_an_export_becomes_a_study_with_the_effects_of_a_paired_t_test(tmp_path):
    rows = exported()

    study, lines = adopted_from(write(tmp_path / "w.csv", rows), time="_runtime")

    found = findings.find(study).compared.set_index("label")
    values = {
        (row["lr"], row["model"]): [
            float(each["test_acc"]) for each in rows if each["lr"] == row["lr"] and each["model"] == row["model"]
        ]
        for row in rows
    }
    reference = values["0.1", "mlp"]
    assert found.index[found["is_reference"]].tolist() == ["lr=0.1 model=mlp"]
    for (lr, model), own in values.items():
        if (lr, model) == ("0.1", "mlp"):
            continue
        row = found.loc[f"lr={lr} model={model}"]
        test = stats.ttest_rel(own, reference)
        low, high = test.confidence_interval()
        assert row["change"] == pytest.approx(np.subtract(own, reference).mean())
        assert (row["low"], row["high"], row["p"]) == pytest.approx((low, high, test.pvalue))
    assert found.loc["lr=0.1 model=cnn", "time_ratio"] == pytest.approx(2)
    text = "\n".join(lines)
    assert "20 finished runs: 4 variants with 5 seeds each; design: a grid" in text
    assert "confounder: width differs between variants" in text and "64 with lr=0.1 model=mlp" in text
    assert "gpu has 2 values, also within a variant" in text and "Created" not in text
    assert any("confounder: width" in note for note in study.notes)


def test_the_statistics_of_a_published_table_are_reproduced(tmp_path):
    """Student (1908), hours of sleep: R's documentation of `sleep` has t = -4.0621, p = 0.002833 and this interval."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    lines = ["drug,patient,extra"]
    lines += [f"{drug},{i + 1},{x}" for drug, hours in (("1", first), ("2", second)) for i, x in enumerate(hours)]
    path = tmp_path / "sleep.csv"
    path.write_text("\n".join(lines), encoding="utf-8")

    metrics = (adoption.AskedMetric("extra", "higher"),)
    study, _ = adopted_from(path, toggles=("drug",), seed="patient", metrics=metrics)

    row = findings.find(study).compared.set_index("label").loc["drug=2"]
    assert row["change"] == pytest.approx(1.58) and row["p"] == pytest.approx(0.002833, abs=1e-6)
    assert (row["low"], row["high"]) == pytest.approx((0.7001142, 2.4598858))
    assert row["n"] == 10


def table_of(variants, names="abc"):
    return [
        dict(zip([*names, "seed", "test_acc"], [*map(str, values), str(seed), f"0.{seed + 1}"], strict=True))
        for values in variants
        for seed in range(2)
    ]


ON = (True, True, True)


@pytest.mark.parametrize(
    ("variants", "design", "reference"),
    [
        ([*itertools.product((1, 2), (1,), (3, 4))], "grid", (1, 1, 3)),
        ([(2, 1, 1), (1, 2, 1), (1, 1, 1), (1, 1, 5)], "one_at_a_time", (1, 1, 1)),
        ([(False, True, True), (True, False, True), ON, (True, True, False)], "leave_one_out", ON),
        ([(False,) * 3, (True, False, False), (False, True, False), (False, False, True)], "add_one_in", (False,) * 3),
        ([(1, 1, 1), (2, 2, 1), (2, 3, 3), (1, 1, 4)], "listed", (1, 1, 1)),
    ],
)
def test_the_design_and_its_reference_are_found(tmp_path, variants, design, reference):
    study, _ = adopted_from(write(tmp_path / "t.csv", table_of(variants)), toggles=("a", "b", "c"))

    assert study.plan["design"] == design
    assert tuple(study.plan["reference"].values()) == reference
    compared = findings.find(study).compared
    assert len(compared) == len(variants) and set(compared["n"]) == {2}


def test_another_reference_can_be_named(tmp_path):
    path = write(tmp_path / "t.csv", table_of([*itertools.product((1, 2), (1,), (3, 4))]))

    study, _ = adopted_from(path, toggles=("a", "b", "c"), reference={"a": 2, "c": 4})

    assert study.plan["reference"] == {"a": 2, "b": 1, "c": 4} and study.plan["levels"]["a"] == [2, 1]
    with pytest.raises(StoreError, match=r"--reference: no finished run has a=3"):
        adopted_from(path, toggles=("a", "b", "c"), reference={"a": 3})


def test_what_is_missing_failed_or_unpaired_is_said_and_not_filled_in(tmp_path):
    rows = exported(rows={3: {"State": "crashed"}, 7: {"test_acc": "nan"}, 12: {"test_acc": ""}})
    del rows[19]

    study, lines = adopted_from(write(tmp_path / "w.csv", rows))

    text = "\n".join(lines)
    assert "1 run failed (State)" in text and "no finite test_acc in lines 9 and 14: counted as failed" in text
    assert "lr=0.01 model=cnn: 3 pairs with the reference; unpaired seeds: 3, 4" in text
    assert study.rows["status"].value_counts().to_dict() == {"FINISHED": 16, "FAILED": 3, "not run": 1}
    found = findings.find(study).compared.set_index("label")
    assert found.loc["lr=0.01 model=cnn", "n"] == 3 and found.loc["lr=0.1 model=cnn", "diverged"] == 1


def test_the_latest_of_two_runs_counts_if_it_was_asked_for(tmp_path):
    again = {**exported()[0], "test_acc": "0.5", "Created": "2024-02-01T10:00:00Z"}
    path = write(tmp_path / "w.csv", [again, *exported()])

    with pytest.raises(StoreError, match=r"lr=0\.1 model=mlp with seed 0 finished 2 times \(lines 2 and 3\); --dup"):
        adopted_from(path)
    study, lines = adopted_from(path, duplicates="latest")

    first = study.rows.set_index(["label", "seed"])["test/acc"]
    assert first["lr=0.1 model=mlp", 0] == 0.5 and "1 run left out" in "\n".join(lines)


def test_repetitions_without_seeds_are_numbered_and_the_study_says_so(tmp_path):
    rows = [{key: each for key, each in row.items() if key != "seed"} for row in exported()]

    study, lines = adopted_from(write(tmp_path / "w.csv", rows), seed=adoption.ORDER)

    assert sorted(set(study.rows["seed"])) == [0, 1, 2, 3, 4] and len(study.finished) == 20
    assert "seeds are the order of a variant's runs" in "\n".join(lines)


def test_seeds_that_are_texts_are_numbered(tmp_path):
    rows = [{**row, "seed": f"fold-{row['seed']}"} for row in exported()]

    study, lines = adopted_from(write(tmp_path / "w.csv", rows))

    assert sorted(set(study.rows["seed"])) == [0, 1, 2, 3, 4] and "fold-0 is 0, fold-1 is 1" in "\n".join(lines)


def test_equal_numbers_are_one_setting_and_a_mixed_column_has_texts(tmp_path):
    rows = exported(rows={0: {"lr": "1e-1"}, 1: {"lr": "0.10"}})
    study, _ = adopted_from(write(tmp_path / "w.csv", rows))
    assert study.plan["levels"]["lr"] == [0.1, 0.01]

    mixed, lines = adopted_from(write(tmp_path / "w.csv", [{**r, "lr": r["lr"].replace("0.01", "auto")} for r in rows]))
    assert mixed.plan["levels"]["lr"] == ["0.1", "1e-1", "0.10", "auto"]
    assert "lr has numbers and texts ('auto')" in "\n".join(lines)


def test_commas_are_decimal_points_if_it_was_asked_for(tmp_path):
    rows = [{**row, "test_acc": row["test_acc"].replace(".", ",")} for row in exported()]
    path = write(tmp_path / "w.csv", rows, sep=";")

    with pytest.raises(
        StoreError, match=r"test_acc is no number in lines 2, 3, 4 and 17 more: '0,9.* --decimal , reads"
    ):
        adopted_from(path)
    study, _ = adopted_from(path, decimal=",")

    assert study.rows["test/acc"].iloc[0] == pytest.approx(float(exported()[0]["test_acc"]))


def test_other_files_give_the_same_study(tmp_path):
    rows = exported()
    expected, _ = adopted_from(write(tmp_path / "w.csv", rows))
    typed = [
        {**row, "test_acc": float(row["test_acc"]), "config": {"depth": 2}, "lr": float(row["lr"])} for row in rows
    ]
    (tmp_path / "w.jsonl").write_text("\n".join(map(json.dumps, typed)), encoding="utf-8")
    pd.DataFrame(rows).assign(lr=[float(row["lr"]) for row in rows]).to_parquet(tmp_path / "w.parquet")

    for name in ("w.jsonl", "w.parquet"):
        study, _ = adopted_from(tmp_path / name)
        assert study.plan["levels"] == expected.plan["levels"]
        assert study.rows["test/acc"].tolist() == pytest.approx(expected.rows["test/acc"].tolist())
    assert "config.depth" in sources.read(str(tmp_path / "w.jsonl")).frame


@pytest.fixture
def recorded(tmp_path):
    """An MLflow experiment of another program: a parent run with children, one of which failed, and a deleted run."""
    uri = f"sqlite:///{tmp_path / 'theirs.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("theirs", artifact_location=str(tmp_path / "files"))
    parent = client.create_run(experiment, run_name="sweep")
    client.set_terminated(parent.info.run_id)
    for lr, seed in itertools.product((0.1, 0.01), range(3)):
        run = client.create_run(experiment, tags={"mlflow.parentRunId": parent.info.run_id}).info.run_id
        for key, each in {"lr": lr, "random_state": seed, "depth": 2, "features": 8 if lr == 0.1 else 4}.items():
            client.log_param(run, key, each)
        client.log_metric(run, "test_score", lr + seed / 10)
        client.set_terminated(run, "FAILED" if (lr, seed) == (0.01, 2) else "FINISHED")
    gone = client.create_run(experiment)
    client.log_param(gone.info.run_id, "lr", 5)
    client.delete_run(gone.info.run_id)
    return uri


def test_an_mlflow_experiment_is_adopted_and_its_store_stays_as_it_was(tmp_path, recorded):
    before = hashlib.sha256((tmp_path / "theirs.db").read_bytes()).hexdigest()
    (tmp_path / "theirs.db").chmod(0o444)
    asked = options(toggles=("lr",), seed="random_state", metrics=(adoption.AskedMetric("test_score", "higher"),))

    _, lines = adoption.adopt(sources.read("theirs", uri=recorded), asked, command="adopt")

    study = load.study("mine", adopted.AdoptedStore())
    assert hashlib.sha256((tmp_path / "theirs.db").read_bytes()).hexdigest() == before
    text = "\n".join(lines)
    assert "1 parent run of other runs left out" in text and "1 run failed (status)" in text
    assert "confounder: features differs" in text and "depth" not in text
    row = findings.find(study).compared.set_index("label").loc["lr=0.01"]
    assert row["change"] == pytest.approx(-0.09) and row["n"] == 2


def test_a_folder_mlruns_of_an_earlier_mlflow_is_adopted(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # today's MLflow writes such a folder only if it is told to
    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.create_experiment("old")
    for lr, seed in itertools.product((0.1, 0.01), range(3)):
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "lr", lr)
        client.log_param(run, "seed", seed)
        client.log_metric(run, "test_acc", 0.5 + lr + seed / 100)
        client.set_terminated(run)

    asked = options(toggles=("lr",), reference={"lr": 0.01})
    adoption.adopt(sources.read("old", uri=str(tmp_path / "mlruns")), asked, command="adopt")

    row = findings.find(load.study("mine", adopted.AdoptedStore())).compared.set_index("label").loc["lr=0.1"]
    assert row["n"] == 3 and row["change"] == pytest.approx(0.09)


def test_an_experiment_of_mlflows_autologging_is_adopted(tmp_path):
    """Autologging records every parameter of the estimator, and scores by names of its own."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    rng, uri = np.random.default_rng(0), f"sqlite:///{tmp_path / 'theirs.db'}"
    x = rng.normal(size=(90, 3))
    y = (x[:, 0] + rng.normal(0, 0.8, 90) > 0).astype(int)
    scores = {}
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.create_experiment("auto", artifact_location=str(tmp_path / "files"))
        mlflow.set_experiment("auto")
        mlflow.sklearn.autolog(log_models=False, log_datasets=False, log_input_examples=False, silent=True)
        for rate, seed in itertools.product(("constant", "optimal"), range(3)):
            with mlflow.start_run():
                own = {"learning_rate": rate, "eta0": 0.01, "random_state": seed}
                model = linear_model.SGDClassifier(max_iter=2, tol=None, **own).fit(x[:60], y[:60])
                x_test, y_test = x[60:], y[60:]
                scores[rate, seed] = model.score(x_test, y_test)
    finally:
        mlflow.sklearn.autolog(disable=True)
        mlflow.set_tracking_uri(None)
    metric = adoption.AskedMetric("SGDClassifier_score_x_test", "higher")
    asked = options(toggles=("learning_rate",), seed="random_state", metrics=(metric,))

    _, lines = adoption.adopt(sources.read("auto", uri=uri), asked, command="adopt")

    study = load.study("mine", adopted.AdoptedStore())
    assert study.rows.set_index(["learning_rate", "seed"])["test/SGDClassifier_score_x_test"].to_dict() == scores
    found = findings.find(study).compared.set_index("label").loc["learning_rate=optimal"]
    differences = [scores["optimal", seed] - scores["constant", seed] for seed in range(3)]
    assert found["n"] == 3 and found["change"] == pytest.approx(np.mean(differences))
    assert "6 finished runs: 2 variants with 3 seeds each" in "\n".join(lines)


def test_event_folders_are_adopted_by_their_names_or_their_hparams(tmp_path):
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    for lr, seed in itertools.product((0.1, 0.01), range(3)):
        with tf.summary.create_file_writer(str(tmp_path / "runs" / f"lr{lr}_seed{seed}")).as_default():
            api.hparams({"lr": lr, "seed": seed})
            for step, accuracy in enumerate((0.1, lr + seed / 10)):
                tf.summary.scalar("test/accuracy", accuracy, step=step)
    asked = options(toggles=("lr",), metrics=(adoption.AskedMetric("test/accuracy", "higher"),))

    for pattern in (None, r"lr(?P<lr>[\d.]+)_seed(?P<seed>\d+)"):
        adoption.adopt(sources.read(str(tmp_path / "runs"), pattern=pattern), asked, command="adopt")
        study = load.study("mine", adopted.AdoptedStore())
        row = findings.find(study).compared.set_index("label").loc["lr=0.1"]
        assert row["change"] == pytest.approx(0.09, abs=1e-6) and row["n"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"toggles": ("lrr",)}, r"--toggles: the source has no column 'lrr'; did you mean 'lr'\?"),
        ({"seed": "sed"}, r"--seed: the source has no column 'sed'"),
        ({"metrics": (adoption.AskedMetric("gpu", "higher"),)}, r"gpu is no number in lines 2, 3, 4 and 17 more: 'A'"),
        ({"toggles": ("lr", "seed")}, r"'seed' is named twice"),
        ({"toggles": ("State",), "name": "Mine"}, r"--name 'Mine' is not allowed"),
        ({"toggles": ("State",)}, r"State='finished' with seed|finished 4 times|State=finished with seed 0 finished 4"),
        ({"reference": {"width": 32}}, r"--reference: 'width' is no toggle"),
        ({"duplicates": "first"}, r"--duplicates 'first': allowed: latest"),
        ({"decimal": ";"}, r"--decimal ';': allowed: \. and ,"),
        ({"status": "gpu"}, r"gpu is 'a' in lines .*; known states: finished"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_fix(tmp_path, changes, message):
    with pytest.raises(StoreError, match=message):
        adopted_from(write(tmp_path / "w.csv", exported()), **changes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "no such file"),
        ("a.csv", b"", "has no rows"),
        ("a.csv", b"lr,seed\n", "has no rows"),
        ("a.csv", b"lr,lr\n1,2\n", "two columns 'lr'"),
        ("a.csv", b"lr,seed\n1,2,3\n", "line 2 has 3 entries, and the first line 2"),
        ("a.csv", b"lr,seed\n\xff,1\n", "not UTF-8"),
        ("a.jsonl", b'{"lr": 1}\nlr\n', "line 2 is no JSON"),
        ("a.parquet", b"no", "cannot be read"),
        ("a.xlsx", b"no", r"unknown kind of file; allowed endings: \.csv"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(StoreError, match=message):
        sources.read(str(path))


def test_missing_seeds_are_refused_and_named(tmp_path):
    with pytest.raises(StoreError, match=r"seed has no value in line 4; --seed order numbers"):
        adopted_from(write(tmp_path / "w.csv", exported(rows={2: {"seed": ""}})))


def test_the_commands_of_the_analysis_work_on_it(tmp_path):
    path = write(tmp_path / "w.csv", exported())
    command = ["--toggles", "lr,model", "--seed", "seed", "--metric", "test_acc:higher", "--name", "mine"]

    done = CliRunner().invoke(app, ["adopt", str(path), *command])
    assert done.exit_code == 0 and "next: python -m analysis report mine" in done.output
    for words in (["report", "mine"], ["table", "mine", "--toggle", "model"], ["export", "mine"], ["studies"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    page = (tmp_path / "home" / "reports" / "mine" / "report.html").read_text(encoding="utf-8")
    assert "confounder: width" in page and "runs in MLflow" not in page
    compared = CliRunner().invoke(app, ["compare", "mine", "lr=0.1 model=mlp", "lr=0.1 model=cnn"])
    assert compared.exit_code == 0, compared.output
    wrong = CliRunner().invoke(app, ["adopt", str(path), *command[:-4], "--metric", "test_acc", "--name", "mine"])
    assert wrong.exit_code == 2 and "write test_acc:higher or test_acc:lower" in wrong.output


@pytest.mark.slow
def test_twenty_thousand_runs_are_adopted_in_less_than_20_seconds(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"a": str(a), "b": str(b), "seed": str(seed), "test_acc": str(rng.normal())}
        for a, b, seed in itertools.product(range(40), range(25), range(20))
    ]

    path, begin = write(tmp_path / "big.csv", rows), time.process_time()

    study, _ = adopted_from(path, toggles=("a", "b"))

    assert len(study.finished) == 20_000 and study.plan["design"] == "grid"
    assert time.process_time() - begin < 20  # seconds of the processor, which other programs do not change


def test_a_name_of_a_trained_study_is_refused_and_two_studies_of_one_name_are_said(tmp_path):
    path, trained = write(tmp_path / "w.csv", exported()), tmp_path / "home" / "outputs" / "mine"
    adopted_from(path)
    trained.mkdir(parents=True)

    with pytest.raises(StoreError, match=r"--name mine: a study of this name was trained here"):
        adopted_from(path)
    with pytest.raises(StoreError, match=r"there are two studies 'mine', a trained one and an adopted one"):
        adopted.store_of("mine", None)


def test_an_earlier_study_stays_if_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    path = write(tmp_path / "w.csv", exported())
    adopted_from(path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        adopted_from(path)

    assert len(load.study("mine", adopted.AdoptedStore()).finished) == 20
    assert adopted.AdoptedStore().experiments() == {"mine": "mine"}  # no half study beside it


def test_a_quote_that_is_never_closed_is_an_error_in_one_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('lr,seed\n"' + "x" * 2_000, encoding="utf-8")
    before = csv.field_size_limit(1_000)  # other packages raise it
    try:
        with pytest.raises(StoreError, match="cannot be read: field larger than field limit"):
            sources.read(str(path))
    finally:
        csv.field_size_limit(before)
