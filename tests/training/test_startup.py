from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from src.paths import REPOSITORY
from src.spec.section import SettingsError
from src.training.startup import refuse_broken_file, warnings_in


def test_warnings_of_the_start_are_kept_and_notices_are_not():
    notices = "".join(
        (
            "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
            "I0000 00:00:1 port.cc:153] oneDNN custom operations are on.\n",
            "E0000 00:00:1 cuda_platform.cc:52] failed call to cuInit: INTERNAL\n",
            "W0000 00:00:1 gpu_device.cc:1] Cannot dlopen some GPU libraries.\n",
        )
    )

    assert warnings_in(notices) == ["W0000 00:00:1 gpu_device.cc:1] Cannot dlopen some GPU libraries.\n"]


PROGRAM = """
from src.training.startup import import_tensorflow
import_tensorflow()
import keras
print(keras.config.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
      keras.layers.Dense(1).dtype_policy.name)
"""


@pytest.mark.parametrize(
    "held", [{"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first", "backend": "jax"}, None]
)
def test_keras_is_what_every_trial_has_whatever_the_users_file_says(tmp_path, held):
    if held:
        (tmp_path / "keras.json").write_text(json.dumps(held), encoding="utf-8")
    variables = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax", "KERAS_NNX_ENABLED": "true"}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False
    )

    assert done.stdout.split() == ["tensorflow", "float32", "1e-07", "channels_last", "float32"], done.stderr


@pytest.mark.parametrize("held", ['{"epsilon": 1}', '{"floatx": "bfloat16"}', '{"image_data_format": "x"}', "[1]"])
def test_a_file_that_keras_cannot_be_imported_with_is_refused(tmp_path, monkeypatch, held):
    (tmp_path / "keras.json").write_text(held, encoding="utf-8")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    with pytest.raises(
        SettingsError, match=r"keras\.json: got .*, with which Keras cannot be imported; fix or remove the file"
    ):
        refuse_broken_file()


@pytest.mark.parametrize("held", ["{", "{}", '{"floatx": "float64", "epsilon": 1e-3}'])
def test_a_file_that_keras_reads_or_passes_over_is_not_refused(tmp_path, monkeypatch, held):
    (tmp_path / "keras.json").write_text(held, encoding="utf-8")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    refuse_broken_file()


TENSORFLOW = """
import os, types
os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\\n")
{}
bool = None
zeros = lambda *_: None
transpose = lambda _: types.SimpleNamespace(numpy=list)
"""
ENDS = ["os.abort()", "os._exit(1)", "os.kill(os.getpid(), 9)", "raise MemoryError"]


@pytest.mark.parametrize(("end", "is_heard"), [*((end, True) for end in ENDS), ("", False)])
def test_what_tensorflow_says_before_it_ends_the_process_is_heard(tmp_path, end, is_heard):
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW.format(end), encoding="utf-8")
    program = "from src.training.startup import _import_quietly; _import_quietly()"
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False
    )

    assert ("std::bad_alloc" in done.stderr) == is_heard == (done.returncode != 0), done.stderr
    assert done.stderr.count("std::bad_alloc") <= 1


def test_what_tensorflow_and_keras_warn_of_stays_in_the_log(tmp_path):
    program = """
import logging, warnings
from src.training import startup
from src.trial.log_file import logging_to
from pathlib import Path
with logging_to(Path("trial.log")):
    startup._keep_in_log()
    logging.getLogger("tensorflow").warning("5 out of the last 5 calls triggered tf.function retracing")
    logging.getLogger("absl").warning("a dtype was cast")
    warnings.warn("odd shapes")
    logging.getLogger("tensorflow").error("it is broken")
"""
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )

    kept = (tmp_path / "trial.log").read_text(encoding="utf-8")
    assert all(text in kept for text in ("tf.function retracing", "a dtype was cast", "odd shapes", "it is broken"))
    assert (done.stderr, done.stdout) == ("tensorflow: error: it is broken\n", "")


def test_what_an_interrupted_trace_leaves_unused_is_not_shown_as_an_error():
    program = """
import logging
from src.training import startup
startup._keep_in_log()
logging.getLogger("tensorflow").error("=====\\nObject was never used (type %s):\\n%s", "TensorArray", "created at …")
"""
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
