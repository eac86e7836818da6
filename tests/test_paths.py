from __future__ import annotations

import importlib.util

import pytest

from src import paths
from src.settings import SettingsError


@pytest.fixture
def installed(monkeypatch):
    """The Python drivers that are installed."""
    names = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in names else None)
    return names


@pytest.mark.parametrize(
    ("drivers", "given", "used"),
    [
        ({"psycopg2"}, "postgresql://u@h/d", "postgresql+psycopg2://u@h/d"),
        ({"psycopg2", "psycopg"}, "postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ({"pymysql"}, "mysql://u@h/d", "mysql+pymysql://u@h/d"),
        ({"MySQLdb"}, "mysql://u@h/d", "mysql+mysqldb://u@h/d"),
        (set(), "postgresql+psycopg2://u@h/d", "postgresql+psycopg2://u@h/d"),
        (set(), "http://h:5000", "http://h:5000"),
        (set(), "sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        (set(), "nonsense", "nonsense"),
    ],
)
def test_a_database_is_reached_by_the_driver_that_is_installed(installed, drivers, given, used):
    installed |= drivers

    assert paths.tracking_uri(given) == used


def test_a_database_without_a_driver_is_refused_with_what_to_install_and_without_its_password(installed):
    with pytest.raises(SettingsError) as caught:
        paths.tracking_uri("postgresql://me:secret@host/db")

    assert "no Python driver for it is installed; pip install psycopg2-binary" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_address_is_the_database_of_this_home(home):
    assert paths.tracking_uri(None) == f"sqlite:///{home}/mlflow.db"
