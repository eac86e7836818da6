"""How much a graph, a graph of an epoch, and XLA save, by the size of the model."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator
from typing import Any

EXECUTIONS = ("graph", "eager", "graph_epoch", "xla")
MODELS = [("mlp", width) for width in (8, 64, 512, 2_048)] + [("cnn", width) for width in (2, 8, 32)]
ROUNDS = 4  # epochs that count; the one before them traces
EXAMPLES = 640


def figures() -> list[str]:
    """Returns a table: step times as multiples of execution=graph, for models of growing size."""
    rows = [
        "time of a step as a multiple of execution=graph (medians; target: eager at least 2 for the smallest MLP)",
        f"{'model':<14}{'parameters':>12}{'graph (ms)':>12}" + "".join(f"{name:>13}" for name in EXECUTIONS[1:]),
    ]
    for network, width in MODELS:
        parameters, times = _measured(network, width)
        ratios = "".join(f"{times[name] / times['graph']:>13.2f}" for name in EXECUTIONS[1:])
        rows.append(f"{network} {width:<10,}{parameters:>12,}{times['graph']:>12.2f}{ratios}")
    return rows


def _measured(network: str, width: int) -> tuple[int, dict[str, float]]:
    """Returns the number of parameters, and the milliseconds of a step of each execution, measured epoch by epoch."""
    runs, parameters = {}, 0
    for name in EXECUTIONS:
        runs[name], parameters = _epochs(network=network, width=width, execution=name)
    for run in runs.values():
        next(run)
    times: dict[str, list[float]] = {name: [] for name in EXECUTIONS}
    for name in itertools.chain(*[EXECUTIONS] * ROUNDS):
        times[name].append(next(runs[name]))
    return parameters, {name: statistics.median(values) for name, values in times.items()}


def _epochs(**changes: Any) -> tuple[Iterator[float], int]:
    """Returns an iterator that trains an epoch and yields the mean milliseconds of its steps; and the parameters."""
    import numpy as np

    from src.config.settings import checked
    from src.spec.record import EVALUATION
    from src.training.evaluation import Evaluated
    from src.training.fit import Fit, train
    from src.training.phase import Learner
    from src.training.startup import fresh_session
    from src.trial.prepare import prepare

    settings = {"task": "images", "epochs": ROUNDS + 1, "drop_remainder": True, "tracking": {"histograms": False}}
    prepared = prepare(checked({**settings, "data": {"name": "digits", "limit": EXAMPLES}, **changes}))
    task: Any = prepared.task
    fresh_session(0)
    model = task.model(prepared.settings, prepared.data)
    learner = Learner(model, task.phase(prepared.settings, prepared.data), task.metrics, prepared.settings)
    fit, one = Fit(), {"loss": np.ones(1), "accuracy": np.ones(1)}

    def trained() -> Iterator[float]:
        for record in train(learner, lambda: Evaluated(one, one), fit):
            if record.kind == EVALUATION:
                epoch = record.detail["epoch"]
                yield statistics.fmean(timing.batch_ms for timing in fit.timings if timing.epoch == epoch)

    return trained(), sum(math.prod(weight.shape) for weight in model.trainable_variables)
