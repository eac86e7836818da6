"""Simulated studies keep their errors, cover, and find what they should, as `benchmarks.calibration` does at length."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import calibration
from src.inference import sequential
from src.inference.sequential import Rule

STUDIES = 2_000


@pytest.fixture(scope="module")
def rows():
    sequential._levels.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequential, "PATHS", 200_000)
        yield list(calibration.rows(STUDIES))
    sequential._levels.cache_clear()


def test_every_number_is_within_its_bounds(rows):
    assert [row for row in rows if not row.is_met] == []


def test_numbers_agree_with_an_audit_that_was_written_independently(rows):
    values = {(row.what, row.number): (row.value, row.audit) for row in rows}
    same = [
        ("A/A, 1 variants", "any false verdict"),
        ("A/A, 5 variants", "any false verdict"),
        ("5 variants, d = 1", "decided"),
    ]
    for key in same:
        value, audit = values[key]
        assert value == pytest.approx(audit, abs=0.02), key


def test_looks_at_five_percent_each_would_be_outside(monkeypatch):
    monkeypatch.setattr(Rule, "p_value", lambda self, seen, look: seen.p[..., look])

    naive = calibration.simulated(np.zeros(1), studies=STUDIES)

    assert naive.false == pytest.approx(0.136, abs=0.03)  # the audit's number for four looks
    assert naive.false > 0.05 + calibration.BOUND * math.sqrt(0.05 * 0.95 / STUDIES)


def test_the_command_ends_with_status_1_if_a_number_is_outside(monkeypatch, capsys):
    line = calibration.Row("studies", "false", 0.2, 0.0, 0.05, math.nan)
    monkeypatch.setattr(calibration, "rows", lambda studies: iter([line]))
    monkeypatch.setattr("sys.argv", ["calibration"])

    assert calibration.main() == 1
    assert "| studies | false | 0.200 **outside** | 0.000 to 0.050 |" in capsys.readouterr().out


def test_shipped_effects_are_drawn_in_by_their_error(tmp_path):
    draws = np.random.default_rng(0)
    folder = tmp_path / "study"
    folder.mkdir()
    lines = ["label,is_reference,seed,test/accuracy"]
    for place in range(200):
        mean = 0.0 if place == 0 else draws.normal(0, 1)
        for seed in range(8):
            lines.append(f"v{place},{place == 0},{seed},{(mean + draws.normal(0, 1)) if place else 0.0}")
    (folder / "trials.csv").write_text("\n".join(lines))

    effects = calibration.shipped(tmp_path)

    assert len(effects) == 199 and effects.std() == pytest.approx(1.0, abs=0.2)
