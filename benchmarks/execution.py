"""How much a graph, a graph of an epoch, and XLA save, by the size of the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from benchmarks import training
from benchmarks.inside import Options
from benchmarks.result import Estimate, Goal, Result
from benchmarks.training import in_turn, ours, prepared, ratio
from src.trial.prepare import Prepared

EXECUTIONS = ("graph", "eager", "graph_epoch", "xla")
MODELS = {"mlp": (8, 64, 512, 2_048), "cnn": (2, 8, 32)}
ROUNDS = 5
EXAMPLES = 640


def measure(options: Options) -> Iterator[Result]:
    """Yields the time of a step in multiples of execution=graph, for models of growing size."""
    models, rounds = ({"mlp": (8, 16)}, 2) if options.is_quick else (MODELS, ROUNDS)
    for network, widths in models.items():
        ratios: dict[str, dict[int, Estimate]] = {name: {} for name in EXECUTIONS[1:]}
        details: dict[str, dict[str, Any]] = {name: {} for name in EXECUTIONS[1:]}
        for width in widths:
            parameters, times = _measured(network, width, rounds)
            for name in EXECUTIONS[1:]:
                ratios[name][parameters] = ratio(times[name], times["graph"])
                details[name][str(width)] = training.details({side: times[side] for side in ("graph", name)})
        for name, of_sizes in ratios.items():
            smallest = of_sizes[min(of_sizes)]
            curve = {str(size): estimate.value for size, estimate in of_sizes.items()}
            about = {"curve": curve, "axis": "parameters", "label": f"{network} {name}", "widths": details[name]}
            what = f"execution={name}: time of a step of the smallest {network.upper()} in multiples of graph"
            goal = Goal("at least", 2.0) if (network, name) == ("mlp", "eager") else None
            yield Result(
                f"execution/{network}_{name}", what, smallest.value, "×", smallest.interval, goal, rounds, about
            )


def _measured(network: str, width: int, rounds: int) -> tuple[int, dict[str, list[training.Times]]]:
    """Returns the number of parameters, and the times of each execution, measured epoch by epoch in turn."""
    trials = {name: _trial(network=network, width=width, execution=name) for name in EXECUTIONS}
    of_first: Any = trials["graph"].task.model(trials["graph"].settings, trials["graph"].data)  # type: ignore[attr-defined]
    parameters = sum(math.prod(weight.shape) for weight in of_first.trainable_variables)
    return parameters, in_turn({name: ours(trial) for name, trial in trials.items()}, rounds)


def _trial(**changes: Any) -> Prepared:
    return prepared("images", **{"drop_remainder": True, "data.limit": EXAMPLES, **changes})
