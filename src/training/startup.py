"""TensorFlow's start: late, quiet, and the same for every trial."""

from __future__ import annotations

import gc
import os
import sys
import tempfile

WITHOUT_GPU = ("failed call to cuInit", "oneDNN supports DT_BOOL only")


def import_tensorflow() -> None:
    """Imports TensorFlow and wakes its devices without the notices it prints then.

    Warnings among them are kept, an error shows them all, and what is printed later comes through as always.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notices:
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
        sys.stderr.write("".join(warnings_in(notices.read().decode(errors="replace"))))
    gc.freeze()  # what was imported is no garbage: Keras looks for some before every trial, and this saves a third of a second there


def warnings_in(notices: str) -> list[str]:
    """Returns the lines of TensorFlow's start-up that warn of something; those every machine without a GPU prints are left out."""
    lines = notices.splitlines(keepends=True)
    return [line for line in lines if line[:1] in "WE" and line[1:5].isdigit() and not any(known in line for known in WITHOUT_GPU)]


def fresh_session(seed: int) -> None:
    """Forgets the trials before this one, and sets the global generators that no named stream uses."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
