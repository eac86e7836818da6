from __future__ import annotations

import time

from src.training import system
from src.training.system import SystemMetrics


def test_the_machine_is_measured_at_once_and_then_every_ten_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(system.time, "monotonic", lambda: now[0])
    metrics = SystemMetrics()
    assert metrics.is_due

    metrics.measured()

    assert not metrics.is_due
    now[0] += 10
    assert metrics.is_due


def test_every_name_is_one_that_mlflow_shows_on_its_page_of_the_system_and_every_value_a_number_in_its_range():
    found = SystemMetrics().measured()

    assert all(name.startswith("system/") for name in found)
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100
    assert 0 < found["system/process_memory_megabytes"] < found["system/system_memory_usage_megabytes"] * 10


def test_measuring_takes_next_to_no_time():
    metrics = SystemMetrics()
    begin = time.perf_counter()

    metrics.measured()

    assert time.perf_counter() - begin < 0.1
