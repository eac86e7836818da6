"""The machine, the versions and the load under which a benchmark ran."""

from __future__ import annotations

import os
from typing import Any

import psutil

from src.tracking import provenance

QUIET = 0.2  # cores in use before a measurement, above which it is marked
WATCHED_S = 2.0


def description() -> dict[str, Any]:
    """Returns processor, cores, memory, versions and commit of this machine, and how busy it is now.

    The load average of the last minute would still count the benchmark before; `busy_before` counts the cores that
    programs use while this function waits.
    """
    tags = provenance.tags()
    cores = psutil.cpu_count() or 1
    busy = psutil.cpu_percent(WATCHED_S) / 100 * cores
    return {
        "processor": tags["ablation.processor"],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "versions": tags["ablation.versions"],
        "commit": tags["ablation.git_commit"],
        "uncommitted": tags["ablation.git_dirty"],
        "load_before": round(os.getloadavg()[0], 2),
        "busy_before": round(busy, 2),
    }


def is_quiet(machine: dict[str, Any]) -> bool:
    """Returns whether nothing else ran when the measurement began."""
    return float(machine["busy_before"]) <= QUIET
