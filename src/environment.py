"""Environment variables that may change results silently: this module sets some of them and records others.

Before any library reads them, every process sets Keras' backend and variant, how MLflow's client writes, and what a
Jupyter kernel exports to the commands that its cells start (`!python -m src.run …`). `src/training/startup.py`
overrides Keras' file `keras.json` after the import of Keras.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, MutableMapping

FLOAT = "float32"
OF_NOTEBOOKS = {
    "module",
    "inline",
    "widget",
    "ipympl",
    "nbagg",
    "notebook",
}  # Matplotlib backends that need a kernel
NEEDED = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_NNX_ENABLED": "0",
    "TF_USE_LEGACY_KERAS": "0",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # its threads log errors and do not raise them
}
DEFAULTS = {  # of MLflow's client, unless the user sets them
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # an unreachable server must not delay training
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines for each run on a server
}
# Variables that TensorFlow, XLA and their libraries read, and that may change a number or the device. The names are
# listed, because variables of other programs begin with TF_ and contain secrets. The number of threads has its own tag.
MAY_CHANGE_NUMBERS = re.compile(
    r"XLA_FLAGS|TF_(XLA_FLAGS|DETERMINISTIC_OPS|AUTO_MIXED\w+|(CUDNN|ENABLE|FP16|MKL|ONEDNN|OVERRIDE|USE_CUDNN)_\w+)"
    r"|(ONEDNN|DNNL)_\w+|MKL_(CBWR|DEBUG_CPU_TYPE|DYNAMIC|ENABLE_INSTRUCTIONS)|OPENBLAS_CORETYPE"
    r"|OMP_(DYNAMIC|SCHEDULE)|KMP_DETERMINISTIC_REDUCTION|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER)"
    r"|(CUBLAS|CUDNN|MIOPEN)_\w+|NVIDIA_(VISIBLE_DEVICES|TF32_OVERRIDE)|(HIP|ROCR)_VISIBLE_DEVICES"
    r"|NPY_(DISABLE|ENABLE)_CPU_FEATURES"
)


def prepare(variables: MutableMapping[str, str] = os.environ) -> None:
    """Sets the required variables and, in a command that a notebook's cell started, plain output.

    A kernel exports a Matplotlib backend that needs the kernel and may not be installed for the command: the import of
    Matplotlib would fail, and each trial with it. A kernel also claims that its cells show everything that a terminal
    shows, but they keep overwritten lines. In the kernel process, which may import `src` too, both stay unchanged.
    """
    variables.update(NEEDED)
    for name, value in DEFAULTS.items():
        variables.setdefault(name, value)
    if is_in_kernel():
        return
    if _is_from_notebook(variables):
        variables.setdefault("TTY_COMPATIBLE", "0")  # rich prints plain lines
    if variables.get("MPLBACKEND", "").partition("://")[0].lower() in OF_NOTEBOOKS:
        variables["MPLBACKEND"] = "agg"


def draw_to_files(variables: MutableMapping[str, str] = os.environ) -> None:
    """Makes Matplotlib draw to files, for any exported backend; commands call it before the import of Matplotlib."""
    if not is_in_kernel():
        variables["MPLBACKEND"] = "agg"


def is_in_kernel() -> bool:
    """Returns whether this process is a notebook's kernel, which shows figures in its cells."""
    return "ipykernel" in sys.modules


def _is_from_notebook(variables: Mapping[str, str]) -> bool:
    return "JPY_PARENT_PID" in variables or variables.get("MPLBACKEND", "").startswith("module://")


def understood(variables: Mapping[str, str] = os.environ) -> str:
    """Returns the part of the environment that may change a trial's numbers, for the tag `ablation.environment`.

    This is Keras' backend and float type, which are constant, and the variables of `MAY_CHANGE_NUMBERS`.
    """
    names = sorted(filter(MAY_CHANGE_NUMBERS.fullmatch, variables))
    return " ".join([f"keras={NEEDED['KERAS_BACKEND']},{FLOAT}", *(f"{name}={variables[name]}" for name in names)])


def unused_address(variables: Mapping[str, str] = os.environ) -> str | None:
    """Returns the environment's tracking address, which only MLflow's own commands use; None without one."""
    return variables.get("MLFLOW_TRACKING_URI") or None
