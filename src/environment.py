"""What a user's environment may change without a word: which of it is set right, and which is recorded.

Set before anything reads it, for every process of ours: Keras' backend and kind, how MLflow's client writes, and what a Jupyter kernel
exports to the commands that its cells start (`!python -m src.run …`). Keras' own file `keras.json` is overruled once Keras is imported
(`src/training/startup.py`).
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
}  # backends of Matplotlib's that need a kernel
NEEDED = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_NNX_ENABLED": "0",
    "TF_USE_LEGACY_KERAS": "0",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # whose threads log errors and raise none
}
DEFAULTS = {  # of MLflow's client, where the user has not set them
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is away must not hold up training
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines for each run of a server
}
# What TensorFlow, XLA and the libraries below them read, and what may change a number or the device. By name: other programs have
# variables that begin with TF_, and secrets in them. The number of threads is a tag of its own.
MAY_CHANGE_NUMBERS = re.compile(
    r"XLA_FLAGS|TF_(XLA_FLAGS|DETERMINISTIC_OPS|AUTO_MIXED\w+|(CUDNN|ENABLE|FP16|MKL|ONEDNN|OVERRIDE|USE_CUDNN)_\w+)|(ONEDNN|DNNL)_\w+"
    r"|MKL_(CBWR|DEBUG_CPU_TYPE|DYNAMIC|ENABLE_INSTRUCTIONS)|OPENBLAS_CORETYPE|OMP_(DYNAMIC|SCHEDULE)|KMP_DETERMINISTIC_REDUCTION"
    r"|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER)|(CUBLAS|CUDNN|MIOPEN)_\w+|NVIDIA_(VISIBLE_DEVICES|TF32_OVERRIDE)|(HIP|ROCR)_VISIBLE_DEVICES"
    r"|NPY_(DISABLE|ENABLE)_CPU_FEATURES"
)


def prepare(variables: MutableMapping[str, str] = os.environ) -> None:
    """Sets what the product needs, and in a command that a notebook's cell started what its output can show.

    A kernel exports a backend of Matplotlib's that needs the kernel, and may not be installed where the command runs: importing
    Matplotlib would fail, and with it each trial. It also says that its cells show all that a terminal shows, which they do
    not: lines that are drawn over others stay. In the kernel itself, where `src` may be imported too, both are left alone.
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
    """Has Matplotlib draw to files, whatever a desktop or a user exported: for commands, before anything imports it."""
    if not is_in_kernel():
        variables["MPLBACKEND"] = "agg"


def is_in_kernel() -> bool:
    """Returns whether this process is a notebook's kernel itself, whose figures are shown in its cells."""
    return "ipykernel" in sys.modules


def _is_from_notebook(variables: Mapping[str, str]) -> bool:
    return "JPY_PARENT_PID" in variables or variables.get("MPLBACKEND", "").startswith("module://")


def understood(variables: Mapping[str, str] = os.environ) -> str:
    """Returns what decides the numbers of a trial beside its settings, the tag `ablation.environment`.

    Keras' backend and type of floats, which are the same everywhere, and the variables that TensorFlow and its libraries read.
    """
    found = sorted(filter(MAY_CHANGE_NUMBERS.fullmatch, variables))
    return " ".join([f"keras={NEEDED['KERAS_BACKEND']},{FLOAT}", *(f"{name}={variables[name]}" for name in found)])


def unused_address(variables: Mapping[str, str] = os.environ) -> str | None:
    """Returns the tracking address that the environment names for MLflow's own commands, and that is not used here; None without one."""
    return variables.get("MLFLOW_TRACKING_URI") or None
