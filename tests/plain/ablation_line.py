"""A line through points, fitted by gradient descent in NumPy: a task without Keras."""

from types import SimpleNamespace

import numpy as np

from src.spec.metric import LOSS, Metric
from src.spec.record import EVALUATION, FINISHED, STEP, Record, end
from src.spec.settings import Settings
from src.spec.task import Command, Task


class Mine(Settings):
    task: str = "line"
    has_offset: bool = True


class Line(Task):
    name, about, settings = "line", "a line through points", Mine
    metrics = (Metric("error", "lower"), LOSS)
    commands = {"value": Command("ablation_line:value", "the line at X", files=("line.npy",), example="2.0")}

    def load(self, settings):
        return SimpleNamespace(digest="64 points", rows={"train": 64, "validation": 64, "test": 64})

    def records(self, trial):
        x = np.random.default_rng(trial.settings.seed).choice([-1.0, 1.0], 64)
        line = np.array(trial.earlier.variables[0]) if trial.earlier else np.zeros(2)
        for epoch in range(trial.earlier.epochs[-1] + 1 if trial.earlier else 1, trial.settings.epochs + 1):
            fault = line[0] * x + line[1] - (3 * x + 1)
            line = line - np.array([np.mean(fault * x), np.mean(fault) * trial.settings.has_offset])
            error = float(np.mean(np.square(line[0] * x + line[1] - (3 * x + 1))))
            yield Record(STEP, epoch, {"train/loss": error}, {"epoch": epoch})
            yield Record(EVALUATION, epoch, {"val/error": error, "val/loss": error}, {"epoch": epoch})
            if trial.keep:
                trial.keep(epoch, variables=[line], best=[], peak_mb=0.0)
        np.save(trial.folder / "line.npy", line)
        metrics = {"test/error": error, "test/loss": error}
        yield end(step=trial.settings.epochs, status=FINISHED, metrics=metrics, artifacts=["line.npy"])


def value(folder, x: float):
    slope, offset = np.load(folder / "line.npy")
    print(f"{slope * x + offset:.1f}")


TASK = Line()
