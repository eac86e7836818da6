"""TensorFlow's start: late, quiet, and the same for every trial."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from src import environment
from src.spec.section import SettingsError
from src.terminal.progress import waiting

KERAS_TAKES: dict[str, Callable[[Any], bool]] = {
    "floatx": lambda value: value in ("float16", "float32", "float64"),
    "epsilon": lambda value: isinstance(value, float),
    "image_data_format": lambda value: value in ("channels_last", "channels_first"),
}
# Says what was kept from the terminal, if the process that keeps it ends without a word to this one, as by abort()
# within TensorFlow.
WITNESS = "import os, sys; os.read(0, 1) or os.write(2, os.pread(int(sys.argv[1]), 1 << 20, 0))"
WITHOUT_GPU = ("failed call to cuInit", "oneDNN supports DT_BOOL only")
_log = logging.getLogger(__name__)


def import_tensorflow() -> None:
    """Imports TensorFlow and wakes its devices without the notices it prints then.

    Warnings among them are printed, an error shows them all. What TensorFlow and Keras warn of later stays in the
    trial's log.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    if "tensorflow" not in sys.modules:
        refuse_broken_file()
        with waiting("importing TensorFlow (about 10 s)", is_alone=os.environ.get("ABLATION_WORKERS", "1") == "1"):
            _import_quietly()
        _keep_in_log()
        _set_keras()
        # What was imported is no garbage: Keras looks for some before every trial, and this saves a third of a second.
        gc.freeze()
    _set_keras()


def refuse_broken_file() -> None:
    """Refuses a `keras.json` that Keras cannot be imported with, whose own words are a bare AssertionError.

    Raises:
      SettingsError: the file holds what Keras does not take.
    """
    path = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # Keras does without
        return
    for key, is_good in KERAS_TAKES.items():
        if not isinstance(held, dict) or (key in held and not is_good(held[key])):
            got = held.get(key) if isinstance(held, dict) else held
            raise SettingsError(
                f"{path}: got {key}={got!r}, with which Keras cannot be imported; fix or remove the file"
            )


class _InLog(logging.Handler):
    """Keeps what others log in the trial's log; of that only errors reach the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Passes a record on under our own name, one level below what the terminal shows."""
        said = record.getMessage()
        # Ctrl-C while TensorFlow traces a graph leaves parts of it unused, and it calls that an error after we said
        # that we stopped.
        level = (
            logging.WARNING if record.levelno >= logging.ERROR and "Object was never used" not in said else logging.INFO
        )
        _log.log(level, "%s: %s: %s", record.name, record.levelname.lower(), said)


def _keep_in_log() -> None:
    """Sends warnings of TensorFlow, Keras and Python (retracing, types, …) to the trial's log, not to the terminal."""
    logging.captureWarnings(True)
    for name in ("tensorflow", "absl", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [_InLog()], False


def _import_quietly() -> None:
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notices, _heard_if_killed(notices.fileno()):
        os.dup2(notices.fileno(), 2)
        try:
            import tensorflow as tf

            tf.transpose(tf.zeros([1, 1], tf.bool)).numpy()  # the devices, and a notice about masks
        except BaseException:
            notices.seek(0)
            os.write(kept, notices.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        notices.seek(0)
        said = notices.read().decode(errors="replace")
        _log.debug("TensorFlow's notices: %s", said)
        sys.stderr.write("".join(warnings_in(said)))


@contextmanager
def _heard_if_killed(notices: int) -> Iterator[None]:
    """Has another process show what is in a file, should this one die within the block."""
    try:
        witness = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WITNESS, str(notices)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[notices],
            start_new_session=True,  # Ctrl-C is not for it
        )
    except OSError:  # no room for another process: then without
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # it may be dead itself
            witness.communicate(b"1")


def _set_keras() -> None:
    """Sets Keras to what every trial has, whatever the user's `keras.json` says.

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
    """Returns the lines of TensorFlow's start-up that warn, but for those of every machine without a GPU."""
    lines = notices.splitlines(keepends=True)
    return [
        line
        for line in lines
        if line[:1] in "WE" and line[1:5].isdigit() and not any(known in line for known in WITHOUT_GPU)
    ]


def fresh_session(seed: int) -> None:
    """Forgets the trials before this one, and sets the global generators that no named stream uses."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
