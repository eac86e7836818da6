from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys

import pytest

from src import environment, paths
from src.paths import REPOSITORY
from src.tracking import provenance
from src.tracking.mlflow_replay import Store


def python(program, **variables):
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_required_variables_override_the_users_values():
    variables = {
        "KERAS_BACKEND": "jax",
        "TF_USE_LEGACY_KERAS": "1",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "KERAS_NNX_ENABLED": "true",
    }

    environment.prepare(variables)

    assert variables == environment.DEFAULTS | environment.NEEDED


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("module://matplotlib_inline.backend_inline", "agg"),
        ("module://not_installed.backend_inline", "agg"),
        ("module://", "agg"),
        ("inline", "agg"),
        ("Widget", "agg"),
        ("ipympl", "agg"),
        ("svg", "svg"),
        ("TkAgg", "TkAgg"),
    ],
)
def test_a_matplotlib_backend_that_needs_a_kernel_is_replaced(backend, expected):
    variables = {"MPLBACKEND": backend}

    environment.prepare(variables)

    assert variables["MPLBACKEND"] == expected


@pytest.mark.parametrize(
    ("variables", "compatible"),
    [
        ({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, "0"),
        ({"JPY_PARENT_PID": "1"}, "0"),
        ({"JPY_PARENT_PID": "1", "TTY_COMPATIBLE": "1"}, "1"),
        ({"MPLBACKEND": "svg"}, None),
        ({}, None),
    ],
)
def test_a_command_in_a_notebook_cell_prints_plain_lines(variables, compatible):
    environment.prepare(variables)

    assert variables.get("TTY_COMPATIBLE") == compatible


def test_the_kernel_process_keeps_its_own_variables(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    variables = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "JPY_PARENT_PID": "1"}

    environment.prepare(variables)
    environment.draw_to_files(variables)

    assert variables == environment.DEFAULTS | environment.NEEDED | {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "JPY_PARENT_PID": "1",
    }


def test_a_command_in_a_notebook_has_no_terminal_despite_the_kernels_variables():
    """A kernel exports FORCE_COLOR=1, which rich interprets as a terminal."""
    program = "import src; from rich.console import Console; print(Console().is_terminal)"

    assert python(program, FORCE_COLOR="1", MPLBACKEND="module://matplotlib_inline.backend_inline") == "False"


@pytest.mark.parametrize("module", ["src.run", "src.sync", "src.predict"])
@pytest.mark.parametrize("backend", ["nonsense", "widget", "module://not_installed.x", "TkAgg"])
def test_every_command_draws_to_files_for_any_backend_in_the_environment(module, backend, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", backend)

    with contextlib.suppress(SystemExit):
        importlib.import_module(module).main(["--help"])

    assert os.environ["MPLBACKEND"] == "agg"


def test_the_import_of_src_sets_the_required_variables():
    program = "import os, src; print(os.environ['KERAS_BACKEND'], os.environ['MPLBACKEND'])"

    assert python(program, KERAS_BACKEND="torch", MPLBACKEND="module://not_installed.x") == "tensorflow agg"


@pytest.mark.parametrize("backend", ["module://not_installed.x", "nonsense", "TkAgg"])
def test_figures_are_drawn_for_any_backend_in_the_environment(backend):
    assert (
        python(
            "import analysis.__main__, matplotlib.pyplot as p; p.figure(); print(p.get_backend())", MPLBACKEND=backend
        )
        == "agg"
    )


def test_the_tag_contains_only_variables_that_may_change_numbers():
    noise = [
        "TF_VAR_password",
        "TF_CLI_ARGS",
        "TF_CPP_MIN_LOG_LEVEL",
        "TF_NUM_INTRAOP_THREADS",
        "OMP_NUM_THREADS",
        "HOME",
        "CUDA_VERSION",
    ]
    relevant = {
        "XLA_FLAGS": "a=b",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }
    relevant |= {
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
        "NVIDIA_TF32_OVERRIDE": "0",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "COMPATIBLE",
    }

    tag = environment.understood({**dict.fromkeys(noise, "secret"), **relevant})

    assert tag == " ".join(["keras=tensorflow,float32", *(f"{name}={relevant[name]}" for name in sorted(relevant))])


def test_every_trial_has_the_tag(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")

    assert "XLA_FLAGS=--xla_cpu_enable_fast_math=true" in provenance.tags.__wrapped__()["ablation.environment"]


def test_the_commit_is_of_this_repository_despite_git_variables(monkeypatch, tmp_path):
    here = provenance.tags.__wrapped__()["ablation.git_commit"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))

    assert provenance.tags.__wrapped__()["ablation.git_commit"] == here


def test_records_go_to_the_configured_store_despite_mlflow_variables(home, blank, monkeypatch):
    other = Store(None, "other")
    for name, value in (
        ("MLFLOW_RUN_ID", other.study_run_id),
        ("MLFLOW_EXPERIMENT_ID", other.experiment_id),
        ("MLFLOW_EXPERIMENT_NAME", "other"),
        ("MLFLOW_TRACKING_URI", f"sqlite:///{home}/elsewhere.db"),
    ):
        monkeypatch.setenv(name, value)

    store = Store(None, "s")

    assert store.uri == paths.default_tracking_uri() and not (home / "elsewhere.db").exists()
    assert (
        store.study_run_id != other.study_run_id
        and store.client.get_run(store.study_run_id).info.experiment_id != other.experiment_id
    )
