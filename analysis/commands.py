"""`train` and `predict` in Python: the commands, each in its own process, so that nothing here loads TensorFlow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.notebook import Study
from analysis.notebook import study as study_of
from src.config.overrides import override
from src.paths import REPOSITORY
from src.spec.section import SettingsError

ERROR = "error: "  # begins the error of a command
WHOLE = ("plan.", "tracking.")  # sections whose lists are one value, and not the levels of a toggle


def train(settings: Mapping[str, Any], *, study: str, workers: int = 1, uri: str | None = None) -> Study:
    """Trains a study as `python -m src.run -m` does, shows its progress, and returns it.

    A call that is repeated trains only what is missing. Interrupting it stops the study as Ctrl-C does.

    Args:
      settings: key of the command line → its value, or several values: `{"cell": ["lstm", "gru"], "seed": range(8)}`
        compares two variants with eight seeds; the first value of each key is the reference.
      study: name of the study.
      workers: trials that run at the same time.
      uri: MLflow store; None for the default one.

    Raises:
      SettingsError: a key or a value is wrong, or the study cannot be read; the text is that of the command.
      KeyboardInterrupt: the call was interrupted; all records are kept.
    """
    words = [f"study={study}", *(_word(key, value) for key, value in settings.items())]
    if uri is not None:
        words.append(override("tracking.uri", uri))
    if workers > 1:
        words += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}"]
    code, errors = _run("src.run", "-m", *words)
    if code == 130:
        raise KeyboardInterrupt
    if code not in (0, 1):
        raise SettingsError(errors or f"python -m src.run ended with exit code {code}")
    if errors:  # of some trials
        print(ERROR + errors)
    return study_of(study, uri=uri)


def predict(run: str | Sequence[str], texts: Iterable[str], *, code: str | None = None) -> pd.DataFrame:
    """Classifies texts as `python -m src.predict` does.

    Args:
      run: identity, folder or MLflow run id of a trial, or several of them, whose probabilities are averaged.
      texts: the texts.
      code: `module:NAME` of your own code whose layers the model has.

    Returns:
      One row per text: `text`, `class`, `error` (why it has no class, or None), and one column of probabilities per
      class.

    Raises:
      SettingsError: there is no such trial, or it classifies no texts.
    """
    runs = [run] if isinstance(run, str) else list(run)
    given = [" ".join(str(text).splitlines()) for text in texts]
    if not given:
        raise SettingsError("no text to classify; give at least one")
    command = [sys.executable, "-m", "src.predict", ",".join(runs), "--file", "-", "--format", "jsonl"]
    command += [] if code is None else ["--code", code]
    done = subprocess.run(
        command, input="\n".join(given) + "\n", env=_environment(), capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode not in (0, 1):  # 1: some texts have no class, which their rows say
        raise SettingsError(_message(done.stderr) or f"python -m src.predict ended with exit code {done.returncode}")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    probabilities = pd.DataFrame([row["probabilities"] or {} for row in rows])
    return pd.DataFrame(rows)[["text", "class", "error"]].join(probabilities)


def _word(key: str, value: Any) -> str:
    """Returns a setting in Hydra's grammar; several values of a toggle are its levels."""
    plain = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
    if isinstance(plain, Mapping):
        raise SettingsError(f"{key}: got several keys; write each with its dot, as in {{'{key}.NAME': VALUE}}")
    if isinstance(plain, str) or not isinstance(plain, Iterable):
        return override(key, plain).removeprefix("++")  # which the command adds itself
    values = list(plain)
    if not values:
        raise SettingsError(f"{key}: got no value; give at least one")
    texts = [override(key, one.item() if hasattr(one, "item") else one).partition("=")[2] for one in values]
    return f"{key}=[{','.join(texts)}]" if key.startswith(WHOLE) else f"{key}={','.join(texts)}"


def _run(module: str, *words: str) -> tuple[int, str]:
    """Runs a command whose output is printed as it comes, except for its error; returns its exit code and its error."""
    errors: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", module, *words],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # a notebook interrupts its whole group; the command gets one signal, from here
    ) as process:
        assert process.stdout is not None
        while True:
            try:
                for line in process.stdout:
                    if line.startswith(ERROR) or errors:  # an error has one or two lines, the last ones
                        errors.append(line)
                    else:
                        print(line, end="", flush=True)
                return process.wait(), _message("".join(errors))
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)


def _message(output: str) -> str:
    """Returns the error in the output of a command, without its first word."""
    _, found, message = output.partition(ERROR)
    return message.strip() if found else ""


def _environment() -> dict[str, str]:
    """Returns the environment of a command, which finds this project from every folder."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
