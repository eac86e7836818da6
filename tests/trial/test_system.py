from __future__ import annotations

import time

from src.trial import system
from src.trial.system import SystemMetrics


def test_the_machine_is_measured_at_once_and_then_every_ten_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(system.time, "monotonic", lambda: now[0])
    metrics = SystemMetrics()
    assert metrics.is_due

    metrics.measured()

    assert not metrics.is_due
    now[0] += 10
    assert metrics.is_due


def test_system_metrics_have_names_that_mlflow_shows_as_such_and_plausible_values():
    metrics = SystemMetrics().measured()

    assert all(name.startswith("system/") for name in metrics)
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert 0 < metrics["system/process_memory_megabytes"] < metrics["system/system_memory_usage_megabytes"] * 10


def test_a_measurement_takes_less_than_a_tenth_of_a_second():
    metrics = SystemMetrics()
    begin = time.perf_counter()

    metrics.measured()

    assert time.perf_counter() - begin < 0.1
