"""A finished trial's model as MLflow's logged model: for `mlflow models serve` and `mlflow.pyfunc.load_model`.

What the model takes and returns, and the code that loads it, are the task's (`spec.task.Served`). The folder is written by hand:
`mlflow.pyfunc.log_model` finds out what a model needs by importing TensorFlow in a process of its own, which takes fifteen seconds.
https://mlflow.org/docs/latest/ml/model/#storage-format
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from src import paths, registry
from src.artifacts import MODEL, SETTINGS
from src.spec.task import Served
from src.terminal.errors import first_line

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.tracking import MlflowClient

NAME = "model"  # runs:/RUN/model
PACKAGE = "ablation_model"  # of the code that is stored with a model; no project of a user's has a package of that name
PARTS = 1_000  # params of a model at most; a toggle is one
NOT_THERE = (
    "ENDPOINT_NOT_FOUND",
    "NOT_IMPLEMENTED",
)  # what servers before MLflow 3 answer, which know no logged models

_log = logging.getLogger(__name__)


class Owner(NamedTuple):
    """Whose model it is.

    Attributes:
      experiment_id: of the study.
      run_id: of the trial.
      step: optimizer steps done.
      time_ms: when the trial ended, since 1970.
    """

    experiment_id: str
    run_id: str
    step: int
    time_ms: int


class Known(NamedTuple):
    """What a trial's folder holds of a model that can be served.

    Attributes:
      served: how MLflow serves it.
      register: name in the registry, or None.
    """

    served: Served
    register: str | None


def of_trial(folder: Path) -> Known | None:
    """Returns what a trial's folder holds of a model; None if its task does not serve it, or files are missing or broken."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        task, register = settings["task"], settings["tracking"].get("register")
        name = str(task["name"] if isinstance(task, dict) else task)  # a section in earlier versions
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not registry.is_importable(name):
        return None
    try:
        served = registry.task(name).served(folder) if (folder / MODEL).is_file() else None
    except Exception as error:  # a task that is not installed here, or its own error: the rest of the record is sent
        _log.warning("%s: MLflow gets this trial without its model (%s)", folder, first_line(error))
        return None
    return Known(served, register) if served is not None else None


def log(
    client: MlflowClient, owner: Owner, served: Served, *, metrics: Mapping[str, float], params: Mapping[str, str]
) -> str | None:
    """Logs the model of a trial, unless it is there and whole; returns its id, or None where the server knows no such models.

    Of what was made twice, or begun by a process that died, one is kept: the earliest.
    """
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.exceptions import MlflowException

    try:
        made = _found(client, owner)
        if not made:
            client.create_logged_model(
                owner.experiment_id, NAME, owner.run_id, params=dict(list(params.items())[:PARTS])
            )
            made = _found(client, owner)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise
    model, *others = made
    for other in others:
        client.delete_logged_model(other.model_id)
    if model.model_id not in {output.model_id for output in client.get_run(owner.run_id).outputs.model_outputs}:
        client.log_outputs(owner.run_id, [LoggedModelOutput(model.model_id, owner.step)])
    of_model = [
        Metric(name, value, owner.time_ms, owner.step, model_id=model.model_id) for name, value in metrics.items()
    ]
    client.log_batch(owner.run_id, of_model)
    if str(model.status) != "READY":
        with tempfile.TemporaryDirectory() as here:
            write(Path(here), served, owner=owner, model=model)
            client.log_model_artifacts(model.model_id, here)
        client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def register(client: MlflowClient, owner: Owner, model_id: str, name: str) -> None:
    """Makes a logged model the next version of a registered one, unless it is a version of it."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    version = next((version for version in versions if version.run_id == owner.run_id), None)
    if version is None:
        source = f"models:/{model_id}"
        if paths.is_database(
            client.tracking_uri
        ):  # MLflow would look for it in the store of the process, whatever the client's
            source = client.get_logged_model(model_id).artifact_location
        version = client.create_model_version(name, source, owner.run_id, await_creation_for=0, model_id=model_id)
    tag = json.dumps([{"name": name, "version": int(version.version)}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": tag})


def write(into: Path, served: Served, *, owner: Owner, model: LoggedModel) -> None:
    """Writes a model's folder as MLflow loads it.

    Args:
      into: an empty folder.
      served: of the trial's task.
      owner: whose it is.
      model: MLflow's entry, with the id and the address of the files.
    """
    (into / "data").mkdir()
    for name, content in served.files.items():
        if isinstance(content, Path):
            shutil.copyfile(content, into / "data" / name)
        else:
            (into / "data" / name).write_text(content, encoding="utf-8")
    _write_code(into / "code" / PACKAGE, served.code)
    rows = [list(row) for row in zip(*served.example.values(), strict=True)]
    split = {"columns": list(served.example), "data": rows}
    (into / "input_example.json").write_text(json.dumps(split), encoding="utf-8")
    (into / "serving_input_example.json").write_text(json.dumps({"dataframe_split": split}), encoding="utf-8")
    for name, text in _environment(served.needs).items():
        (into / name).write_text(text, encoding="utf-8")
    about = _about(served, owner=owner, model=model)
    (into / "MLmodel").write_text(yaml.safe_dump(about, allow_unicode=True, sort_keys=True), encoding="utf-8")


def _write_code(package: Path, code: Mapping[str, Path]) -> None:
    """Writes a package with copies of files at their places; what its folders run when they are imported is nothing."""
    for place, file in code.items():
        target = package / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        for folder in PurePosixPath(place).parents:
            (package / folder / "__init__.py").write_text('"""Code that a stored model needs."""\n', encoding="utf-8")


def _about(served: Served, *, owner: Owner, model: LoggedModel) -> dict[str, Any]:
    """Returns what the file MLmodel says."""
    flavor = {
        "loader_module": f"{PACKAGE}.{served.loader}",
        "code": "code",
        "data": "data",
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "python_version": platform.python_version(),
    }
    made = datetime.datetime.fromtimestamp(owner.time_ms / 1e3, datetime.UTC).replace(tzinfo=None)
    return {
        "artifact_path": model.artifact_location,
        "flavors": {"python_function": flavor},
        "mlflow_version": importlib.metadata.version("mlflow"),
        "model_id": model.model_id,
        "model_uuid": model.model_id,
        "run_id": owner.run_id,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
        },
        "signature": {
            "inputs": json.dumps(list(served.inputs)),
            "outputs": json.dumps(list(served.outputs)),
            "params": None,
        },
        "utc_time_created": str(made),
    }


def _environment(packages: Sequence[str]) -> dict[str, str]:
    """Returns the files that say what a model needs, for every way in which MLflow makes an environment."""
    needs = [f"{name}=={importlib.metadata.version(name)}" for name in packages]
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": needs}],
    }
    virtual = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    return {
        "requirements.txt": "\n".join(needs) + "\n",
        "conda.yaml": yaml.safe_dump(conda, sort_keys=False),
        "python_env.yaml": yaml.safe_dump(virtual, sort_keys=False),
    }


def _found(client: MlflowClient, owner: Owner) -> list[LoggedModel]:
    """Returns the models of a run by the name `NAME`, the earliest first."""
    text = f"name = '{NAME}' AND source_run_id = '{owner.run_id}'"
    found = client.search_logged_models([owner.experiment_id], filter_string=text)
    return sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))
