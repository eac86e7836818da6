"""System metrics of a trial: processor and memory usage, if enabled."""

from __future__ import annotations

import time

import psutil

EVERY_S = 10.0
MEGABYTE = 1e6


class SystemMetrics:
    """Measures the machine between two steps, outside their times.

    MLflow shows metrics that begin with `system/` on a separate page.
    """

    def __init__(self) -> None:
        """Starts measuring; processor usage is the mean since the previous measurement."""
        self._process, self._last = psutil.Process(), float("-inf")
        psutil.cpu_percent()
        self._process.cpu_percent()

    @property
    def is_due(self) -> bool:
        """Whether the last measurement is at least `EVERY_S` seconds ago."""
        return time.monotonic() - self._last >= EVERY_S

    def measured(self) -> dict[str, float]:
        """Returns processor usage in percent (machine: of all cores; process: of one core) and memory in megabytes."""
        self._last = time.monotonic()
        memory = psutil.virtual_memory()
        return {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": self._process.memory_info().rss / MEGABYTE,
        }
