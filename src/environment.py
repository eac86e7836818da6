"""What a user's environment may change without a word: which of it is set right, and which is recorded.

Set before anything reads it, for every process of ours: Keras' backend and kind, how MLflow's client writes, and a backend of Matplotlib's
that is not installed, as a Jupyter kernel exports it to processes of other environments. Keras' own file `keras.json` is overruled once
Keras is imported (`src/training/startup.py`).
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, MutableMapping

FLOAT = "float32"
NEEDED = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_NNX_ENABLED": "0",
    "TF_USE_LEGACY_KERAS": "0",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # whose threads log errors and raise none
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
    """Sets what the product needs, and takes away a backend of Matplotlib's that cannot be imported."""
    variables.update(NEEDED)
    kind, _, module = variables.get("MPLBACKEND", "").partition("://")
    if kind == "module" and importlib.util.find_spec(module.split(".", maxsplit=1)[0]) is None:
        variables["MPLBACKEND"] = "agg"


def understood(variables: Mapping[str, str] = os.environ) -> str:
    """Returns what decides the numbers of a trial beside its settings, the tag `ablation.environment`.

    Keras' backend and type of floats, which are the same everywhere, and the variables that TensorFlow and its libraries read.
    """
    found = sorted(filter(MAY_CHANGE_NUMBERS.fullmatch, variables))
    return " ".join([f"keras={NEEDED['KERAS_BACKEND']},{FLOAT}", *(f"{name}={variables[name]}" for name in found)])


def unused_address(variables: Mapping[str, str] = os.environ) -> str | None:
    """Returns the tracking address that the environment names for MLflow's own commands, and that is not used here; None without one."""
    return variables.get("MLFLOW_TRACKING_URI") or None
