"""Times the training steps of variants in turn, in one process.

The times of whole trials lie minutes apart, and a shared machine changes in between. Here every variant takes a few
steps in each round, in an order that is drawn anew, so that compared times lie seconds apart. The process does nothing
else: no validation, no tracking. Not timed are the first step of a turn, because the caches hold another variant, and
steps that trace or compile.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import psutil

from src.spec.record import START, Record
from src.spec.section import SettingsError
from src.study.timing import Timed

ROUNDS = 40  # at least, and as many as take this time a variant:
LEAST_S = 10.0
TURN_S = 0.1  # a turn lasts at least this long
STALLED = 100  # steps in a row that trace or compile: all of them do
SAMPLE_S = 2.0  # of the machine's load before a pass
NAMED = 3  # busy programs that a message names


class Variant(NamedTuple):
    """A variant to time.

    Attributes:
      label: its label in the plan.
      identity: identity of one of its trials.
      train: number of steps of a turn → the records of its training, as `Task.timed` yields them.
    """

    label: str
    identity: str
    train: Callable[[int], Iterator[Record]]


def measure(
    variants: Sequence[Variant], *, rounds: int | None, steps: int, show: Callable[[str], None]
) -> tuple[list[Timed], dict[str, str]]:
    """Returns the times of variants, and label → reason for those that cannot be timed.

    Args:
      variants: at least one.
      rounds: number of rounds; each times every variant once. None takes `ROUNDS`, and more where steps are short.
      steps: timed steps of a turn; variants with short steps take more, for a tenth of a second.
      show: receives what happens, in a few words.
    """
    lanes, left_out = [], {}
    for number, variant in enumerate(variants, 1):
        show(f"building and tracing {number} of {len(variants)}: {variant.label}")
        try:
            lane = _Lane(variant, steps)
            lane.turn()  # warms up
            lanes.append(lane)
        except SettingsError as error:
            left_out[variant.label] = str(error)
    orders, begin = np.random.default_rng(0), time.monotonic()
    for number in itertools.count(1):
        is_short = rounds is None and time.monotonic() - begin < LEAST_S * len(lanes)
        if number > (rounds or ROUNDS) and not is_short:
            break
        show(f"round {number} of {rounds or ROUNDS}{'' if rounds else ' or more'}")
        for place, chosen in enumerate(orders.permutation(len(lanes)), 1):
            lanes[chosen].timed_turn(place)
    return [lane.result() for lane in lanes], left_out


class _Lane:
    """The training of one variant, from which turns are taken."""

    def __init__(self, variant: Variant, steps: int) -> None:
        self._timed, self._steps = Timed(variant.label, variant.identity), steps
        self._records = variant.train(steps + 1)
        self._kept: list[Record] = []

    def turn(self) -> list[Record]:
        """Takes the steps of a turn and returns the timed ones: at least as many as asked for, and for `TURN_S`."""
        self._step()
        begin, steps = time.perf_counter(), [self._step() for _ in range(self._steps)]
        while time.perf_counter() - begin < TURN_S:
            steps.append(self._step())
        return steps

    def timed_turn(self, place: int) -> None:
        """Takes and keeps a turn at this place of a round."""
        steps = self.turn()
        self._kept += steps
        self._timed.turns.append(statistics.fmean(step.metrics["time/batch_ms"] for step in steps))
        self._timed.places.append(place)

    def _step(self) -> Record:
        """Takes steps until one does not trace or compile, and returns it.

        Raises:
          SettingsError: all do.
        """
        for _ in range(STALLED):
            record = next(self._records)
            if record.kind == START:
                self._timed.kernel = record.detail["tags"].get("ablation.kernel", "")
                self._timed.steps_per_epoch = record.detail["steps_per_epoch"]
            elif record.detail["is_first"]:
                self._timed.left_out += 1
            else:
                return record
        raise SettingsError(f"each of {STALLED} steps traced or compiled, so there is no steady step to time")

    def result(self) -> Timed:
        """Returns the times of all turns."""
        timed = self._timed
        times = np.array([step.metrics["time/batch_ms"] for step in self._kept])
        timed.p10, timed.median, timed.p90 = (float(value) for value in np.quantile(times, (0.1, 0.5, 0.9)))
        timed.wait = float(sum(step.detail["wait_ms"] for step in self._kept) / times.sum())
        if any(step.detail["length"] > 1 for step in self._kept):
            seconds = float(times.sum()) / 1_000
            timed.tokens_per_s = sum(step.detail["tokens"] for step in self._kept) / seconds
            timed.positions_per_s = sum(step.detail["batch"] * step.detail["length"] for step in self._kept) / seconds
        return timed


class Others:
    """The processor time that other programs use from the creation of this object on."""

    def __init__(self) -> None:
        """Begins to count."""
        self._begin = _busy_s(), time.monotonic()

    def cores(self) -> float:
        """Returns the number of cores that other programs used on average, time stolen by other machines included."""
        busy_s, begin = self._begin
        return max(0.0, (_busy_s() - busy_s) / max(time.monotonic() - begin, 1e-9))


def load() -> tuple[float, list[str]]:
    """Returns the number of cores that other programs use now, and the names of the busiest with their use."""
    others, programs = Others(), [process for process in psutil.process_iter() if process.pid != os.getpid()]
    for process in programs:
        _percent(process)  # the first call begins the measurement
    time.sleep(SAMPLE_S)
    used = sorted(((_percent(process), process) for process in programs), key=lambda pair: -pair[0])
    named = [f"{_name(process)} (process {process.pid}: {percent:.0f} %)" for percent, process in used if percent > 5]
    return others.cores(), named[:NAMED]


def _busy_s() -> float:
    """Returns the processor seconds of all programs but this one, since the machine started."""
    machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
    busy = sum(getattr(machine, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
    return float(busy - own.user - own.system)


def _percent(process: psutil.Process) -> float:
    try:
        return float(process.cpu_percent())
    except psutil.Error:  # it has ended, or belongs to somebody else
        return 0.0


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return "a process"
