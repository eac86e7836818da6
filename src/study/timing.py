"""The record of a timing pass: the times of training steps of a study's variants, taken in turn in one process."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from src.files import replaced

FILE = "timing.json"  # in the study's folder, and among the files of its run in MLflow
VERSION = 1
BUSY_CORES = 0.2  # use by other programs above which times are rough


@dataclass
class Timed:
    """The times of one variant.

    Attributes:
      label: its label in the plan.
      identity: identity of one of its trials.
      kernel: the kernel that ran; empty if its task names none.
      turns: mean milliseconds of a step in each round.
      places: its place in the order of each round, from 1.
      steps_per_epoch: optimizer steps of an epoch.
      median: median milliseconds of a step, over the steps of all rounds.
      p10: a tenth of the steps take less.
      p90: nine tenths of the steps take less.
      wait: share of the time that waited for input.
      tokens_per_s: real positions of sequences per second; None without sequences.
      positions_per_s: the same with padding.
      left_out: number of steps that traced or compiled, which no time includes.
    """

    label: str
    identity: str
    kernel: str = ""
    turns: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    steps_per_epoch: int = 1
    median: float = math.nan
    p10: float = math.nan
    p90: float = math.nan
    wait: float = math.nan
    tokens_per_s: float | None = None
    positions_per_s: float | None = None
    left_out: int = 0


@dataclass
class Pass:
    """A timing pass.

    Attributes:
      study: name of the study.
      begun: when it began, in ISO 8601 (UTC).
      rounds: number of rounds.
      steps: least number of steps of each variant in a round.
      machine: what it ran on, as in the tags of trials: processor, threads, versions, commit, …
      busy_before: processor cores that other programs used just before the pass.
      busy_during: the same during the pass.
      variants: the timed variants, the reference first.
      again: a second copy of the reference.
      left_out: label → why a variant was not timed.
    """

    study: str
    begun: str
    rounds: int
    steps: int
    machine: dict[str, str]
    busy_before: float
    busy_during: float
    variants: list[Timed]
    again: Timed
    left_out: dict[str, str]

    @property
    def disturbance(self) -> str:
        """What other programs did meanwhile, if it was enough to change the times; else empty."""
        most = max(self.busy_before, self.busy_during)
        return f"other programs used {most:.1f} cores before or meanwhile" if most > BUSY_CORES else ""

    def write(self, path: Path) -> None:
        """Writes the pass to a file, in place of an earlier one."""
        with replaced(path) as beside:
            beside.write_text(json.dumps({"version": VERSION, **asdict(self)}, indent=1), encoding="utf-8")


def read(path: Path) -> Pass:
    """Returns the pass in a file.

    Raises:
      ValueError: the file contains something else.
    """
    try:
        found = _of_record(json.loads(path.read_text(encoding="utf-8")))
        timed = [*found.variants, found.again]
        is_whole = all(len(one.turns) == len(one.places) == found.rounds for one in timed) and len(timed) > 1
        is_number = all(isinstance(value, float | int) and value > 0 for one in timed for value in one.turns)
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path.name} is not the record of a timing pass ({type(error).__name__})") from None
    if not (is_whole and is_number):
        raise ValueError(f"{path.name} is not the record of a whole timing pass")
    return found


def _of_record(values: Mapping[str, Any]) -> Pass:
    fields = dict(values)
    if fields.pop("version") != VERSION:
        raise ValueError("another version wrote it")
    variants = [Timed(**variant) for variant in fields.pop("variants")]
    again = Timed(**fields.pop("again"))
    return Pass(**fields, variants=variants, again=again)
