"""Imports TensorFlow late and without its notices, and configures Keras the same way for every trial."""

from __future__ import annotations

import functools
import gc
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from src import environment
from src.spec.section import SettingsError
from src.terminal.progress import waiting

KERAS_ACCEPTS: dict[str, Callable[[Any], bool]] = {
    "floatx": lambda value: value in ("float16", "float32", "float64"),
    "epsilon": lambda value: isinstance(value, float),
    "image_data_format": lambda value: value in ("channels_last", "channels_first"),
}
# The program of a watching process. It prints the withheld notices if this process ends without a message to it, for
# example because TensorFlow calls abort().
WATCHER = "import os, sys; os.read(0, 1) or os.write(2, os.pread(int(sys.argv[1]), 1 << 20, 0))"
# Keras imports these where they are installed, for its scikit-learn wrappers and for pictures in notebooks. No trial
# needs them: without them the import takes a third less time, and 86 MB less.
UNUSED = ("IPython", "matplotlib", "sklearn")
WITHOUT_GPU = ("failed call to cuInit", "oneDNN supports DT_BOOL only")
_log = logging.getLogger(__name__)


def import_tensorflow() -> None:
    """Imports TensorFlow and initialises its devices without printing its notices.

    It prints the warnings among them, and all of them after an error. Later warnings of TensorFlow and Keras go to the
    trial's log.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    if "tensorflow" not in sys.modules:
        refuse_broken_file()
        with waiting("importing TensorFlow (about 10 s)", is_alone=os.environ.get("ABLATION_WORKERS", "1") == "1"):
            _import_quietly()
        _keep_in_log()
        _set_keras()
        # Keras collects garbage before every trial. Excluding the imported objects saves a third of a second.
        gc.freeze()
    _set_keras()


@functools.cache
def devices() -> tuple[str, ...]:
    """Returns the devices that TensorFlow computes on."""
    import_tensorflow()
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    return tuple(details(device).get("device_name", device.name) for device in tf.config.list_physical_devices())


def refuse_broken_file() -> None:
    """Refuses a `keras.json` that breaks the import of Keras, because Keras raises an AssertionError without text.

    Raises:
      SettingsError: the file contains a value that Keras does not accept.
    """
    path = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # Keras ignores such a file
        return
    for key, is_valid in KERAS_ACCEPTS.items():
        if not isinstance(content, dict) or (key in content and not is_valid(content[key])):
            got = content.get(key) if isinstance(content, dict) else content
            raise SettingsError(
                f"{path}: got {key}={got!r}, with which Keras cannot be imported; fix or remove the file"
            )


class _InLog(logging.Handler):
    """Passes log records of other packages to the trial's log; the terminal shows only errors among them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs a record under this module's name, at a level that the terminal shows only for errors."""
        message = record.getMessage()
        # After Ctrl-C during tracing, TensorFlow reports the unused parts of the graph as errors.
        is_error = record.levelno >= logging.ERROR and "Object was never used" not in message
        level = logging.WARNING if is_error else logging.INFO
        _log.log(level, "%s: %s: %s", record.name, record.levelname.lower(), message)


def _keep_in_log() -> None:
    """Sends warnings of TensorFlow, Keras and Python to the trial's log instead of the terminal."""
    logging.captureWarnings(True)
    for name in ("tensorflow", "absl", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [_InLog()], False


def _import_quietly() -> None:
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notices, _printed_if_killed(notices.fileno()):
        os.dup2(notices.fileno(), 2)
        try:
            with without(UNUSED):
                import tensorflow as tf

            tf.transpose(tf.zeros([1, 1], tf.bool)).numpy()  # initialises the devices, and causes a notice about masks
        except BaseException:
            notices.seek(0)
            os.write(terminal, notices.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
        notices.seek(0)
        text = notices.read().decode(errors="replace")
        _log.debug("TensorFlow's notices: %s", text)
        sys.stderr.write("".join(warnings_in(text)))


@contextmanager
def without(packages: Sequence[str]) -> Iterator[None]:
    """Lets imports of these packages fail within the block, as if they were not installed; not those already loaded."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes the import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _printed_if_killed(notices: int) -> Iterator[None]:
    """Starts a process that prints the content of a file if this process dies within the block."""
    try:
        watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WATCHER, str(notices)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[notices],
            start_new_session=True,  # it does not receive Ctrl-C
        )
    except OSError:  # the process cannot start; continue without it
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # it may have ended already
            watcher.communicate(b"1")


def _set_keras() -> None:
    """Configures Keras the same way for every trial, independently of the user's `keras.json`.

    Raises:
      RuntimeError: Keras was imported with another backend.
    """
    import keras

    if keras.config.backend() != environment.NEEDED["KERAS_BACKEND"]:
        got = f"Keras was imported with KERAS_BACKEND={keras.config.backend()}"
        raise RuntimeError(f"{got}; import src before it, or unset KERAS_BACKEND")
    keras.config.set_floatx(environment.FLOAT)
    keras.config.set_dtype_policy(environment.FLOAT)
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")


def warnings_in(notices: str) -> list[str]:
    """Returns the warnings among TensorFlow's notices, without those of every machine that has no GPU."""
    lines = notices.splitlines(keepends=True)
    return [
        line
        for line in lines
        if line[:1] in "WE" and line[1:5].isdigit() and not any(notice in line for notice in WITHOUT_GPU)
    ]


def fresh_session(seed: int) -> None:
    """Clears Keras' state of earlier trials, and seeds the global generators, which no named stream uses."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
