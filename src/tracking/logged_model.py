"""A finished trial's model as MLflow's logged model: for `mlflow models serve` and `mlflow.pyfunc.load_model`.

The task defines the model's inputs, its outputs and the code that loads it (`spec.task.Served`). This module writes the
folder itself: `mlflow.pyfunc.log_model` would import TensorFlow in another process to find the requirements, which
takes 15 seconds.
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

NAME = "model"  # as in runs:/RUN/model
PACKAGE = (
    "ablation_model"  # the package that is stored with a model; its name must differ from those of users' packages
)
MAX_PARAMS = 1_000  # of a logged model
UNSUPPORTED = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED")  # errors of servers before MLflow 3, without logged models

_log = logging.getLogger(__name__)


class Owner(NamedTuple):
    """The trial that a model belongs to.

    Attributes:
      experiment_id: experiment of the study.
      run_id: run of the trial.
      step: number of optimizer steps at the end of the trial.
      time_ms: end of the trial, in milliseconds since 1970.
    """

    experiment_id: str
    run_id: str
    step: int
    time_ms: int


class Servable(NamedTuple):
    """A trial's model that MLflow can serve.

    Attributes:
      served: how MLflow serves it.
      register: name in MLflow's model registry, or None.
    """

    served: Served
    register: str | None


def of_trial(folder: Path) -> Servable | None:
    """Returns the model in a trial's folder; None if its task does not serve it, or files are missing or broken."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        task, register = settings["task"], settings["tracking"].get("register")
        name = str(task["name"] if isinstance(task, dict) else task)  # earlier versions stored a section
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not registry.is_importable(name):
        return None
    try:
        served = registry.task(name).served(folder) if (folder / MODEL).is_file() else None
    except Exception as error:  # the task is not installed, or has an error; everything else is still sent
        _log.warning("%s: MLflow gets this trial without its model (%s)", folder, first_line(error))
        return None
    return Servable(served, register) if served is not None else None


def log(
    client: MlflowClient, owner: Owner, served: Served, *, metrics: Mapping[str, float], params: Mapping[str, str]
) -> str | None:
    """Logs the model of a trial unless MLflow has it; returns its id, or None if the server has no logged models.

    If MLflow has several, because a request was repeated or a process died, keeps the earliest and deletes the others.
    """
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.exceptions import MlflowException

    try:
        models = _models(client, owner)
        if not models:
            client.create_logged_model(
                owner.experiment_id, NAME, owner.run_id, params=dict(list(params.items())[:MAX_PARAMS])
            )
            models = _models(client, owner)
    except MlflowException as error:
        if error.error_code in UNSUPPORTED:
            return None
        raise
    model, *duplicates = models
    for duplicate in duplicates:
        client.delete_logged_model(duplicate.model_id)
    if model.model_id not in {output.model_id for output in client.get_run(owner.run_id).outputs.model_outputs}:
        client.log_outputs(owner.run_id, [LoggedModelOutput(model.model_id, owner.step)])
    logged_metrics = [
        Metric(name, value, owner.time_ms, owner.step, model_id=model.model_id) for name, value in metrics.items()
    ]
    client.log_batch(owner.run_id, logged_metrics)
    if str(model.status) != "READY":
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), served, owner=owner, model=model)
            client.log_model_artifacts(model.model_id, folder)
        client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def register(client: MlflowClient, owner: Owner, model_id: str, name: str) -> None:
    """Registers a logged model as the next version of the model `name`, unless it already is a version of it."""
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
        if paths.is_database(client.tracking_uri):  # MLflow would look the id up in its default store, not the client's
            source = client.get_logged_model(model_id).artifact_location
        version = client.create_model_version(name, source, owner.run_id, await_creation_for=0, model_id=model_id)
    tag = json.dumps([{"name": name, "version": int(version.version)}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": tag})


def write(into: Path, served: Served, *, owner: Owner, model: LoggedModel) -> None:
    """Writes a model's folder in MLflow's format.

    Args:
      into: an empty folder.
      served: how the trial's task serves the model.
      owner: the trial that the model belongs to.
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
    entry = _mlmodel(served, owner=owner, model=model)
    (into / "MLmodel").write_text(yaml.safe_dump(entry, allow_unicode=True, sort_keys=True), encoding="utf-8")


def _write_code(package: Path, code: Mapping[str, Path]) -> None:
    """Writes a package with copies of files; all its `__init__.py` hold only a docstring."""
    for place, file in code.items():
        target = package / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        for folder in PurePosixPath(place).parents:
            (package / folder / "__init__.py").write_text('"""Code that a stored model needs."""\n', encoding="utf-8")


def _mlmodel(served: Served, *, owner: Owner, model: LoggedModel) -> dict[str, Any]:
    """Returns the content of the file `MLmodel`."""
    flavor = {
        "loader_module": f"{PACKAGE}.{served.loader}",
        "code": "code",
        "data": "data",
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "python_version": platform.python_version(),
    }
    created = datetime.datetime.fromtimestamp(owner.time_ms / 1e3, datetime.UTC).replace(tzinfo=None)
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
        "utc_time_created": str(created),
    }


def _environment(packages: Sequence[str]) -> dict[str, str]:
    """Returns file name → content of the requirements, for every way in which MLflow creates an environment."""
    requirements = [f"{name}=={importlib.metadata.version(name)}" for name in packages]
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": requirements}],
    }
    virtual = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    return {
        "requirements.txt": "\n".join(requirements) + "\n",
        "conda.yaml": yaml.safe_dump(conda, sort_keys=False),
        "python_env.yaml": yaml.safe_dump(virtual, sort_keys=False),
    }


def _models(client: MlflowClient, owner: Owner) -> list[LoggedModel]:
    """Returns the logged models of a run with the name `NAME`, the earliest first."""
    query = f"name = '{NAME}' AND source_run_id = '{owner.run_id}'"
    models = client.search_logged_models([owner.experiment_id], filter_string=query)
    return sorted(models, key=lambda model: (model.creation_timestamp, model.model_id))
