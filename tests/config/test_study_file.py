from __future__ import annotations

import time

import pytest

from src.config.study_file import load
from src.spec.section import SettingsError
from tests.config.test_settings import TEXTS

ODD = ["2024_01", "1_2", "007", "1e3", "0x10", "0b1", "on", "yes", "No", "true", "1:30", "1.5:30", "2024-01-01"]
ODD += ["12.50", "+1", ".5", ".inf", "="]


def read(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return load(tmp_path / "mine.yaml")


def nested(key, value):
    section, _, name = key.partition(".")
    return f"{section}: {{{name}: {value}}}\n" if name else f"{key}: {value}\n"


@pytest.mark.parametrize("key", TEXTS)
def test_text_is_read_as_written(tmp_path, key):
    for written in ODD:
        found = read(tmp_path, nested(key, written))
        section, _, name = key.partition(".")
        assert (found[section][name] if name else found[section]) == written


@pytest.mark.parametrize(
    "place", ["levels: {data.path: [ODD, b]}", "reference: {data.path: ODD}", "variants: [{data.path: ODD}]"]
)
def test_text_in_a_plan_is_read_as_written(tmp_path, place):
    for written in ODD:
        plan = read(tmp_path, f"plan:\n  {place.replace('ODD', written)}\n").plan
        (found,) = [
            *plan.get("levels", {}).get("data.path", [])[:1],
            *plan.get("reference", {}).values(),
        ] or plan.variants[0].values()
        assert found == written


@pytest.mark.parametrize("written", ["~", "Null", "NULL"])
def test_a_value_that_may_be_null_or_text_is_refused_with_both_spellings(tmp_path, written):
    with pytest.raises(
        SettingsError,
        match=rf'data\.path: got {written}; write null for no value, or "{written}" in quotes for the text',
    ):
        read(tmp_path, f"data: {{path: {written}}}")


def test_null_is_null_and_quotes_make_text(tmp_path):
    assert dict(
        read(tmp_path, 'data: {path: null, test_path: "null", text_column: "~", label_column: \'1\'}').data
    ) == {
        "path": None,
        "test_path": "null",
        "text_column": "~",
        "label_column": "1",
    }


def test_numbers_and_booleans_keep_their_type(tmp_path):
    found = read(
        tmp_path,
        "units: 0x10\nmasking: on\nlearning_rate: 1e-3\n"
        "plan: {seeds: [0, 1, 1_0], levels: {units: [8, null], cell: [gru]}}",
    )

    assert (found.units, found.masking, found.learning_rate, found.plan.seeds) == (16, True, 1e-3, [0, 1, 10])
    assert found.plan.levels == {"units": [8, None], "cell": ["gru"]}


@pytest.mark.parametrize(("written", "is_read_as"), [("010", 8), ("1:30", 90), ("-017", -15), ("1:30.5", 90.5)])
def test_a_number_that_yaml_reads_as_another_one_is_refused(tmp_path, written, is_read_as):
    with pytest.raises(
        SettingsError, match=rf"units: got {written}, which YAML reads as {is_read_as}; write {is_read_as}"
    ):
        read(tmp_path, f"units: {written}")


def test_anchors_and_merges_are_followed(tmp_path):
    found = read(
        tmp_path, "data: &one {path: 2024_01}\nother:\n  <<: *one\nplan:\n  question: *two\n".replace("*two", "on")
    )

    assert found.data.path == "2024_01" and found.plan.question == "on"


BOMB = "\n".join(["x0: &x0 [1, 2]", *(f"x{k}: &x{k} [{', '.join([f'*x{k - 1}'] * 9)}]" for k in range(1, 30))])
MERGED = "\n".join(["x0: &x0 {a: 1}", *(f"x{k}: &x{k} {{<<: [*x{k - 1}, *x{k - 1}]}}" for k in range(1, 19))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 5,000 keys and values"),
        (MERGED, "more than 5,000 keys and values"),
        ("x: &x [*x]", "a YAML alias contains itself"),
        ("plan: &x {levels: *x}", "a YAML alias contains itself"),
        (f"a: {'[' * 60_000}", "more than 20 levels of nesting"),
        (f"a: {'[' * 60_000}{']' * 60_000}", "more than 20 levels of nesting"),
        ("{a: " * 60_000, "more than 20 levels of nesting"),
        ("\n".join(f"{' ' * k}a:" for k in range(100)), "more than 20 levels of nesting"),
        (f"plan: {{seeds: [{', '.join(map(str, range(100_000)))}]}}", "more than 5,000 keys and values"),
        ("# " + "x" * 1_000_000, "the file has 1,000,002 bytes"),
        (f"study: {'x' * 100_000}", "100,000 characters"),
        (f"? {'x' * 100_000}\n: 1", "100,000 characters"),
        ('data: {path: "\\e[31m"}', r"data.path: \x1b[31m: control characters"),
        ('data: {path: "\\0"}', r"data.path: \x00: control characters"),
    ],
)
def test_a_study_file_that_is_too_large_is_refused_quickly(tmp_path, text, message):
    begin = time.process_time()

    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)

    assert message in str(caught.value) and len(str(caught.value)) < 400
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hydra: {callbacks: {x: {a: 1}}}", "hydra.callbacks.x.a: a study file may select a launcher"),
        ("hydra: {sweep: {dir: /tmp}}", "hydra.sweep.dir: a study file may select a launcher"),
        (
            "hydra: {job_logging: {root: {level: DEBUG}}}",
            "hydra.job_logging.root.level: a study file may select a launcher",
        ),
        ("hydra: {}", "hydra: a study file may select a launcher"),
        ("hydra: null", "hydra: a study file may select a launcher"),
        ("hydra: {launcher: null}", "hydra.launcher: a study file may select a launcher"),
        ("base: &x {callbacks: {x: 1}}\nhydra: {<<: *x}", "hydra.callbacks.x: a study file may select"),
        ("hydra: {launcher: {setup: [ls]}}", "hydra.launcher.setup: a study file may select a launcher"),
        (
            "hydra: {launcher: {ray: {init: {address: 'x:1'}}}}",
            "hydra.launcher.ray.init.address: a study file may select a launcher",
        ),
        (
            "hydra: {launcher: {ray: {init: {runtime_env: {pip: [x]}}}}}",
            "hydra.launcher.ray.init.runtime_env.pip: a study file",
        ),
        (
            "hydra: {launcher: {additional_parameters: {wrap: ls}}}",
            "hydra.launcher.additional_parameters.wrap: a study file",
        ),
        (
            "hydra: {launcher: {partition: 'a --wrap=ls'}}",
            "hydra.launcher.partition: got 'a --wrap=ls'; allowed in a study file",
        ),
        ("hydra: {launcher: {_target_: os.system}}", "hydra.launcher._target_: _target_ is not allowed"),
        ("data: {_target_: os.system}", "data._target_: _target_ is not allowed"),
        ("plan: {levels: {x: [{_partial_: true}]}}", "_partial_ is not allowed"),
        ("units: ${oc.env:HOME}", "units: ${oc.env:HOME}: interpolation is not allowed"),
        ("'${oc.env:HOME}': 1", "interpolation is not allowed"),
        (
            "plan: {levels: {data.path: ['${hydra:runtime.cwd}']}}",
            "plan.levels.data.path: ${hydra:runtime.cwd}: interpolation is not allowed",
        ),
        ("defaults: [mine]", "defaults: got mine; allowed: `- override /hydra/launcher: joblib`"),
        ("defaults: [/experiments/mine]", "defaults: got /experiments/mine"),
        (
            "defaults: [{override /hydra/job_logging: default}]",
            "defaults: got {'override /hydra/job_logging': 'default'}",
        ),
        (
            "defaults: [{override /data@hydra.callbacks: table}]",
            "defaults: got {'override /data@hydra.callbacks': 'table'}",
        ),
        (
            "defaults: [{override /hydra/launcher: ray_aws}]",
            "defaults: got 'ray_aws' for /hydra/launcher; allowed: basic, joblib, ray",
        ),
        ("defaults: [{override /data: ../../x}]", "defaults: got '../../x' for /data; allowed: movie_reviews"),
        ("defaults: [{override /data: [table]}]", "for /data; allowed: movie_reviews"),
        ("defaults: {a: b}", "defaults: got {'a': 'b'}"),
        ("task: {num_samples: 200}", "task.num_samples: the toggles of a task have no prefix; write num_samples"),
        ("task.num_samples: 200", "task.num_samples: the toggles of a task have no prefix; write num_samples"),
        (
            "plan: {levels: {task.num_samples: [1, 2]}}",
            "plan.levels.task.num_samples: the toggles of a task have no prefix; write num_samples",
        ),
        ("plan: {variants: [{task.target: class}]}", "the toggles of a task have no prefix; write target"),
        (
            "task: integration",
            "task: got integration; a study file chooses it by `defaults: [override /task: integration]`",
        ),
        (
            "task: evil:TASK",
            "task: got evil:TASK; a study file names a registered task; allowed: sentiment, integration",
        ),
        (
            "defaults: [{override /task: 'evil:TASK'}]",
            "defaults: got 'evil:TASK' for /task; allowed: sentiment, integration",
        ),
        (
            "plan: {levels: {task: ['evil:TASK', sentiment]}}",
            "got evil:TASK; a study file names a registered task; allowed: sentiment",
        ),
        (
            "plan: {variants: [{task: 'evil:TASK'}]}",
            "got evil:TASK; a study file names a registered task; allowed: sentiment",
        ),
        (
            "plan: {reference: {task: 'evil:TASK'}}",
            "got evil:TASK; a study file names a registered task; allowed: sentiment",
        ),
    ],
)
def test_a_study_file_sets_nothing_in_hydra_but_the_launcher(tmp_path, text, message):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)

    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_study_file_may_choose_the_launcher_and_the_resources_of_a_trial(tmp_path):
    found = read(
        tmp_path,
        "defaults: [{override /hydra/launcher: ray}, {override /task: integration}, _self_]\n"
        "hydra: {launcher: {n_jobs: 2, mem_gb: 4, partition: cpu-2, ray: {remote: {num_cpus: 1, num_gpus: 0.5}}}}",
    )

    assert found.hydra.launcher.ray.remote.num_gpus == 0.5 and found.defaults[0]["override /hydra/launcher"] == "ray"
