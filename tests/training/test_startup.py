from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from src.paths import REPOSITORY
from src.spec.section import SettingsError
from src.training.startup import refuse_broken_file, warnings_in, without


def test_only_warnings_of_the_import_are_printed():
    notices = "".join(
        (
            "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
            "I0000 00:00:1 port.cc:153] oneDNN custom operations are on.\n",
            "E0000 00:00:1 cuda_platform.cc:52] failed call to cuInit: INTERNAL\n",
            "W0000 00:00:1 gpu_device.cc:1] Cannot dlopen some GPU libraries.\n",
        )
    )

    assert warnings_in(notices) == ["W0000 00:00:1 gpu_device.cc:1] Cannot dlopen some GPU libraries.\n"]


def test_a_package_is_hidden_only_within_the_block_and_only_if_it_is_not_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)

    with without(["colorsys", "json"]):
        import json as loaded

        assert loaded is json
        with pytest.raises(ImportError):
            import colorsys
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)


PROGRAM = """
import sys
from src.training.startup import UNUSED, import_tensorflow
import_tensorflow()
import keras
print(sum(name in sys.modules for name in UNUSED))
print(keras.config.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
      keras.layers.Dense(1).dtype_policy.name)
"""


@pytest.mark.parametrize(
    "content", [{"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first", "backend": "jax"}, None]
)
def test_the_configuration_of_keras_does_not_depend_on_the_users_file(tmp_path, content):
    if content:
        (tmp_path / "keras.json").write_text(json.dumps(content), encoding="utf-8")
    variables = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax", "KERAS_NNX_ENABLED": "true"}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False
    )

    assert done.stdout.split() == ["0", "tensorflow", "float32", "1e-07", "channels_last", "float32"], done.stderr


@pytest.mark.parametrize("content", ['{"epsilon": 1}', '{"floatx": "bfloat16"}', '{"image_data_format": "x"}', "[1]"])
def test_a_file_that_breaks_the_import_of_keras_is_refused(tmp_path, monkeypatch, content):
    (tmp_path / "keras.json").write_text(content, encoding="utf-8")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    with pytest.raises(
        SettingsError, match=r"keras\.json: got .*, with which Keras cannot be imported; fix or remove the file"
    ):
        refuse_broken_file()


@pytest.mark.parametrize("content", ["{", "{}", '{"floatx": "float64", "epsilon": 1e-3}'])
def test_a_file_that_keras_accepts_or_ignores_is_not_refused(tmp_path, monkeypatch, content):
    (tmp_path / "keras.json").write_text(content, encoding="utf-8")
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


@pytest.mark.parametrize(("end", "is_printed"), [*((end, True) for end in ENDS), ("", False)])
def test_notices_are_printed_if_tensorflow_ends_the_process(tmp_path, end, is_printed):
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW.format(end), encoding="utf-8")
    program = "from src.training.startup import _import_quietly; _import_quietly()"
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False
    )

    assert ("std::bad_alloc" in done.stderr) == is_printed == (done.returncode != 0), done.stderr
    assert done.stderr.count("std::bad_alloc") <= 1


def test_warnings_of_tensorflow_and_keras_go_to_the_log_alone(tmp_path):
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

    log = (tmp_path / "trial.log").read_text(encoding="utf-8")
    assert all(text in log for text in ("tf.function retracing", "a dtype was cast", "odd shapes", "it is broken"))
    assert (done.stderr, done.stdout) == ("tensorflow: error: it is broken\n", "")


def test_the_unused_objects_of_an_interrupted_trace_are_not_shown_as_an_error():
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
