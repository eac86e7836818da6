"""TensorFlow's start: late, quiet, and the same for every trial."""

from __future__ import annotations

import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Imports TensorFlow and wakes its devices without the notices it prints then; an error shows them all.

    Later warnings come through as always.
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


def fresh_session(seed: int) -> None:
    """Forgets the trials before this one, and sets the global generators that no named stream uses."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
