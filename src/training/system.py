"""What the machine does while a trial runs: processor and memory, where somebody asks for it."""

from __future__ import annotations

import time

import psutil

EVERY_S = 10.0
MEGABYTE = 1e6


class SystemMetrics:
    """Measures the machine now and then, between two steps, in nobody's time.

    MLflow shows what begins with `system/` on a page of its own.
    """

    def __init__(self) -> None:
        """Begins: the share of the processor is that since the measurement before."""
        self._process, self._last = psutil.Process(), float("-inf")
        psutil.cpu_percent()
        self._process.cpu_percent()

    @property
    def is_due(self) -> bool:
        """Whether the last measurement is long enough ago."""
        return time.monotonic() - self._last >= EVERY_S

    def measured(self) -> dict[str, float]:
        """Returns percent of all cores, and of one by this process; megabytes of the machine, and of this process."""
        self._last = time.monotonic()
        memory = psutil.virtual_memory()
        return {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": self._process.memory_info().rss / MEGABYTE,
        }
